//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

func TestNamesAndAvatars(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		romeo := k.member(ctx, t, "Romeo")
		words := text("Romeo speaks")
		must[string](t)(k.sendAs(ctx, romeo, words))
		ghost := k.onMatrix(ctx, t, words).Sender
		occupant := must[peers.XMPPEvent](t)(k.Owner.AwaitOccupant(ctx, k.Room, romeo.JID))
		portrait, his := append(peers.PNG(16), random(16)...), append(peers.PNG(17), random(16)...)
		ok(t, romeo.SetPicture(ctx, k.Room, occupant.Nick, portrait))
		e := must[peers.MatrixEvent](t)(k.Matrix.Await(ctx, "the ghost's picture", func(e peers.MatrixEvent) bool {
			return e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == ghost && e.Value("avatar_url") != ""
		}))
		if got, _ := must2[[]byte, string](t)(k.Matrix.Download(ctx, e.Value("avatar_url"))); !bytes.Equal(got, portrait) {
			t.Errorf("the ghost's picture has %d bytes, his own %d", len(got), len(portrait))
		}
		if k.kind == legacy { // on ejabberd, which gives no occupant-ids, a new nick in a room that hides addresses is a new person
			renamed := peers.Unique("Montecchi")
			ok(t, romeo.Join(ctx, k.Room, renamed))
			must[peers.MatrixEvent](t)(k.Matrix.Await(ctx, "the ghost's new name", func(e peers.MatrixEvent) bool {
				return e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == ghost && strings.HasPrefix(e.Value("displayname"), renamed)
			}))
		}
		benvolio := k.user(ctx, t, "benvolio")
		for range 2 {
			words = text("Benvolio speaks")
			must[string](t)(benvolio.Say(ctx, k.MatrixRoom, words))
			k.onXMPP(ctx, t, words)
		}
		ok(t, benvolio.SetPicture(ctx, his))
		shown := must[peers.XMPPEvent](t)(k.Owner.Await(ctx, "the puppet's picture", func(e peers.XMPPEvent) bool {
			return e.Kind == "presence" && e.Real == k.MatrixName(benvolio) && e.Photo != ""
		}))
		if got := must[[]byte](t)(k.Owner.Picture(ctx, shown.From)); len(got) == 0 {
			t.Error("the puppet's card has no picture")
		}
	}, plain, legacy)
}
