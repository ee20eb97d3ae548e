package ircside

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

func TestSaysWithEcho(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	got := r.deliver(delivery("k1", "one\ntwo"), delivery("k2", "three"))
	for i, want := range []string{"one", "two", "three"} {
		if text := l.echo(fmt.Sprintf("m%d", i)); text != said(want) {
			t.Errorf("said %q, want %q", text, said(want))
		}
	}
	l.send("@msgid=m9;+draft/reply=m0 :bob!b@h PRIVMSG #lobby :an answer")
	out := r.outcomes(got)
	wantParts(t, out, "m0", "m1", "m2")
	if len(out) != 2 || out[0].Parts[1].Name != "1" {
		t.Errorf("outcomes %+v", out)
	}
	if ev := r.awaitText("an answer"); ev.Native != "m9" || ev.Sender.ID != "bob" || ev.Body.(gateway.Message).ReplyTo.Native != "m0" {
		t.Errorf("heard %+v", ev)
	}
	var stream []string
	for _, ev := range r.inbox.Heard() {
		switch b := ev.Body.(type) {
		case gateway.Echo:
			stream = append(stream, b.Key+"/"+b.Part+"="+ev.Native)
		case gateway.Message:
			stream = append(stream, "message")
		}
	}
	if s := strings.Join(stream, " "); s != "k1/=m0 k1/1=m1 k2/=m2 message" {
		t.Errorf("stream %s: the links must come before the answer, and in order", s)
	}
	// The outcome was lost: the same delivery comes again, and is not said again.
	again := delivery("k2", "three")
	again.Attempt = 1
	if out := r.outcomes(r.deliver(again)); len(out) != 1 || out[0].Err != nil || out[0].Parts[0].Native != "m2" {
		t.Errorf("the repetition ended %+v", out)
	}
	r.stop()
	l.expect("QUIT :")
}

// TestBatchedAnswer: an answer of several lines carries its label on the batch.
func TestBatchedAnswer(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	got := r.deliver(delivery("k1", "one"), delivery("k2", "two"))
	l.expect("@label=k1/ PRIVMSG #lobby :")
	l.send("@label=k1/ :irc.test BATCH +b labeled-response", "@batch=b :irc.test NOTICE lb :slow down", "@batch=b;msgid=m1 :lb!lb@host PRIVMSG #lobby :x", ":irc.test BATCH -b")
	l.expect("@label=k2/ PRIVMSG #lobby :")
	l.send("@label=k2/ :irc.test ACK")
	out := r.outcomes(got)
	if len(out) != 2 || out[0].Err != nil || out[0].Parts[0].Native != "m1" || out[1].Err != nil || len(out[1].Parts) != 0 {
		t.Errorf("outcomes %+v", out)
	}
}

// TestSaysWithoutEcho: a server without CAP. The PONG to our PING shows that it has read the lines.
func TestSaysWithoutEcho(t *testing.T) {
	r := begin(t, nil)
	l := r.accept()
	l.expect("CAP LS 302")
	l.expect("NICK lb")
	l.expect("USER ")
	l.send(":irc.test 421 * CAP :Unknown command", ":irc.test 001 lb :Welcome")
	l.join("#lobby")
	r.isReady()

	got := r.deliver(delivery("k1", "one"), delivery("k2", "two"))
	l.expect("PRIVMSG #lobby :" + said("one"))
	l.expect("PRIVMSG #lobby :" + said("two"))
	l.send(":irc.test PONG irc.test :" + l.expect("PING :"))
	if out := r.outcomes(got); len(out) != 2 || out[0].Err != nil || out[1].Err != nil || len(out[0].Parts) != 0 {
		t.Errorf("outcomes %+v", out)
	}
	got = r.deliver(delivery("k3", "three"))
	l.expect("PRIVMSG #lobby :" + said("three"))
	token := l.expect("PING :")
	l.send(":irc.test 404 lb #lobby :Cannot send to channel (+m)", ":irc.test PONG irc.test :"+token)
	if out := r.outcomes(got); len(out) != 1 || out[0].Err == nil || gateway.IsDrop(out[0].Err) || !strings.Contains(out[0].Err.Error(), "+m") {
		t.Errorf("outcomes %+v", out)
	}
}

func TestRefusals(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	// A refusal for good does not end the run; one that may pass does, and what is written by then is reported.
	got := r.deliver(delivery("k1", "one"), delivery("k2", "two"), delivery("k3", "three"))
	for range 3 {
		l.expect("@label=")
	}
	l.send("@label=k1/ :irc.test FAIL PRIVMSG BAD_WORD #lobby :no", "@label=k2/ :irc.test 404 lb #lobby :muted", "@label=k3/;msgid=m3 :lb!lb@host PRIVMSG #lobby :x")
	out := r.outcomes(got)
	if len(out) != 3 || !gateway.IsDrop(out[0].Err) || out[1].Err == nil || gateway.IsDrop(out[1].Err) || out[2].Err != nil {
		t.Errorf("outcomes %+v", out)
	}
	// An error that nobody knows is one all the same where the label says what it is for.
	got = r.deliver(delivery("k5", "five"))
	l.expect("@label=k5/ ")
	l.send("@label=k5/ :irc.test 499 lb :whatever")
	if out := r.outcomes(got); len(out) != 1 || out[0].Err == nil || gateway.IsDrop(out[0].Err) {
		t.Errorf("outcomes %+v", out)
	}
	// Somebody who left is not told any more.
	report := delivery("k4", "")
	report.Event.Body = gateway.Receipt{State: gateway.Undeliverable, Reason: "full", Target: gateway.Ref{Author: gateway.Person{Network: "net", ID: "gone"}}}
	got = r.deliver(report)
	l.expect("@label=k4/ NOTICE gone :your message in #lobby was not delivered: full.")
	l.send("@label=k4/ :irc.test 401 lb gone :No such nick")
	if out := r.outcomes(got); len(out) != 1 || !gateway.IsDrop(out[0].Err) {
		t.Errorf("outcomes %+v", out)
	}
}

func TestReconnects(t *testing.T) {
	two := gateway.Room{Address: gateway.Address{Network: "net", ID: "#two"}, Password: "key"}
	r := begin(t, hasty, lobby(), two)
	if out := r.side.Deliver(t.Context(), []gateway.Delivery{delivery("k0", "early")}); len(out) != 1 || out[0].Err == nil || gateway.IsDrop(out[0].Err) {
		t.Errorf("before the connection: %+v", out)
	}
	l := r.accept()
	l.register(labels)
	l.expect("JOIN #two,#lobby key") // those with a password first
	l.send(":lb!lb@host JOIN #two", ":lb!lb@host JOIN #lobby", ":irc.test 353 lb = #lobby :lb bob carol", ":irc.test 366 lb #lobby :End")
	r.isReady()

	d := delivery("k1", "one\ntwo\nthree")
	got := r.deliver(d)
	l.echo("m0")
	l.expect("@label=k1/1 ")
	// The link is recorded before we cut, so that the rest alone is said again.
	r.await(func(ev *gateway.Event) bool { _, ok := ev.Body.(gateway.Echo); return ok })
	l.conn.Close()
	if err := r.state(); err == nil {
		t.Error("ready without a connection")
	}
	if out := r.outcomes(got); len(out) != 1 || out[0].Err == nil || gateway.IsDrop(out[0].Err) {
		t.Errorf("outcomes %+v", out)
	}

	l = r.accept()
	l.register(labels)
	l.expect("JOIN #two,#lobby key")
	l.send(":lb!lb@host JOIN #two", ":lb!lb@host JOIN #lobby", ":irc.test 353 lb = #lobby :lb bob dave", ":irc.test 366 lb #lobby :End")
	r.isReady()
	d.Attempt = 1
	got = r.deliver(d)
	if text := l.echo("m1"); text != said("two") {
		t.Errorf("said %q first", text)
	}
	l.echo("m2")
	if out := r.outcomes(got); len(out) != 1 || out[0].Err != nil || len(out[0].Parts) != 3 {
		t.Errorf("outcomes %+v", out)
	}
	// Who left meanwhile is told.
	r.await(func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Leave && m.Who.ID == "carol"
	})
	r.await(func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Join && m.Who.ID == "dave"
	})
}

func TestKickedAndBanned(t *testing.T) {
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			s.timings.knock, s.timings.soon = 10*time.Millisecond, 0
		}
	})
	l := r.up(labels)
	l.send(":op!o@h KICK #lobby lb :out")
	l.expect("JOIN #lobby")
	for range 3 {
		l.send(":irc.test 474 lb #lobby :Cannot join channel (you're banned)")
		l.expect("JOIN #lobby")
	}
	out := r.side.Deliver(t.Context(), []gateway.Delivery{delivery("k1", "one"), delivery("k2", "two")})
	if len(out) != 1 || out[0].Err == nil || gateway.IsDrop(out[0].Err) || !strings.Contains(out[0].Err.Error(), "banned") {
		t.Errorf("outcomes %+v", out)
	}
	if n := r.log.count("banned"); n != 1 {
		t.Errorf("the ban was logged %d times", n)
	}
	l.send(":lb!lb@host JOIN #lobby", ":bob!b@h PRIVMSG #lobby :welcome back")
	r.awaitText("welcome back")
	got := r.deliver(delivery("k1", "one"))
	l.echo("m1")
	if out := r.outcomes(got); len(out) != 1 || out[0].Err != nil {
		t.Errorf("outcomes %+v", out)
	}
}

// TestOneRoomRefused: a room that does not let us in does not keep the network from being ready, nor the others back.
func TestOneRoomRefused(t *testing.T) {
	two := gateway.Room{Address: gateway.Address{Network: "net", ID: "#two"}, Bridge: "two"}
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			s.timings.knock = time.Hour
		}
	}, lobby(), two)
	l := r.accept()
	l.register(labels)
	l.expect("JOIN #lobby,#two")
	l.send(":lb!lb@host JOIN #lobby", ":irc.test 473 lb #two :Cannot join channel (+i)")
	r.isReady()
	l.send(":bob!b@h INVITE lb :#two")
	l.expect("JOIN #two")
	l.send(":lb!lb@host JOIN #two", ":bob!b@h PRIVMSG #two :there you are")
	if ev := r.awaitText("there you are"); ev.At.ID != "#two" {
		t.Errorf("heard at %v", ev.At)
	}
}

func TestPacing(t *testing.T) {
	hand := newHandClock()
	r := begin(t, func(c *Config, s *Side) {
		c.Pace = Pace{Burst: 2, Every: time.Second}
		if s != nil {
			s.clock = hand.clock()
		}
	})
	l := r.accept()
	l.register(labels)
	l.join("#lobby")
	r.isReady()
	l.expect("MODE #lobby")
	hand.advance(10 * time.Second)
	got := r.deliver(delivery("k1", "one"), delivery("k2", "two"), delivery("k3", "three"), delivery("k4", "four"))
	l.echo("m1")
	l.echo("m2")
	// The next line waits, but a PONG does not.
	l.send("PING :now")
	l.expect("PONG :now")
	for d := range hand.asked {
		if d > 0 && d <= 2*time.Second+1 { // the PONG counted
			break
		}
	}
	hand.advance(2*time.Second + 1)
	l.echo("m3")
	hand.advance(time.Second + 1)
	l.echo("m4")
	if out := r.outcomes(got); len(out) != 4 || out[3].Err != nil {
		t.Errorf("outcomes %+v", out)
	}
}

// TestSilence: a server that says nothing is asked, and given up when it does not answer.
func TestSilence(t *testing.T) {
	hand := newHandClock()
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			s.clock = hand.clock()
		}
	})
	l, wait := r.up(""), r.side.timings
	hand.advance(wait.quiet)
	l.send(":irc.test PONG irc.test :"+l.expect("PING :"), ":bob!b@h PRIVMSG #lobby :the PONG was read")
	r.awaitText("the PONG was read")
	hand.advance(wait.quiet)
	l.expect("PING :alive")
	hand.advance(wait.answer)
	if err := r.state(); err == nil || !strings.Contains(err.Error(), "silent") {
		t.Errorf("told %v", err)
	}
	hand.skipPause()
	r.accept()
}

// TestUnconfirmedLine: a line that a server leaves without an answer, though it says other things, is tried again; where
// it says nothing, the connection has failed.
func TestUnconfirmedLine(t *testing.T) {
	hand := newHandClock()
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			s.clock = hand.clock()
		}
	})
	l := r.up(labels)
	got := r.deliver(delivery("k1", "one"))
	l.expect("@label=k1/ ")
	hand.advance(time.Second)
	l.send(":bob!b@h PRIVMSG #lobby :meanwhile")
	r.awaitText("meanwhile")
	hand.advance(30 * time.Second)
	if out := r.outcomes(got); len(out) != 1 || !errors.Is(out[0].Err, errUnconfirmed) {
		t.Errorf("outcomes %+v", out)
	}
	got = r.deliver(delivery("k2", "two"))
	l.expect("@label=k2/ ")
	hand.advance(31 * time.Second)
	if err := r.state(); err == nil || !strings.Contains(err.Error(), "silent") {
		t.Errorf("told %v", err)
	}
	if out := r.outcomes(got); len(out) != 1 || errors.Is(out[0].Err, errUnconfirmed) {
		t.Errorf("outcomes %+v", out)
	}
}

func TestStrangeInput(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	l.send("", " ", ":", "@", "@x", ":x", "\x00\x00\x00", "\xff\xfe", "@"+strings.Repeat("a=b;", 3000)+" :a!b@c PRIVMSG #lobby :huge tags",
		":a!b@c PRIVMSG #lobby :"+strings.Repeat("x", 200_000), ":a!b@c PRIVMSG #lobby :after it all")
	r.awaitText("after it all")
}

func TestCapabilityTakenAway(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	l.send(":irc.test CAP lb NEW :other", ":irc.test CAP lb DEL :echo-message")
	if err := r.state(); err == nil || !strings.Contains(err.Error(), "echo-message") {
		t.Errorf("told %v", err)
	}
	r.up("server-time")
}

// TestJournalAway: what is heard while the journal takes nothing is recorded later, in order.
func TestJournalAway(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	r.inbox.Refuse(3)
	l.send(":a!b@c PRIVMSG #lobby :one", ":a!b@c PRIVMSG #lobby :two")
	r.awaitText("two")
	var heard []string
	for _, ev := range r.inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok {
			heard = append(heard, m.Text.Plain)
		}
	}
	if s := strings.Join(heard, " "); s != "one two" || r.inbox.Refused() != 3 {
		t.Errorf("heard %q after %d refusals", s, r.inbox.Refused())
	}
}

// TestGivenUpWaiting: whoever stops waiting and asks again does not have it said again.
func TestGivenUpWaiting(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan []gateway.Outcome, 1)
	go func() { first <- r.side.Deliver(ctx, []gateway.Delivery{delivery("k1", "one")}) }()
	l.expect("@label=k1/ ")
	cancel()
	if out := r.outcomes(first); len(out) != 1 || !errors.Is(out[0].Err, context.Canceled) {
		t.Errorf("outcomes %+v", out)
	}
	second := r.deliver(delivery("k1", "one"), delivery("k2", "two"))
	l.expect("@label=k2/ ")
	l.send("@label=k1/;msgid=m1 :lb!lb@host PRIVMSG #lobby :x", "@label=k2/;msgid=m2 :lb!lb@host PRIVMSG #lobby :x")
	if out := r.outcomes(second); len(out) != 2 || out[0].Err != nil || out[1].Err != nil || out[0].Parts[0].Native != "m1" {
		t.Errorf("outcomes %+v", out)
	}
}
