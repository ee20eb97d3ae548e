package ircside

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
)

const (
	helpPause   = time.Minute // between two answers of one kind to one nick
	nobodyPause = time.Hour   // the same where no direct chats are carried
	awayPause   = time.Hour   // between two words in one chat that its nick is away

	maxPairs   = 20 // chats that the nicks of one user@host write to in pairWindow
	pairWindow = time.Hour
	maxSources = 1024 // of them that are remembered; full of them, all are forgotten
)

// written reads what somebody says to us alone: "ADDRESS: text" goes to the person of that address on another network,
// anything else is answered, if answer is set, with how to do it. NOTICE and CTCP neither cross nor get an answer, so
// that no two machines can talk to each other for ever. It reports false for what does not cross.
func (s *session) written(e *girc.Event, nick string, at time.Time, answer bool) (heard, bool) {
	m, speech := decodeMessage(e)
	if e.Command != girc.PRIVMSG || e.Source.Host == "" || !speech {
		return heard{}, false
	}
	refuse := func(topic string, pause time.Duration, text string) (heard, bool) {
		if answer {
			s.answer(topic, nick, pause, text)
		}
		return heard{}, false
	}
	if a, reason, command := s.commanded(nick, m.Text.Plain); command {
		switch {
		case reason != "":
			return refuse("command", helpPause, reason)
		case answer && len(s.asks) < maxAsks && s.c.mayTell("ask "+a.command+" "+s.c.casemap.fold(nick), helpPause):
			s.asks = append(s.asks, a)
		}
		return heard{}, false
	}
	direct := s.c.side.deps.Direct
	if !direct.Enabled() {
		return refuse("disabled", nobodyPause, fmt.Sprintf("I pass on what is said in %s; direct messages are not bridged, and nobody has read yours", s.c.channels()))
	}
	local := s.person(nick)
	remote, text, reason := addressed(direct, m.Text.Plain, local.Network)
	if reply, known := s.c.chats[m.ReplyTo.Native]; reason != "" && known && s.c.fromThere(reply, local) {
		_, remote, _ = reply.Direct() // an answer needs no address
		text, reason = strings.TrimSpace(m.Text.Plain), ""
	}
	chat := gateway.DirectAddress(local, remote)
	if reason == "" && max(len(chat.ID), len(chat.Mirror().ID)) > gateway.MaxRoom {
		reason = "the address is too long"
	}
	if reason != "" {
		return refuse("help", helpPause, fmt.Sprintf("nobody got that: %s. Begin with whom it is for: /msg %s user@example.org: hello", reason, s.nick))
	}
	if reason = direct.Refuses(local, remote); reason != "" {
		return refuse("refused", helpPause, "nobody got that: "+reason)
	}
	if !s.c.mayPair(e.Source.Ident+"@"+e.Source.Host, chat) {
		return refuse("many", helpPause, "nobody got that: you have written to many people lately; try again later")
	}
	m.Text = tail(m.Text, text)
	s.c.noteChat(chat, cleanID(e.Tags["msgid"]))
	return arrival(gateway.Event{At: chat, Native: cleanID(e.Tags["msgid"]), Sender: local, Time: at, Body: m}), true
}

// addressed takes the address off the front of a text: what stands before the first white space, without a colon or
// comma behind it.
func addressed(direct gateway.Direct, text, from string) (who gateway.Person, rest, reason string) {
	text = strings.TrimSpace(text)
	end := strings.IndexFunc(text, unicode.IsSpace)
	if end < 0 {
		end = len(text)
	}
	written, rest := strings.TrimRight(text[:end], ":,"), strings.TrimSpace(text[end:])
	if who, reason = direct.Named(written, from); reason == "" && rest == "" {
		reason = "there is no text behind the address"
	}
	return who, rest, reason
}

// tail is the end of a text, with the marks that lie in it.
func tail(t gateway.Text, plain string) gateway.Text {
	out := gateway.Text{Plain: plain}
	start := strings.LastIndex(t.Plain, plain)
	for _, m := range t.Marks {
		m.Start, m.End = max(m.Start-start, 0), min(m.End-start, len(plain))
		out.Marks = append(out.Marks, m)
	}
	return out.Normal()
}

// answer tells nick something, once per pause and topic.
func (s *session) answer(topic, nick string, pause time.Duration, text string) {
	const lane, most = "\x00private", 4
	if s.pace.queued(lane) < most && s.c.mayTell(topic+" "+s.c.casemap.fold(nick), pause) {
		s.stirred = true
		s.pace.push(lane, &line{text: "NOTICE " + nick + " :" + gateway.Shorten(text, s.payload("NOTICE", nick))})
	}
}

// mayTell reports whether key was not told lately, and begins a pause for it. Full of pauses it forgets them all, which
// costs some repetitions and nothing else.
func (c *conn) mayTell(key string, pause time.Duration) bool {
	now := c.side.clock.now()
	if now.Before(c.told[key]) {
		return false
	}
	if len(c.told) >= maxSaid {
		clear(c.told)
	}
	c.told[key] = now.Add(pause)
	return true
}

// source is whom the nicks of one user@host wrote to since its window began.
type source struct {
	until time.Time
	chats map[gateway.Address]bool
}

// mayPair reports whether a user@host may write in a chat. A nick is changed in a moment, and every new one is a new
// person to the gateway, whom it would make a puppet for.
func (c *conn) mayPair(from string, chat gateway.Address) bool {
	now := c.side.clock.now()
	of := c.sources[from]
	if of == nil || now.After(of.until) {
		if of == nil && len(c.sources) >= maxSources {
			clear(c.sources)
		}
		of = &source{until: now.Add(pairWindow), chats: map[gateway.Address]bool{}}
		c.sources[from] = of
	}
	if !of.chats[chat] && len(of.chats) >= maxPairs {
		return false
	}
	of.chats[chat] = true
	return true
}

// isAway passes on that whoever we wrote to is away (RPL_AWAY: "301 me nick :reason").
func (s *session) isAway(e *girc.Event) {
	nick := cleanNick(param(e, 1))
	l := s.labelledLine(e)
	if l == nil {
		l = s.lineTo(nick, "")
	}
	if l == nil || !couldBeNick(nick) {
		return
	}
	at := l.of.at
	if _, _, chat := at.Direct(); !chat || !s.c.mayTell("away "+at.ID, awayPause) {
		return
	}
	text := nick + " is away"
	if reason := cleanReason(param(e, 2)); reason != "" {
		text += ": " + reason
	}
	s.take(arrival(gateway.Event{
		At: at, Sender: s.person(nick), Time: timeOf(e, s.lastHeard),
		Body: gateway.Message{Style: gateway.StyleNotice, Text: gateway.Text{Plain: text}},
	}))
}

// lineTo finds the oldest line to a nick or channel whose fate is not known, one of that command, or else one that says
// something.
func (s *session) lineTo(target, command string) *line {
	target = s.c.casemap.fold(target)
	for _, l := range s.inflight {
		if l.target != target || l.settled || l.heard {
			continue
		}
		switch is, _, _ := strings.Cut(l.text, " "); is {
		case "REDACT", "TAGMSG", girc.TOPIC:
			if is == command {
				return l
			}
		default:
			if command == "" {
				return l
			}
		}
	}
	return nil
}
