//go:build e2e

package e2e

import (
	"context"
	"testing"

	"lockbridge/testbed/peers"
)

// In a direct chat, whole: edits, replies, reactions, retractions, files, typing and markers.
func TestAPrivateTalkIsWhole(t *testing.T) {
	t.Run("legacy", func(t *testing.T) {
		onOneStore(t, direct, func(ctx context.Context, t *testing.T, s *peers.Scene) { whole(ctx, t, s, peers.Legacy) })
	})
	t.Run("v2", func(t *testing.T) {
		o := direct
		o.Owners = peers.Two
		onOneStore(t, o, func(ctx context.Context, t *testing.T, s *peers.Scene) { whole(ctx, t, s, peers.Two) })
	})
}

func whole(ctx context.Context, t *testing.T, s *peers.Scene, versions []string) {
	ok(t, s.Start(ctx))
	room, puppet := chat(ctx, t, s, s.Owner, versions), s.MatrixName(s.Matrix)
	send := func(text string, elements ...string) string {
		t.Helper()
		w := peers.Words{Text: text, Beside: elements}
		if versions[0] == peers.Two[0] {
			w.Inside, w.Beside = elements, nil
		} else if text == "" {
			return must[string](t)(s.Owner.Send(ctx, puppet, w))
		}
		return must[string](t)(s.Owner.SendSealed(ctx, puppet, w))
	}
	x := must[string](t)(s.Owner.SendSealed(ctx, puppet, peers.Words{Text: "Parting is such sorrow", Beside: []string{"<request xmlns='urn:xmpp:receipts'/>"}}))
	must[peers.XMPPEvent](t)(s.Owner.AwaitElement(ctx, 0, puppet, "urn:xmpp:receipts", "received", func(r peers.Element) bool { return r.Attr("id") == x }))
	onMatrix := must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, room, "Parting is such sorrow"))
	send("Parting is such sweet sorrow", peers.Replace(x))
	must[peers.MatrixEvent](t)(s.Matrix.AwaitEdit(ctx, room, onMatrix.ID, "sweet sorrow"))
	must[string](t)(s.Matrix.Say(ctx, room, "Sleep dwell upon thine eyes"))
	e := must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, puppet, "Sleep dwell upon thine eyes"))
	event := lastOwn(t, s, room)
	send("> Sleep dwell upon thine eyes\nPeace in thy breast", peers.Reply(e.From, e.ID, len("> Sleep dwell upon thine eyes\n"))...)
	if answer := must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, room, "Peace in thy breast")); answer.Value("m.relates_to", "m.in_reply_to", "event_id") != event {
		t.Errorf("on Matrix it is %s", answer)
	}
	send("", peers.React(e.ID, "💤"))
	must[peers.MatrixEvent](t)(s.Matrix.AwaitReaction(ctx, 0, room, event, "💤"))
	must[string](t)(s.Matrix.React(ctx, room, onMatrix.ID, "💔"))
	must[peers.XMPPEvent](t)(s.Owner.AwaitElement(ctx, 0, puppet, peers.NSReactions, "reactions", func(r peers.Element) bool { return r.Attr("id") == x }))
	send("", peers.ChatState("composing"))
	must[peers.MatrixEvent](t)(s.Matrix.AwaitTyping(ctx, 0, room, s.Lockbridge.Slot.UserPrefix, true))
	ok(t, s.Matrix.Typing(ctx, room, true))
	must[peers.XMPPEvent](t)(s.Owner.AwaitElement(ctx, 0, puppet, peers.NSStates, "composing", nil))
	send("", peers.Displayed(e.ID))
	must[peers.MatrixEvent](t)(s.Matrix.AwaitRead(ctx, room, event, s.Lockbridge.Slot.UserPrefix))
	ok(t, s.Matrix.Read(ctx, room, onMatrix.ID))
	must[peers.XMPPEvent](t)(s.Owner.AwaitElement(ctx, 0, puppet, peers.NSMarkers, "displayed", nil))
	f := picture()
	must[string](t)(s.Matrix.SendFile(ctx, room, peers.MatrixFile{Content: f}))
	if versions[0] == peers.Two[0] {
		e := must[peers.XMPPEvent](t)(s.Owner.AwaitElement(ctx, 0, puppet, peers.NSSharing, "file-sharing", nil))
		sharing, _ := e.Element(peers.NSSharing, "file-sharing")
		same(t, "on XMPP", f, must[[]byte](t)(s.Bed.OpenSharing(ctx, sharing)))
	} else {
		(&talk{Scene: s}).sealedLink(ctx, t, puppet, f)
	}
	send("", peers.Retract(x))
	must[peers.MatrixEvent](t)(s.Matrix.AwaitRedaction(ctx, room, onMatrix.ID))
	ok(t, s.Matrix.Redact(ctx, room, event, ""))
	must[peers.XMPPEvent](t)(s.Owner.AwaitElement(ctx, 0, puppet, peers.NSRetract, "retract", func(r peers.Element) bool { return r.Attr("id") == e.ID || r.Attr("id") == e.OriginID }))
	nothingCrossedInTheClear(t, s)
}

// lastOwn is the event id of what the Matrix user said last in a room.
func lastOwn(t *testing.T, s *peers.Scene, room string) (event string) {
	t.Helper()
	for _, e := range s.Matrix.Events() {
		if e.Room == room && e.Sender == s.Matrix.UserID && e.Type == "m.room.message" {
			event = e.ID
		}
	}
	return event
}
