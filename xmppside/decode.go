package xmppside

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"lockbridge/gateway"
)

// content is what a message holds, as far as it can be told without keys.
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
	relations
}

// relations are what a message says besides its text, and about others.
type relations struct {
	replaces string // XEP-0308: id of the sender's earlier message
	replyTo  string // XEP-0461
	thread   string // XEP-0201
	retracts string // XEP-0424
	reacts   *reacts
	fallback []*node // XEP-0428
	spoiler  *node   // XEP-0382
	markup   *node   // XEP-0394
	mentions []*node // XEP-0372
	unstyled bool    // XEP-0393
	// outside: all of this stands beside a ciphertext that holds the text, where servers can write it, too.
	outside bool
	// tells is what holds the elements that count: the stanza, or what its envelope holds. Nil where nothing but a text
	// was sealed.
	tells *node
}

// reacts is somebody's whole set of reactions on a message (XEP-0444).
type reacts struct {
	id    string
	emoji []string
}

// decodeContent reads a message. It is pure.
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
	c.relations = relate(m.node, m.space)
	if body != nil && !c.sealed {
		c.body, c.hasBody = body.text, true
	}
	return c
}

// maxThread is how long the name of a thread is, in bytes.
const maxThread = 300

// relate reads what an element says about others; space is the namespace of its stanza.
func relate(n *node, space string) relations {
	r := relations{
		replaces: n.child(nsCorrect, "replace").get("id"),
		replyTo:  n.child(nsReply, "reply").get("id"),
		retracts: n.child(nsRetract, "retract").get("id"),
		fallback: fallbacksOf(n),
		spoiler:  n.child(nsSpoiler, "spoiler"),
		markup:   n.child(nsMarkup, "markup"),
		mentions: n.all(nsReference, "reference"),
		unstyled: n.child(nsStyling, "unstyled") != nil,
		tells:    n,
	}
	if thread := gateway.Clean(n.child(space, "thread").said()); len(thread) <= maxThread {
		r.thread = thread
	}
	if old := n.child(nsFasten, "apply-to"); r.retracts == "" && old.child(nsRetractOld, "retract") != nil {
		r.retracts = old.get("id")
	}
	if n.child(nsRetract, "retracted") != nil || n.child(nsRetract, "retract").child(nsModerate, "moderated") != nil {
		r.retracts = "" // what is left of a message in an archive; the word of the room itself, see moderation
	}
	if set := n.child(nsReactions, "reactions"); set.get("id") != "" {
		r.reacts = &reacts{id: set.get("id"), emoji: emojiOf(set)}
	}
	return r
}

// emojiOf are the reactions of a set, each once.
func emojiOf(set *node) []string {
	out := []string{}
	for _, kid := range set.all(nsReactions, "reaction") {
		e := strings.TrimSpace(gateway.Clean(kid.text))
		if e == "" || len(e) > gateway.MaxEmojiSize || strings.Contains(e, "\n") || slices.Contains(out, e) {
			continue
		}
		if out = append(out, e); len(out) == gateway.MaxEmoji {
			break
		}
	}
	return out
}

// beside is what of the relations counts that stand beside a ciphertext of the legacy version, which holds nothing but a
// text. A server could have written all of it. So it counts only where the metadata does, and what is content, or makes a
// text vanish, never does.
func (r relations) beside(believed bool) relations {
	if !believed {
		return relations{outside: true}
	}
	out := relations{
		replaces: r.replaces, replyTo: r.replyTo, thread: r.thread, reacts: r.reacts, fallback: r.fallback, unstyled: r.unstyled, outside: true,
	}
	if r.spoiler != nil {
		out.spoiler = el(nsSpoiler, "spoiler")
	}
	return out
}

// within is what an envelope says in place of what stands outside of it, where anybody could have written it.
func (c content) within(inner *node) content {
	c.relations = relate(inner, nsClient)
	body := inner.child(nsClient, "body")
	c.body, c.hasBody = "", body != nil
	if body != nil {
		c.body = body.text
	}
	return c
}

// acts reports whether the message takes something back, or reacts: whatever text it has stands there for clients that
// do not know such.
func (c content) acts() bool { return c.retracts != "" || c.reacts != nil }

// says reports whether the message says, does or takes back anything; chat states and markers do not.
func (c content) says() bool { return c.sealed || !c.isMute() }

// isMute reports whether there is no text, file or act in it.
func (c content) isMute() bool {
	return !c.acts() && (!c.hasBody || c.body == "") && c.tells.child(nsSharing, "file-sharing") == nil
}

// native is the seen-key.
func (c content) native(m *message) string {
	if c.stanzaID != "" {
		return c.stanzaID
	}
	return hashNative(m.get("from"), c.id, c.payload(m))
}

// payload tells messages apart that have the same id, or none.
func (c content) payload(m *message) []byte {
	return append(append([]byte(c.body), m.sealedBytes()...), c.retracts+c.reactions()...)
}

func (c content) reactions() string {
	if c.reacts == nil {
		return ""
	}
	return "\x00" + c.reacts.id + "\x00" + strings.Join(c.reacts.emoji, "\x00")
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

// scene is what the place where something was said adds to reading it.
type scene struct {
	direct bool
	public bool // it was said in the clear, where content may be: whoever has its URLs may fetch them
	// own refers to what the sender said earlier, by the id that they gave it; said to the same, by the one that all know;
	// ref to what anybody said.
	own  func(id string, sealed bool) gateway.Ref
	said func(id string) gateway.Ref
	ref  func(id string) gateway.Ref
	// named is who is meant by a URI (RFC 5122), nicks who of ours is there under which nick.
	named func(uri string) gateway.Person
	nicks func() map[string]gateway.Person
}

// event makes the event of what the sender is known to have said: the content of a plain message, or what was opened.
// lead stands before the text. Nil: nothing of it counts.
func (c content) event(p gateway.Person, lead string, sealed gateway.Sealing, at scene) *gateway.Event {
	ev := &gateway.Event{Sender: p, Time: c.time, Sealed: sealed}
	wasSealed := sealed.Protection != gateway.Plain
	switch {
	case c.retracts != "":
		ev.Body = gateway.Retract{Target: at.said(c.retracts)}
		return ev
	case c.reacts != nil && (!c.outside || onlyReacts(c.body, c.reacts.emoji)):
		ev.Body = gateway.Reaction{Target: at.ref(c.reacts.id), Emoji: c.reacts.emoji, Op: gateway.ReactionSet}
		return ev
	}
	files, rest := decodeFiles(c.tells, c.body, at.public && !wasSealed)
	if rest == "" && len(files) == 0 && c.body == "" {
		return nil
	}
	text, style := c.text(rest, lead, at)
	if c.replaces != "" {
		ev.Body = gateway.Edit{Target: at.own(c.replaces, wasSealed), Text: text, Style: style, Files: files}
		return ev
	}
	msg := gateway.Message{Text: text, Style: style, Files: files}
	if c.replyTo != "" {
		msg.ReplyTo = at.ref(c.replyTo)
		msg.ReplyTo.Excerpt = c.quoted()
	}
	if c.thread != "" && !at.direct { // many clients put one on each direct message
		msg.Thread = gateway.Ref{Native: gateway.ThreadNative(c.thread)}
	}
	ev.Body = msg
	return ev
}

// onlyReacts reports whether a sealed text says no more than the reactions that stand beside it in the clear: some
// clients send such a text for others that do not know reactions. Else a server could make any message vanish.
func onlyReacts(body string, emoji []string) bool {
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, ">") {
			continue
		}
		for _, e := range emoji {
			line = strings.ReplaceAll(line, e, "")
		}
		if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsSpace(r) && !strings.ContainsRune(",\uFE0F", r) }) {
			return false
		}
	}
	return true
}
