//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

// With metadata = "drop" nothing but sealed text crosses a room of OMEMO 0.3: what needs elements in the clear is told in words, or not.
func TestMetadataDrop(t *testing.T) {
	o := peers.SceneOptions{Sealed: true, Bridge: `metadata = "drop"`, IRC: `correct_after = "300ms"`}
	onOneStore(t, o, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		k := &talk{Scene: s, kind: legacy}
		ok(t, s.IRC.EnableTags(ctx))
		ok(t, s.Start(ctx))
		k.fromM(ctx, t, text("Montague is here"))
		x, m := k.fromX(ctx, t, text("a word of mine")), k.fromM(ctx, t, text("a word of his"))
		k.nothingBesideIsBelieved(ctx, t, x, m)
		k.allIsToldInWords(ctx, t, x, m)
		k.later(ctx, t)
		k.nobodyToldOf(t, peers.NSReplace, peers.NSRetract, peers.NSReactions, peers.NSReply, peers.NSStates, peers.NSMarkers, peers.NSSpoiler,
			peers.NSMarkup, peers.NSReference, peers.NSSharing, peers.NSOOB)
		for _, e := range s.Owner.Events() {
			if _, threaded := e.Beside(peers.NSClient, "thread"); threaded && !e.Own || e.Subject != nil && *e.Subject != "" {
				t.Errorf("on XMPP it is told: %s", e.XML)
			}
		}
		for _, e := range s.Matrix.Events() {
			if e.Sender != s.Matrix.UserID && (e.Type == "m.reaction" || e.Type == "m.room.redaction" || e.Get("m.relates_to") != nil) ||
				e.Type == "m.receipt" && strings.Contains(e.String(), k.ghosts("xmpp")) || e.Type == "m.typing" && strings.Contains(e.String(), k.ghosts("xmpp")) {
				t.Errorf("on Matrix it crossed: %s", e)
			}
		}
		nothingCrossedInTheClear(t, s)
	})
}

// nothingBesideIsBelieved: what stands beside a ciphertext is as if it were not there.
func (k *talk) nothingBesideIsBelieved(ctx context.Context, t *testing.T, x, m said) {
	for _, element := range []string{peers.Replace(x.x.ID), peers.Thread(text("thread")), peers.Spoiler("the end"), peers.Reply(m.x.From, m.x.StanzaID, 0)[0],
		peers.Markup("<span start='0' end='6'><strong/></span>"), peers.Mention(0, 6, m.x.From)} {
		words := text("myself and no other")
		must[string](t)(k.sendX(ctx, words, element))
		if e := k.onMatrix(ctx, t, words); e.Get("m.relates_to") != nil || e.Value("formatted_body") != "" || len(e.Mentions()) > 0 || e.Text() != words {
			t.Errorf("with %s it is on Matrix %s", element, e)
		}
	}
	for _, act := range []string{peers.React(m.x.StanzaID, "👍"), peers.Retract(x.x.StanzaID), peers.ChatState("composing"), peers.Displayed(m.x.StanzaID)} {
		must[string](t)(k.sendX(ctx, "", act))
	}
}

// allIsToldInWords: what has no form is sealed as text, or not told.
func (k *talk) allIsToldInWords(ctx context.Context, t *testing.T, x, m said) {
	edited, answer, further, secret := text("another word of his"), text("an answer"), text("and more of it"), text("Romeo dies")
	must[string](t)(k.Matrix.Edit(ctx, k.MatrixRoom, m.m.ID, edited))
	must[string](t)(k.Matrix.Reply(ctx, k.MatrixRoom, x.m.ID, answer))
	must[string](t)(k.Matrix.Thread(ctx, k.MatrixRoom, x.m.ID, further))
	must[string](t)(k.Matrix.SaySome(ctx, k.MatrixRoom, peers.Message(secret, `<span data-mx-spoiler="the end">`+secret+`</span>`)))
	for words, shown := range map[string]string{edited: "(edited) " + edited, answer: "Juliet: " + answer, further: "Juliet: " + further, secret: "(spoiler: the end) " + secret} {
		if e := k.onXMPP(ctx, t, words); visible(e.Text()) != shown { // an old answer would be quoted
			t.Errorf("on XMPP it is %q, not %q", e.Text(), shown)
		}
	}
	f := picture()
	must[string](t)(k.Matrix.SendFile(ctx, k.MatrixRoom, peers.MatrixFile{Content: f}))
	same(t, "on XMPP", f, k.fileOnXMPP(ctx, t, f))
	link := k.shareX(ctx, t, f)
	if sealed := must[peers.MatrixEvent](t)(k.Matrix.Await(ctx, "the file at "+link, func(e peers.MatrixEvent) bool {
		return e.Sender != k.Matrix.UserID && e.Type == "m.room.message" && e.Get("url") != nil
	})); sealed.Value("url") != "" {
		same(t, "on Matrix", f, must[[]byte](t)(k.Matrix.Open(ctx, sealed)))
	}
	must[string](t)(k.Matrix.React(ctx, k.MatrixRoom, x.m.ID, "👍"))
	ok(t, k.Matrix.Typing(ctx, k.MatrixRoom, true))
	ok(t, k.Matrix.Read(ctx, k.MatrixRoom, x.m.ID))
	ok(t, k.Matrix.SetState(ctx, k.MatrixRoom, "m.room.topic", "", map[string]any{"topic": text("the feud")}))
	ok(t, k.Matrix.Redact(ctx, k.MatrixRoom, m.m.ID, ""))
	k.onXMPP(ctx, t, "deleted a message")
}
