package ircside

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
)

// roomState is where we stand with a channel.
type roomState int

const (
	roomOut   roomState = iota // not in; asked again at due
	roomAsked                  // JOIN is on its way, answered before due
	roomIn
)

// room is a channel of a bridge. The connection's mutex guards it.
type room struct {
	gateway.Room
	name   string // what it is called on the wire: the ID, or where that forwards us to
	folded string // of name
	state  roomState
	due    time.Time
	pause  time.Duration // before the next try
	since  time.Time     // when we came in
	reason error         // why we are not in; nil: not tried yet
	told   string        // the reason that was logged last

	mute       time.Duration // the pause after the last time that we were not let speak
	mutedUntil time.Time
	muted      error

	plain bool // it strips or refuses formatting codes

	replay *replay // the reading of its history; nil: none

	members map[string]gateway.Person // by folded nick; kept over a reconnect to see who left meanwhile
	gone    map[string]time.Time      // of them, those who left in a netsplit, until when they may come back; see splitDue
	listed  map[string]gateway.Person // what the NAMES reply has told so far; nil: none is under way
}

func newRoom(r gateway.Room) *room {
	return &room{Room: r, name: r.ID, members: map[string]gateway.Person{}, gone: map[string]time.Time{}}
}

// rename gives the room another name on the wire. The caller sees to the connection's index.
func (r *room) rename(name string) {
	if r.name != name {
		r.name, r.members = name, map[string]gateway.Person{}
	}
}

var (
	errNotJoined  = errors.New("we are not in the channel yet")
	errNotBridged = errors.New("the channel is not bridged any more")
)

// absence says why we are not in.
func (r *room) absence() error {
	if r.reason != nil {
		return fmt.Errorf("%s: %w", r.ID, r.reason)
	}
	return fmt.Errorf("%s: %w", r.ID, errNotJoined)
}

// leave notes that we are out, and when to try again: after least, and longer each time until a stay was a stable one.
// A reason is logged when it is news.
func (s *session) leave(r *room, least time.Duration, reason error) {
	now, t := s.c.side.clock.now(), s.c.side.timings
	if r.state == roomIn && now.Sub(r.since) > t.stable {
		r.pause = 0
	}
	r.pause = max(min(2*r.pause, t.rejoinMost), least)
	r.state, r.reason, r.listed = roomOut, reason, nil
	r.due = now.Add(r.pause)
	s.abandon(r.replay)
	s.c.forgetQueued(r) // what was written already, the server answers
	if r.name != r.ID { // it is asked for by its own name again
		r.rename(r.ID)
		s.c.index()
	}
	s.c.signal()
	if told := reason.Error(); told != r.told {
		r.told = told
		s.c.side.deps.Log.Warn("not in the channel; what is said for it waits", "room", r.ID, "reason", told, "retry_in", r.pause)
	}
	s.ready()
}

// forgetQueued fails the lines that wait for a channel in which we are no longer.
func (c *conn) forgetQueued(r *room) {
	waiting := c.sess.pace.withdraw(r.folded, func(l *line) bool { return l.target == r.folded })
	for _, l := range waiting {
		c.settle(l, gateway.Later(min(r.pause, time.Minute), r.absence()))
	}
}

// muted notes that a channel does not let us speak, and for how long we do not try again. A change of its modes, or
// anything that we may say after all, ends that.
func (s *session) muted(r *room, why error) error {
	t := s.c.side.timings
	r.mute = min(max(2*r.mute, t.mute), t.muteMost)
	r.mutedUntil, r.muted = s.lastHeard.Add(r.mute), fmt.Errorf("%s: %w", r.ID, why)
	return gateway.Later(min(r.mute, time.Minute), r.muted)
}

// joinDue asks to be let into the channels whose time has come. It returns when the next one is due (zero: none).
func (s *session) joinDue(now time.Time) (next time.Time) {
	var keyed, plain []*room
	for _, r := range s.c.list {
		if r.state == roomIn {
			continue
		}
		if !now.Before(r.due) {
			if r.state == roomAsked {
				s.leave(r, s.c.side.timings.knock, errors.New("the server does not answer the JOIN"))
			} else {
				r.state, r.due = roomAsked, now.Add(s.c.side.timings.answer)
				if r.Password != "" {
					keyed = append(keyed, r)
				} else {
					plain = append(plain, r)
				}
			}
		}
		next = earliest(next, r.due)
	}
	// The passwords of a JOIN belong to its first channels (RFC 2812, section 3.2.1).
	s.join(append(keyed, plain...))
	return next
}

// join writes the JOINs, several channels a line.
func (s *session) join(rooms []*room) {
	const length, most = 400, 10 // bytes of names and passwords; channels
	var names, keys []string
	size := 0
	flush := func() {
		if len(names) > 0 {
			s.pace.pushFirst(&line{text: strings.TrimSpace("JOIN " + strings.Join(names, ",") + " " + strings.Join(keys, ","))})
		}
		names, keys, size = nil, nil, 0
	}
	perLine := most
	if s.joinMax > 0 {
		perLine = min(most, s.joinMax)
	}
	for _, r := range rooms {
		need := len(r.ID) + len(r.Password) + 2
		if len(names) == perLine || size+need > length {
			flush()
		}
		names, size = append(names, r.ID), size+need
		if r.Password != "" {
			keys = append(keys, r.Password)
		}
	}
	flush()
}

// joined handles a JOIN.
func (s *session) joined(e *girc.Event) {
	nick, r := nickOf(e), s.room(param(e, 0))
	switch {
	case nick == "":
	case !s.isMe(nick):
		if r != nil {
			s.enter(r, e, s.person(nick))
		}
	case r == nil && s.forwards[s.c.casemap.fold(param(e, 0))] != nil:
		s.learnMask(e.Source) // its topic comes next, and decides
	case r == nil:
		// Somebody forced us in: nobody bridged it, so we do not listen.
		s.part(param(e, 0))
	default:
		s.learnMask(e.Source)
		s.entered(r, timeOf(e, s.lastHeard))
	}
}

// entered notes that we are in, and begins to read what was said meanwhile.
func (s *session) entered(r *room, at time.Time) {
	r.state, r.reason, r.told, r.since = roomIn, nil, "", s.c.side.clock.now()
	r.mute, r.mutedUntil = 0, time.Time{}
	r.listed = map[string]gateway.Person{}
	s.pace.push(r.folded, &line{text: "MODE " + r.name, low: true}) // does it take formatting?
	s.catchUp(r, at)
	s.c.signal()
	if s.told {
		s.c.side.notify(nil) // what waits for this channel goes on
	}
	s.ready()
}

// part leaves a channel.
func (s *session) part(name string) {
	if validTarget(name) {
		s.pace.pushFirst(&line{text: "PART " + name})
	}
}

// parted handles PART and KICK.
func (s *session) parted(e *girc.Event) {
	r := s.room(param(e, 0))
	if r == nil {
		return
	}
	who, by, change := nickOf(e), gateway.Person{}, gateway.Leave
	reason := param(e, 1)
	if e.Command == girc.KICK {
		if nick := nickOf(e); nick != "" {
			by = s.person(nick)
		}
		who, change, reason = cleanNick(param(e, 1)), gateway.Kick, param(e, 2)
	}
	if !s.isMe(who) {
		s.depart(r, e, who, gateway.Membership{Change: change, By: by, Reason: cleanReason(reason)})
		return
	}
	why := errors.New("the server took us out of it")
	if change == gateway.Kick {
		why = fmt.Errorf("kicked by %s", gateway.CleanName(by.Label()))
	}
	s.leave(r, s.c.side.timings.rejoin, why)
}

func cleanReason(s string) string { return gateway.CleanName(toUTF8(stripFormat(s))) }

// refusedJoin handles the numerics that say why we may not enter.
func (s *session) refusedJoin(e *girc.Event) bool {
	name, err, ok := joinRefusal(e)
	if !ok {
		return false
	}
	r := s.room(name)
	if r == nil || r.state == roomIn {
		return false
	}
	s.leave(r, s.c.side.timings.knock, err)
	return true
}
