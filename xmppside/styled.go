package xmppside

import (
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"lockbridge/gateway"
)

// mention is a name in a body, counted in code points (XEP-0372).
type mention struct {
	who        gateway.Person
	begin, end int
}

// written is a text as it is written for people of XMPP.
type written struct {
	body     string
	mentions []mention
	quoted   int  // how many code points at its beginning quote what it answers
	unstyled bool // none of its signs is meant to be read (XEP-0393, section 6)
}

// writeStyled writes a text with the signs of Message Styling behind lead, which stays as it is. Signs are written only
// where reading them gives the mark again; what XMPP has no sign for stands in the text as people write it.
func writeStyled(lead string, t gateway.Text) written {
	if len(t.Marks) == 0 && !strings.ContainsAny(t.Plain, stylingSigns) { // as most are
		return written{body: lead + t.Plain}
	}
	t = t.Without(gateway.MarkUnderline, gateway.MarkLink, gateway.MarkItem, gateway.MarkSpoiler)
	w := &stylist{points: utf8.RuneCountInString(lead)}
	w.body.WriteString(lead)
	for i, p := range t.Paragraphs() {
		if i > 0 {
			w.write("\n")
		}
		w.paragraph(p)
	}
	out := written{body: w.body.String(), mentions: w.mentions}
	out.unstyled = !w.signed && w.stray
	return out
}

// stylist writes a text.
type stylist struct {
	body     strings.Builder
	points   int // written
	mentions []mention
	signed   bool // a sign was written
	stray    bool // something was that would be read as a sign
}

func (w *stylist) write(s string) {
	w.body.WriteString(s)
	w.points += utf8.RuneCountInString(s)
}

func (w *stylist) paragraph(p gateway.Paragraph) {
	lead := strings.Repeat("> ", p.Depth)
	w.signed = w.signed || p.Depth > 0
	lines := strings.Split(p.Text.Plain, "\n")
	fenced := p.Kind == gateway.MarkBlock && !slices.ContainsFunc(lines, func(l string) bool { return strings.TrimRight(l, " \t") == fence })
	if fenced {
		w.signed = true
		w.write(lead + fence + p.Arg + "\n")
	}
	at := 0
	for i, line := range lines {
		if i > 0 {
			w.write("\n")
		}
		w.write(lead)
		if fenced {
			w.write(line)
		} else {
			w.line(lineOf(p.Text, stretch{at, at + len(line)}))
		}
		at += len(line) + 1
	}
	if fenced {
		w.write("\n" + lead + fence)
	}
}

// lineOf is a line of a text, with its marks.
func lineOf(t gateway.Text, where stretch) gateway.Text {
	out := gateway.Text{Plain: t.Plain[where.start:where.end]}
	for _, m := range t.Marks {
		m.Start, m.End = max(m.Start, where.start)-where.start, min(m.End, where.end)-where.start
		if m.Start < m.End {
			out.Marks = append(out.Marks, m)
		}
	}
	return out.Normal()
}

// attempts are the spans that a line may be written with, the best first: where marks cross each other, signs cannot.
var attempts = [][]string{
	{gateway.MarkBold, gateway.MarkItalic, gateway.MarkStrike, gateway.MarkCode},
	{gateway.MarkBold, gateway.MarkItalic, gateway.MarkCode}, {gateway.MarkBold, gateway.MarkCode}, {gateway.MarkItalic, gateway.MarkCode}, {gateway.MarkStrike, gateway.MarkCode},
	{gateway.MarkCode}, {gateway.MarkBold}, {gateway.MarkItalic}, {gateway.MarkStrike},
}

// line writes a line with as many of its marks as can be read again.
func (w *stylist) line(t gateway.Text) {
	if slices.ContainsFunc(t.Marks, func(m gateway.Mark) bool { return m.Style != gateway.MarkMention }) {
		for _, styles := range attempts {
			part := keepStyles(t, append([]string{gateway.MarkMention}, styles...))
			out := spell(part)
			read, wish := styled(gateway.Text{Plain: out.body}).Normal(), keepStyles(part, styles)
			if out.body != t.Plain && reflect.DeepEqual(read, wish) {
				w.signed = true
				w.add(out)
				return
			}
		}
	}
	w.stray = w.stray || strings.HasPrefix(t.Plain, fence) || !reflect.DeepEqual(styled(gateway.Text{Plain: t.Plain}), gateway.Text{Plain: t.Plain})
	w.add(spell(keepStyles(t, []string{gateway.MarkMention})))
}

func (w *stylist) add(line written) {
	for _, m := range line.mentions {
		m.begin, m.end = m.begin+w.points, m.end+w.points
		w.mentions = append(w.mentions, m)
	}
	w.write(line.body)
}

// keepStyles returns a text with the marks of some styles.
func keepStyles(t gateway.Text, styles []string) gateway.Text {
	out := gateway.Text{Plain: t.Plain}
	for _, m := range t.Marks {
		if slices.Contains(styles, m.Style) {
			out.Marks = append(out.Marks, m)
		}
	}
	return out.Normal()
}

// spell writes a line with its signs. Where marks cross, the inner one is closed and opened again.
func spell(t gateway.Text) written {
	var out written
	var open []gateway.Mark
	points, at := 0, 0
	write := func(s string) {
		out.body += s
		points += utf8.RuneCountInString(s)
	}
	begun := 0
	for i, cut := range cutsOf(t) {
		if i > 0 {
			write(t.Plain[at:cut])
			at = cut
		}
		keep := 0
		for keep < len(open) && open[keep].End > cut {
			keep++
		}
		for _, m := range slices.Backward(open[keep:]) {
			if m.Style == gateway.MarkMention {
				out.mentions = append(out.mentions, mention{m.Who, begun, points})
			}
			write(signOf(m.Style))
		}
		opening := slices.DeleteFunc(slices.Clone(open[keep:]), func(m gateway.Mark) bool { return m.End <= cut })
		for _, m := range t.Marks {
			if m.Start == cut {
				opening = append(opening, m)
			}
		}
		open = open[:keep]
		for _, m := range opening {
			if write(signOf(m.Style)); m.Style == gateway.MarkMention {
				begun = points
			}
			open = append(open, m)
		}
	}
	return out
}

// cutsOf are the offsets at which a line's marks begin and end, its own ends among them, in order.
func cutsOf(t gateway.Text) []int {
	cuts := []int{0, len(t.Plain)}
	for _, m := range t.Marks {
		cuts = append(cuts, m.Start, m.End)
	}
	slices.Sort(cuts)
	return slices.Compact(cuts)
}

func signOf(style string) string {
	for _, s := range signs {
		if s.style == style {
			return string(s.sign)
		}
	}
	return ""
}
