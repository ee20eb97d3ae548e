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

// What people do beside speaking: reactions and typing (TAGMSG), retractions (REDACT), and how the server answers where
// we do so.

// place is where something happened that is no speech: a channel, or a chat that is known by the message it is about.
func (s *session) placeHeard(target, about string) (at gateway.Address, r *room) {
	if r = s.room(target); r != nil {
		return r.Address, r
	}
	if s.isMe(target) {
		return s.c.chats[about], nil
	}
	return at, nil
}

// tagged handles TAGMSG: "@+draft/react=👍;+draft/reply=MSGID :nick!u@h TAGMSG #channel", or "@+typing=active".
func (s *session) tagged(e *girc.Event) {
	nick, about := nickOf(e), cleanID(clientTag(e, tagReply))
	at, r := s.placeHeard(param(e, 0), about)
	switch {
	case nick == "":
		return
	case s.isMe(nick):
		s.ours(e)
		return
	case at.ID == "" || s.isGhost(e):
		return
	}
	who, now := s.person(nick), timeOf(e, s.lastHeard)
	if state := clientTag(e, tagTyping); state != "" {
		if r != nil && r.replay == nil && s.c.side.deps.Privacy.Typing {
			s.typed(at, who, state, now)
		}
		return
	}
	op, emoji := gateway.ReactionAdd, clientTag(e, tagReact)
	if emoji == "" {
		op, emoji = gateway.ReactionRemove, clientTag(e, tagUnreact)
	}
	emoji = oneLine(toUTF8(emoji))
	if about == "" || emoji == "" || len(emoji) > gateway.MaxEmojiSize || !s.c.fromThere(at, who) {
		return
	}
	s.did(r, gateway.Event{
		At: at, Native: cleanID(e.Tags["msgid"]), Sender: who, Time: now,
		Body: gateway.Reaction{Target: gateway.Ref{Native: about}, Emoji: []string{emoji}, Op: op},
	})
}

// redacted handles REDACT: "nick!u@h REDACT #channel MSGID [:reason]". The server has looked whether nick may do so, also
// with what others said; the gateway knows whose words they were.
func (s *session) redacted(e *girc.Event) {
	nick, about := nickOf(e), cleanID(param(e, 1))
	at, r := s.placeHeard(param(e, 0), about)
	switch {
	case nick == "":
	case s.isMe(nick):
		s.ours(e)
	case at.ID != "" && about != "" && s.caps[capRedact] && s.c.fromThere(at, s.person(nick)):
		s.did(r, gateway.Event{
			At: at, Sender: s.person(nick), Time: timeOf(e, s.lastHeard),
			Body: gateway.Retract{
				Target: gateway.Ref{Native: about}, Moderated: true,
				Reason: gateway.Shorten(oneLine(toUTF8(stripFormat(param(e, 2)))), gateway.MaxReason),
			},
		})
	}
}

// ours handles what we did, as the server passed it on.
func (s *session) ours(e *girc.Event) {
	s.learnMask(e.Source)
	if l := s.labelledLine(e); l != nil {
		s.confirm(l, nil)
	}
}

// did takes what somebody did in a channel or (r is nil) in a chat.
func (s *session) did(r *room, ev gateway.Event) {
	var p *replay
	if r != nil {
		p = r.replay
	}
	s.hear(p, arrival(ev))
}

// fromThere reports whether somebody is one of a chat's two people; in a channel everybody is.
func (c *conn) fromThere(at gateway.Address, who gateway.Person) bool {
	local, _, chat := at.Direct()
	return !chat || local.ID == who.ID
}

// maxChats is how many messages are remembered that were said in chats.
const maxChats = 2048

// noteChat remembers in which chat a message was said: who reacts to it names nobody else.
func (c *conn) noteChat(at gateway.Address, msgid string) {
	if _, _, chat := at.Direct(); !chat || msgid == "" {
		return
	}
	if len(c.chats) >= maxChats {
		clear(c.chats)
	}
	c.chats[msgid] = at
}

// typed tells that somebody types, or does so no more. What says it lives for 6 s (IRCv3 typing).
func (s *session) typed(at gateway.Address, who gateway.Person, state string, now time.Time) {
	const life = 6 * time.Second
	ev := gateway.Event{At: at, Sender: who, Time: now, Expires: s.lastHeard.Add(life), Body: gateway.Typing{On: state == "active"}}
	h := arrival(ev)
	h.Passing, h.passing = true, true
	s.take(h)
}

// refusedAct settles a line that the server refused and that says nothing by itself. It reports false for those that do.
func (s *session) refusedAct(l *line, why error) bool {
	command, _, _ := strings.Cut(l.text, " ")
	var refused refusedError
	soon := errors.As(why, &refused) && refused.code == girc.ERR_UNAVAILRESOURCE // the last change was a moment ago
	switch {
	case command == "TAGMSG":
	case command == girc.TOPIC && soon:
		s.confirm(l, gateway.Later(time.Second, why))
		return true
	case command == girc.TOPIC:
		if s.c.mayTell("topic "+l.target, 24*time.Hour) {
			s.c.side.deps.Log.Warn("the topic cannot be set", "room", l.target, "reason", why)
		}
	case command == "REDACT" && l.foreign:
		s.confirm(l, gateway.Dropf("this bridge may not remove messages in %s", gateway.CleanName(l.target)))
		return true
	case command == "REDACT":
		s.confirm(l, gateway.Plainer(why))
		return true
	default:
		return false
	}
	l.gives, l.gone, l.reacted = nil, nil, reacted{} // nothing came of it, and nobody needs to know
	s.confirm(l, nil)
	return true
}

// refusedBatch handles "FAIL BATCH MULTILINE_... :reason": what we say is lines from now on.
func (s *session) refusedBatch(l *line, e *girc.Event) {
	if l == nil {
		for _, f := range s.inflight {
			if f.joined != "" && !f.settled && !f.heard {
				l = f
				break
			}
		}
	}
	if l == nil || l.joined == "" {
		return
	}
	s.multi = multiline{}
	delete(s.c.said, l.of.key) // it is said in other lines
	s.confirm(l, gateway.Later(100*time.Millisecond, fmt.Errorf("the server does not take several lines as one: %s", cleanReason(e.Last()))))
}

// colourless notes that a channel takes no formatting, and lets what it refused be said without.
func (s *session) colourless(r *room, l *line, why error) {
	r.plain = true
	if !l.of.partly() {
		s.confirm(l, gateway.Plainer(why))
		return
	}
	for _, rest := range l.of.lines {
		if rest.err == nil && !rest.settled && !strings.ContainsRune(rest.text, codeColor) { // a colour hides something
			rest.text = stripFormat(rest.text)
		}
	}
	if l.isFormatted() {
		s.confirm(l, gateway.Drop(why))
		return
	}
	s.confirm(l, gateway.Later(100*time.Millisecond, why))
}

// modeChanged handles MODE of a channel.
func (s *session) modeChanged(e *girc.Event) {
	r := s.room(param(e, 0))
	if r == nil {
		return
	}
	r.modes(param(e, 1))
	if !r.mutedUntil.IsZero() {
		r.mutedUntil = time.Time{} // we may be allowed to speak again
		s.c.side.notify(nil)
	}
}

// modes notes whether a channel strips or refuses formatting: +c or +S, on all servers that have either.
func (r *room) modes(change string) {
	on := true
	for _, m := range change {
		switch m {
		case '+', '-':
			on = m == '+'
		case 'c', 'S':
			r.plain = on
		}
	}
}

// topicKey is where State keeps the topic of a channel as we know it.
func topicKey(channel string) string { return "topic/" + channel }

// topicSet handles TOPIC: "nick!u@h TOPIC #channel :text".
func (s *session) topicSet(e *girc.Event) {
	r, nick := s.room(param(e, 0)), nickOf(e)
	if s.isMe(nick) {
		s.ours(e)
	}
	if r == nil || len(e.Params) < 2 {
		return
	}
	var who gateway.Person
	if nick != "" {
		who = s.person(nick)
	}
	s.topicIs(r, e, who, !s.isMe(nick))
}

// topicTold handles RPL_TOPIC, which tells the topic when we come in. It is news if it is not the one that we knew.
func (s *session) topicTold(e *girc.Event) {
	if r := s.room(param(e, 1)); r != nil {
		_, known := s.c.topics[r.ID]
		s.topicIs(r, e, gateway.Person{}, known)
	}
}

// topicIs notes a topic, and tells it where it is news: what the server made of our own is none.
func (s *session) topicIs(r *room, e *girc.Event, who gateway.Person, tell bool) {
	const most = 2 << 10
	text := shortenTo(oneLine(toUTF8(stripFormat(e.Last()))), most)
	if was, known := s.c.topics[r.ID]; !r.Topic || known && was == text {
		return
	}
	s.c.topics[r.ID] = text
	ev := gateway.Event{At: r.Address, Sender: who, Time: timeOf(e, s.lastHeard), Body: gateway.RoomState{Topic: &text}}
	state := s.c.side.deps.State
	s.take(heard{Arrival: gateway.Arrival{At: r.Address, Read: func(ctx context.Context) (*gateway.Event, error) {
		if state != nil {
			if err := state.PutMany(ctx, map[string][]byte{topicKey(r.ID): []byte(text)}); err != nil {
				return nil, err
			}
		}
		if !tell {
			return nil, nil
		}
		out := ev
		return &out, nil
	}}})
}

// loadTopics reads the topics that we knew.
func (s *Side) loadTopics(ctx context.Context) (map[string]string, error) {
	topics := map[string]string{}
	if s.deps.State == nil {
		return topics, nil
	}
	stored, err := s.deps.State.List(ctx, topicKey(""))
	if err != nil {
		return nil, fmt.Errorf("read the topics: %w", err)
	}
	for key, text := range stored {
		topics[strings.TrimPrefix(key, topicKey(""))] = string(text)
	}
	return topics, nil
}
