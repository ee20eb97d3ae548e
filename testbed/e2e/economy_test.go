//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/testbed/peers"
)

// Somebody who corrects a message three times in a row is heard once, and who takes it back before it is said is not heard.
func TestQuickEditsBecomeOne(t *testing.T) {
	o := peers.SceneOptions{IRC: `correct_after = "2s"` + "\n" + `hold = "3s"`}
	inScenes(t, o, func(ctx context.Context, t *testing.T, k *talk) {
		s := k.Scene
		words := text("I shall be there at one o'clock")
		event, id := must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, words)), must[string](t)(k.sendX(ctx, "And "+words))
		k.onIRC(ctx, t, "> "+words)
		k.onIRC(ctx, t, "And "+words)
		hours := []string{"two", "three", "four"}
		for _, hour := range hours {
			must[string](t)(s.Matrix.Edit(ctx, s.MatrixRoom, event, strings.Replace(words, "one", hour, 1)))
		}
		k.toldOnIRC(ctx, t, 0, "ontague> (edited) …there at four")
		for _, hour := range hours {
			must[string](t)(k.sendX(ctx, "And "+strings.Replace(words, "one", hour, 1), peers.Replace(id)))
		}
		k.toldOnIRC(ctx, t, 0, "uliet> (edited) …there at four")
		event, id = must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, "I do not bite my thumb")), must[string](t)(k.sendX(ctx, "Do you bite your thumb"))
		ok(t, s.Matrix.Redact(ctx, s.MatrixRoom, event, ""))
		own := must[peers.XMPPEvent](t)(s.Owner.AwaitOwn(ctx, s.Room, id))
		must[string](t)(k.sendX(ctx, "", peers.Retract(own.StanzaID)))
		k.fromX(ctx, t, text("so be it"))
		for _, l := range s.IRC.Events() {
			if strings.Contains(l.Text(), "at two") || strings.Contains(l.Text(), "at three") {
				t.Errorf("an earlier correction was said: %s", l)
			}
			if strings.Contains(l.Text(), "thumb") || strings.Contains(l.Text(), "deleted") {
				t.Errorf("what was taken back was said: %s", l)
			}
		}
	}, plain, legacy)
}

// Somebody who says very much, on any network, is heard whole where there is room for it and shortened where there is not,
// so that others are heard soon.
func TestALoudPersonStarvesNobody(t *testing.T) {
	inScenes(t, peers.SceneOptions{Pace: 500 * time.Millisecond, IRC: "max_lines = 2"}, loudAndQuiet, plain, legacy) // far slower than they are
}

// loudLines is how much a loud person says.
const loudLines = 40

func loudAndQuiet(ctx context.Context, t *testing.T, k *talk) {
	says := map[string]func(words string){
		"xmpp":   func(words string) { must[string](t)(k.sendX(ctx, words)) },
		"matrix": func(words string) { must[string](t)(k.Matrix.Say(ctx, k.MatrixRoom, words)) },
		"irc":    func(words string) { ok(t, k.IRC.Say(k.Channel, words)) },
	}
	hears := map[string]func(words string){
		"xmpp":   func(words string) { k.onXMPP(ctx, t, words) },
		"matrix": func(words string) { k.onMatrix(ctx, t, words) },
		"irc":    func(words string) { k.onIRC(ctx, t, words) },
	}
	for _, loud := range []string{"irc", "matrix", "xmpp"} {
		id, mark := text("loud on "+loud), k.IRC.Mark()
		for n := range loudLines {
			says[loud](fmt.Sprintf("%s, %d.", id, n))
		}
		for quiet, say := range says {
			if quiet == loud {
				continue
			}
			words := text("a quiet word from " + quiet)
			say(words)
			for other, hear := range hears {
				if other != quiet {
					hear(words)
				}
			}
		}
		k.heardWhole(ctx, t, loud, id)
		if loud != "irc" {
			k.heardShortened(ctx, t, mark, id)
		}
	}
}

// heardWhole checks that XMPP and Matrix have all of what somebody said, in order.
func (k *talk) heardWhole(ctx context.Context, t *testing.T, loud, id string) {
	t.Helper()
	last := fmt.Sprintf("%s, %d.", id, loudLines-1)
	heard := map[string][]string{}
	if loud != "xmpp" {
		k.onXMPP(ctx, t, last)
		for _, e := range k.Owner.Events() {
			if e.Kind == "message" && !e.Own {
				heard["XMPP"] = append(heard["XMPP"], e.Text())
			}
		}
	}
	if loud != "matrix" {
		k.onMatrix(ctx, t, last)
		for _, e := range k.Matrix.Events() {
			if e.Type == "m.room.message" && e.Sender != k.Matrix.UserID {
				heard["Matrix"] = append(heard["Matrix"], e.Text())
			}
		}
	}
	for where, texts := range heard {
		texts = slices.DeleteFunc(texts, func(text string) bool { return !strings.Contains(text, id) })
		for n := range loudLines {
			if len(texts) != loudLines || !strings.Contains(texts[n], fmt.Sprintf("%s, %d.", id, n)) {
				t.Errorf("on %s %d lines were heard: %q", where, len(texts), texts)
				break
			}
		}
	}
}

// heardShortened waits until IRC is told where the most of what somebody said stands.
func (k *talk) heardShortened(ctx context.Context, t *testing.T, mark int, id string) {
	t.Helper()
	must[peers.IRCLine](t)(k.IRC.AwaitAfter(ctx, mark, "a link to more messages", func(l peers.IRCLine) bool {
		return strings.Contains(l.Text(), "more messages: http")
	}))
	whole := 0
	for _, l := range k.IRC.Events()[mark:] {
		if strings.Contains(l.Text(), id) {
			whole++
		}
	}
	if whole > loudLines*3/4 {
		t.Errorf("on IRC %d of %d lines were said", whole, loudLines)
	}
}
