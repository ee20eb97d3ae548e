package xmppside

import (
	"context"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

func TestASealedRoomIsToldOnceWhoReadsAlong(t *testing.T) {
	f, juliet, state, _ := sealedFake(t)
	room := fakeBridgeRoom(true, gateway.PuppetsActive)
	room.Others = append(room.Others, gateway.Address{Network: "irc", ID: "#lobby"})
	room.Clear = room.Others[1:]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	own := sidetest.NewState()
	told := func() []string {
		var texts []string
		for _, n := range f.saidBy(fakeSelf) {
			msg, err := omemo.ParseMessage(omemo.Legacy, n.child(nsLegacy, "encrypted").append(nil, ""))
			must(t, err)
			must(t, state.Update(t.Context(), func(ctx context.Context) error {
				opened, err := juliet.Open(ctx, "juliet@test", []string{fakeSelf}, msg)
				if err == nil {
					texts = append(texts, string(opened.Plain))
				}
				return nil
			}))
		}
		f.set(func() { f.seen = nil })
		return texts
	}
	run := func(room gateway.Room) []string {
		side, inbox, stop := start(ctx, t, f.config(), own, room)
		must(t, deliver(t, side, delivery(strings.Repeat("c", 32), "hello", true)))
		_, err := inbox.Await(ctx, "the echo", func(ev *gateway.Event) bool { _, ok := ev.Body.(gateway.Echo); return ok })
		must(t, err)
		stop()
		return told()
	}
	first := run(room)
	if len(first) != 1 || !strings.Contains(first[0], "matrix, #lobby: end-to-end encrypted") || !strings.Contains(first[0], "irc, #lobby: in the clear") {
		t.Fatalf("the room was told %q", first)
	}
	swept, err := own.List(t.Context(), stateOut) // as the store does with what belongs to no delivery
	must(t, err)
	for key := range swept {
		must(t, own.Update(t.Context(), func(ctx context.Context) error { return own.PutMany(ctx, map[string][]byte{key: nil}) }))
	}
	if again := run(room); len(again) != 0 {
		t.Errorf("the room was told again: %q", again)
	}
	room.Clear = room.Others
	if changed := run(room); len(changed) != 1 || !strings.Contains(changed[0], "matrix, #lobby: in the clear") {
		t.Errorf("of the changed legs the room was told %q", changed)
	}
}

// TestVersionsAreKnownAfterARestart: a room whose devices all speak OMEMO 2 takes reactions before anything was said in it.
func TestVersionsAreKnownAfterARestart(t *testing.T) {
	drop := func(c *Config, d *gateway.Deps) {
		both(c, d)
		room := fakeBridgeRoom(true, gateway.PuppetsActive)
		room.KeepMetadata = false
		d.Rooms = []gateway.Room{room}
	}
	w := newWorld(t, drop, omemo.Two)
	w.await("who reads along", func(n *node) bool { return n.name == "message" && n.get("type") == "groupchat" })
	w.restart(drop)
	r := w.side.room0()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.await(ctx, r.allAreTwo); err != nil || !w.side.Caps(r.conf().Address).Reaction {
		t.Errorf("it takes no reactions: %v", err)
	}
}
