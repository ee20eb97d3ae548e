package matrixside

import (
	"context"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
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
	if create.Content.ParseRaw(event.StateCreate) == nil {
		levels.CreateEvent = create
	}
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
