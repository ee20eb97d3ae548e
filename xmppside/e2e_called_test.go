//go:build e2e

package xmppside

import (
	"context"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/testbed/peers"
)

// TestPeopleGoByWhatTheyPublish: a nick that the server shows to contacts only, and a card that it shows to everybody.
func TestPeopleGoByWhatTheyPublish(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet, nurse := b.login(ctx, t, "juliet"), b.login(ctx, t, "nurse")
	side, inbox := b.direct(ctx, t)
	publish := func(c *peers.XMPPClient, payload string) {
		t.Helper()
		_, err := c.IQ(ctx, c.JID, "set", payload)
		must(t, err)
	}
	learnt := func(c *peers.XMPPClient) {
		t.Helper()
		for { // each query shows how far it is
			found, err := side.deps.State.GetMany(ctx, []string{stateName + c.JID})
			must(t, err)
			if len(found) > 0 {
				return
			}
			_, err = c.IQ(ctx, b.puppet(), "get", `<ping xmlns="urn:xmpp:ping"/>`)
			must(t, err)
		}
	}
	publish(juliet, `<pubsub xmlns="http://jabber.org/protocol/pubsub"><publish node="`+nsNick+`"><item id="current"><nick xmlns="`+nsNick+`">Jule</nick></item></publish></pubsub>`)
	must(t, juliet.Subscribe(ctx, b.puppet(), "subscribe"))
	_, err := juliet.Await(ctx, "the puppet's question", func(e peers.XMPPEvent) bool {
		return (e.Kind == "presence" || e.Kind == "subscription") && strings.HasPrefix(e.From, b.puppet()) && e.Type == "subscribe"
	})
	must(t, err)
	must(t, juliet.Subscribe(ctx, b.puppet(), "subscribed"))
	learnt(juliet)
	must(t, juliet.SaySealed(ctx, b.puppet(), "what is in a name?"))
	if ev := awaitText(ctx, t, inbox, "what is in a name?"); ev.Sender.Name != "Jule" {
		t.Errorf("Juliet is called %q", ev.Sender.Name)
	}
	publish(nurse, `<vCard xmlns="vcard-temp"><FN>Angelica</FN></vCard>`)
	must(t, nurse.SaySealed(ctx, b.puppet(), "first"))
	awaitText(ctx, t, inbox, "first")
	learnt(nurse)
	must(t, nurse.SaySealed(ctx, b.puppet(), "second"))
	if ev := awaitText(ctx, t, inbox, "second"); ev.Sender.Name != "Angelica" {
		t.Errorf("the nurse is called %q", ev.Sender.Name)
	}
}

// TestAnswersAreSealedWhereTheLastWordWas: in chats that may be in the clear.
func TestAnswersAreSealedWhereTheLastWordWas(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive)
	side, inbox := b.directBy(ctx, t, gateway.EncryptionOff, room)
	must(t, say(ctx, t, side, room, "Alice", "here I am")) // so the puppet has a device
	_, err := juliet.AwaitSealed(ctx, room.ID, "here I am")
	must(t, err)
	at := gateway.DirectAddress(gateway.Person{Network: "xmpp", ID: juliet.JID}, e2eAlice)
	tell := func(ctx context.Context, n int, text string) {
		t.Helper()
		out := side.Deliver(ctx, []gateway.Delivery{{Key: keyNumber(n), Room: at, Event: &gateway.Event{At: at.Mirror(), Sender: e2eAlice, Body: gateway.Message{Text: gateway.Text{Plain: text}}}}})
		must(t, out[0].Err)
	}
	must(t, juliet.SaySealed(ctx, b.puppet(), "between us"))
	awaitText(ctx, t, inbox, "between us")
	tell(ctx, 1, "between us, yes")
	_, err = juliet.AwaitSealed(ctx, b.puppet(), "between us, yes")
	must(t, err)
	must(t, juliet.Say(ctx, b.puppet(), "hear, all of you"))
	awaitText(ctx, t, inbox, "hear, all of you")
	tell(ctx, 2, "all of us hear")
	if e, err := juliet.AwaitText(ctx, b.puppet(), "all of us hear"); err != nil || e.Encrypted {
		t.Errorf("answered with %s, %v", e.XML, err)
	}
}
