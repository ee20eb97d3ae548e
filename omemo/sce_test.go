package omemo

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// envelope makes an <envelope/> element with content and affixes.
func envelope(content, affixes string) string {
	return "<envelope xmlns='urn:xmpp:sce:1'><content>" + content + "</content>" + affixes + "</envelope>"
}

func TestEnvelope(t *testing.T) {
	want := Envelope{
		From: "o'hara&co@example.org", To: "room@conference.example.org", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Content: []byte("<body xmlns='jabber:client'>a &amp; b</body><thread xmlns='jabber:client'/>"),
	}
	lengths := make(map[int]bool)
	for range 50 {
		xml, err := AppendEnvelope([]byte("before"), &script{}, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseEnvelope(xml[len("before"):])
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Fatalf("%s: %+v, %v", xml, got, err)
		}
		lengths[len(xml)] = true
	}
	if len(lengths) < 10 {
		t.Errorf("%d lengths of 50 envelopes", len(lengths))
	}
	xml, err := AppendEnvelope(nil, &script{}, Envelope{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseEnvelope(xml); err != nil || got.From != "" || got.To != "" || !got.Time.IsZero() || got.Content != nil {
		t.Errorf("%s: %+v, %v", xml, got, err)
	}
}

func TestEnvelopeContent(t *testing.T) {
	body := "<body xmlns='jabber:client'>x</body>"
	for name, c := range map[string]struct{ xml, want string }{
		"body":              {envelope(body, ""), body},
		"text around":       {envelope(" a "+body+" b ", ""), body},
		"empty":             {envelope("", ""), ""},
		"empty element":     {"<envelope xmlns='urn:xmpp:sce:1'><content/></envelope>", ""},
		"a document":        {"<?xml version='1.0'?>" + envelope(body, ""), body},
		"declared above":    {"<envelope xmlns='urn:xmpp:sce:1' xmlns:c='jabber:client' xmlns:x='urn:x'><content><c:body x:a='1'>x</c:body></content></envelope>", "<c:body xmlns:x='urn:x' xmlns:c='jabber:client' xmlns='urn:xmpp:sce:1' x:a='1'>x</c:body>"},
		"declared twice":    {"<e:envelope xmlns:e='urn:xmpp:sce:1' xmlns='urn:a'><e:content xmlns='urn:b&amp;'><b/></e:content></e:envelope>", "<b xmlns='urn:b&amp;' xmlns:e='urn:xmpp:sce:1'/>"},
		"in no namespace":   {"<e:envelope xmlns:e='urn:xmpp:sce:1'><e:content><b/><c xmlns=''/></e:content></e:envelope>", "<b xmlns='' xmlns:e='urn:xmpp:sce:1'/><c xmlns:e='urn:xmpp:sce:1' xmlns=''/>"},
		"children":          {envelope("<a xmlns='urn:a'><b><![CDATA[<]]></b> &lt;</a>", ""), "<a xmlns='urn:a'><b><![CDATA[<]]></b> &lt;</a>"},
		"unknown affix":     {envelope(body, "<other xmlns='urn:a'/><rpad>&amp;</rpad><what/>"), body},
		"hints":             {envelope("<store xmlns='urn:xmpp:hints'/>"+body, ""), body},
		"stanza-id":         {envelope("<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='x'/>"+body, ""), body},
		"origin-id":         {envelope("<origin-id xmlns='urn:xmpp:sid:0' id='1'/>"+body, ""), body},
		"addresses":         {envelope(body+"<addresses xmlns='http://jabber.org/protocol/address'/>", ""), body},
		"encryption":        {envelope(body+"<encryption xmlns='urn:xmpp:eme:0'/>", ""), body},
		"delay":             {envelope(body+"<delay xmlns='urn:xmpp:delay'><body/></delay>", ""), body},
		"old delay":         {envelope(body+"<x xmlns='jabber:x:delay'/>", ""), body},
		"room user":         {envelope(body+"<x xmlns='http://jabber.org/protocol/muc#user'/>", ""), body},
		"error":             {envelope(body+"<error xmlns='jabber:client'/>", ""), body},
		"another error":     {envelope("<error xmlns='urn:a'/>", ""), "<error xmlns='urn:a'/>"},
		"encrypted again":   {envelope(body+"<encrypted xmlns='urn:xmpp:omemo:2'/>", ""), body},
		"not a stanza part": {envelope("<body>x</body>", ""), ""},
	} {
		e, err := ParseEnvelope([]byte(c.xml))
		if err != nil || string(e.Content) != c.want {
			t.Errorf("%s: %q, %v", name, e.Content, err)
		}
	}
	e, err := ParseEnvelope([]byte(envelope(body+"<opt-out xmlns='urn:xmpp:omemo:2'><x/><reason>no &lt;3</reason></opt-out>", "<time stamp='yesterday'/>")))
	if err != nil || !e.OptOut || e.OptOutReason != "no <3" || string(e.Content) != body || !e.Time.IsZero() {
		t.Errorf("opt-out: %+v, %v", e, err)
	}
	e, err = ParseEnvelope([]byte(envelope("", "<to jid='a@b'/><from jid='c@d'/><time stamp='2026-01-02T04:04:05.5+01:00'/>")))
	if err != nil || e.To != "a@b" || e.From != "c@d" || !e.Time.Equal(time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC)) {
		t.Errorf("affixes: %+v, %v", e, err)
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	many := strings.Repeat("<a/>", 8000)
	long := "<e:envelope xmlns:e='urn:xmpp:sce:1' xmlns:p='" + strings.Repeat("p", 1000) + "'><e:content>" + many + "</e:content></e:envelope>"
	for name, xml := range map[string]string{
		"nothing":           "",
		"another root":      "<message/>",
		"another namespace": "<envelope xmlns='urn:xmpp:sce:0'><content/></envelope>",
		"in a stanza":       "<message>" + envelope("", "") + "</message>",
		"two roots":         envelope("", "") + envelope("", ""),
		"text after":        envelope("", "") + "x",
		"no content":        "<envelope xmlns='urn:xmpp:sce:1'/>",
		"content twice":     envelope("", "<content/>"),
		"from twice":        envelope("", "<from jid='a@b'/><from jid='c@d'/>"),
		"to twice":          envelope("", "<to jid='a@b'/><to jid='a@b'/>"),
		"time twice":        envelope("", "<time stamp='x'/><time stamp='x'/>"),
		"rpad twice":        envelope("", "<rpad/><rpad/>"),
		"to nobody":         envelope("", "<to/>"),
		"from nobody":       envelope("", "<from jid=''/>"),
		"doctype":           "<!DOCTYPE a [<!ENTITY b 'c'>]>" + envelope("&b;", ""),
		"after a document":  "<?xml version='1.0'?><!DOCTYPE a>" + envelope("", ""),
		"entity":            envelope("<body xmlns='jabber:client'>&b;</body>", ""),
		"entity, attribute": envelope("<body xmlns='jabber:client' a='&b;'/>", ""),
		"comment":           envelope("<!-- -->", ""),
		"too deep":          envelope(strings.Repeat("<a>", maxDepthXML)+strings.Repeat("</a>", maxDepthXML), ""),
		"too long":          envelope(strings.Repeat("x", maxEnvelope), ""),
		"declared too long": long,
		"no text":           envelope("<body xmlns='jabber:client'>\x00</body>", ""),
		"no character":      envelope("<body xmlns='jabber:client'>\uFFFF</body>", ""),
		"no UTF-8":          envelope("<body xmlns='jabber:client'>\xff</body>", ""),
		"cut off":           strings.TrimSuffix(envelope("", ""), ">"),
		"cut off in body":   "<envelope xmlns='urn:xmpp:sce:1'><content><body>",
	} {
		if e, err := ParseEnvelope([]byte(xml)); !errors.Is(err, ErrMalformed) || e.Content != nil || e.From != "" {
			t.Errorf("%s: %+v, error %v, want ErrMalformed", name, e, err)
		}
	}
}

// TestEnvelopeSealed carries an envelope through a room's message.
func TestEnvelopeSealed(t *testing.T) {
	alice, bob := newPair(t, Two)
	want := Envelope{From: alice.jid, To: "room@conference.example.org", Content: []byte("<body xmlns='jabber:client'>hello</body>")}
	xml, err := AppendEnvelope(nil, &script{}, want)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := ParseMessage(Two, alice.seal(t, bob, string(xml)).AppendXML(nil), bob.address())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := bob.open(alice, msg)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseEnvelope(opened.Plain)
	if err != nil || got.From != want.From || got.To != want.To || string(got.Content) != string(want.Content) {
		t.Fatalf("%+v, %v", got, err)
	}
}
