//go:build e2e

package ircside

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// TestConformance runs the suite of all sides against real InspIRCds: one that offers what we use, the same one over
// TLS with an account, and one that offers no capability at all.
func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name   string
		server server
		tls    bool
	}{
		{name: "with echo"},
		{name: "TLS and SASL", server: server{services: true}, tls: true},
		{name: "without capabilities", server: server{old: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ircd := startServer(t, c.server)
			n := 0
			sidetest.Exercise(t, func(t *testing.T) sidetest.Harness {
				n++
				room := gateway.Room{Address: gateway.Address{Network: "irc", ID: fmt.Sprintf("#Case%d", n)}, Puppets: gateway.PuppetsNone}
				address := ircd.plain
				if c.tls {
					address = ircd.tls
				}
				wire := startWire(t, address)
				cfg := defaults()
				cfg.Server, cfg.TLS, cfg.Nick, cfg.User = wire.address, c.tls, "lockbridge", "lockbridge"
				cfg.Pace = Pace{Burst: 200, Every: time.Millisecond}
				if c.tls {
					cfg.TLSCA, cfg.SASL = ircd.cert, SASL{"lockbridge", "pw"}
				}
				return sidetest.Harness{
					Room: room, Foreign: "xmpp", Confirms: true, MissesNothing: false,
					New:  func(deps gateway.Deps) (gateway.Side, error) { return New(cfg, deps) },
					Peer: startPeer(t, ircd.plain, wire, room.ID),
				}
			})
		})
	}
}

// TestFloodControl: with the default pace a server that throws flooders out keeps us, and what we say arrives whole.
func TestFloodControl(t *testing.T) {
	ircd := startServer(t, server{strict: true})
	wire := startWire(t, ircd.plain)
	p := startPeer(t, ircd.plain, wire, "#lobby")
	r := beginAt(t, wire.address)
	var run []gateway.Delivery
	for i := range 10 {
		run = append(run, delivery(fmt.Sprintf("k%d", i), fmt.Sprintf("%02d %s", i, strings.Repeat("ü", 200))))
	}
	started := time.Now()
	for len(run) > 0 {
		out := r.outcomes(r.deliver(run...))
		for _, o := range out {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
		run = run[len(out):]
	}
	t.Logf("10 lines at the default pace took %v", time.Since(started).Round(time.Millisecond))
	for i := range 10 {
		shown, err := p.Hear(t.Context(), fmt.Sprintf("%02d ", i))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(shown, "ü"); n != 200 {
			t.Errorf("line %d arrived with %d of 200 letters", i, n)
		}
	}
}

// TestLongestLine: what we take for the longest line arrives whole, to the byte.
func TestLongestLine(t *testing.T) {
	ircd := startServer(t, server{})
	wire := startWire(t, ircd.plain)
	p := startPeer(t, ircd.plain, wire, "#lobby")
	r := beginAt(t, wire.address)
	out := r.outcomes(r.deliver(delivery("k", strings.Repeat("x", 1000))))
	if len(out) != 1 || out[0].Err != nil || len(out[0].Parts) != 3 {
		t.Fatalf("outcomes %+v", out)
	}
	if err := p.await(t.Context(), "all of it", func([]*girc.Event) bool { return strings.Count(strings.Join(p.all(), ""), "x") >= 1000 }); err != nil {
		t.Fatal(err)
	}
	if n := len(p.longest()); n != 512 {
		t.Errorf("the longest line had %d bytes of 512", n)
	}
}

// TestDirectChats goes through what a chat meets on real InspIRCds, with echo and without.
func TestDirectChats(t *testing.T) {
	for name, old := range map[string]bool{"with echo": false, "without capabilities": true} {
		t.Run(name, func(t *testing.T) {
			ircd := startServer(t, server{old: old})
			wire := startWire(t, ircd.plain)
			p := startPeer(t, ircd.plain, wire, "#elsewhere")
			r := begin(t, func(c *Config, _ *Side) { c.Server = wire.address })
			r.isReady()
			hears := func(text string) {
				t.Helper()
				if _, err := p.Hear(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			}
			find := func(nick string) (gateway.Person, error) {
				return r.side.Find(t.Context(), gateway.Person{Network: "net", ID: nick})
			}
			if who, err := find(p.ID()); err != nil || who.ID != p.ID() || who.Name != p.nick {
				t.Errorf("found %+v, %v", who, err)
			}
			if who, err := find("nobody"); !errors.Is(err, gateway.ErrNobody) {
				t.Errorf("found %+v, %v", who, err)
			}

			p.write("PRIVMSG lb :who is there?")
			hears("Begin with whom it is for: /msg lb user@example.org: hello")
			p.write("PRIVMSG LB :juliet@example.org: hello")
			ev := r.awaitText("hello")
			at := chat(p.ID(), juliet())
			if ev.At != at || ev.Sender.ID != p.ID() || (ev.Native == "") != old {
				t.Errorf("heard %+v", ev)
			}
			keys := 0
			say := func(text string) <-chan []gateway.Outcome {
				keys++
				d := delivery(fmt.Sprintf("key%d", keys), text)
				d.Room = at
				return r.deliver(d)
			}
			if o := r.one(say("hi there")); o.Err != nil || (len(o.Parts) == 0) != old {
				t.Errorf("outcome %+v", o)
			}
			hears("<juliet@example.org> hi there")
			if o := r.one(say(strings.Repeat("z", 1000))); o.Err != nil {
				t.Errorf("outcome %+v", o)
			}
			p.write("AWAY :lunch")
			report := gateway.Delivery{Key: "report", Room: at, Event: &gateway.Event{Body: gateway.Receipt{State: gateway.Undeliverable, Reason: "they left"}}}
			if o := r.one(r.deliver(report)); o.Err != nil {
				t.Errorf("outcome %+v", o)
			}
			hears("your message to juliet@example.org was not delivered: they left") // behind the long text
			if n := strings.Count(strings.Join(p.all(), ""), "z"); n != 1000 || len(p.longest()) != 512 {
				t.Errorf("%d of 1000 letters arrived, in lines of up to %d bytes", n, len(p.longest()))
			}
			p.write("PRIVMSG lb :juliet@example.org: I am away now")
			r.awaitText("I am away now")
			if o := r.one(say("are you?")); o.Err != nil {
				t.Errorf("outcome %+v", o)
			}
			if ev := r.awaitText(p.nick + " is away: lunch"); ev.At != at {
				t.Errorf("heard %+v", ev)
			}
			if !old {
				for mode, reason := range map[string]string{"g": "server-side ignore", "R": "registered account"} {
					p.write("MODE " + p.nick + " +" + mode)
					p.write("PRIVMSG lb :juliet@example.org: now +" + mode)
					r.awaitText("now +" + mode)
					r.wantDrop(say("may I?"), reason)
					p.write("MODE " + p.nick + " -" + mode)
				}
			}
			p.write("NICK Robert")
			p.write("PRIVMSG lb :juliet@example.org: my new name")
			if ev := r.awaitText("my new name"); ev.At != chat("robert", juliet()) {
				t.Errorf("heard %+v", ev)
			}
			r.wantDrop(say("to the old name"), "is not on net")
		})
	}
}

// TestUntrustedServer: a certificate that nobody vouches for is refused.
func TestUntrustedServer(t *testing.T) {
	ircd := startServer(t, server{})
	cfg := defaults()
	cfg.Server, cfg.Nick, cfg.User = ircd.tls, "lb", "lb"
	s, err := New(cfg, gateway.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if sock, err := s.dial(t.Context()); err == nil {
		sock.Close()
		t.Error("connected")
	} else if !strings.Contains(err.Error(), "certificate") {
		t.Errorf("refused for another reason: %v", err)
	}
}

// beginAt starts a side with the default pace at a real server.
func beginAt(t *testing.T, address string) *rig {
	t.Helper()
	r := begin(t, func(c *Config, _ *Side) { c.Server, c.Pace = address, defaults().Pace })
	r.isReady()
	return r
}

func dialTLS(t testing.TB, address string) (net.Conn, error) {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // only asks what the server offers
	return d.DialContext(t.Context(), "tcp", address)
}

// wire is a stretch of the way between the side and its server that can be cut.
type wire struct {
	address string

	mu   sync.Mutex
	ends []net.Conn
}

func startWire(t *testing.T, to string) *wire {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{address: ln.Addr().String()}
	var copies sync.WaitGroup
	copies.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := new(net.Dialer).DialContext(context.Background(), "tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			w.mu.Lock()
			w.ends = append(w.ends, near, far)
			w.mu.Unlock()
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				copies.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					near.Close()
					far.Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		w.cut()
		copies.Wait()
	})
	return w
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.ends {
		c.Close()
	}
	w.ends = nil
}
