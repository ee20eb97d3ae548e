package ircside

import (
	"context"
	"time"

	"lockbridge/gateway"
)

// typists are the people of other networks who type in one room just now. The relay types while any of them does.
type typists struct {
	target string                       // on the wire
	until  map[gateway.Person]time.Time // by network and ID
	active bool                         // the relay is shown as typing
	again  time.Time                    // when that may be said next
}

const (
	typingAgain = 5 * time.Second // what is said lives for 6 s (IRCv3 typing), and may be repeated after 3 s
	maxTypists  = 64              // in one room
	maxTyping   = 256             // rooms
)

var (
	_ gateway.Passer = (*Side)(nil)
	_ gateway.Roster = (*Side)(nil)
)

// Pass implements gateway.Passer for typing.
func (s *Side) Pass(_ context.Context, room gateway.Address, ev *gateway.Event) {
	body, ok := ev.Body.(gateway.Typing)
	if !ok {
		return
	}
	c := s.relay
	c.mu.Lock()
	defer c.mu.Unlock()
	target := c.nameOf(room)
	if local, _, chat := room.Direct(); chat {
		target = local.ID
	} else if r := c.byID[room.ID]; r == nil || r.state != roomIn {
		return
	}
	if c.sess == nil || !c.sess.registered || !c.sess.takesTag(tagTyping) || !couldBeNick(target) && c.byID[room.ID] == nil {
		return
	}
	t := c.typists[room.ID]
	if t == nil {
		if len(c.typists) >= maxTyping {
			return
		}
		t = &typists{target: target, until: map[gateway.Person]time.Time{}}
		c.typists[room.ID] = t
	}
	who := gateway.Person{Network: ev.Sender.Network, ID: ev.Sender.ID}
	switch {
	case !body.On:
		delete(t.until, who)
	case len(t.until) < maxTypists:
		t.until[who] = ev.Expires
	}
	c.sess.nudge()
}

// typingDue says who types, and returns when to look again. It is said only while nothing else waits: what people say
// goes first, and ends their typing anyway.
func (s *session) typingDue(now time.Time) (next time.Time) {
	for room, t := range s.c.typists {
		for who, until := range t.until {
			if !now.Before(until) {
				delete(t.until, who)
			} else {
				next = earliest(next, until)
			}
		}
		switch {
		case len(t.until) > 0 && now.Before(t.again):
			next = earliest(next, t.again)
		case len(t.until) > 0:
			if t.again = now.Add(typingAgain); s.types(t.target, "active", now) {
				t.active = true
			}
			next = earliest(next, t.again)
		default:
			if t.active {
				s.types(t.target, "done", now)
			}
			delete(s.c.typists, room)
		}
	}
	return next
}

// types says what the relay does. It reports false where it has to wait behind something, and so is not said.
func (s *session) types(target, state string, now time.Time) bool {
	if !s.pace.idle(now) || !s.takesTag(tagTyping) {
		return false
	}
	s.pace.push(s.c.casemap.fold(target), &line{text: "TAGMSG " + target, tags: tag(tagTyping, state), low: true, expires: true, until: now.Add(typingAgain)})
	return true
}
