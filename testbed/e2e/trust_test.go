//go:build e2e

package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"filippo.io/edwards25519"

	"lockbridge/testbed/peers"
)

// An admin judges keys with the program's commands while it runs, and it follows from its next message on.
func TestAnAdminDecidesWhomTheGatewayTrusts(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		romeo := must[*peers.XMPPClient](t)(s.XMPPMember(ctx, "romeo", peers.XMPPOptions{OMEMO: peers.Legacy}))
		ok(t, s.Owner.Affiliate(ctx, s.Room, romeo.JID, "member"))
		ok(t, romeo.Join(ctx, s.Room, "Romeo"))
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, s.Owner, "All trust blindly")
		fromMatrix(ctx, t, s, "So do I", s.Owner, romeo)

		command := func(args ...string) string {
			t.Helper()
			out, err := s.Lockbridge.Command(ctx, append(args, "--config", s.Lockbridge.Config)...)
			if err != nil {
				t.Fatalf("lockbridge %q: %v\n%s", args, err, out)
			}
			return out
		}
		gateway := s.Lockbridge.Slot.JID()
		shown := fingerprintOf(ctx, t, romeo, gateway, 0)
		if out := command("fingerprint", "--no-qr"); !strings.Contains(strings.ReplaceAll(out, " ", ""), shown) {
			t.Errorf("members see %s, the program says\n%s", shown, out)
		}
		key := fingerprintOf(ctx, t, romeo, s.Owner.JID, s.Owner.Device)
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^%s +%d +(.*[0-9a-f]) +legacy +blind +.*%s`, regexp.QuoteMeta(s.Owner.JID), s.Owner.Device, regexp.QuoteMeta(gateway)))
		if m := row.FindStringSubmatch(command("trust", "list", s.Owner.JID)); m == nil || strings.ReplaceAll(m[1], " ", "") != key {
			t.Errorf("the list has no line for %s: %q", key, m)
		}

		command("trust", "distrust", s.Owner.JID, key)
		mark := s.Owner.Mark()
		ok(t, s.Owner.SaySealed(ctx, s.Room, "From a key that is distrusted"))
		must[peers.XMPPEvent](t)(s.Owner.AwaitAfter(ctx, mark, "a private word about it", func(e peers.XMPPEvent) bool {
			return e.Kind == "message" && e.Type != "groupchat" && strings.Contains(e.Text(), "distrusted")
		}))
		sealedFor := func(text string, device int64) bool {
			t.Helper()
			e := must[peers.XMPPEvent](t)(romeo.AwaitSealed(ctx, s.Room, text))
			return strings.Contains(e.XML, fmt.Sprintf(`rid="%d"`, device))
		}
		fromMatrix(ctx, t, s, "Not for her", romeo)
		if sealedFor("Not for her", s.Owner.Device) {
			t.Error("a message was sealed for a distrusted key")
		}
		command("trust", "undo", s.Owner.JID, key)
		fromMatrix(ctx, t, s, "For both of you again", s.Owner, romeo)
		fromXMPP(ctx, t, s, s.Owner, "From the same key, trusted again")
		neverCarried(t, s, "From a key that is distrusted")

		command("trust", "verify", fmt.Sprintf("xmpp:%s?omemo-sid-%d=%s", s.Owner.JID, s.Owner.Device, key))
		fromXMPP(ctx, t, s, s.Owner, "From a verified key")
		phone := must[*peers.XMPPClient](t)(s.SecondDevice(ctx, s.Owner, "phone"))
		ok(t, phone.Join(ctx, s.Room, "Juliet"))
		ok(t, phone.SaySealed(ctx, s.Room, "From a key that nobody knows"))
		arrivesOnMatrix(ctx, t, s, "[unverified device] From a key that nobody knows")
		arrivesOnIRC(ctx, t, s, "[unverified device] From a key that nobody knows")
		fromMatrix(ctx, t, s, "Not for the phone", s.Owner, romeo)
		if sealedFor("Not for the phone", phone.Device) {
			t.Error("a message was sealed for a key that is not verified")
		}
		command("trust", "verify", phone.JID, fingerprintOf(ctx, t, romeo, phone.JID, phone.Device))
		fromMatrix(ctx, t, s, "For the phone, too", s.Owner, phone, romeo)
		fromXMPP(ctx, t, s, phone, "From the phone, verified")
		nothingCrossedInTheClear(t, s)
	})
}

// fingerprintOf is the fingerprint of somebody's device as another client knows it; device 0: the only one.
func fingerprintOf(ctx context.Context, t *testing.T, by *peers.XMPPClient, jid string, device int64) string {
	t.Helper()
	for _, d := range must[[]peers.XMPPDevice](t)(by.Devices(ctx, jid)) {
		if device == 0 || d.ID == device {
			p := must[*edwards25519.Point](t)(new(edwards25519.Point).SetBytes(must[[]byte](t)(hex.DecodeString(d.Key))))
			return hex.EncodeToString(p.BytesMontgomery())
		}
	}
	t.Fatalf("%s knows no device %d of %s", by.JID, device, jid)
	return ""
}
