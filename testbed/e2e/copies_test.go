//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

// A second bridge joins the XMPP room and the channel, and says in the channel what it hears in the room, as ours does.
// Matrix hears it once; what the second bridge brings from elsewhere crosses, and so does what people quote.
func TestASecondBridgeDoesNotMakeALoop(t *testing.T) {
	onEachStore(t, peers.SceneOptions{}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		second := must[*peers.IRC](t)(s.IRCUser(ctx, "second", true))
		fromIRC(ctx, t, s, "Here comes one of the house")
		var words []string
		for _, text := range []string{"I do bite my thumb", "No better", "Draw, if you be men"} {
			fromXMPP(ctx, t, s, s.Owner, text)
			line := must[peers.IRCLine](t)(second.AwaitText(ctx, s.Channel, text)).Text() // ours names who said it
			ok(t, second.Say(s.Channel, line))
			words = append(words, text)
		}
		ok(t, second.Say(s.Channel, "<tybalt> Turn thee, Benvolio"))
		arrivesOnMatrix(ctx, t, s, "Turn thee")
		arrivesOnXMPP(ctx, t, s, "Turn thee")
		for _, text := range words {
			if n := saidOnMatrix(s, text); n != 1 {
				t.Errorf("%q was said %d times on Matrix", text, n)
			}
		}
		line := must[peers.IRCLine](t)(s.IRC.AwaitText(ctx, s.Channel, words[0])).Text()
		ok(t, s.IRC.Say(s.Channel, line)) // by a person, who has spoken before
		ok(t, s.IRC.Say(s.Channel, "Is the law of our side?"))
		arrivesOnMatrix(ctx, t, s, "Is the law")
		if n := saidOnMatrix(s, words[0]); n != 2 {
			t.Errorf("what a person quoted was said %d times on Matrix", n)
		}
	})
}

// saidOnMatrix is how often our ghosts said a text.
func saidOnMatrix(s *peers.Scene, text string) (n int) {
	for _, e := range s.Matrix.Events() {
		if e.Type == "m.room.message" && e.Sender != s.Matrix.UserID && strings.Contains(e.Text(), text) {
			n++
		}
	}
	return n
}
