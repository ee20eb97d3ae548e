//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

// A moderator takes back what somebody said, in their own room; our copies go with it, and where the bridge and the room let it, the
// original in the other room.
func TestModeration(t *testing.T) {
	t.Run("own", func(t *testing.T) {
		inScenes(t, peers.SceneOptions{Bridge: `moderation = "own"`}, func(ctx context.Context, t *testing.T, k *talk) { moderate(ctx, t, k, false) }, plain)
	})
	t.Run("all", func(t *testing.T) {
		inScenes(t, peers.SceneOptions{Bridge: `moderation = "all"`}, func(ctx context.Context, t *testing.T, k *talk) { moderate(ctx, t, k, true) }, plain, legacy, two)
	})
}

// The room's word comes in the clear, so it is none where nothing in the clear is believed.
func TestModerationWithoutMetadata(t *testing.T) {
	o := peers.SceneOptions{Bridge: "moderation = \"all\"\nmetadata = \"drop\""}
	inScenes(t, o, func(ctx context.Context, t *testing.T, k *talk) {
		x, mark := k.fromX(ctx, t, text("Juliet's word")), k.IRC.Mark()
		ok(t, k.Owner.Moderate(ctx, k.Room, x.x.StanzaID, "enough"))
		k.later(ctx, t)
		for _, e := range k.Matrix.Events() {
			if e.Type == "m.room.redaction" {
				t.Errorf("on Matrix it is taken: %s", e)
			}
		}
		for _, l := range k.IRC.Events()[mark:] {
			if strings.Contains(l.Text(), "removed") || strings.Contains(l.Text(), "deleted") {
				t.Errorf("on IRC it is told: %s", l)
			}
		}
	}, legacy)
}

func moderate(ctx context.Context, t *testing.T, k *talk, all bool) {
	ok(t, k.Matrix.SetPower(ctx, k.MatrixRoom, "@"+k.Lockbridge.Slot.Nick+":"+k.Bed.Host, 50))
	romeo := k.member(ctx, t, "Romeo")
	k.fromM(ctx, t, text("Montague is here")) // from the second message on with a puppet
	k.fromI(ctx, t, text("Mercutio is here"))
	copied, native := k.fromI(ctx, t, text("an IRC user's word")), k.fromM(ctx, t, text("a Matrix user's word"))
	must[string](t)(k.sendAs(ctx, romeo, "Romeo's word"))
	his := said{m: k.onMatrix(ctx, t, "Romeo's word"), x: k.onXMPP(ctx, t, "Romeo's word")}
	k.onIRC(ctx, t, "Romeo's word")

	// a moderator of the XMPP room
	mark := k.IRC.Mark()
	ok(t, k.Owner.Moderate(ctx, k.Room, his.x.StanzaID, "enough"))
	reason := must[peers.MatrixEvent](t)(k.Matrix.AwaitRedaction(ctx, k.MatrixRoom, his.m.ID)).Value("reason")
	if reason == "enough" == k.sealed() { // a reason is content, and came in the clear
		t.Errorf("on Matrix the reason is %q", reason)
	}
	k.toldOnIRC(ctx, t, mark, "a message by")
	ok(t, k.Owner.Moderate(ctx, k.Room, native.x.StanzaID, "enough"))
	k.toldOnIRC(ctx, t, mark, "a message by Montague")

	// one of the Matrix room
	second := k.fromX(ctx, t, text("Juliet's word"))
	ok(t, k.Matrix.Redact(ctx, k.MatrixRoom, copied.m.ID, "enough"))
	k.retracted(ctx, t, copied)
	ok(t, k.Matrix.Redact(ctx, k.MatrixRoom, second.m.ID, "enough"))
	k.toldOnIRC(ctx, t, mark, "was removed by Montague")
	if all {
		must[peers.MatrixEvent](t)(k.Matrix.AwaitRedaction(ctx, k.MatrixRoom, native.m.ID))
		must[peers.XMPPEvent](t)(k.Owner.AwaitElement(ctx, 0, k.Room, peers.NSFasten, "apply-to", func(e peers.Element) bool { return e.Attr("id") == second.x.StanzaID }))
		return
	}
	k.later(ctx, t)
	for _, e := range k.Matrix.Events() {
		if e.Type == "m.room.redaction" && e.Sender != k.Matrix.UserID && e.Redacts() == native.m.ID {
			t.Errorf("a native message was removed: %s", e)
		}
	}
	for _, e := range k.Owner.Events() {
		if apply, there := e.Element(peers.NSFasten, "apply-to"); there && apply.Attr("id") == second.x.StanzaID {
			t.Errorf("a native message was removed: %s", e.XML)
		}
	}
}
