//go:build e2e

package e2e

import (
	"net/http"
	"testing"

	"lockbridge/testbed/peers"
)

// One process makes and serves the link to a file of a network that another one runs; when it ends, that one serves it.
func TestLinksOutliveTheirProcess(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*patience)
	s := scene(ctx, t, peers.SceneOptions{}, "postgres")
	first := s.Lockbridge
	ok(t, first.Start("--networks=irc,xmpp"))
	must[string](t)(first.AwaitLog(ctx, "links are served"))
	second, door := another(t, s)
	ok(t, second.Start("--networks=matrix", door))
	must[string](t)(second.AwaitLog(ctx, "standing by for the links"))
	ok(t, first.AwaitReady(ctx))
	ok(t, second.AwaitReady(ctx))
	ok(t, s.IRC.AwaitJoin(ctx, s.Channel, first.Slot.Nick))
	f := picture()
	must[string](t)(s.Matrix.SendFile(ctx, s.MatrixRoom, peers.MatrixFile{Content: f, Encrypted: true}))
	link := (&talk{Scene: s, kind: plain}).linkOnIRC(ctx, t, f)
	ok(t, first.Stop())
	must[string](t)(second.AwaitLog(ctx, "links are served"))
	got, _ := must2[[]byte, http.Header](t)(s.Bed.Fetch(ctx, link))
	same(t, "behind the link, from the other process", f, got)
}
