//go:build e2e

package xmppside

import (
	"fmt"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// TestALongAbsenceIsReadFromTheArchive: more was said than a join's history holds.
func TestALongAbsenceIsReadFromTheArchive(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed=%v", sealed), func(t *testing.T) {
			ctx, b := within(t), openBed(t)
			juliet := b.login(ctx, t, "juliet")
			peer := member{juliet, b, b.room(ctx, t, juliet, sealed, gateway.PuppetsActive).ID, sealed}
			room := gateway.Room{Address: gateway.Address{Network: "xmpp", ID: peer.room}, Seal: sealed, KeepMetadata: true, Puppets: gateway.PuppetsActive, MaxPuppets: 20}
			state := sidetest.NewState()
			_, inbox, stop := start(ctx, t, b.cfg, state, room)
			must(t, peer.Say(ctx, "before"))
			awaitText(ctx, t, inbox, "before")
			stop()
			const n = 130 // more than a page of the archive
			for i := range n {
				must(t, peer.Say(ctx, fmt.Sprintf("number %d", i)))
			}
			_, inbox, _ = start(ctx, t, b.cfg, state, room)
			must(t, peer.Say(ctx, "after"))
			awaitText(ctx, t, inbox, "after")
			next := 0
			for _, ev := range inbox.Heard() {
				switch text := textOf(ev); text {
				case fmt.Sprintf("number %d", next):
					next++
				case "before", "after", "":
				default:
					t.Fatalf("heard %q when number %d was due", text, next)
				}
			}
			if next != n {
				t.Errorf("heard %d of %d", next, n)
			}
			if unread := inbox.Unread(); len(unread) > 0 {
				t.Errorf("unreadable: %v", unread)
			}
		})
	}
}
