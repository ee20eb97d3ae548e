package gateway

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

const (
	// quoteLength is how many bytes of the answered message a poor room is shown, and reactedLength of one that somebody
	// reacted to.
	quoteLength   = 60
	reactedLength = 40
	// answerTime is how old a message may be so that a name is enough to tell which one is answered.
	answerTime = 2 * time.Minute
	// editContext is how many words are shown around the changed part of an edit.
	editContext = 2
)

// bareText is a text without marks.
func bareText(s string) Text { return Text{Plain: s} }

// nameText is somebody's name as a mention, so that each side writes it as people are called there and decides whether
// it rings.
func nameText(p Person) Text {
	name := CleanName(p.Label())
	if name == "" || p.IsZero() {
		return bareText(name)
	}
	p.Avatar = ""
	return Text{name, []Mark{{End: len(name), Style: MarkMention, Who: p}}}
}

// concat puts texts behind each other.
func concat(texts ...Text) Text {
	var out Text
	var plain strings.Builder
	for _, t := range texts {
		for _, m := range t.Marks {
			m.Start, m.End = m.Start+plain.Len(), m.End+plain.Len()
			out.Marks = append(out.Marks, m)
		}
		plain.WriteString(t.Plain)
	}
	out.Plain = plain.String()
	return out
}

// prefixed puts words before a normal text: in a line of their own where the text begins with a quote, a block or an item,
// which they are no part of.
func prefixed(words, t Text) Text {
	if slices.ContainsFunc(t.Marks, func(m Mark) bool { return m.wholeLines() && m.Start == 0 }) {
		words = concat(words.cut(0, len(strings.TrimRight(words.Plain, " "))), bareText("\n"))
	}
	return concat(words, t)
}

// cut is the part of the text between two bytes. A mention of which it has only a part is none.
func (t Text) cut(start, end int) Text {
	out := Text{Plain: t.Plain[start:end]}
	for _, m := range t.Marks {
		whole := m.Start >= start && m.End <= end
		m.Start, m.End = max(m.Start, start)-start, min(m.End, end)-start
		if m.Start < m.End && (whole || m.Style != MarkMention) {
			out.Marks = append(out.Marks, m)
		}
	}
	return out
}

// time is when the event was accepted, as its id tells (RFC 9562, section 5.7): good enough to tell people.
func (id ID) time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC()
}

// answering is the text of a message that names what it answers: by name where that was said a moment before, else by
// a quote.
func answering(id ID, m Message) Text {
	r, emote := m.ReplyTo, m.Style == StyleEmote
	young := !r.ID.IsZero() && id.time().Sub(r.ID.time()) < answerTime
	author, excerpt := nameText(r.Author), quoted(r.Excerpt, quoteLength)
	var words Text
	switch {
	case author.Plain == "" && excerpt == "":
		return m.Text
	case author.Plain == "":
		words = bareText("(re " + excerpt + ") ")
	case excerpt != "" && (!young || emote): // an emote goes on after its sender's name: another one there would confuse
		words = concat(bareText("(re "), author, bareText(": "+excerpt+") "))
	case emote:
		words = concat(bareText("(re "), author, bareText(") "))
	case m.Text.addresses(r.Author):
		return m.Text
	default:
		words = concat(author, bareText(": "))
	}
	return prefixed(words, m.Text)
}

// addresses reports whether the text begins with a mention of p.
func (t Text) addresses(p Person) bool {
	return slices.ContainsFunc(t.Marks, func(m Mark) bool {
		return m.Style == MarkMention && m.Start == 0 && m.Who.Network == p.Network && m.Who.ID == p.ID
	})
}

// quoted is an excerpt in quotation marks, in one line of at most limit bytes; "" if there is nothing to see in it. What
// is written from right to left in it does not turn the line around.
func quoted(excerpt string, limit int) string {
	excerpt = strings.Map(func(r rune) rune {
		if turns(r) {
			return -1
		}
		return r
	}, Clean(excerpt))
	excerpt = Shorten(strings.Join(strings.Fields(excerpt), " "), limit)
	switch {
	case excerpt == "":
		return ""
	case strings.ContainsFunc(excerpt, fromRight):
		excerpt = "\u2068" + excerpt + "\u2069" // Unicode Standard Annex 9, section 2.4
	}
	return "“" + excerpt + "”"
}

// fromRight reports whether a rune belongs to a script that is written from right to left: all those in planes 0 and 1
// whose letters are of the bidirectional classes R and AL.
func fromRight(r rune) bool {
	return r >= 0x0590 && r <= 0x08FF || r >= 0xFB1D && r <= 0xFDFF || r >= 0xFE70 && r <= 0xFEFF || r >= 0x10800 && r <= 0x10FFF || r >= 0x1E800 && r <= 0x1EFFF
}

// editText is what is shown of an edit where the old message stays as it was: the part that changed, with some words
// around it, or the whole text where much has changed or the old one is not known in full.
func editText(old string, text Text) Text {
	if len(old) >= MaxExcerpt || strings.HasSuffix(old, "…") || strings.Contains(text.Plain, "\n") || slices.ContainsFunc(text.Marks, Mark.wholeLines) {
		return text
	}
	was, is := strings.Fields(old), wordsOf(text.Plain)
	same := func(i, j int) bool { return was[i] == text.Plain[is[j].start:is[j].end] }
	before, after := 0, 0
	for before < min(len(was), len(is)) && same(before, before) {
		before++
	}
	for after < min(len(was), len(is))-before && same(len(was)-1-after, len(is)-1-after) {
		after++
	}
	gone, added := len(was)-before-after, len(is)-before-after
	from, to := max(before-editContext, 0), min(len(is)-after+editContext, len(is))
	if gone == 0 && added == 0 || 2*gone > len(was) || 2*added > len(is) || from == 0 && to == len(is) {
		return text
	}
	out := text.cut(is[from].start, is[to-1].end)
	if from > 0 {
		out = concat(bareText("…"), out)
	}
	if to < len(is) {
		out = concat(out, bareText("…"))
	}
	return out
}

// word is where a word lies in a text.
type word struct{ start, end int }

func wordsOf(s string) (out []word) {
	start := -1
	for i, r := range s {
		switch space := unicode.IsSpace(r); {
		case space && start >= 0:
			out = append(out, word{start, i})
			start = -1
		case !space && start < 0:
			start = i
		}
	}
	if start >= 0 {
		out = append(out, word{start, len(s)})
	}
	return out
}

// saidAt tells when a message was said that ev speaks of: the day only where it is another one.
func saidAt(ev *Event, target ID) string {
	at := target.time()
	if at.Format(time.DateOnly) == ev.ID.time().Format(time.DateOnly) {
		return at.Format("15:04 UTC")
	}
	return at.Format("2006-01-02 15:04 UTC")
}

// deletedText goes on after the name of who took their own words back. It holds none of them.
func deletedText(ev *Event, r Retract) Text {
	return bareText("deleted a message from " + saidAt(ev, r.Target.ID))
}

// removedText tells of words that somebody else took back.
func removedText(ev *Event, r Retract) Text {
	out := bareText("* a message")
	if author := nameText(r.Target.Author); author.Plain != "" {
		out = concat(out, bareText(" by "), author)
	}
	out = concat(out, bareText(" from "+saidAt(ev, r.Target.ID)+" was removed"))
	if by := nameText(ev.Sender); by.Plain != "" {
		out = concat(out, bareText(" by "), by)
	}
	return out
}

// reactedText goes on after the name of who reacted.
func reactedText(emoji []string, target Ref) Text {
	out := bareText("reacted " + CleanName(strings.Join(emoji, " ")) + " to ")
	excerpt, author := quoted(target.Excerpt, reactedLength), nameText(target.Author)
	switch {
	case excerpt != "":
		return concat(out, bareText(excerpt))
	case author.Plain != "":
		return concat(out, bareText("a message by "), author)
	}
	return concat(out, bareText("a message"))
}

// memberText is what is told of a change, after the name of who. It is not ok where there is nothing to tell.
func memberText(sender Person, m Membership) (who Person, text Text, ok bool) {
	words, reason := "", quotedReason(m.Reason)
	if m.Quiet || CleanName(m.Who.Label()) == "" {
		return Person{}, Text{}, false
	}
	switch m.Change {
	case Join:
		words, reason = "joined", ""
	case Leave:
		words = "left"
	case Kick:
		words = "was kicked"
	case Ban:
		words = "was banned"
	case Rename:
		if CleanName(sender.Label()) == "" || CleanName(sender.Label()) == CleanName(m.Who.Label()) {
			return Person{}, Text{}, false
		}
		return sender, concat(bareText("is now known as "), nameText(m.Who)), true
	default:
		return Person{}, Text{}, false
	}
	text = bareText(words)
	if by := nameText(m.By); by.Plain != "" && m.Change != Join && m.Change != Leave {
		text = concat(text, bareText(" by "), by)
	}
	return m.Who, concat(text, bareText(reason)), true
}

func quotedReason(reason string) string {
	if reason = strings.Join(strings.Fields(Clean(reason)), " "); reason == "" {
		return ""
	}
	return " (" + Shorten(reason, MaxReason) + ")"
}

// withFiles tells in lines of the files that the room does not take: where the link is, or that there is none. One behind
// a single line stands in it.
func withFiles(text Text, files []File, caps Caps) (Text, []File) {
	var taken []File
	var lines []string
	for _, f := range files {
		if caps.takes(f) {
			taken = append(taken, f)
		} else {
			lines = append(lines, fileLine(f))
		}
	}
	if len(lines) == 0 {
		return text, files
	}
	between := "\n"
	switch {
	case text.Plain == "":
		between = ""
	case len(lines) == 1 && !strings.Contains(text.Plain, "\n") && !slices.ContainsFunc(text.Marks, Mark.wholeLines):
		between = " "
	}
	return concat(text, bareText(between+strings.Join(lines, "\n"))), taken
}

// fileLine is what stands for a file.
func fileLine(f File) string {
	name := CleanName(f.Name)
	var what []string
	switch {
	case f.Voice && f.Duration > 0:
		what = append(what, "voice message", playTime(f.Duration))
	case f.Voice:
		what = append(what, "voice message")
	case f.Sticker && name != "":
		what = append(what, "sticker: "+name)
	case f.Sticker:
		what = append(what, "sticker")
	case name == "":
		what = append(what, "file")
	case f.Link == "":
		what = append(what, "file: "+name)
	default:
		what = append(what, name)
	}
	if f.Size > 0 && !f.Voice && !f.Sticker {
		what = append(what, byteSize(f.Size))
	}
	if f.Link == "" && !f.Sticker {
		what = append(what, "not carried over")
	}
	line := "[" + strings.Join(what, ", ") + "]"
	if f.Link != "" {
		line += " " + f.Link
	}
	return line
}

func playTime(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

func byteSize(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%d kB", n/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}
