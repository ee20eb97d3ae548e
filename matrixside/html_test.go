package matrixside

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"maunium.net/go/mautrix/id"
	"pgregory.net/rapid"

	"lockbridge/gateway"
	"lockbridge/gateway/texttest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// knownAs knows a few users by name.
func knownAs(mxid id.UserID) gateway.Person {
	switch mxid {
	case "@alice:example.org":
		return gateway.Person{Network: "matrix", ID: string(mxid), Name: "Alice"}
	case "@lb_xmpp_bob=40example.org:example.org":
		return gateway.Person{Network: "xmpp", ID: "bob@example.org", Name: "Bob"}
	case "@lb_libera_carol:example.org":
		return gateway.Person{Network: "libera", ID: "carol", Name: "carol"}
	case "@lockbridge:example.org":
		return gateway.Person{}
	}
	return gateway.Person{Network: "matrix", ID: string(mxid), Name: gateway.CleanName(mxid.Localpart())}
}

// richEncoder writes for a room in which everybody's ghost is.
func richEncoder() encoder {
	names := newNaming(Config{Domain: "example.org", UserPrefix: "lb_", Nick: "lockbridge"})
	return encoder{network: "matrix", pill: func(p gateway.Person) id.UserID {
		if p.Network == "matrix" {
			return id.UserID(p.ID)
		}
		return names.ghost(p)
	}}
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if got != string(want) {
		t.Errorf("%s differs:\n%s", name, got)
	}
}

// htmlIn are formatted bodies as clients write them, and as nobody should.
var htmlIn = []struct{ name, source string }{
	{"inline", `a <b>bold</b> <strong>and</strong> <em>so</em> <i>on</i>, <u>under</u>, <del>gone</del> <s>too</s>, <code>x &lt; y</code>`},
	{"nested", `<strong>bold <em>both</em></strong> plain`},
	{"paragraphs", "<p>one</p>\n<p>two<br>lines</p>\n"},
	{"quote and answer", "<blockquote>\n<p>said</p>\n<blockquote>before</blockquote>\n</blockquote>\n<p>yes</p>"},
	{"code block", "<pre><code class=\"language-go\">func main() {\n\t// <p>\n}\n</code></pre>\nafter"},
	{"lists", "<ul>\n<li>one</li>\n<li>two<ol start=\"3\"><li>in</li><li>it</li></ol></li>\n</ul>"},
	{"lists without ends", "<ul><li>one<li>two<ol><li>in<li>it</ol>more<li>three</ul>"},
	{"a table without ends", "<table><tr><td>1<td>2<tr><td>3<td>4</table>"},
	{"heading", "<h1>Title</h1>text"},
	{"links", `<a href="https://example.org/?a=1&amp;b=2">here</a> <a href="javascript:alert(1)">there</a> <a href="data:text/html,x">too</a> <a href="https://matrix.to/#/#room:example.org">#room</a>`},
	{"pills", `<a href="https://matrix.to/#/@alice:example.org">Alice</a>: and <a href="https://matrix.to/#/%40lb_xmpp_bob%3D40example.org%3Aexample.org">the president</a> and <a href="matrix:u/carl:example.org?action=chat">@room</a>`},
	{"pills that are none", `<a href="https://matrix.to/#/@room">@room</a> <a href="https://matrix.to/#/@lockbridge:example.org">bridge</a>`},
	{"a pill with no end", `<a href="https://matrix.to/#/@alice:example.org">x<p>the rest</p>`},
	{"spoilers", `<span data-mx-spoiler>one</span> <span data-mx-spoiler="the end">two</span>`},
	{"table", "<table>\n<thead><tr><th>a</th><th>b</th></tr></thead>\n<tbody><tr><td>1</td><td>2</td></tr></tbody></table>"},
	{"pictures", `<img data-mx-emoticon alt=":cat:" src="mxc://x/y"> <img src="x">`},
	{"rule", "one<hr>two"},
	{"scripts", `a<script>alert("</p>")</script><style>p{}</style><!-- no -->b<title>no</title>c`},
	{"unclosed", "<b>bold <i>both <blockquote>quote"},
	{"wrong ends", "</p></b>one</blockquote> <b>two</i> three</b>"},
	{"plaintext", "a <plaintext><b>b</b>"},
	{"bidi in a link", "<a href=\"https://example.org/\u202egpj\">x</a>"},
	{"entities", "&amp;amp; &nbsp;&#x41;&#0;&#xD800;&notanentity;"},
	{"a fallback in the middle", "one <mx-reply>two</mx-reply> three"},
	{"white space", "<p>\n  a\n  b  c\n</p>   <p>d</p>"},
}

func TestHTMLIn(t *testing.T) {
	var b strings.Builder
	for _, c := range htmlIn {
		text, ok := readHTML(c.source, false, knownAs)
		raw, err := json.MarshalIndent(text.Marks, "", " ")
		must(t, err)
		fmt.Fprintf(&b, "=== %s (%v)\n%s\n---\n%s\n--- %s\n", c.name, ok, c.source, text.Plain, raw)
		if again := text.Normal(); !reflect.DeepEqual(again, text) {
			t.Errorf("%s is not normal", c.name)
		}
	}
	golden(t, "html-in.golden", b.String())
}

func TestHTMLOut(t *testing.T) {
	var b strings.Builder
	for _, c := range htmlIn {
		text, _ := readHTML(c.source, false, knownAs)
		body, formatted := testEncoder.render(text)
		fmt.Fprintf(&b, "=== %s\n%s\n---\n%s\n", c.name, formatted, body)
	}
	golden(t, "html-out.golden", b.String())
}

func TestAReplysFallbackIsLeftOut(t *testing.T) {
	const source = `<mx-reply><blockquote><a href="x">In reply to</a> <b>y</b><br>q</blockquote></mx-reply>an <b>answer</b>`
	if got, _ := readHTML(source, true, knownAs); got.Plain != "an answer" || len(got.Marks) != 1 {
		t.Errorf("read %+v", got)
	}
	if got, _ := readHTML("one <mx-reply>two</mx-reply>", true, knownAs); got.Plain != "one two" {
		t.Errorf("read %+v", got)
	}
	if _, ok := readHTML("<mx-reply>all of it", true, knownAs); ok {
		t.Error("a fallback that never ends was read")
	}
}

func TestHostileHTML(t *testing.T) {
	begin := time.Now()
	for name, source := range map[string]string{
		"large":          strings.Repeat("x", 10<<20),
		"deep":           strings.Repeat("<div>", 100_000),
		"deep, to read":  strings.Repeat("<b>", 10_000) + "x",
		"many marks":     strings.Repeat("<b>x</b>", 8_000),
		"quotes":         strings.Repeat("<blockquote>", 3_000) + "x",
		"ends":           "<b>" + strings.Repeat("</i>", 12_000) + "x",
		"a table bomb":   strings.Repeat("<table><tr><td>", 3_000),
		"an entity bomb": strings.Repeat("&NotGreaterFullEqual;", 3_000),
		"items":          "<ol start=2147483647>" + strings.Repeat("<li>x", 8_000),
		"attributes":     "<a " + strings.Repeat(`href="https://x" `, 3_000) + ">x</a>",
	} {
		got, ok := readHTML(source, true, knownAs)
		if ok && (len(got.Plain) > gateway.MaxText || len(got.Marks) > gateway.MaxMarks) {
			t.Errorf("%s: %d bytes, %d marks", name, len(got.Plain), len(got.Marks))
		}
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestHTMLKeepsWhatATextSays(t *testing.T) {
	enc := richEncoder()
	rapid.Check(t, func(t *rapid.T) {
		want := texttest.Text(texttest.Styles()...).Draw(t, "text")
		_, formatted := enc.render(want)
		if len(want.Marks) == 0 {
			return
		}
		got, ok := readHTML(formatted, false, knownAs)
		if !ok || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\nread as %+v\nwant    %+v", formatted, got, want)
		}
	})
}

func TestHTMLLosesNoRune(t *testing.T) {
	enc := richEncoder()
	rapid.Check(t, func(t *rapid.T) {
		text := texttest.Wild(texttest.Styles()...).Draw(t, "text")
		for i := range text.Marks {
			if text.Marks[i].Style == gateway.MarkMention { // its name stands for it
				text.Marks[i].Style = "none"
			}
		}
		text = text.Normal()
		body, formatted := enc.render(text)
		if formatted == "" {
			return
		}
		got, ok := readHTML(formatted, false, knownAs)
		if !ok {
			got.Plain = body
		}
		if ok && !reflect.DeepEqual(got, text) {
			t.Fatalf("%s\nread as %+v\nwant    %+v", formatted, got, text)
		}
		if texttest.Visible(text.Plain) != texttest.Visible(got.Plain) && ok {
			t.Fatalf("%q became %q", text.Plain, got.Plain)
		}
	})
}

func FuzzHTML(f *testing.F) {
	for _, c := range htmlIn {
		f.Add(c.source, false)
	}
	f.Add("<mx-reply>x</mx-reply>y", true)
	f.Fuzz(func(t *testing.T, source string, reply bool) {
		text, ok := readHTML(source, reply, knownAs)
		if !ok {
			return
		}
		if text.Plain != gateway.Clean(text.Plain) || !utf8.ValidString(text.Plain) || len(text.Plain) > gateway.MaxText {
			t.Errorf("%q is not clean", text.Plain)
		}
		if again := text.Normal(); !reflect.DeepEqual(again, text) {
			t.Errorf("%+v is not normal", text)
		}
		richEncoder().render(text)
	})
}

// TestManyNamesAreAskedForNoMore: a text with so many marks has none, and each name costs a look into the database.
func TestManyNamesAreAskedForNoMore(t *testing.T) {
	asked := 0
	source := strings.Repeat(`<a href="https://matrix.to/#/@lb_irc_x:example.org">x</a> `, 1000)
	text, ok := readHTML(source, false, func(id.UserID) gateway.Person {
		asked++
		return gateway.Person{Network: "irc", ID: "x", Name: "x"}
	})
	if want := strings.TrimSpace(strings.Repeat("x ", 1000)); !ok || strings.TrimSpace(text.Plain) != want || len(text.Marks) != 0 {
		t.Errorf("read %d bytes with %d marks", len(text.Plain), len(text.Marks))
	}
	if asked > gateway.MaxMarks+1 {
		t.Errorf("asked %d times", asked)
	}
}
