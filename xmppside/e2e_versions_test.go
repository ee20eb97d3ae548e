//go:build e2e

package xmppside

import (
	"context"
	"fmt"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
	"lockbridge/testbed/peers"
)

func TestMembersOfBothVersions(t *testing.T) {
	for _, order := range [][]string{{versionLegacy, versionTwo}, {versionTwo, versionLegacy}} {
		t.Run(order[0]+" first", func(t *testing.T) {
			ctx, b := within(t), openBed(t)
			b.cfg.OMEMO.Versions = order
			juliet := b.loginIn(ctx, t, "juliet", peers.Both)
			romeo, paris := b.loginIn(ctx, t, "romeo", peers.Two), b.loginIn(ctx, t, "paris", peers.Legacy)
			room := b.room(ctx, t, juliet, true, gateway.PuppetsActive, romeo.JID, paris.JID)
			must(t, romeo.Join(ctx, room.ID, "Romeo"))
			must(t, paris.Join(ctx, room.ID, "Paris"))
			side, inbox, _ := start(ctx, t, b.cfg, sidetest.NewState(), room)
			for i := range 3 {
				text := fmt.Sprintf("hello %d", i)
				must(t, say(ctx, t, side, room, "Alice", text))
				for c, want := range map[*peers.XMPPClient]string{juliet: order[0], romeo: versionTwo, paris: versionLegacy} {
					e, err := c.AwaitSealed(ctx, room.ID, text)
					must(t, err)
					if v, err := omemo.ParseVersion(want); err != nil || e.Namespace != v.Namespace() {
						t.Errorf("%s got %q in %s, want %s", c.JID, text, e.Namespace, want)
					}
				}
				for c, v := range map[*peers.XMPPClient]string{juliet: versionTwo, romeo: versionTwo, paris: versionLegacy} {
					text := fmt.Sprintf("answer %d of %s", i, c.JID)
					must(t, c.SaySealedIn(ctx, room.ID, text, v))
					if ev := awaitText(ctx, t, inbox, text); ev.Sealed.Version != v || ev.Sender.ID != c.JID {
						t.Errorf("heard from %s in %s, want %s in %s", ev.Sender.ID, ev.Sealed.Version, c.JID, v)
					}
				}
			}
			if bad := inbox.Unread(); len(bad) > 0 {
				t.Errorf("unreadable: %v", bad)
			}
		})
	}
}

func TestTheRoomIsToldWhoReadsAlong(t *testing.T) {
	ctx, b := within(t), openBed(t)
	juliet := b.login(ctx, t, "juliet")
	room := b.room(ctx, t, juliet, true, gateway.PuppetsActive)
	start(ctx, t, b.cfg, sidetest.NewState(), room)
	e, err := juliet.AwaitSealed(ctx, room.ID, legs(room))
	must(t, err)
	if e.Real != b.slot.JID() {
		t.Errorf("told by %s", e.Real)
	}
}

func TestALostSessionHealsWithinOneExchange(t *testing.T) {
	for _, v := range []omemo.Version{omemo.Legacy, omemo.Two} {
		t.Run(v.String(), func(t *testing.T) {
			ctx, b := within(t), openBed(t)
			b.cfg.OMEMO.Versions = []string{versionLegacy, versionTwo}
			juliet := b.loginIn(ctx, t, "juliet", []string{v.String()})
			room := b.room(ctx, t, juliet, true, gateway.PuppetsNone) // a puppet's key would open it
			state := sidetest.NewState()
			side, inbox, _ := start(ctx, t, b.cfg, state, room)
			_, err := juliet.AwaitSealed(ctx, room.ID, legs(room)) // two first messages that cross would confuse her client
			must(t, err)
			for i := range 2 {
				text := fmt.Sprint("before ", i)
				must(t, juliet.SaySealed(ctx, room.ID, text))
				awaitText(ctx, t, inbox, text)
				must(t, say(ctx, t, side, room, "Alice", "answer "+text))
				_, err := juliet.AwaitSealed(ctx, room.ID, "<Alice> answer "+text)
				must(t, err)
			}
			must(t, state.Update(ctx, func(ctx context.Context) error {
				return side.omemo.Forget(ctx, b.slot.JID(), omemo.Address{JID: juliet.JID, Device: uint32(juliet.Device)})
			}))
			must(t, juliet.SaySealed(ctx, room.ID, "lost"))
			must(t, inbox.AwaitUnread(ctx, 1))
			for i := 0; ; i++ { // the repair travels on its own; each message shows how far it is
				before := len(inbox.Unread())
				text := fmt.Sprint("healed ", i)
				must(t, juliet.SaySealed(ctx, room.ID, text))
				must(t, say(ctx, t, side, room, "Alice", fmt.Sprint("mark ", i)))
				_, err := juliet.AwaitSealed(ctx, room.ID, fmt.Sprint("<Alice> mark ", i))
				must(t, err)
				if len(inbox.Unread()) == before {
					awaitText(ctx, t, inbox, text)
					break
				}
			}
		})
	}
}
