package ircside

import (
	"fmt"
	"strings"
	"testing"

	"lockbridge/gateway"
)

func TestEncodeGolden(t *testing.T) {
	here := gateway.Address{Network: "net", ID: "#lobby"}
	juliet := gateway.Person{Network: "xmpp", ID: "juliet@example.org", Name: "juliet"}
	text := func(s string) gateway.Message { return gateway.Message{Text: gateway.Text{Plain: s}} }
	styled := func(style gateway.Style, s string) gateway.Message {
		m := text(s)
		m.Style = style
		return m
	}
	failed := func(author gateway.Person, reason string) gateway.Receipt {
		return gateway.Receipt{State: gateway.Undeliverable, Reason: reason, Target: gateway.Ref{Author: author}}
	}
	alice := gateway.Person{Network: "net", ID: "alice", Name: "Alice"}
	cases := []struct {
		name   string
		sender gateway.Person
		body   gateway.Body
		room   string
		seal   bool
	}{
		{name: "text", sender: juliet, body: text("wherefore art thou")},
		{name: "emote", sender: juliet, body: styled(gateway.StyleEmote, "sighs")},
		{name: "notice", sender: juliet, body: styled(gateway.StyleNotice, "beep")},
		{name: "the gateway itself", body: styled(gateway.StyleNotice, "juliet is now called capulet")},
		{name: "one line too many", sender: juliet, body: text("one\ntwo\nthree\nfour\nfive")},
		{name: "lines", sender: juliet, body: text("one\r\n\r\ntwo\nthree\nfour\nfive\nsix")},
		{name: "long", sender: juliet, body: text(strings.Repeat("lorem ipsum ", 20))},
		{name: "injection", sender: gateway.Person{Network: "m", ID: "x", Name: "a\r\nQUIT\x00"}, body: text("x\rQUIT :y\x00\nPRIVMSG #other :z")},
		{name: "command", sender: juliet, body: text("/quit now")},
		{name: "CTCP", sender: juliet, body: text("\x01VERSION\x01")},
		{name: "colours", sender: juliet, body: text("\x0304red\x02")},
		{name: "lone surrogate", sender: juliet, body: text("a\xed\xa0\x80b")},
		{name: "right to left", sender: gateway.Person{Network: "m", ID: "x", Name: "\u202eevil\u2066"}, body: text("\u202eabc")},
		{name: "long name", sender: gateway.Person{Network: "m", ID: "x", Name: strings.Repeat("ü", 200)}, body: text("hello")},
		{name: "no name", sender: gateway.Person{Network: "m", ID: "@a:example.org"}, body: text("hello")},
		{name: "nothing", sender: juliet, body: text(" \n\x00")},
		{name: "sealed", sender: juliet, body: text("secret"), seal: true},
		{name: "bad room", sender: juliet, body: text("x"), room: "#a b"},
		{name: "reaction", sender: juliet, body: gateway.Reaction{Emoji: []string{"+1"}}},
		{name: "failed", body: failed(alice, "the room is full")},
		{name: "failed without reason", body: failed(alice, "")},
		{name: "failed with a line break", body: failed(alice, "a\r\nQUIT")},
		{name: "failed for a stranger", body: failed(juliet, "x")},
		{name: "failed for an odd nick", body: failed(gateway.Person{Network: "net", ID: "a b"}, "x")},
		{name: "chat", sender: juliet, room: chat("alice", juliet).ID, body: text("wherefore")},
		{name: "emote in a chat", sender: juliet, room: chat("alice", juliet).ID, body: styled(gateway.StyleEmote, "sighs")},
		{name: "notice in a chat", room: chat("alice", juliet).ID, body: styled(gateway.StyleNotice, "A message from juliet could not be read.")},
		{name: "chat with somebody of a long address", sender: juliet, room: chat("alice", gateway.Person{Network: "xmpp", ID: strings.Repeat("j", 80) + "@example.org"}).ID, body: text("x")},
		{name: "chat with somebody of an odd address", sender: juliet, room: chat("alice", gateway.Person{Network: "xmpp", ID: "a\r\nQUIT\x00@example.org"}).ID, body: text("x")},
		{name: "chat with a channel", sender: juliet, room: chat("#lobby", juliet).ID, body: text("x")},
		{name: "chat with the voiced of a channel", sender: juliet, room: chat("+#lobby", juliet).ID, body: text("x")},
		{name: "chat with a server's users", sender: juliet, room: chat("$*", juliet).ID, body: text("x")},
		{name: "chat with a mask", sender: juliet, room: chat("a!b@c", juliet).ID, body: text("x")},
		{name: "chat with two", sender: juliet, room: chat("a,b", juliet).ID, body: text("x")},
		{name: "chat with a line break", sender: juliet, room: chat("a\r\nQUIT", juliet).ID, body: text("x")},
		{name: "failed in a chat", room: chat("alice", juliet).ID, body: failed(gateway.Person{}, "not delivered to juliet@example.org (xmpp): none of their devices can read what we would send")},
		{name: "displayed", body: gateway.Receipt{State: gateway.Displayed, Target: gateway.Ref{Author: alice}}},
	}
	var b strings.Builder
	for _, c := range cases {
		room := here
		if c.room != "" {
			room.ID = c.room
		}
		d := gateway.Delivery{Key: "k", Room: room, Seal: c.seal, Event: &gateway.Event{Sender: c.sender, Body: c.body}}
		out, err := encode(d, direct(), limits{payload: func(string, string) int { return 100 }, lines: 4})
		fmt.Fprintf(&b, "# %s\n", c.name)
		if err != nil {
			fmt.Fprintf(&b, "drop %v: %v\n", gateway.IsDrop(err), err)
		}
		for _, l := range out.lines {
			command, text, _ := strings.Cut(l.text, " :")
			fmt.Fprintf(&b, "%s %+q\n", command, text)
		}
	}
	golden(t, "encode.golden", b.String())
}

// TestBudget: the longest line that we write arrives whole at the worst reader.
func TestBudget(t *testing.T) {
	s := loose(t)
	if got, want := s.payload("PRIVMSG", "#lobby"), 512-2-len(":lockbridge!")-12-len("@")-63-len(" PRIVMSG #lobby :"); got != want {
		t.Errorf("before we know our mask: %d, want %d", got, want)
	}
	s.registered = true
	feedLine(t, s, ":lockbridge!lb@host.test JOIN #lobby")
	if got, want := s.payload("PRIVMSG", "#lobby"), 512-len(":lockbridge!lb@host.test PRIVMSG #lobby :\r\n"); got != want {
		t.Errorf("after our JOIN: %d, want %d", got, want)
	}
	feedLine(t, s, ":lockbridge!lb@host.test CHGHOST user cloak.example")
	feedLine(t, s, ":irc.test 005 lockbridge LINELEN=1024 :are supported by this server")
	feedLine(t, s, ":irc.test 396 lockbridge a.much.longer.cloak.example :is now your displayed host")
	if got, want := s.payload("NOTICE", "bob"), 1024-len(":lockbridge!user@a.much.longer.cloak.example NOTICE bob :\r\n"); got != want {
		t.Errorf("after a new host: %d, want %d", got, want)
	}
}

func TestPayloadIsNeverTooSmall(t *testing.T) {
	s := loose(t)
	s.registered = true
	long := strings.Repeat("x", 5000)
	feedLine(t, s, ":lockbridge!"+long+"@"+long+" JOIN #lobby")
	feedLine(t, s, ":lockbridge NICK "+long)
	feedLine(t, s, ":irc.test 005 x LINELEN=10 :are supported by this server")
	channel := "#" + strings.Repeat("c", maxChannel-1)
	d := gateway.Delivery{Key: "k", Room: gateway.Address{ID: channel}, Event: &gateway.Event{
		Sender: gateway.Person{ID: "x", Name: strings.Repeat("name ", 50)}, Body: gateway.Message{Text: gateway.Text{Plain: "hello " + long}},
	}}
	out, err := encode(d, direct(), limits{payload: s.payload, lines: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range out.lines {
		if _, text, _ := strings.Cut(l.text, " :"); len(text) > s.payload("PRIVMSG", channel) {
			t.Errorf("%d bytes, the budget is %d", len(text), s.payload("PRIVMSG", channel))
		}
	}
}
