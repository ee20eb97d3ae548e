//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

func TestEdits(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		part(t, "xmpp", func(ctx context.Context, t *testing.T) {
			words := text("a rose by another name")
			s := k.fromX(ctx, t, words)
			for _, name := range []string{"any other", "some other"} { // each names the first message
				words := strings.Replace(words, "another", name, 1)
				must[string](t)(k.sendX(ctx, words, peers.Replace(s.x.ID)))
				e := must[peers.MatrixEvent](t)(k.Matrix.AwaitEdit(ctx, k.MatrixRoom, s.m.ID, words))
				if e.Sender != s.m.Sender || e.Value("m.new_content", "body") != words {
					t.Errorf("on Matrix it is %s", e)
				}
				l := k.onIRC(ctx, t, strings.Fields(name)[0]+" other name")
				if !strings.Contains(l.Text(), "(edited)") || !strings.Contains(l.Text(), "uliet") {
					t.Errorf("on IRC it is %s", l)
				}
			}
		})
		part(t, "matrix", func(ctx context.Context, t *testing.T) {
			words := text("what is in a noun")
			s := k.fromM(ctx, t, words)
			for _, name := range []string{"name", "word"} {
				words := strings.Replace(words, "noun", name, 1)
				must[string](t)(k.Matrix.Edit(ctx, k.MatrixRoom, s.m.ID, words))
				k.corrected(ctx, t, s, words)
				l := k.onIRC(ctx, t, "in a "+name)
				if !strings.Contains(l.Text(), "(edited)") {
					t.Errorf("on IRC it is %s", l)
				}
			}
		})
	}, plain, legacy, two, onPostgres)
}

// What was said before a restart is corrected after it, and what was taken back after it is taken back.
func TestEditsReactionsAndRetractionsAfterARestart(t *testing.T) {
	o := peers.SceneOptions{Sealed: true, IRC: `correct_after = "300ms"`}
	onEachStore(t, o, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		k := &talk{Scene: s, kind: legacy}
		ok(t, s.IRC.EnableTags(ctx))
		ok(t, s.Start(ctx))
		fromMatrix(ctx, t, s, "Montague is here") // from the second message on with a puppet
		x, m := k.fromX(ctx, t, "O that I were a glove"), k.fromM(ctx, t, "See how she leans her cheek")
		must[string](t)(k.sendX(ctx, "", peers.React(m.x.StanzaID, "👍")))
		must[peers.MatrixEvent](t)(s.Matrix.AwaitReaction(ctx, 0, s.MatrixRoom, m.m.ID, "👍"))
		one := must[string](t)(s.Matrix.React(ctx, s.MatrixRoom, x.m.ID, "🧤"))
		k.reactedX(ctx, t, 0, x, "🧤")
		ok(t, s.Lockbridge.Stop())
		ok(t, s.Start(ctx))
		mark, onX := s.Matrix.Mark(), s.Owner.Mark()
		must[string](t)(k.sendX(ctx, "", peers.React(m.x.StanzaID, "❤️")))
		must[peers.MatrixEvent](t)(s.Matrix.AwaitReaction(ctx, mark, s.MatrixRoom, m.m.ID, "❤️"))
		must[peers.MatrixEvent](t)(s.Matrix.AwaitAfter(ctx, mark, "the redaction of 👍", func(e peers.MatrixEvent) bool { return e.Type == "m.room.redaction" }))
		must[string](t)(s.Matrix.React(ctx, s.MatrixRoom, x.m.ID, "💕"))
		k.reactedX(ctx, t, onX, x, "🧤", "💕")
		ok(t, s.Matrix.Redact(ctx, s.MatrixRoom, one, ""))
		k.reactedX(ctx, t, onX, x, "💕")
		must[string](t)(k.sendX(ctx, "O that I were a glove upon that hand", peers.Replace(x.x.ID)))
		must[peers.MatrixEvent](t)(s.Matrix.AwaitEdit(ctx, s.MatrixRoom, x.m.ID, "upon that hand"))
		k.toldOnIRC(ctx, t, 0, "uliet> (edited) …a glove upon that hand")
		must[string](t)(s.Matrix.Edit(ctx, s.MatrixRoom, m.m.ID, "See how she leans her cheek upon her hand"))
		k.corrected(ctx, t, m, "upon her hand")
		k.toldOnIRC(ctx, t, 0, "ontague> (edited) …her cheek upon her hand")
		ok(t, s.Matrix.Redact(ctx, s.MatrixRoom, m.m.ID, ""))
		k.retracted(ctx, t, m)
		k.toldOnIRC(ctx, t, 0, "ontague deleted a message")
	})
}

// Somebody else's correction, and one of what was never carried, is what they say themselves, marked as a correction.
func TestSpoofedEditsChangeNothing(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		romeo, benvolio := k.member(ctx, t, "Romeo"), k.user(ctx, t, "benvolio")
		ours, theirs := k.fromX(ctx, t, text("I am Juliet's word")), k.fromM(ctx, t, text("I am Montague's word"))
		first, second := text("Romeo would have it so"), text("Benvolio would have it so")
		must[string](t)(k.sendAs(ctx, romeo, first, peers.Replace(ours.x.ID)))
		must[string](t)(benvolio.Edit(ctx, k.MatrixRoom, theirs.m.ID, second))
		if e := k.onMatrix(ctx, t, first); e.Get("m.relates_to") != nil || e.Sender == ours.m.Sender {
			t.Errorf("on Matrix it is %s", e)
		}
		if e := k.onXMPP(ctx, t, second); e.Replace != "" || e.Real == theirs.x.Real {
			t.Errorf("on XMPP it is %s", e.XML)
		}
		k.onIRC(ctx, t, first)
		k.onIRC(ctx, t, second)
		never := must[string](t)(k.Matrix.Send(ctx, k.MatrixRoom, "org.example.note", map[string]any{"body": "not for the others"}))
		first, second = text("Juliet mends what nobody heard"), text("Montague does so, too")
		must[string](t)(k.sendX(ctx, first, peers.Replace("never-heard")))
		must[string](t)(k.Matrix.Edit(ctx, k.MatrixRoom, never, second))
		if e := k.onMatrix(ctx, t, first); e.Get("m.relates_to") != nil || e.Text() != "(edited) "+first {
			t.Errorf("on Matrix it is %s", e)
		}
		if e := k.onXMPP(ctx, t, second); e.Replace != "" || e.Text() != "(edited) "+second {
			t.Errorf("on XMPP it is %s", e.XML)
		}
		k.onIRC(ctx, t, "(edited) "+first)
		k.onIRC(ctx, t, "(edited) "+second)
	})
}

func TestRetractions(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		part(t, "xmpp", func(ctx context.Context, t *testing.T) {
			s, mark := k.fromX(ctx, t, text("I would I had not said it")), k.IRC.Mark()
			must[string](t)(k.sendX(ctx, "", peers.Retract(s.x.StanzaID)))
			if e := must[peers.MatrixEvent](t)(k.Matrix.AwaitRedaction(ctx, k.MatrixRoom, s.m.ID)); e.Sender != s.m.Sender {
				t.Errorf("%s took it back", e.Sender)
			}
			k.toldOnIRC(ctx, t, mark, "uliet deleted a message")
		})
		part(t, "matrix", func(ctx context.Context, t *testing.T) {
			s, mark := k.fromM(ctx, t, text("I take it back")), k.IRC.Mark()
			ok(t, k.Matrix.Redact(ctx, k.MatrixRoom, s.m.ID, ""))
			if e := k.retracted(ctx, t, s); e.Real != s.x.Real {
				t.Errorf("%s took it back", e.Real)
			}
			k.toldOnIRC(ctx, t, mark, "ontague deleted a message")
		})
	})
}

// toldOnIRC awaits a note on IRC, whatever stands in the names so that they ping nobody.
func (k *talk) toldOnIRC(ctx context.Context, t *testing.T, mark int, words string) peers.IRCLine {
	t.Helper()
	return must[peers.IRCLine](t)(k.IRC.AwaitAfter(ctx, mark, words, func(l peers.IRCLine) bool {
		return (l.Command == "PRIVMSG" || l.Command == "NOTICE") && l.Nick() == k.Lockbridge.Slot.Nick && strings.Contains(visible(l.Text()), words)
	}))
}

// visible is a text without what keeps names from pinging.
func visible(s string) string {
	return strings.NewReplacer("\u200b", "", "\u200c", "", "\u200d", "", "\u2060", "", "\ufeff", "").Replace(s)
}

func TestNobodyTakesBackOthersWords(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		romeo, benvolio := k.member(ctx, t, "Romeo"), k.user(ctx, t, "benvolio")
		ours, theirs := k.fromX(ctx, t, text("I stand by it")), k.fromM(ctx, t, text("So do I"))
		must[string](t)(k.sendAs(ctx, romeo, "", peers.Retract(ours.x.StanzaID)))
		must[string](t)(k.sendAs(ctx, romeo, "", peers.Retract(theirs.x.StanzaID)))
		if err := benvolio.Redact(ctx, k.MatrixRoom, ours.m.ID, ""); err == nil {
			t.Error("the homeserver let him")
		}
		words := text("Romeo has done it")
		must[string](t)(k.sendAs(ctx, romeo, words))
		k.onMatrix(ctx, t, words)
		for _, e := range k.Matrix.Events() {
			if e.Type == "m.room.redaction" && (e.Redacts() == ours.m.ID || e.Redacts() == theirs.m.ID) {
				t.Errorf("it was taken back: %s", e)
			}
		}
	})
}
