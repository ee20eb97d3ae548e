package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
)

// prepared is the head of a lane, made ready to be said.
type prepared struct {
	run     []Delivery
	rows    []Queued // of run, one each
	settled []Finished
	// late are the events that retractions of the lane take back, as far as that turned out only now.
	late map[int64]ID
	// with are rows whose words others of the run say, by Seq; see folding.
	with map[int64][]Queued
}

// finish ends a row that needs no delivery after all.
func (p *prepared) finish(rows ...Queued) {
	for _, row := range rows {
		p.settled = append(p.settled, Finished{Seq: row.Seq, Key: row.Key, Retracted: p.late[row.Seq]})
	}
}

// ended is how many rows need nothing more.
func (p *prepared) ended() (n int) {
	for i := range p.settled {
		if !p.settled[i].Retry {
			n++
		}
	}
	return n
}

// prepare makes a run of the head of a lane: references in the room's own ids, bodies that the room can show. What
// needs no delivery after all is settled here. full: more may wait behind the rows.
func (c *courier) prepare(ctx context.Context, lane Address, rows []Queued, full bool) (p prepared, err error) {
	var nowhere, over []Queued
	if rows, p.late, nowhere, err = c.resolve(ctx, lane, rows); err != nil {
		return p, err
	}
	if len(nowhere) > 0 {
		c.g.metrics.dropped.WithLabelValues(c.network).Add(float64(len(nowhere)))
		p.finish(nowhere...)
	}
	for i := range rows {
		if rows[i].Attempt == 0 && rows[i].Seq <= c.last {
			rows[i].Attempt = 1 // whoever had the network before may have sent it
		}
	}
	caps := c.side.Caps(lane)
	rows = c.fold(&p, lane, rows, caps, full)
	rows, over = latest(rows)
	p.finish(over...)
	rows = cut(rows)
	events := eventsOf(rows)
	if err := c.localize(ctx, lane, events); err != nil {
		return p, err
	}
	if err := c.present(ctx, lane, events); err != nil {
		return p, err
	}
	known, err := c.known(ctx, lane, rows)
	if err != nil {
		return p, err
	}
	for _, row := range rows {
		if row.Event == nil {
			c.log.Error("delivery of a kind that this version does not know is given up", "lane", lane.ID, "seq", row.Seq)
			p.settled = append(p.settled, Finished{Seq: row.Seq, Key: row.Key, Dead: true, Reason: "unknown kind of event"})
			continue
		}
		ev, err := c.shape(ctx, &row, caps)
		if err != nil {
			return p, err
		}
		if c.ended.has(row.Seq) {
			c.log.Error("a delivery that an echo has ended waits still; it is not said again", "lane", lane.ID, "event", row.Event.ID)
			ev = nil
		}
		if ev == nil {
			p.finish(row)
			continue
		}
		c.remember(ev, lane)
		p.run = append(p.run, Delivery{Key: row.Key, Room: lane, Event: ev, Seal: row.Seal, Attempt: row.Attempt, Known: known[row.Event.ID]})
		p.rows = append(p.rows, row)
	}
	return p, nil
}

// shape makes a row's event fit for its room; nil: it needs no delivery.
func (c *courier) shape(ctx context.Context, row *Queued, caps Caps) (*Event, error) {
	if row.Seal { // a reason is content, and rides on what cannot be sealed
		row.Event.Body = withoutReason(row.Event.Body)
	}
	if c.plain.has(row.Seq) {
		caps = Caps{Notes: true}
	}
	if err := c.linkFiles(ctx, row, caps); err != nil {
		return nil, err
	}
	ev := degrade(row.Event, caps)
	if ev == nil && misses(row.Event.Body) {
		c.g.metrics.dropped.WithLabelValues(c.network).Inc()
	}
	return ev, nil
}

// misses reports whether the room has nothing that a body could act on.
func misses(b Body) bool {
	switch b := b.(type) {
	case Retract:
		return len(b.Target.Parts) == 0
	case Reaction:
		return len(b.Target.Parts) == 0
	}
	return false
}

// linkFiles makes links to the files that the room does not take.
func (c *courier) linkFiles(ctx context.Context, row *Queued, caps Caps) error {
	var files []File
	events := []ID{row.Event.ID}
	switch b := row.Event.Body.(type) {
	case Message:
		files = b.Files
	case Edit:
		files, events = b.Files, append(events, b.Target.ID)
	}
	if len(files) == 0 || c.g.media == nil {
		return nil
	}
	files = slices.Clone(files)
	for i := range files {
		f := &files[i]
		if caps.takes(*f) {
			continue
		}
		link, err := c.g.media.Link(ctx, Origin{Key: row.Key + "/" + strconv.Itoa(i), Events: slices.DeleteFunc(slices.Clone(events), ID.IsZero)}, *f)
		if errors.Is(err, ErrStore) || ctx.Err() != nil {
			return err
		}
		if err != nil {
			c.log.Info("there is no link to a file", "event", row.Event.ID, "lane", row.Room.ID, "err", err)
		}
		f.Link = link
	}
	switch b := row.Event.Body.(type) {
	case Message:
		b.Files = files
		row.Event.Body = b
	case Edit:
		b.Files = files
		row.Event.Body = b
	}
	return nil
}

// fold joins quick edits with what they are about, and leaves what may still change. It returns the rows to be said.
func (c *courier) fold(p *prepared, lane Address, rows []Queued, caps Caps, full bool) []Queued {
	if caps.Fold == 0 && caps.Hold == 0 && (caps.Reaction || !caps.ReactionNotes) {
		return rows
	}
	f := fold(rows, caps, c.g.now(), full)
	p.finish(f.ended...)
	p.with = f.with
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(f.left) == 0 || len(f.say) > 0 { // what is left is held once it is the head: before it something may fail
		delete(c.held, lane)
		return f.say
	}
	c.held[lane] = rows[len(rows)-1].Seq
	if head := f.left[0]; head.Due.UnixMilli() != f.due.UnixMilli() {
		p.settled = append(p.settled, Finished{Seq: head.Seq, Key: head.Key, Retry: true, Due: f.due, Attempt: head.Attempt})
	}
	return f.say
}

// followed reports whether more has come to a lane than when its head was held back.
func (c *courier) followed(lane Address, rows []Queued) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, held := c.held[lane]
	return held && rows[len(rows)-1].Seq > last
}

// release forgets that a lane was held back.
func (c *courier) release(lane Address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, lane)
}

// lookBehind looks into the lanes that are held back: what has come there may be what was waited for.
func (c *courier) lookBehind(stop, hard context.Context) {
	c.mu.Lock()
	lanes := slices.Collect(maps.Keys(c.held))
	c.mu.Unlock()
	for _, lane := range lanes {
		c.start(stop, hard, lane)
	}
}

// remember tells the guard against loops what a message looks like in the lane's room.
func (c *courier) remember(ev *Event, lane Address) {
	if b, bridged := c.g.router.Load().bridges[lane]; bridged {
		c.g.loops.shown(b.Name, ev.Sender, ev.Body)
	}
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
// was delivered. A retraction takes back edits, too, for they may be messages here.
func cut(rows []Queued) []Queued {
	inside, edited := map[ID]bool{}, map[ID]bool{}
	for i := range rows {
		ev := rows[i].Event
		if ev == nil {
			continue
		}
		inward := false
		_, isRetract := ev.Body.(Retract)
		refs(ev.Body, func(r Ref) Ref {
			inward = inward || inside[r.ID] || isRetract && edited[r.ID]
			return r
		})
		if inward {
			return rows[:i]
		}
		inside[ev.ID] = true
		if e, isEdit := ev.Body.(Edit); isEdit {
			edited[e.Target.ID] = true
		}
	}
	return rows
}
