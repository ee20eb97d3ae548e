package ircside

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lrstanley/girc"
)

// session is the state of one connection. The mutex of its conn guards it.
type session struct {
	c     *conn
	wake  chan struct{}
	begun time.Time
	pace  *pacer
	now   []string // what must not wait: PONG and the registration

	// Registration and what the server told about itself.
	nick, user, host string
	masked           bool // user and host are known
	tries            int  // nicks tried
	caps             map[string]bool
	offered          map[string]string
	asked            int // CAP REQs without answer
	registered, told bool
	regainAt         time.Time
	lineLen, joinMax int
	prefixes         string
	topicLen         int             // bytes of a topic; 0: not told
	denied           map[string]bool // CLIENTTAGDENY: tags that the server does not pass on, "*" for all but those that are false
	multi            multiline       // zero: it takes no messages of several lines

	// What is under way.
	lastHeard, pinged time.Time
	inflight          []*line // written, not settled, in order
	unread            int     // their bytes
	barrier           []*line // those that the outstanding PING will confirm
	barrierToken      string
	barriers          int
	labels            map[string]*line // those of inflight that are not heard, by label
	batches           map[string]batch
	questions         map[string]*question // by folded nick
	forwards          map[string]*room     // channels to which a JOIN was forwarded, folded, until we know whether to stay
	stayed            map[string]bool      // of them, those whose topic names the channel that we asked for

	// What was heard.
	asks     []ask   // questions to us that wait for their answer
	fresh    []heard // since the last flush
	stirred  bool    // the writer has something to look at
	pageLen  int     // lines in a page of history
	noMsgids bool    // the server does not find history by msgid
	queries  *queries
	gapped   bool // something was lost for which there is a history
	reread   bool // and now is the time to read it
}

func newSession(c *conn) *session {
	now := c.side.clock.now()
	return &session{
		c: c, wake: make(chan struct{}, 1), begun: now, lastHeard: now, pace: newPacer(c.pace, now),
		nick: c.side.cfg.Nick, caps: map[string]bool{}, offered: map[string]string{}, batches: map[string]batch{}, questions: map[string]*question{},
		labels: map[string]*line{}, forwards: map[string]*room{}, stayed: map[string]bool{},
		lineLen: 512, prefixes: "~&@%+!", pageLen: pageLeast,
	}
}

// takesTag reports whether the server passes a client-only tag on.
func (s *session) takesTag(tag string) bool {
	denied, named := s.denied[tag]
	if !named {
		denied = s.denied["*"]
	}
	return s.caps["message-tags"] && !denied
}

// nudge lets the writer look again.
func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// labelled reports whether lines are confirmed by their labelled echo.
func (s *session) labelled() bool {
	return s.caps["echo-message"] && s.caps["labeled-response"] && s.caps["batch"] && s.caps["message-tags"]
}

// window is how many bytes of unconfirmed lines are on their way at a time. InspIRCd reads 10 KiB at once, and leaves
// what lies behind them until something else happens to it, or a second has passed.
const window = 8 << 10

// next returns what to write now, or until when to wait (zero: until nudged).
func (s *session) next() (out string, due time.Time, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	now := s.c.side.clock.now()
	due, err = s.upkeep(now)
	if err != nil {
		return "", time.Time{}, err
	}
	var b strings.Builder
	for _, text := range s.now {
		b.WriteString(text + "\r\n")
		s.pace.charge(now)
	}
	s.now = nil
	var lines []*line
	var wait time.Duration
	if s.registered {
		for _, l := range s.pace.stale(now) {
			s.c.settle(l, nil)
		}
		s.prune()
		lines, wait = s.pace.take(now, window-s.unread)
	}
	for _, l := range lines {
		s.put(&b, l)
		if l.of != nil {
			l.sent = now
			s.inflight = append(s.inflight, l)
			s.unread += l.size()
		}
	}
	s.raiseBarrier(&b, now, wait > 0)
	if wait > 0 {
		due = earliest(due, now.Add(wait))
	}
	s.flush()
	return b.String(), due, nil
}

// put writes a line with its tags, and what leaves together with it.
func (s *session) put(b *strings.Builder, l *line) {
	labelled, tagged := s.labelled() && l.of != nil, l.tags != "" && s.caps["message-tags"]
	if labelled {
		s.labels[l.label] = l
		b.WriteString("@label=")
		b.WriteString(escapeTag(l.label))
	}
	switch {
	case labelled && tagged:
		b.WriteByte(';')
	case tagged:
		b.WriteByte('@')
	}
	if tagged {
		b.WriteString(l.tags)
	}
	if labelled || tagged {
		b.WriteByte(' ')
	}
	b.WriteString(l.text)
	b.WriteString("\r\n")
	for _, text := range l.rest {
		b.WriteString(text)
		b.WriteString("\r\n")
	}
}

// raiseBarrier asks for a sign that the server has read what was written, where echoes do not tell: the PONG to our
// PING. While more is queued it waits for a handful of lines, since a PING counts against the pace, too.
func (s *session) raiseBarrier(b *strings.Builder, now time.Time, more bool) {
	const handful = 8
	if s.labelled() || s.barrierToken != "" || len(s.inflight) == 0 || more && len(s.inflight) < handful {
		return
	}
	s.barriers++
	s.barrierToken = fmt.Sprintf("lb-%d", s.barriers)
	s.barrier = append(s.barrier[:0], s.inflight...)
	fmt.Fprintf(b, "PING :%s\r\n", s.barrierToken)
	s.pace.charge(now)
}

// upkeep does what is due and returns when something is due next. An error ends the session.
func (s *session) upkeep(now time.Time) (next time.Time, err error) {
	t := s.c.side.timings
	if !s.registered {
		end := s.begun.Add(t.register)
		if !now.Before(end) {
			return next, errors.New("the server did not welcome us in time")
		}
		return end, nil
	}
	switch quiet := s.lastHeard.Add(t.quiet); {
	case s.pinged.After(s.lastHeard):
		end := s.pinged.Add(t.answer)
		if !now.Before(end) {
			return next, s.silent(now)
		}
		next = end
	case !now.Before(quiet):
		s.now, s.pinged = append(s.now, "PING :alive"), now
		next = now.Add(t.answer)
	default:
		next = quiet
	}
	due, err := s.overdue(now)
	if err != nil {
		return next, err
	}
	next = earliest(next, due)
	next = earliest(next, s.joinDue(now))
	next = earliest(next, s.lateHistory(now))
	next = earliest(next, s.splitDue(now))
	next = earliest(next, s.typingDue(now))
	if s.reread {
		s.gapped, s.reread = false, false
		for _, r := range s.c.list {
			if r.state == roomIn {
				s.catchUp(r, now)
			}
		}
		if s.queries == nil {
			s.catchUpChats(now)
			s.askTargets()
		}
	}
	if !s.isMe(s.c.side.cfg.Nick) {
		if !now.Before(s.regainAt) {
			s.pace.pushFirst(&line{text: "NICK " + s.c.side.cfg.Nick})
			s.regainAt = now.Add(t.regain)
		}
		next = earliest(next, s.regainAt)
	}
	return next, nil
}

var errUnconfirmed = errors.New("the server did not confirm the line in time")

// overdue fails the lines whose confirmation does not come, and returns when the next one would be overdue. Where nothing
// at all was heard since, it is the connection that has failed.
func (s *session) overdue(now time.Time) (next time.Time, err error) {
	for _, l := range s.inflight {
		if l.heard || l.settled {
			continue
		}
		end := l.sent.Add(s.c.side.timings.answer)
		if now.Before(end) {
			return end, nil
		}
		if !s.lastHeard.After(l.sent) {
			return next, s.silent(now)
		}
		l.doubt = true
		s.confirm(l, errUnconfirmed)
		s.barrier, s.barrierToken = nil, "" // its PONG is lost, too
	}
	return next, nil
}

func (s *session) silent(now time.Time) error {
	return fmt.Errorf("the server has been silent for %v", now.Sub(s.lastHeard).Round(time.Second))
}

// prune forgets the lines whose fate is known.
func (s *session) prune() {
	kept := s.inflight[:0]
	s.unread = 0
	for _, l := range s.inflight {
		if !l.settled && !l.heard {
			kept = append(kept, l)
			s.unread += l.size()
		}
	}
	clear(s.inflight[len(kept):])
	s.inflight = kept
}

// payload is how many bytes of text a line to target may have, so that the server can pass it on with our full source
// in front of it (RFC 2812, section 2.3: 512 bytes with CR and LF, or LINELEN).
func (s *session) payload(command, target string) int {
	return s.lineLen - len("\r\n") - s.sourceLen() - len(command) - len(" ") - len(target) - len(" :")
}

// sourceLen is the length of ":nick!user@host ", at its worst as long as we have not seen it.
func (s *session) sourceLen() int {
	const user, host = 12, 63
	userLen, hostLen := user, host
	if s.masked {
		userLen, hostLen = min(len(s.user), 32), min(len(s.host), 128)
	}
	// We may get our own nick back while the line is queued.
	nickLen := min(max(len(s.nick), len(s.c.side.cfg.Nick)), 64)
	return len(":") + nickLen + len("!") + userLen + len("@") + hostLen + len(" ")
}

// learnMask takes our own user and host from a line of ours.
func (s *session) learnMask(src *girc.Source) {
	if src != nil && src.Host != "" {
		s.user, s.host, s.masked = src.Ident, src.Host, true
	}
}

// ready tells once that we are in, or told why not, everywhere.
func (s *session) ready() {
	in := 0
	for _, r := range s.c.list {
		switch {
		case r.state == roomIn:
			in++
		case r.reason == nil:
			return
		}
	}
	if s.registered && !s.told {
		s.told = true
		s.c.side.deps.Log.Info("joined", "nick", s.nick, "channels", in, "of", len(s.c.list), "confirmed_by_echo", s.labelled())
		s.c.side.notify(nil)
	}
}

// earliest returns the earlier of two times, of which a zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
