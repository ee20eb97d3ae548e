package ircside

import (
	"context"
	"errors"
	"fmt"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
)

// handle reads one line of the server. An error ends the session.
func (s *session) handle(e *girc.Event) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	defer s.nudge()
	s.lastHeard = s.c.side.clock.now()
	if handled, err := s.registration(e); handled || err != nil {
		return err
	}
	switch e.Command {
	case girc.PING:
		const most = 256 // answers that wait for the socket
		if len(s.now) >= most {
			return errors.New("the server asks faster than it takes our answers")
		}
		s.now = append(s.now, "PONG :"+e.Last())
	case girc.PONG:
		s.pong(e.Last())
	case girc.ERROR:
		return fmt.Errorf("the server ended the connection: %s", cleanReason(e.Last()))
	case girc.PRIVMSG, girc.NOTICE:
		s.message(e)
	case "BATCH":
		s.batch(e)
	case "ACK":
		if l := s.labelledLine(e); l != nil {
			s.confirm(l, nil)
		}
	case girc.JOIN:
		s.joined(e)
	case girc.PART, girc.KICK:
		s.parted(e)
	case girc.QUIT:
		s.quit(e)
	case girc.NICK:
		s.renamed(e)
	case girc.INVITE:
		if r := s.room(e.Last()); r != nil && r.state == roomOut && s.isMe(param(e, 0)) {
			r.due = s.lastHeard
		}
	case girc.RPL_NAMREPLY:
		s.names(e)
	case girc.RPL_ENDOFNAMES:
		s.namesEnd(e)
	case girc.RPL_AWAY:
		s.isAway(e)
	case girc.RPL_WHOISUSER, girc.RPL_ENDOFWHOIS:
		s.whois(e)
	case "396": // RPL_HOSTHIDDEN: our host is now another
		s.host = param(e, 1)
	case girc.CAP_CHGHOST:
		if s.isMe(nickOf(e)) && len(e.Params) >= 2 {
			s.user, s.host = param(e, 0), param(e, 1)
		}
	default:
		s.refused(e)
	}
	return nil
}

// room finds a bridged channel.
func (s *session) room(name string) *room { return s.c.rooms[s.c.casemap.fold(name)] }

// batch is a group of lines that belong together (IRCv3 batch).
type batch struct {
	label  string
	replay bool // history, which is not read
}

// batch handles BATCH: "+ref type ..." begins one and "-ref" ends it.
func (s *session) batch(e *girc.Event) {
	const most = 64 // open at a time
	ref := param(e, 0)
	switch {
	case len(ref) < 2:
	case ref[0] == '-':
		delete(s.batches, ref[1:])
	case ref[0] == '+' && len(s.batches) < most:
		outer := s.batches[e.Tags["batch"]]
		b := batch{label: e.Tags["label"], replay: outer.replay}
		if b.label == "" {
			b.label = outer.label
		}
		switch param(e, 1) {
		case "chathistory", "draft/chathistory", "znc.in/playback":
			b.replay = true
		}
		s.batches[ref[1:]] = b
	}
}

// labelledLine finds the line of ours that e answers.
func (s *session) labelledLine(e *girc.Event) *line {
	label := e.Tags["label"]
	if label == "" {
		label = s.batches[e.Tags["batch"]].label
	}
	if label == "" {
		return nil
	}
	for _, l := range s.inflight { // the answer to the oldest comes first
		if makeLabel(l.key, l.part) == label {
			return l
		}
	}
	return nil
}

// confirm settles a line.
func (s *session) confirm(l *line, err error) {
	l.settle(err)
	s.prune()
}

// pong handles the answer to a PING. If it is the barrier's, the server has read the lines before it; those that it
// refused are settled already.
func (s *session) pong(token string) {
	if token == "" || token != s.barrierToken {
		return
	}
	for _, l := range s.barrier {
		l.settle(nil)
	}
	s.barrier, s.barrierToken = nil, ""
	s.prune()
}

// refused handles the server's refusals, of a JOIN or of a line.
func (s *session) refused(e *girc.Event) {
	l := s.labelledLine(e)
	if l == nil && s.refusedJoin(e) {
		return
	}
	no, ok := decodeRefusal(e, l != nil)
	if !ok {
		return
	}
	switch {
	case no.absent:
		s.found(no.target, gateway.ErrNobody)
	case no.passing && no.target == "WHOIS":
		s.foundNone(no.err)
	}
	if l == nil && !s.labelled() {
		l = s.lineTo(no.target)
	}
	r := s.room(no.target)
	if no.absent && r != nil && r.state == roomIn {
		s.leave(r, s.c.side.timings.rejoin, no.err)
	}
	switch {
	case l == nil:
	case no.absent && r != nil:
		s.confirm(l, gateway.Later(r.pause, r.absence()))
	case no.absent: // a person who left, or was never there
		s.confirm(l, gateway.Dropf("%s is not on %s", gateway.CleanName(toUTF8(no.target)), s.c.side.deps.Network))
	case s.c.rooms[l.target] == nil && !no.passing: // a person who does not listen to us
		s.confirm(l, gateway.Dropf("%s does not take our messages: %w", l.target, no.err))
	default:
		s.confirm(l, no.err)
	}
}

// message handles PRIVMSG and NOTICE: what people say, and our own lines coming back.
func (s *session) message(e *girc.Event) {
	nick := nickOf(e)
	if len(e.Params) < 2 || nick == "" || s.batches[e.Tags["batch"]].replay {
		return
	}
	r := s.room(param(e, 0))
	if s.isMe(nick) {
		s.learnMask(e.Source)
		if l := s.labelledLine(e); l != nil {
			s.echo(e, l)
		}
		return // without label it is not from this session
	}
	if r == nil {
		if s.isMe(param(e, 0)) {
			s.private(e)
		}
		return
	}
	m, ok := decodeMessage(e)
	if !ok {
		return
	}
	s.c.side.inlet.add(arrival(gateway.Event{
		At: r.Address, Native: cleanID(e.Tags["msgid"]), Sender: s.person(nick), Time: timeOf(e, s.lastHeard), Body: m,
	}), nil, false)
}

// echo handles our own line as the server passed it on. With a msgid it goes through the journal, in the order of the
// stream, and counts as confirmed when it is recorded there.
func (s *session) echo(e *girc.Event, l *line) {
	msgid := cleanID(e.Tags["msgid"])
	if msgid == "" || l.at.ID == "" {
		s.confirm(l, nil)
		return
	}
	l.native, l.heard = msgid, true
	s.prune()
	mu := &s.c.mu
	recorded := func() {
		mu.Lock()
		defer mu.Unlock()
		l.settle(nil)
	}
	ev := gateway.Event{At: l.at, Native: msgid, Sender: s.person(s.nick), Time: timeOf(e, s.lastHeard), Body: gateway.Echo{Key: l.key, Part: l.part}}
	if !s.c.side.inlet.add(arrival(ev), recorded, false) {
		l.settle(nil) // the outcome's parts link it
	}
}

// arrival wraps an event that is read already.
func arrival(ev gateway.Event) gateway.Arrival {
	return gateway.Arrival{At: ev.At, Native: ev.Native, Read: func(context.Context) (*gateway.Event, error) {
		out := ev // Accept fills in its copy, and may ask again
		return &out, nil
	}}
}
