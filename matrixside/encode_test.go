package matrixside

import (
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// testEncoder writes for a room in which alice's ghost is, and nobody else's.
var testEncoder = encoder{network: "matrix", pill: func(p gateway.Person) id.UserID {
	switch {
	case p.Network == "matrix":
		return id.UserID(p.ID)
	case p.ID == "alice@example.org":
		return "@lb_xmpp_alice=40example.org:example.org"
	}
	return ""
}}

func TestEncodeMessage(t *testing.T) {
	for name, c := range map[string]struct {
		msg     gateway.Message
		speaker string
		want    string
	}{
		"text":             {gateway.Message{Text: plain("a <b> & c")}, "", `{"msgtype":"m.text","body":"a <b> & c","m.mentions":{},"org.lockbridge.key":{"key":"k","part":""}}`},
		"an emote":         {gateway.Message{Text: plain("waves"), Style: gateway.StyleEmote}, "", `{"msgtype":"m.emote","body":"waves","m.mentions":{},"org.lockbridge.key":{"key":"k","part":""}}`},
		"a notice":         {gateway.Message{Text: plain("beep"), Style: gateway.StyleNotice}, "", `{"msgtype":"m.notice","body":"beep","m.mentions":{},"org.lockbridge.key":{"key":"k","part":""}}`},
		"for somebody":     {gateway.Message{Text: plain("hi")}, "Mercutio", `{"msgtype":"m.text","body":"<Mercutio> hi","m.mentions":{},"org.lockbridge.key":{"key":"k","part":""}}`},
		"somebody's emote": {gateway.Message{Text: plain("dies"), Style: gateway.StyleEmote}, "Mercutio", `{"msgtype":"m.text","body":"* Mercutio dies","m.mentions":{},"org.lockbridge.key":{"key":"k","part":""}}`},
	} {
		t.Run(name, func(t *testing.T) {
			checkEncode(t, testEncoder.encodeMessage(c.msg, nil, c.speaker)[0].content, c.want)
		})
	}
}

func TestEncodeFailure(t *testing.T) {
	checkEncode(t, encodeFailure(gateway.Receipt{
		Target: gateway.Ref{Author: romeo, Parts: []gateway.Part{{Native: "$said"}, {Native: "$more"}}}, Reason: "not delivered to #lobby (irc): the line is too long",
	}), `{"msgtype":"m.notice","body":"Your message was not delivered to #lobby (irc): the line is too long.","m.mentions":{"user_ids":["@romeo:example.org"]},`+
		`"m.relates_to":{"m.in_reply_to":{"event_id":"$said"}},"org.lockbridge.key":{"key":"k","part":""}}`)
	checkEncode(t, encodeFailure(gateway.Receipt{Target: gateway.Ref{Author: gateway.Person{ID: "no user id"}, Native: "no event id"}}),
		`{"msgtype":"m.notice","body":"Your message was not delivered.","m.mentions":{},"org.lockbridge.key":{"key":"k","part":""}}`)
}

func checkEncode(t *testing.T, c content, want string) {
	t.Helper()
	got, err := c.withKey("k", "").encode()
	must(t, err)
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAContentHasALimit(t *testing.T) {
	if _, err := testEncoder.text(plain(strings.Repeat("<", maxContent-200)), "", "").encode(); err != nil {
		t.Errorf("a text below the limit: %v", err)
	}
	if _, err := testEncoder.text(plain(strings.Repeat("\n", maxContent/2)), "", "").encode(); !gateway.IsDrop(err) {
		t.Errorf("a text that doubles in JSON: %v", err)
	}
}

func TestSplitReply(t *testing.T) {
	for body, want := range map[string][3]string{
		"> <@a:b> one\n\ntwo":       {"@a:b", "one", "two"},
		"> * <@a:b> waves\n\nhello": {"@a:b", "waves", "hello"},
		"> <@a:b>\n> deep\n\ntwo":   {"@a:b", "deep", "two"},
		"> <@a:b> one":              {"@a:b", "one", ""},
		"> a quote\n\ntwo":          {"", "", "> a quote\n\ntwo"},
		"two":                       {"", "", "two"},
		"":                          {"", "", ""},
	} {
		author, quote, rest := splitReply(body)
		if got := [3]string{author, quote, rest}; got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}
