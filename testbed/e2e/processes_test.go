//go:build e2e

package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

// another is a further process with the scene's configuration, not started yet, and the flag for its own door.
func another(t *testing.T, s *peers.Scene) (l *peers.Lockbridge, door string) {
	t.Helper()
	slot := must[*peers.Slot](t)(s.Bed.Slot()) // for its door alone
	l = must[*peers.Lockbridge](t)(s.Lockbridge.Second(s.Bed, peers.Setup{Doors: peers.Doors{HTTP: slot.HTTP}}))
	l.Config = s.Lockbridge.Config
	t.Cleanup(func() {
		if err := errors.Join(l.Stop(), slot.Release()); err != nil {
			t.Error(err)
		}
	})
	return l, "--http=" + slot.HTTP
}

// One process has XMPP, another the rest, a third stands by for all; then XMPP's dies, and comes back.
func TestProcessesShareTheNetworks(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*patience)
	s := scene(ctx, t, direct, "postgres")
	first := s.Lockbridge
	ok(t, first.Start("--networks=xmpp"))
	second, door := another(t, s)
	ok(t, second.Start("--networks=irc,matrix", door))
	answers := func(l *peers.Lockbridge, path string, status int, words ...string) {
		t.Helper()
		got, text, err := l.Get(ctx, path)
		ok(t, err)
		for _, word := range words {
			if got != status || !strings.Contains(text, word) {
				t.Errorf("%s answers %d %s, want %d and %s", path, got, text, status, word)
			}
		}
	}
	ok(t, first.AwaitReady(ctx))
	ok(t, second.AwaitReady(ctx))
	answers(first, "/readyz", http.StatusOK, `{"xmpp":{"state":"up"}}`)
	answers(second, "/readyz", http.StatusOK, `"irc":{"state":"up"}`, `"matrix":{"state":"up"}`)
	must[peers.XMPPEvent](t)(s.Owner.AwaitOccupant(ctx, s.Room, first.Slot.JID()))
	ok(t, s.IRC.AwaitJoin(ctx, s.Channel, first.Slot.Nick))
	fromXMPP(ctx, t, s, s.Owner, "One for three")
	fromMatrix(ctx, t, s, "Two for three")
	fromIRC(ctx, t, s, "Three for three")

	// Whether a nick is there, only the process on IRC knows.
	ok(t, s.Owner.SaySealed(ctx, s.IRCName(s.IRC), "Are you there, in the other process?"))
	must[peers.IRCLine](t)(s.IRC.AwaitPrivate(ctx, first.Slot.Nick, "Are you there, in the other process?"))
	mark := s.Owner.Mark()
	nobody := strings.Replace(s.IRCName(s.IRC), s.IRC.Nick, "nobodyhere", 1)
	ok(t, s.Owner.SaySealed(ctx, nobody, "And you?"))
	must[peers.XMPPEvent](t)(s.Owner.AwaitAfter(ctx, mark, "word that there is nobody", func(e peers.XMPPEvent) bool {
		return e.Kind == "message" && strings.HasPrefix(e.From, nobody) && e.Text()+e.Error != ""
	}))

	third, door := another(t, s)
	ok(t, third.Start(door))
	must[string](t)(third.AwaitLog(ctx, "standing by: another process owns the network"))
	ok(t, third.AwaitReady(ctx))
	answers(third, "/readyz/xmpp", http.StatusServiceUnavailable, `{"state":"standby"}`)
	ok(t, first.Kill())
	must[string](t)(third.AwaitLog(ctx, "this process owns the network now"))
	fromIRC(ctx, t, s, "Four for three")
	fromXMPP(ctx, t, s, s.Owner, "And one for four")
	answers(third, "/readyz/xmpp", http.StatusOK, `{"state":"up"}`)
	answers(third, "/readyz/irc", http.StatusServiceUnavailable, `{"state":"standby"}`)

	mark = first.Mark()
	ok(t, first.Start("--networks=xmpp")) // it comes back, and waits
	must[string](t)(first.AwaitLogAfter(ctx, mark, "standing by: another process owns the network"))
	fromXMPP(ctx, t, s, s.Owner, "Nobody noticed")
}
