package matrixside

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// arrival is something to be accepted, and where it comes from.
type arrival struct {
	gateway.Arrival
	from source
}

// source is a bridged room, or a direct one with the ghost that is in it.
type source struct {
	rm    *room
	chat  id.RoomID
	ghost id.UserID
}

// place is the room; empty for one that was replaced by another.
func (s source) place() id.RoomID {
	if s.rm != nil {
		native, _, _ := s.rm.standing()
		return native
	}
	return s.chat
}

// note has the last arrival of each room write itself down as the newest that was accepted, and returns what remembers
// it once that is durable. Arrivals that were accepted before are not read, and change nothing.
func (s *Side) note(batch []arrival) (out []gateway.Arrival, accepted func()) {
	newest := map[source]id.EventID{}
	noted := map[id.RoomID]bool{"": true}
	out = make([]gateway.Arrival, len(batch))
	for i, a := range slices.Backward(batch) {
		out[i] = a.Arrival
		if noted[a.from.place()] {
			continue
		}
		noted[a.from.place()] = true
		key, value := lastKey(a.from.place()), []byte(a.Native)
		if a.from.chat != "" {
			key, value = s.heardNote(a.from.chat, heard{Ghost: a.from.ghost, Last: id.EventID(a.Native), Time: s.now().Unix()})
		}
		out[i].Read = func(ctx context.Context) (*gateway.Event, error) {
			ev, err := a.Read(ctx)
			if err == nil {
				err = s.deps.State.PutMany(ctx, map[string][]byte{key: value})
			}
			if err == nil {
				newest[a.from] = id.EventID(a.Native)
			}
			return ev, err
		}
	}
	return out, func() {
		for from, last := range newest {
			if from.rm == nil {
				s.hear(from.chat, heard{Ghost: from.ghost, Last: last, Time: s.now().Unix()})
				continue
			}
			from.rm.mu.Lock()
			from.rm.last = last
			from.rm.mu.Unlock()
		}
	}
}

// maxHeard is how many direct rooms are read when there is doubt: those in which something was said last.
const maxHeard = 256

// heard is a direct room in which something was said. It is kept in State under "heard/<room id>".
type heard struct {
	Ghost  id.UserID  `json:"ghost,omitempty"` // who is in the room, and can read it
	Last   id.EventID `json:"last,omitempty"`  // the newest event that was accepted, or sent by us
	Time   int64      `json:"time,omitempty"`  // when it was, in Unix seconds
	doubts int
}

func heardKey(room id.RoomID) string { return "heard/" + string(room) }

func (s *Side) heardNote(room id.RoomID, h heard) (key string, value []byte) {
	value, err := json.Marshal(h)
	if err != nil { // strings and numbers always have a JSON form
		value = nil
	}
	return heardKey(room), value
}

// hear remembers what was said last in a direct room.
func (s *Side) hear(room id.RoomID, h heard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.heard[room]; before != nil {
		h.doubts = before.doubts
	} else if len(s.heard) >= maxHeard {
		delete(s.heard, s.oldestHeard())
	}
	s.heard[room] = &h
}

// spoke remembers a direct room in which we were the first to say something.
func (s *Side) spoke(room id.RoomID, ghost id.UserID, last id.EventID) {
	s.mu.Lock()
	known := s.heard[room] != nil
	s.mu.Unlock()
	if !known {
		s.hear(room, heard{Ghost: ghost, Last: last, Time: s.now().Unix()})
	}
}

// oldestHeard is the room in which nothing was said for longest. The caller holds s.mu.
func (s *Side) oldestHeard() (oldest id.RoomID) {
	for room, h := range s.heard {
		if oldest == "" || h.Time < s.heard[oldest].Time {
			oldest = room
		}
	}
	return oldest
}

// recollectChats takes from State in which direct rooms something was said.
func (s *Side) recollectChats(ctx context.Context) error {
	stored, err := s.deps.State.List(ctx, heardKey(""))
	if err != nil {
		return fmt.Errorf("read what was heard in direct rooms: %w", err)
	}
	s.mu.Lock()
	s.heard = map[id.RoomID]*heard{}
	s.mu.Unlock()
	for key, raw := range stored {
		var h heard
		if err := json.Unmarshal(raw, &h); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		s.hear(id.RoomID(key[len(heardKey("")):]), h)
	}
	s.doubtChats()
	return nil
}

// doubtChats has the direct rooms read in which something was said last.
func (s *Side) doubtChats() {
	s.mu.Lock()
	for _, h := range s.heard {
		h.doubts++
	}
	s.mu.Unlock()
	s.wakeErrands()
}

func (s *Side) doubtChat(room id.RoomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.heard[room]; h != nil {
		h.doubts++
	}
}

// makeChatsSure reads what was missed in direct rooms, if there is doubt. Transactions wait meanwhile.
func (s *Side) makeChatsSure(ctx context.Context, in gateway.Inbox) (failed error) {
	var doubtful []id.RoomID
	s.mu.Lock()
	for room, h := range s.heard {
		if h.doubts > 0 {
			doubtful = append(doubtful, room)
		}
	}
	s.mu.Unlock()
	for _, room := range doubtful {
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.catchUpChat(ctx, room, in); err != nil {
			failed = err
		}
		<-s.turn
	}
	return failed
}

// catchUpChat is catchUp for a direct room. The caller has the turn.
func (s *Side) catchUpChat(ctx context.Context, room id.RoomID, in gateway.Inbox) error {
	s.mu.Lock()
	var h heard
	if known := s.heard[room]; known != nil {
		h = *known
	}
	s.mu.Unlock()
	if h.doubts == 0 {
		return nil
	}
	err := s.readSince(ctx, h.Ghost, room, h.Last, in)
	if err != nil && !isHopeless(err) && !isBroken(err) {
		return fmt.Errorf("read what was missed in a direct room: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch known := s.heard[room]; {
	case known == nil:
	case err != nil: // the ghost is not there any more, say
		delete(s.heard, room)
	default:
		known.doubts -= h.doubts
	}
	return nil
}
