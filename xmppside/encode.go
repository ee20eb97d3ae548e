package xmppside

import (
	"time"

	"lockbridge/gateway"
)

// phrasing is how something is put where it is said.
type phrasing struct {
	prefix string // the person whom the gateway speaks for; "" where a puppet speaks for itself
}

// encodeMessage makes the stanza of a message's text.
func encodeMessage(m gateway.Message, how phrasing) utterance {
	body := encodeBody(m, how.prefix)
	return utterance{
		plain: []*node{el("", "body").say(body)}, legacy: body,
		two: []*node{el(nsClient, "body").say(body)},
	}
}

// encodeBody is what a message reads like in a room. prefix names the person whom the gateway speaks for; "" means
// that a puppet speaks for itself.
func encodeBody(m gateway.Message, prefix string) string {
	text := m.Text.Plain
	switch {
	case m.Style == gateway.StyleEmote && prefix != "":
		return "* " + prefix + " " + text
	case m.Style == gateway.StyleEmote:
		return "/me " + text
	case prefix != "":
		return "<" + prefix + "> " + text
	}
	return text
}

// roomMessage makes a message to a room. Its id is its origin-id as well (XEP-0359): rooms that give messages new ids keep
// the latter.
func roomMessage(room, from, id string, content ...*node) *node {
	return el("", "message", "type", "groupchat", "id", id, "from", from+"/"+resource, "to", room).
		add(content...).add(el(nsSID, "origin-id", "id", id))
}

// chatMessage makes a message to a person, or to their occupant in a room. The nick names a puppet to clients that do
// not have it in their roster (XEP-0172, section 4.3).
func chatMessage(to string, v voice, id string, content ...*node) *node {
	m := el("", "message", "type", "chat", "id", id, "from", v.jid+"/"+resource, "to", to).
		add(content...).add(el(nsSID, "origin-id", "id", id))
	if v.name != "" {
		m.add(el(nsNick, "nick").say(v.name))
	}
	if bare(to) != to {
		m.add(el(nsMUCUser, "x"), el(nsHints, "no-copy"))
	}
	return m
}

// privateMessage makes a message to one occupant (XEP-0045, section 7.5). It is neither archived nor copied.
func privateMessage(from, to, text string) *node {
	return el("", "message", "type", "chat", "from", from, "to", to).
		add(el("", "body").say(text), el(nsMUCUser, "x"), el(nsHints, "no-copy"))
}

// lateAfter is how old an event has to be for what is made of it to tell when it was.
const lateAfter = time.Minute

// late is what a message says of an event that is delivered long after it happened (XEP-0203); nil for others.
func (s *Side) late(j *job) *node {
	at := j.Event.Time
	if at.IsZero() || s.now().Sub(at) < lateAfter {
		return nil
	}
	return el(nsDelay, "delay", "from", j.voice.jid, "stamp", at.UTC().Format("2006-01-02T15:04:05.000Z"))
}
