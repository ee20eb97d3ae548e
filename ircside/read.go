package ircside

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
)

// handle reads one line of the server. Its caller holds the connection's mutex. An error ends the session.
func (s *session) handle(e *girc.Event) error {
	if handled, err := s.registration(e); handled || err != nil {
		s.stirred = true
		return err
	}
	switch e.Command {
	case girc.PRIVMSG, girc.NOTICE:
		s.message(e)
		return nil
	case "BATCH":
		s.batch(e)
		return nil
	case "CHATHISTORY":
		s.historyTarget(e)
		return nil
	}
	if b := s.batches[e.Tags["batch"]]; b.history {
		return nil // what happened, as it was told before
	}
	s.stirred = true
	switch e.Command {
	case "TAGMSG":
		s.tagged(e)
	case "REDACT":
		s.redacted(e)
	case girc.TOPIC:
		s.topicSet(e)
	case girc.PING:
		const most = 256 // answers that wait for the socket
		if len(s.now) >= most {
			return errors.New("the server asks faster than it takes our answers")
		}
		s.now = append(s.now, "PONG :"+e.Last())
	case girc.PONG:
		s.pong(e.Last())
	case girc.ERROR:
		return s.ended(cleanReason(e.Last()))
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
	case girc.MODE:
		s.modeChanged(e)
	case girc.RPL_CHANNELMODEIS:
		if r := s.room(param(e, 1)); r != nil {
			r.plain = false
			r.modes(param(e, 2))
		}
	case girc.RPL_ENDOFMOTD, girc.ERR_NOMOTD:
		s.askTargets()
	case girc.RPL_NAMREPLY:
		s.names(e)
	case girc.RPL_ENDOFNAMES:
		s.namesEnd(e)
		s.endForward(param(e, 1))
	case girc.RPL_TOPIC:
		s.forwardTopic(param(e, 1), e.Last())
		s.topicTold(e)
	case errForwarded:
		s.forwarded(e)
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

// ended makes an error of the server's last words. A ban at the login is no reason to come back quickly.
func (s *session) ended(reason string) error {
	if words := strings.ToLower(reason); !s.registered && (strings.Contains(words, "banned") || strings.Contains(words, "lined")) {
		return loginError{"the server refused us: " + reason}
	}
	return fmt.Errorf("the server ended the connection: %s", reason)
}

// room finds a bridged channel.
func (s *session) room(name string) *room { return s.c.rooms[s.c.casemap.fold(name)] }

// batch is a group of lines that belong together (IRCv3 batch).
type batch struct {
	label   string
	multi   *gathered // lines that are one message
	split   bool      // they tell of a netsplit
	history bool
	replay  *replay // the history that we asked for; nil: one that is not read
	page    bool    // the batch is a page of it, not something inside of one
	targets bool    // the answer to who wrote to us
}

// batch handles BATCH: "+ref type ..." begins one and "-ref" ends it.
func (s *session) batch(e *girc.Event) {
	const most = 64 // open at a time
	ref := param(e, 0)
	switch {
	case len(ref) < 2:
	case ref[0] == '-':
		b := s.batches[ref[1:]]
		delete(s.batches, ref[1:])
		switch {
		case b.page && b.replay != nil && s.replayOf(b.replay.target) == b.replay:
			s.stirred = true
			s.pageEnds(b.replay)
		case b.multi != nil:
			if whole := b.multi.message(); whole != nil {
				s.whole(whole)
			}
		case b.targets && s.queries != nil && s.queries.now == nil:
			s.stirred = true
			s.nextQuery()
		}
	case ref[0] == '+' && len(s.batches) < most:
		outer := s.batches[e.Tags["batch"]]
		b := batch{label: e.Tags["label"], history: outer.history, replay: outer.replay}
		if b.label == "" {
			b.label = outer.label
		}
		switch param(e, 1) {
		case "chathistory", capHistory:
			b.history, b.page, b.replay = true, true, s.replayOf(param(e, 2))
		case capMultiline:
			if s.caps[capMultiline] {
				b.multi = &gathered{open: e}
			}
		case "netsplit":
			b.split = true
		case "znc.in/playback":
			b.history = true
		case "draft/chathistory-targets", "chathistory-targets":
			b.targets = true
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
	return s.labels[label]
}

// confirm settles a line.
func (s *session) confirm(l *line, err error) {
	s.arrived(l)
	if r := s.c.rooms[l.target]; r != nil && err == nil {
		r.mute = 0
	}
	s.c.settle(l, err)
}

// arrived notes that the server has read a line, so that another one may leave.
func (s *session) arrived(l *line) {
	delete(s.labels, l.label)
	s.stirred = s.stirred || s.pace.head() != nil
}

// pong handles the answer to a PING. If it is the barrier's, the server has read the lines before it; those that it
// refused are settled already.
func (s *session) pong(token string) {
	if token == "" || token != s.barrierToken {
		return
	}
	for _, l := range s.barrier {
		if !l.settled {
			s.confirm(l, nil)
		}
	}
	s.barrier, s.barrierToken = nil, ""
	s.prune()
}

// refused handles the server's refusals, of a JOIN or of a line.
func (s *session) refused(e *girc.Event) {
	if e.Command == "FAIL" && param(e, 0) == "CHATHISTORY" {
		s.refusedHistory(e)
		return
	}
	l := s.labelledLine(e)
	if e.Command == "FAIL" && param(e, 0) == "BATCH" {
		s.refusedBatch(l, e)
		return
	}
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
		l = s.lineTo(no.target, no.of)
	}
	r := s.room(no.target)
	if no.absent && r != nil && r.state == roomIn {
		s.leave(r, s.c.side.timings.rejoin, no.err)
	}
	switch {
	case l == nil:
	case s.refusedAct(l, no.err):
	case no.muted && r != nil && no.colours && l.isFormatted():
		s.colourless(r, l, no.err)
	case no.absent && r != nil:
		s.confirm(l, gateway.Later(min(r.pause, time.Minute), r.absence()))
	case no.absent: // a person who left, or was never there
		s.confirm(l, gateway.Dropf("%s is not on %s", gateway.CleanName(toUTF8(no.target)), s.c.side.deps.Network))
	case s.c.rooms[l.target] == nil && !no.passing: // a person who does not listen to us
		s.confirm(l, gateway.Dropf("%s does not take our messages: %w", l.target, no.err))
	case no.muted && r != nil:
		s.confirm(l, s.muted(r, no.err))
	case no.passing:
		s.pace.rest(s.lastHeard, s.c.side.timings.throttle)
		s.confirm(l, gateway.Later(s.c.side.timings.throttle, no.err))
	default:
		s.confirm(l, no.err)
	}
}

// message handles PRIVMSG and NOTICE: what people say, and our own lines coming back.
func (s *session) message(e *girc.Event) {
	if len(e.Params) < 2 || nickOf(e) == "" {
		return
	}
	if b := s.batches[e.Tags["batch"]]; b.multi != nil {
		if whole := b.multi.gather(e); whole != nil {
			s.whole(whole)
		}
		return
	}
	s.whole(e)
}

// whole handles a message that is whole. It belongs to no multiline batch, whatever its tag says.
func (s *session) whole(e *girc.Event) {
	nick, b := nickOf(e), s.batches[e.Tags["batch"]]
	if nick == "" { // the batch comes from somebody else than its lines
		return
	}
	if b.history {
		if p := b.replay; p != nil && s.replayOf(p.target) == p {
			s.replayed(p, e)
		}
		return
	}
	target, at := param(e, 0), mark{id: cleanID(e.Tags["msgid"]), at: timeOf(e, s.lastHeard)}
	r := s.room(target)
	switch {
	case s.isMe(nick):
		s.learnMask(e.Source)
		if l := s.labelledLine(e); l != nil {
			s.echo(l, at)
		}
	case s.isGhost(e):
		s.c.keepReturned(target, e.Command, e.Last(), at.id, at.at)
	case r != nil:
		if h, ok := s.spoken(r, e, nick, at); ok {
			s.hear(r.replay, h)
			r.replay.visited(s.person(nick))
		}
	case s.isMe(target):
		h, ok := s.written(e, nick, at.at, true)
		if !ok {
			return
		}
		switch q := s.queries; {
		case q == nil:
			h.mark = at
			s.take(h)
		case len(q.held) < heldMost:
			h.mark = at
			q.held = append(q.held, h)
		default:
			s.take(h)
		}
	}
}

// spoken is what somebody said in a channel. It reports false for what is not speech.
func (s *session) spoken(r *room, e *girc.Event, nick string, at mark) (heard, bool) {
	m, ok := decodeMessage(e)
	if !ok {
		return heard{}, false
	}
	h := arrival(gateway.Event{At: r.Address, Native: at.id, Sender: s.person(nick), Time: at.at, Body: m})
	h.marks, h.mark = r.ID, at
	return h, true
}

// echo handles our own line as the server passed it on. With a msgid it goes through the journal, in the order of the
// stream, and counts as confirmed when it is recorded there.
func (s *session) echo(l *line, at mark) {
	h, ok := s.c.side.echoOf(l, at.id, at.at)
	if !ok {
		s.confirm(l, nil)
		return
	}
	s.arrived(l)
	var p *replay
	if r := s.c.rooms[l.target]; r != nil {
		r.mute, p, h.marks, h.mark = 0, r.replay, r.ID, at
	}
	s.hear(p, h)
}

// hear takes what was heard just now, or holds it back while p is being read.
func (s *session) hear(p *replay, h heard) {
	if p != nil {
		p.hold(h)
		return
	}
	s.take(h)
}

// take queues what was heard for the journal; see flush. Marks stand still where something before them was lost.
func (s *session) take(h heard) {
	if s.gapped || !s.keepsHistory() {
		h.mark = mark{}
	}
	s.fresh = append(s.fresh, h)
}

// flush hands on what was heard since the last time. What finds no room is lost, unless the server keeps a history: then
// it is read again from there, once the journal takes something.
func (s *session) flush() {
	if len(s.fresh) == 0 {
		return
	}
	for _, h := range s.c.side.inlet.add(s.fresh...) {
		if h.line != nil {
			s.confirm(h.line, nil) // the outcome's parts link it
		} else if !h.membership {
			s.gapped = s.keepsHistory()
		}
	}
	clear(s.fresh)
	s.fresh = s.fresh[:0]
}

// arrival wraps an event that is read already.
func arrival(ev gateway.Event) heard {
	return heard{Arrival: gateway.Arrival{At: ev.At, Native: ev.Native, Read: func(context.Context) (*gateway.Event, error) {
		out := ev // Accept fills in its copy, and may ask again
		return &out, nil
	}}}
}
