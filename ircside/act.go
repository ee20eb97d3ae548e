package ircside

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"lockbridge/gateway"
)

// capRedact lets what was said be taken back (IRCv3).
const capRedact = "draft/message-redaction"

var errNoRedact = errors.New("it cannot be taken back on this server")

// Acts are what is done to what was said, beside it: reactions, retractions, topics.

// reactionNative is the native id of the part that stands for somebody's reaction. It is ours, since the relay's one line
// may show what several people think, and is of no use to the server.
func reactionNative(key, emoji string) string { return reactionMark + key + "/" + emoji }

const reactionMark = "react/"

// encodeReaction says what the relay thinks: what any of the people thinks for whom it speaks. What one of them adds is
// said unless it stands there already, what one takes away is taken back unless another one thinks so still.
func encodeReaction(to place, d gateway.Delivery, r gateway.Reaction, lim limits) (outgoing, error) {
	out := outgoing{target: to.target, silent: true}
	if len(r.Target.Parts) == 0 || !lim.takes(tagReact) || !lim.takes(tagReply) {
		return out, gateway.Dropf("IRC has no form for it here")
	}
	target := r.Target.Parts[0].Native
	push := func(l *line) {
		l.text, l.low, l.expires = "TAGMSG "+to.target, true, true
		l.tags += ";" + tag(tagReply, target)
		out.lines = append(out.lines, l)
	}
	for _, emoji := range r.Emoji {
		if slices.ContainsFunc(r.Have, func(p gateway.Part) bool { return p.Name == emoji }) {
			continue
		}
		gives := gateway.Part{Name: emoji, Native: reactionNative(d.Key, emoji)}
		if lim.shown != nil && lim.shown(target, emoji) {
			out.gives = append(out.gives, gives)
			continue
		}
		push(&line{tags: tag(tagReact, oneLine(emoji)), gives: []gateway.Part{gives}, reacted: reacted{target, emoji}})
	}
	gone := map[string][]gateway.Part{}
	var order []string
	for _, p := range r.Have {
		if slices.Contains(r.Emoji, p.Name) || !strings.HasPrefix(p.Native, reactionMark) { // others are lines that told of it
			continue
		}
		if gone[p.Name] == nil {
			order = append(order, p.Name)
		}
		gone[p.Name] = append(gone[p.Name], p)
	}
	for _, emoji := range order {
		if slices.ContainsFunc(r.Sets, func(s gateway.Reactions) bool {
			return s.Anchor != r.Anchor && s.Who.Network != d.Room.Network && slices.Contains(s.Emoji, emoji)
		}) {
			out.gone = append(out.gone, gone[emoji]...)
			continue
		}
		push(&line{tags: tag(tagUnreact, oneLine(emoji)), gone: gone[emoji], reacted: reacted{target, emoji}})
	}
	return out, nil
}

// encodeRetract takes back each line of what was said (IRCv3 draft/message-redaction).
func encodeRetract(to place, room gateway.Address, r gateway.Retract, lim limits) (outgoing, error) {
	out := outgoing{target: to.target, silent: true}
	if !lim.redact {
		return out, gateway.Plainer(errNoRedact)
	}
	foreign := r.Target.Author.Network == room.Network // somebody's own line, which takes a channel operator
	for _, p := range r.Target.Parts {
		if !validTarget(p.Native) || strings.HasPrefix(p.Native, reactionMark) {
			continue
		}
		text := "REDACT " + to.target + " " + p.Native
		if reason := oneLine(r.Reason); reason != "" {
			text += " :" + shortenTo(reason, lim.payload("REDACT", to.target)-len(p.Native)-1)
		}
		out.lines = append(out.lines, &line{text: text, foreign: foreign})
	}
	if len(out.lines) == 0 {
		return out, gateway.Plainer(errNoRedact)
	}
	return out, nil
}

// encodeTopic sets the topic, cut to what the server keeps: it is told apart from others' by its text when it comes back.
func encodeTopic(to place, s gateway.RoomState, lim limits) outgoing {
	out := outgoing{target: to.target, silent: true}
	if s.Topic == nil || to.chat {
		return out
	}
	most := lim.payload("TOPIC", to.target)
	if lim.topic > 0 {
		most = min(most, lim.topic)
	}
	topic := shortenTo(oneLine(*s.Topic), most)
	if lim.about == nil || topic != *lim.about {
		out.lines = []*line{{text: "TOPIC " + to.target + " :" + topic, low: true}}
	}
	return out
}

// shortenTo cuts s between two runes.
func shortenTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:max(most, 0)]
}
