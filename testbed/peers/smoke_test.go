//go:build e2e

package peers

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

func start(t *testing.T) (context.Context, *Bed) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("a minute has passed"))
	t.Cleanup(cancel)
	b, err := Start(ctx, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, b
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func member(ctx context.Context, t *testing.T, b *Bed, name string) *XMPPClient {
	t.Helper()
	return memberWith(ctx, t, b, name, Legacy)
}

func memberWith(ctx context.Context, t *testing.T, b *Bed, name string, versions []string) *XMPPClient {
	t.Helper()
	name = Unique(name)
	password, err := b.XMPPAccount(ctx, name, b.Host)
	ok(t, err)
	c, err := StartXMPP(ctx, b, XMPPOptions{JID: name + "@" + b.Host, Password: password, OMEMO: versions})
	ok(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestTwoMembersTalkInASealedRoom(t *testing.T) {
	ctx, b := start(t)
	juliet, romeo := member(ctx, t, b, "juliet"), member(ctx, t, b, "romeo")
	room := Unique("balcony") + "@conference." + b.Host
	ok(t, juliet.CreateRoom(ctx, room, "Juliet", true, romeo.JID))
	ok(t, romeo.Join(ctx, room, "Romeo"))
	_, err := juliet.AwaitOccupant(ctx, room, romeo.JID)
	ok(t, err)
	ok(t, juliet.SaySealed(ctx, room, "Wherefore art thou"))
	_, err = romeo.AwaitSealed(ctx, room, "Wherefore art thou")
	ok(t, err)
	ok(t, romeo.SaySealed(ctx, room, "Shall I hear more"))
	_, err = juliet.AwaitSealed(ctx, room, "Shall I hear more")
	ok(t, err)
}

func TestThreeMembersTalkInTwoVersions(t *testing.T) {
	ctx, b := start(t)
	juliet, romeo, paris := memberWith(ctx, t, b, "juliet", Both), memberWith(ctx, t, b, "romeo", Two), memberWith(ctx, t, b, "paris", Legacy)
	room := Unique("tomb") + "@conference." + b.Host
	ok(t, juliet.CreateRoom(ctx, room, "Juliet", true, romeo.JID, paris.JID))
	for nick, c := range map[string]*XMPPClient{"Romeo": romeo, "Paris": paris} {
		ok(t, c.Join(ctx, room, nick))
		_, err := juliet.AwaitOccupant(ctx, room, c.JID)
		ok(t, err)
	}
	ok(t, juliet.SaySealed(ctx, room, "What's here? a cup"))
	for c, namespace := range map[*XMPPClient]string{romeo: "urn:xmpp:omemo:2", paris: "eu.siacs.conversations.axolotl"} {
		e, err := c.AwaitSealed(ctx, room, "What's here? a cup")
		ok(t, err)
		if e.Namespace != namespace {
			t.Errorf("%s got it in %s", c.JID, e.Namespace)
		}
	}
	held := paris.Mark()
	ok(t, paris.Hold(ctx))
	for _, text := range []string{"First", "Second"} {
		ok(t, juliet.SaySealedIn(ctx, paris.JID, text, Legacy...))
	}
	ok(t, paris.AwaitHeld(ctx, held, 2, juliet.JID))
	ok(t, paris.UnholdReversed(ctx))
	_, err := paris.AwaitSealed(ctx, juliet.JID, "First")
	ok(t, err)
	_, err = paris.AwaitSealed(ctx, juliet.JID, "Second")
	ok(t, err)
}

func TestAStrangerCannotEnterAMembersOnlyRoom(t *testing.T) {
	ctx, b := start(t)
	juliet, tybalt := member(ctx, t, b, "juliet"), member(ctx, t, b, "tybalt")
	room := Unique("balcony") + "@conference." + b.Host
	ok(t, juliet.CreateRoom(ctx, room, "Juliet", true))
	if err := tybalt.Join(ctx, room, "Tybalt"); err == nil {
		t.Fatal("he got in")
	}
}

func TestProfanityAndTheScriptedClientTalkInASealedRoom(t *testing.T) {
	ctx, b := start(t)
	juliet := member(ctx, t, b, "juliet")
	name := Unique("nurse")
	password, err := b.XMPPAccount(ctx, name, b.Host)
	ok(t, err)
	nurse, err := StartProfanity(ctx, b, name+"@"+b.Host, password, nil)
	ok(t, err)
	t.Cleanup(nurse.Close)
	ok(t, nurse.PublishOMEMO(ctx))
	devices, err := juliet.Devices(ctx, nurse.JID)
	ok(t, err)
	if len(devices) != 1 {
		t.Fatalf("of her devices %v can be fetched", devices)
	}
	room := Unique("chamber") + "@conference." + b.Host
	ok(t, juliet.CreateRoom(ctx, room, "Juliet", true, nurse.JID))
	ok(t, nurse.JoinSealed(ctx, room))
	_, err = juliet.AwaitOccupant(ctx, room, nurse.JID)
	ok(t, err)
	ok(t, juliet.SaySealed(ctx, room, "Go ask his name"))
	ok(t, nurse.AwaitSealed(ctx, room, "Go ask his name"))
	ok(t, nurse.AwaitSession(ctx, juliet.JID))
	ok(t, nurse.Say(ctx, "His name is Romeo"))
	_, err = juliet.AwaitSealed(ctx, room, "His name is Romeo")
	ok(t, err)
}

func TestProfanityAndTheScriptedClientTalkInPrivate(t *testing.T) {
	ctx, b := start(t)
	juliet := member(ctx, t, b, "juliet")
	name := Unique("nurse")
	password, err := b.XMPPAccount(ctx, name, b.Host)
	ok(t, err)
	nurse, err := StartProfanity(ctx, b, name+"@"+b.Host, password, nil)
	ok(t, err)
	t.Cleanup(nurse.Close)
	ok(t, nurse.PublishOMEMO(ctx))
	ok(t, nurse.OpenSealed(ctx, juliet.JID))
	ok(t, nurse.AwaitSession(ctx, juliet.JID))
	ok(t, nurse.Say(ctx, "Your mother craves a word"))
	_, err = juliet.AwaitSealed(ctx, nurse.JID, "craves a word")
	ok(t, err)
	ok(t, juliet.SaySealed(ctx, nurse.JID, "What is her will?"))
	ok(t, nurse.AwaitSealed(ctx, juliet.JID, "What is her will?"))
}

// street is a room with two Matrix users in it; the first made it.
func street(ctx context.Context, t *testing.T, b *Bed) (owner, guest *Matrix, room string) {
	t.Helper()
	var people []*Matrix
	for _, prefix := range []string{"montague", "capulet"} {
		name := Unique(prefix)
		password, err := b.MatrixAccount(ctx, name)
		ok(t, err)
		m, err := LoginMatrix(ctx, b, name, password, nil)
		ok(t, err)
		t.Cleanup(m.Close)
		people = append(people, m)
	}
	alias := Unique("street")
	room, err := people[0].CreateRoom(ctx, alias, true)
	ok(t, err)
	ok(t, people[1].Join(ctx, "#"+alias+":"+b.Host))
	return people[0], people[1], room
}

func TestTwoMatrixUsersTalk(t *testing.T) {
	ctx, b := start(t)
	sampson, gregory, room := street(ctx, t, b)
	_, err := sampson.Say(ctx, room, "Do you bite your thumb at us, sir?")
	ok(t, err)
	_, err = gregory.AwaitText(ctx, room, "bite your thumb")
	ok(t, err)
}

func TestTwoIRCUsersTalk(t *testing.T) {
	ctx, b := start(t)
	sampson, err := DialIRC(ctx, b, Unique("sampson"), false, nil)
	ok(t, err)
	t.Cleanup(sampson.Close)
	gregory, err := DialIRC(ctx, b, Unique("gregory"), true, nil)
	ok(t, err)
	t.Cleanup(gregory.Close)
	channel := "#" + Unique("verona")
	ok(t, sampson.Join(ctx, channel))
	ok(t, gregory.Join(ctx, channel))
	ok(t, sampson.AwaitJoin(ctx, channel, gregory.Nick))
	ok(t, sampson.Say(channel, "We'll not carry coals"))
	_, err = gregory.AwaitText(ctx, channel, "carry coals")
	ok(t, err)
}

func TestADatabaseCanBeMadeAndDropped(t *testing.T) {
	ctx, b := start(t)
	_, drop, err := b.Database(ctx)
	ok(t, err)
	ok(t, drop())
}
