//go:build e2e

package e2e

import (
	"context"
	"testing"

	"lockbridge/testbed/peers"
)

// What is larger than the XMPP server's upload service takes (64 MB in the bed) becomes a link there.
func TestLargeFilesBecomeLinks(t *testing.T) {
	inScenes(t, peers.SceneOptions{}, func(ctx context.Context, t *testing.T, k *talk) {
		large := peers.Content{Name: text("play") + ".bin", MIME: "application/octet-stream", Data: random(65 << 20)}
		must[string](t)(k.Matrix.SendFile(ctx, k.MatrixRoom, peers.MatrixFile{Content: large}))
		got, _, err := k.Bed.Fetch(ctx, linkIn(k.onXMPP(ctx, t, "["+large.Name).Text()))
		ok(t, err)
		same(t, "behind the link on XMPP", large, got)
		k.onIRC(ctx, t, "["+large.Name)
	}, plain, legacy)
}

// What is larger than the configuration lets through is named, where it lies in the open with its link, and the rest of the conversation
// goes on.
func TestFilesThatAreTooLargeAreNamed(t *testing.T) {
	inScenes(t, peers.SceneOptions{Media: `max_size = "50KB"`}, func(ctx context.Context, t *testing.T, k *talk) {
		large := picture()
		must[string](t)(k.Matrix.SendFile(ctx, k.MatrixRoom, peers.MatrixFile{Content: large}))
		k.onXMPP(ctx, t, "[file: "+large.Name+", 100 kB, not carried over]")
		k.onIRC(ctx, t, "[file: "+large.Name+", 100 kB, not carried over]")
		large = picture()
		k.shareWhole(ctx, t, large)
		shown := "[file: " + large.Name + ", 100 kB, not carried over]"
		if k.kind == plain {
			shown = "[" + large.Name + ", 100 kB] https://"
		}
		k.onMatrix(ctx, t, shown)
		k.onIRC(ctx, t, shown)
		small := picture()
		small.Data = small.Data[:40_000]
		must[string](t)(k.Matrix.SendFile(ctx, k.MatrixRoom, peers.MatrixFile{Content: small}))
		same(t, "on XMPP", small, k.fileOnXMPP(ctx, t, small))
	}, plain, two)
}

// Without a route for links IRC is told of files, but for those that lie on the web already.
func TestFilesWithoutLinksAreNamed(t *testing.T) {
	inScenes(t, peers.SceneOptions{NoLinks: true}, func(ctx context.Context, t *testing.T, k *talk) {
		f := picture()
		must[string](t)(k.Matrix.SendFile(ctx, k.MatrixRoom, peers.MatrixFile{Content: f}))
		k.onIRC(ctx, t, "[file: "+f.Name+", 100 kB, not carried over]")
		same(t, "on XMPP", f, k.fileOnXMPP(ctx, t, f))
		f = picture()
		if link := k.shareX(ctx, t, f); k.kind == plain {
			k.onIRC(ctx, t, "["+f.Name+"] "+link)
		} else {
			k.onIRC(ctx, t, "[file: "+f.Name+", not carried over]")
		}
		e := must[peers.MatrixEvent](t)(k.Matrix.AwaitFile(ctx, k.MatrixRoom, f.Name))
		same(t, "on Matrix", f, must[[]byte](t)(k.Matrix.Open(ctx, e)))
	}, plain, legacy)
}
