package matrixside

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// maxContent is the most bytes of JSON that a content may take: an event may have 65536 (Client-Server API, "Size
// limits"), and the rest of it is the homeserver's.
const maxContent = 60_000

// errTooLarge is why a message cannot be said on Matrix. Its sender reads it.
var errTooLarge = gateway.Dropf("the message is too long for Matrix")

// content is what we say in a room. Mentions is there in every message: without it, clients search the text for names
// and ping.
type content struct {
	MsgType   event.MessageType `json:"msgtype,omitempty"`
	Body      string            `json:"body"`
	Format    event.Format      `json:"format,omitempty"`
	Formatted string            `json:"formatted_body,omitempty"`
	attachment
	Mentions *event.Mentions  `json:"m.mentions,omitempty"`
	New      *content         `json:"m.new_content,omitempty"`
	Relates  *event.RelatesTo `json:"m.relates_to,omitempty"`
	Key      *deliveryKey     `json:"org.lockbridge.key,omitempty"`
}

type deliveryKey struct {
	Key  string `json:"key"`
	Part string `json:"part"`
}

// piece is one native event of a delivery.
type piece struct {
	part string // its name
	kind event.Type
	content
}

// encoder writes texts for one room.
type encoder struct {
	// pill is the user id under which the room knows somebody, if any.
	pill func(gateway.Person) id.UserID
	// network is ours: its people are users of Matrix, whom a mention notifies.
	network string
}

// captioned reports whether a message's text goes with its first file.
func captioned(msg gateway.Message) bool {
	return len(msg.Files) > 0 && msg.Text.Plain != "" && msg.Style == gateway.StyleText && !msg.Files[0].Sticker
}

// partNames are the parts that a body is said in; nil for one that says nothing and may be repeated.
func partNames(b gateway.Body) []string {
	msg, ok := b.(gateway.Message)
	if !ok {
		switch b.(type) {
		case gateway.Edit, gateway.Receipt:
			return []string{""}
		}
		return nil
	}
	var names []string
	if msg.Text.Plain != "" || len(msg.Files) == 0 {
		names = append(names, "")
	}
	for i := range msg.Files {
		if i > 0 || !captioned(msg) {
			names = append(names, "f"+strconv.Itoa(i+1))
		}
	}
	return names
}

// encodeMessage is what a message looks like: its text, which is the first file's caption if there is one, and its files,
// which were uploaded. speaker is the name to say it for, where the bot says it instead of the person's ghost; else it is
// empty.
func (e encoder) encodeMessage(msg gateway.Message, files []uploaded, speaker string) []piece {
	relates := relation(msg)
	text := e.text(msg.Text, msg.Style, speaker)
	if relates != nil && relates.InReplyTo != nil && !relates.IsFallingBack {
		e.notify(text.Mentions, msg.ReplyTo.Author)
	}
	var pieces []piece
	for _, f := range files {
		pieces = append(pieces, e.file(f, speaker))
	}
	switch {
	case captioned(msg):
		p := &pieces[0]
		p.Body, p.Format, p.Formatted, p.Mentions = text.Body, text.Format, text.Formatted, text.Mentions
	case msg.Text.Plain != "" || len(files) == 0:
		pieces = slices.Insert(pieces, 0, piece{kind: event.EventMessage, content: text})
	}
	for i, name := range partNames(msg) {
		pieces[i].part, pieces[i].Relates = name, relates
		if relates != nil && relates.Type == "" { // an answer is given once
			relates = nil
		}
		pieces[i].fit()
	}
	return pieces
}

// fit leaves out the HTML of a text that is too large with it.
func (c *content) fit() {
	if !c.fits() {
		c.Format, c.Formatted = "", ""
	}
}

// fits reports whether the content can be sent, with the key of its delivery.
func (c content) fits() bool {
	_, err := c.withKey("0123456789abcdef0123456789abcdef", "f10").encode()
	return err == nil
}

// encodeEdit replaces the text of what target names.
func (e encoder) encodeEdit(edit gateway.Edit, target id.EventID, speaker string) content {
	c := e.text(edit.Text, edit.Style, speaker)
	outer := c
	outer.New = &c
	outer.Body, outer.Mentions = "* "+c.Body, e.newlyMentioned(edit)
	if c.Formatted != "" {
		outer.Formatted = "* " + c.Formatted
	}
	outer.Relates = (&event.RelatesTo{}).SetReplace(target)
	if !outer.fits() { // for clients that know no edits, the beginning will do
		outer.Format, outer.Formatted = "", ""
		outer.Body = gateway.Shorten(outer.Body, gateway.MaxExcerpt)
		outer.fitNew()
	}
	return outer
}

// newlyMentioned are those who are to be notified of an edit: whoever was mentioned before is not notified again. Where
// the text before is not known to its end, nobody is.
func (e encoder) newlyMentioned(edit gateway.Edit) *event.Mentions {
	news, before := &event.Mentions{}, strings.ToLower(edit.Target.Excerpt)
	if before == "" || len(before) >= gateway.MaxExcerpt || strings.HasSuffix(before, "…") {
		return news
	}
	text := edit.Text.Normal()
	for _, m := range text.Marks {
		if m.Style == gateway.MarkMention && !strings.Contains(before, strings.ToLower(text.Plain[m.Start:m.End])) {
			e.notify(news, m.Who)
		}
	}
	return news
}

// fitNew is fit for what an edit makes of a message.
func (c *content) fitNew() {
	if !c.fits() {
		c.New.Format, c.New.Formatted = "", ""
	}
}

// text is a message of text alone.
func (e encoder) text(t gateway.Text, style gateway.Style, speaker string) content {
	c := content{MsgType: event.MsgText, Mentions: &event.Mentions{}}
	switch {
	case speaker != "" && style == gateway.StyleEmote:
		t = prefixed(t, "* "+speaker)
	case speaker != "":
		t = prefixed(t, "<"+speaker+">")
	case style == gateway.StyleEmote:
		c.MsgType = event.MsgEmote
	}
	if style == gateway.StyleNotice {
		c.MsgType = event.MsgNotice
	}
	for _, m := range t.Marks {
		if m.Style == gateway.MarkMention {
			e.notify(c.Mentions, m.Who)
		}
	}
	c.Body, c.Formatted = e.render(t)
	if c.Formatted != "" {
		c.Format = event.FormatHTML
	}
	return c
}

// notify mentions somebody, if they are a user of Matrix.
func (e encoder) notify(in *event.Mentions, who gateway.Person) {
	if who.Network == e.network && saneID(who.ID, '@') {
		in.Add(id.UserID(who.ID))
	}
}

// prefixed puts words before a text, on a line of their own where it begins with a block.
func prefixed(t gateway.Text, words string) gateway.Text {
	words += " "
	for _, m := range t.Marks {
		switch m.Style {
		case gateway.MarkQuote, gateway.MarkBlock, gateway.MarkItem:
			if m.Start == 0 {
				words = strings.TrimSuffix(words, " ") + "\n"
			}
		}
	}
	out := gateway.Text{Plain: words + t.Plain, Marks: make([]gateway.Mark, len(t.Marks))}
	for i, m := range t.Marks {
		m.Start, m.End = m.Start+len(words), m.End+len(words)
		out.Marks[i] = m
	}
	return out
}

// relation is what a message hangs on: a thread, what it answers, or nothing. An event of a thread that answers nothing
// names the thread's root for clients that know no threads (Client-Server API, "Threading").
func relation(msg gateway.Message) *event.RelatesTo {
	root, answered := nativeOf(msg.Thread), nativeOf(msg.ReplyTo)
	switch {
	case root != "" && answered != "":
		return (&event.RelatesTo{}).SetThread(root, answered).SetReplyTo(answered)
	case root != "":
		return (&event.RelatesTo{}).SetThread(root, root)
	case answered != "":
		return (&event.RelatesTo{}).SetReplyTo(answered)
	}
	return nil
}

// nativeOf is the first event that ref names in the room; empty if it names none.
func nativeOf(ref gateway.Ref) id.EventID {
	native := ref.Native
	if len(ref.Parts) > 0 {
		native = ref.Parts[0].Native
	}
	if !saneID(native, '$') {
		return ""
	}
	return id.EventID(native)
}

// encodeFailure tells the author of a message that it did not arrive. It never repeats the message.
func encodeFailure(r gateway.Receipt) content {
	text := gateway.ReportText("Your message", gateway.Shorten(gateway.Clean(r.Reason), 500))
	c := content{MsgType: event.MsgNotice, Body: text, Mentions: &event.Mentions{}}
	if saneID(r.Target.Author.ID, '@') {
		c.Mentions.Add(id.UserID(r.Target.Author.ID))
	}
	if native := nativeOf(r.Target); native != "" {
		c.Relates = (&event.RelatesTo{}).SetReplyTo(native)
	}
	return c
}

// withKey marks the content as one part of a delivery.
func (c content) withKey(key, part string) content {
	c.Key = &deliveryKey{Key: key, Part: part}
	return c
}

// encode writes the content as JSON, or says that it is too large.
func (c content) encode() (json.RawMessage, error) { return encodeJSON(c) }

func encodeJSON(c any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // six bytes for each "<" would count against the limit
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("encode content: %w", err)
	}
	if b.Len() > maxContent {
		return nil, errTooLarge
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
