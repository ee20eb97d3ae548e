package xmppside

import (
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// TestMarkupLooksAtALineOnce: however many quotes and items are said to lie over each other.
func TestMarkupLooksAtALineOnce(t *testing.T) {
	text := strings.Repeat(">\n", 5000) + ">"
	markup := el(nsMarkup, "markup")
	for range maxMarkup {
		markup.add(el(nsMarkup, "bquote", "start", "0", "end", "10001"))
	}
	if _, cuts := marked(text, markup); len(cuts) != 5001 {
		t.Errorf("%d signs in 5001 lines", len(cuts))
	}
	markup = el(nsMarkup, "markup").add(el(nsMarkup, "bquote", "start", "2", "end", "8"), el(nsMarkup, "bquote", "start", "0", "end", "14"))
	if got := markedUp("> > a\n> > b\n> c", markup); got.Plain != "> a\n> b\nc" {
		t.Errorf("quotes in quotes: %q", got.Plain)
	}
}

// TestFallbacksAreCountedOnce: a fallback of many ranges costs no more than one of a few.
func TestFallbacksAreCountedOnce(t *testing.T) {
	text := strings.Repeat("é", 10000)
	stanza := el(nsClient, "message")
	for range 100 {
		fallback := el(nsFallback, "fallback", "for", nsReply)
		for range 1000 {
			fallback.add(el(nsFallback, "body", "start", "5", "end", "5"))
		}
		stanza.add(fallback)
	}
	allocs := testing.AllocsPerRun(1, func() {
		if cuts := fallbackOf(text, fallbacksOf(stanza), false); len(cuts) > 0 {
			t.Errorf("cuts %v", cuts)
		}
	})
	if allocs > 1000 {
		t.Errorf("%v allocations", allocs)
	}
}

// TestAnEmptyTextSaysNothing, and the ratchet moves on.
func TestAnEmptyTextSaysNothing(t *testing.T) {
	w := newWorld(t, both, omemo.Legacy, omemo.Two)
	for _, v := range []omemo.Version{omemo.Legacy, omemo.Two} {
		w.juliet.say(w.side, v, "", el(nsStates, "composing"))
		w.juliet.say(w.side, v, "mark "+v.String())
		w.heard("mark " + v.String())
	}
	if bad := w.inbox.Unread(); len(bad) > 0 {
		t.Error(bad)
	}
	for _, ev := range w.inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok && m.Text.Plain == "" {
			t.Errorf("heard %+v", m)
		}
	}
}

// TestReactionsAreNoWords: a reaction stands in the clear where the rest is sealed.
func TestReactionsAreNoWords(t *testing.T) {
	for _, e := range []string{"the password is 🔒", "a🔒", "+1", "12🔒", "1️", "️", "", "*", "🔒 🔒"} {
		if isEmoji(e) {
			t.Errorf("%q is said", e)
		}
	}
	for _, e := range []string{"👍", "❤️", "1️⃣", "#⃣", "👨‍👩‍👧‍👦", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🇩🇪", "✅", "👍🏽", "©️", "‼️", "♀️", "⌚", "➕", "㊗️", "〰️", "™️"} {
		if !isEmoji(e) {
			t.Errorf("%q is not said", e)
		}
	}
}
