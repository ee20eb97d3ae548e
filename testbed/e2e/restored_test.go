//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"lockbridge/testbed/peers"
)

// An old copy of the database comes back, and with it ratchets that went on since. The epoch file did not go back.
func TestTheConversationGoesOnAfterAnOldDatabaseWasRestored(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("%v have passed", patience))
	t.Cleanup(cancel)
	s := scene(ctx, t, sealed, "sqlite")
	file := filepath.Join(filepath.Dir(s.Lockbridge.Config), "lockbridge.db")
	ok(t, s.Start(ctx))
	fromXMPP(ctx, t, s, s.Owner, "Before the backup, from Juliet")
	fromMatrix(ctx, t, s, "Before the backup, from Montague")
	before := sayUntil(ctx, t, s, "the session is confirmed", func(e peers.XMPPEvent) bool { return !hasKeyExchange(e) })
	ok(t, s.Lockbridge.Stop())
	backup := must[[]byte](t)(os.ReadFile(file))
	ok(t, s.Start(ctx))
	fromXMPP(ctx, t, s, s.Owner, "After the backup, from Juliet")
	fromMatrix(ctx, t, s, "After the backup, from Montague")
	ok(t, s.Lockbridge.Stop())
	ok(t, os.WriteFile(file, backup, 0o600))

	mark := s.Lockbridge.Mark()
	ok(t, s.Start(ctx))
	must[string](t)(s.Lockbridge.AwaitLogAfter(ctx, mark, "level=ERROR", "backup had been restored"))
	fromMatrix(ctx, t, s, "Restored, from Montague")
	after := must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.Room, "Restored, from Montague"))
	if after.Real != before.Real || after.Device != before.Device {
		t.Errorf("Montague spoke as %s with device %d, then as %s with device %d", before.Real, before.Device, after.Real, after.Device)
	}
	must[string](t)(s.Lockbridge.AwaitLogAfter(ctx, mark, "session was built anew", s.Owner.JID)) // for what the room's archive had
	fromXMPP(ctx, t, s, s.Owner, "Restored, from Juliet")
	fromIRC(ctx, t, s, "Restored, from Mercutio")
	for _, text := range []string{"Before the backup, from Juliet", "After the backup, from Juliet", "Restored, from Juliet"} {
		once(t, s, text)
	}
	nothingCrossedInTheClear(t, s)

	// The next start is an ordinary one.
	ok(t, s.Lockbridge.Stop())
	ok(t, s.Start(ctx))
	fromMatrix(ctx, t, s, "Once more, from Montague")
	if e := must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.Room, "Once more, from Montague")); hasKeyExchange(e) {
		t.Errorf("sessions were set up anew without need: %s", e.XML)
	}
}
