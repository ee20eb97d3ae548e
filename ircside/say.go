package ircside

import (
	"context"
	"errors"
	"time"

	"lockbridge/gateway"
)

// line is one line on its way out. The connection's mutex guards it until done is closed.
type line struct {
	text      string          // without label and line end
	target    string          // folded nick or channel; "" for a command
	at        gateway.Address // where its echo is recorded; zero for what is told to one person about another line
	key, part string          // of the delivery; "" for what nobody waits for
	sent      time.Time       // zero: not yet written
	heard     bool            // its echo came, and is on its way into the journal

	done    chan struct{} // closed when it is known what became of the line; nil: nobody waits
	settled bool
	native  string // the msgid, where the server told it
	err     error
}

// settle records what became of a line; only the first word counts.
func (l *line) settle(err error) {
	if l.done == nil || l.settled {
		return
	}
	l.settled, l.err = true, err
	close(l.done)
}

// wait returns when the line is settled, or false when ctx ends before.
func (l *line) wait(ctx context.Context) bool {
	select {
	case <-l.done:
		return true
	default:
	}
	select {
	case <-l.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// utterance is one delivery on its way out.
type utterance struct {
	key   string
	lane  string
	lines []*line
	err   error // it was never queued, for this reason
}

// parts are the ids that the lines got.
func (u *utterance) parts() []gateway.Part {
	var out []gateway.Part
	for _, l := range u.lines {
		if l.native != "" {
			out = append(out, gateway.Part{Name: l.part, Native: l.native})
		}
	}
	return out
}

var errWithdrawn = errors.New("not said because something before it failed")

// say queues the lines of a run. What cannot be said now ends it.
func (c *conn) say(run []gateway.Delivery) []*utterance {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*utterance
	for _, d := range run {
		u := c.prepare(d)
		out = append(out, u)
		if u.err != nil && !gateway.IsDrop(u.err) {
			break
		}
		for _, l := range u.lines {
			if !l.settled && l.sent.IsZero() {
				c.sess.pace.push(u.lane, l)
			}
		}
	}
	if c.sess != nil {
		c.sess.nudge()
	}
	return out
}

// prepare makes the lines of a delivery, or finds those that an earlier attempt has not brought through.
func (c *conn) prepare(d gateway.Delivery) *utterance {
	u := &utterance{key: d.Key}
	r := c.rooms[c.casemap.fold(d.Room.ID)]
	local, _, chat := d.Room.Direct()
	_, private := d.Event.Body.(gateway.Receipt)
	switch {
	case r == nil && !chat:
		u.err = gateway.Dropf("%s is not bridged", d.Room.ID)
	case c.sess == nil || !c.sess.registered:
		u.err = gateway.Later(2*time.Second, c.away)
	case chat && c.sess.isMe(local.ID):
		u.err = gateway.Dropf("%s is this gateway itself", c.sess.nick)
	case chat || private:
	case r.state == roomAsked:
		u.err = gateway.Later(time.Second, r.absence())
	case r.state == roomOut:
		u.err = gateway.Later(max(r.due.Sub(c.side.clock.now()), time.Second), r.absence())
	}
	if u.err != nil {
		return u
	}
	u.lane = c.casemap.fold(d.Room.ID)
	if old := c.said[d.Key]; old != nil {
		u.lines = old.again()
	} else {
		said, err := encode(d, c.side.deps.Direct, limits{payload: c.sess.payload, lines: c.side.cfg.MaxLines})
		if err != nil {
			u.err = err
			return u
		}
		at := d.Room
		if private {
			at = gateway.Address{}
		}
		for i, text := range said.lines {
			u.lines = append(u.lines, &line{
				text: said.command + " " + said.target + " :" + text, target: c.casemap.fold(said.target),
				at: at, key: d.Key, part: partName(i), done: make(chan struct{}),
			})
		}
	}
	c.remember(u)
	return u
}

// again returns the lines of an utterance for another attempt: those that were confirmed, or refused for good, stay so,
// and those that are still on their way are only waited for.
func (u *utterance) again() []*line {
	out := make([]*line, len(u.lines))
	for i, l := range u.lines {
		out[i] = l
		if l.settled && l.err != nil && !gateway.IsDrop(l.err) {
			out[i] = &line{text: l.text, target: l.target, at: l.at, key: l.key, part: l.part, done: make(chan struct{})}
		}
	}
	return out
}

// maxSaid is how many deliveries are remembered, so that one whose outcome was lost is not said again.
const maxSaid = 1024

func (c *conn) remember(u *utterance) {
	if c.said[u.key] == nil {
		c.saidOrder = append(c.saidOrder, u.key)
	}
	c.said[u.key] = u
	if len(c.saidOrder) > maxSaid {
		delete(c.said, c.saidOrder[0])
		c.saidOrder = c.saidOrder[1:]
	}
}

// begun reports whether a line of u was written in this attempt, or the delivery has its outcome already.
func (c *conn) begun(u *utterance) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u.err != nil {
		return gateway.IsDrop(u.err)
	}
	for _, l := range u.lines {
		if !l.sent.IsZero() {
			return true
		}
	}
	return false
}

// await waits until it is known what became of u. After the first line that failed the rest is not written any more.
func (c *conn) await(ctx context.Context, u *utterance) error {
	first := u.err
	for _, l := range u.lines {
		if !l.wait(ctx) {
			c.withdraw([]*utterance{u})
			return ctx.Err()
		}
		if l.err != nil && first == nil {
			first = l.err
			c.withdraw([]*utterance{u})
		}
	}
	return first
}

// withdraw takes back the lines that were not written yet.
func (c *conn) withdraw(said []*utterance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range said {
		mine := map[*line]bool{}
		for _, l := range u.lines {
			if l.sent.IsZero() && !l.settled {
				mine[l] = true
				l.settle(errWithdrawn)
			}
		}
		if c.sess != nil && len(mine) > 0 {
			c.sess.pace.withdraw(u.lane, func(l *line) bool { return mine[l] })
		}
	}
}
