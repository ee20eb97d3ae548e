package gateway

import (
	"sync"
	"time"
)

// What expires (who is typing, how far somebody has read) never reaches the journal: it waits in memory, in the process
// that heard it, and is shown if that can be done at once. Of each person and room the newest of its kind counts.

const (
	// passRoom is how much waits for one room, and passAll for one network.
	passRoom = 64
	passAll  = 4096
	// typingPause is how long somebody who types in a room is not shown again there; readPause is the same for receipts.
	typingPause = 3 * time.Second
	readPause   = 2 * time.Second
	// readTries is how often a receipt is looked at whose message is not known: it may come before our own delivery of
	// that is recorded.
	readTries = 3
	// typingTime is after how long somebody of whom nothing more is heard types no more, unless the side says when, which
	// is maxTyping at most. passTime is how long anything else waits at most.
	typingTime = 30 * time.Second
	maxTyping  = 2 * time.Minute
	passTime   = time.Minute
)

// passing is what waits for the rooms of one network.
type passing struct {
	now  func() time.Time
	news chan struct{} // gets a value when something came

	mu    sync.Mutex
	rooms map[Address]map[passKey]*passed
	count int
}

// passKey is what only the newest counts of.
type passKey struct {
	personKey
	kind string
}

// passed is something that came, or was shown a moment ago.
type passed struct {
	ev     *Event // to be shown; nil: nothing new
	came   time.Time
	shown  time.Time // last
	tries  int       // since then, of a receipt
	typing *Event    // what is shown, until it ends
	ends   time.Time // of typing
}

func newPassing(now func() time.Time) *passing {
	return &passing{now: now, news: make(chan struct{}, 1), rooms: map[Address]map[passKey]*passed{}}
}

// put has ev shown in room. It keeps ev.
func (p *passing) put(room Address, ev *Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, key := p.now(), keyOf(ev)
	e := p.rooms[room][key]
	t, isTyping := ev.Body.(Typing)
	if isTyping && !t.On && (e == nil || e.typing == nil) { // nobody has seen it begin
		if e != nil {
			e.ev = nil
		}
		return
	}
	if e == nil {
		e = p.add(room, key, now)
	}
	e.came, e.tries = now, 0
	usual, limit := passTime, passTime
	if isTyping && t.On {
		usual, limit = typingTime, maxTyping
	}
	if ev.Expires.IsZero() {
		ev.Expires = now.Add(usual)
	} else if end := now.Add(limit); ev.Expires.After(end) {
		ev.Expires = end
	}
	if isTyping && t.On && e.typing != nil && now.Sub(e.shown) < typingPause {
		e.ends = ev.Expires
		return
	}
	e.ev = ev
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// again keeps a receipt whose message is not known yet for another try, unless a newer one has come.
func (p *passing) again(s shown) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.rooms[s.room][keyOf(s.ev)]
	if e == nil || e.ev != nil || e.tries+1 >= readTries {
		return
	}
	e.ev, e.tries = s.ev, e.tries+1
}

// keyOf is under which key an event waits.
func keyOf(ev *Event) passKey {
	kind := ev.Body.Kind()
	if r, ok := ev.Body.(Receipt); ok {
		kind = string(r.State)
	}
	return passKey{personKey{ev.Sender.Network, ev.Sender.ID}, kind}
}

// add makes room for one more.
func (p *passing) add(room Address, key passKey, now time.Time) *passed {
	if len(p.rooms[room]) >= passRoom {
		p.drop(map[Address]map[passKey]*passed{room: p.rooms[room]})
	} else if p.count >= passAll {
		p.drop(p.rooms)
	}
	if p.rooms[room] == nil {
		p.rooms[room] = map[passKey]*passed{}
	}
	e := &passed{came: now}
	p.rooms[room][key] = e
	p.count++
	return e
}

// drop forgets the oldest of what is in rooms, if possible not somebody who is seen typing.
func (p *passing) drop(rooms map[Address]map[passKey]*passed) {
	var (
		in     Address
		which  passKey
		oldest *passed
	)
	for room, all := range rooms {
		for key, e := range all {
			busy, was := e.typing != nil, oldest != nil && oldest.typing != nil
			if oldest == nil || was && !busy || was == busy && e.came.Before(oldest.came) {
				in, which, oldest = room, key, e
			}
		}
	}
	p.remove(in, which)
}

func (p *passing) remove(room Address, key passKey) {
	if _, ok := p.rooms[room][key]; !ok {
		return
	}
	delete(p.rooms[room], key)
	p.count--
	if len(p.rooms[room]) == 0 {
		delete(p.rooms, room)
	}
}

// shown is an event on its way to a room.
type shown struct {
	room Address
	ev   *Event
}

// take returns what is to be shown now, and when there is something to do again; zero: nothing.
func (p *passing) take() (due []shown, next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	later := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for room, all := range p.rooms {
		for key, e := range all {
			if e.ev != nil && !e.ev.Expires.After(now) {
				e.ev = nil
			}
			if e.typing != nil && e.ev == nil && !e.ends.After(now) {
				off := *e.typing
				off.Body, off.Expires = Typing{}, now.Add(passTime)
				e.ev = &off
			}
			at := e.free()
			switch {
			case e.ev != nil && !at.After(now):
				due = append(due, shown{room, e.ev})
				e.show(now)
				later(e.free().Add(time.Millisecond))
			case e.ev != nil:
				later(at)
			case e.typing != nil:
				later(e.ends)
			case at.After(now):
				later(at)
			default:
				p.remove(room, key)
			}
			if e.typing != nil {
				later(e.ends)
			}
		}
	}
	return due, next
}

// free is when e may be shown again. That somebody types no more is shown at once.
func (e *passed) free() time.Time {
	if e.ev == nil {
		return e.shown.Add(typingPause)
	}
	switch b := e.ev.Body.(type) {
	case Typing:
		if !b.On {
			return time.Time{}
		}
		return e.shown.Add(typingPause)
	default:
		return e.shown.Add(readPause)
	}
}

func (e *passed) show(now time.Time) {
	t, isTyping := e.ev.Body.(Typing)
	if !isTyping || t.On {
		e.shown = now
	}
	if isTyping {
		e.typing, e.ends = nil, time.Time{}
		if t.On {
			e.typing, e.ends = e.ev, e.ev.Expires
		}
	}
	e.ev = nil
}
