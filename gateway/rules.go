package gateway

import (
	"context"
	"maps"
	"time"
)

// SetBridges replaces Config.Bridges while the gateway runs. Events that are accepted from then on go by the new
// bridges; rooms that are in both stay as they are. What still waits for a room that is in none any more is given up,
// and its sender told. It returns before the sides have entered and left their rooms.
func (g *Gateway) SetBridges(bridges []Bridge) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// The router first: it knows a room before its side speaks of it.
	was := g.router.Load()
	now := newRouter(bridges, was.direct, g.caps)
	now.gone = maps.Clone(was.gone)
	if now.gone == nil {
		now.gone = map[Address]bool{}
	}
	for room := range was.bridges {
		now.gone[room] = true
	}
	for room := range now.bridges {
		delete(now.gone, room)
	}
	g.router.Store(now)
	g.loops.keep(bridges)
	g.names.keep(bridges)
	for network, side := range g.sides {
		side.SetRooms(RoomsOf(network, bridges))
	}
	for c := range g.couriers { // what waits in lanes that are gone, and in those that were unknown
		select {
		case c.rules <- struct{}{}:
		default:
		}
	}
}

// knows reports whether anything is to be delivered to a room: it is bridged, or a direct chat.
func (r *router) knows(lane Address) bool {
	_, bridged := r.bridges[lane]
	if bridged {
		return true
	}
	_, _, direct := lane.Direct()
	return direct
}

// What senders are told of deliveries that are given up without a try.
const (
	notBridged = "the room is not bridged any more"
	tooMuch    = "too much waits for the room already"
)

const (
	// unknownTime is how long deliveries wait for a room that is not bridged and never was: another process, which
	// accepted them, may have read the new rules a moment before us. It is looked for each unknownPause.
	unknownTime  = time.Minute
	unknownPause = 5 * time.Second
)

// turnAway deals with a lane whose room is not bridged: what waits there is given up, unless it may be bridged soon.
func (c *courier) turnAway(ctx context.Context, lane Address) error {
	rows, err := c.g.journal.Head(ctx, lane, 1)
	if err != nil || len(rows) == 0 {
		return err
	}
	now, head := c.g.now(), rows[0]
	if c.g.router.Load().gone[lane] || now.Sub(head.Accepted).Abs() > unknownTime { // their clocks may differ a little
		return c.giveUp(ctx, lane, 0, notBridged)
	}
	if head.Due.After(now) {
		return nil
	}
	s := settlement{courier: c, done: []Finished{{
		Seq: head.Seq, Key: head.Key, Retry: true, Due: now.Add(unknownPause), Attempt: head.Attempt, Problem: "the room is not bridged",
	}}}
	return s.commit(ctx)
}

// giveUpBatch is how many deliveries are given up in one transaction.
const giveUpBatch = 200

// giveUp ends the deliveries that wait in a lane behind the first n. Of a lane that stays full as many texts are kept as
// may wait in it, not more: else what is given up would grow instead.
func (c *courier) giveUp(ctx context.Context, lane Address, n int, reason string) error {
	for {
		rows, err := c.g.journal.Beyond(ctx, lane, n, giveUpBatch)
		if err != nil || len(rows) == 0 {
			return err
		}
		s := settlement{courier: c}
		for i := range rows {
			f := Finished{Seq: rows[i].Seq, Key: rows[i].Key, Dead: true, Wipe: !c.keeps(lane), Reason: reason}
			if rows[i].Event == nil {
				s.done = append(s.done, f)
				continue
			}
			s.end(&rows[i], rows[i].Event, f, nil)
		}
		if err := s.commit(ctx); err != nil || len(rows) < giveUpBatch {
			return err
		}
	}
}

// keeps counts one more text that is kept of a full lane, if there is room for it.
func (c *courier) keeps(lane Address) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept[lane] >= c.g.limit {
		return false
	}
	c.kept[lane]++
	return true
}

// attach tells a courier of new rules until the function that it returns is called.
func (g *Gateway) attach(c *courier) (detach func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.couriers[c] = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.couriers, c)
	}
}
