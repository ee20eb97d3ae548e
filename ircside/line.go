package ircside

import (
	"errors"
	"slices"
	"strings"
	"time"

	"lockbridge/gateway"
)

// line is one line on its way out. The connection's mutex guards it.
type line struct {
	text   string     // without tags and line end; "" once it is not needed any more
	tags   string     // client-only ones
	rest   []string   // lines that leave together with it, whole: those of a batch
	joined string     // of a batch: the command and all of the text, by which it is recognised
	target string     // folded nick or channel; "" for a command
	label  string     // "" for what nobody waits for
	part   string     // of the delivery
	of     *utterance // nil: nobody waits

	low         bool           // it lets text of its channel go before it
	expires     bool           // it is not worth saying much later
	until       time.Time      // and so not after this
	foreign     bool           // it takes back what somebody else on this network said
	gives, gone []gateway.Part // what it adds to and takes away of somebody's reactions
	reacted     reacted        // what it shows of us, or shows no more
	wrote       bool           // an earlier try of it was written

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
func (l *line) size() int {
	n := len(l.text) + len(l.label) + len(l.tags) + len("@label=; \r\n")
	for _, text := range l.rest {
		n += len(text) + len("\r\n")
	}
	return n
}

// isFormatted reports whether there are formatting codes in it.
func (l *line) isFormatted() bool { return strings.ContainsAny(l.text+l.joined, formatCodes) }

// cost is how many lines it counts as.
func (l *line) cost() int { return 1 + len(l.rest) }

// reacted is a reaction of the relay's: to which message, and with what.
type reacted struct{ target, emoji string }

// maxReacted is how many of them are remembered. What is forgotten is said once more.
const maxReacted = 4096

// utterance is one delivery on its way out, over all its attempts.
type utterance struct {
	key, lane string
	at        gateway.Address // where its echoes are recorded; zero for what nobody can refer to
	lines     []*line
	gives     []gateway.Part // see outgoing
	gone      []gateway.Part
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
		c.noteReacted(l)
		l.text, l.rest, l.joined = "", nil, ""
	}
	u.left--
	if err != nil {
		c.takeBack(u)
		if gateway.IsPlainer(err) {
			delete(c.said, u.key) // what comes under its key now is another text
		}
	}
	u.end()
}

// noteReacted remembers what the relay shows of reactions.
func (c *conn) noteReacted(l *line) {
	switch {
	case l.reacted.emoji == "" || l.sent.IsZero():
	case len(l.gives) == 0:
		delete(c.reacted, l.reacted)
	default:
		if len(c.reacted) >= maxReacted {
			clear(c.reacted)
		}
		c.reacted[l.reacted] = true
	}
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
		if gateway.IsPlainer(err) && u.partly() {
			err = gateway.Drop(errors.Unwrap(err)) // it cannot be said anew
		}
		return gateway.Failed(err)
	}
	if u.recorded {
		return gateway.Outcome{Ended: true}
	}
	out := gateway.Outcome{Parts: slices.Clone(u.gives), Gone: slices.Clone(u.gone)}
	for _, l := range u.lines {
		if l.native != "" {
			out.Parts = append(out.Parts, gateway.Part{Name: l.part, Native: l.native})
		}
		if !l.sent.IsZero() {
			out.Parts, out.Gone = append(out.Parts, l.gives...), append(out.Gone, l.gone...)
		}
	}
	return out
}

// partly reports whether some of its lines arrived.
func (u *utterance) partly() bool {
	return slices.ContainsFunc(u.lines, func(l *line) bool { return l.err == nil && (l.settled || l.heard) })
}

// untouched reports whether nothing of it was ever written, and nothing waits to be.
func (u *utterance) untouched() bool {
	return !slices.ContainsFunc(u.lines, func(l *line) bool { return !l.settled || l.err == nil || l.wrote || !l.sent.IsZero() })
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

// again is the line as it was before it was said.
func (l *line) again() *line {
	return &line{
		text: l.text, tags: l.tags, rest: l.rest, joined: l.joined, target: l.target, label: l.label, part: l.part, of: l.of,
		low: l.low, expires: l.expires, until: l.until, foreign: l.foreign, gives: l.gives, gone: l.gone, reacted: l.reacted,
		wrote: l.wrote || !l.sent.IsZero(),
	}
}
