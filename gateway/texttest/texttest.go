// Package texttest draws texts with marks, for property tests of what networks write them in: a format reads back what
// it wrote, and loses nothing that it has a sign for.
//
// It imports gateway, so tests that use it inside package gateway stand in package gateway_test.
package texttest

import (
	"slices"
	"strings"

	"pgregory.net/rapid"

	"lockbridge/gateway"
)

// Styles are all marks that there are.
func Styles() []string {
	return []string{
		gateway.MarkBold, gateway.MarkItalic, gateway.MarkUnderline, gateway.MarkStrike, gateway.MarkCode, gateway.MarkBlock,
		gateway.MarkQuote, gateway.MarkItem, gateway.MarkLink, gateway.MarkSpoiler, gateway.MarkMention,
	}
}

// Text draws normal texts that every format with these styles can write: marks begin and end at words, lie in each
// other or apart, and the words hold none of the characters by which formats mark anything.
func Text(styles ...string) *rapid.Generator[gateway.Text] {
	return rapid.Custom(func(t *rapid.T) gateway.Text {
		w := writer{t: t, styles: styles}
		for i := range rapid.IntRange(1, 4).Draw(t, "paragraphs") {
			if i > 0 {
				w.plain.WriteByte('\n')
			}
			w.paragraph()
		}
		return gateway.Text{Plain: w.plain.String(), Marks: w.marks}.Normal()
	})
}

// Wild draws texts that nobody has tidied up: any characters, the signs of markup among them, marks of these styles and
// of none, anywhere, and not normal. Plain is clean, as gateway.Clean leaves it.
func Wild(styles ...string) *rapid.Generator[gateway.Text] {
	return rapid.Custom(func(t *rapid.T) gateway.Text {
		plain := gateway.Clean(strings.Join(rapid.SliceOfN(rapid.OneOf(
			rapid.SampledFrom([]string{"\n", " ", "*", "_", "~", "`", "```", "> ", "•", "1. ", "<b>", "&amp;", "\x02", "@", "/me ", "https://example.org", "👩‍👩‍👧", "שלום", "e\u0301"}),
			rapid.StringN(0, 6, -1),
		), 0, 12).Draw(t, "pieces"), ""))
		mark := rapid.Custom(func(t *rapid.T) gateway.Mark {
			m := gateway.Mark{
				Start: rapid.IntRange(-2, len(plain)+2).Draw(t, "start"),
				End:   rapid.IntRange(-2, len(plain)+2).Draw(t, "end"),
				Style: rapid.SampledFrom(slices.Concat(styles, []string{"none"})).Draw(t, "style"),
			}
			return argued(t, m)
		})
		return gateway.Text{Plain: plain, Marks: rapid.SliceOfN(mark, 0, 12).Draw(t, "marks")}
	})
}

// Only returns t as a format shows it that has these styles and no others.
func Only(t gateway.Text, styles ...string) gateway.Text {
	t = t.Normal()
	t.Marks = slices.DeleteFunc(slices.Clone(t.Marks), func(m gateway.Mark) bool { return !slices.Contains(styles, m.Style) })
	return t.Normal()
}

// Visible are the runes of a text that leave ink: a format may move white space, and loses none of these.
func Visible(s string) string { return strings.Join(strings.Fields(s), "") }

// argued gives a mark what its style asks for.
func argued(t *rapid.T, m gateway.Mark) gateway.Mark {
	switch m.Style {
	case gateway.MarkLink:
		m.Arg = rapid.SampledFrom([]string{"https://example.org/a", "https://example.org/?b=1&c=2", "mailto:juliet@example.org"}).Draw(t, "url")
	case gateway.MarkSpoiler:
		m.Arg = rapid.SampledFrom([]string{"", "the end"}).Draw(t, "reason")
	case gateway.MarkItem:
		m.Arg = rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "number")
	case gateway.MarkMention:
		m.Who = rapid.SampledFrom([]gateway.Person{
			{Network: "matrix", ID: "@alice:example.org", Name: "Alice"}, {Network: "xmpp", ID: "bob@example.org", Name: "Bob"}, {Network: "libera", ID: "carol", Name: "carol"},
		}).Draw(t, "who")
	}
	return m
}

// writer puts a text together.
type writer struct {
	t      *rapid.T
	styles []string
	plain  strings.Builder
	marks  []gateway.Mark
}

// maybe draws whether a style is used that may be.
func (w *writer) maybe(style string) bool {
	return slices.Contains(w.styles, style) && rapid.IntRange(0, 3).Draw(w.t, style) == 0
}

func (w *writer) add(start int, style string) {
	w.marks = append(w.marks, argued(w.t, gateway.Mark{Start: start, End: w.plain.Len(), Style: style}))
}

func (w *writer) paragraph() {
	start, depth := w.plain.Len(), 0
	for depth < gateway.MaxQuoteDepth && w.maybe(gateway.MarkQuote) {
		depth++
	}
	switch {
	case w.maybe(gateway.MarkBlock):
		w.lines(func() { w.words(3) })
		w.add(start, gateway.MarkBlock)
	case w.maybe(gateway.MarkItem):
		w.line()
		w.add(start, gateway.MarkItem)
	default:
		w.lines(w.line)
	}
	for range depth {
		w.add(start, gateway.MarkQuote)
	}
}

func (w *writer) lines(line func()) {
	for i := range rapid.IntRange(1, 3).Draw(w.t, "lines") {
		if i > 0 {
			w.plain.WriteByte('\n')
		}
		line()
	}
}

// line writes stretches with a space between them, each marked as a whole, or not.
func (w *writer) line() {
	for i := range rapid.IntRange(1, 3).Draw(w.t, "stretches") {
		if i > 0 {
			w.plain.WriteByte(' ')
		}
		w.stretch(0)
	}
}

// stretch writes some words, marked as a whole, with some among them that are marked further.
func (w *writer) stretch(depth int) {
	start := w.plain.Len()
	switch {
	case w.maybe(gateway.MarkMention):
		who := argued(w.t, gateway.Mark{Style: gateway.MarkMention})
		w.plain.WriteString(who.Who.Name)
		who.Start, who.End = start, w.plain.Len()
		w.marks = append(w.marks, who)
		return
	case w.maybe(gateway.MarkCode):
		w.words(2)
		w.add(start, gateway.MarkCode)
		return
	}
	w.words(3)
	if depth < 2 && rapid.Bool().Draw(w.t, "nested") {
		w.plain.WriteByte(' ')
		w.stretch(depth + 1)
		w.plain.WriteByte(' ')
		w.words(3)
	}
	for _, style := range []string{gateway.MarkBold, gateway.MarkItalic, gateway.MarkUnderline, gateway.MarkStrike, gateway.MarkLink, gateway.MarkSpoiler} {
		if w.maybe(style) {
			w.add(start, style)
		}
	}
}

func (w *writer) words(most int) {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"hello", "a", "Grüße", "мир", "שלום", "日本語", "👍", "👩‍👩‍👧", "42", "e\u0301t\u0301"}), 1, most).Draw(w.t, "words")
	w.plain.WriteString(strings.Join(words, " "))
}
