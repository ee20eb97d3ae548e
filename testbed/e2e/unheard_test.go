//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

// What cannot be delivered, or is not to be, is not lost in silence: its sender is told, on their own network.
func TestWhoeverIsNotHeardIsTold(t *testing.T) {
	o := peers.SceneOptions{Direct: true} // Juliet has no OMEMO, and what is said to her in private must be sealed
	onOneStore(t, o, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, s.Owner, "I am Juliet")
		fromIRC(ctx, t, s, "I am Mercutio")
		for whom, told := range map[string]string{s.Owner.JID: "not delivered", s.Matrix.UserID: "nobody got that"} {
			ok(t, s.IRC.Say(s.Lockbridge.Slot.Nick, whom+": Art thou there?"))
			must[peers.IRCLine](t)(s.IRC.Await(within(t, turn), "a word about "+whom, func(l peers.IRCLine) bool {
				return l.Command == "NOTICE" && l.Nick() == s.Lockbridge.Slot.Nick && strings.EqualFold(l.Params[0], s.IRC.Nick) && strings.Contains(l.Text(), told)
			}))
		}
		juliet := "@" + s.Lockbridge.Slot.UserPrefix + "xmpp_" + strings.Replace(s.Owner.JID, "@", "=40", 1) + ":" + s.Bed.Host
		for ghost, told := range map[string]string{juliet: "not delivered", arrivesOnMatrix(ctx, t, s, "I am Mercutio").Sender: "direct chats are not open"} {
			room := must[string](t)(s.Matrix.CreateRoom(ctx, "", false))
			ok(t, s.Matrix.Invite(ctx, room, ghost))
			must[string](t)(s.Matrix.Say(ctx, room, "Art thou there?"))
			must[peers.MatrixEvent](t)(s.Matrix.Await(within(t, turn), "a word about "+ghost, func(e peers.MatrixEvent) bool {
				return e.Room == room && e.Sender == ghost && strings.Contains(e.Text()+e.Value("reason"), told)
			}))
		}
	})
}
