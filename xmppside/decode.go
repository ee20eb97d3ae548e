package xmppside

import (
	"time"

	"lockbridge/gateway"
)

// content is what a room's message holds, as far as it can be told without keys.
type content struct {
	id       string // chosen by the sender
	origin   string // origin-id, chosen by the sender
	stanzaID string // given by the room
	time     time.Time
	delayed  bool
	subject  bool // a change of subject, or the subject that ends the history of a join
	sealed   bool // by whatever means: the body is a fallback then, and never read
	body     string
	hasBody  bool

	replaces string // XEP-0308: id of the sender's earlier message
	replyTo  string // XEP-0461: stanza-id
	retracts string // XEP-0424: stanza-id
	fallback []*node

	// tells is what holds the elements that count: the stanza, or what its envelope holds. Nil where nothing but a text
	// was sealed.
	tells *node
}

// decodeContent reads a room's message. It is pure.
func decodeContent(m *message, room string) content {
	c := content{
		id:     m.get("id"),
		origin: m.child(nsSID, "origin-id").get("id"),
		sealed: m.sealed != nil || m.foreign || m.child(nsEME, "encryption") != nil || m.child(nsPGPLegacy, "x") != nil,
	}
	// A stanza-id counts only from the room itself: anybody can write one (XEP-0359, section 5).
	for _, sid := range m.all(nsSID, "stanza-id") {
		if normalBare(sid.get("by")) == room {
			c.stanzaID = sid.get("id")
		}
	}
	if m.archive != "" { // the same id as when it was said (XEP-0359, section 3.2)
		c.stanzaID = m.archive
	}
	if d := m.child(nsDelay, "delay"); d != nil && normalBare(d.get("from")) == room {
		c.delayed = true
		c.time, _ = time.Parse(time.RFC3339, d.get("stamp")) // without a time it is now
	}
	body := m.child(m.space, "body")
	c.subject = m.child(m.space, "subject") != nil && body == nil && !c.sealed
	c.refer(m.node)
	if body != nil && !c.sealed {
		c.body, c.hasBody = body.text, true
	}
	return c
}

// refer reads what a message says about others.
func (c *content) refer(n *node) {
	c.replaces = n.child(nsCorrect, "replace").get("id")
	c.replyTo = n.child(nsReply, "reply").get("id")
	c.retracts = n.child(nsRetract, "retract").get("id")
	c.fallback = n.all(nsFallback, "fallback")
	c.tells = n
}

// within is what an envelope says in place of what stands outside of it, where anybody could have written it.
func (c content) within(inner *node) content {
	c.refer(inner)
	body := inner.child(nsClient, "body")
	c.body, c.hasBody = "", body != nil
	if body != nil {
		c.body = body.text
	}
	return c
}

// says reports whether the message says or takes back anything; chat states and markers do not.
func (c content) says() bool {
	return c.sealed || c.retracts != "" || (c.hasBody && c.body != "")
}

// native is the seen-key.
func (c content) native(m *message) string {
	if c.stanzaID != "" {
		return c.stanzaID
	}
	return hashNative(m.get("from"), c.id, append([]byte(c.body), m.sealedBytes()...))
}

// aliases are the ids by which the sender's later messages may name this one.
func (c content) aliases(sender string) []string {
	var out []string
	if c.id != "" {
		out = append(out, messageAlias(aliasKind(c.sealed), sender, c.id))
	}
	if c.origin != "" && c.origin != c.id {
		out = append(out, messageAlias(aliasKind(c.sealed), sender, c.origin))
	}
	return out
}

func aliasKind(sealed bool) string {
	if sealed {
		return kindSealed
	}
	return kindID
}

// event makes the event of a text that the sender is known to have written: the body of a plain message, or what was
// opened. A correction names its target through the sender, so that nobody corrects somebody else.
func (c content) event(p gateway.Person, text string, sealed gateway.Sealing, references bool) *gateway.Event {
	ev := &gateway.Event{Sender: p, Time: c.time, Sealed: sealed}
	if c.replaces != "" && references {
		t, _ := decodeText(text)
		ev.Body = gateway.Edit{Target: gateway.Ref{Native: messageAlias(aliasKind(sealed.Protection != gateway.Plain), p.ID, c.replaces)}, Text: t}
		return ev
	}
	msg := gateway.Message{}
	if c.replyTo != "" && references {
		text = stripFallback(text, c.fallback, sealed.Protection != gateway.Plain)
		msg.ReplyTo = gateway.Ref{Native: c.replyTo}
	}
	msg.Text, msg.Style = decodeText(text)
	ev.Body = msg
	return ev
}
