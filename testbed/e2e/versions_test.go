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
		nothingCrossedInTheClear(t, s)
	})
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
