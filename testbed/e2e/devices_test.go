//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

func TestTheConversationGoesOnAfterARestartOfLockbridge(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, s.Owner, "Before, from Juliet")
		fromMatrix(ctx, t, s, "Before, from Montague")
		before := sayUntil(ctx, t, s, "the session is confirmed", func(e peers.XMPPEvent) bool { return !hasKeyExchange(e) })
		ok(t, s.Lockbridge.Stop())
		ok(t, s.Owner.SaySealed(ctx, s.Room, "Meanwhile, from Juliet"))
		must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, "Meanwhile, from Montague"))
		ok(t, s.Start(ctx))
		arrivesOnMatrix(ctx, t, s, "Meanwhile, from Juliet")
		arrivesOnIRC(ctx, t, s, "Meanwhile, from Juliet")
		arrivesOnXMPP(ctx, t, s, "Meanwhile, from Montague")
		arrivesOnIRC(ctx, t, s, "Meanwhile, from Montague")
		fromXMPP(ctx, t, s, s.Owner, "After, from Juliet")
		fromMatrix(ctx, t, s, "After, from Montague")
		after := must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.Room, "After, from Montague"))
		if after.Real != before.Real || after.Device != before.Device {
			t.Errorf("Montague spoke as %s with device %d, then as %s with device %d", before.Real, before.Device, after.Real, after.Device)
		}
		if hasKeyExchange(after) {
			t.Errorf("the session was set up anew: %s", after.XML)
		}
		fromIRC(ctx, t, s, "After, from Mercutio")
		for _, text := range []string{"Before, from Juliet", "Meanwhile, from Juliet", "After, from Juliet"} {
			once(t, s, text)
		}
		nothingCrossedInTheClear(t, s)
	})
}

func TestTheConversationGoesOnAfterACrashOfLockbridge(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, s.Owner, "Before, from Juliet")
		fromMatrix(ctx, t, s, "Before, from Montague")
		ok(t, s.Lockbridge.Kill())
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, s.Owner, "After, from Juliet")
		fromMatrix(ctx, t, s, "After, from Montague")
		fromIRC(ctx, t, s, "After, from Mercutio")
		once(t, s, "Before, from Juliet")
		nothingCrossedInTheClear(t, s)
	})
}

func TestAMembersClientRestartsAndGoesOn(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		romeo := must[*peers.XMPPClient](t)(s.XMPPMember(ctx, "romeo", peers.XMPPOptions{OMEMO: peers.Legacy, Storage: filepath.Join(t.TempDir(), "romeo.json")}))
		ok(t, s.Owner.Affiliate(ctx, s.Room, romeo.JID, "member"))
		ok(t, romeo.Join(ctx, s.Room, "Romeo"))
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, romeo, "I dreamt a dream tonight")
		fromMatrix(ctx, t, s, "And so did I", romeo)
		ok(t, romeo.Close())
		again := must[*peers.XMPPClient](t)(s.XMPPMember(ctx, "", romeo.Options()))
		ok(t, again.Join(ctx, s.Room, "Romeo"))
		if again.Device != romeo.Device {
			t.Fatalf("the client came back with device %d instead of %d", again.Device, romeo.Device)
		}
		fromMatrix(ctx, t, s, "That dreamers often lie", again)
		fromXMPP(ctx, t, s, again, "In bed asleep")
		nothingCrossedInTheClear(t, s)
	})
}

func TestAMemberWhoJoinsLaterReadsWhatIsSaidFromThenOn(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		fromMatrix(ctx, t, s, "Said before he came")
		fromXMPP(ctx, t, s, s.Owner, "He is not here yet")
		romeo := must[*peers.XMPPClient](t)(s.XMPPMember(ctx, "romeo", peers.XMPPOptions{OMEMO: peers.Legacy}))
		ok(t, s.Owner.Affiliate(ctx, s.Room, romeo.JID, "member"))
		ok(t, romeo.Join(ctx, s.Room, "Romeo"))
		must[peers.XMPPEvent](t)(s.Owner.AwaitOccupant(ctx, s.Room, romeo.JID))
		fromXMPP(ctx, t, s, romeo, "Here I am")
		fromMatrix(ctx, t, s, "Welcome, from Montague", s.Owner, romeo)
		fromIRC(ctx, t, s, "Welcome, from Mercutio", s.Owner, romeo)
		for _, e := range romeo.Events() {
			if strings.Contains(e.Text(), "Said before he came") {
				t.Errorf("he read what was sealed before he came: %s", e)
			}
		}
		nothingCrossedInTheClear(t, s)
	})
}

func sealedFor(e peers.XMPPEvent, device int64) bool {
	return strings.Contains(e.XML, fmt.Sprintf(`rid="%d"`, device))
}

// withPhone logs the owner in on a second device, and returns it once it is sealed for. Nobody pushes a stranger's device list to a puppet, so
// it may take a message or two until the new one is known.
func withPhone(ctx context.Context, t *testing.T, s *peers.Scene) *peers.XMPPClient {
	t.Helper()
	fromMatrix(ctx, t, s, "To one device")
	phone := must[*peers.XMPPClient](t)(s.SecondDevice(ctx, s.Owner, "phone"))
	ok(t, phone.Join(ctx, s.Room, "Juliet"))
	sayUntil(ctx, t, s, "the new device is sealed for", func(e peers.XMPPEvent) bool { return sealedFor(e, phone.Device) })
	return phone
}

func TestADeviceIsAdded(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		phone := withPhone(ctx, t, s)
		fromMatrix(ctx, t, s, "To both devices", s.Owner, phone)
		fromXMPP(ctx, t, s, phone, "From the phone")
		fromXMPP(ctx, t, s, s.Owner, "From the first device")
		nothingCrossedInTheClear(t, s)
	})
}

func TestADeviceIsTakenAway(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		phone := withPhone(ctx, t, s)
		ok(t, phone.RemoveDevice(ctx, 0))
		sayUntil(ctx, t, s, "the removed device is no longer sealed for", func(e peers.XMPPEvent) bool { return !sealedFor(e, phone.Device) })
		fromMatrix(ctx, t, s, "To one device again")
		fromXMPP(ctx, t, s, s.Owner, "From the first device")
		nothingCrossedInTheClear(t, s)
	})
}

// sayUntil has the Matrix user speak until the sealed message that arrives fits.
func sayUntil(ctx context.Context, t *testing.T, s *peers.Scene, what string, fits func(peers.XMPPEvent) bool) peers.XMPPEvent {
	t.Helper()
	for n := 0; ; n++ { // what is awaited travels on its own; each message shows how far it is
		text := fmt.Sprintf("%s: try %d", what, n)
		fromMatrix(ctx, t, s, text)
		if e := must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.Room, text)); fits(e) {
			return e
		}
	}
}

// hasKeyExchange says whether a sealed message still sets up a session with somebody, as all do until it is confirmed.
func hasKeyExchange(e peers.XMPPEvent) bool {
	return strings.Contains(e.XML, `prekey="true"`) || strings.Contains(e.XML, `prekey="1"`)
}
