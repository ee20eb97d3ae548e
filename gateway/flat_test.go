package gateway_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"lockbridge/gateway"
	"lockbridge/gateway/texttest"
)

// marked makes a text of "words with [style:words or style=arg:words] marked".
func marked(t *testing.T, s string) gateway.Text {
	t.Helper()
	var out gateway.Text
	type open struct {
		start      int
		style, arg string
	}
	var stack []open
	for s != "" {
		i := strings.IndexAny(s, "⟦⟧")
		if i < 0 {
			out.Plain += s
			break
		}
		out.Plain += s[:i]
		if rest, begins := strings.CutPrefix(s[i:], "⟦"); begins {
			name, words, ok := strings.Cut(rest, "|")
			if !ok {
				t.Fatalf("no words in %q", rest)
			}
			style, arg, _ := strings.Cut(name, "=")
			stack, s = append(stack, open{len(out.Plain), style, arg}), words
			continue
		}
		s = s[i+len("⟧"):]
		o := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		m := gateway.Mark{Start: o.start, End: len(out.Plain), Style: o.style, Arg: o.arg}
		if o.style == gateway.MarkMention {
			m.Who, m.Arg = gateway.Person{Network: "n", ID: o.arg}, ""
		}
		out.Marks = append(out.Marks, m)
	}
	return out.Normal()
}

func TestFlat(t *testing.T) {
	for in, want := range map[string]string{
		"⟦bold|a⟧ ⟦italic|b⟧ ⟦underline|c⟧ ⟦strike|d⟧ ⟦code|e⟧":           "a b c d e",
		"⟦quote|one\ntwo⟧\nanswer":                                        "> one\n> two\nanswer",
		"⟦quote|⟦quote|deep⟧\nless⟧":                                      "> > deep\n> less",
		"⟦item|milk⟧\n⟦item|bread\nbrown⟧":                                "• milk\n• bread\n  brown",
		"⟦item=3|three⟧\n⟦item=4|four⟧":                                   "3. three\n4. four",
		"⟦quote|⟦item|milk⟧⟧":                                             "> • milk",
		"⟦quote|⟦block=go|a := 1\n\nb⟧⟧":                                  "> a := 1\n> \n> b",
		"⟦block|a\n  b⟧\nc":                                               "a\n  b\nc",
		"see ⟦link=https://example.org/a|this ⟦bold|page⟧⟧, please":       "see this page (https://example.org/a), please",
		"⟦link=https://example.org/a|https://example.org/a⟧":              "https://example.org/a",
		"⟦link=mailto:a@example.org|a@example.org⟧":                       "a@example.org",
		"⟦link=javascript:alert(1)|here⟧":                                 "here",
		"⟦spoiler=the end|they ⟦bold|all⟧ die⟧":                           "(spoiler: the end) they all die",
		"⟦spoiler|x⟧ and ⟦spoiler|y⟧":                                     "(spoiler) x and (spoiler) y",
		"⟦spoiler=end|one\n⟦quote|two⟧\nthree⟧":                           "(spoiler: end) one\n> two\nthree",
		"⟦mention=bob|Bob⟧: hi":                                           "Bob: hi",
		"⟦link=https://a.example|x⟧⟦link=https://b.example|y⟧":            "x (https://a.example)y (https://b.example)",
		"⟦spoiler=why|⟦block|code⟧⟧":                                      "(spoiler: why) code",
		"⟦bold|over\nlines⟧":                                              "over\nlines",
		"⟦quote|a⟧\n\n⟦quote|b⟧":                                          "> a\n\n> b",
		"⟦item|a\n⟦item|nested⟧\nrest⟧":                                   "• a\n• nested\nrest",
		"⟦quote|⟦link=https://example.org|over\nlines⟧⟧":                  "> over\n> lines (https://example.org)",
		"⟦unknown|x⟧":                                                     "x",
		"⟦link=https://example.org/a b|x⟧ ⟦link=https:///|y⟧ ⟦link=|z⟧":   "x y z",
		"⟦link=https://example.org/\u202egpj.exe|x⟧ ⟦link=HTTPS://a.b|y⟧": "x y (HTTPS://a.b)",
	} {
		if got := marked(t, in).Flat(); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestWithout(t *testing.T) {
	for _, c := range []struct{ in, styles, want string }{
		{"⟦bold|a ⟦link=https://example.org|b⟧⟧", "link", "⟦bold|a b⟧ (https://example.org)"},
		{"⟦bold|a ⟦underline|b⟧⟧", "underline", "⟦bold|a b⟧"},
		{"⟦quote|⟦bold|a\nb⟧⟧", "quote", "> ⟦bold|a⟧\n> ⟦bold|b⟧"},
		{"⟦item|⟦bold|a⟧⟧\nb", "item", "• ⟦bold|a⟧\nb"},
		{"⟦quote|a\n⟦item|b⟧⟧", "item", "⟦quote|a\n• b⟧"},
		{"⟦quote|⟦block=go|a\nb⟧⟧\nc", "quote", "⟦block=go|> a\n> b⟧\nc"},
		{"⟦spoiler=s|⟦link=https://example.org|b⟧⟧ c", "link", "⟦spoiler=s|b (https://example.org)⟧ c"},
		{"⟦spoiler=s|⟦mention=bob|Bob⟧ did it⟧", "spoiler", "(spoiler: s) ⟦mention=bob|Bob⟧ did it"},
		{"plain", "bold", "plain"},
	} {
		if got, want := marked(t, c.in).Without(strings.Fields(c.styles)...), marked(t, c.want); got.Plain != want.Plain || len(got.Marks) != len(want.Marks) || len(got.Marks) > 0 && got.Marks[0] != want.Marks[0] {
			t.Errorf("%q without %s: %+v, want %+v", c.in, c.styles, got, want)
		}
	}
}

// Whatever is taken away, no rune that can be seen is lost, and nothing is taken away that was not to be.
func TestWithoutLosesNoWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(texttest.Wild(texttest.Styles()...), texttest.Text(texttest.Styles()...)).Draw(t, "text")
		styles := rapid.SliceOf(rapid.SampledFrom(texttest.Styles())).Draw(t, "without")
		got := text.Without(styles...)
		rest := texttest.Visible(got.Plain)
		for _, r := range texttest.Visible(text.Plain) {
			i := strings.IndexRune(rest, r)
			if i < 0 {
				t.Fatalf("%q is lost of %+v without %v: %q", r, text, styles, got.Plain)
			}
			rest = rest[i:]
		}
		for _, m := range got.Marks {
			for _, style := range styles {
				if m.Style == style {
					t.Fatalf("%+v is left without %v", m, styles)
				}
			}
		}
	})
}

// TestAFlatTextIsNoLongerThanAnyOther: signs for each line, or for each link, may be more than the text.
func TestAFlatTextIsNoLongerThanAnyOther(t *testing.T) {
	links := gateway.Text{Plain: strings.Repeat("é ", gateway.MaxText/3)}
	for i := range gateway.MaxMarks {
		links.Marks = append(links.Marks, gateway.Mark{Start: 3 * i, End: 3*i + 2, Style: gateway.MarkLink, Arg: "https://x/" + strings.Repeat("y", 2000)})
	}
	quoted := gateway.Text{Plain: strings.Repeat("x\n", gateway.MaxText/2)}
	quoted.Marks = []gateway.Mark{{End: len(quoted.Plain), Style: gateway.MarkQuote}, {End: 1, Style: gateway.MarkBold}}
	for name, text := range map[string]gateway.Text{"links": links, "quotes": quoted} {
		got := text.Without(gateway.MarkLink, gateway.MarkQuote)
		if len(got.Plain) > gateway.MaxText || !strings.HasSuffix(got.Plain, "…") || !utf8.ValidString(got.Plain) {
			t.Errorf("%s: %d bytes, %q", name, len(got.Plain), got.Plain[len(got.Plain)-9:])
		}
		if name == "quotes" && (len(got.Marks) != 1 || got.Plain[got.Marks[0].Start:got.Marks[0].End] != "x") {
			t.Errorf("%s: %+v", name, got.Marks)
		}
	}
}
