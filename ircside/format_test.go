package ircside

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"lockbridge/gateway"
	"lockbridge/gateway/texttest"
)

// inCode are the marks for which IRC has codes.
func inCode() []string {
	return []string{gateway.MarkBold, gateway.MarkItalic, gateway.MarkUnderline, gateway.MarkStrike, gateway.MarkCode, gateway.MarkSpoiler}
}

// TestTooManyCodes: a line of codes alone loses them, and no letter; what it hid stays hidden.
func TestTooManyCodes(t *testing.T) {
	if got := readFormat(strings.Repeat("\x02a\x02b", 300)); got.Plain != strings.Repeat("ab", 300) || len(got.Marks) > 0 {
		t.Errorf("read %+v", got)
	}
	var many row
	for range 20 {
		many.add("a", gateway.Bold|gateway.Italic|gateway.Hidden)
		many.add("b", gateway.Strike)
	}
	for rest := many; rest.plain != ""; {
		var head string
		head, rest = rest.cut(minRoom)
		if len(head) > minRoom || !strings.HasPrefix(head, hiddenCode) {
			t.Errorf("a line %q", head)
		}
	}
}

func TestReadFormatGolden(t *testing.T) {
	var b strings.Builder
	for _, s := range []string{
		"plain", "\x02bold\x02 \x1ditalic\x1d \x1funder\x1f \x1estrike\x1e \x11code\x11", "\x02bold to the end", "\x02\x1dboth\x02 one\x0f none",
		"\x0304red\x03 plain", "\x034,12both", "\x0312,text", "\x03,5text", "\x031234", "\x03", "\x02\x02", "\x16reverse\x16",
		"see \x0301,01the end\x03 now", "\x031,01mixed\x0f out", "\x0305,05two \x0306,06colours\x03", "\x0301,01\x02bold\x02 hidden\x0304 shown", "\x0399,99usual",
		"\x04ff0000hex", "\x04FF0000,ff0000hidden\x04 shown", "\x04ff00", "\x0301,011 digit", "gr\x02\xc3\x02\xbcn", "gr\x02\xfc\x02n", "\x02a\x00b\x02\x0fc",
		"\x02 spaces \x02 around \x02", "a\x0f\x0f\x0f", "\x02one\ntwo\x02\nthree", "\x01\x02x", "\x0301,1secret\x0302, blue", "tr\x02ail  \x02 ",
	} {
		text, err := json.Marshal(readFormat(s))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%+q\n  %s\n", s, text)
	}
	golden(t, "format.golden", b.String())
}

// TestFormatRoundTrip: what IRC has codes for comes back as it was.
func TestFormatRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := texttest.Text(inCode()...).Draw(t, "text")
		for i := range text.Marks {
			if text.Marks[i].Style == gateway.MarkSpoiler {
				text.Marks[i].Arg = "" // it would stand before what is hidden
			}
		}
		text = text.Normal()
		lines, more := spoken("", rows(text, nil), 4000, 1000)
		if got := readFormat(strings.Join(lines, "\n")); more > 0 || !reflect.DeepEqual(got, text) {
			t.Fatalf("%+v was written %q and read %+v", text, lines, got)
		}
	})
}

// TestFormatLosesNothing: of any text each line fits, holds no control characters but the codes, and all can be read that
// there is to see; what was hidden stays hidden.
func TestFormatLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(texttest.Wild(texttest.Styles()...), texttest.Text(texttest.Styles()...)).Draw(t, "text")
		budget := rapid.IntRange(minRoom, 200).Draw(t, "budget")
		called := func(_ gateway.Person, text string) string { return text }
		lines, _ := spoken("", rows(text, called), budget, 1<<30)
		var shown strings.Builder
		for _, l := range lines {
			if len(l) > budget || !utf8.ValidString(l) || strings.ContainsFunc(l, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune(formatCodes, r) && r != '\t' }) {
				t.Fatalf("budget %d: line %q", budget, l)
			}
			shown.WriteString(stripFormat(l))
		}
		if got, want := texttest.Visible(shown.String()), texttest.Visible(text.Without(gateway.MarkQuote, gateway.MarkItem, gateway.MarkLink).Plain); !within(got, want) {
			t.Fatalf("budget %d: %+v was written %q", budget, text, lines)
		}
	})
}

// within reports whether want can be had by leaving out some of got: reasons of spoilers stand there, too.
func within(got, want string) bool {
	for _, r := range want {
		_, after, ok := strings.Cut(got, string(r))
		if !ok {
			return false
		}
		got = after
	}
	return true
}

func TestFormatOnEveryLine(t *testing.T) {
	mark := func(start, end int, style string) gateway.Mark {
		return gateway.Mark{Start: start, End: end, Style: style}
	}
	alice := gateway.Person{Network: "net", ID: "alice", Name: "Alice"}
	called := func(who gateway.Person, text string) string { return "[" + who.ID + "]" }
	for _, c := range []struct {
		name  string
		text  gateway.Text
		lines []string
	}{
		{"cut", gateway.Text{Plain: strings.Repeat("word ", 10), Marks: []gateway.Mark{mark(0, 49, gateway.MarkBold)}},
			[]string{"\x02word word word word word word word\x0f", "\x02word word word\x0f"}},
		{"block", gateway.Text{Plain: "a\nb c\nd", Marks: []gateway.Mark{mark(0, 5, gateway.MarkBlock)}}, []string{"\x11a\x0f", "\x11b c\x0f", "d"}},
		{"spoiler", gateway.Text{Plain: "it was 7 of 9", Marks: []gateway.Mark{{Start: 7, End: 8, Style: gateway.MarkSpoiler, Arg: "who"}}},
			[]string{"it was (spoiler: who) \x0301,017\x0f of 9"}},
		{"bold goes on behind a spoiler", gateway.Text{Plain: "ab1", Marks: []gateway.Mark{mark(0, 3, gateway.MarkBold), mark(0, 2, gateway.MarkSpoiler)}}, []string{"\x02\x0301,01ab\x0f\x021\x0f"}},
		{"quote and list", gateway.Text{Plain: "q\nx\ny", Marks: []gateway.Mark{mark(0, 1, gateway.MarkQuote), mark(2, 3, gateway.MarkItem)}}, []string{"> q", "• x", "y"}},
		{"link", gateway.Text{Plain: "here", Marks: []gateway.Mark{{Start: 0, End: 4, Style: gateway.MarkLink, Arg: "https://example.org/"}}}, []string{"here (https://example.org/)"}},
		{"mention", gateway.Text{Plain: "hi Al", Marks: []gateway.Mark{{Start: 3, End: 5, Style: gateway.MarkMention, Who: alice}}}, []string{"hi [alice]"}},
	} {
		lines, _ := spoken("", rows(c.text, called), 38, 10)
		if !reflect.DeepEqual(lines, c.lines) {
			t.Errorf("%s: %q, want %q", c.name, lines, c.lines)
		}
	}
}

// TestWithoutFormatting: control characters in what we say are taken out, not passed on as codes.
func TestWithoutFormatting(t *testing.T) {
	text := gateway.Text{Plain: "\x02not\x03 ours\x01", Marks: []gateway.Mark{{Start: 0, End: 4, Style: gateway.MarkBold}}}
	if lines, _ := spoken("", rows(text, nil), 100, 10); len(lines) != 1 || lines[0] != "not ours" {
		t.Errorf("said %q: control characters are none of ours", lines)
	}
}

func FuzzReadFormat(f *testing.F) {
	for _, s := range []string{"\x0304,12red\x04ff00ff,\x02", "\x0301,01x\x03\x02\x1d\n\x0f", "\xc3\x02\xbc", "\x02a\xfcb\x02"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := readFormat(s)
		if !utf8.ValidString(got.Plain) || strings.ContainsAny(got.Plain, "\x00\x01\x02\x03\x04\x0f\x11\x16\x1d\x1e\x1f\r") || !reflect.DeepEqual(got, got.Normal()) {
			t.Fatalf("%q became %+v", s, got)
		}
		if plain := strings.TrimRight(gateway.Clean(toUTF8(stripFormat(s))), " \t\n"); !strings.Contains(s, "\n") && got.Plain != plain {
			t.Fatalf("%q became %q, without codes %q", s, got.Plain, plain)
		}
		lines, _ := spoken("", rows(got, func(_ gateway.Person, text string) string { return text }), 4000, 1<<30)
		if again := readFormat(strings.Join(lines, "\n")); texttest.Visible(again.Plain) != texttest.Visible(got.Plain) {
			t.Fatalf("%+v was written %q", got, lines)
		}
	})
}
