//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

var direct = peers.SceneOptions{Sealed: true, Direct: true, OMEMO: bothVersions}

// chat has a member write to the Matrix user and goes on for some turns, each sealed on XMPP. It returns the Matrix room.
func chat(ctx context.Context, t *testing.T, s *peers.Scene, c *peers.XMPPClient, versions []string) (room string) {
	t.Helper()
	puppet, name := s.MatrixName(s.Matrix), strings.Split(c.JID, "-")[0]
	for n := range 3 {
		text := fmt.Sprintf("From %s alone, %d", name, n)
		ok(t, c.SaySealedIn(ctx, puppet, text, versions...))
		if n == 0 {
			room = must[string](t)(s.Matrix.AwaitInvite(ctx, s.Lockbridge.Slot.UserPrefix+"xmpp_"+name))
			ok(t, s.Matrix.Join(ctx, room))
		}
		must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, room, text))
		text = fmt.Sprintf("To %s alone, %d", name, n)
		must[string](t)(s.Matrix.Say(ctx, room, text))
		must[peers.XMPPEvent](t)(c.AwaitSealed(ctx, puppet, text))
	}
	return room
}

func TestTwoPeopleTalkInPrivate(t *testing.T) {
	onEachStore(t, direct, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		romeo := must[*peers.XMPPClient](t)(s.XMPPMember(ctx, "romeo", peers.XMPPOptions{OMEMO: peers.Two}))
		ok(t, s.Start(ctx))
		room := chat(ctx, t, s, s.Owner, peers.Legacy)
		if other := chat(ctx, t, s, romeo, peers.Two); other == room {
			t.Error("two people share a chat")
		}
		for _, e := range s.Matrix.Events() {
			if e.Room == s.MatrixRoom && strings.Contains(e.Text(), "alone") {
				t.Errorf("a private word reached the common room: %s", e)
			}
		}
		fromXMPP(ctx, t, s, s.Owner, "And the common room goes on")
		nothingCrossedInTheClear(t, s)
	})
}

func TestAMatrixUserBeginsAPrivateTalk(t *testing.T) {
	onOneStore(t, direct, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		ok(t, s.Owner.SaySealed(ctx, s.Room, "Who would speak with me?"))
		ghost := arrivesOnMatrix(ctx, t, s, "Who would speak with me?").Sender
		room := must[string](t)(s.Matrix.CreateRoom(ctx, "", false))
		ok(t, s.Matrix.Invite(ctx, room, ghost))
		must[peers.MatrixEvent](t)(s.Matrix.Await(ctx, "the ghost in the room", func(e peers.MatrixEvent) bool {
			return e.Room == room && e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == ghost && e.Content["membership"] == "join"
		}))
		must[string](t)(s.Matrix.Say(ctx, room, "I would, in private"))
		must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.MatrixName(s.Matrix), "I would, in private"))
		ok(t, s.Owner.SaySealed(ctx, s.MatrixName(s.Matrix), "Speak, then"))
		must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, room, "Speak, then"))
		nothingCrossedInTheClear(t, s)
	})
}

func TestPeopleOnIRCAndXMPPTalkInPrivate(t *testing.T) {
	onOneStore(t, direct, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		nick, puppet := s.Lockbridge.Slot.Nick, s.IRCName(s.IRC)
		ok(t, s.IRC.Say(nick, s.Owner.JID+": Come hither, nurse"))
		must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, puppet, "Come hither, nurse"))
		for _, text := range []string{"Who calls?", "Who is there?"} {
			ok(t, s.Owner.SaySealed(ctx, puppet, text))
			must[peers.IRCLine](t)(s.IRC.AwaitPrivate(ctx, nick, text))
		}
		ok(t, s.IRC.Say(nick, s.Owner.JID+": Your mother"))
		must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, puppet, "Your mother"))
		nothingCrossedInTheClear(t, s)
	})
}

func TestSomebodyWithProfanityTalksInPrivate(t *testing.T) {
	onOneStore(t, direct, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		nurse := must[*peers.Profanity](t)(s.ProfanityMember(ctx, "nurse", s.Bed.Host))
		ok(t, s.Start(ctx))
		puppet := s.MatrixName(s.Matrix)
		ok(t, nurse.OpenSealed(ctx, puppet))
		ok(t, nurse.AwaitSession(ctx, puppet))
		ok(t, nurse.Say(ctx, "I pray you, sir, a word"))
		room := must[string](t)(s.Matrix.AwaitInvite(ctx, s.Lockbridge.Slot.UserPrefix+"xmpp_nurse"))
		ok(t, s.Matrix.Join(ctx, room))
		must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, room, "I pray you, sir, a word"))
		for _, text := range []string{"Speak", "I am listening"} {
			must[string](t)(s.Matrix.Say(ctx, room, text))
			ok(t, nurse.AwaitSealed(ctx, puppet, text))
			ok(t, nurse.Say(ctx, "She heard: "+text))
			must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, room, "She heard: "+text))
		}
		nothingCrossedInTheClear(t, s)
	})
}

func TestPlainTextInAPrivateTalkIsNotCarriedAndItsSenderIsTold(t *testing.T) {
	onOneStore(t, direct, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		room := chat(ctx, t, s, s.Owner, peers.Legacy)
		puppet := s.MatrixName(s.Matrix)
		mark := s.Owner.Mark()
		ok(t, s.Owner.Say(ctx, puppet, "In the clear"))
		must[peers.XMPPEvent](t)(s.Owner.AwaitAfter(ctx, mark, "a word about it", func(e peers.XMPPEvent) bool {
			return e.Kind == "message" && strings.HasPrefix(e.From, puppet) && strings.Contains(e.Text()+e.Error, "encrypted")
		}))
		ok(t, s.Owner.SaySealed(ctx, puppet, "Under seal again"))
		must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, room, "Under seal again"))
		neverCarried(t, s, "In the clear")
	})
}

func TestNobodyTalksInPrivateWhereItIsNotAllowed(t *testing.T) {
	onOneStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		fromMatrix(ctx, t, s, "I am here") // from the second message on he has a puppet
		fromMatrix(ctx, t, s, "I am here to stay")
		ok(t, s.Owner.SaySealed(ctx, s.MatrixName(s.Matrix), "Between you and me"))
		fromXMPP(ctx, t, s, s.Owner, "For everybody")
		neverCarried(t, s, "Between you and me")
		for _, e := range s.Matrix.Events() {
			if e.Invite {
				t.Errorf("he was invited: %s", e)
			}
		}
	})
}
