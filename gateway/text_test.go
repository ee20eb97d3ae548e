package gateway

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                      "plain",
		"tab\tand\nnewline":          "tab\tand\nnewline",
		"two\r\nlines\rthree":        "two\nlines\nthree",
		"nul\x00bell\x07del\x7f":     "nulbelldel",
		"lone \xed\xa0\x80 surr":     "lone \uFFFD surr",
		"c1\u0085control":            "c1control",
		"non\uFFFEcharacter":         "noncharacter",
		"right\u200fto\u202eleft":    "right\u200fto\u202eleft",
		"família 👩‍👩‍👧 stays joined": "família 👩‍👩‍👧 stays joined",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"  Alice\r\nB ":         "Alice B",
		"\u202eevil\u202c":      "evil",
		strings.Repeat("é", 99): strings.Repeat("é", 64),
		"\n\t":                  "",
		"<b>bold</b>":           "<b>bold</b>",
	} {
		if got := CleanName(in); got != want {
			t.Errorf("CleanName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCleanIsSaneAndIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		got := Clean(in)
		if !utf8.ValidString(got) {
			t.Fatalf("Clean(%q) is not UTF-8", in)
		}
		for _, r := range got {
			if unicode.IsControl(r) && r != '\n' && r != '\t' {
				t.Fatalf("Clean(%q) kept %U", in, r)
			}
		}
		if again := Clean(got); again != got {
			t.Fatalf("Clean twice: %q, then %q", got, again)
		}
	})
}

func TestShortenKeepsRunesAndLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.String().Draw(t, "text")
		limit := rapid.IntRange(3, 50).Draw(t, "limit")
		got := Shorten(in, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Fatalf("Shorten(%q, %d) = %q", in, limit, got)
		}
		if len(in) <= limit && got != in {
			t.Fatalf("Shorten(%q, %d) changed what fits", in, limit)
		}
	})
}
