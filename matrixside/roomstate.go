package matrixside

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// levelsOf asks who may do what in a room (Client-Server API, "m.room.power_levels"). Who made it may do everything since
// room version 12.
func (s *Side) levelsOf(ctx context.Context, native id.RoomID) (*event.PowerLevelsEventContent, error) {
	levels := &event.PowerLevelsEventContent{}
	err := s.bot().StateEvent(ctx, native, event.StatePowerLevels, "", levels)
	if err != nil && !errors.Is(err, mautrix.MNotFound) {
		return nil, err
	}
	create, err := s.bot().FullStateEvent(ctx, native, event.StateCreate, "")
	if err != nil || create == nil { // a homeserver that does not know the question knows no such rooms either
		return levels, nil
	}
	levels.CreateEvent = create
	return levels, nil
}

// observeLevels takes note of who may do what from now on.
func (rm *room) observeLevels(ev *nativeEvent) {
	raw, err := json.Marshal(ev.Content)
	if err != nil {
		return
	}
	levels := &event.PowerLevelsEventContent{}
	if json.Unmarshal(raw, levels) != nil { // levels that are no numbers: nobody has any power by them
		levels = &event.PowerLevelsEventContent{}
	}
	rm.mu.Lock()
	defer rm.mu.Unlock()
	levels.CreateEvent = rm.levels.CreateEvent
	rm.levels = levels
}

// may reports whether somebody has the power level that the room asks for.
func (rm *room) may(user id.UserID, needed func(*event.PowerLevelsEventContent) int) bool {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.levels.GetUserLevel(user) >= needed(rm.levels)
}

// maxTopic is how long a topic is that is carried, in bytes.
const maxTopic = 4096

// decodeState reads what a room is called and about.
func decodeState(ev *nativeEvent) gateway.Body {
	var state gateway.RoomState
	switch {
	case ev.isState(event.StateTopic.Type):
		now, before := topicOf(ev.Content, "topic"), topicOf(ev.Previous, "topic")
		if ev.Previous == nil || now != before {
			state.Topic = &now
		}
	case ev.isState(event.StateRoomName.Type):
		now, before := gateway.CleanName(get[string](ev.Content, "name")), gateway.CleanName(get[string](ev.Previous, "name"))
		if ev.Previous == nil || now != before {
			state.Name = &now
		}
	}
	if state == (gateway.RoomState{}) {
		return nil
	}
	return state
}

func topicOf(content fields, name string) string {
	return gateway.Shorten(gateway.Clean(get[string](content, name)), maxTopic)
}

// carriesTopic reports whether what the room is called and about is carried.
func (rm *room) carriesTopic() bool {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.asked.Topic
}

// stateContent is the content of m.room.topic, m.room.name or m.room.avatar.
type stateContent struct {
	Topic *string      `json:"topic,omitempty"`
	Name  *string      `json:"name,omitempty"`
	URL   *string      `json:"url,omitempty"`
	Key   *deliveryKey `json:"org.lockbridge.key,omitempty"`
}

// setState gives the room the name, topic and picture that it has elsewhere, as far as the bot may. What it has already
// is not set again: so what two networks tell each other comes to an end.
func (b bridged) setState(ctx context.Context, d gateway.Delivery, state gateway.RoomState) error {
	if state.Topic != nil {
		topic := gateway.Shorten(gateway.Clean(*state.Topic), maxTopic)
		if err := b.set(ctx, event.StateTopic, stateContent{Topic: &topic, Key: &deliveryKey{d.Key, "topic"}}); err != nil {
			return err
		}
	}
	if state.Name != nil {
		name := gateway.CleanName(*state.Name)
		if err := b.set(ctx, event.StateRoomName, stateContent{Name: &name, Key: &deliveryKey{d.Key, "name"}}); err != nil {
			return err
		}
	}
	if state.Avatar == nil || b.deps.Media == nil || !b.mayState(event.StateRoomAvatar) {
		return nil
	}
	up, done := b.uploads.get(d.Key)
	if *state.Avatar != "" && !done {
		uri, err := b.uploadPicture(ctx, *state.Avatar)
		if err != nil {
			return err
		}
		up.url = uri.String()
		b.uploads.put(d.Key, up)
	}
	url := up.url
	return b.set(ctx, event.StateRoomAvatar, stateContent{URL: &url, Key: &deliveryKey{d.Key, "avatar"}})
}

// set sets one state of the room.
func (b bridged) set(ctx context.Context, kind event.Type, c stateContent) error {
	if !b.mayState(kind) {
		return nil
	}
	native, _, _ := b.rm.standing()
	var now stateContent
	err := b.bot().StateEvent(ctx, native, kind, "", &now)
	if err != nil && !errors.Is(err, mautrix.MNotFound) {
		return fmt.Errorf("ask for the %s of %s: %w", kind.Type, b.rm.ID, err)
	}
	if err == nil && value(now) == value(c) || err != nil && value(c) == "" {
		return nil
	}
	if _, err = b.bot().SendStateEvent(ctx, native, kind, "", c); isForbidden(err) {
		return gateway.Dropf("the Matrix room does not let this bridge change that")
	}
	return err
}

// value is what a state is set to.
func value(c stateContent) string {
	var none string
	return *cmp.Or(c.Topic, c.Name, c.URL, &none)
}

// mayState reports whether the bot may set a state, and says once if not.
func (b bridged) mayState(kind event.Type) bool {
	if b.rm.may(b.names.bot, func(levels *event.PowerLevelsEventContent) int { return levels.GetEventLevel(kind) }) {
		return true
	}
	b.rm.mu.Lock()
	told := b.rm.powerless
	b.rm.powerless = true
	b.rm.mu.Unlock()
	if !told {
		b.log.Warn("the bot may not change what the room is called or about, so this is not carried", "room", b.rm.ID, "event", kind.Type)
	}
	return false
}
