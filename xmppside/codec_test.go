package xmppside

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

var (
	fakePerson  = gateway.Person{Network: "xmpp", ID: "juliet@test", Name: "Juliet"}
	fakeSealing = gateway.Sealing{Protection: gateway.OMEMO}
	fakeScene   = scene{
		public: true, ref: func(id string) gateway.Ref { return gateway.Ref{Native: id} }, said: func(id string) gateway.Ref { return gateway.Ref{Native: id} },
		own: func(id string, sealed bool) gateway.Ref {
			return gateway.Ref{Native: messageAlias(aliasKind(sealed), fakePerson.ID, id)}
		},
	}
)

// TestDecode: what a stanza's content means, as an event.
func TestDecode(t *testing.T) {
	text := func(s string) gateway.Message { return gateway.Message{Text: gateway.Text{Plain: s}} }
	for _, c := range []struct {
		name, xml string
		want      gateway.Body
	}{
		{"text", `<body>a &lt;b&gt; &amp; c</body>`, text("a <b> & c")},
		{"emote", `<body>/me waves</body>`, gateway.Message{Text: gateway.Text{Plain: "waves"}, Style: gateway.StyleEmote}},
		{"control characters", "<body>a&#x202e;b\r\nc</body>", text("a\u202eb\nc")},
		{"correction", `<body>better</body><replace xmlns='urn:xmpp:message-correct:0' id='m1'/>`,
			gateway.Edit{Target: gateway.Ref{Native: "id:juliet@test\x1fm1"}, Text: gateway.Text{Plain: "better"}}},
		{"reply", `<body>yes</body><reply xmlns='urn:xmpp:reply:0' to='r@c/x' id='s9'/>`,
			gateway.Message{Text: gateway.Text{Plain: "yes"}, ReplyTo: gateway.Ref{Native: "s9"}}},
		{"reply with a quote", "<body>&gt; hällo\nyes</body><reply xmlns='urn:xmpp:reply:0' id='s9'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='8'/></fallback>",
			gateway.Message{Text: gateway.Text{Plain: "yes"}, ReplyTo: gateway.Ref{Native: "s9", Excerpt: "hällo"}}},
		{"a fallback that runs past the end", "<body>yes</body><reply xmlns='urn:xmpp:reply:0' id='s9'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='9' end='5'/></fallback>",
			gateway.Message{Text: gateway.Text{Plain: "yes"}, ReplyTo: gateway.Ref{Native: "s9"}}},
	} {
		m, err := parseMessage([]byte(`<message xmlns='jabber:component:accept' type='groupchat' id='1' from='r@c/Juliet'>`+c.xml+`</message>`), nil)
		must(t, err)
		got := decodeContent(m, "r@c")
		if ev := got.event(fakePerson, "", gateway.Sealing{}, fakeScene); !reflect.DeepEqual(ev.Body, c.want) || !got.says() {
			t.Errorf("%s: %#v, want %#v", c.name, ev.Body, c.want)
		}
	}
}

func TestDecodeEnvelope(t *testing.T) {
	parse := func(kids string) content {
		m, err := parseMessage([]byte(`<message xmlns='jabber:component:accept' type='groupchat' id='i' from='r@c/Juliet'>`+kids+`</message>`), nil)
		must(t, err)
		return decodeContent(m, "r@c")
	}
	c := parse(`<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='evil@c' id='forged'/><stanza-id xmlns='urn:xmpp:sid:0' by='R@c' id='true'/><origin-id xmlns='urn:xmpp:sid:0' id='o'/>`)
	if c.stanzaID != "true" || c.origin != "o" || c.id != "i" {
		t.Errorf("ids: %+v", c)
	}
	if got := fmt.Sprint(c.aliases("p")); got != "[id:p\x1fi id:p\x1fo]" {
		t.Errorf("aliases: %q", got)
	}
	if c := parse(`<body>x</body><delay xmlns='urn:xmpp:delay' from='r@c' stamp='2026-01-02T03:04:05Z'/>`); !c.delayed || !c.time.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("delayed: %+v", c)
	}
	if c := parse(`<body>x</body><delay xmlns='urn:xmpp:delay' from='juliet@test' stamp='2026-01-02T03:04:05Z'/>`); c.delayed {
		t.Error("somebody's own delay counts as the room's")
	}
	if c := parse(`<subject/>`); !c.subject || c.says() {
		t.Errorf("subject: %+v", c)
	}
	for _, sealed := range []string{
		`<encrypted xmlns='eu.siacs.conversations.axolotl'/>`, `<encrypted xmlns='urn:xmpp:omemo:2'/>`, `<openpgp xmlns='x'/><encryption xmlns='urn:xmpp:eme:0' namespace='x'/>`,
		`<x xmlns='jabber:x:encrypted'>abc</x>`, `<encrypted xmlns='urn:anything'/>`,
	} {
		if c := parse(`<body>a fallback</body>` + sealed); !c.sealed || c.body != "" || !c.says() {
			t.Errorf("%s: %+v", sealed, c)
		}
	}
	for _, silent := range []string{``, `<body/>`, `<composing xmlns='http://jabber.org/protocol/chatstates'/>`, `<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>`} {
		if c := parse(silent); c.says() {
			t.Errorf("%q says something", silent)
		}
	}
}

// TestFallbackOfASealedMessage: ranges outside of the ciphertext may hide quotes and nothing else.
func TestFallbackOfASealedMessage(t *testing.T) {
	cut := func(start, end int) []*node {
		return []*node{el(nsFallback, "fallback", "for", nsReply).add(el(nsFallback, "body", "start", fmt.Sprint(start), "end", fmt.Sprint(end)))}
	}
	for _, c := range []struct {
		body       string
		start, end int
		want       string
	}{
		{"> quoted\nno", 0, 9, "no"},
		{"do not attack", 3, 7, "do not attack"},
		{"do not attack", 0, 7, "do not attack"},
		{"> q\nreal", 0, 8, "real"},
		{"> q\nreal", 2, 4, "> q\nreal"},
	} {
		if got := without(gateway.Text{Plain: c.body}, fallbackOf(c.body, cut(c.start, c.end), true)).Plain; got != c.want {
			t.Errorf("%q without %d to %d: %q, want %q", c.body, c.start, c.end, got, c.want)
		}
	}
}

// TestEncode: what is written, byte for byte.
func TestEncode(t *testing.T) {
	text := gateway.Text{Plain: "a <b> & 'c'\x00"}
	for _, c := range []struct {
		m            gateway.Message
		prefix, want string
	}{
		{gateway.Message{Text: text}, "", "a &lt;b&gt; &amp; &#39;c&#39;\uFFFD"},
		{gateway.Message{Text: text}, "Alice", "&lt;Alice&gt; a &lt;b&gt; &amp; &#39;c&#39;\uFFFD"},
		{gateway.Message{Text: text, Style: gateway.StyleEmote}, "", "/me a &lt;b&gt; &amp; &#39;c&#39;\uFFFD"},
		{gateway.Message{Text: text, Style: gateway.StyleEmote}, "Alice", "* Alice a &lt;b&gt; &amp; &#39;c&#39;\uFFFD"},
		{gateway.Message{Text: text, Style: gateway.StyleNotice}, "", "a &lt;b&gt; &amp; &#39;c&#39;\uFFFD"},
	} {
		u := encodeMessage(c.m, phrasing{prefix: c.prefix})
		got := string(roomMessage("r@c", "p@b", keyA, u.plain...).bytes())
		want := "<message type='groupchat' id='" + keyA + "' from='p@b/lockbridge' to='r@c'><body>" + c.want + "</body><origin-id xmlns='urn:xmpp:sid:0' id='" + keyA + "'/></message>"
		if got != want {
			t.Errorf("wrote %s\nwant  %s", got, want)
		}
		back, err := parseNode([]byte(got))
		must(t, err)
		if back.child("", "body").text != strings.ReplaceAll(u.legacy, "\x00", "\uFFFD") {
			t.Errorf("read back as %q", back.child("", "body").text)
		}
	}
}

func TestPuppetAddresses(t *testing.T) {
	for _, c := range []struct{ network, id, want string }{
		{"matrix", "@alice:example.org", `alice\3aexample.org%matrix@bridge.test`},
		{"libera", "nick", "nick%libera@bridge.test"},
		{"libera", "ni[ck]`|", "ni[ck]`|%libera@bridge.test"},
		{"libera", "#chan", "_#chan%libera@bridge.test"},
		{"matrix", "@a%b@c:d", `a%b\40c\3ad%matrix@bridge.test`},
	} {
		got, err := puppetJID(gateway.Person{Network: c.network, ID: c.id}, "bridge.test", 0)
		if err != nil || got != c.want {
			t.Errorf("%s on %s: %q, %v; want %q", c.id, c.network, got, err, c.want)
		}
	}
	for _, id := range []string{strings.Repeat("x", 2000), "\x00", "\u202e", " ", "a\tb", ""} {
		got, err := puppetJID(gateway.Person{Network: "matrix", ID: id}, "bridge.test", 0)
		if err != nil || normalBare(got) != got || !strings.HasSuffix(got, "%matrix@bridge.test") {
			t.Errorf("%q: %q, %v", id, got, err)
		}
	}
}

func TestNicks(t *testing.T) {
	p := gateway.Person{Network: "matrix", ID: "@alice:test"}
	for _, c := range []struct {
		name  string
		taken []string
		want  string
	}{
		{"Alice", nil, "Alice"},
		{"Alice", []string{"Alice"}, "Alice [matrix]"},
		{"Alice", []string{"alice "}, "Alice [matrix]"},
		{"Alice", []string{"Аliсe"}, "Alice [matrix]"}, // Cyrillic
		{"Alice", []string{"A l i c e", "Alice[matrix]"}, "Alice [matrix 2]"},
		{"Ａｌｉｃｅ", []string{"Alice"}, "Ａｌｉｃｅ [matrix]"},
		{"\u202eecilA\u202c", nil, "ecilA"},
		{"two\nlines", nil, "two lines"},
		{"", nil, "alicetest"},
		{"\x00\x01", nil, "alicetest"},
		{"👍", []string{"👎"}, "👍"},
		{"a/b@c", nil, "a/b@c"},
	} {
		if got := pickNick(c.name, p, false, c.taken, 0); got != c.want {
			t.Errorf("%q beside %q: %q, want %q", c.name, c.taken, got, c.want)
		}
	}
	if got := pickNick("Alice", p, false, nil, 1); got != "Alice [matrix]" {
		t.Errorf("after a conflict: %q", got)
	}
}

// block is a config block of a test.
type block func(any)

func (b block) Decode(into any) []gateway.Problem {
	b(into)
	return nil
}

func TestConfigProblemsComeAllAtOnce(t *testing.T) {
	good := func(c *Config) { c.Component, c.Secret = "bridge.example.org", "x" }
	for _, c := range []struct {
		name string
		edit func(*Config)
		want string
	}{
		{"good", good, ""},
		{"nothing", func(*Config) {}, "component secret"},
		{"everything", func(c *Config) {
			*c = Config{Component: "a@b", Server: "x", Nick: "a b", Upload: "@", OMEMO: OMEMO{Versions: []string{"3"}, Trust: "none"}}
		}, "component server secret nick upload omemo.versions omemo.versions omemo.trust"},
		{"a nick like a puppet", func(c *Config) { good(c); c.Nick = "x%matrix" }, "nick"},
		{"verified only", func(c *Config) { good(c); c.OMEMO.Trust = trustVerified }, ""},
		{"pins", func(c *Config) {
			good(c)
			c.OMEMO.Pins = map[string][]string{"Juliet@example.org": {strings.Repeat("0a", 32), "05 " + strings.Repeat("0B", 32)}}
		}, ""},
		{"pins that are none", func(c *Config) {
			good(c)
			c.OMEMO.Pins = map[string][]string{"example.org": nil, "juliet@example.org": {strings.Repeat("0a", 32), "0a"}, "romeo@example.org/x": nil}
		}, "omemo.pins.example.org omemo.pins.juliet@example.org.1 omemo.pins.romeo@example.org/x"},
		{"two", func(c *Config) { good(c); c.OMEMO.Versions = []string{"legacy", "omemo:2"} }, ""},
	} {
		_, problems := Parse(block(func(into any) { c.edit(into.(*Config)) }))
		var keys []string
		for _, p := range problems {
			keys = append(keys, p.Key)
			if p.Remedy == "" {
				t.Errorf("%s: %v has no remedy", c.name, p)
			}
		}
		if got := strings.Join(keys, " "); got != c.want {
			t.Errorf("%s: problems with %q, want %q", c.name, got, c.want)
		}
	}
}
