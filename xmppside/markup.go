package xmppside

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"lockbridge/gateway"
)

// stretch is a range of bytes.
type stretch struct{ start, end int }

// without takes stretches out of a text, which are in order and do not overlap, and moves its marks along.
func without(t gateway.Text, cuts []stretch) gateway.Text {
	if len(cuts) == 0 {
		return t
	}
	var plain strings.Builder
	gone := make([]int, len(cuts)+1) // how much was taken out before each cut
	last := 0
	for i, c := range cuts {
		plain.WriteString(t.Plain[last:c.start])
		last, gone[i+1] = c.end, gone[i]+c.end-c.start
	}
	plain.WriteString(t.Plain[last:])
	move := func(at int) int {
		n, inside := slices.BinarySearchFunc(cuts, at, func(c stretch, at int) int { return cmp.Compare(c.end, at) })
		if inside {
			n++
		}
		if n < len(cuts) && cuts[n].start < at {
			at = cuts[n].start
		}
		return at - gone[n]
	}
	out := gateway.Text{Plain: plain.String()}
	for _, m := range t.Marks {
		m.Start, m.End = move(m.Start), move(m.End)
		out.Marks = append(out.Marks, m)
	}
	return out
}

// stylingSigns are the signs of Message Styling.
const stylingSigns = "*_~`>"

// styled reads the signs of Message Styling (XEP-0393) in a text: they become marks. What is marked already stays so. A
// text with too many of them is left as it is.
func styled(t gateway.Text) gateway.Text {
	if !strings.ContainsAny(t.Plain, stylingSigns) {
		return t
	}
	s := styling{text: t.Plain}
	var lines []stretch
	at := 0
	for line := range strings.SplitSeq(t.Plain, "\n") {
		lines = append(lines, stretch{at, at + len(line)})
		at += len(line) + 1
	}
	s.blocks(lines, 0)
	if len(s.marks)+len(t.Marks) > gateway.MaxMarks {
		return t
	}
	return without(gateway.Text{Plain: t.Plain, Marks: append(slices.Clone(t.Marks), s.marks...)}, disjoint(s.cuts))
}

// styling is a text whose signs are being read. All offsets are those of the text as it stands.
type styling struct {
	text  string
	cuts  []stretch
	marks []gateway.Mark
}

func (s *styling) mark(start, end int, style, arg string) {
	if len(s.marks) <= gateway.MaxMarks {
		s.marks = append(s.marks, gateway.Mark{Start: start, End: end, Style: style, Arg: arg})
	}
}

const fence = "```"

// blocks reads lines that lie in depth quotes; a line begins behind their signs.
func (s *styling) blocks(lines []stretch, depth int) {
	for i := 0; i < len(lines); {
		n := 1
		switch line := s.text[lines[i].start:lines[i].end]; {
		case strings.HasPrefix(line, fence):
			n = s.preformatted(lines[i:])
		case strings.HasPrefix(line, ">"):
			for i+n < len(lines) && strings.HasPrefix(s.text[lines[i+n].start:lines[i+n].end], ">") {
				n++
			}
			s.quotation(lines[i:i+n], depth)
		default:
			s.spans(lines[i].start, lines[i].end)
		}
		i += n
	}
}

// quotation reads lines that all quote.
func (s *styling) quotation(lines []stretch, depth int) {
	inner := make([]stretch, 0, len(lines))
	for _, l := range lines {
		start := l.start
		for {
			if start++; start < l.end && s.text[start] == ' ' {
				start++
			}
			if depth < gateway.MaxQuoteDepth-1 || start == l.end || s.text[start] != '>' {
				break // what is quoted deeper than that counts as quoted so deep
			}
		}
		s.cuts = append(s.cuts, stretch{l.start, start})
		inner = append(inner, stretch{start, l.end})
	}
	s.mark(inner[0].start, inner[len(inner)-1].end, gateway.MarkQuote, "")
	s.blocks(inner, depth+1)
}

// preformatted reads a block of code, whose first line begins with a fence, and returns how many lines it has with its
// fences. It ends with a line that is a fence, or with what it lies in.
func (s *styling) preformatted(lines []stretch) int {
	language := strings.TrimSpace(s.text[lines[0].start+len(fence) : lines[0].end])
	end := 1
	for end < len(lines) && strings.TrimRight(s.text[lines[end].start:lines[end].end], " \t") != fence {
		end++
	}
	if end == 1 || !isLanguage(language) { // an empty one, or words that would be lost
		return 1
	}
	s.cuts = append(s.cuts, stretch{lines[0].start, lines[0].end + 1})
	s.mark(lines[1].start, lines[end-1].end, gateway.MarkBlock, language)
	if end == len(lines) {
		return end
	}
	s.cuts = append(s.cuts, stretch{lines[end-1].end, lines[end].end})
	return end + 1
}

// isLanguage reports whether what stands behind a fence names a language, or nothing does.
func isLanguage(s string) bool {
	return len(s) <= 32 && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("+-#._", r)
	})
}

// signs are the signs of spans, in the order in which they lie in each other.
var signs = [...]struct {
	sign  byte
	style string
}{{'*', gateway.MarkBold}, {'_', gateway.MarkItalic}, {'~', gateway.MarkStrike}, {'`', gateway.MarkCode}}

func signed(sign byte) string {
	for _, s := range signs {
		if s.sign == sign {
			return s.style
		}
	}
	return ""
}

// spans reads what is marked within a line, or within a span. A sign opens at the beginning or behind white space, not
// before white space; the next one of its kind that is not behind white space closes. A span of one kind holds none of
// the same kind, so each byte is looked at a few times at most.
func (s *styling) spans(from, to int) {
	unclosed := "" // the signs of which none that closes is left
	for i := from; i < to; {
		sign := s.text[i]
		style := signed(sign)
		if style == "" || strings.IndexByte(unclosed, sign) >= 0 || i > from && !s.spaceBefore(i) || i+1 == to || s.spaceAt(i+1) {
			i++
			continue
		}
		end := i + 2
		for end < to && (s.text[end] != sign || s.spaceBefore(end)) {
			end++
		}
		if end >= to {
			unclosed += string(sign)
			i++
			continue
		}
		s.cuts = append(s.cuts, stretch{i, i + 1}, stretch{end, end + 1})
		s.mark(i+1, end, style, "")
		if style != gateway.MarkCode {
			s.spans(i+1, end)
		}
		i = end + 1
	}
}

func (s *styling) spaceBefore(at int) bool {
	r, _ := utf8.DecodeLastRuneInString(s.text[:at])
	return unicode.IsSpace(r)
}

func (s *styling) spaceAt(at int) bool {
	r, _ := utf8.DecodeRuneInString(s.text[at:])
	return unicode.IsSpace(r)
}

// points turns ranges that are counted in code points of a text into ranges of bytes.
type points struct {
	text   string
	ascii  bool
	starts []int // of each code point, and the end of the text
}

func pointsOf(text string) *points {
	p := &points{text: text, ascii: true}
	for i := range len(text) {
		p.ascii = p.ascii && text[i] < utf8.RuneSelf
	}
	if p.ascii {
		return p
	}
	for i := range text {
		p.starts = append(p.starts, i)
	}
	p.starts = append(p.starts, len(text))
	return p
}

// at is where a code point begins; ok is false where the text has none of that number.
func (p *points) at(s string) (offset int, ok bool) {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	switch {
	case err != nil || n < 0:
		return 0, false
	case p.ascii:
		return n, n <= len(p.text)
	case n < len(p.starts):
		return p.starts[n], true
	}
	return 0, false
}

// of is the range from start to end; ok is false where the text has no such, or it is empty.
func (p *points) of(start, end string) (stretch, bool) {
	from, ok1 := p.at(start)
	to, ok2 := p.at(end)
	return stretch{from, to}, ok1 && ok2 && from < to
}

// within is where a code point begins, or where the text ends that has none of that number.
func (p *points) within(n int) int {
	switch {
	case p.ascii:
		return min(n, len(p.text))
	case n < len(p.starts):
		return p.starts[n]
	}
	return len(p.text)
}

// count is how many code points there are.
func (p *points) count() int {
	if p.ascii {
		return len(p.text)
	}
	return len(p.starts) - 1
}

// maxMarkup is how many elements of markup are read of a message.
const maxMarkup = gateway.MaxMarks

// marked reads Message Markup (XEP-0394), which counts in code points of the text. It returns what it marks, and where
// signs stand that other clients show of it.
func marked(text string, markup *node) (marks []gateway.Mark, cuts []stretch) {
	if len(markup.kids) > maxMarkup {
		return nil, nil
	}
	p := pointsOf(text)
	var quotes []stretch
	for _, kid := range markup.kids {
		where, ok := p.of(kid.get("start"), kid.get("end"))
		if !ok || kid.space != nsMarkup {
			continue
		}
		add := func(style, arg string) {
			marks = append(marks, gateway.Mark{Start: where.start, End: where.end, Style: style, Arg: arg})
		}
		switch kid.name {
		case "span":
			for name, style := range map[string]string{"strong": gateway.MarkBold, "emphasis": gateway.MarkItalic, "deleted": gateway.MarkStrike, "code": gateway.MarkCode} {
				if kid.child(nsMarkup, name) != nil {
					add(style, "")
				}
			}
		case "bcode":
			add(gateway.MarkBlock, kid.get("language"))
		case "bquote":
			add(gateway.MarkQuote, "")
			quotes = append(quotes, where)
		case "list":
			items, signs := listed(text, p, kid, where)
			marks, cuts = append(marks, items...), append(cuts, signs...)
		}
	}
	return marks, append(cuts, quoteSigns(text, quotes)...)
}

// quoteSigns finds the signs before the lines of quotes. What lies in a longer quote has the same, so that each line is
// looked at once.
func quoteSigns(text string, quotes []stretch) (cuts []stretch) {
	slices.SortStableFunc(quotes, func(a, b stretch) int { return cmp.Compare(b.end-b.start, a.end-a.start) })
	for i, q := range quotes {
		if !slices.ContainsFunc(quotes[:i], func(longer stretch) bool { return longer.start < q.end && q.start < longer.end }) {
			cuts = append(cuts, signsOf(text, q, ">")...)
		}
	}
	return cuts
}

// listed reads the items of a list. The sign before each is what other clients show of it.
func listed(text string, p *points, list *node, where stretch) (marks []gateway.Mark, cuts []stretch) {
	items := list.all(nsMarkup, "li")
	if len(items) > maxMarkup {
		return nil, nil
	}
	for i, item := range items {
		end := where.end
		if i+1 < len(items) {
			if next, ok := p.at(items[i+1].get("start")); ok {
				end = min(next, end)
			}
		}
		start, ok := p.at(item.get("start"))
		if !ok || start < where.start || start >= end {
			continue
		}
		line, _, _ := strings.Cut(text[start:min(end, start+maxItemSign)], "\n")
		number, sign := itemSign(line)
		if sign > 0 {
			cuts = append(cuts, stretch{start, start + sign})
		}
		marks = append(marks, gateway.Mark{Start: start + sign, End: end, Style: gateway.MarkItem, Arg: number})
	}
	return marks, cuts
}

// maxItemSign is how much of an item is looked at for its sign, in bytes.
const maxItemSign = 16

// itemSign finds the sign before an item: how long it is, and its number.
func itemSign(line string) (number string, length int) {
	for _, sign := range []string{"* ", "- ", "+ ", "• "} {
		if strings.HasPrefix(line, sign) {
			return "", len(sign)
		}
	}
	number, _, ok := strings.Cut(line, ". ")
	if _, err := strconv.ParseUint(number, 10, 16); ok && err == nil {
		return number, len(number) + 2
	}
	return "", 0
}

// signsOf finds the signs at the beginning of lines, if all of them have one.
func signsOf(text string, where stretch, sign string) (cuts []stretch) {
	at := where.start
	for line := range strings.SplitSeq(text[where.start:where.end], "\n") {
		if !strings.HasPrefix(line, sign) {
			return nil
		}
		length := len(sign)
		if strings.HasPrefix(line[length:], " ") {
			length++
		}
		cuts = append(cuts, stretch{at, at + length})
		at += len(line) + 1
	}
	return cuts
}

// disjoint puts cuts in order, and joins those that overlap.
func disjoint(cuts []stretch) []stretch {
	slices.SortFunc(cuts, func(a, b stretch) int { return cmp.Compare(a.start, b.start) })
	out := cuts[:0]
	for _, c := range cuts {
		if n := len(out) - 1; n >= 0 && c.start <= out[n].end {
			out[n].end = max(out[n].end, c.end)
			continue
		}
		out = append(out, c)
	}
	return out
}
