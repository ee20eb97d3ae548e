//go:build e2e

package xmppside

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
	"lockbridge/testbed/peers"
)

// TestTheSignedPreKeyIsReplacedWhileClientsAreAway: what was sealed for the one before can be opened for a month, and who comes
// back later gets a new session.
func TestTheSignedPreKeyIsReplacedWhileClientsAreAway(t *testing.T) {
	for _, version := range []string{versionLegacy, versionTwo} {
		t.Run(version, func(t *testing.T) {
			ctx, b := within(t), openBed(t)
			b.cfg.OMEMO.Versions = []string{versionLegacy, versionTwo}
			var passed atomic.Int64 // since the test began, beyond what really has
			now := func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
			w := &town{names: map[string]string{e2eAlice.ID: e2eAlice.Name}}
			allowed := gateway.Direct{Allow: []string{b.Host}, Encryption: gateway.EncryptionRequired, Clear: []string{"matrix"}}.WithKinds(fakeKinds)
			state := sidetest.NewState()
			side, inbox, _ := startEdited(ctx, t, b.cfg, state, gateway.Deps{Direct: allowed, Find: w.find}, func(s *Side) {
				options := b.cfg.OMEMO.options()
				options.Now = now
				s.omemo, s.now = omemo.NewManager(state, options), now
			})
			var away []*peers.XMPPClient
			var letters [][]string
			for _, name := range []string{"juliet", "romeo", "nurse"} {
				name = peers.Unique(name)
				password, err := b.XMPPAccount(ctx, name, b.Host)
				must(t, err)
				c, err := peers.StartXMPP(ctx, b.Bed, peers.XMPPOptions{JID: name + "@" + b.Host, Password: password, OMEMO: []string{version}})
				must(t, err)
				t.Cleanup(func() { _ = c.Close() })
				ids, err := c.Seal(ctx, b.puppet(), c.JID+" wrote this long ago")
				must(t, err)
				away, letters = append(away, c), append(letters, ids)
			}
			juliet, romeo, nurse := away[0], away[1], away[2]
			dev, err := side.device(ctx, b.puppet())
			must(t, err)
			bundle := func() peers.XMPPBundle {
				t.Helper()
				found, err := nurse.Bundle(ctx, b.puppet(), int64(dev.ID), version)
				must(t, err)
				return found
			}
			const day = 24 * time.Hour
			first := bundle()
			passed.Store(int64(6 * day))
			if again := bundle(); again.Signed != first.Signed {
				t.Errorf("after six days the signed prekey %d is replaced by %d", first.Signed, again.Signed)
			}
			passed.Store(int64(8 * day))
			if second := bundle(); second.Signed == first.Signed {
				t.Error("after eight days the signed prekey is still the same")
			}
			must(t, juliet.Release(ctx, letters[0]...))
			awaitText(ctx, t, inbox, juliet.JID+" wrote this long ago")
			passed.Store(int64(30 * day))
			bundle()
			must(t, romeo.Release(ctx, letters[1]...))
			awaitText(ctx, t, inbox, romeo.JID+" wrote this long ago")
			for i, c := range []*peers.XMPPClient{juliet, romeo} {
				must(t, answer(ctx, t, side, c.JID, keyNumber(i), gateway.Message{Text: gateway.Text{Plain: "welcome back"}}).Err)
				_, err := c.AwaitSealed(ctx, b.puppet(), "welcome back")
				must(t, err)
			}

			for _, days := range []int{38, 46, 54} {
				passed.Store(int64(time.Duration(days) * day))
				bundle()
			}
			must(t, nurse.Release(ctx, letters[2]...))
			_, err = nurse.Await(ctx, "a new session", func(e peers.XMPPEvent) bool {
				return e.Kind == "message" && e.Encrypted && e.Body == nil && e.Error == "" && strings.HasPrefix(e.From, b.puppet())
			})
			must(t, err)
			must(t, nurse.SaySealed(ctx, b.puppet(), "and this now"))
			awaitText(ctx, t, inbox, "and this now")
			if len(inbox.Unread()) != 1 {
				t.Errorf("unreadable: %v", inbox.Unread())
			}
		})
	}
}
