package gateway

import (
	"fmt"
	"strings"
)

// degrade makes an event fit for a room with these caps. It is pure. Nil means that the room has no way to show the
// event and no need to.
//
// What a poor room gets is short and legible: a reply becomes a message that names whom it answers, an edit becomes a
// message marked as one, a file becomes its name.
func degrade(ev *Event, caps Caps) *Event {
	out := *ev
	switch b := ev.Body.(type) {
	case Message:
		out.Body = degradeMessage(b, caps)
	case Edit:
		out.Body = degradeEdit(b, caps)
	case Retract:
		if !caps.Retract || len(b.Target.Parts) == 0 {
			return nil
		}
	case Reaction:
		if !caps.Reaction || len(b.Target.Parts) == 0 {
			return nil
		}
	case Receipt:
		if b.State != Undeliverable && (!caps.Receipt || len(b.Target.Parts) == 0) {
			return nil
		}
	case Membership:
		if !caps.wants(b.Change) {
			return nil
		}
	case Typing:
		if !caps.Typing {
			return nil
		}
	case Presence:
		if !caps.Presence {
			return nil
		}
	case RoomState:
		if !caps.Room {
			return nil
		}
	}
	return &out
}

// wants reports whether a change of membership means something to the room.
func (c Caps) wants(change Change) bool {
	switch c.Members {
	case AllMembers:
		return change != Invite
	case Leavers:
		return change == Leave || change == Kick || change == Ban
	}
	return false
}

func degradeMessage(m Message, caps Caps) Message {
	if !m.ReplyTo.IsZero() && (!caps.Reply || len(m.ReplyTo.Parts) == 0) {
		m.Text = m.Text.prefixed(quote(m.ReplyTo))
		m.ReplyTo = Ref{}
	}
	if !caps.Thread || len(m.Thread.Parts) == 0 {
		m.Thread = Ref{}
	}
	if !caps.Files {
		m.Text.Plain = withFiles(m.Text.Plain, m.Files)
		m.Files = nil
	}
	return m
}

func degradeEdit(e Edit, caps Caps) Body {
	if caps.Edit && len(e.Target.Parts) > 0 {
		return e
	}
	return degradeMessage(Message{Text: e.Text.prefixed("(edited) "), Files: e.Files}, caps)
}

// quoteLength is how many bytes of the answered message a poor room is shown.
const quoteLength = 60

// quote is what stands before a reply where the network has none.
func quote(r Ref) string {
	excerpt := strings.Join(strings.Fields(r.Excerpt), " ")
	switch {
	case r.Author.Label() == "" && excerpt == "":
		return ""
	case excerpt == "":
		return r.Author.Label() + ": "
	case r.Author.Label() == "":
		return fmt.Sprintf("(re “%s”) ", Shorten(excerpt, quoteLength))
	}
	return fmt.Sprintf("(re %s: “%s”) ", r.Author.Label(), Shorten(excerpt, quoteLength))
}

// prefixed puts s before the text and moves its marks along.
func (t Text) prefixed(s string) Text {
	out := Text{Plain: s + t.Plain}
	for _, m := range t.Marks {
		m.Start += len(s)
		m.End += len(s)
		out.Marks = append(out.Marks, m)
	}
	return out
}

// withFiles names the files under the text.
func withFiles(text string, files []File) string {
	var b strings.Builder
	b.WriteString(text)
	for _, f := range files {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("[file: " + CleanName(f.Name))
		if f.Size > 0 {
			b.WriteString(", " + byteSize(f.Size))
		}
		b.WriteString(", not carried over]")
	}
	return b.String()
}

func byteSize(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
