package xmppside

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

// sealedFake is a room of which Juliet is a member with an OMEMO device.
func sealedFake(t *testing.T) (*fakeServer, *omemo.Manager, *sidetest.State, omemo.Device) {
	t.Helper()
	f := newFakeServer(t)
	state := sidetest.NewState()
	manager := omemo.NewManager(state, omemo.Options{})
	var dev omemo.Device
	must(t, state.Update(t.Context(), func(ctx context.Context) (err error) {
		if dev, err = manager.EnsureDevice(ctx, "juliet@test"); err != nil {
			return err
		}
		bundle, err := manager.Bundle(ctx, omemo.Legacy, "juliet@test")
		name, _ := bundleNode(omemo.Legacy, dev.ID)
		f.answers["juliet@test "+name] = string(bundle.AppendXML(nil))
		return err
	}))
	f.answers["juliet@test "+nodeList] = string(omemo.AppendDeviceList(nil, omemo.Legacy, dev.ID))
	f.features = []string{"muc_nonanonymous", "muc_membersonly", nsSID}
	f.members["juliet@test"] = "owner"
	return f, manager, state, dev
}

func TestARepetitionWritesTheSameSealedBytes(t *testing.T) {
	f, juliet, state, dev := sealedFake(t)
	side, _ := startFake(t, f, fakeBridgeRoom(true, gateway.PuppetsActive))
	f.set(func() { f.forget = true })
	done := make(chan error, 1)
	go func() {
		done <- side.Deliver(t.Context(), []gateway.Delivery{delivery(keyA, "in secret", true)})[0].Err
	}()
	puppet := `alice\3atest%matrix@` + fakeDomain
	f.await("the message", func(n *node) bool { return n.get("type") == "groupchat" && bare(n.get("from")) == puppet })
	f.drop()
	if err := <-done; err == nil || gateway.IsDrop(err) {
		t.Fatalf("Deliver across a cut: %v, want an error that is tried again", err)
	}
	f.set(func() { f.forget = false })
	d := delivery(keyA, "in secret", true)
	d.Attempt = 1
	until(t, side, d)
	said := f.saidBy(puppet)
	if len(said) != 2 || !bytes.Equal(said[0].bytes(), said[1].bytes()) {
		t.Fatalf("%d messages, not the same bytes", len(said))
	}
	msg, err := omemo.ParseMessage(omemo.Legacy, said[0].child(nsLegacy, "encrypted").append(nil, ""))
	must(t, err)
	var opened omemo.Opened
	must(t, state.Update(t.Context(), func(ctx context.Context) (err error) {
		opened, err = juliet.Open(ctx, "juliet@test", []string{puppet}, msg)
		return err
	}))
	if string(opened.Plain) != "in secret" || len(msg.Keys) != 1 || msg.Keys[0].RID != dev.ID {
		t.Errorf("opened %q from %d keys", opened.Plain, len(msg.Keys))
	}
	if b := said[0].child("", "body"); b == nil || strings.Contains(b.text, "secret") {
		t.Error("the body is not the fallback")
	}
	if affiliation := f.members[puppet]; affiliation != "member" {
		t.Errorf("the puppet is %q", affiliation)
	}
}

// seal makes Juliet's client seal text for the gateway.
func seal(t *testing.T, side *Side, juliet *omemo.Manager, state *sidetest.State, text string) *node {
	t.Helper()
	return sealFor(t, side, juliet, state, fakeSelf, text)
}

// sealFor makes Juliet's client seal text for one of our addresses.
func sealFor(t *testing.T, side *Side, juliet *omemo.Manager, state *sidetest.State, jid, text string) *node {
	t.Helper()
	own, err := side.device(t.Context(), jid)
	must(t, err)
	to := omemo.Address{JID: jid, Device: own.ID}
	bundle, err := side.bundle(t.Context(), omemo.Legacy, jid)
	must(t, err)
	parsed, err := omemo.ParseBundle(omemo.Legacy, bundle.raw)
	must(t, err)
	var msg *omemo.Message
	must(t, state.Update(t.Context(), func(ctx context.Context) (err error) {
		msg, _, err = juliet.Seal(ctx, omemo.Legacy, "juliet@test", []omemo.Address{to}, map[omemo.Address]*omemo.Bundle{to: parsed}, []byte(text))
		return err
	}))
	return rawNode(msg.AppendXML(nil))
}

func TestALostSessionIsHealedOnce(t *testing.T) {
	f, juliet, state, dev := sealedFake(t)
	side, inbox := startFake(t, f, fakeBridgeRoom(true, gateway.PuppetsActive))
	f.enter("Juliet", "juliet@test/phone", "owner")
	open := func(nth int) {
		t.Helper()
		count := 0
		transport := f.await("a key transport", func(n *node) bool {
			if n.name == "message" && n.get("type") == "chat" && n.get("to") == "juliet@test" {
				count++
			}
			return count == nth
		})
		msg, err := omemo.ParseMessage(omemo.Legacy, transport.child(nsLegacy, "encrypted").append(nil, ""))
		must(t, err)
		must(t, state.Update(t.Context(), func(ctx context.Context) error {
			_, err := juliet.Open(ctx, "juliet@test", []string{fakeSelf}, msg)
			return err
		}))
	}
	f.juliet(seal(t, side, juliet, state, "hello"), body("fallback"))
	if ev := heard(t, inbox, "hello"); ev.Sender.ID != "juliet@test" || ev.Sealed.Protection != gateway.OMEMO {
		t.Errorf("heard %+v", ev)
	}
	open(1) // the empty message that confirms the session
	must(t, side.deps.State.Update(t.Context(), func(ctx context.Context) error {
		return side.omemo.Forget(ctx, fakeSelf, omemo.Address{JID: "juliet@test", Device: dev.ID})
	}))
	f.juliet(seal(t, side, juliet, state, "lost"), body("fallback"))
	f.juliet(seal(t, side, juliet, state, "lost, too"), body("fallback"))
	open(2) // the new session
	f.juliet(seal(t, side, juliet, state, "healed"), body("fallback"))
	heard(t, inbox, "healed")
	if n := len(inbox.Unread()); n != 2 {
		t.Errorf("%d unreadable, want 2: %v", n, inbox.Unread())
	}
	transports := 0
	f.set(func() {
		for _, n := range f.seen {
			if n.get("type") == "chat" && n.child(nsLegacy, "encrypted") != nil {
				transports++
			}
		}
	})
	if transports != 2 {
		t.Errorf("%d key transports, want 2", transports)
	}
	for _, ev := range inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok && strings.Contains(m.Text.Plain, "fallback") {
			t.Errorf("carried %q", m.Text.Plain)
		}
	}
}
