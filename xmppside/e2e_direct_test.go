//go:build e2e

package xmppside

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/testbed/peers"
)

var e2eAlice = gateway.Person{Network: "matrix", ID: "@alice:localhost", Name: "Alice"}

func (b *bed) puppet() string { return `alice\3alocalhost%matrix@` + b.cfg.Component }

// direct runs a side with direct chats for everybody on the bed's host; Alice exists.
func (b *bed) direct(ctx context.Context, t *testing.T, rooms ...gateway.Room) (*Side, *sidetest.Inbox) {
	t.Helper()
	return b.directBy(ctx, t, gateway.EncryptionRequired, rooms...)
}

func (b *bed) directBy(ctx context.Context, t *testing.T, encryption gateway.Encryption, rooms ...gateway.Room) (*Side, *sidetest.Inbox) {
	t.Helper()
	w := &town{names: map[string]string{e2eAlice.ID: e2eAlice.Name}}
	allowed := gateway.Direct{Allow: []string{b.Host, "stock." + b.Host}, Encryption: encryption, Clear: []string{"matrix", "libera"}}.WithKinds(fakeKinds)
	side, inbox, _ := startWith(ctx, t, b.cfg, sidetest.NewState(), gateway.Deps{Rooms: rooms, Direct: allowed, Find: w.find})
	return side, inbox
}

// answer delivers something from Alice to somebody.
func answer(ctx context.Context, t *testing.T, side *Side, to, key string, b gateway.Body) gateway.Outcome {
	t.Helper()
	at := gateway.DirectAddress(gateway.Person{Network: "xmpp", ID: to}, e2eAlice)
	out := side.Deliver(ctx, []gateway.Delivery{{Key: key, Room: at, Seal: true, Event: &gateway.Event{At: at.Mirror(), Sender: e2eAlice, Body: b}}})
	if len(out) != 1 {
		t.Fatalf("%d outcomes for one delivery", len(out))
	}
	return out[0]
}

func keyNumber(n int) string { return fmt.Sprintf("%032x", n) }

// TestAPuppetNobodyHasMetIsWrittenToAndAnswers: by each version of OMEMO, to two devices.
func TestAPuppetNobodyHasMetIsWrittenToAndAnswers(t *testing.T) {
	for _, version := range []string{versionLegacy, versionTwo} {
		t.Run(version, func(t *testing.T) {
			ctx, b := within(t), openBed(t)
			b.cfg.OMEMO.Versions = []string{versionLegacy, versionTwo}
			name := peers.Unique("juliet")
			password, err := b.XMPPAccount(ctx, name, b.Host)
			must(t, err)
			var devices []*peers.XMPPClient
			for _, resource := range []string{"phone", "laptop"} {
				c, err := peers.StartXMPP(ctx, b.Bed, peers.XMPPOptions{JID: name + "@" + b.Host, Password: password, Resource: resource, OMEMO: []string{version}})
				must(t, err)
				t.Cleanup(func() { _ = c.Close() })
				devices = append(devices, c)
			}
			juliet := devices[0]
			side, inbox := b.direct(ctx, t)
			must(t, juliet.SaySealed(ctx, b.puppet(), "is anybody there?"))
			ev := awaitText(ctx, t, inbox, "is anybody there?")
			if ev.Sender.ID != juliet.JID || ev.Sealed.Protection != gateway.OMEMO || ev.Sealed.Version != version {
				t.Errorf("heard from %s, %+v", ev.Sender.ID, ev.Sealed)
			}
			for i := range 5 { // sessions turn
				text := fmt.Sprintf("answer %d", i)
				out := answer(ctx, t, side, juliet.JID, keyNumber(i), gateway.Message{Text: gateway.Text{Plain: text}})
				must(t, out.Err)
				for _, c := range devices {
					e, err := c.AwaitSealed(ctx, b.puppet(), text)
					must(t, err)
					if e.ID != out.Parts[0].Native || e.OriginID != e.ID {
						t.Errorf("it came as %s, %s", e.ID, e.OriginID)
					}
				}
				for _, c := range devices {
					text := fmt.Sprintf("%s says %d", c.Options().Resource, i)
					must(t, c.SaySealed(ctx, b.puppet(), text))
					awaitText(ctx, t, inbox, text)
				}
			}
			must(t, answer(ctx, t, side, juliet.JID, keyNumber(100), gateway.Receipt{State: gateway.Undeliverable, Reason: "the moon is full", Target: gateway.Ref{Native: ev.Native}}).Err)
			_, err = juliet.AwaitSealed(ctx, b.puppet(), "the moon is full")
			must(t, err)
			if len(inbox.Unread()) > 0 {
				t.Errorf("unreadable: %v", inbox.Unread())
			}
		})
	}
}

func TestAPersonWithoutADeviceGetsNothingInTheClear(t *testing.T) {
	ctx, b := within(t), openBed(t)
	name := peers.Unique("nurse")
	password, err := b.XMPPAccount(ctx, name, b.Host)
	must(t, err)
	nurse, err := peers.StartXMPP(ctx, b.Bed, peers.XMPPOptions{JID: name + "@" + b.Host, Password: password})
	must(t, err)
	t.Cleanup(func() { _ = nurse.Close() })
	side, inbox := b.direct(ctx, t)
	must(t, nurse.Call(ctx, "send", map[string]any{"to": b.puppet(), "body": "in the clear", "id": "m1"}, nil))
	ev := awaitText(ctx, t, inbox, "in the clear") // the gateway refuses it, not its side
	if out := answer(ctx, t, side, nurse.JID, keyNumber(1), gateway.Message{Text: gateway.Text{Plain: "in secret"}}); !gateway.IsDrop(out.Err) {
		t.Errorf("Deliver to somebody without a device: %v", out.Err)
	}
	must(t, answer(ctx, t, side, nurse.JID, keyNumber(2), gateway.Receipt{State: gateway.Undeliverable, Reason: "it must be sealed", Target: gateway.Ref{Native: ev.Native}}).Err)
	e, err := nurse.Await(ctx, "an error", func(e peers.XMPPEvent) bool { return e.Kind == "message" && e.Type == "error" })
	must(t, err)
	if e.ID != "m1" || !strings.Contains(e.Error+e.XML, "it must be sealed") {
		t.Errorf("the report is %s", e.XML)
	}
	for _, e := range nurse.Events() {
		if strings.Contains(e.XML, "in secret") {
			t.Errorf("said in the clear: %s", e.XML)
		}
	}
}

func TestWhatAnUnknownAccountSendsBackIsReported(t *testing.T) {
	ctx, b := within(t), openBed(t)
	side, inbox := b.directBy(ctx, t, gateway.EncryptionOff)
	nobody := "nobody-" + peers.Unique("x") + "@" + b.Host
	at := gateway.DirectAddress(gateway.Person{Network: "xmpp", ID: nobody}, e2eAlice)
	out := side.Deliver(ctx, []gateway.Delivery{{Key: keyNumber(1), Room: at, Event: &gateway.Event{Sender: e2eAlice, Body: gateway.Message{Text: gateway.Text{Plain: "hello?"}}}}})
	if err := out[0].Err; !gateway.IsDrop(err) || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("Deliver: %v, want it dropped, for there is nobody", err)
	}
	for _, ev := range inbox.Heard() {
		if _, ok := ev.Body.(gateway.Receipt); ok {
			t.Errorf("told a second time: %+v", ev)
		}
	}
}

// TestAContactSeesThePuppetAndItsDevices: it asks back, and learns of the contact's devices by the contact's server.
func TestAContactSeesThePuppetAndItsDevices(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	side, _ := b.direct(ctx, t)
	must(t, juliet.Subscribe(ctx, b.puppet(), "subscribe"))
	for _, kind := range []string{"subscribed", "subscribe", ""} {
		_, err := juliet.Await(ctx, "presence "+kind, func(e peers.XMPPEvent) bool {
			return (e.Kind == "presence" || e.Kind == "subscription") && strings.HasPrefix(e.From, b.puppet()) && e.Type == kind
		})
		must(t, err)
	}
	must(t, juliet.Subscribe(ctx, b.puppet(), "subscribed"))
	until := func() bool {
		k, err := side.contactOf(ctx, b.puppet(), juliet.JID)
		must(t, err)
		return k.Follows && k.Followed
	}
	for !until() { // each query shows how far it is
		_, err := juliet.IQ(ctx, b.puppet(), "get", `<ping xmlns="urn:xmpp:ping"/>`)
		must(t, err)
	}
	dev, err := side.device(ctx, b.puppet())
	must(t, err)
	_, err = juliet.Await(ctx, "the puppet's device list", func(e peers.XMPPEvent) bool {
		return e.Kind == "devices" && e.From == b.puppet() && len(e.Devices) == 1 && e.Devices[0] == int64(dev.ID)
	})
	must(t, err)
}

func TestPrivateMessagesOfARoomAreAChat(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive)
	side, inbox := b.direct(ctx, t, room)
	must(t, say(ctx, t, side, room, "Alice", "here I am"))
	_, err := juliet.AwaitSealed(ctx, room.ID, "here I am")
	must(t, err)
	must(t, juliet.SayPrivately(ctx, room.ID, "Alice", "psst"))
	if ev := awaitText(ctx, t, inbox, "psst"); ev.Sender.ID != juliet.JID || ev.At != gateway.DirectAddress(gateway.Person{Network: "xmpp", ID: juliet.JID}, e2eAlice) {
		t.Errorf("heard %+v", ev)
	}
	must(t, juliet.SaySealed(ctx, b.puppet(), "and sealed"))
	awaitText(ctx, t, inbox, "and sealed")
	must(t, answer(ctx, t, side, juliet.JID, keyNumber(1), gateway.Message{Text: gateway.Text{Plain: "I hear you"}}).Err)
	_, err = juliet.AwaitSealed(ctx, b.puppet(), "I hear you")
	must(t, err)
}

// TestTheGatewayTellsWhoseKeysItsAddressesHave: sealed, to who asks sealed.
func TestTheGatewayTellsWhoseKeysItsAddressesHave(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	side, inbox := b.direct(ctx, t)
	must(t, juliet.SaySealed(ctx, side.self, "who are you?"))
	e, err := juliet.AwaitSealed(ctx, side.self, "gateway")
	must(t, err)
	dev, err := side.device(ctx, side.self)
	must(t, err)
	if !strings.Contains(e.Text(), dev.Identity.Fingerprint()) {
		t.Errorf("help is %q", e.Text())
	}
	if len(inbox.Heard()) > 0 {
		t.Errorf("heard %+v", inbox.Heard()[0])
	}
}

// TestProfanityTalksToAPuppetNobodyHasMet: a client that people use, whose server shows its devices to contacts only.
func TestProfanityTalksToAPuppetNobodyHasMet(t *testing.T) {
	for _, host := range []string{"", "stock."} {
		t.Run("at "+host+"host", func(t *testing.T) {
			ctx, b := within(t), openBed(t)
			name := peers.Unique("nurse")
			password, err := b.XMPPAccount(ctx, name, host+b.Host)
			must(t, err)
			nurse, err := peers.StartProfanity(ctx, b.Bed, name+"@"+host+b.Host, password, nil)
			must(t, err)
			t.Cleanup(nurse.Close)
			must(t, nurse.PublishOMEMO(ctx))
			side, inbox := b.direct(ctx, t)
			must(t, nurse.OpenSealed(ctx, b.puppet()))
			must(t, nurse.AwaitSession(ctx, b.puppet()))
			must(t, nurse.Say(ctx, "is anybody there?"))
			ev := awaitText(ctx, t, inbox, "is anybody there?")
			if ev.Sender.ID != nurse.JID || ev.Sealed.Protection != gateway.OMEMO {
				t.Errorf("heard from %s, %+v", ev.Sender.ID, ev.Sealed)
			}
			for i := range 3 {
				text := fmt.Sprintf("answer %d", i)
				must(t, answer(ctx, t, side, nurse.JID, keyNumber(i), gateway.Message{Text: gateway.Text{Plain: text}}).Err)
				must(t, nurse.AwaitSealed(ctx, b.puppet(), text))
				must(t, nurse.Say(ctx, "and "+text))
				awaitText(ctx, t, inbox, "and "+text)
			}
		})
	}
}
