package gateway_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"lockbridge/gateway"
)

func TestReactionsAreSets(t *testing.T) {
	w := newTalkWorld(t)
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	said := w.next(w.b)
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		var o gateway.Outcome
		r, ok := d.Event.Body.(gateway.Reaction)
		if !ok {
			return o
		}
		for _, p := range r.Have {
			if !slices.Contains(r.Emoji, p.Name) {
				o.Gone = append(o.Gone, p)
			}
		}
		for _, e := range r.Emoji {
			if !slices.ContainsFunc(r.Have, func(p gateway.Part) bool { return p.Name == e }) {
				o.Parts = append(o.Parts, gateway.Part{Name: e, Native: d.Key + e})
			}
		}
		return o
	})
	var anchor gateway.ID
	have := ""
	for i, step := range []struct {
		body  gateway.Body
		emoji string
		have  int // before
	}{
		{reaction(gateway.ReactionAdd, "1", "👍"), "👍", 0},
		{reaction(gateway.ReactionAdd, "1", "❤"), "👍 ❤", 1},
		{reaction(gateway.ReactionRemove, "1", "👍"), "❤", 2},
		{reaction(gateway.ReactionSet, "1", "🌹", "❤"), "🌹 ❤", 1},
		{retract("r0", false), "", 2}, // 👍, which is gone already: nothing happens
		{retract("r1", false), "🌹", 2},
		{reaction(gateway.ReactionSet, "1"), "", 1},
		{reaction(gateway.ReactionAdd, "1", "👍"), "👍", 0},
	} {
		w.accept(w.a, by(w.a, "romeo", fmt.Sprint("r", i), step.body))
		if i == 4 {
			continue
		}
		d, r := body[gateway.Reaction](w, w.b)
		if anchor.IsZero() {
			anchor = r.Anchor
		}
		if strings.Join(r.Emoji, " ") != step.emoji || len(r.Have) != step.have || r.Anchor != anchor || r.Op != gateway.ReactionSet || r.Target.Native != "at b: "+said.Key || len(r.Sets) != 1 {
			t.Errorf("%d: %+v (had %s)", i, r, have)
		}
		if d.Event.Sender.ID != "romeo" {
			t.Errorf("%d: by %v", i, d.Event.Sender)
		}
		have = fmt.Sprint(natives(r.Have))
		if i == 4 {
			w.stop()
			w.start()
		}
	}
	w.accept(w.a, by(w.a, "paris", "p", reaction(gateway.ReactionAdd, "1", "👍")), by(w.a, "paris", "q", reaction(gateway.ReactionAdd, "unknown", "👍")),
		by(w.a, "paris", "s", reaction(gateway.ReactionAdd, "p", "👍"))) // on a reaction
	if _, r := body[gateway.Reaction](w, w.b); len(r.Sets) != 2 || r.Anchor == anchor {
		t.Errorf("%+v", r)
	}
	if n := w.counted("lockbridge_events_dropped_total", "a"); n < 2 {
		t.Errorf("%v dropped", n)
	}
}

// TestTogglesLeaveNothingToLookThrough: what a room has of somebody's reactions is found by the first of them.
func TestTogglesLeaveNothingToLookThrough(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.c.caps = w.a.caps })
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	w.next(w.b)
	w.next(w.c)
	shown := map[string]gateway.Part{}
	w.b.answer(func(d gateway.Delivery) (o gateway.Outcome) { // a native message for each, some known by their echo alone
		for _, e := range d.Event.Body.(gateway.Reaction).Emoji {
			if p := (gateway.Part{Name: e, Native: d.Key + e}); shown[e].Native == "" {
				if shown[e] = p; e != "👍" {
					o.Parts = append(o.Parts, p)
					continue
				}
				w.accept(w.b, reads(w.b, p.Native, func() (*gateway.Event, error) {
					return &gateway.Event{Body: gateway.Echo{Key: d.Key, Part: e}}, nil
				}))
			}
		}
		for _, p := range d.Event.Body.(gateway.Reaction).Have {
			if !slices.Contains(d.Event.Body.(gateway.Reaction).Emoji, p.Name) {
				o.Gone = append(o.Gone, p)
				delete(shown, p.Name)
			}
		}
		return o
	})
	w.c.answer(func(d gateway.Delivery) gateway.Outcome { return gateway.Sent(gateway.Part{Native: d.Key}) }) // one for the set
	var anchor gateway.ID
	for i, set := range [][]string{{"🌹"}, {"🌹", "👍"}, {"👍"}, {"👍", "🌹"}, {"🌹"}, {"🌹", "👍"}} {
		w.accept(w.a, by(w.a, "romeo", fmt.Sprint("r", i), reaction(gateway.ReactionSet, "1", set...)))
		_, r := body[gateway.Reaction](w, w.b)
		anchor = r.Anchor
		if _, r := body[gateway.Reaction](w, w.c); len(r.Have) != 0 {
			t.Errorf("%d: the other room has %+v", i, r.Have)
		}
	}
	lane := gateway.Address{Network: "b", ID: "room"}
	w.eventually("all is recorded", func() bool { return w.waiting(lane) == 0 })
	have, err := w.st.Parts(t.Context(), lane, []gateway.ID{anchor})
	if err != nil {
		t.Fatal(err)
	}
	if got := natives(have[anchor]); len(got) != 2 || got[0] != "🌹="+shown["🌹"].Native || got[1] != "👍="+shown["👍"].Native {
		t.Errorf("the room has %q of the set", got)
	}
}

func TestAModeratorTakesAReactionBack(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.c.caps = w.a.caps })
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	w.next(w.b)
	w.accept(w.a, by(w.a, "romeo", "2", reaction(gateway.ReactionAdd, "1", "👍")))
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		return gateway.Sent(gateway.Part{Name: "👍", Native: "thumb"})
	})
	w.next(w.b)
	w.awaitLink(w.b, "thumb")
	w.accept(w.b, by(w.b, "mallory", "no", retract("thumb", false)), by(w.b, "mod", "yes", retract("thumb", true)), by(w.b, "mod", "end", message("end")))
	w.wantNext(w.a, "end") // nobody reacts there in romeo's name
	w.wantNext(w.c, "words")
	w.next(w.c)
	d, r := body[gateway.Reaction](w, w.c)
	if d.Event.Sender.ID != "romeo" || len(r.Emoji) != 0 {
		t.Errorf("%+v by %v", r, d.Event.Sender)
	}
	// The room has it no more: when he reacts again it is said again.
	w.accept(w.a, by(w.a, "romeo", "3", reaction(gateway.ReactionSet, "1", "👍")))
	if _, r := body[gateway.Reaction](w, w.b); len(r.Emoji) != 1 || len(r.Have) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestReactionSetsFollowTheModel(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.rooms.Rooms = map[string]gateway.BridgeRoom{"a": {ID: "room"}, "b": {ID: "other"}} })
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		name := func(s string, n int) string { return fmt.Sprint(run, s, n) }
		model := map[string][]string{} // by person and message
		thumbs := map[string]string{}  // emoji of the native ids that are live
		var batch, all []gateway.Arrival
		for m := range 2 {
			batch = append(batch, by(w.a, "alice", name("m", m), message(name("words", m))))
		}
		flush := func() {
			w.accept(w.a, batch...)
			all, batch = append(all, batch...), nil
		}
		for i := range rapid.IntRange(1, 25).Draw(rt, "length") {
			who, m := rapid.SampledFrom([]string{"romeo", "paris"}).Draw(rt, "who"), name("m", rapid.IntRange(0, 1).Draw(rt, "message"))
			key, native := who+" "+m, name("e", i)
			emoji := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"👍", "❤", "🌹"}), 0, 3, rapid.ID[string]).Draw(rt, "emoji")
			without := func(set []string) []string {
				return slices.DeleteFunc(slices.Clone(model[key]), func(e string) bool { return slices.Contains(set, e) })
			}
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0:
				batch = append(batch, by(w.a, who, native, reaction(gateway.ReactionSet, m, emoji...)))
				model[key] = emoji
			case 1:
				one := rapid.SampledFrom([]string{"👍", "❤", "🌹"}).Draw(rt, "one")
				batch = append(batch, by(w.a, who, native, reaction(gateway.ReactionAdd, m, one)))
				model[key] = append(without([]string{one}), one)
				thumbs[native] = key + " " + one
			case 2:
				batch = append(batch, by(w.a, who, native, reaction(gateway.ReactionRemove, m, emoji...)))
				model[key] = without(emoji)
			case 3:
				if len(thumbs) == 0 {
					continue
				}
				thumb := rapid.SampledFrom(slices.Sorted(maps.Keys(thumbs))).Draw(rt, "thumb")
				parts := strings.Fields(thumbs[thumb])
				moderated := rapid.Bool().Draw(rt, "moderated")
				whoever := parts[0]
				if moderated {
					whoever = "moderator"
				}
				batch = append(batch, by(w.a, whoever, native, retract(thumb, moderated)), by(w.a, "mallory", native+"x", retract(thumb, false)))
				key = parts[0] + " " + parts[1]
				model[key] = without(parts[2:])
				delete(thumbs, thumb)
			case 4:
				flush()
				if rapid.Bool().Draw(rt, "again") && len(all) > 0 {
					batch = append(batch, all[rapid.IntRange(0, len(all)-1).Draw(rt, "which")]) // told twice
				}
			}
		}
		flush()
		for key, want := range model {
			who, m, _ := strings.Cut(key, " ")
			n := gateway.Native{Room: gateway.Address{Network: "a", ID: "room"}, ID: m}
			targets, err := w.st.Targets(t.Context(), []gateway.Native{n})
			if err != nil {
				rt.Fatal(err)
			}
			sets, err := w.st.Reactions(t.Context(), []gateway.ID{targets[n].Event})
			if err != nil {
				rt.Fatal(err)
			}
			var got []string
			for _, s := range sets[targets[n].Event] {
				if s.Who.ID == who {
					got = s.Emoji
				}
			}
			if slices.Sort(got); !reflect.DeepEqual(append([]string{}, got...), append([]string{}, slices.Sorted(slices.Values(want))...)) {
				rt.Fatalf("%s thinks %q, want %q", key, got, want)
			}
		}
		for len(w.b.got) > 900 {
			<-w.b.got
		}
	})
}

func TestReactionsAreBounded(t *testing.T) {
	w := newTalkWorld(t)
	many := make([]string, 40)
	for i := range many {
		many[i] = string(rune('a' + i))
	}
	batch := []gateway.Arrival{
		by(w.a, "alice", "1", message("words")),
		by(w.a, "romeo", "2", reaction(gateway.ReactionSet, "1", append([]string{"", " ", "\n", "a\nb", strings.Repeat("x", 65), "\xff", "x\x00"}, many...)...)),
	}
	for i := range gateway.MaxReactors + 10 {
		batch = append(batch, by(w.a, fmt.Sprint("p", i), fmt.Sprint("r", i), reaction(gateway.ReactionAdd, "1", "👍")))
	}
	w.accept(w.a, batch...)
	w.next(w.b)
	if _, r := body[gateway.Reaction](w, w.b); !slices.Equal(r.Emoji, many[:gateway.MaxEmoji]) {
		t.Errorf("%q", r.Emoji)
	}
	if n := w.counted("lockbridge_events_dropped_total", "a"); n != 11 {
		t.Errorf("%v dropped", n)
	}
}

func TestTogglesDoNotFillTheLane(t *testing.T) {
	w := newTalkWorld(t)
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	w.next(w.b)
	var batch []gateway.Arrival
	for i := range 500 {
		op := gateway.ReactionAdd
		if i%2 == 1 {
			op = gateway.ReactionRemove
		}
		batch = append(batch, by(w.a, "romeo", fmt.Sprint("t", i), reaction(op, "1", "👍")))
	}
	w.accept(w.a, append(batch, by(w.a, "romeo", "last", reaction(gateway.ReactionAdd, "1", "🌹")), by(w.a, "alice", "end", message("end")))...)
	n := 0
	for d := w.next(w.b); text(d) != "end"; d = w.next(w.b) {
		n++
	}
	if n > 20 {
		t.Errorf("%d of 501 were said", n)
	}
}

// TestReactionsThatAreToldInWordsAreToldOnce: where a room has none, each change tells what is new.
func TestReactionsThatAreToldInWordsAreToldOnce(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.c.caps = gateway.Caps{ReactionNotes: true} })
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	w.wantNext(w.c, "words")
	for i, step := range []struct{ add, told, not string }{{"👍", "👍", "❤"}, {"❤", "❤", "👍"}} {
		w.accept(w.a, by(w.a, "romeo", fmt.Sprint("r", i), reaction(gateway.ReactionAdd, "1", step.add)), by(w.a, "alice", fmt.Sprint("m", i), message("more")))
		if said := text(w.next(w.c)); !strings.Contains(said, step.told) || strings.Contains(said, step.not) {
			t.Errorf("%d: %s", i, said)
		}
		w.wantNext(w.c, "more")
	}
}
