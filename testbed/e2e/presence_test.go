//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

// ghosts is how the Matrix ghosts of people of a network begin, without @.
func (k *talk) ghosts(network string) string { return k.Lockbridge.Slot.UserPrefix + network + "_" }

func TestTyping(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		room, irc, mark := k.Matrix.Mark(), k.IRC.Mark(), k.Owner.Mark()
		must[string](t)(k.sendX(ctx, "", peers.ChatState("composing")))
		must[peers.MatrixEvent](t)(k.Matrix.AwaitTyping(ctx, room, k.MatrixRoom, k.ghosts("xmpp"), true))
		must[peers.IRCLine](t)(k.IRC.AwaitTag(ctx, irc, k.Channel, "+typing", func(l peers.IRCLine) bool { return l.Tag("+typing") == "active" }))
		room, irc = k.Matrix.Mark(), k.IRC.Mark()
		must[string](t)(k.sendX(ctx, "", peers.ChatState("paused")))
		must[peers.MatrixEvent](t)(k.Matrix.AwaitTyping(ctx, room, k.MatrixRoom, k.ghosts("xmpp"), false))
		ok(t, k.Matrix.Typing(ctx, k.MatrixRoom, true))
		e := must[peers.XMPPEvent](t)(k.Owner.AwaitElement(ctx, mark, k.Room, peers.NSStates, "composing", nil))
		if e.Real != k.MatrixName(k.Matrix) {
			t.Errorf("on XMPP it was %s who typed", e.Real)
		}
		must[peers.IRCLine](t)(k.IRC.AwaitTag(ctx, irc, k.Channel, "+typing", func(l peers.IRCLine) bool { return l.Tag("+typing") == "active" }))
		ok(t, k.Matrix.Typing(ctx, k.MatrixRoom, false))
		mark, room = k.Owner.Mark(), k.Matrix.Mark()
		ok(t, k.IRC.TagMessage(k.Channel, map[string]string{"+typing": "active"}))
		must[peers.XMPPEvent](t)(k.Owner.AwaitElement(ctx, mark, k.Room, peers.NSStates, "composing", nil))
		must[peers.MatrixEvent](t)(k.Matrix.AwaitTyping(ctx, room, k.MatrixRoom, k.ghosts("irc"), true))
	})
}

func TestReceipts(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		m := k.fromM(ctx, t, text("have you read it"))
		must[string](t)(k.sendX(ctx, "", peers.Displayed(m.x.StanzaID)))
		must[peers.MatrixEvent](t)(k.Matrix.AwaitRead(ctx, k.MatrixRoom, m.m.ID, k.ghosts("xmpp")))
		x := k.fromX(ctx, t, text("I have, have you"))
		ok(t, k.Matrix.Read(ctx, k.MatrixRoom, x.m.ID))
		e := must[peers.XMPPEvent](t)(k.Owner.AwaitElement(ctx, 0, k.Room, peers.NSMarkers, "displayed", func(d peers.Element) bool { return d.Attr("id") == x.x.StanzaID }))
		if e.Real != k.MatrixName(k.Matrix) {
			t.Errorf("on XMPP it was %s who read it", e.Real)
		}
	})
}

// What the switches turn off does not cross, and what is said does.
func TestPrivacySwitches(t *testing.T) {
	o := peers.SceneOptions{Privacy: "typing = false\nreceipts = \"off\"\navatars = false"}
	inScenes(t, o, func(ctx context.Context, t *testing.T, k *talk) {
		s := k.Scene
		k.fromM(ctx, t, text("Montague is here"))
		m, x := k.fromM(ctx, t, text("read this")), k.fromX(ctx, t, text("and this"))
		ok(t, s.Owner.SetPicture(ctx, s.Room, "Juliet", peers.PNG(9)))
		ok(t, s.Matrix.SetPicture(ctx, peers.PNG(8)))
		ok(t, s.Matrix.Typing(ctx, s.MatrixRoom, true))
		ok(t, s.Matrix.Read(ctx, s.MatrixRoom, x.m.ID))
		ok(t, s.IRC.TagMessage(s.Channel, map[string]string{"+typing": "active"}))
		must[string](t)(k.sendX(ctx, "", peers.ChatState("composing")))
		must[string](t)(k.sendX(ctx, "", peers.Displayed(m.x.StanzaID)))
		k.later(ctx, t)
		k.later(ctx, t)
		k.nobodyToldOf(t, peers.NSStates, peers.NSMarkers)
		for _, l := range s.IRC.Events() {
			if l.Command == "TAGMSG" && l.HasTag("+typing") && l.Nick() != s.IRC.Nick {
				t.Errorf("on IRC it is told: %s %s", l, l.Tags)
			}
		}
		for _, e := range s.Owner.Events() {
			if e.Kind == "presence" && e.Real == s.MatrixName(s.Matrix) && e.Photo != "" {
				t.Errorf("the puppet has a picture: %s", e)
			}
		}
		for _, e := range s.Matrix.Events() {
			if e.Type == "m.receipt" && strings.Contains(e.String(), k.ghosts("xmpp")) || e.Type == "m.typing" && strings.Contains(e.String(), k.ghosts("")) {
				t.Errorf("on Matrix it is told: %s", e)
			}
		}
		if _, uri, err := s.Matrix.Profile(ctx, x.m.Sender); err != nil || uri != "" {
			t.Errorf("the ghost has the picture %q: %v", uri, err)
		}
	}, plain, legacy)
}

// nobodyToldOf checks that ours sent no element of these namespaces into the XMPP room.
func (k *talk) nobodyToldOf(t *testing.T, namespaces ...string) {
	t.Helper()
	for _, e := range k.Owner.Events() {
		if e.Kind != "message" || !strings.HasSuffix(e.Real, "@"+k.Lockbridge.Slot.Component) {
			continue
		}
		for _, space := range namespaces {
			if strings.Contains(e.XML, `"`+space+`"`) {
				t.Errorf("on XMPP it is told: %s", e.XML)
			}
		}
	}
}
