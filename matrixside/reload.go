package matrixside

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// SetRooms implements gateway.Side.
func (s *Side) SetRooms(rooms []gateway.Room) {
	s.mu.Lock()
	s.deps.Rooms = rooms
	s.mu.Unlock()
	nudge(s.reload)
}

// keepRooms enters and leaves rooms as SetRooms asks, until ctx ends. It has added ones looked after.
func (s *Side) keepRooms(ctx context.Context, look func(*room)) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := s.changeRooms(ctx, look)
		if err == nil {
			attempt = -1
			select {
			case <-s.reload:
			case <-ctx.Done():
			}
			continue
		}
		if ctx.Err() == nil {
			s.log.Error("the rooms cannot be changed yet; trying again", "error", err)
		}
		s.sleep(ctx, attempt, s.reload)
	}
}

// changeRooms makes the rooms those that are asked for.
func (s *Side) changeRooms(ctx context.Context, look func(*room)) error {
	wanted := map[string]gateway.Room{}
	var added, removed []*room
	s.mu.Lock()
	for _, r := range s.deps.Rooms {
		if !IsRoom(r.ID) {
			s.log.Error("this is no Matrix room; it is left out", "bridge", r.Bridge, "room", r.ID)
			continue
		}
		wanted[r.ID] = r
		if rm := s.rooms[r.ID]; rm != nil {
			rm.mu.Lock()
			rm.asked = r
			rm.mu.Unlock()
		} else {
			added = append(added, s.newRoom(r))
		}
	}
	for name, rm := range s.rooms {
		if _, stays := wanted[name]; !stays {
			removed = append(removed, rm)
		}
	}
	s.mu.Unlock()
	for _, rm := range removed {
		if err := s.giveUp(ctx, rm); err != nil {
			return err
		}
	}
	if err := s.recollect(ctx, added); err != nil {
		return err
	}
	s.mu.Lock()
	for _, rm := range added {
		s.rooms[rm.ID] = rm
		s.byNative.add(rm)
	}
	s.mu.Unlock()
	for _, rm := range added {
		look(rm)
	}
	return nil
}

// giveUp ends the bridging of a room, and has the bot and the ghosts leave it.
func (s *Side) giveUp(ctx context.Context, rm *room) error {
	rm.mu.Lock()
	native := rm.native
	users := append(slices.Collect(maps.Keys(rm.ghosts)), s.names.bot)
	rm.mu.Unlock()
	notes := map[string][]byte{pinKey(rm.ID): nil, movedKey(rm.ID): nil, lastKey(native): nil}
	for _, user := range users {
		if native == "" {
			break
		}
		leaving := newErrand(doDecline, native, user, "")
		leaving.Reason = "this room is bridged no more"
		raw, err := json.Marshal(leaving)
		if err != nil {
			return err
		}
		notes[errandKey(native, user)] = raw
	}
	err := s.deps.State.Update(ctx, func(ctx context.Context) error { return s.deps.State.PutMany(ctx, notes) })
	if err != nil {
		return fmt.Errorf("write down that %s is bridged no more: %w", rm.ID, err)
	}
	rm.leave()
	s.mu.Lock()
	delete(s.rooms, rm.ID)
	maps.DeleteFunc(s.byNative, func(_ id.RoomID, other *room) bool { return other == rm })
	s.mu.Unlock()
	s.log.Info("the room is bridged no more", "room", rm.ID, "id", native)
	s.wakeErrands()
	return nil
}
