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

// maxMentions is how many names are looked for in a message.
const maxMentions = 64

// text turns what of a body is not there for files into text and its style. "/me " makes an emote (XEP-0245). Ranges
// count in the body as it was sent, so they count only where nothing else was taken out of it.
func (c content) text(rest, lead string, at scene) (gateway.Text, gateway.Style) {
	t := gateway.Text{Plain: gateway.Clean(rest)}
	if whole := t.Plain == c.body; whole {
		var cuts []stretch
		if c.markup != nil {
			t.Marks, cuts = marked(t.Plain, c.markup)
		}
		if c.replyTo != "" {
			cuts = append(cuts, fallbackOf(t.Plain, c.fallback, c.outside)...)
		}
		t.Marks = append(t.Marks, c.named(t.Plain, at)...)
		t = without(t, disjoint(cuts))
	}
	style := gateway.StyleText
	if strings.HasPrefix(t.Plain, "/me ") {
		style, t = gateway.StyleEmote, without(t, []stretch{{0, len("/me ")}})
	}
	if c.markup == nil && !c.unstyled {
		t = styled(t)
	}
	t = withNicks(t.Normal(), at)
	if c.spoiler != nil {
		t.Marks = append(t.Marks, gateway.Mark{End: len(t.Plain), Style: gateway.MarkSpoiler, Arg: c.spoiler.text})
	}
	if lead != "" {
		t = led(lead, t)
	}
	return t.Normal(), style
}

// led puts words before a text, on a line of their own where its first line is a quote or code.
func led(lead string, t gateway.Text) gateway.Text {
	if ps := t.Paragraphs(); len(ps) > 0 && ps[0].Kind != "" {
		lead = strings.TrimSpace(lead) + "\n"
	}
	out := gateway.Text{Plain: lead + t.Plain}
	for _, m := range t.Marks {
		m.Start, m.End = m.Start+len(lead), m.End+len(lead)
		out.Marks = append(out.Marks, m)
	}
	return out
}

// named are the names in a text that its sender says are such (XEP-0372).
func (c content) named(text string, at scene) (out []gateway.Mark) {
	if at.named == nil || len(c.mentions) == 0 || len(c.mentions) > maxMentions {
		return nil
	}
	p := pointsOf(text)
	for _, ref := range c.mentions {
		where, ok := p.of(ref.get("begin"), ref.get("end"))
		if !ok || ref.get("type") != "mention" {
			continue
		}
		if who := at.named(ref.get("uri")); !who.IsZero() {
			out = append(out, gateway.Mark{Start: where.start, End: where.end, Style: gateway.MarkMention, Who: who})
		}
	}
	return out
}

// withNicks marks the nicks of people of other networks where a text turns to them: at its beginning before a colon or a
// comma, and anywhere behind an @. What is quoted, code, or named already stays as it is.
func withNicks(t gateway.Text, at scene) gateway.Text {
	if at.nicks == nil || !strings.ContainsAny(t.Plain, ":,@") {
		return t
	}
	nicks := at.nicks()
	longest := slices.SortedFunc(keysOf(nicks), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	add := func(start int, nick string) {
		m := gateway.Mark{Start: start, End: start + len(nick), Style: gateway.MarkMention, Who: nicks[nick]}
		taken := slices.ContainsFunc(t.Marks, func(o gateway.Mark) bool {
			return (o.Style == gateway.MarkQuote || o.Style == gateway.MarkBlock || o.Style == gateway.MarkCode || o.Style == gateway.MarkMention) && o.Start < m.End && m.Start < o.End
		})
		if !taken {
			t.Marks = append(t.Marks, m)
		}
	}
	for _, nick := range longest {
		if rest, ok := strings.CutPrefix(t.Plain, nick); ok && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, ",")) {
			add(0, nick)
			break
		}
	}
	for i, n := 0, 0; n < maxMentions; n++ {
		next := strings.IndexByte(t.Plain[i:], '@')
		if next < 0 {
			break
		}
		start := i + next
		i = start + 1
		if before, _ := utf8.DecodeLastRuneInString(t.Plain[:start]); start > 0 && inWord(before) {
			continue
		}
		for _, nick := range longest {
			rest, ok := strings.CutPrefix(t.Plain[i:], nick)
			if after, _ := utf8.DecodeRuneInString(rest); ok && (rest == "" || !inWord(after)) {
				add(i, nick)
				break
			}
		}
	}
	return t
}

func keysOf(nicks map[string]gateway.Person) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for nick := range nicks {
			if nick != "" && !yield(nick) {
				return
			}
		}
	}
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' }

// fallbackOf is what stands in a reply's body only for clients that do not know replies (XEP-0461 with XEP-0428): a range
// counted in code points. Of a body that begins with a quote nothing but quotes goes, since some clients count otherwise;
// nor of any where a server may have written the range.
func fallbackOf(body string, fallbacks []*node, outside bool) []stretch {
	p, quoted := pointsOf(body), quotedLines(body)
	for _, f := range fallbacks {
		if f.get("for") != nsReply {
			continue
		}
		for i, b := range f.all(nsFallback, "body") {
			if i == maxRanges {
				break
			}
			start, end, ok := fallbackRange(b, p)
			if start == 0 && quoted > 0 {
				end = min(end, quoted)
			} else if outside {
				continue
			}
			if ok && start < end {
				return []stretch{{start, end}}
			}
		}
	}
	return nil
}

// quoted is what a reply's body quotes of the message that it answers, for rooms where nobody knows that one.
func (c content) quoted() string {
	var b strings.Builder
	for _, cut := range fallbackOf(c.body, c.fallback, c.outside) {
		for line := range strings.Lines(c.body[cut.start:cut.end]) {
			if line, quotes := strings.CutPrefix(line, ">"); quotes && (b.Len() > 0 || !strings.HasSuffix(strings.TrimSpace(line), ":")) { // whose it is
				b.WriteString(strings.TrimPrefix(line, " "))
			}
		}
	}
	return gateway.Shorten(strings.TrimSpace(gateway.Clean(b.String())), gateway.MaxExcerpt)
}

// What of fallbacks is looked at: how many of a message, and how many ranges of each.
const (
	maxFallbacks = 16
	maxRanges    = 4
)

// fallbacksOf are the fallbacks of a message (XEP-0428).
func fallbacksOf(n *node) []*node {
	all := n.all(nsFallback, "fallback")
	return all[:min(len(all), maxFallbacks)]
}

// fallbackRange returns a range in bytes of the body whose code points are p.
func fallbackRange(b *node, p *points) (start, end int, ok bool) {
	from, err1 := strconv.Atoi(b.get("start"))
	to, err2 := strconv.Atoi(b.get("end"))
	if err1 != nil || err2 != nil || from < 0 || to < from {
		return 0, 0, false
	}
	return p.within(from), p.within(to), from <= p.count()
}

// quotedLines is how long the lines are, in bytes, with which a body quotes at its beginning.
func quotedLines(body string) int {
	n := 0
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, ">") && (n == 0 || strings.TrimSpace(line) != "") {
			break
		}
		n += len(line)
	}
	return n
}
