package ircside

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lockbridge/gateway"
)

// line is one line on its way out. The connection's mutex guards it.
type line struct {
	text   string     // without label and line end; "" once it is not needed any more
	target string     // folded nick or channel; "" for a command
	label  string     // "" for what nobody waits for
	part   string     // of the delivery
	of     *utterance // nil: nobody waits

	sent    time.Time // zero: not yet written
	heard   bool      // its echo came, and is on its way into the journal
	settled bool      // it is known what became of it
	doubt   bool      // settled, but it may have reached the network all the same
	claimed bool      // it came back in a history, or by a ghost of ours
	read    bool      // the journal did not know the id under which it came back
	ends    bool      // its echo told the journal that all of the delivery arrived
	native  string    // the msgid, where the server told it
	err     error
}

// size is how many bytes the line takes on the wire, at most.
func (l *line) size() int { return len(l.text) + len(l.label) + len("@label= \r\n") }

// utterance is one delivery on its way out, over all its attempts.
type utterance struct {
	key, lane string
	at        gateway.Address // where its echoes are recorded; zero for what is told to one person about another line
	lines     []*line
	left      int           // lines that are not settled
	done      chan struct{} // closed when none is left
	ended     bool          // done is closed
	recorded  bool          // the journal has taken the echo that ends the delivery
	err       error         // it was never queued in this attempt, for this reason
}

// settle records what became of a line; only the first word counts. After the first line that failed, the rest of its
// utterance is not written any more.
func (c *conn) settle(l *line, err error) {
	u := l.of
	if u == nil || l.settled {
		return
	}
	l.settled, l.err = true, err
	if err == nil {
		l.text = ""
	}
	u.left--
	if err != nil {
		c.takeBack(u)
	}
	u.end()
}

// takeBack fails the lines of u that were not written yet.
func (c *conn) takeBack(u *utterance) {
	waiting := false
	for _, l := range u.lines {
		if !l.settled && !l.heard && l.sent.IsZero() {
			l.settled, l.err, waiting = true, errWithdrawn, true
			u.left--
		}
	}
	if waiting && c.sess != nil {
		c.sess.pace.withdraw(u.lane, func(l *line) bool { return l.of == u && l.settled })
	}
	u.end()
}

// end tells who waits for u, once all is known.
func (u *utterance) end() {
	if u.left == 0 && !u.ended {
		u.ended = true
		close(u.done)
	}
}

// outcome is what became of u, all of whose lines are settled. Where the journal has ended the delivery with its last
// echo, nothing is left to tell.
func (u *utterance) outcome() gateway.Outcome {
	if err := u.failure(); err != nil {
		return gateway.Failed(err)
	}
	if u.recorded {
		return gateway.Outcome{Ended: true}
	}
	var parts []gateway.Part
	for _, l := range u.lines {
		if l.native != "" {
			parts = append(parts, gateway.Part{Name: l.part, Native: l.native})
		}
	}
	return gateway.Sent(parts...)
}

// failure is the first error of its lines.
func (u *utterance) failure() error {
	for _, l := range u.lines {
		if l.err != nil && !errors.Is(l.err, errWithdrawn) {
			return l.err
		}
	}
	for _, l := range u.lines {
		if l.err != nil {
			return l.err
		}
	}
	return nil
}

var errWithdrawn = errors.New("not said because something before it failed")

// say queues the lines of a run. What cannot be said now ends it.
func (c *conn) say(run []gateway.Delivery) []*utterance {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*utterance, 0, len(run))
	for _, d := range run {
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
func (c *conn) prepare(d gateway.Delivery) *utterance {
	if err := c.hindrance(d); err != nil {
		return &utterance{err: err}
	}
	u := c.said[d.Key]
	if u == nil {
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

// utter makes an utterance. Lines that an earlier process is known to have said are settled.
func (c *conn) utter(d gateway.Delivery) (*utterance, error) {
	lim := limits{payload: c.sess.payload, lines: c.side.cfg.MaxLines, name: c.nameOf(d.Room), now: c.side.clock.now()}
	out, err := encode(d, c.side.deps.Direct, lim)
	if err != nil {
		return nil, err
	}
	u := &utterance{key: d.Key, lane: c.casemap.fold(c.nameOf(d.Room)), at: d.Room, left: len(out.lines), done: make(chan struct{})}
	if _, private := d.Event.Body.(gateway.Receipt); private {
		u.at = gateway.Address{}
	}
	folded := c.casemap.fold(out.target)
	for i, text := range out.lines {
		l := &line{
			text: out.command + " " + out.target + " :" + text, target: folded, part: partName(i), of: u,
		}
		l.label = makeLabel(d.Key, l.part)
		u.lines = append(u.lines, l)
	}
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
		fresh := &line{text: l.text, target: l.target, label: l.label, part: l.part, of: u}
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
