//go:build e2e

package xmppside

import (
	"context"
	"crypto/sha1" //nolint:gosec // the handshake of XEP-0114
	"encoding/hex"
	"fmt"
	"net"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// floor is how long the server itself takes to let a component connect, enter a room, and hear its own words.
func (b *bed) floor(t *testing.T, room string) time.Duration {
	t.Helper()
	began := time.Now()
	conn, err := net.Dial("tcp", b.proxy.server)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(began.Add(60*time.Second)))
	f := newFramer(conn, maxStanza)
	fmt.Fprintf(conn, "<stream:stream xmlns='%s' xmlns:stream='http://etherx.jabber.org/streams' to='%s'>", nsComponent, b.cfg.Component)
	open, err := f.next()
	must(t, err)
	head, err := parseTag(open.raw[len("<?xml version='1.0'?>"):])
	must(t, err)
	sum := sha1.Sum([]byte(head.get("id") + b.cfg.Secret)) //nolint:gosec // see above
	fmt.Fprintf(conn, "<handshake>%s</handshake>", hex.EncodeToString(sum[:]))
	_, err = f.next()
	must(t, err)
	self := b.cfg.Nick + "@" + b.cfg.Component + "/" + resource
	fmt.Fprintf(conn, "<presence from='%s' to='%s/%s'><x xmlns='%s'/></presence>", self, room, b.cfg.Nick, nsMUC)
	for awaited := "'110'"; awaited != ""; {
		fr, err := f.next()
		must(t, err)
		switch {
		case awaited == "'110'" && hasSelfStatus(fr.raw):
			fmt.Fprintf(conn, "<message type='groupchat' id='floor' from='%s' to='%s'><body>floor</body></message>", self, room)
			awaited = "floor"
		case awaited == "floor":
			if tag, err := parseTag(fr.raw); err == nil && tag.get("id") == "floor" && tag.get("type") == "groupchat" {
				awaited = ""
			}
		}
	}
	return time.Since(began)
}

// firstWord is how long a side takes from its start until it has said what waits.
func (b *bed) firstWord(ctx context.Context, t *testing.T, state *sidetest.State, inbox *sidetest.Inbox, room gateway.Room) time.Duration {
	t.Helper()
	key, err := randomID()
	must(t, err)
	d := gateway.Delivery{Key: key + "00000000", Room: room.Address, Seal: room.Seal, Attempt: 1, Event: &gateway.Event{
		Sender: gateway.Person{Network: "matrix", ID: "@mercutio:localhost", Name: "Mercutio"}, Body: gateway.Message{Text: gateway.Text{Plain: "after"}},
	}}
	ready := make(chan struct{}, 100)
	began := time.Now()
	side, err := New(b.cfg, gateway.Deps{Network: "xmpp", State: state, Rooms: []gateway.Room{room}, Log: testLog(t), Ready: func(error) { ready <- struct{}{} }})
	must(t, err)
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- side.Run(running, inbox) }()
	defer func() {
		cancel()
		must(t, <-ended)
	}()
	for out := side.Deliver(ctx, []gateway.Delivery{d}); out[0].Err != nil; out = side.Deliver(ctx, []gateway.Delivery{d}) {
		if gateway.IsDrop(out[0].Err) {
			t.Fatal(out[0].Err)
		}
		select {
		case <-ready:
		case <-ctx.Done():
			t.Fatalf("%v: %v", context.Cause(ctx), out[0].Err)
		}
	}
	return time.Since(began)
}

// TestTheFirstWordAfterARestart: what waits is said hardly later than a program could that does nothing else.
func TestTheFirstWordAfterARestart(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed=%v", sealed), func(t *testing.T) {
			ctx, b := within(t), openBed(t)
			juliet := b.login(ctx, t, "juliet")
			room := b.room(ctx, t, juliet, sealed, gateway.PuppetsActive)
			state := sidetest.NewState()
			side, inbox, stop := start(ctx, t, b.cfg, state, room)
			must(t, say(ctx, t, side, room, "Mercutio", "before"))
			for i := range 30 {
				must(t, member{juliet, b, room.ID, sealed}.Say(ctx, fmt.Sprint("word ", i)))
			}
			awaitText(ctx, t, inbox, "word 29")
			stop()
			for attempt := 1; ; attempt++ { // a busy machine gets more than one
				floor := b.floor(t, room.ID)
				took := b.firstWord(ctx, t, state, inbox, room)
				t.Logf("said after %v, the server's own time is %v", took, floor)
				if took <= floor+300*time.Millisecond {
					return
				}
				if attempt == 10 {
					t.Fatalf("said after %v, the server's own time is %v", took, floor)
				}
			}
		})
	}
}
