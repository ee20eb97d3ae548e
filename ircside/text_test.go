package ircside

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"lockbridge/gateway"
)

func TestStripFormat(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "\x02bold\x02 \x1ditalic\x0f": "bold italic", "\x0304red\x03 x": "red x",
		"\x034,12both": "both", "\x0312,text": ",text", "\x03,5text": ",5text", "\x031234": "34", "\x03": "",
		"\x04ff0000hex": "hex", "\x04ff0000,00ff00hex": "hex", "\x04ff00": "ff00", "\x11mono\x1e\x1f\x16": "mono",
		"ü\x02ü": "üü",
	} {
		if got := stripFormat(in); got != want {
			t.Errorf("stripFormat(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestToUTF8(t *testing.T) {
	for in, want := range map[string]string{
		"Grüße": "Grüße", "Gr\xfc\xdfe": "Grüße", "\x80 5 \x84quoted\x93": "€ 5 „quoted“", "a\x81b": "a\uFFFDb", "\x9f": "Ÿ",
	} {
		if got := toUTF8(in); got != want {
			t.Errorf("toUTF8(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestUnpingable(t *testing.T) {
	const j = "\u200C"
	for in, want := range map[string]string{
		"juliet": "j" + j + "uliet", "Juliet Capulet": "J" + j + "uliet C" + j + "apulet", "x": "x", "": "", "(ab)": "(a" + j + "b)",
		"[m]": "[" + j + "m]", "🎉": "🎉", "Ödön": "Ö" + j + "dön", "a b": "a b",
	} {
		if got := unpingable(in); got != want {
			t.Errorf("unpingable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSpoken(t *testing.T) {
	long := strings.Repeat("word ", 30)
	for _, c := range []struct {
		name, text   string
		budget, most int
		want         []string
	}{
		{"one line", "hello", 100, 5, []string{"<a> hello"}},
		{"empty lines and ends", "one\r\n\n  \ntwo \n", 100, 5, []string{"<a> one", "<a> two"}},
		{"nothing", " \n\t\n\x00", 100, 5, nil},
		{"control characters", "\x01ACTION hi\x01\x02\x00", 100, 5, []string{"<a> ACTION hi"}},
		{"indented", "  code", 100, 5, []string{"<a>   code"}},
		{"at a space", long[:59], 40, 5, []string{"<a> word word word word word word word", "<a> word word word word word"}},
		{"a link", "look: https://example.org/a/long/path", 40, 5, []string{"<a> look:", "<a> https://example.org/a/long/path"}},
		{"a link that fits nowhere", "see https://example.org/a/much/longer/path/", 40, 5, []string{"<a> see https://example.org/a/much/longe", "<a> r/path/"}},
		{"no space", strings.Repeat("x", 50), 40, 5, []string{"<a> " + strings.Repeat("x", 36), "<a> " + strings.Repeat("x", 14)}},
		{"runes", strings.Repeat("ü", 30), 41, 5, []string{"<a> " + strings.Repeat("ü", 18), "<a> " + strings.Repeat("ü", 12)}},
		{"clusters", strings.Repeat("x", 33) + "e\u0301\u0301yz", 40, 5, []string{"<a> " + strings.Repeat("x", 33), "<a> e\u0301\u0301yz"}},
	} {
		got, _ := spoken("<a> ", plainRows(gateway.Clean(c.text)), c.budget, c.most)
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSpokenShortensAMegabyte(t *testing.T) {
	got, more := spoken("<a> ", plainRows(strings.Repeat("long text ", 100_000)), 400, 10)
	if len(got) != 10 || more < 1000 {
		t.Errorf("%d lines and %d more", len(got), more)
	}
	for text, want := range map[string]string{leftOut(1, ""): "… (1 more line)", leftOut(2, ""): "… (2 more lines)", leftOut(2, "https://x/y"): "… (2 more lines: https://x/y)"} {
		if text != want {
			t.Errorf("told %q, want %q", text, want)
		}
	}
}

// checkSpoken holds what every split must: each line fits, is valid, has no control character, and together they are
// the text but for white space.
func checkSpoken(t interface {
	Helper()
	Fatalf(string, ...any)
}, prefix, text string, budget int) {
	t.Helper()
	lines, _ := spoken(prefix, plainRows(gateway.Clean(text)), budget, 1<<30)
	var joined strings.Builder
	for _, l := range lines {
		if len(l) > max(budget, len(prefix)+minRoom) || !utf8.ValidString(l) || strings.ContainsAny(l, "\r\n\x00\x01") || !strings.HasPrefix(l, prefix) {
			t.Fatalf("budget %d: line %q", budget, l)
		}
		joined.WriteString(strings.TrimPrefix(l, prefix))
	}
	solid := func(s string) string { return strings.NewReplacer(" ", "", "\t", "", "\n", "").Replace(s) }
	// A line of other white space alone has nothing to see.
	var want strings.Builder
	for line := range strings.SplitSeq(gateway.Clean(text), "\n") {
		if strings.TrimSpace(line) != "" {
			want.WriteString(line)
		}
	}
	if got := solid(joined.String()); got != solid(want.String()) && strings.TrimSpace(text) == text {
		// White space that is neither blank nor tab may vanish at the end of a cut line, and nothing else.
		strip := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if strip(got) != strip(want.String()) {
			t.Fatalf("budget %d: %q became %q", budget, text, joined.String())
		}
	}
}

func TestSpokenLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkSpoken(t, "<a> ", rapid.String().Draw(t, "text"), rapid.IntRange(36, 200).Draw(t, "budget"))
	})
}

func FuzzSpoken(f *testing.F) {
	f.Add("<a> ", "hello\nworld", 60)
	f.Add("", strings.Repeat("é\u200d", 100), 40)
	f.Fuzz(func(t *testing.T, prefix, text string, budget int) {
		if budget < 0 || budget > 10_000 || len(prefix) > 200 || !utf8.ValidString(prefix) || gateway.CleanName(prefix) != prefix {
			return // no prefix that encode makes
		}
		checkSpoken(t, prefix, text, budget)
	})
}
