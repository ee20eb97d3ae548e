//go:build e2e

package xmppside

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/testbed/peers"
)

// bed is a slot of the running test bed, with a proxy before the server's component port.
type bed struct {
	*peers.Bed
	slot  *peers.Slot
	proxy *proxy
	cfg   Config
}

func openBed(t *testing.T) *bed {
	t.Helper()
	b, err := peers.Start(t.Context(), os.Stderr)
	must(t, err)
	slot, err := b.Slot()
	must(t, err)
	t.Cleanup(func() { must(t, slot.Release()) })
	p := newProxy(t, b.Addr("COMPONENT"))
	return &bed{Bed: b, slot: slot, proxy: p, cfg: Config{
		Component: slot.Component, Server: p.addr(), Secret: slot.ComponentSecret, Nick: slot.Nick,
		OMEMO: OMEMO{Versions: []string{versionLegacy}, Trust: trustBlind},
	}}
}

// login is a new person with an OMEMO device.
func (b *bed) login(ctx context.Context, t *testing.T, name string) *peers.XMPPClient {
	t.Helper()
	return b.loginIn(ctx, t, name, peers.Legacy)
}

// loginIn is login with a device of some versions.
func (b *bed) loginIn(ctx context.Context, t *testing.T, name string, versions []string) *peers.XMPPClient {
	t.Helper()
	name = peers.Unique(name)
	password, err := b.XMPPAccount(ctx, name, b.Host)
	must(t, err)
	c, err := peers.StartXMPP(ctx, b.Bed, peers.XMPPOptions{JID: name + "@" + b.Host, Password: password, OMEMO: versions})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// room makes a room with the gateway as its admin.
func (b *bed) room(ctx context.Context, t *testing.T, owner *peers.XMPPClient, sealed bool, puppets gateway.Puppets, members ...string) gateway.Room {
	t.Helper()
	jid := peers.Unique("lobby") + "@conference." + b.Host
	must(t, owner.CreateRoom(ctx, jid, "Juliet", sealed, members...))
	must(t, owner.Affiliate(ctx, jid, b.slot.JID(), "admin"))
	return gateway.Room{
		Address: gateway.Address{Network: "xmpp", ID: jid}, Bridge: "lobby", Seal: sealed, KeepMetadata: true,
		Puppets: puppets, MaxPuppets: 20, Others: []gateway.Address{{Network: "matrix", ID: "#lobby:localhost"}},
	}
}

// member is a peer in one room.
type member struct {
	*peers.XMPPClient
	bed  *bed
	room string
	seal bool
}

func (m member) ID() string { return m.JID }

func (m member) Say(ctx context.Context, text string) error {
	if m.seal {
		return m.SaySealed(ctx, m.room, text)
	}
	return m.XMPPClient.Say(ctx, m.room, text)
}

func (m member) Hear(ctx context.Context, text string) (string, error) {
	e, err := m.AwaitText(ctx, m.room, text)
	if err == nil && m.seal && e.Type == "groupchat" && !e.Encrypted {
		return "", fmt.Errorf("%q came in the clear", text)
	}
	return e.Text(), err
}

func (m member) Count(text string) int {
	n := 0
	for _, e := range m.Events() {
		if e.Kind == "message" && !e.Own && strings.Contains(e.Text(), text) {
			n++
		}
	}
	return n
}

func (m member) Cut(context.Context) error {
	m.bed.proxy.cut()
	return nil
}

// exercise runs the suite in a room that shows real addresses, so that the peer's id is known.
func exercise(t *testing.T, sealed bool, puppets gateway.Puppets) {
	sidetest.Exercise(t, func(t *testing.T) sidetest.Harness {
		ctx, b := within(t), openBed(t)
		juliet := b.login(ctx, t, "juliet")
		room := b.room(ctx, t, juliet, sealed, puppets)
		must(t, juliet.Configure(ctx, room.ID, map[string]any{"whois": "anyone"}))
		return sidetest.Harness{
			Room: room, Peer: newTalker(member{juliet, b, room.ID, sealed}), Confirms: true, MissesNothing: true, Foreign: "matrix", Media: b.media(t),
			New: func(deps gateway.Deps) (gateway.Side, error) { return New(b.cfg, deps) },
		}
	})
}

func TestPlainRoomConforms(t *testing.T) { exercise(t, false, gateway.PuppetsActive) }

func TestPlainRoomByRelayConforms(t *testing.T) { exercise(t, false, gateway.PuppetsNone) }

func TestSealedRoomConforms(t *testing.T) { exercise(t, true, gateway.PuppetsActive) }

// TestRealAddressesStayInASemiAnonymousRoom: the gateway sees them as an admin, and tells nobody.
func TestRealAddressesStayInASemiAnonymousRoom(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	room := b.room(ctx, t, juliet, false, gateway.PuppetsActive)
	_, inbox, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
	must(t, juliet.Say(ctx, room.ID, "who am I?"))
	ev := awaitText(ctx, t, inbox, "who am I?")
	id, at, _ := strings.Cut(ev.Sender.ID, "@")
	if at != room.ID || id == "Juliet" || strings.Contains(fmt.Sprint(ev), juliet.JID) {
		t.Errorf("heard from %q: %+v", ev.Sender.ID, ev)
	}
}
