package xmppside

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lockbridge/gateway"
)

// phrasing is how something is put where it is said.
type phrasing struct {
	prefix   string // the person whom the gateway speaks for; "" where a puppet speaks for itself
	metadata bool   // what the legacy version cannot seal may stand beside it
	answers  answered
	thread   string // XEP-0201
	// named is the nick of somebody where it is said, with the URI that means them; "" if they are not there.
	named func(gateway.Person) (nick, uri string)
}

// answered is the message that is replied to.
type answered struct {
	id   string // "" if it is not known here: then the quote alone tells
	to   string // whose it is: their occupant, or their bare JID
	name string
	text string // an excerpt
}

// quote is what of an answer clients show that know no replies.
func (a answered) quote(t gateway.Text) string {
	if a.id == "" && a.name == "" && a.text == "" {
		return ""
	}
	var b strings.Builder
	if a.name != "" {
		b.WriteString("> " + a.name + ":\n")
	}
	for line := range strings.Lines(a.text) {
		b.WriteString("> " + strings.TrimRight(line, "\n") + "\n")
	}
	if first := t.Paragraphs(); b.Len() > 0 && len(first) > 0 && first[0].Depth > 0 {
		b.WriteString("\n") // or the two quotes were one
	}
	return b.String()
}

// utter makes the stanza of a text. further is what stands beside it, whatever the protection.
func utter(t gateway.Text, style gateway.Style, how phrasing, further ...*node) utterance {
	t = withNames(t, how.named)
	reason, hidden := t.Spoiled()
	open := t
	if hidden {
		open = gateway.Text{Plain: t.Plain, Marks: slices.DeleteFunc(slices.Clone(t.Marks), func(m gateway.Mark) bool { return m.Style == gateway.MarkSpoiler })}
	}
	w := write(open, style, how)
	all := func(space string) []*node {
		out := append([]*node{el(space, "body").say(w.body)}, how.relations(w, space, further)...)
		if hidden {
			out = append(out, el(nsSpoiler, "spoiler").say(reason))
		}
		return append(out, how.mentions(w)...)
	}
	u := utterance{plain: all(""), two: all(nsClient)}
	if hidden && (reason != "" || !how.metadata) { // of which the legacy version seals nothing but words
		w = write(t, style, how)
	}
	u.legacy, u.beside = w.body, how.relations(w, "", further)
	if hidden {
		u.beside = append(u.beside, el(nsSpoiler, "spoiler"))
	}
	return u
}

// write writes a text behind what stands before it for clients: a quote, and who speaks.
func write(t gateway.Text, style gateway.Style, how phrasing) written {
	quote := how.answers.quote(t)
	lead := ""
	switch {
	case style == gateway.StyleEmote && how.prefix != "":
		lead = "* " + how.prefix + " "
	case style == gateway.StyleEmote:
		lead = "/me "
	case how.prefix != "":
		lead = "<" + how.prefix + "> "
		if first := t.Paragraphs(); len(first) > 0 && (first[0].Depth > 0 || first[0].Kind == gateway.MarkBlock) {
			lead = "<" + how.prefix + ">\n"
		}
	}
	w := writeStyled(quote+lead, t)
	w.quoted = utf8.RuneCountInString(quote)
	return w
}

// relations are what a text says about other messages, and about itself.
func (how phrasing) relations(w written, space string, further []*node) []*node {
	out := slices.Clone(further)
	if how.answers.id != "" {
		reply := el(nsReply, "reply", "id", how.answers.id)
		if how.answers.to != "" {
			reply.attrs = append(reply.attrs, attr{"to", how.answers.to})
		}
		out = append(out, reply)
		if w.quoted > 0 {
			out = append(out, el(nsFallback, "fallback", "for", nsReply).
				add(el(nsFallback, "body", "start", "0", "end", strconv.Itoa(w.quoted))))
		}
	}
	if how.thread != "" {
		out = append(out, el(space, "thread").say(how.thread))
	}
	if w.unstyled {
		out = append(out, el(nsStyling, "unstyled"))
	}
	return out
}

// mentions names those who are named in the text (XEP-0372).
func (how phrasing) mentions(w written) (out []*node) {
	for _, m := range w.mentions {
		if _, uri := how.named(m.who); uri != "" {
			out = append(out, el(nsReference, "reference", "type", "mention", "begin", strconv.Itoa(m.begin), "end", strconv.Itoa(m.end), "uri", uri))
		}
	}
	return out
}

// withNames calls those whom a text names as they are called where it is said: clients tell by the nick that their own
// user is meant.
func withNames(t gateway.Text, named func(gateway.Person) (nick, uri string)) gateway.Text {
	t = t.Normal()
	for i := range t.Marks {
		m := t.Marks[i]
		if m.Style != gateway.MarkMention || named == nil {
			continue
		}
		nick, _ := named(m.Who)
		if nick == "" {
			continue
		}
		t.Plain = t.Plain[:m.Start] + nick + t.Plain[m.End:]
		by := len(nick) - (m.End - m.Start)
		for k := range t.Marks {
			if t.Marks[k].Start >= m.End {
				t.Marks[k].Start += by
			}
			if t.Marks[k].End >= m.End {
				t.Marks[k].End += by
			}
		}
	}
	return t.Normal()
}

// encodeMessage makes the stanza of a message's text.
func encodeMessage(m gateway.Message, how phrasing) utterance {
	return utter(m.Text, m.Style, how)
}

// encodeEdit makes the correction of what was said under an id attribute (XEP-0308).
func encodeEdit(e gateway.Edit, id string, how phrasing) utterance {
	u := utter(e.Text, e.Style, how, el(nsCorrect, "replace", "id", id))
	u.needs = true
	return u
}

// encodeRetract makes the retraction of a message by its id (XEP-0424). The body is for clients that know none.
func encodeRetract(id, part string) utterance {
	retract := el(nsRetract, "retract", "id", id)
	u := utterance{name: part, act: true, beside: []*node{retract, el(nsHints, "store")}, two: []*node{retract}}
	u.plain = append([]*node{el("", "body").say("(retracted a message)"), el(nsFallback, "fallback", "for", nsRetract)}, u.beside...)
	return u
}

// encodeReactions makes somebody's whole set of reactions on a message (XEP-0444). The XEP asks for emoji: what else a
// reaction may be elsewhere is words, which must not stand beside what is sealed, and is left out.
func encodeReactions(id string, emoji []string) utterance {
	set := el(nsReactions, "reactions", "id", id)
	for _, e := range emoji {
		if isEmoji(e) {
			set.add(el(nsReactions, "reaction").say(e))
		}
	}
	u := utterance{act: true, plain: []*node{set, el(nsHints, "store")}, two: []*node{set}}
	u.beside = u.plain
	return u
}

// encodeFile makes the stanza of a file.
func encodeFile(f shared, part string) utterance {
	return utterance{
		name: part, plain: append([]*node{el("", "body").say(f.body())}, f.beside()...), legacy: f.body(),
		two: append([]*node{el(nsClient, "body").say(f.body())}, f.within()...),
	}
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
