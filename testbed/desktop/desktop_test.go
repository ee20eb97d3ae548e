//go:build desktop

package desktop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lockbridge/testbed/peers"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestGajimTalks has somebody with Gajim talk in a sealed room and in private.
func TestGajimTalks(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Minute, fmt.Errorf("2 minutes have passed"))
	defer cancel()
	bed, err := peers.Start(ctx, os.Stderr)
	ok(t, err)
	binary, err := peers.BuildLockbridge(ctx, bed, t.TempDir())
	ok(t, err)
	s, err := peers.NewScene(ctx, bed, peers.SceneOptions{Binary: binary, Dir: t.TempDir(), Sealed: true, Direct: true})
	ok(t, err)
	defer func() { ok(t, s.Close()) }()
	name := peers.Unique("benvolio")
	jid := name + "@" + bed.Host
	password, err := bed.XMPPAccount(ctx, name, bed.Host)
	ok(t, err)
	ok(t, s.Owner.Affiliate(ctx, s.Room, jid, "member"))

	// Gajim enters the rooms that are bookmarked so.
	phone, err := s.XMPPMember(ctx, "", peers.XMPPOptions{JID: jid, Password: password, Resource: "phone"})
	ok(t, err)
	_, err = phone.IQ(ctx, jid, "set", fmt.Sprintf(`<pubsub xmlns="http://jabber.org/protocol/pubsub"><publish node="urn:xmpp:bookmarks:1"><item id="%s">`+
		`<conference xmlns="urn:xmpp:bookmarks:1" autojoin="true"><nick>Benvolio</nick></conference></item></publish></pubsub>`, s.Room))
	ok(t, err)

	puppet := s.MatrixName(s.Matrix)
	gajim, err := peers.StartGajim(ctx, bed, jid, password, s.Transcript, peers.GajimChat{JID: s.Room, Room: true}, peers.GajimChat{JID: puppet})
	ok(t, err)
	defer gajim.Close()
	picture := func(name string) {
		file := filepath.Join(output(t), name+".png")
		ok(t, gajim.Screenshot(file))
		t.Log("screenshot:", file)
	}
	defer func() {
		if t.Failed() {
			picture("gajim-failed")
		}
	}()
	_, err = s.Owner.AwaitOccupant(ctx, s.Room, jid)
	ok(t, err)
	ok(t, s.Start(ctx))
	_, err = s.Matrix.Say(ctx, s.MatrixRoom, "Good morrow, cousin")
	ok(t, err)
	ok(t, gajim.AwaitText(ctx, s.Room, "Good morrow, cousin"))
	ok(t, gajim.Say(ctx, s.Room, "Is the day so young?"))
	_, err = s.Matrix.AwaitText(ctx, s.MatrixRoom, "Is the day so young?")
	ok(t, err)
	_, err = s.Matrix.Say(ctx, s.MatrixRoom, "But new struck nine")
	ok(t, err)
	ok(t, gajim.AwaitText(ctx, s.Room, "But new struck nine"))
	picture("gajim-room")

	ok(t, gajim.Say(ctx, puppet, "What sadness lengthens your hours?"))
	room, err := s.Matrix.AwaitInvite(ctx, s.Lockbridge.Slot.UserPrefix+"xmpp_benvolio")
	ok(t, err)
	ok(t, s.Matrix.Join(ctx, room))
	_, err = s.Matrix.AwaitText(ctx, room, "What sadness lengthens your hours?")
	ok(t, err)
	_, err = s.Matrix.Say(ctx, room, "Not having that which makes them short")
	ok(t, err)
	ok(t, gajim.AwaitText(ctx, puppet, "Not having that which makes them short"))
	ok(t, gajim.Say(ctx, puppet, "In love?"))
	_, err = s.Matrix.AwaitText(ctx, room, "In love?")
	ok(t, err)
	picture("gajim-private")
}

// output is the folder for what a test leaves behind.
func output(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TEST_OUTPUT")
	if dir == "" {
		dir = os.TempDir()
	}
	ok(t, os.MkdirAll(dir, 0o755))
	return dir
}
