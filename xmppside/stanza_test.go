package xmppside

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const streamHead = `<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='1' note='a>b'>`

// frames splits a stream; the error is io.EOF at a proper end.
func frames(r io.Reader, limit int) ([]frame, error) {
	var out []frame
	f := newFramer(r, limit)
	for {
		fr, err := f.next()
		if err != nil {
			return out, err
		}
		out = append(out, fr)
	}
}

func TestFramer(t *testing.T) {
	stanzas := []string{
		`<message to="a" note='>'><body>a &lt; b > c</body></message>`,
		`<presence/>`,
		`<iq type='get'><a><b x="/>"/></a></iq>`,
		`<message><body><![CDATA[</message>]]]]></body></message>`,
		`<message><message><message/></message></message>`,
		`<stream:error><x/></stream:error>`,
	}
	stream := streamHead + "\n " + strings.Join(stanzas, " \n") + "</stream:stream>"
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(stream), "bytewise": iotest.OneByteReader(strings.NewReader(stream))} {
		got, err := frames(r, 1000)
		if err != io.EOF || len(got) != len(stanzas)+2 {
			t.Fatalf("%s: %d frames, %v", name, len(got), err)
		}
		if string(got[0].raw) != streamHead || got[0].kind != frameOpen || got[len(got)-1].kind != frameClose {
			t.Errorf("%s: first %q, last %q", name, got[0].raw, got[len(got)-1].raw)
		}
		for i, want := range stanzas {
			if fr := got[i+1]; string(fr.raw) != want || fr.kind != frameChild || fr.long {
				t.Errorf("%s: frame %d is %q, want %q", name, i, fr.raw, want)
			}
		}
	}
}

func TestFramerSkipsWhatIsTooLong(t *testing.T) {
	long := `<message from='x' to="y"><body>` + strings.Repeat("<b>x</b>", 5000) + `</body></message>`
	got, err := frames(strings.NewReader(streamHead+long+"<presence/></stream:stream>"), 1000)
	if err != io.EOF || len(got) != 4 {
		t.Fatalf("%d frames, %v", len(got), err)
	}
	if !got[1].long || string(got[1].raw) != `<message from='x' to="y"/>` {
		t.Errorf("the long one: %v %q", got[1].long, got[1].raw)
	}
	if string(got[2].raw) != "<presence/>" {
		t.Errorf("after it: %q", got[2].raw)
	}
}

func TestFramerRefusesWhatXMPPForbids(t *testing.T) {
	for _, bad := range []string{"<!-- x -->", "<?php ?>", "<!DOCTYPE x>", "<message><!-- --></message>", "<message><![CDATX[]]></message>"} {
		if _, err := frames(strings.NewReader(streamHead+bad), 1000); err != errRestricted {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := frames(strings.NewReader(streamHead+"<message><body>"), 1000); err != io.ErrUnexpectedEOF {
		t.Errorf("broken off: %v", err)
	}
}

// FuzzFramer asks that a stream is split alike however it arrives, and where encoding/xml would split it.
func FuzzFramer(f *testing.F) {
	f.Add([]byte(`<message to="a"><body>x</body></message><presence/>`))
	f.Add([]byte(`<a b='">'/><c><![CDATA[>]]></c>`))
	f.Add([]byte(`<a><b></a></b>`))
	f.Add([]byte(`</a><`))
	f.Fuzz(func(t *testing.T, stanzas []byte) {
		stream := append(append([]byte(streamHead), stanzas...), "</stream:stream>"...)
		whole, err1 := frames(bytes.NewReader(stream), 1<<16)
		split, err2 := frames(iotest.HalfReader(bytes.NewReader(stream)), 1<<16)
		if (err1 == nil) != (err2 == nil) || len(whole) != len(split) {
			t.Fatalf("%d frames (%v), and %d (%v) in pieces", len(whole), err1, len(split), err2)
		}
		for i := range whole {
			if !bytes.Equal(whole[i].raw, split[i].raw) {
				t.Fatalf("frame %d: %q and %q", i, whole[i].raw, split[i].raw)
			}
		}
		if want, ok := reference(stream); ok {
			var got []string
			for _, fr := range whole {
				if fr.kind == frameChild {
					got = append(got, string(fr.raw))
				}
			}
			if strings.Join(got, "\x00") != strings.Join(want, "\x00") {
				t.Fatalf("split into %q, want %q", got, want)
			}
		}
	})
}

// reference splits a well-formed stream by encoding/xml; false if it is not one that XMPP allows.
func reference(stream []byte) ([]string, bool) {
	d := xml.NewDecoder(bytes.NewReader(stream))
	var out []string
	var begin int64
	depth := 0
	for {
		before := d.InputOffset()
		tok, err := d.RawToken()
		if err == io.EOF {
			return out, depth == 0
		}
		if err != nil {
			return nil, false
		}
		switch tok.(type) {
		case xml.StartElement:
			if depth == 1 {
				begin = before
			}
			depth++
		case xml.EndElement:
			depth--
			if depth == 1 {
				out = append(out, string(stream[begin:d.InputOffset()]))
			}
			if depth == 0 && d.InputOffset() != int64(len(stream)) {
				return nil, false
			}
		case xml.Comment, xml.Directive:
			return nil, false
		case xml.ProcInst:
			if depth > 0 {
				return nil, false
			}
		case xml.CharData:
			if depth == 1 && bytes.Contains(stream[before:d.InputOffset()], []byte("<![CDATA[")) {
				return nil, false
			}
		}
	}
}

// FuzzParseMessage asks that nothing panics on what a stanza may hold, and that what was decoded can be written and
// decoded again.
func FuzzParseMessage(f *testing.F) {
	f.Add([]byte(`<message xmlns='jabber:component:accept' from='r@c/n' type='groupchat'><body>x</body><encrypted xmlns='eu.siacs.conversations.axolotl'><header/></encrypted></message>`))
	f.Add([]byte(`<message><x:encrypted xmlns:x='eu.siacs.conversations.axolotl'/><a b='&amp;'>c</a></message>`))
	f.Add([]byte(`<presence xmlns='a' xmlns:b='c'><b:x/></presence>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseMessage(raw, nil)
		if err != nil {
			return
		}
		c := decodeContent(m, "r@c")
		_ = c.native(m)
		_ = c.aliases("somebody")
		_ = c.event(fakePerson, "", fakeSealing, fakeScene)
		n, err := parseNode(raw)
		if err != nil {
			return
		}
		once := n.append(nil, "")
		again, err := parseNode(once)
		if err != nil {
			return // a name that is none without its prefix
		}
		if twice := again.append(nil, ""); !bytes.Equal(once, twice) {
			t.Fatalf("%q became %q", once, twice)
		}
	})
}

// FuzzParse compares with encoding/xml: what both take means the same, and what encoding/xml refuses is refused.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`<a/>`, `<a b='c'>d<e/>f</a>`, `<m xmlns='x' xmlns:y='z'><y:b y:c='d' xml:lang='de'/><b>&lt;&#65;&#x42;&amp;<![CDATA[<c>]]></b></m>`, "<a>\r\n\r</a>", `<a b="'>" c='"'/>`,
		`<a><b></a></b>`, `<a>&nope;</a>`, `<a b=c/>`, `<a>&#0;</a>`, "<a>\x01</a>", `<x:a/>`, `<a xmlns=''><b xmlns='c'><d/></b></a>`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseNode(raw)
		if err != nil {
			return
		}
		want, err := decodeNode(xml.NewDecoder(bytes.NewReader(raw)))
		if err != nil {
			if strings.Contains(err.Error(), "invalid XML name") || strings.Contains(err.Error(), "expected element") || strings.Contains(err.Error(), "expected attribute") {
				return // which names are legal is no concern of ours
			}
			t.Fatalf("encoding/xml refuses %q: %v", raw, err)
		}
		if a, b := got.append(nil, ""), want.append(nil, ""); !bytes.Equal(a, b) {
			t.Fatalf("%q is %q, encoding/xml says %q", raw, a, b)
		}
	})
}
