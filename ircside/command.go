package ircside

import (
	"context"
	"fmt"
	"strings"

	"lockbridge/gateway"
)

// ask is a command that somebody gave to us alone.
type ask struct {
	nick    string
	at      gateway.Address // the channel that it is about
	command string
}

// maxAsks is how many of them wait.
const maxAsks = 16

// commanded takes "help", "who" and "who #channel". It reports false for what is no command; topic says what it was, and
// refusal what is wrong with it.
func (s *session) commanded(nick, text string) (a ask, refusal string, ok bool) {
	if s.c.side.deps.Answer == nil {
		return a, "", false
	}
	words := strings.Fields(strings.ToLower(text))
	a = ask{nick: nick}
	switch {
	case len(words) == 1 && strings.TrimPrefix(words[0], "!") == "help":
		a.command = "help"
		return a, "", true
	case len(words) == 0 || len(words) > 2 || strings.TrimPrefix(words[0], "!") != "who":
		return a, "", false
	}
	a.command = "who"
	if len(words) == 2 {
		r := s.room(strings.Fields(text)[1])
		if r == nil && !strings.ContainsAny(words[1][:1], "#&+!") {
			return a, "", false
		}
		if r == nil || !s.isIn(r, nick) {
			return a, "you are not in such a channel, or it is not bridged", true
		}
		a.at = r.Address
		return a, "", true
	}
	for _, r := range s.c.list {
		if !s.isIn(r, nick) {
			continue
		}
		if a.at.ID != "" {
			return a, fmt.Sprintf("which channel? /msg %s who %s", s.nick, r.ID), true
		}
		a.at = r.Address
	}
	if a.at.ID == "" {
		return a, "you are in no channel that is bridged", true
	}
	return a, "", true
}

// isIn reports whether a nick is in a channel where we are.
func (s *session) isIn(r *room, nick string) bool {
	_, here := r.here(s.c.casemap.fold(nick))
	return here && r.state == roomIn
}

// answerAsked answers what waits. The gateway asks the sides who is there, ourselves among them, so it is asked without
// the connection's mutex.
func (s *session) answerAsked(ctx context.Context) {
	s.c.mu.Lock()
	asks := s.asks
	s.asks = nil
	s.c.mu.Unlock()
	for _, a := range asks {
		text := s.c.side.deps.Answer(ctx, a.at, a.command)
		s.c.mu.Lock()
		if a.command == "help" {
			text += s.privateHelp()
		}
		s.tellAll(a.nick, text)
		s.nudge()
		s.c.mu.Unlock()
	}
}

// privateHelp is what can be asked of us alone.
func (s *session) privateHelp() string {
	text := fmt.Sprintf(" /msg %s who #channel does so as well, for you alone.", s.nick)
	if s.c.side.deps.Direct.Enabled() {
		text += fmt.Sprintf(" /msg %s user@example.org: hello writes to somebody elsewhere.", s.nick)
	}
	return text
}

// tellAll tells nick a text of some lines.
func (s *session) tellAll(nick, text string) {
	const lane, most = "\x00private", 4
	lines, more := spoken("", plainRows(gateway.Clean(text)), s.payload("NOTICE", nick), most)
	if more > 0 {
		lines = append(lines, leftOut(more, ""))
	}
	for _, l := range lines {
		s.pace.push(lane, &line{text: "NOTICE " + nick + " :" + l})
	}
}
