package gateway

import (
	"slices"
	"strings"
)

// Paragraph is some lines of a text that belong together.
type Paragraph struct {
	// Kind is MarkQuote, MarkBlock, MarkItem, or empty.
	Kind string
	// Depth is in how many quotes it lies, at most MaxQuoteDepth: at least one for MarkQuote, none where Kind is empty.
	Depth int
	// Arg is the language of a MarkBlock, or the number of a MarkItem.
	Arg string
	// Text has its marks within lines alone, counted from its own start; in a MarkBlock it has none.
	Text Text
}

// Paragraphs returns what the text consists of, in order. Their texts, joined by newlines, are the text.
func (t Text) Paragraphs() []Paragraph {
	if t.Plain == "" {
		return nil
	}
	t, stretches := t.normal()
	out := make([]Paragraph, 0, len(stretches))
	from := 0
	for _, s := range stretches {
		p := Paragraph{Kind: s.kind(), Depth: s.depth, Arg: s.arg, Text: Text{Plain: t.Plain[s.start:s.end]}}
		for from < len(t.Marks) && t.Marks[from].Start < s.end {
			if m := t.Marks[from]; !m.wholeLines() {
				m.Start, m.End = m.Start-s.start, m.End-s.start
				p.Text.Marks = append(p.Text.Marks, m)
			}
			from++
		}
		out = append(out, p)
	}
	return out
}

// StyleSet is how a Run looks.
type StyleSet uint8

// The members of a StyleSet. Hidden is a spoiler.
const (
	Hidden StyleSet = 1 << iota
	Bold
	Italic
	Underline
	Strike
	Code
)

// Has reports whether all of styles are in s.
func (s StyleSet) Has(styles StyleSet) bool { return s&styles == styles }

// Run is a stretch of text that looks the same from end to end. Where marks lie in each other this is their order, from
// the outside: spoiler, link or mention, bold, italic, underline, strike, code.
type Run struct {
	Text    string
	Styles  StyleSet
	Link    string // its URL
	Spoiler string // with Hidden: the reason, if there is one
	Who     Person // not zero: the run is the whole of a mention
}

// Runs cuts the text where its marks within lines begin and end; those of whole lines are passed over (see Paragraphs).
// Joined, the texts of the runs are the text. Code and mentions are one run each; so a renderer that opens and closes
// by what changed from run to run keeps every mark in one piece if the order of Run is kept.
func (t Text) Runs() []Run {
	if t.Plain == "" {
		return nil
	}
	t = t.Normal()
	marks := slices.DeleteFunc(slices.Clone(t.Marks), Mark.wholeLines)
	cuts := []int{0, len(t.Plain)}
	for _, m := range marks {
		cuts = append(cuts, m.Start, m.End)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	out := make([]Run, 0, len(cuts)-1)
	for i, start := range cuts[:len(cuts)-1] {
		run := Run{Text: t.Plain[start:cuts[i+1]]}
		for _, m := range marks {
			if m.Start <= start && start < m.End {
				run.mark(m)
			}
		}
		out = append(out, run)
	}
	return out
}

func (r *Run) mark(m Mark) {
	switch m.Style {
	case MarkSpoiler:
		r.Styles, r.Spoiler = r.Styles|Hidden, m.Arg
	case MarkLink:
		r.Link = m.Arg
	case MarkMention:
		r.Who = m.Who
	case MarkBold:
		r.Styles |= Bold
	case MarkItalic:
		r.Styles |= Italic
	case MarkUnderline:
		r.Styles |= Underline
	case MarkStrike:
		r.Styles |= Strike
	case MarkCode:
		r.Styles |= Code
	}
}

// marks are the marks of the run, without where it lies.
func (r Run) marks() []Mark {
	var out []Mark
	for _, s := range []struct {
		has   StyleSet
		style string
	}{{Hidden, MarkSpoiler}, {Bold, MarkBold}, {Italic, MarkItalic}, {Underline, MarkUnderline}, {Strike, MarkStrike}, {Code, MarkCode}} {
		if r.Styles.Has(s.has) {
			out = append(out, Mark{Style: s.style})
		}
	}
	if r.Styles.Has(Hidden) {
		out[0].Arg = r.Spoiler
	}
	if r.Link != "" {
		out = append(out, Mark{Style: MarkLink, Arg: r.Link})
	}
	if !r.Who.IsZero() {
		out = append(out, Mark{Style: MarkMention, Who: r.Who})
	}
	return out
}

// Spoiled reports whether all that can be seen of the text is hidden by one spoiler, and the reason. Such a text counts
// as one spoiler even where it has several paragraphs.
func (t Text) Spoiled() (reason string, whole bool) {
	at := 0
	for _, m := range t.Normal().Marks {
		if m.Style != MarkSpoiler {
			continue
		}
		if strings.TrimSpace(t.Plain[at:m.Start]) != "" || whole && m.Arg != reason {
			return "", false
		}
		at, reason, whole = m.End, m.Arg, true
	}
	if !whole || strings.TrimSpace(t.Plain[at:]) != "" {
		return "", false
	}
	return reason, true
}

// stretch is a paragraph by where it lies: from the start of a line to the end of one.
type stretch struct {
	start, end int
	depth      int
	block      bool
	item       bool
	arg        string
}

func (s stretch) kind() string {
	switch {
	case s.block:
		return MarkBlock
	case s.item:
		return MarkItem
	case s.depth > 0:
		return MarkQuote
	}
	return ""
}

// divide finds the paragraphs that marks of whole lines make. Blocks on which a spoiler lies are none.
func divide(s string, marks, inline []Mark) []stretch {
	marks = slices.DeleteFunc(grown(s, marks), func(m Mark) bool {
		return m.Start == m.End || m.Style == MarkBlock && slices.ContainsFunc(inline, func(i Mark) bool { return i.Style == MarkSpoiler && i.overlaps(m) })
	})
	sortMarks(marks)
	cuts := []int{0, len(s) + 1} // starts of lines; each paragraph ends one byte before the next begins
	for _, m := range marks {
		cuts = append(cuts, m.Start, m.End+1)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out []stretch
	var last *Mark // the item that the last paragraph is
	for i, start := range cuts[:len(cuts)-1] {
		p := stretch{start: start, end: cuts[i+1] - 1}
		var block, item *Mark
		for j := range marks {
			switch m := &marks[j]; {
			case m.Start > start || m.End < start:
			case m.Style == MarkQuote:
				p.depth = min(p.depth+1, MaxQuoteDepth)
			case m.Style == MarkBlock && block == nil:
				block = m
			case m.Style == MarkItem:
				item = m // the innermost
			}
		}
		n := len(out) - 1
		goesOn := item != nil && item == last && p.depth == out[n].depth
		switch {
		case block != nil:
			p.block, p.arg, item = true, block.Arg, nil
		case item != nil && (item.Start == start || goesOn):
			p.item, p.arg = true, item.Arg
		default:
			item = nil
		}
		if last = item; n >= 0 && out[n].depth == p.depth && out[n].kind() == p.kind() && out[n].arg == p.arg && (!p.item || goesOn) {
			out[n].end = p.end
			continue
		}
		out = append(out, p)
	}
	return out
}

// grown makes marks cover whole lines, from the start of the first to the end of the last. The end of the line before, or
// after, is no line of its own.
func grown(s string, marks []Mark) []Mark {
	for i := range marks {
		m := &marks[i]
		if s[m.Start] == '\n' && m.Start > 0 && s[m.Start-1] != '\n' {
			m.Start++
		}
		if m.End > m.Start && m.End < len(s) && s[m.End-1] == '\n' && s[m.End] != '\n' {
			m.End--
		}
		m.Start = strings.LastIndexByte(s[:m.Start], '\n') + 1
		if m.End = max(m.End, m.Start); m.End < len(s) {
			if end := strings.IndexByte(s[m.End:], '\n'); end >= 0 {
				m.End += end
			} else {
				m.End = len(s)
			}
		}
	}
	return marks
}

// lineMarks are the marks of whole lines that make the paragraphs.
func lineMarks(paragraphs []stretch) []Mark {
	var out []Mark
	var open []int // where the quotes around the paragraph begin
	end := 0       // of the last paragraph
	upTo := func(depth int) {
		for len(open) > depth {
			from := open[len(open)-1]
			if open = open[:len(open)-1]; from < end {
				out = append(out, Mark{Start: from, End: end, Style: MarkQuote})
			}
		}
	}
	for _, p := range paragraphs {
		upTo(p.depth)
		for len(open) < p.depth {
			open = append(open, p.start)
		}
		if end = p.end; p.start == p.end {
			continue
		}
		switch {
		case p.block:
			out = append(out, Mark{Start: p.start, End: p.end, Style: MarkBlock, Arg: p.arg})
		case p.item:
			out = append(out, Mark{Start: p.start, End: p.end, Style: MarkItem, Arg: p.arg})
		}
	}
	upTo(0)
	return out
}

// within cuts marks at the borders of paragraphs; in blocks there are none.
func within(s string, paragraphs []stretch, marks []Mark) []Mark {
	var out []Mark
	for _, p := range paragraphs {
		for _, m := range marks {
			m.Start, m.End = max(m.Start, p.start), min(m.End, p.end)
			if p.block || m.Start >= m.End {
				continue
			}
			if m = m.trimmed(s); m.Start < m.End {
				out = append(out, m)
			}
		}
	}
	return out
}
