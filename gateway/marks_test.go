package gateway_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"lockbridge/gateway"
	"lockbridge/gateway/texttest"
)

func TestNormalTwiceIsNormal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := texttest.Wild(texttest.Styles()...).Draw(t, "text")
		once := text.Normal()
		if twice := once.Normal(); !reflect.DeepEqual(once, twice) {
			t.Fatalf("normal twice of %+v:\n%+v\n%+v", text, once, twice)
		}
		if !reflect.DeepEqual(text.Paragraphs(), once.Paragraphs()) {
			t.Fatalf("other paragraphs when it is normal:\n%+v\n%+v", text.Paragraphs(), once.Paragraphs())
		}
		for _, m := range once.Marks {
			if m.Start < 0 || m.Start >= m.End || m.End > len(once.Plain) || !utf8.ValidString(once.Plain[m.Start:m.End]) {
				t.Fatalf("%+v in %q", m, once.Plain)
			}
		}
	})
}

func TestParagraphsAndRunsLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(texttest.Wild(texttest.Styles()...), texttest.Text(texttest.Styles()...)).Draw(t, "text")
		var paragraphs []string
		for _, p := range text.Paragraphs() {
			var runs strings.Builder
			for _, r := range p.Text.Runs() {
				if r.Text == "" {
					t.Fatalf("an empty run in %+v", p)
				}
				runs.WriteString(r.Text)
			}
			if runs.String() != p.Text.Plain {
				t.Fatalf("the runs of %q are %q", p.Text.Plain, runs.String())
			}
			paragraphs = append(paragraphs, p.Text.Plain)
			if !reflect.DeepEqual(p.Text, p.Text.Normal()) || p.Kind == gateway.MarkBlock && len(p.Text.Marks) > 0 || (p.Kind == gateway.MarkQuote && p.Depth == 0) || p.Kind == "" && p.Depth > 0 {
				t.Fatalf("%+v of %+v", p, text)
			}
		}
		if got := strings.Join(paragraphs, "\n"); got != text.Plain {
			t.Fatalf("the paragraphs are %q, the text %q", got, text.Plain)
		}
	})
}

// What was cut up can be put together again: nothing of a normal text is in neither paragraphs nor runs.
func TestParagraphsAndRunsHoldEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(texttest.Wild(texttest.Styles()...), texttest.Text(texttest.Styles()...)).Draw(t, "text").Normal()
		var again gateway.Text
		var quotes [gateway.MaxQuoteDepth]*gateway.Mark // open ones, by depth
		for i, p := range text.Paragraphs() {
			if i > 0 {
				again.Plain += "\n"
			}
			start, end := len(again.Plain), len(again.Plain)+len(p.Text.Plain)
			add := func(m gateway.Mark) { again.Marks = append(again.Marks, m) }
			for depth := range quotes {
				switch {
				case depth >= p.Depth && quotes[depth] != nil:
					add(*quotes[depth])
					quotes[depth] = nil
				case depth < p.Depth && quotes[depth] == nil:
					quotes[depth] = &gateway.Mark{Start: start, Style: gateway.MarkQuote}
				}
				if quotes[depth] != nil {
					quotes[depth].End = end
				}
			}
			if p.Kind == gateway.MarkBlock || p.Kind == gateway.MarkItem {
				add(gateway.Mark{Start: start, End: end, Style: p.Kind, Arg: p.Arg})
			}
			for _, r := range p.Text.Runs() {
				for _, m := range marksOf(r) {
					m.Start, m.End = len(again.Plain), len(again.Plain)+len(r.Text)
					add(m)
				}
				again.Plain += r.Text
			}
		}
		for _, m := range quotes {
			if m != nil {
				again.Marks = append(again.Marks, *m)
			}
		}
		if len(again.Marks) > gateway.MaxMarks {
			return
		}
		if got := again.Normal(); !slices.Equal(got.Marks, text.Marks) || got.Plain != text.Plain {
			t.Fatalf("put together:\n%+v\nit was:\n%+v", got, text)
		}
	})
}

func marksOf(r gateway.Run) []gateway.Mark {
	var out []gateway.Mark
	for _, s := range []struct {
		has   gateway.StyleSet
		style string
	}{{gateway.Bold, gateway.MarkBold}, {gateway.Italic, gateway.MarkItalic}, {gateway.Underline, gateway.MarkUnderline}, {gateway.Strike, gateway.MarkStrike}, {gateway.Code, gateway.MarkCode}} {
		if r.Styles.Has(s.has) {
			out = append(out, gateway.Mark{Style: s.style})
		}
	}
	if r.Styles.Has(gateway.Hidden) {
		out = append(out, gateway.Mark{Style: gateway.MarkSpoiler, Arg: r.Spoiler})
	}
	if r.Link != "" {
		out = append(out, gateway.Mark{Style: gateway.MarkLink, Arg: r.Link})
	}
	if !r.Who.IsZero() {
		out = append(out, gateway.Mark{Style: gateway.MarkMention, Who: r.Who})
	}
	return out
}
