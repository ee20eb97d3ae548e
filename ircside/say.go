package ircside

import (
	"context"
	"fmt"
	"time"

	"lockbridge/gateway"
)

// say queues the lines of a run. What cannot be said now ends it.
func (c *conn) say(run []brief) []*utterance {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*utterance, 0, len(run))
	for i, d := range run {
		if d.in != i {
			out = append(out, out[d.in])
			continue
		}
		u := c.prepare(d)
		out = append(out, u)
		if u.err != nil {
			if !gateway.IsDrop(u.err) {
				break
			}
			continue
		}
		for _, l := range u.lines {
			if !l.settled && !l.heard && l.sent.IsZero() {
				c.sess.pace.push(u.lane, l)
			}
		}
	}
	if c.sess != nil {
		c.sess.nudge()
	}
	return out
}

// awaitPlace waits a moment while a login, a JOIN or the reading of a history is under way that a run needs, so that it
// is said as soon as that is over.
func (c *conn) awaitPlace(ctx context.Context, run []gateway.Delivery) {
	var end <-chan time.Time
	for {
		c.mu.Lock()
		soon, changed := c.soon(run), c.changed
		c.mu.Unlock()
		if !soon {
			return
		}
		if end == nil {
			end = c.side.clock.after(c.side.timings.soon)
		}
		select {
		case <-changed:
		case <-end:
			return
		case <-ctx.Done():
			return
		}
	}
}

// soon reports whether a run cannot be said yet, and what it waits for is under way.
func (c *conn) soon(run []gateway.Delivery) bool {
	if !c.running || !c.retryAt.IsZero() {
		return false
	}
	if c.sess == nil || !c.sess.registered {
		return true
	}
	if r := c.byID[run[0].Room.ID]; r != nil && (r.state == roomAsked || r.state == roomOut && !c.side.clock.now().Before(r.due)) {
		return true
	}
	for _, d := range run {
		if c.unsure(d) {
			return true
		}
	}
	return false
}

// nameOf is what a room is called on the wire.
func (c *conn) nameOf(room gateway.Address) string {
	if r := c.byID[room.ID]; r != nil {
		return r.name
	}
	return room.ID
}

// prepare makes the lines of a delivery, or finds those that an earlier attempt has not brought through.
func (c *conn) prepare(d brief) *utterance {
	if err := c.hindrance(d.Delivery); err != nil {
		return &utterance{err: err}
	}
	u := c.said[d.Key]
	if u == nil || u.untouched() {
		var err error
		if u, err = c.utter(d); err != nil {
			return &utterance{err: err}
		}
		c.remember(u)
	}
	c.again(u)
	c.know(u, d.Known)
	return u
}

// hindrance says why a delivery cannot be said now, if so.
func (c *conn) hindrance(d gateway.Delivery) error {
	const most = time.Minute // longer pauses are cut, so that the lane notices when the hindrance is gone
	r := c.byID[d.Room.ID]
	local, _, chat := d.Room.Direct()
	_, private := d.Event.Body.(gateway.Receipt)
	now := c.side.clock.now()
	until := func(t time.Time) time.Duration { return min(max(t.Sub(now), 100*time.Millisecond), most) }
	switch {
	case r == nil && !chat:
		return gateway.Dropf("%s is not bridged", d.Room.ID)
	case c.sess == nil || !c.sess.registered:
		return gateway.Later(max(until(c.retryAt), time.Second), c.away) // the network's Ready ends it sooner
	case chat && c.sess.isMe(local.ID):
		return gateway.Dropf("%s is this gateway itself", c.sess.nick)
	case c.unsure(d):
		return gateway.Later(100*time.Millisecond, errReadingBack)
	case chat || private:
	case r.state == roomAsked:
		return gateway.Later(time.Second, r.absence())
	case r.state == roomOut:
		return gateway.Later(until(r.due), r.absence())
	case now.Before(r.mutedUntil):
		return gateway.Later(until(r.mutedUntil), r.muted)
	}
	return nil
}

// limits are what the session and the room decide about how d is said.
func (c *conn) limits(d gateway.Delivery) limits {
	s := c.sess
	lim := limits{
		payload: s.payload, lines: c.side.cfg.MaxLines, name: c.nameOf(d.Room), now: c.side.clock.now(), topic: s.topicLen,
		called: c.called(c.byID[d.Room.ID]), tags: s.takesTag, redact: s.caps[capRedact], multi: s.multi,
		shown: func(target, emoji string) bool { return c.reacted[reacted{target, emoji}] },
	}
	if topic, known := c.topics[d.Room.ID]; known {
		lim.about = &topic
	}
	return lim
}

// utter makes an utterance. Lines that an earlier process is known to have said are settled.
func (c *conn) utter(d brief) (*utterance, error) {
	lim := c.limits(d.Delivery)
	lim.link = d.link
	out, err := encode(d.Delivery, c.side.deps.Direct, lim)
	if err != nil {
		return nil, err
	}
	u := &utterance{
		key: d.Key, lane: c.casemap.fold(c.nameOf(d.Room)), at: d.Room, left: len(out.lines), done: make(chan struct{}),
		lines: out.lines, gives: out.gives, gone: out.gone,
	}
	if out.silent {
		u.at = gateway.Address{}
	}
	folded := c.casemap.fold(out.target)
	for i, l := range u.lines {
		l.target, l.of, l.label = folded, u, makeLabel(d.Key, partName(i))
		if l.expires {
			l.until = lim.now.Add(c.side.timings.stale)
		}
	}
	if m, ok := d.Event.Body.(gateway.Message); ok && m.Note {
		for _, l := range u.lines {
			l.low, l.expires, l.until = true, true, lim.now.Add(c.side.timings.stale)
		}
	}
	u.end()
	if d.Attempt > 0 {
		c.know(u, d.Known)
		c.recall(u)
	}
	return u, nil
}

// again readies an utterance for another attempt: lines that were confirmed stay so, and those that are still on their
// way are only waited for. One that was refused for good is tried, too: an operator wants it. A line in doubt is looked
// for among those of ours that came back.
func (c *conn) again(u *utterance) {
	for i, l := range u.lines {
		if !l.settled || l.err == nil {
			continue
		}
		fresh := l.again()
		u.lines[i] = fresh
		if u.ended {
			u.ended, u.done = false, make(chan struct{})
		}
		u.left++
		if l.doubt {
			c.claim(fresh)
		}
	}
}

// maxSaid is how many deliveries are remembered, so that one whose outcome was lost is not said again.
const maxSaid = 2048

func (c *conn) remember(u *utterance) {
	c.said[u.key] = u
	c.saidOrder = append(c.saidOrder, u.key)
	if len(c.saidOrder) > maxSaid {
		delete(c.said, c.saidOrder[0])
		c.saidOrder = c.saidOrder[1:]
	}
}

// begun reports whether a line of u was written, or the delivery has its outcome already.
func (c *conn) begun(u *utterance) bool {
	if u.err != nil {
		return gateway.IsDrop(u.err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range u.lines {
		if !l.sent.IsZero() || l.native != "" {
			return true
		}
	}
	return false
}

// await waits until it is known what became of u.
func (c *conn) await(ctx context.Context, u *utterance) gateway.Outcome {
	if u.err != nil {
		return gateway.Failed(u.err)
	}
	c.mu.Lock()
	done := u.done
	c.mu.Unlock()
	var cut error
	select {
	case <-done:
	default:
		select {
		case <-done:
		case <-ctx.Done():
			cut = ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cut != nil {
		c.takeBack(u)
		return gateway.Failed(fmt.Errorf("wait for a confirmation: %w", cut))
	}
	return u.outcome()
}

// withdraw takes back the lines that were not written yet.
func (c *conn) withdraw(said []*utterance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range said {
		if u.err == nil {
			c.takeBack(u)
		}
	}
}
