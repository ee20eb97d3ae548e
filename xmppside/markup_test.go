package xmppside

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"lockbridge/gateway"
	"lockbridge/gateway/texttest"
)

// shown writes a text with its marks in angle brackets, for a test to compare.
func shown(t gateway.Text) string {
	t = t.Normal()
	var b strings.Builder
	for i := range len(t.Plain) + 1 {
		for k := len(t.Marks) - 1; k >= 0; k-- {
			if t.Marks[k].End == i {
				b.WriteString("</" + t.Marks[k].Style + ">")
			}
		}
		for _, m := range t.Marks {
			if m.Start == i {
				b.WriteString("<" + m.Style)
				if m.Arg != "" {
					b.WriteString(" " + m.Arg)
				}
				b.WriteString(">")
			}
		}
		if i < len(t.Plain) {
			b.WriteByte(t.Plain[i])
		}
	}
	return b.String()
}

// TestStylingIsRead: XEP-0393, its examples among them in words of our own.
func TestStylingIsRead(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                             "plain",
		"*strong* and _emph_ and ~struck~":  "<bold>strong</bold> and <italic>emph</italic> and <strike>struck</strike>",
		"`code *not strong*` x":             "<code>code *not strong*</code> x",
		"*a _b_ c*":                         "<bold>a <italic>b</italic> c</bold>",
		"*_~`x`~_*":                         "<bold><italic><strike><code>x</code></strike></italic></bold>",
		"a*b*c":                             "a*b*c",
		"*b*c":                              "<bold>b</bold>c",
		"* not *":                           "* not *",
		"* item":                            "* item",
		"*not\nover lines*":                 "*not\nover lines*",
		"**":                                "**",
		"***":                               "<bold>*</bold>",
		"*a *b*":                            "<bold>a *b</bold>",
		"2 * 3 * 4":                         "2 * 3 * 4",
		"snake_case_name":                   "snake_case_name",
		"> quoted\n> *more*\nmine":          "<quote>quoted\n<bold>more</bold></quote>\nmine",
		">> deep\n> less\nnone":             "<quote><quote>deep</quote>\nless</quote>\nnone",
		"> > deep":                          "<quote><quote>deep</quote></quote>",
		"```\nlet x = *y*\n```\nafter":      "<block>let x = *y*</block>\nafter",
		"```go\nx\n```":                     "<block go>x</block>",
		"```\nopen":                         "<block>open</block>",
		"```not a language\nx\n```":         "```not a language\nx\n```",
		"```":                               "```",
		"> ```\n> code\n> ```\nafter":       "<quote><block>code</block></quote>\nafter",
		"> ```\n> code\nafter":              "<quote><block>code</block></quote>\nafter",
		"*ü* 日_本_ _本_":                      "<bold>ü</bold> 日_本_ <italic>本</italic>",
		strings.Repeat(">", 1000) + " far":  "<quote><quote><quote><quote>far</quote></quote></quote></quote>",
		strings.Repeat("> ", 1000) + "far.": "<quote><quote><quote><quote>far.</quote></quote></quote></quote>",
		">\n> x":                            "<quote>\nx</quote>",
	} {
		if got := shown(styled(gateway.Text{Plain: in})); got != want {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
}

// TestMarkupIsRead: XEP-0394, with ranges that are none.
func TestMarkupIsRead(t *testing.T) {
	for _, c := range []struct{ body, markup, want string }{
		{"no reason to worry", `<span start='3' end='9'><emphasis/></span>`, "no <italic>reason</italic> to worry"},
		{"ünicode ist da", `<span start='8' end='11'><strong/><deleted/></span>`, "ünicode <bold><strike>ist</strike></bold> da"},
		{"a 👍 b", `<span start='4' end='5'><code/></span>`, "a 👍 <code>b</code>"},
		{"run this:\n$ ls", `<bcode start='10' end='14' language='sh'/>`, "run this:\n<block sh>$ ls</block>"},
		{"she:\n> no\n> way\nhm", `<bquote start='5' end='15'/>`, "she:\n<quote>no\nway</quote>\nhm"},
		{"she:\nno\nhm", `<bquote start='5' end='7'/>`, "she:\n<quote>no</quote>\nhm"},
		{"do:\n* this\n* that", `<list start='4' end='17'><li start='4'/><li start='11'/></list>`, "do:\n<item>this</item>\n<item>that</item>"},
		{"1. a\n2. b", `<list start='0' end='9'><li start='0'/><li start='5'/></list>`, "<item 1>a</item>\n<item 2>b</item>"},
		{"*signs* stay", `<span start='8' end='12'><strong/></span>`, "*signs* <bold>stay</bold>"},
		{"beyond", `<span start='2' end='7'><strong/></span>`, "beyond"},
		{"negative", `<span start='-1' end='3'><strong/></span>`, "negative"},
		{"backwards", `<span start='5' end='2'><strong/></span>`, "backwards"},
		{"huge", `<span start='0' end='2147483648'><strong/></span><span start='0' end='99999999999999999999'><strong/></span>`, "huge"},
		{"crossing words", `<span start='0' end='8'><strong/></span><span start='4' end='14'><emphasis/></span>`, "<bold>cros<italic>sing</bold> words</italic>"},
		{"items nowhere", `<list start='0' end='5'><li start='9'/><li/><li start='-3'/></list>`, "items nowhere"},
	} {
		markup, err := parseNode([]byte(`<markup xmlns='urn:xmpp:markup:0'>` + c.markup + `</markup>`))
		must(t, err)
		if got := shown(markedUp(c.body, markup)); got != c.want {
			t.Errorf("%q with %s\n got %q\nwant %q", c.body, c.markup, got, c.want)
		}
	}
}

func markedUp(body string, markup *node) gateway.Text {
	marks, cuts := marked(body, markup)
	return without(gateway.Text{Plain: body, Marks: marks}, disjoint(cuts))
}

// TestStylingIsWritten: what has a sign, and what has none.
func TestStylingIsWritten(t *testing.T) {
	m := func(start, end int, style string, arg ...string) gateway.Mark {
		return gateway.Mark{Start: start, End: end, Style: style, Arg: strings.Join(arg, "")}
	}
	for _, c := range []struct {
		text gateway.Text
		want string
	}{
		{gateway.Text{Plain: "plain"}, "plain"},
		{gateway.Text{Plain: "*not meant*"}, "*not meant* (unstyled)"},
		{gateway.Text{Plain: "> not meant"}, "> not meant (unstyled)"},
		{gateway.Text{Plain: "bold and both", Marks: []gateway.Mark{m(0, 13, "bold"), m(9, 13, "italic")}}, "*bold and _both_*"},
		{gateway.Text{Plain: "inside", Marks: []gateway.Mark{m(2, 4, "bold")}}, "inside"},
		{gateway.Text{Plain: "cross over here", Marks: []gateway.Mark{m(0, 10, "bold"), m(6, 15, "italic")}}, "*cross over* here"},
		{gateway.Text{Plain: "a\nb", Marks: []gateway.Mark{m(0, 3, "bold")}}, "*a*\n*b*"},
		{gateway.Text{Plain: "under", Marks: []gateway.Mark{m(0, 5, "underline")}}, "under"},
		{gateway.Text{Plain: "here", Marks: []gateway.Mark{m(0, 4, "link", "https://example.org/")}}, "here (https://example.org/)"},
		{gateway.Text{Plain: "one\ntwo", Marks: []gateway.Mark{m(0, 3, "item"), m(4, 7, "item", "2")}}, "• one\n2. two"},
		{gateway.Text{Plain: "said\nme", Marks: []gateway.Mark{m(0, 4, "quote"), m(0, 4, "quote")}}, "> > said\nme"},
		{gateway.Text{Plain: "x := 1\ny", Marks: []gateway.Mark{m(0, 8, "block", "go")}}, "```go\nx := 1\ny\n```"},
		{gateway.Text{Plain: "a\n```\nb", Marks: []gateway.Mark{m(0, 7, "block")}}, "a\n```\nb (unstyled)"},
		{gateway.Text{Plain: "it was him", Marks: []gateway.Mark{m(7, 10, "spoiler", "the end")}}, "it was (spoiler: the end) him"},
	} {
		w := writeStyled("", c.text)
		if w.unstyled {
			w.body += " (unstyled)"
		}
		if w.body != c.want {
			t.Errorf("%s\n got %q\nwant %q", shown(c.text), w.body, c.want)
		}
	}
}

// TestMentionsAreCounted: in code points of the body as it is written.
func TestMentionsAreCounted(t *testing.T) {
	text := gateway.Text{Plain: "grüß Bob, äh: Bob", Marks: []gateway.Mark{
		{Start: 0, End: 11, Style: gateway.MarkBold}, {Start: 7, End: 10, Style: gateway.MarkMention, Who: fakePerson},
	}}
	w := writeStyled("<ä> ", text)
	if got := fmt.Sprint(w.body, w.mentions); got != "<ä> *grüß Bob,* äh: Bob[{{xmpp juliet@test Juliet } 10 13}]" {
		t.Error(got)
	}
}

// styling are the marks that both XEP-0393 and our texts have.
var stylingStyles = []string{gateway.MarkBold, gateway.MarkItalic, gateway.MarkStrike, gateway.MarkCode, gateway.MarkBlock, gateway.MarkQuote}

// TestStylingLosesNothing: what was written is read again as what it was.
func TestStylingLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := texttest.Text(stylingStyles...).Draw(t, "text")
		w := writeStyled("", text)
		if back := styled(gateway.Text{Plain: w.body}); shown(back) != shown(text) {
			t.Fatalf("%q written as\n%q read as\n%q", shown(text), w.body, shown(back))
		}
	})
}

// TestStylingLosesNoWords: whatever the text.
func TestStylingLosesNoWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := texttest.Wild(texttest.Styles()...).Draw(t, "text")
		flat := text.Without(gateway.MarkUnderline, gateway.MarkLink, gateway.MarkItem, gateway.MarkSpoiler)
		w := writeStyled("", text)
		left := texttest.Visible(w.body)
		for _, r := range texttest.Visible(flat.Plain) {
			_, after, found := strings.Cut(left, string(r))
			if !found {
				t.Fatalf("%q is written as %q, without %q", shown(text), w.body, r)
			}
			left = after
		}
		for _, m := range w.mentions {
			if m.begin >= m.end || m.end > utf8.RuneCountInString(w.body) {
				t.Fatalf("%q: a mention from %d to %d", w.body, m.begin, m.end)
			}
		}
	})
}

// TestHostileStylingTakesNoTime: all of it is read in the time that a megabyte takes.
func TestHostileStylingTakesNoTime(t *testing.T) {
	for name, text := range map[string]string{
		"signs": strings.Repeat("*", gateway.MaxText), "signs with spaces": strings.Repeat("* ", gateway.MaxText/2), "openers": strings.Repeat(" *a", gateway.MaxText/3),
		"all kinds": strings.Repeat("*_~`", gateway.MaxText/4), "spans": strings.Repeat("*a* ", gateway.MaxText/4), "quotes": strings.Repeat(">", gateway.MaxText),
		"quoted lines": strings.Repeat("> > > > > >\n", gateway.MaxText/12), "fences": strings.Repeat("```\n", gateway.MaxText/4),
	} {
		began := time.Now()
		back := styled(gateway.Text{Plain: text}).Normal()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: %v", name, took)
		}
		if len(back.Marks) > gateway.MaxMarks || name == "spans" && back.Plain != text {
			t.Errorf("%s: %d marks, %d bytes", name, len(back.Marks), len(back.Plain))
		}
	}
}

func FuzzStyling(f *testing.F) {
	for _, s := range []string{"*a _b_ c*", "> > q\n> ```\n> x\n> ```", "```go\nx\n```", "***", "`a` *b*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = gateway.Clean(s)
		back := styled(gateway.Text{Plain: s}).Normal()
		for _, m := range back.Marks {
			if m.Start < 0 || m.End > len(back.Plain) || m.Start >= m.End {
				t.Fatalf("%q: %+v", s, m)
			}
		}
		again := writeStyled("", back)
		if !utf8.ValidString(again.body) {
			t.Errorf("%q: wrote %q", s, again.body)
		}
	})
}

func FuzzMarkup(f *testing.F) {
	f.Add("a *body*\n> q", `<span start='1' end='3'><strong/></span><bquote start='0' end='4'/><list start='0' end='9'><li start='2'/></list>`)
	f.Fuzz(func(t *testing.T, body, markup string) {
		n, err := parseNode([]byte("<markup xmlns='urn:xmpp:markup:0'>" + markup + "</markup>"))
		if err != nil {
			return
		}
		back := markedUp(gateway.Clean(body), n).Normal()
		for _, m := range back.Marks {
			if m.Start < 0 || m.End > len(back.Plain) || m.Start >= m.End {
				t.Fatalf("%q: %+v", body, m)
			}
		}
	})
}
