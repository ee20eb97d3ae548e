package gateway

import (
	"slices"
	"strings"
)

// Without returns the text for a format that knows none of these styles: what they meant stands in the text itself where
// people write it so, "> " before quotes, "• " or "1. " before items, "text (URL)" for links, "(spoiler: reason)" before
// what was hidden; of the others nothing is left but the words. The rest of the marks lie where they belong. What makes it
// longer than MaxText is cut off.
func (t Text) Without(styles ...string) Text {
	t = t.Normal()
	if !slices.ContainsFunc(t.Marks, func(m Mark) bool { return slices.Contains(styles, m.Style) }) {
		return t
	}
	f := flattener{styles: styles}
	for i, p := range t.Paragraphs() {
		if i > 0 {
			f.quotes(p.Depth)
			f.plain.WriteByte('\n')
		}
		f.paragraph(p)
	}
	f.quotes(0)
	return Text{f.plain.String(), f.marks}.shorten(MaxText).Normal()
}

// shorten is Shorten for a text with marks.
func (t Text) shorten(limit int) Text {
	if len(t.Plain) <= limit {
		return t
	}
	const mark = "…"
	return concat(t.cut(0, len(Shorten(t.Plain, limit))-len(mark)), bareText(mark))
}

// Flat returns the text for rooms that know no marks at all.
func (t Text) Flat() string {
	return t.Without(append(looks(), MarkMention)...).Plain
}

// looks are the styles of all marks but mentions.
func looks() []string {
	return []string{MarkQuote, MarkBlock, MarkItem, MarkLink, MarkSpoiler, MarkBold, MarkItalic, MarkUnderline, MarkStrike, MarkCode}
}

// flattener writes a text anew.
type flattener struct {
	styles []string
	plain  strings.Builder
	marks  []Mark
	open   []int // where the quotes begin that are kept and lie around what is written
	hidden bool  // what was written last was hidden, for reason
	reason string
}

func (f *flattener) drops(style string) bool { return slices.Contains(f.styles, style) }

// mark marks what was written since start.
func (f *flattener) mark(start int, m Mark) {
	if m.Start, m.End = start, f.plain.Len(); !f.drops(m.Style) {
		f.marks = append(f.marks, m)
	}
}

// quotes ends the quotes that are deeper.
func (f *flattener) quotes(depth int) {
	for len(f.open) > depth {
		f.mark(f.open[len(f.open)-1], Mark{Style: MarkQuote})
		f.open = f.open[:len(f.open)-1]
	}
}

func (f *flattener) paragraph(p Paragraph) {
	for len(f.open) < p.Depth {
		f.open = append(f.open, f.plain.Len())
	}
	first := ""
	if f.drops(MarkQuote) {
		first = strings.Repeat("> ", p.Depth)
	}
	further := first
	if p.Kind == MarkItem && f.drops(MarkItem) {
		first, further = first+itemSign(p.Arg), further+"  "
	}
	start := f.plain.Len()
	f.plain.WriteString(first)
	link := f.plain.Len() // where the present link begins
	runs := p.Text.Runs()
	for i, run := range runs {
		if i > 0 && run.Link != runs[i-1].Link {
			link = f.plain.Len()
		}
		f.run(run, further)
		if ends := i == len(runs)-1 || runs[i+1].Link != run.Link; ends && run.Link != "" && f.drops(MarkLink) {
			f.link(run, f.plain.String()[link:])
		}
	}
	if p.Kind == MarkBlock || p.Kind == MarkItem {
		f.mark(start, Mark{Style: p.Kind, Arg: p.Arg})
	}
}

func itemSign(number string) string {
	if number == "" {
		return "• "
	}
	return number + ". "
}

// run writes one run; its lines but the first begin with further.
func (f *flattener) run(r Run, further string) {
	if hidden := r.Styles.Has(Hidden); f.drops(MarkSpoiler) && strings.TrimSpace(r.Text) != "" {
		if hidden && (!f.hidden || f.reason != r.Spoiler) {
			f.plain.WriteString(spoilerSign(r.Spoiler))
		}
		f.hidden, f.reason = hidden, r.Spoiler
	}
	marks := r.marks()
	for i, line := range strings.Split(r.Text, "\n") {
		if i > 0 {
			f.plain.WriteString("\n" + further)
		}
		start := f.plain.Len()
		f.plain.WriteString(line)
		for _, m := range marks {
			f.mark(start, m)
		}
	}
}

func spoilerSign(reason string) string {
	if reason == "" {
		return "(spoiler) "
	}
	return "(spoiler: " + reason + ") "
}

// link writes where a link leads whose text was written, unless the text says it. It is hidden with the text.
func (f *flattener) link(r Run, text string) {
	if text == r.Link || "mailto:"+text == r.Link {
		return
	}
	start := f.plain.Len()
	f.plain.WriteString(" (" + r.Link + ")")
	if r.Styles.Has(Hidden) {
		f.mark(start, Mark{Style: MarkSpoiler, Arg: r.Spoiler})
	}
}
