package matrixside

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

const (
	// typingTime is how long somebody types who does not say that they stopped. The homeserver tells only what changes, and
	// ends it by itself where a client falls silent.
	typingTime  = 2 * time.Minute
	receiptTime = time.Minute // how long it is worth while to tell that somebody has read something
	// maxPassing is how much of what expires one transaction brings, and how many people type in one room.
	maxPassing = 256
	// maxTypingRooms is in how many rooms it is remembered who types.
	maxTypingRooms = 4096
)

// typists are those who type, by room. A homeserver tells all of a room whenever it changes.
type typists struct {
	mu sync.Mutex
	in map[id.RoomID][]id.UserID
}

// change notes who types now, and returns who began and who stopped.
func (t *typists) change(room id.RoomID, now []id.UserID) (began, stopped []id.UserID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.in[room]
	for _, user := range now {
		if !slices.Contains(before, user) {
			began = append(began, user)
		}
	}
	for _, user := range before {
		if !slices.Contains(now, user) {
			stopped = append(stopped, user)
		}
	}
	switch {
	case len(now) == 0:
		delete(t.in, room)
	case t.in == nil, t.in[room] == nil && len(t.in) >= maxTypingRooms:
		t.in = map[id.RoomID][]id.UserID{room: now}
	default:
		t.in[room] = now
	}
	return began, stopped
}

// acceptPassing hands on who types and who has read what. What is lost of it is no loss.
func (s *Side) acceptPassing(ctx context.Context, raws []json.RawMessage, in gateway.Inbox) {
	var batch []gateway.Arrival
	for _, raw := range raws {
		var f fields
		if json.Unmarshal(raw, &f) != nil {
			continue
		}
		room, content := id.RoomID(get[string](f, "room_id")), get[fields](f, "content")
		at, person, ok := s.placeOf(ctx, room)
		if !ok {
			continue
		}
		tell := func(user id.UserID, body gateway.Body, lasts time.Duration) {
			ev := &gateway.Event{At: at, Sender: person(user), Expires: s.now().Add(lasts), Body: body}
			batch = append(batch, gateway.Arrival{At: at, Passing: true, Read: func(context.Context) (*gateway.Event, error) { return ev, nil }})
		}
		switch get[string](f, "type") {
		case event.EphemeralEventTyping.Type:
			if !s.deps.Privacy.Typing {
				continue
			}
			began, stopped := s.typists.change(room, s.people(get[[]id.UserID](content, "user_ids")))
			for _, user := range stopped {
				tell(user, gateway.Typing{}, typingTime)
			}
			for _, user := range began {
				tell(user, gateway.Typing{On: true}, typingTime)
			}
		case event.EphemeralEventReceipt.Type:
			for user, read := range s.readers(at, content) {
				tell(user, gateway.Receipt{Target: gateway.Ref{Native: string(read)}, State: gateway.Displayed}, receiptTime)
			}
		}
	}
	if batch = batch[:min(len(batch), maxPassing)]; len(batch) == 0 {
		return
	}
	if err := in.Accept(ctx, batch); err != nil {
		s.log.Debug("it is not told who types and who has read what", "error", err)
	}
}

// placeOf is the bridged room or the direct chat that a room stands for, and how people are known there.
func (s *Side) placeOf(ctx context.Context, room id.RoomID) (at gateway.Address, person func(id.UserID) gateway.Person, ok bool) {
	if rm := s.currentRoom(room); rm != nil {
		_, _, encrypted := rm.standing()
		return rm.Address, rm.person, !encrypted
	}
	s.mu.Lock()
	heard := s.heard[room] != nil // so that rooms of which nobody knows cost nothing
	s.mu.Unlock()
	if !heard {
		return at, nil, false
	}
	c, err := s.newLedger().chat(ctx, room)
	if err != nil || c.At == "" || c.Pending || c.Over || c.Encrypted {
		return at, nil, false
	}
	at = gateway.Address{Network: s.deps.Network, ID: c.At}
	return at, func(user id.UserID) gateway.Person { return s.inChat(c, user) }, true
}

// people leaves out what is no user of somebody else's.
func (s *Side) people(users []id.UserID) (out []id.UserID) {
	for _, user := range users[:min(len(users), maxPassing)] {
		if saneID(string(user), '@') && !s.names.ours(user) && !slices.Contains(out, user) {
			out = append(out, user)
		}
	}
	return out
}

// readers tells up to which event people have read (Client-Server API, "Receipts"): of each the newest.
func (s *Side) readers(at gateway.Address, content fields) map[id.UserID]id.EventID {
	_, _, direct := at.Direct()
	switch s.deps.Privacy.Receipts {
	case gateway.ReceiptsAll:
	case gateway.ReceiptsDirect:
		if !direct {
			return nil
		}
	default:
		return nil
	}
	read, times := map[id.UserID]id.EventID{}, map[id.UserID]float64{}
	for native := range content {
		if !saneID(native, '$') {
			continue
		}
		for user, receipt := range get[map[id.UserID]fields](get[fields](content, native), string(event.ReceiptTypeRead)) {
			when := get[float64](receipt, "ts")
			if _, known := read[user]; known && when <= times[user] || len(s.people([]id.UserID{user})) == 0 {
				continue
			}
			read[user], times[user] = id.EventID(native), when
		}
	}
	return read
}

// Pass implements gateway.Passer. Only ghosts that are there already are seen typing and reading.
func (s *Side) Pass(ctx context.Context, at gateway.Address, ev *gateway.Event) {
	if !s.isRunning() || !s.isLinked() {
		return
	}
	room, ghost, err := s.presence(ctx, at, ev.Sender)
	switch body := ev.Body.(type) {
	case gateway.Typing:
		if room != "" && err == nil {
			_, err = s.as(ghost).UserTyping(ctx, room, body.On, ev.Expires.Sub(s.now()))
		}
	case gateway.Receipt:
		if native := nativeOf(body.Target); room != "" && err == nil && native != "" && body.State == gateway.Displayed {
			err = s.as(ghost).SendReceipt(ctx, room, native, event.ReceiptTypeRead, struct{}{})
		}
	}
	if err != nil {
		s.log.Debug("it cannot be shown who types or has read something", "room", at, "error", plainly(err))
	}
}

// presence is where somebody's ghost is in a lane's room; empty if it is not there.
func (s *Side) presence(ctx context.Context, at gateway.Address, who gateway.Person) (room id.RoomID, ghost id.UserID, err error) {
	ghost = s.names.ghost(who)
	if local, remote, ok := at.Direct(); ok {
		d, err := s.openDirect(at, local, remote)
		if err != nil || d.ghost != ghost {
			return "", "", err
		}
		now, c, err := d.rooms(ctx)
		if err != nil || c.Gone || c.Pending || c.Encrypted {
			return "", "", err
		}
		return now.Room, ghost, nil
	}
	s.mu.Lock()
	rm := s.rooms[at.ID]
	s.mu.Unlock()
	if rm == nil || !rm.hasGhost(ghost) {
		return "", "", nil
	}
	native, joined, encrypted := rm.standing()
	if !joined || encrypted {
		return "", "", nil
	}
	return native, ghost, nil
}
