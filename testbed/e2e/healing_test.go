//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

func number(device int64) string { return strconv.FormatInt(device, 10) }

// romeoWithState brings in a member whose OMEMO state can be lost and restored.
func romeoWithState(ctx context.Context, t *testing.T, s *peers.Scene) *peers.XMPPClient {
	t.Helper()
	o := peers.XMPPOptions{OMEMO: peers.Legacy, Storage: filepath.Join(t.TempDir(), "romeo.json")}
	return must[*peers.XMPPClient](t)(s.RoomMember(ctx, "Romeo", o))
}

// repaired waits until a client has got a key exchange without content from an address of Lockbridge's, after a mark.
func repaired(ctx context.Context, t *testing.T, c *peers.XMPPClient, mark int, by string) {
	t.Helper()
	must[peers.XMPPEvent](t)(c.AwaitAfter(ctx, mark, "a new session with "+by, func(e peers.XMPPEvent) bool {
		return e.Kind == "message" && e.Encrypted && e.Body == nil && e.Error == "" && strings.HasPrefix(e.From, by) && hasKeyExchange(e)
	}))
}

// toldUnreadable waits until both other networks were told that a message of somebody could not be read.
func toldUnreadable(ctx context.Context, t *testing.T, s *peers.Scene, who string) {
	t.Helper()
	told := func(text string) bool {
		return strings.Contains(text, who) && strings.Contains(text, "could not be")
	}
	must[peers.MatrixEvent](t)(s.Matrix.Await(ctx, "a word about an unreadable message of "+who, func(e peers.MatrixEvent) bool {
		return e.Room == s.MatrixRoom && e.Type == "m.room.message" && told(e.Text())
	}))
	must[peers.IRCLine](t)(s.IRC.Await(ctx, "a word about an unreadable message of "+who, func(l peers.IRCLine) bool { return told(l.Text()) }))
}

func TestAMemberWhoseClientLostItsKeysComesBack(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		romeo := romeoWithState(ctx, t, s)
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, romeo, "With the old device")
		fromMatrix(ctx, t, s, "To the old device", s.Owner, romeo)
		again := must[*peers.XMPPClient](t)(s.Wiped(ctx, romeo))
		ok(t, again.Join(ctx, s.Room, "Romeo"))
		if again.Device == romeo.Device {
			t.Fatalf("the device is still %d", again.Device)
		}
		fromXMPP(ctx, t, s, again, "With the new device")
		for _, text := range []string{"To the new device", "And once more"} {
			fromMatrix(ctx, t, s, text, s.Owner, again)
			fromIRC(ctx, t, s, text+", from Mercutio", s.Owner, again)
		}
		nothingCrossedInTheClear(t, s)
	})
}

// What the client says first uses keys for the second time, so it is lost, and said to be; the client gets a new session at once.
func TestAMemberWhoseClientWasRestoredFromAnOldCopyIsHealed(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		before := romeoWithState(ctx, t, s)
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, before, "Before the copy")
		fromMatrix(ctx, t, s, "Before the copy, from Montague", s.Owner, before)
		fromXMPP(ctx, t, s, before, "Just before the copy")
		copied := must[string](t)(before.CopyState())
		for n := range 3 {
			fromXMPP(ctx, t, s, before, fmt.Sprintf("After the copy %d", n))
			fromMatrix(ctx, t, s, fmt.Sprintf("After the copy %d, from Montague", n), s.Owner, before)
		}
		romeo := must[*peers.XMPPClient](t)(s.Restored(ctx, before, copied))
		ok(t, romeo.Join(ctx, s.Room, "Romeo"))
		mark := romeo.Mark()
		ok(t, romeo.SaySealed(ctx, s.Room, "Said with old keys"))
		toldUnreadable(ctx, t, s, "omeo")
		repaired(ctx, t, romeo, mark, s.Lockbridge.Slot.JID())
		fromXMPP(ctx, t, s, romeo, "Healed")
		fromMatrix(ctx, t, s, "And heard", s.Owner, romeo)
		fromIRC(ctx, t, s, "By Mercutio, too", s.Owner, romeo)
		once(t, s, "Just before the copy")
		neverCarried(t, s, "Said with old keys")
		nothingCrossedInTheClear(t, s)
	})
}

// forget deletes what Lockbridge keeps under keys that hold one of the words, while it is stopped.
func forget(ctx context.Context, t *testing.T, s *peers.Scene, words ...string) {
	t.Helper()
	ok(t, s.Lockbridge.Stop())
	statement := "DELETE FROM state WHERE network = 'xmpp' AND instr(key, ?) > 0"
	if s.Lockbridge.OnPostgres() {
		statement = "DELETE FROM state WHERE network = 'xmpp' AND position($1::bytea IN key) > 0"
	}
	for _, word := range words {
		if rows := must[int64](t)(s.Lockbridge.SQL(ctx, statement, []byte(word))); rows == 0 {
			t.Fatalf("there was nothing under %s", word)
		}
	}
}

func TestASessionThatLockbridgeLostIsHealedWithinOneExchange(t *testing.T) {
	onEachStore(t, peers.SceneOptions{Sealed: true, Puppets: "none"}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, s.Owner, "All is well")
		fromMatrix(ctx, t, s, "So it is")
		sayUntil(ctx, t, s, "the session is confirmed", func(e peers.XMPPEvent) bool { return !hasKeyExchange(e) })
		fromXMPP(ctx, t, s, s.Owner, "All is still well")

		// Everything is gone, and Lockbridge speaks first: nothing is lost.
		forget(ctx, t, s, "/record/", "/send/", "/hot/")
		ok(t, s.Start(ctx))
		fromMatrix(ctx, t, s, "I have forgotten you")
		if e := must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.Room, "I have forgotten you")); !hasKeyExchange(e) {
			t.Errorf("the session was not lost: %s", e.XML)
		}
		fromXMPP(ctx, t, s, s.Owner, "I have not")

		// What opens her messages is gone, and she speaks first: that cannot be read, which is told, and the next word can.
		forget(ctx, t, s, "/record/"+s.Owner.JID+"/")
		ok(t, s.Start(ctx))
		mark := s.Owner.Mark()
		ok(t, s.Owner.SaySealed(ctx, s.Room, "Do you remember me?"))
		toldUnreadable(ctx, t, s, "uliet")
		repaired(ctx, t, s.Owner, mark, s.Lockbridge.Slot.JID())
		fromXMPP(ctx, t, s, s.Owner, "You do now")
		fromMatrix(ctx, t, s, "I do")
		nothingCrossedInTheClear(t, s)
	})
}

func TestFiveHundredMessagesOneWayThenTheOther(t *testing.T) {
	onOneStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		const count = 500
		ok(t, s.Start(ctx))
		fromMatrix(ctx, t, s, "Ready?")
		var said []string
		for n := range count {
			said = append(said, fmt.Sprintf("Juliet says %d.", n))
		}
		ok(t, s.Owner.SayManySealed(ctx, s.Room, said))
		arrivesOnMatrix(ctx, t, s, said[count-1])
		var heard []string
		for _, e := range s.Matrix.Events() {
			if e.Type == "m.room.message" && strings.HasPrefix(e.Text(), "Juliet says") {
				heard = append(heard, e.Text())
			}
		}
		if !slices.Equal(heard, said) {
			t.Errorf("they came as %q", heard)
		}
		eachOf(t, count, func(n int) error {
			_, err := s.Matrix.Say(ctx, s.MatrixRoom, fmt.Sprintf("Montague says %d.", n))
			return err
		})
		for n := range count {
			arrivesOnXMPP(ctx, t, s, fmt.Sprintf("Montague says %d.", n))
		}
		ok(t, s.Owner.SaySealed(ctx, s.Room, "Enough"))
		arrivesOnMatrix(ctx, t, s, "Enough")
		for _, e := range s.Owner.Events() {
			if e.Kind == "message" && e.Encrypted && e.Error != "" {
				t.Errorf("she could not read %s", e)
			}
		}
	})
}

func TestMessagesThatComeInAnotherOrderAreRead(t *testing.T) {
	onEachStore(t, peers.SceneOptions{Sealed: true, OMEMO: bothVersions}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		romeo := must[*peers.XMPPClient](t)(s.RoomMember(ctx, "Romeo", peers.XMPPOptions{OMEMO: peers.Two}))
		ok(t, s.Start(ctx))
		for _, c := range []*peers.XMPPClient{s.Owner, romeo} {
			name := strings.Split(c.JID, "-")[0]
			texts := []string{name + " first", name + " second", name + " third", name + " last"}
			var ids []string
			for i, text := range texts {
				ids = append(ids, must[[]string](t)(c.Seal(ctx, s.Room, text))...)
				if i == 1 { // the second half in the next chain
					fromMatrix(ctx, t, s, "A word to "+name, c)
				}
			}
			slices.Reverse(ids)
			ok(t, c.Release(ctx, ids...))
			for _, text := range texts {
				arrivesOnMatrix(ctx, t, s, text)
				arrivesOnIRC(ctx, t, s, text)
			}
			mark := c.Mark()
			ok(t, c.Hold(ctx))
			for i := range 4 {
				must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, fmt.Sprintf("%s hears %d", name, i)))
			}
			ok(t, c.AwaitHeld(ctx, mark, 4, s.Room))
			ok(t, c.UnholdReversed(ctx))
			for i := range 4 {
				must[peers.XMPPEvent](t)(c.AwaitSealed(ctx, s.Room, fmt.Sprintf("%s hears %d", name, i)))
			}
			for _, text := range texts {
				once(t, s, text)
			}
		}
		nothingCrossedInTheClear(t, s)
	})
}

// Sessions are set up until every prekey has been handed out and more were used than there ever were at once.
func TestTheStockOfPrekeysRunsDryAndIsRefilled(t *testing.T) {
	onOneStore(t, peers.SceneOptions{Sealed: true, OMEMO: bothVersions}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		romeo := must[*peers.XMPPClient](t)(s.RoomMember(ctx, "Romeo", peers.XMPPOptions{OMEMO: peers.Both}))
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, romeo, "First")
		gateway := s.Lockbridge.Slot.JID()
		device := must[[]peers.XMPPDevice](t)(romeo.Devices(ctx, gateway))[0].ID
		before := map[string]peers.XMPPBundle{}
		for _, version := range bothVersions {
			before[version] = must[peers.XMPPBundle](t)(romeo.Bundle(ctx, gateway, device, version))
		}
		const times = 110
		for done := 0; done < times; done += 10 {
			ok(t, romeo.ExchangeAnew(ctx, gateway, device, 10)) // in each of the versions
		}
		fromXMPP(ctx, t, s, romeo, "Last") // behind all of them
		for _, version := range bothVersions {
			after := must[peers.XMPPBundle](t)(romeo.Bundle(ctx, gateway, device, version))
			if len(after.PreKeys) < 25 {
				t.Errorf("%s: only %d prekeys are left", version, len(after.PreKeys))
			}
			if slices.Max(after.PreKeys) < slices.Max(before[version].PreKeys)+times/2 {
				t.Errorf("%s: the prekeys were %v and are %v", version, before[version].PreKeys, after.PreKeys)
			}
			if after.Signed != before[version].Signed {
				t.Errorf("%s: the signed prekey was %d and is %d", version, before[version].Signed, after.Signed)
			}
		}
		paris := must[*peers.XMPPClient](t)(s.RoomMember(ctx, "Paris", peers.XMPPOptions{OMEMO: peers.Legacy}))
		fromXMPP(ctx, t, s, paris, "Is there a key left for me?")
		fromMatrix(ctx, t, s, "There is", s.Owner, paris)
		nothingCrossedInTheClear(t, s)
	})
}
