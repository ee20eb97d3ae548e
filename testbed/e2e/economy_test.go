//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockbridge/testbed/peers"
)

// Somebody who corrects a message three times in a row is heard once.
func TestQuickEditsBecomeOne(t *testing.T) {
	onOneStore(t, peers.SceneOptions{IRC: `correct_after = "2s"`}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		k := &talk{Scene: s, kind: plain}
		ok(t, s.Start(ctx))
		words := text("I shall be there at one o'clock")
		event := must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, words))
		k.onIRC(ctx, t, words)
		for _, hour := range []string{"two", "three", "four"} {
			must[string](t)(s.Matrix.Edit(ctx, s.MatrixRoom, event, strings.Replace(words, "one", hour, 1)))
		}
		k.onIRC(ctx, t, "at four")
		k.fromX(ctx, t, text("so be it"))
		for _, l := range s.IRC.Events() {
			if strings.Contains(l.Text(), "at two") || strings.Contains(l.Text(), "at three") {
				t.Errorf("an earlier correction was said: %s", l)
			}
		}
	})
}

// Somebody who says much in a channel is shortened there, so that others are heard soon.
func TestALoudPersonStarvesNobody(t *testing.T) {
	o := peers.SceneOptions{Pace: 2 * time.Second, IRC: "max_lines = 2"} // far slower than she is
	onOneStore(t, o, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		k := &talk{Scene: s, kind: plain}
		ok(t, s.Start(ctx))
		id := text("loud")
		for n := range 60 {
			must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, fmt.Sprintf("%s %d", id, n)))
		}
		words := text("a quiet word")
		ok(t, s.Owner.Say(ctx, s.Room, words))
		k.onIRC(ctx, t, words)
		loud, short := 0, false
		for _, l := range s.IRC.Events() {
			if strings.Contains(l.Text(), id) {
				loud++
			}
			short = short || strings.Contains(l.Text(), "more messages: http")
		}
		if loud > 45 || !short {
			t.Errorf("%d of 60 loud messages came before it, and the rest was shortened: %v", loud, short)
		}
	})
}
