package ircside

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
)

// returned is a line of ours of which no delivery is known: the network's history holds it, or a ghost of ours says it,
// a connection that we have lost and the server has not. A delivery in doubt looks here before it is said again.
type returned struct {
	said, native string
	at           time.Time
}

var (
	errReadingBack = errors.New("the channel's history is read first, to see whether this was said already")
	errOthers      = errors.New("a line like it had been said before; saying it again")
)

// How many such lines are kept: of one channel or nick, and of how many of them.
const (
	maxReturned   = 128
	maxReturnedOf = 256
)

// spokenAs is what a line is recognised by when it comes back without a label: its command and its text, without the
// time that a late one begins with.
func spokenAs(command, text string) string { return command + " " + cutStamp(text) }

// cutStamp takes "[15:04] " or "[2006-01-02 15:04] " off the front of a text.
func cutStamp(text string) string {
	if text == "" || text[0] != stampDay[0] {
		return text
	}
	for _, layout := range [...]string{stampToday, stampDay} {
		if len(text) >= len(layout) {
			if _, err := time.Parse(layout, text[:len(layout)]); err == nil {
				return text[len(layout):]
			}
		}
	}
	return text
}

// spoken is what the line would be recognised by.
func (l *line) spoken() string {
	if l.joined != "" {
		command, text, _ := strings.Cut(l.joined, " ")
		return spokenAs(command, text)
	}
	command, rest, _ := strings.Cut(l.text, " ")
	_, text, _ := strings.Cut(rest, " :")
	return spokenAs(command, text)
}

// keepReturned remembers a line of ours that came back from target.
func (c *conn) keepReturned(target, command, text, native string, at time.Time) {
	if native == "" {
		return
	}
	target = c.casemap.fold(target)
	if len(c.returned) >= maxReturnedOf && c.returned[target] == nil {
		clear(c.returned)
	}
	kept := c.returned[target]
	if len(kept) >= maxReturned {
		kept = kept[1:]
	}
	c.returned[target] = append(kept, returned{spokenAs(command, text), native, at})
}

// know settles the lines of an utterance that the journal knows to have arrived.
func (c *conn) know(u *utterance, known []gateway.Part) {
	for _, p := range known {
		for _, l := range u.lines {
			if p.Name == l.part && !l.settled && !l.heard && l.sent.IsZero() {
				l.native = p.Native
				c.forgetReturned(l.target, p.Native)
				c.settle(l, nil)
			}
		}
	}
}

// recall looks for the lines of an utterance that an earlier process may have said.
func (c *conn) recall(u *utterance) {
	for _, l := range u.lines {
		if !l.settled {
			c.claim(l)
		}
	}
}

func (c *conn) forgetReturned(target, native string) {
	for i, r := range c.returned[target] {
		if r.native == native {
			c.returned[target] = append(c.returned[target][:i:i], c.returned[target][i+1:]...)
			return
		}
	}
}

// claim looks for a line among those that came back. What it finds is recorded like an echo: if the journal knows that id
// as another line's, the line was not said, and fails so that it is said again.
func (c *conn) claim(l *line) {
	for _, r := range c.returned[l.target] {
		if r.said != l.spoken() {
			continue
		}
		c.forgetReturned(l.target, r.native)
		l.claimed = true
		h, ok := c.side.echoOf(l, r.native, r.at)
		if !ok || len(c.side.inlet.add(h)) > 0 {
			c.settle(l, nil) // the outcome's parts link it
		}
		return
	}
}

// unsure reports whether it cannot be told yet if an earlier try of a delivery arrived: history is still being read that
// may hold it.
func (c *conn) unsure(d gateway.Delivery) bool {
	u := c.said[d.Key]
	doubt := u == nil && d.Attempt > 0
	if u != nil {
		for _, l := range u.lines {
			doubt = doubt || l.doubt
		}
	}
	return doubt && c.readingBack(d.Room)
}

// readingBack reports whether the history of a delivery's room is being read.
func (c *conn) readingBack(room gateway.Address) bool {
	if r := c.byID[room.ID]; r != nil {
		return r.replay != nil
	}
	return c.sess != nil && c.sess.queries != nil
}

// echoOf is the arrival of an own line under the id that the server gave it.
func (s *Side) echoOf(l *line, native string, at time.Time) (h heard, ok bool) {
	if native == "" || l.of.at.ID == "" {
		return heard{}, false
	}
	l.native, l.heard = native, true
	s.relay.noteChat(l.of.at, native)
	l.ends = l.of.whole()
	ev := gateway.Event{At: l.of.at, Native: native, Time: at, Body: gateway.Echo{Key: l.of.key, Part: l.part, Ends: l.ends}}
	return heard{line: l, Arrival: gateway.Arrival{At: ev.At, Native: native, Read: func(context.Context) (*gateway.Event, error) {
		l.read = true // only looked at when the batch is recorded
		out := ev
		return &out, nil
	}}}, true
}

// whole reports whether every line of u came back, none of them from a history: the last of their echoes ends the
// delivery.
func (u *utterance) whole() bool {
	for _, l := range u.lines {
		if l.err != nil || l.claimed || !l.heard && !l.settled {
			return false
		}
	}
	return true
}

// haunts reports whether a nick is one that a ghost of ours may have: a connection that we have lost and the server has
// not yet.
func (s *session) haunts(nick string) bool {
	c := s.c
	nick = c.casemap.fold(nick)
	rest, ok := strings.CutPrefix(nick, c.casemap.fold(c.side.cfg.Nick))
	return ok && strings.Trim(rest, "_") == "" || nick == c.casemap.fold(c.lastNick)
}

// isGhost reports whether a line comes from a ghost of ours: it has one of our nicks, and our user and host.
func (s *session) isGhost(e *girc.Event) bool {
	return s.masked && e.Source.Ident == s.user && e.Source.Host == s.host && s.haunts(e.Source.Name)
}
