package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
)

func TestForgetWipesWhatSomebodySaid(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		juliet := gateway.Person{Network: "x", ID: "juliet"}
		var batch []gateway.Entry
		for i := range 1100 { // more than two batches
			e := entry(l, "x", fmt.Sprint(i), "words")
			if i%2 == 0 {
				e.Event.Sender.ID = "romeo"
			}
			batch = append(batch, e)
		}
		waiting, dead := entry(l, "x", "waiting", "words", one), entry(l, "x", "dead", "words", two)
		write(l, l.Store, "x", append(batch, waiting, dead)...)
		l.giveUp(two)
		other := entry(l, "x", "other", "other words", one)
		other.Event.Sender.ID = "romeo"
		write(l, l.Store, "x", other)
		must(l, l.State("x").PutMany(l.Context(), map[string][]byte{"puppet": []byte("juliet")}))

		n, err := l.beside.Forget(l.Context(), juliet)
		if want := (store.Forgotten{Events: 552, Deliveries: 2, Networks: 1}); err != nil || n != want {
			l.Errorf("forgotten: %+v (%v), want %+v", n, err, want)
		}
		if q := l.head(one); len(q) != 1 || q[0].Event == nil || q[0].Event.Native != "other" {
			l.Errorf("lane: %+v", q)
		}
		for native, author := range map[string]string{"1": "", "2": "romeo", "waiting": "", "dead": "", "other": "romeo"} {
			if got := l.trace(native); len(got) != 1 || got[0].Author.ID != author || got[0].Kept != (native == "other") {
				l.Errorf("%s: %+v", native, got)
			}
		}
		who, err := l.Forgets(l.Context(), "x")
		if err != nil || len(who) != 1 || who[0] != juliet {
			l.Errorf("asked of the side: %+v, %v", who, err)
		}
		must(l, l.Forgot(l.Context(), "x", juliet))
		if who, err = l.Forgets(l.Context(), "x"); err != nil || len(who) != 0 {
			l.Errorf("asked again: %+v, %v", who, err)
		}
		if n, err = l.beside.Forget(l.Context(), juliet); err != nil || n.Events != 0 {
			l.Errorf("forgotten again: %+v, %v", n, err)
		}
		if _, err := l.beside.Forget(l.Context(), gateway.Person{Network: "x"}); err == nil {
			l.Error("nobody was forgotten")
		}
	})
}

func TestForgetTakesReactionsLinksAndPictures(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		juliet := gateway.Person{Network: "x", ID: "juliet", Avatar: "image:01" + strings.Repeat("00", 31)}
		react := func(native string, who gateway.Person, on gateway.ID) gateway.Entry {
			e := entry(l, "x", native, "")
			e.Event.Sender, e.Stands = who, e.Event.ID
			e.Reaction = &gateway.Reactions{Anchor: e.Event.ID, Target: on, Who: who, Emoji: []string{"👍"}}
			return e
		}
		hers, his := entry(l, "x", "hers", "words"), entry(l, "x", "his", "words")
		hers.Event.Sender, his.Event.Sender = juliet, gateway.Person{Network: "x", ID: "romeo"}
		write(l, l.Store, "x", hers, his, react("r1", juliet, his.Event.ID), react("r2", his.Event.Sender, his.Event.ID), react("r3", his.Event.Sender, hers.Event.ID))
		for i, of := range []gateway.ID{hers.Event.ID, his.Event.ID} {
			_, err := l.PutLink(l.Context(), [8]byte{byte(i)}, []gateway.ID{of}, []byte("file"), time.Now().Add(time.Hour))
			must(l, err)
			must(l, l.PutImage(l.Context(), [32]byte{byte(1 - i)}, "image/png", []byte("face")))
		}
		_, err := l.beside.Forget(l.Context(), juliet)
		must(l, err)
		sets, err := l.Reactions(l.Context(), []gateway.ID{hers.Event.ID, his.Event.ID})
		must(l, err)
		if on := sets[his.Event.ID]; len(on) != 1 || on[0].Who.ID != "romeo" || len(on[0].Emoji) != 1 {
			l.Errorf("on his words: %+v", on)
		}
		if on := sets[hers.Event.ID]; len(on) != 1 || len(on[0].Emoji) != 0 {
			l.Errorf("on her words: %+v", on)
		}
		for i := range 2 {
			link, _, err := l.Link(l.Context(), [8]byte{byte(i)})
			must(l, err)
			face, _, err := l.Image(l.Context(), [32]byte{byte(1 - i)})
			must(l, err)
			if kept := i == 1; (link != nil) != kept || (face != nil) != kept {
				l.Errorf("%d: link %q, picture %q", i, link, face)
			}
		}
	})
}

func TestAuthorsAreFoundByWhatTheyAreCalled(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		var batch []gateway.Entry
		for i, p := range []gateway.Person{
			{Network: "x", ID: "o1@room", Name: "Romeo"}, {Network: "x", ID: "o1@room", Name: "R."},
			{Network: "x", ID: "o2@room", Name: "Romeo"}, {Network: "x", ID: "paris", Name: "o2@room"},
			{Network: "y", ID: "o3@room", Name: "Romeo"},
		} {
			e := entry(l, "x", fmt.Sprint(i), "words")
			e.Event.Sender = p
			if p.ID == "o2@room" {
				e.Event.At.ID = "other"
				e.Links[0].Native.Room.ID = "other"
			}
			batch = append(batch, e)
		}
		write(l, l.Store, "x", batch...)
		for called, want := range map[string]string{
			"o1@room": "[{x o1@room R. }]", "O1@ROOM": "[{x o1@room R. }]", "R.": "[{x o1@room R. }]",
			"Romeo": "[{x o1@room R. } {x o2@room Romeo }]", "room/Romeo": "[{x o1@room R. }]", "other/Romeo": "[{x o2@room Romeo }]",
			"o2@room": "[{x o2@room Romeo }]", "nobody": "[]",
		} {
			got, err := l.beside.Authors(l.Context(), "x", called)
			if err != nil || fmt.Sprint(got) != want {
				l.Errorf("%s: %v (%v), want %s", called, got, err, want)
			}
		}
	})
}
