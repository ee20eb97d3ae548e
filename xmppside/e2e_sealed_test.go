//go:build e2e

package xmppside

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/testbed/peers"
)

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 4*time.Minute, errors.New("4 min have passed"))
	t.Cleanup(cancel)
	return ctx
}

// say delivers a message of somebody on Matrix, as often as the gateway would, and returns what became of it.
func say(ctx context.Context, t *testing.T, side *Side, room gateway.Room, who, text string) error {
	t.Helper()
	key, err := randomID()
	must(t, err)
	d := gateway.Delivery{
		Key: key + "00000000", Room: room.Address, Seal: room.Seal,
		Event: &gateway.Event{
			Sender: gateway.Person{Network: "matrix", ID: "@" + strings.ToLower(who) + ":localhost", Name: who},
			Body:   gateway.Message{Text: gateway.Text{Plain: text}},
		},
	}
	for {
		out := side.Deliver(ctx, []gateway.Delivery{d})
		if len(out) != 1 {
			t.Fatalf("%d outcomes for one delivery", len(out))
		}
		err := out[0].Err
		if err == nil || gateway.IsDrop(err) {
			return err
		}
		wait, later := gateway.LaterThan(err)
		if !later {
			d.Attempt++
			wait = time.Second
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

func awaitText(ctx context.Context, t *testing.T, inbox *sidetest.Inbox, text string) *gateway.Event {
	t.Helper()
	ev, err := inbox.Await(ctx, text, func(ev *gateway.Event) bool { return textOf(ev) == text })
	must(t, err)
	return ev
}

func TestTwoPuppetsAndTwoMembersWithTwoDevicesEach(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet, romeo := b.login(ctx, t, "juliet"), b.login(ctx, t, "romeo")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive, romeo.JID)
	must(t, romeo.Join(ctx, room.ID, "Romeo"))
	clients := []*peers.XMPPClient{juliet, romeo}
	for i, c := range []*peers.XMPPClient{juliet, romeo} {
		o := c.Options()
		o.Resource = "second"
		second, err := peers.StartXMPP(ctx, b.Bed, o)
		must(t, err)
		t.Cleanup(func() { _ = second.Close() })
		must(t, second.Join(ctx, room.ID, fmt.Sprintf("Second %d", i)))
		clients = append(clients, second)
	}
	side, inbox, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
	for _, who := range []string{"Alice", "Bob"} {
		must(t, say(ctx, t, side, room, who, "hello from "+who))
		for _, c := range clients {
			e, err := c.AwaitSealed(ctx, room.ID, "hello from "+who)
			must(t, err)
			if want := strings.ToLower(who) + `\3alocalhost%matrix@` + b.cfg.Component; e.Real != want {
				t.Errorf("%s spoke as %s, want %s", who, e.Real, want)
			}
		}
	}
	for i, c := range clients {
		text := fmt.Sprintf("answer %d", i)
		must(t, c.SaySealedAnew(ctx, room.ID, text))
		ev := awaitText(ctx, t, inbox, text)
		if ev.Sender.ID != c.JID || ev.Sealed.Device != fmt.Sprint(c.Device) || ev.Sealed.Protection != gateway.OMEMO {
			t.Errorf("heard from %s, %+v; want %s with device %d", ev.Sender.ID, ev.Sealed, c.JID, c.Device)
		}
	}
	for i := range 3 { // sessions have turned by now
		must(t, say(ctx, t, side, room, "Alice", fmt.Sprintf("again %d", i)))
		for _, c := range clients {
			_, err := c.AwaitSealed(ctx, room.ID, fmt.Sprintf("again %d", i))
			must(t, err)
		}
	}
	if len(inbox.Unread()) > 0 {
		t.Errorf("unreadable: %v", inbox.Unread())
	}
}

func TestAMemberWhoJoinsLaterReadsNewMessages(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet, nurse := b.login(ctx, t, "juliet"), b.login(ctx, t, "nurse")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive)
	side, inbox, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
	must(t, say(ctx, t, side, room, "Alice", "before"))
	must(t, juliet.Affiliate(ctx, room.ID, nurse.JID, "member"))
	must(t, nurse.Join(ctx, room.ID, "Nurse"))
	must(t, nurse.SaySealedAnew(ctx, room.ID, "here I am"))
	awaitText(ctx, t, inbox, "here I am")
	must(t, say(ctx, t, side, room, "Alice", "welcome"))
	_, err := nurse.AwaitSealed(ctx, room.ID, "welcome")
	must(t, err)
	must(t, juliet.Affiliate(ctx, room.ID, nurse.JID, "none"))
	_, err = juliet.Await(ctx, "the nurse is put out", func(e peers.XMPPEvent) bool {
		return e.Kind == "presence" && e.Type == "unavailable" && e.Nick == "Nurse"
	})
	must(t, err)
	untilSealed(ctx, t, side, room, juliet, "among ourselves", func(xml string) bool { return !strings.Contains(xml, fmt.Sprint(nurse.Device)) })
}

// untilSealed has Alice speak until what arrives fits: the news travels on its own, and each message shows how far it is.
func untilSealed(ctx context.Context, t *testing.T, side *Side, room gateway.Room, who *peers.XMPPClient, what string, fits func(xml string) bool) {
	t.Helper()
	for i := 0; ; i++ {
		text := fmt.Sprintf("%s %d", what, i)
		must(t, say(ctx, t, side, room, "Alice", text))
		e, err := who.AwaitSealed(ctx, room.ID, text)
		must(t, err)
		if fits(e.XML) {
			return
		}
	}
}

func TestADeviceIsAddedAndRemoved(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive)
	side, _, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
	must(t, say(ctx, t, side, room, "Alice", "to one device"))
	_, err := juliet.AwaitSealed(ctx, room.ID, "to one device")
	must(t, err)
	o := juliet.Options()
	o.Resource = "second"
	second, err := peers.StartXMPP(ctx, b.Bed, o)
	must(t, err)
	t.Cleanup(func() { _ = second.Close() })
	must(t, second.Join(ctx, room.ID, "Juliet's other"))
	rid := fmt.Sprintf(`rid="%d"`, second.Device)
	untilSealed(ctx, t, side, room, juliet, "to two devices", func(xml string) bool { return strings.Contains(xml, rid) })
	must(t, juliet.RemoveDevice(ctx, second.Device))
	untilSealed(ctx, t, side, room, juliet, "to one again", func(xml string) bool { return !strings.Contains(xml, rid) })
}

func TestPlainTextInASealedRoomIsRefusedOnce(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive)
	_, inbox, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
	must(t, juliet.Say(ctx, room.ID, "in the clear"))
	must(t, juliet.Say(ctx, room.ID, "in the clear again"))
	must(t, juliet.SaySealed(ctx, room.ID, "sealed"))
	awaitText(ctx, t, inbox, "sealed")
	reports := 0
	for _, ev := range inbox.Heard() {
		if strings.Contains(textOf(ev), "clear") {
			t.Errorf("plain text was carried: %+v", ev)
		}
		if r, ok := ev.Body.(gateway.Receipt); ok && r.State == gateway.Undeliverable {
			reports++
		}
	}
	if reports != 1 {
		t.Errorf("%d reports, want 1", reports)
	}
}

func TestARoomThatOpensUpIsNotCarriedAnyMore(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive)
	side, inbox, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
	must(t, say(ctx, t, side, room, "Alice", "among members"))
	must(t, juliet.Configure(ctx, room.ID, map[string]any{"membersonly": false}))
	r := side.carried().byName[room.ID]
	must(t, r.await(ctx, func() bool { return r.flagsKnown && !r.membersOnly }))
	if err := say(ctx, t, side, room, "Alice", "among everybody"); !gateway.IsDrop(err) {
		t.Errorf("Deliver: %v, want a Drop", err)
	}
	must(t, juliet.SaySealed(ctx, room.ID, "sealed, but in the open"))
	_, err := inbox.Await(ctx, "a report", func(ev *gateway.Event) bool { _, ok := ev.Body.(gateway.Receipt); return ok })
	must(t, err)
	must(t, juliet.Configure(ctx, room.ID, map[string]any{"membersonly": true}))
	must(t, r.await(ctx, func() bool { return r.flagsKnown && r.membersOnly }))
	must(t, say(ctx, t, side, room, "Alice", "among members again"))
	_, err = juliet.AwaitSealed(ctx, room.ID, "among members again")
	must(t, err)
}

func TestAPuppetIsAMemberUntilItsPersonLeaves(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive)
	side, _, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
	must(t, say(ctx, t, side, room, "Alice", "hello"))
	puppet := `alice\3alocalhost%matrix@` + b.cfg.Component
	found, err := juliet.Affiliations(ctx, room.ID)
	must(t, err)
	if found[puppet] != "member" {
		t.Errorf("affiliations %v, want %s as a member", found, puppet)
	}
	out := side.Deliver(ctx, []gateway.Delivery{{Key: "x", Room: room.Address, Seal: true, Event: &gateway.Event{Body: gateway.Membership{
		Who: gateway.Person{Network: "matrix", ID: "@alice:localhost"}, Change: gateway.Leave,
	}}}})
	must(t, out[0].Err)
	found, err = juliet.Affiliations(ctx, room.ID)
	must(t, err)
	if found[puppet] != "" {
		t.Errorf("the puppet is still %s", found[puppet])
	}
	must(t, say(ctx, t, side, room, "Alice", "back again"))
	_, err = juliet.AwaitSealed(ctx, room.ID, "back again")
	must(t, err)
}

func TestAGatewayThatIsNoAdminSpeaksItself(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive)
	must(t, juliet.Affiliate(ctx, room.ID, b.slot.JID(), "member"))
	side, _, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
	must(t, say(ctx, t, side, room, "Alice", "hello"))
	e, err := juliet.AwaitSealed(ctx, room.ID, "<Alice> hello")
	must(t, err)
	if e.Real != b.slot.JID() {
		t.Errorf("%s spoke", e.Real)
	}
}

func TestAMemberWhoseServerHidesHerKeysIsHeardAndAnswered(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	name := peers.Unique("nurse")
	password, err := b.XMPPAccount(ctx, name, "stock."+b.Host)
	must(t, err)
	nurse, err := peers.StartProfanity(ctx, b.Bed, name+"@stock."+b.Host, password, nil)
	must(t, err)
	t.Cleanup(nurse.Close)
	must(t, nurse.PublishOMEMO(ctx))
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive, nurse.JID)
	side, inbox, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
	must(t, say(ctx, t, side, room, "Alice", "before the nurse"))
	must(t, nurse.JoinSealed(ctx, room.ID))
	must(t, nurse.AwaitSession(ctx, b.slot.JID()))
	must(t, nurse.Say(ctx, "hold then"))
	ev := awaitText(ctx, t, inbox, "hold then")
	if ev.Sender.ID != nurse.JID {
		t.Errorf("heard from %s, want %s", ev.Sender.ID, nurse.JID)
	}
	must(t, say(ctx, t, side, room, "Alice", "to the nurse"))
	must(t, nurse.AwaitSealed(ctx, room.ID, "to the nurse"))
}

func TestPuppetsAnswerAsAccounts(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive)
	side, _, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
	must(t, say(ctx, t, side, room, "Alice", "hello"))
	puppet := `alice\3alocalhost%matrix@` + b.cfg.Component
	items := func(node string) string {
		return `<pubsub xmlns="http://jabber.org/protocol/pubsub"><items node="` + node + `"/></pubsub>`
	}
	for _, c := range []struct{ to, kind, ask, want string }{
		{puppet, "get", items(nodeList), `device id="`},
		{puppet, "get", items(nodeList), `from="` + puppet + `"`},
		{puppet, "get", items(nodeList), `node="` + nodeList + `"`},
		{puppet, "get", `<query xmlns="` + nsDiscoInfo + `"/>`, `category="pubsub"`},
		{puppet + "/" + resource, "get", `<query xmlns="` + nsDiscoInfo + `" node="` + capsURI + "#" + side.capsVer() + `"/>`, nodeList + "+notify"},
		{puppet, "get", `<vCard xmlns="vcard-temp"/>`, "Alice"},
		{puppet, "set", `<pubsub xmlns="http://jabber.org/protocol/pubsub"><subscribe node="` + nodeList + `" jid="` + juliet.JID + `"/></pubsub>`, `subscription="subscribed"`},
		{b.cfg.Component, "get", `<ping xmlns="urn:xmpp:ping"/>`, `type="result"`},
	} {
		got, err := juliet.IQ(ctx, c.to, c.kind, c.ask)
		must(t, err)
		if !strings.Contains(got, c.want) {
			t.Errorf("%s of %s: %s lacks %s", c.ask, c.to, got, c.want)
		}
	}
	for _, c := range []struct{ to, kind, ask, want string }{
		{puppet, "get", items(nsOMEMOTwo + ":devices"), "item-not-found"},
		{puppet, "get", items(nodeBundles + "1"), "item-not-found"},
		{"stranger%matrix@" + b.cfg.Component, "get", items(nodeList), "item-not-found"},
		{puppet, "set", `<pubsub xmlns="http://jabber.org/protocol/pubsub"><publish node="` + nodeList + `"/></pubsub>`, "forbidden"},
		{puppet, "get", `<query xmlns="jabber:iq:last"/>`, "service-unavailable"},
	} {
		got, err := juliet.IQ(ctx, c.to, c.kind, c.ask)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %s: %s, %v; want %s", c.ask, c.to, got, err, c.want)
		}
	}
}
