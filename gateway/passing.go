package gateway

import (
	"context"
	"fmt"
	"runtime/debug"
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
	// typingTime is after how long somebody of whom nothing more is heard types no more, and passTime how long anything
	// else waits at most.
	typingTime = 30 * time.Second
	passTime   = time.Minute
	// showTime bounds one call of Passer.Pass.
	showTime = 5 * time.Second
	// maxUsed bounds the direct chats that are remembered for being in use.
	maxUsed = 4096
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
	typing *Event    // what is shown, until it ends
	ends   time.Time // of typing
}

func newPassing(now func() time.Time) *passing {
	return &passing{now: now, news: make(chan struct{}, 1), rooms: map[Address]map[passKey]*passed{}}
}

// kindOf tells what replaces what.
func kindOf(b Body) string {
	if r, ok := b.(Receipt); ok {
		return string(r.State)
	}
	return b.Kind()
}

// put has ev shown in room. It keeps ev.
func (p *passing) put(room Address, ev *Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, key := p.now(), passKey{personKey{ev.Sender.Network, ev.Sender.ID}, kindOf(ev.Body)}
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
	e.came = now
	limit := passTime
	if isTyping && t.On {
		limit = typingTime
	}
	if end := now.Add(limit); ev.Expires.After(end) || ev.Expires.IsZero() {
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

// pass has what expires shown in the rooms that it goes to. It is for after the commit: nothing of it is worth a
// transaction.
func (in *inbox) pass(ctx context.Context, arrivals []Arrival, events []*Event) {
	for i := range arrivals {
		arrival := &arrivals[i]
		if !in.keeps(arrival.At) {
			continue
		}
		ev, err := readPassing(ctx, arrival)
		if err != nil {
			in.g.log.Debug("something that expires could not be read", "network", in.network, "room", arrival.At.ID, "err", err)
		}
		if ev != nil {
			ev.At = arrival.At
			events = append(events, ev)
		}
	}
	for _, ev := range events {
		for _, room := range in.g.passes(ctx, ev) {
			if p := in.g.passing[room.Network]; p != nil {
				one := *ev
				p.put(room, &one)
			}
		}
	}
}

func readPassing(ctx context.Context, arrival *Arrival) (ev *Event, err error) {
	defer func() {
		if p := recover(); p != nil { // its value may quote what somebody wrote
			ev, err = nil, fmt.Errorf("panic: %T", p)
		}
	}()
	ev, err = arrival.Read(ctx)
	if err != nil || ev == nil || ev.Body == nil || ev.Sender.IsZero() {
		return nil, err
	}
	return ev, nil
}

// passes lists the rooms in which something that expires is shown.
func (g *Gateway) passes(ctx context.Context, ev *Event) (rooms []Address) {
	r := g.router.Load()
	local, remote, direct := ev.At.Direct()
	switch b := ev.Body.(type) {
	case Typing:
		if !g.privacy.Typing {
			return nil
		}
	case Receipt:
		all := g.privacy.Receipts == ReceiptsAll
		if b.State == Undeliverable || !all && !(direct && g.privacy.Receipts == ReceiptsDirect) {
			return nil
		}
	case Presence:
	default:
		return nil
	}
	if !r.admits(ev) {
		return nil
	}
	if direct {
		if r.direct.Refuses(local, remote) == "" && g.inUse(ctx, ev.At) {
			rooms = append(rooms, ev.At.Mirror())
		}
	} else if b, bridged := r.bridges[ev.At]; bridged {
		for _, q := range r.others(b, ev) {
			rooms = append(rooms, q.Room)
		}
	}
	kept := rooms[:0]
	for _, room := range rooms {
		if !r.drops(room) {
			kept = append(kept, room)
		}
	}
	return kept
}

// inUse reports whether a direct chat has begun: who only types in one reaches nobody. Those that have are remembered.
func (g *Gateway) inUse(ctx context.Context, chat Address) bool {
	g.mu.Lock()
	known := g.used[chat]
	g.mu.Unlock()
	if known {
		return true
	}
	used, err := g.journal.Used(ctx, []Address{chat, chat.Mirror()})
	if err != nil || !used[chat] && !used[chat.Mirror()] {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.used) >= maxUsed {
		clear(g.used)
	}
	g.used[chat] = true
	return true
}

// passes shows what waits for the network's rooms until stop ends.
func (c *courier) passes(stop context.Context, to Passer) {
	p := c.g.passing[c.network]
	for stop.Err() == nil {
		due, next := p.take()
		for _, s := range due {
			c.pass(stop, to, s)
		}
		pause := passTime
		if !next.IsZero() {
			pause = min(pause, max(next.Sub(p.now()), time.Millisecond))
		}
		timer := time.NewTimer(pause)
		select {
		case <-stop.Done():
		case <-p.news:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pass shows one thing, or forgets it.
func (c *courier) pass(stop context.Context, to Passer, s shown) {
	ctx, cancel := context.WithTimeout(stop, showTime)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic in showing what expires", "lane", s.room.ID, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
		}
	}()
	if !c.lease.Held() {
		return
	}
	ev, err := c.expiring(ctx, s)
	if err != nil {
		c.log.Debug("cannot show what expires", "lane", s.room.ID, "err", err)
	}
	if ev != nil {
		to.Pass(ctx, s.room, ev)
	}
}

// expiring makes an event fit for its room; nil: it is not for that room.
func (c *courier) expiring(ctx context.Context, s shown) (*Event, error) {
	if natives := nativesOf([]*Event{s.ev}); len(natives) > 0 {
		targets, err := c.g.journal.Targets(ctx, natives)
		if err != nil {
			return nil, err
		}
		resolve(s.ev, targets)
	}
	if b, ok := s.ev.Body.(Receipt); ok {
		_, _, direct := s.room.Direct()
		if b.Target.ID.IsZero() || direct && b.Target.Author.Network != s.room.Network {
			return nil, nil //nolint:nilnil // it goes nowhere
		}
	}
	if err := c.localize(ctx, s.room, []*Event{s.ev}); err != nil {
		return nil, err
	}
	return degrade(s.ev, c.side.Caps(s.room)), nil
}
