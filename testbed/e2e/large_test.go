//go:build e2e

package e2e

import (
	"context"
	"testing"

	"lockbridge/testbed/peers"
)

// What is larger than the XMPP server's upload service takes (64 MB in the bed) becomes a link there.
func TestLargeFilesBecomeLinks(t *testing.T) {
	onOneStore(t, peers.SceneOptions{}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		k := &talk{Scene: s, kind: plain}
		ok(t, s.Start(ctx))
		large := peers.Content{Name: text("play") + ".bin", MIME: "application/octet-stream", Data: random(65 << 20)}
		must[string](t)(s.Matrix.SendFile(ctx, s.MatrixRoom, peers.MatrixFile{Content: large}))
		got, _, err := s.Bed.Fetch(ctx, linkIn(k.onXMPP(ctx, t, "["+large.Name).Text()))
		ok(t, err)
		same(t, "behind the link on XMPP", large, got)
		k.onIRC(ctx, t, "["+large.Name)
	})
}

// What is larger than the configuration lets through is named, and the rest of the conversation goes on.
func TestFilesThatAreTooLargeAreNamed(t *testing.T) {
	onOneStore(t, peers.SceneOptions{Media: `max_size = "50KB"`}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		k := &talk{Scene: s, kind: plain}
		ok(t, s.Start(ctx))
		large := picture()
		must[string](t)(s.Matrix.SendFile(ctx, s.MatrixRoom, peers.MatrixFile{Content: large}))
		k.onXMPP(ctx, t, "[file: "+large.Name)
		k.onIRC(ctx, t, "[file: "+large.Name)
		large = picture()
		k.shareX(ctx, t, large)
		k.onMatrix(ctx, t, large.Name)
		k.onIRC(ctx, t, large.Name)
		small := picture()
		small.Data = small.Data[:40_000]
		must[string](t)(s.Matrix.SendFile(ctx, s.MatrixRoom, peers.MatrixFile{Content: small}))
		same(t, "on XMPP", small, k.fileOnXMPP(ctx, t, small))
	})
}
