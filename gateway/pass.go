package gateway

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

const (
	// showTime bounds one call of Passer.Pass.
	showTime = 5 * time.Second
	// maxUsed bounds the direct chats that are remembered for being in use.
	maxUsed = 4096
)

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
		if b.Target.ID.IsZero() {
			c.g.passing[c.network].again(s)
			return nil, nil //nolint:nilnil // it is looked at again
		}
		if direct && b.Target.Author.Network != s.room.Network {
			return nil, nil //nolint:nilnil // it goes nowhere
		}
	}
	if err := c.localize(ctx, s.room, []*Event{s.ev}); err != nil {
		return nil, err
	}
	return degrade(s.ev, c.side.Caps(s.room)), nil
}
