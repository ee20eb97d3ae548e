package gateway

import "context"

// prepare makes a run of the head of a lane: references in the room's own ids, bodies that the room can show. What
// needs no delivery after all is settled here. It returns the rows that belong to the run.
func (c *courier) prepare(ctx context.Context, lane Address, rows []Queued) (run []Delivery, kept []Queued, settled []Finished, err error) {
	if err := c.resolve(ctx, eventsOf(rows)); err != nil {
		return nil, nil, nil, err
	}
	rows = cut(rows)
	if err := c.localize(ctx, lane, eventsOf(rows)); err != nil {
		return nil, nil, nil, err
	}
	for i := range rows {
		if rows[i].Attempt == 0 && rows[i].Seq <= c.last {
			rows[i].Attempt = 1 // whoever had the network before may have sent it
		}
	}
	known, err := c.known(ctx, lane, rows)
	if err != nil {
		return nil, nil, nil, err
	}
	caps := c.side.Caps(lane)
	for _, row := range rows {
		if row.Event == nil {
			c.log.Error("delivery of a kind that this version does not know is given up", "lane", lane.ID, "seq", row.Seq)
			settled = append(settled, Finished{Seq: row.Seq, Key: row.Key, Dead: true, Reason: "unknown kind of event"})
			continue
		}
		ev := degrade(row.Event, caps)
		if c.hasEnded(row.Seq) {
			c.log.Error("a delivery that an echo has ended waits still; it is not said again", "lane", lane.ID, "event", row.Event.ID)
			ev = nil
		}
		if ev == nil {
			settled = append(settled, Finished{Seq: row.Seq, Key: row.Key})
			continue
		}
		c.remember(ev, lane)
		run = append(run, Delivery{Key: row.Key, Room: lane, Event: ev, Seal: row.Seal, Attempt: row.Attempt, Known: known[row.Event.ID]})
		kept = append(kept, row)
	}
	return run, kept, settled, nil
}

// remember tells the guard against loops what a message looks like in the lane's room.
func (c *courier) remember(ev *Event, lane Address) {
	b, bridged := c.g.router.Load().bridges[lane]
	if m, isMessage := ev.Body.(Message); bridged && isMessage {
		c.g.loops.shown(b.Name, ev.Sender, m)
	}
}

// maxEnded bounds how many deliveries are remembered that an echo has ended.
const maxEnded = 4096

// noteEnded remembers that an echo has ended a delivery.
func (c *courier) noteEnded(seq int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ended) >= maxEnded {
		clear(c.ended)
	}
	c.ended[seq] = true
}

// hasEnded reports whether an echo has ended a delivery, whatever the journal says.
func (c *courier) hasEnded(seq int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended[seq]
}

// known finds what earlier tries brought to the lane's room, by the links that their echoes left.
func (c *courier) known(ctx context.Context, lane Address, rows []Queued) (map[ID][]Part, error) {
	var tried []ID
	for i := range rows {
		if rows[i].Attempt > 0 && rows[i].Event != nil {
			tried = append(tried, rows[i].Event.ID)
		}
	}
	if len(tried) == 0 {
		return nil, nil
	}
	return c.g.journal.Parts(ctx, lane, tried)
}

// eventsOf leaves out what could not be read.
func eventsOf(rows []Queued) []*Event {
	events := make([]*Event, 0, len(rows))
	for i := range rows {
		if rows[i].Event != nil {
			events = append(events, rows[i].Event)
		}
	}
	return events
}

// cut ends the rows before one that points at an earlier one of them: its target has no native id here before that
// was delivered.
func cut(rows []Queued) []Queued {
	inside := map[ID]bool{}
	for i := range rows {
		ev := rows[i].Event
		if ev == nil {
			continue
		}
		inward := false
		refs(ev.Body, func(r Ref) Ref {
			inward = inward || inside[r.ID]
			return r
		})
		if inward {
			return rows[:i]
		}
		inside[ev.ID] = true
	}
	return rows
}
