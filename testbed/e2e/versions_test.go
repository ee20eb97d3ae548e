//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

const (
	nsLegacy = "eu.siacs.conversations.axolotl"
	nsTwo    = "urn:xmpp:omemo:2"
)

var bothVersions = []string{"legacy", "omemo:2"}

// Each member publishes the lists of the versions that its client has, and is sealed for in the first of the gateway's that it has.
func TestMembersWithEitherVersionOfOMEMOTalk(t *testing.T) {
	onEachStore(t, peers.SceneOptions{Sealed: true, OMEMO: bothVersions}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		romeo := must[*peers.XMPPClient](t)(s.RoomMember(ctx, "Romeo", peers.XMPPOptions{OMEMO: peers.Two}))
		paris := must[*peers.XMPPClient](t)(s.RoomMember(ctx, "Paris", peers.XMPPOptions{OMEMO: peers.Both}))
		ok(t, s.Start(ctx))
		all := []*peers.XMPPClient{s.Owner, romeo, paris}
		for _, n := range []string{"one", "two"} {
			fromMatrix(ctx, t, s, "Montague speaks, round "+n, all...)
			fromIRC(ctx, t, s, "Mercutio speaks, round "+n, all...)
			ok(t, romeo.SaySealedIn(ctx, s.Room, "Romeo speaks, round "+n, peers.Two...))
			arrivesOnMatrix(ctx, t, s, "Romeo speaks, round "+n)
			arrivesOnIRC(ctx, t, s, "Romeo speaks, round "+n)
			fromXMPP(ctx, t, s, paris, "Paris speaks, round "+n)
			ok(t, paris.SaySealedIn(ctx, s.Room, "Paris speaks the old way, round "+n, peers.Legacy...))
			arrivesOnMatrix(ctx, t, s, "Paris speaks the old way, round "+n)
			once(t, s, "Paris speaks, round "+n)
		}
		for c, namespace := range map[*peers.XMPPClient]string{s.Owner: nsLegacy, romeo: nsTwo, paris: nsLegacy} {
			e := must[peers.XMPPEvent](t)(c.AwaitSealed(ctx, s.Room, "Montague speaks, round two"))
			if e.Namespace != namespace {
				t.Errorf("%s was sealed for in %s", c.JID, e.Namespace)
			}
		}
		for _, e := range s.Owner.Events() {
			if strings.Count(e.XML, `rid="`+number(paris.Device)+`"`) > 1 {
				t.Errorf("a device was sealed for twice in one stanza: %s", e.XML)
			}
		}
		bothAreTold(ctx, t, s, romeo)
		nothingCrossedInTheClear(t, s)
	})
}

// bothAreTold: what people do besides talking reaches members of either version, and is done by either.
func bothAreTold(ctx context.Context, t *testing.T, s *peers.Scene, romeo *peers.XMPPClient) {
	words := text("what is in a noun")
	event := must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, words))
	said := map[*peers.XMPPClient]peers.XMPPEvent{}
	for _, c := range []*peers.XMPPClient{s.Owner, romeo} {
		said[c] = must[peers.XMPPEvent](t)(c.AwaitSealed(ctx, s.Room, words))
	}
	must[string](t)(s.Matrix.Edit(ctx, s.MatrixRoom, event, strings.Replace(words, "noun", "name", 1)))
	must[string](t)(s.Matrix.Reply(ctx, s.MatrixRoom, event, "and in "+words))
	must[string](t)(s.Matrix.React(ctx, s.MatrixRoom, event, "🌹"))
	f := picture()
	must[string](t)(s.Matrix.SendFile(ctx, s.MatrixRoom, peers.MatrixFile{Content: f}))
	for _, c := range []*peers.XMPPClient{s.Owner, romeo} {
		await := func(space, name, of string) peers.XMPPEvent {
			t.Helper()
			return must[peers.XMPPEvent](t)(c.AwaitElement(ctx, 0, s.Room, space, name, func(e peers.Element) bool { return e.Attr("id") == of }))
		}
		edit := await(peers.NSReplace, "replace", said[c].ID)
		reply := await(peers.NSReply, "reply", said[c].StanzaID)
		await(peers.NSReactions, "reactions", said[c].StanzaID)
		if !edit.Encrypted || !strings.Contains(edit.Text(), "name") || !reply.Encrypted || !strings.HasSuffix(reply.Text(), "and in "+words) {
			t.Errorf("%s was told %q and %q", c.JID, edit.Text(), reply.Text())
		}
	}
	same(t, "for her", f, (&talk{Scene: s, kind: legacy}).fileOnXMPP(ctx, t, f))
	for c, send := range map[*peers.XMPPClient]func(string, string) (string, error){
		s.Owner: func(text, element string) (string, error) {
			return s.Owner.SendSealed(ctx, s.Room, peers.Words{Text: text, Beside: []string{element}, Versions: peers.Legacy})
		},
		romeo: func(text, element string) (string, error) {
			return romeo.SendSealed(ctx, s.Room, peers.Words{Text: text, Inside: []string{element}, Versions: peers.Two})
		},
	} {
		words := text("so Romeo would")
		first := must[string](t)(send(words, peers.Reply(said[c].From, said[c].StanzaID, 0)[0]))
		answer := arrivesOnMatrix(ctx, t, s, words)
		if answer.Value("m.relates_to", "m.in_reply_to", "event_id") != event {
			t.Errorf("%s answered %s", c.JID, answer)
		}
		must[string](t)(send(words+", were he not", peers.Replace(first)))
		must[peers.MatrixEvent](t)(s.Matrix.AwaitEdit(ctx, s.MatrixRoom, answer.ID, "were he not"))
	}
}

func TestTheGatewayPrefersOMEMO2WhenItIsToldTo(t *testing.T) {
	onOneStore(t, peers.SceneOptions{Sealed: true, OMEMO: []string{"omemo:2", "legacy"}}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		paris := must[*peers.XMPPClient](t)(s.RoomMember(ctx, "Paris", peers.XMPPOptions{OMEMO: peers.Both}))
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, paris, "In the new way")
		fromMatrix(ctx, t, s, "Each in his own", s.Owner, paris)
		if e := must[peers.XMPPEvent](t)(paris.AwaitSealed(ctx, s.Room, "Each in his own")); e.Namespace != nsTwo {
			t.Errorf("he was sealed for in %s", e.Namespace)
		}
		if e := must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.Room, "Each in his own")); e.Namespace != nsLegacy {
			t.Errorf("she was sealed for in %s", e.Namespace)
		}
	})
}
