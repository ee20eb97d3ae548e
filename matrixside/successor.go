package matrixside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// A room that is upgraded ends with a tombstone that names the room that replaces it (Client-Server API, "Room
// Upgrades"). Whoever may write a tombstone could so send the bridge anywhere. It goes along only if the other room
// names this one as its predecessor, which its maker alone could write.

// observeTombstone takes note that a room was replaced.
func (s *Side) observeTombstone(rm *room, ev *nativeEvent) {
	successor := get[string](ev.Content, "replacement_room")
	if !saneID(successor, '!') {
		s.log.Warn("the room was closed, and names no other that replaces it", "room", rm.ID)
		return
	}
	s.log.Info("the room was replaced", "room", rm.ID, "id", ev.Room, "by", successor)
	rm.mu.Lock()
	if rm.successor != id.RoomID(successor) { // and the event does not come again
		rm.successor, rm.problem, rm.since = id.RoomID(successor), nil, s.now()
	}
	rm.mu.Unlock()
	rm.wake()
}

// successorOf asks whether a room was replaced, and by which.
func (s *Side) successorOf(ctx context.Context, native id.RoomID) (id.RoomID, error) {
	var tombstone struct {
		Replacement string `json:"replacement_room"`
	}
	err := s.bot().StateEvent(ctx, native, event.StateTombstone, "", &tombstone)
	if err != nil && !errors.Is(err, mautrix.MNotFound) {
		return "", err
	}
	if !saneID(tombstone.Replacement, '!') {
		return "", nil
	}
	return id.RoomID(tombstone.Replacement), nil
}

// moveOn goes along into the room that replaced this one, if any. What was said there before the bot came is read like
// anything else that was missed.
func (s *Side) moveOn(ctx context.Context, rm *room) (moved bool, err error) {
	rm.mu.Lock()
	from, to, stranger := rm.native, rm.successor, rm.stranger
	rm.mu.Unlock()
	if to == "" || to == stranger {
		return false, nil
	}
	if other := s.roomOf(to); other != nil && other != rm {
		return false, fmt.Errorf("the room was replaced by %s, which is bridged as %s: change the configuration", to, other.ID)
	}
	if err := s.join(ctx, to, s.serversOf(ctx, rm, to)); err != nil {
		return false, fmt.Errorf("the room was replaced by %s: %w", to, err)
	}
	predecessor, err := s.predecessorOf(ctx, to)
	if err != nil {
		return false, fmt.Errorf("the room was replaced by %s: ask for its predecessor: %w", to, err)
	}
	if predecessor != from {
		err := fmt.Errorf("the room was replaced by %s, which does not name it as its predecessor: change the configuration", to)
		s.log.Error("a successor of the room is not followed", "room", rm.ID, "error", err)
		rm.mu.Lock()
		rm.stranger, rm.problem = to, err
		rm.mu.Unlock()
		if s.roomOf(to) == nil {
			return false, s.leave(ctx, to, s.names.bot, "this room does not name its predecessor")
		}
		return false, nil
	}
	return true, s.settleAt(ctx, rm, from, to)
}

// serversOf are servers through which the successor can be joined: the alias knows, if it moved along.
func (s *Side) serversOf(ctx context.Context, rm *room, to id.RoomID) []string {
	via := slices.Concat(viaOf(string(to)), rm.servers())
	if rm.isAlias() {
		if resp, err := s.bot().ResolveAlias(ctx, id.RoomAlias(rm.ID)); err == nil && resp.RoomID == to {
			via = slices.Concat(via, resp.Servers)
		}
	}
	slices.Sort(via)
	via = slices.Compact(via)
	return via[:min(len(via), maxVia)]
}

// predecessorOf is the room that a room says it replaced.
func (s *Side) predecessorOf(ctx context.Context, native id.RoomID) (id.RoomID, error) {
	var create struct {
		Predecessor struct {
			Room id.RoomID `json:"room_id"`
		} `json:"predecessor"`
	}
	err := s.bot().StateEvent(ctx, native, event.StateCreate, "", &create)
	return create.Predecessor.Room, err
}

// settleAt writes down that the room is another one now, and takes the ghosts along.
func (s *Side) settleAt(ctx context.Context, rm *room, from, to id.RoomID) error {
	rm.mu.Lock()
	carried := rm.last != ""
	ghosts := make([]id.UserID, 0, len(rm.ghosts))
	for ghost := range rm.ghosts {
		ghosts = append(ghosts, ghost)
	}
	rm.mu.Unlock()
	notes := map[string][]byte{movedKey(rm.ID): []byte(to), lastKey(from): nil}
	var first id.EventID
	if carried { // nobody said anything there before it was made for this
		err := s.history(ctx, s.names.bot, to, mautrix.FilterPart{}, searchPages, func(events []*nativeEvent) bool {
			if len(events) > 0 {
				first = events[len(events)-1].ID
			}
			return true
		})
		if err != nil {
			return fmt.Errorf("find the beginning of %s: %w", to, err)
		}
		if first != "" {
			notes[lastKey(to)] = []byte(first)
		}
	}
	for _, ghost := range ghosts {
		leaving := newErrand(doDecline, from, ghost, "")
		leaving.Reason = "the room was replaced by another one"
		raw, err := json.Marshal(leaving)
		if err != nil {
			return err
		}
		notes[errandKey(from, ghost)] = raw
	}
	err := s.deps.State.Update(ctx, func(ctx context.Context) error { return s.deps.State.PutMany(ctx, notes) })
	if err != nil {
		return fmt.Errorf("write down that %s moved: %w", rm.ID, err)
	}
	if err := s.claim(rm, to, rm.servers()); err != nil {
		return err
	}
	rm.mu.Lock()
	rm.former, rm.successor, rm.encrypted, rm.learnt = from, "", false, false
	rm.last, rm.doubts = first, rm.doubts+1
	clear(rm.names)
	clear(rm.ghosts)
	clear(rm.refused)
	clear(rm.invites)
	for _, ghost := range ghosts {
		rm.invites[ghost] = true
	}
	rm.mu.Unlock()
	s.log.Info("the bridge moved along to the room that replaced the old one", "room", rm.ID, "from", from, "to", to)
	s.wakeErrands()
	return nil
}
