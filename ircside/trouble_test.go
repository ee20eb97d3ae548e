package ircside

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
)

func two() gateway.Room {
	return gateway.Room{Address: gateway.Address{Network: "net", ID: "#two"}, Bridge: "two"}
}

// at gives a delivery another room.
func at(room gateway.Room, d gateway.Delivery) gateway.Delivery {
	d.Room = room.Address
	return d
}

// TestShutOut: each way not to be let in has words of its own, waits, and holds up no other channel.
func TestShutOut(t *testing.T) {
	for numeric, want := range map[string]string{
		"403": "no such channel", "405": "too many channels", "437": "not available", "471": "full", "473": "invited", "474": "banned",
		"475": "password", "477": "registered", "489": "TLS",
	} {
		t.Run(numeric, func(t *testing.T) {
			r := begin(t, func(_ *Config, s *Side) {
				if s != nil {
					s.timings.knock, s.timings.rejoinMost = time.Hour, time.Hour
				}
			}, lobby(), two())
			l := r.accept()
			l.register(labels)
			l.expect("JOIN #lobby,#two")
			l.send(":lb!lb@host JOIN #lobby", ":irc.test "+numeric+" lb #two :its own words")
			r.isReady()
			out := r.outcomes(r.deliver(at(two(), delivery("k1", "x")), at(two(), delivery("k2", "y"))))
			wait, later := gateway.LaterThan(out[0].Err)
			if len(out) != 1 || !later || wait != time.Minute || !strings.HasPrefix(out[0].Err.Error(), "#two: ") || !strings.Contains(out[0].Err.Error(), want) {
				t.Errorf("outcomes %+v, want %q", out, want)
			}
			got := r.deliver(delivery("k3", "z"))
			l.echo("m3")
			wantParts(t, r.outcomes(got), "m3")
		})
	}
}

// TestMuted: a channel that does not let us speak is left alone for growing pauses, until its modes change.
func TestMuted(t *testing.T) {
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			s.timings.mute = 20 * time.Second
		}
	}, lobby(), two())
	l := r.accept()
	l.register(labels)
	l.expect("JOIN #lobby,#two")
	l.send(":lb!lb@host JOIN #lobby", ":lb!lb@host JOIN #two")
	r.isReady()
	for _, want := range []time.Duration{20 * time.Second, 40 * time.Second, time.Minute} {
		got := r.deliver(delivery("k1", "one"))
		l.expect("@label=k1/ ")
		l.send("@label=k1/ :irc.test 404 lb #lobby :You cannot send messages to this channel whilst the +m (moderated) mode is set.")
		out := r.outcomes(got)
		if wait, later := gateway.LaterThan(out[0].Err); !later || wait != want || !strings.Contains(out[0].Err.Error(), "#lobby: You cannot send") {
			t.Errorf("outcome %v after %v, want %v", out[0].Err, wait, want)
		}
		if out = r.outcomes(r.deliver(delivery("k1", "one"))); out[0].Err == nil { // not even tried
			t.Error("said in a channel that does not let us")
		}
		got = r.deliver(at(two(), delivery(fmt.Sprint("other", want), "there")))
		l.echo("")
		wantParts(t, r.outcomes(got))
		l.send(":op!o@h MODE #lobby +v lb", ":op!o@h PRIVMSG #lobby :try "+want.String())
		r.awaitText("try " + want.String())
	}
	got := r.deliver(delivery("k1", "one"))
	l.echo("m1")
	wantParts(t, r.outcomes(got), "m1")
}

// TestForward: a channel that forwards is followed only where the other one names it.
func TestForward(t *testing.T) {
	r := begin(t, nil, lobby(), two())
	l := r.accept()
	l.register(labels)
	l.expect("JOIN #lobby,#two")
	l.send(":irc.test 470 lb #lobby ##lounge :Forwarding to another channel", ":lb!lb@host JOIN ##lounge",
		":irc.test 332 lb ##lounge :Welcome! This was #Lobby, until June", ":irc.test 353 lb = ##lounge :lb bob", ":irc.test 366 lb ##lounge :End",
		":irc.test 470 lb #two #trap :Forwarding to another channel", ":lb!lb@host JOIN #trap", ":irc.test 332 lb #trap :not #twofold", ":irc.test 366 lb #trap :End")
	r.isReady()
	l.expect("NAMES ##lounge")
	l.expect("PART #trap")
	out := r.outcomes(r.deliver(at(two(), delivery("k1", "x"))))
	if out[0].Err == nil || gateway.IsDrop(out[0].Err) || !strings.Contains(out[0].Err.Error(), "#two: the channel was replaced by #trap, which does not name it") {
		t.Errorf("outcomes %+v", out)
	}
	got := r.deliver(delivery("k2", "in the lounge"))
	label := l.expect("@label=k2/ PRIVMSG ##lounge :")
	if label != said("in the lounge") {
		t.Errorf("said %q", label)
	}
	l.send("@label=k2/;msgid=m2 :lb!lb@host PRIVMSG ##lounge :x", "@msgid=m3 :bob!b@h PRIVMSG ##lounge :hello there")
	wantParts(t, r.outcomes(got), "m2")
	if ev := r.awaitText("hello there"); ev.At != lobby().Address {
		t.Errorf("heard at %v", ev.At)
	}
	l.send(":op!o@h KICK ##lounge lb :out")
	l.join("#lobby") // by its own name again
	got = r.deliver(delivery("k4", "back"))
	l.expect("@label=k4/ PRIVMSG #lobby :")
	l.send("@label=k4/;msgid=m4 :lb!lb@host PRIVMSG #lobby :x")
	wantParts(t, r.outcomes(got), "m4")
}

// TestBannedAtLogin: a ban is told in words, and no reason to come back every second.
func TestBannedAtLogin(t *testing.T) {
	hand := newHandClock()
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			s.timings.refused, s.clock = time.Minute, hand.clock()
		}
	})
	l := r.accept()
	l.expect("CAP LS 302")
	l.send("ERROR :Closing link: (lb@host) [K-Lined: go away]")
	if err := r.state(); err == nil || !strings.Contains(err.Error(), "K-Lined: go away") {
		t.Errorf("told %v", err)
	}
	for d := range hand.asked {
		if d >= 30*time.Second && d <= time.Minute && d != 45*time.Second {
			break
		}
	}
}

// TestFlooded: a server that throws us out for flooding is spoken to more slowly.
func TestFlooded(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	l.send("ERROR :Closing link: (lb@host) [Excess Flood]")
	if r.state() == nil {
		t.Error("ready without a connection")
	}
	r.up(labels)
	r.side.relay.mu.Lock()
	defer r.side.relay.mu.Unlock()
	if got := r.side.relay.sess.pace; got.burst != 50 || got.every != 250*time.Millisecond {
		t.Errorf("burst %v, every %v", got.burst, got.every)
	}
}

// TestThrottled: "try again" makes a pause, and the line is said after it.
func TestThrottled(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	got := r.deliver(delivery("k1", "one"))
	l.expect("@label=k1/ ")
	l.send("@label=k1/ :irc.test 263 lb PRIVMSG :Server load is high")
	out := r.outcomes(got)
	if _, later := gateway.LaterThan(out[0].Err); !later {
		t.Errorf("outcomes %+v", out)
	}
	got = r.deliver(delivery("k1", "one"))
	l.echo("m1")
	wantParts(t, r.outcomes(got), "m1")
}

// TestSetRooms: rooms come and go while others stay.
func TestSetRooms(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	three := gateway.Room{Address: gateway.Address{Network: "net", ID: "#three"}, Bridge: "three", Password: "key"}
	bad := gateway.Room{Address: gateway.Address{Network: "net", ID: "no channel"}}
	r.side.SetRooms([]gateway.Room{lobby(), three, bad})
	l.expect("JOIN #three key")
	l.send(":lb!lb@host JOIN #three", "@msgid=m1 :bob!b@h PRIVMSG #three :hello", "@msgid=m2 :bob!b@h PRIVMSG #lobby :hello too")
	r.awaitText("hello")
	r.awaitText("hello too")
	r.side.SetRooms([]gateway.Room{three})
	l.expect("PART #lobby")
	out := r.outcomes(r.deliver(delivery("k1", "x")))
	if !gateway.IsDrop(out[0].Err) {
		t.Errorf("outcomes %+v", out)
	}
	got := r.deliver(at(three, delivery("k2", "y")))
	l.echo("m3")
	wantParts(t, r.outcomes(got), "m3")
	r.side.SetRooms([]gateway.Room{three, lobby()})
	l.join("#lobby")
	got = r.deliver(delivery("k3", "z"))
	l.echo("m4")
	wantParts(t, r.outcomes(got), "m4")
}

func TestForget(t *testing.T) {
	s := loose(t)
	c := s.c
	c.mayPair("b@h", chat("bob", juliet()))
	c.mayPair("b@h", chat("bob", gateway.Person{Network: "matrix", ID: "@a:example.org"}))
	c.mayTell("help bob", time.Hour)
	if err := c.side.Forget(context.Background(), juliet()); err != nil {
		t.Fatal(err)
	}
	if n := len(c.sources["b@h"].chats); n != 1 || len(c.told) != 0 {
		t.Errorf("%d chats, %d pauses left", n, len(c.told))
	}
}

// TestWaitsForTheLogin: a delivery that comes while we connect goes out with the JOIN's answer, not after a pause.
func TestWaitsForTheLogin(t *testing.T) {
	r := begin(t, nil)
	l := r.accept()
	got := r.deliver(delivery("k1", "one"))
	l.register(labels)
	l.join("#lobby")
	l.echo("m1")
	wantParts(t, r.outcomes(got), "m1")
}

func TestCountsReconnects(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			registry.MustRegister(s.reconnects)
		}
	})
	r.up("").conn.Close()
	if r.state() == nil {
		t.Error("ready without a connection")
	}
	r.up("")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if n := families[0].GetMetric()[0].GetCounter().GetValue(); n != 1 || families[0].GetName() != "lockbridge_reconnects_total" {
		t.Errorf("%s is %v", families[0].GetName(), n)
	}
}

func TestStamp(t *testing.T) {
	now := time.Date(2026, 3, 2, 0, 5, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		-time.Hour: "", 10 * time.Minute: "", 11 * time.Minute: "[2026-03-01 23:54] ", 10 * time.Hour: "[2026-03-01 14:05] ",
	} {
		if got := stamp(now.Add(-ago), now); got != want {
			t.Errorf("stamp of %v ago = %q, want %q", ago, got, want)
		}
		if got := cutStamp(want + "<x> y"); got != "<x> y" {
			t.Errorf("without its stamp: %q", got)
		}
	}
	later := now.Add(10 * time.Hour)
	if got := stamp(now, later); got != "[00:05] " || cutStamp(got+"x") != "x" || stamp(time.Time{}, now) != "" {
		t.Errorf("stamp = %q", got)
	}
	if got := cutStamp("[tag] text"); got != "[tag] text" {
		t.Errorf("cut to %q", got)
	}
}
