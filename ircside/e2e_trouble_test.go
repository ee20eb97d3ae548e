//go:build e2e

package ircside

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// until delivers one message until its outcome is as wanted: an error with these words, or "" for none.
func (r *rig) until(key, want string) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for attempt := 0; ; attempt++ {
		d := delivery(key, "said under "+key)
		if want != "" { // it may take a while until the trouble is there
			d = delivery(fmt.Sprint(key, attempt), "a try")
		}
		o := r.one(r.deliver(d))
		switch {
		case gateway.IsDrop(o.Err):
			r.t.Fatalf("%s: dropped: %v", key, o.Err)
		case o.Err == nil && want == "", o.Err != nil && want != "" && strings.Contains(o.Err.Error(), want):
			return
		}
		select {
		case <-tick.C:
		case <-end:
			r.t.Fatalf("%s: ends with %v, want %q", key, o.Err, want)
		}
	}
}

// TestTroubles goes through the ways in which a real InspIRCd keeps us from speaking, and back.
func TestTroubles(t *testing.T) {
	for name, old := range map[string]bool{"with echo": false, "without capabilities": true} {
		t.Run(name, func(t *testing.T) {
			ircd := startServer(t, server{old: old})
			wire := startWire(t, ircd.plain)
			p := startPeer(t, ircd.plain, wire, "#lobby")
			r := begin(t, func(c *Config, s *Side) {
				c.Server = wire.address
				if s != nil {
					s.timings.rejoinMost, s.timings.mute, s.timings.muteMost = 100*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
				}
			})
			r.isReady()
			for _, trouble := range []struct{ name, begin, want, end string }{
				{"moderation", "MODE #lobby +m", "(404)", "MODE #lobby -m"},
				{"a ban", "MODE #lobby +b lb!*@*", "(404)", "MODE #lobby -b lb!*@*"},
				{"a ban and a kick", "MODE #lobby +b lb!*@*\r\nKICK #lobby lb :out", "banned", "MODE #lobby -b lb!*@*"},
				{"invitations", "MODE #lobby +i\r\nKICK #lobby lb :out", "invited", "INVITE lb #lobby"},
				{"a key", "MODE #lobby +k-i key\r\nKICK #lobby lb :out", "password", "MODE #lobby -k key"},
				{"a limit", "MODE #lobby +l 1\r\nKICK #lobby lb :out", "full", "MODE #lobby -l"},
				{"a kick", "KICK #lobby lb :out", "", ""},
			} {
				p.write(trouble.begin)
				if trouble.want != "" {
					r.until(trouble.name, trouble.want)
				}
				if trouble.end != "" {
					p.write(trouble.end)
				}
				r.until(trouble.name, "")
				if _, err := p.Hear(t.Context(), "said under "+trouble.name); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestRealForward: InspIRCd's mode +L sends us to another channel, which names the first one in its topic.
func TestRealForward(t *testing.T) {
	ircd := startServer(t, server{})
	wire := startWire(t, ircd.plain)
	p := startPeer(t, ircd.plain, wire, "#lobby")
	p.write("JOIN #lounge\r\nTOPIC #lounge :the old #lobby, now with cushions\r\nMODE #lobby +lL 1 #lounge\r\nPRIVMSG " + p.nick + " :all set")
	if _, err := p.Hear(t.Context(), "all set"); err != nil {
		t.Fatal(err)
	}
	r := begin(t, func(c *Config, _ *Side) { c.Server = wire.address })
	r.isReady()
	r.until("the forward", "")
	if _, err := p.Hear(t.Context(), "said under the forward"); err != nil {
		t.Fatal(err)
	}
	if raw := strings.Join(p.lines(), "\n"); !strings.Contains(raw, "PRIVMSG #lounge :<j") {
		t.Errorf("said elsewhere: %s", raw)
	}
	p.write("PRIVMSG #lounge :welcome")
	if ev := r.awaitText("welcome"); ev.At != lobby().Address {
		t.Errorf("heard at %v", ev.At)
	}
	r.await(func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Join && m.Who.ID == p.ID()
	})
}

// TestBlackout: from the start of a side to the first line said it takes what a bare client needs to log in and join, and
// hardly more.
func TestBlackout(t *testing.T) {
	for attempt := 1; ; attempt++ { // a busy machine gets more than one
		floor, took := blackout(t)
		t.Logf("a bare client is in after %v, our first line is out after %v", floor, took)
		if took <= floor+300*time.Millisecond {
			return
		}
		if attempt == 10 {
			t.Fatalf("%v, of which the server takes %v", took, floor)
		}
	}
}

// blackout measures both at a server of its own.
func blackout(t *testing.T) (floor, took time.Duration) {
	t.Helper()
	ircd := startServer(t, server{})
	wire := startWire(t, ircd.plain)
	began := time.Now()
	p := startPeer(t, ircd.plain, wire, "#lobby")
	floor = time.Since(began)
	began = time.Now()
	r := begin(t, func(c *Config, s *Side) {
		c.Server = wire.address
		if s != nil {
			s.timings.soon = defaultTimings().soon
		}
	})
	r.until("the start", "")
	if _, err := p.Hear(t.Context(), "said under the start"); err != nil {
		t.Fatal(err)
	}
	took = time.Since(began)
	r.stop()
	return floor, took
}
