package ircside

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
)

// question asks the server whether somebody is there. The connection's mutex guards it until done is closed.
type question struct {
	due  time.Time // when its answer is not waited for any more
	line *line     // that asks it
	done chan struct{}
	who  gateway.Person
	err  error
}

var (
	errNoAnswer = errors.New("the server does not answer")
	errTooMany  = errors.New("too many people are looked for just now")
)

var _ gateway.Finder = (*Side)(nil)

// Find implements gateway.Finder: somebody exists as long as their nick is in use. Whoever is in one of our channels is
// known; for others the server is asked (WHOIS, RFC 2812, section 3.6.2), which takes 10 s at most. A WHOIS tells by
// the nick in its answer what it answers, as ISON does not.
func (s *Side) Find(ctx context.Context, who gateway.Person) (gateway.Person, error) {
	q, err := s.conn(who).ask(who.ID)
	if err != nil {
		return gateway.Person{}, fmt.Errorf("look for a nick: %w", err)
	}
	select {
	case <-q.done:
	case <-s.clock.after(s.timings.find):
		return gateway.Person{}, fmt.Errorf("look for a nick: %w", errNoAnswer)
	case <-ctx.Done():
		return gateway.Person{}, fmt.Errorf("look for a nick: %w", ctx.Err())
	}
	if q.err != nil {
		return gateway.Person{}, fmt.Errorf("look for a nick: %w", q.err)
	}
	return q.who, nil
}

// ask returns the question about a nick, answered already where we know.
func (c *conn) ask(nick string) (*question, error) {
	const lane, most = "\x00find", 64
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sess
	if s == nil || !s.registered {
		return nil, c.away
	}
	if !couldBeNick(nick) || s.isMe(nick) {
		return nil, gateway.ErrNobody
	}
	id, now := c.casemap.fold(nick), c.side.clock.now()
	for _, r := range c.list {
		if who, here := r.here(id); here && r.state == roomIn {
			q := &question{done: make(chan struct{}), who: who}
			close(q.done)
			return q, nil
		}
	}
	for key, q := range s.questions {
		if !now.Before(q.due) {
			delete(s.questions, key)
			s.pace.withdraw(lane, func(l *line) bool { return l == q.line })
		}
	}
	if q := s.questions[id]; q != nil {
		return q, nil
	}
	if len(s.questions) >= most {
		return nil, errTooMany
	}
	q := &question{due: now.Add(c.side.timings.find), line: &line{text: "WHOIS " + nick}, done: make(chan struct{})}
	s.questions[id] = q
	s.pace.push(lane, q.line)
	s.nudge()
	return q, nil
}

// found answers the question about a nick, if there is one.
func (s *session) found(nick string, err error) {
	who := s.person(cleanNick(nick))
	if q := s.questions[who.ID]; q != nil {
		delete(s.questions, who.ID)
		q.who, q.err = who, err
		close(q.done)
	}
}

// foundNone answers all questions with an error.
func (s *session) foundNone(err error) {
	for _, q := range s.questions {
		q.err = err
		close(q.done)
	}
	clear(s.questions)
}

// whois handles the answers to WHOIS. The server's end of it means nobody where nothing came before.
func (s *session) whois(e *girc.Event) {
	if e.Command == girc.RPL_WHOISUSER {
		s.found(param(e, 1), nil)
	} else {
		s.found(param(e, 1), gateway.ErrNobody)
	}
}
