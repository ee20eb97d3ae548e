package gateway

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLink is how long the URL of a mark is, in bytes; with a longer one the mark means nothing.
const maxLink = 2048

// Normal returns the text with its marks in the one form that all networks' markup is compared and written in:
//
//   - every mark is legal, covers something, and lies on the borders of runes; they are sorted by Start, longest first
//   - quotes, blocks and items cover whole lines. Quotes are counted by the line: as many lie over each other as they are
//     deep. An item ends where another one begins, or where quotes or a block begin or end; nothing is an item and a block
//   - the others end before white space and at the borders of what covers whole lines; none is in a block. Equal ones that
//     touch, or have only the end of a line between them, are one
//   - no two spoilers overlap, no two of links and mentions do: the first one wins. Code and mentions are whole: what
//     overlaps one covers it, or ends before it
//   - what a spoiler hides stays hidden: no block, code or mention survives that it cuts, and no block that it covers
//
// A text that is not UTF-8, or has too many marks, loses them. Normal of a normal text is the same text.
func (t Text) Normal() Text {
	if len(t.Marks) == 0 {
		return Text{Plain: t.Plain}
	}
	n, _ := t.normal()
	return n
}

// normal is Normal, with the paragraphs of the result.
func (t Text) normal() (Text, []stretch) {
	if len(t.Marks) == 0 || len(t.Marks) > MaxMarks || !utf8.ValidString(t.Plain) {
		return unmarked(t.Plain)
	}
	var lines, inline, code []Mark
	for _, m := range t.Marks {
		m, ok := legal(m)
		m.Start, m.End = runeBorders(t.Plain, m.Start, m.End)
		switch {
		case !ok || m.Start >= m.End:
		case m.wholeLines():
			lines = append(lines, m)
		case m.Style == MarkCode:
			code = append(code, m)
		case m.Style != MarkMention || !strings.Contains(t.Plain[m.Start:m.End], "\n"):
			inline = append(inline, m)
		}
	}
	for _, m := range merge(t.Plain, code) {
		if inline = append(inline, byLine(t.Plain, m)...); len(inline) > 3*MaxMarks {
			return unmarked(t.Plain)
		}
	}
	if inline = merge(t.Plain, inline); len(inline) > MaxMarks {
		return unmarked(t.Plain)
	}
	inline = keepAtoms(firstWins(t.Plain, inline))
	paragraphs := divide(t.Plain, lines, inline)
	paragraphs = divide(t.Plain, lineMarks(paragraphs), nil) // those of which nothing is left part nothing
	out := Text{t.Plain, append(lineMarks(paragraphs), within(t.Plain, paragraphs, inline)...)}
	if len(out.Marks) == 0 || len(out.Marks) > MaxMarks {
		return unmarked(t.Plain)
	}
	sortMarks(out.Marks)
	return out, paragraphs
}

func unmarked(s string) (Text, []stretch) { return Text{Plain: s}, []stretch{{end: len(s)}} }

// wholeLines reports whether marks of the style cover whole lines.
func (m Mark) wholeLines() bool {
	return m.Style == MarkBlock || m.Style == MarkQuote || m.Style == MarkItem
}

// legal leaves nothing in a mark that its style has no use for. It reports whether the mark means anything.
func legal(m Mark) (Mark, bool) {
	m.Who.Avatar = ""
	who, arg := m.Who, m.Arg
	m.Who, m.Arg = Person{}, ""
	switch m.Style {
	case MarkBold, MarkItalic, MarkUnderline, MarkStrike, MarkCode, MarkQuote:
	case MarkBlock:
		if len(arg) <= 32 && !strings.ContainsFunc(arg, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("+-#._", r)
		}) {
			m.Arg = arg
		}
	case MarkItem:
		if len(arg) <= 9 && !strings.ContainsFunc(arg, func(r rune) bool { return r < '0' || r > '9' }) {
			m.Arg = arg
		}
	case MarkSpoiler:
		m.Arg = Shorten(strings.Join(strings.Fields(Clean(arg)), " "), MaxReason)
	case MarkLink:
		m.Arg = arg
		return m, IsLink(arg)
	case MarkMention:
		m.Who = who
		return m, !who.IsZero()
	default:
		return m, false
	}
	return m, true
}

// IsLink reports whether a text can be the URL of a link: absolute, of a scheme that does nothing but lead somewhere,
// and of characters that stand in a line.
func IsLink(url string) bool {
	scheme, rest, ok := strings.Cut(url, ":")
	if !ok || rest == "" || len(url) > maxLink || !utf8.ValidString(url) || strings.ContainsFunc(url, turns) {
		return false
	}
	if strings.ContainsFunc(url, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return false
	}
	switch strings.ToLower(scheme) {
	case "http", "https", "ircs":
		return len(rest) > 2 && strings.HasPrefix(rest, "//") && rest[2] != '/'
	case "mailto", "xmpp", "matrix":
		return true
	}
	return false
}

// turns reports whether a rune changes the direction of what follows it.
func turns(r rune) bool {
	return r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 || r == 0x200E || r == 0x200F || r == 0x061C
}

// runeBorders grows a range to the borders of runes, inside s, which is UTF-8.
func runeBorders(s string, start, end int) (int, int) {
	start, end = min(max(start, 0), len(s)), min(max(end, 0), len(s))
	for start > 0 && start < len(s) && !utf8.RuneStart(s[start]) {
		start--
	}
	for end < len(s) && !utf8.RuneStart(s[end]) {
		end++
	}
	return start, end
}

// byLine cuts a mark at the ends of lines, one more time than there are marks at most.
func byLine(s string, m Mark) (out []Mark) {
	for line := range strings.SplitSeq(s[m.Start:m.End], "\n") {
		if m.End = m.Start + len(line); line != "" {
			out = append(out, m)
		}
		if m.Start = m.End + 1; len(out) > MaxMarks {
			break
		}
	}
	return out
}

// maxBlank is how many white characters are taken off each end of a mark. One with more marks hardly anything, and is none.
const maxBlank = 1024

// trimmed takes white space off the ends of a mark.
func (m Mark) trimmed(s string) Mark {
	for budget := maxBlank; m.Start < m.End; budget-- {
		r, n := utf8.DecodeRuneInString(s[m.Start:m.End])
		if !unicode.IsSpace(r) {
			break
		}
		if m.Start += n; budget == 0 {
			m.Start = m.End
		}
	}
	for budget := maxBlank; m.Start < m.End; budget-- {
		r, n := utf8.DecodeLastRuneInString(s[m.Start:m.End])
		if !unicode.IsSpace(r) {
			break
		}
		if m.End -= n; budget == 0 {
			m.End = m.Start
		}
	}
	return m
}

// rank is the order of marks that cover the same, outermost first.
func (m Mark) rank() int {
	switch m.Style {
	case MarkQuote:
		return 0
	case MarkItem:
		return 1
	case MarkBlock:
		return 2
	case MarkSpoiler:
		return 3
	case MarkMention:
		return 4
	case MarkLink:
		return 5
	case MarkBold:
		return 6
	case MarkItalic:
		return 7
	case MarkUnderline:
		return 8
	case MarkStrike:
		return 9
	}
	return 10
}

// compareKind orders marks by all but what they cover.
func compareKind(a, b Mark) int {
	return cmp.Or(a.rank()-b.rank(), strings.Compare(a.Arg, b.Arg), strings.Compare(a.Who.Network, b.Who.Network), strings.Compare(a.Who.ID, b.Who.ID), strings.Compare(a.Who.Name, b.Who.Name))
}

func sortMarks(marks []Mark) {
	slices.SortFunc(marks, func(a, b Mark) int { return cmp.Or(a.Start-b.Start, b.End-a.End, compareKind(a, b)) })
}

// merge joins equal marks within lines that touch or go on in the next line, and trims all. Names are not joined.
func merge(s string, marks []Mark) []Mark {
	slices.SortFunc(marks, func(a, b Mark) int { return cmp.Or(compareKind(a, b), a.Start-b.Start, a.End-b.End) })
	marks = join(marks, func(last, next Mark) bool { return next.Start <= last.End })
	for i := range marks {
		marks[i] = marks[i].trimmed(s)
	}
	marks = slices.DeleteFunc(marks, func(m Mark) bool { return m.Start == m.End })
	marks = join(marks, func(last, next Mark) bool { return next.Style != MarkCode && isLineEnd(s[last.End:next.Start]) })
	sortMarks(marks)
	return marks
}

// join makes one of each two equal neighbours that meet.
func join(marks []Mark, meet func(last, next Mark) bool) []Mark {
	out := marks[:0]
	for _, m := range marks {
		if n := len(out) - 1; n >= 0 && m.Style != MarkMention && compareKind(out[n], m) == 0 && meet(out[n], m) {
			out[n].End = max(out[n].End, m.End)
		} else {
			out = append(out, m)
		}
	}
	return out
}

// isLineEnd reports whether s is white space with the end of a line in it.
func isLineEnd(s string) bool { return strings.Contains(s, "\n") && strings.TrimSpace(s) == "" }

// firstWins sees to it that no spoilers overlap, nor links and mentions, nor code and mentions. marks are sorted.
func firstWins(s string, marks []Mark) []Mark {
	var spoiler, anchor, whole int // where the last one ends
	out := marks[:0]
	for _, m := range marks {
		switch m.Style {
		case MarkSpoiler:
			m.Start = max(m.Start, spoiler)
		case MarkLink:
			m.Start = max(m.Start, anchor)
		case MarkMention:
			if m.Start < max(anchor, whole) {
				continue
			}
		case MarkCode:
			if m.Start < whole {
				continue
			}
		}
		if m.Start >= m.End {
			continue
		}
		if m = m.trimmed(s); m.Start == m.End {
			continue
		}
		switch m.Style {
		case MarkSpoiler:
			spoiler = m.End
		case MarkMention:
			anchor, whole = m.End, m.End
		case MarkLink:
			anchor = m.End
		case MarkCode:
			whole = m.End
		}
		out = append(out, m)
	}
	return out
}

// keepAtoms cuts marks so that none covers a part of code or of a mention. A spoiler that would do so wins instead.
func keepAtoms(marks []Mark) []Mark {
	atom := func(m Mark) bool { return m.Style == MarkCode || m.Style == MarkMention }
	var atoms []Mark
	marks = slices.DeleteFunc(marks, func(m Mark) bool {
		return atom(m) && slices.ContainsFunc(marks, func(s Mark) bool { return s.Style == MarkSpoiler && s.cuts(m) })
	})
	for _, m := range marks {
		if atom(m) {
			atoms = append(atoms, m)
		}
	}
	out := marks[:0]
	for _, m := range marks {
		for _, a := range atoms {
			switch {
			case atom(m) || !m.cuts(a):
			case m.Start > a.Start:
				m.Start = a.End
			default:
				m.End = a.Start
			}
		}
		if m.Start < m.End {
			out = append(out, m)
		}
	}
	return out
}

// overlaps reports whether two marks have anything in common.
func (m Mark) overlaps(other Mark) bool { return m.Start < other.End && other.Start < m.End }

// cuts reports whether m covers a part of a, and not the whole of it.
func (m Mark) cuts(a Mark) bool { return m.overlaps(a) && (m.Start > a.Start || m.End < a.End) }
