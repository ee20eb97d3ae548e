package storetest

import (
	"bytes"
	"context"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"lockbridge/gateway"
)

// targets resolves ids of lobby, outside of any transaction.
func (f *fixture) targets(ids ...string) map[string]gateway.Target {
	f.Helper()
	natives := make([]gateway.Native, len(ids))
	for i, id := range ids {
		natives[i] = native(id)
	}
	got, err := f.Targets(f.ctx, natives)
	f.must(err)
	out := map[string]gateway.Target{}
	for n, t := range got {
		out[n.ID] = t
	}
	return out
}

// edit makes an entry in which its author puts text in the place of original.
func (f *fixture) edit(native, text string, original *gateway.Event, rooms ...gateway.Address) gateway.Entry {
	f.Helper()
	body := gateway.Edit{Target: gateway.Ref{ID: original.ID}, Text: gateway.Text{Plain: text}}
	body.ReplyTo.Native, body.Thread.Native = gateway.Answers(original.Body)
	e := entry(f.eventOf(native, body), rooms...)
	e.Stands, e.Excerpt = original.ID, text
	return e
}

// reaction makes an entry with somebody's set on an event, the first or a later one.
func (f *fixture) reaction(native, who string, on gateway.ID, anchor gateway.ID, emoji ...string) gateway.Entry {
	f.Helper()
	e := entry(f.eventOf(native, gateway.Reaction{Target: gateway.Ref{ID: on}, Emoji: emoji, Op: gateway.ReactionSet}), hall)
	if anchor.IsZero() {
		anchor = e.Event.ID
	}
	e.Event.Sender = gateway.Person{Network: source, ID: who, Name: "called " + who}
	e.Stands, e.Reaction = anchor, &gateway.Reactions{Anchor: anchor, Target: on, Who: e.Event.Sender, Emoji: emoji}
	return e
}

func testEdits(t *testing.T, f *fixture) {
	original := f.eventOf("n", gateway.Message{Text: gateway.Text{Plain: "first words"}, ReplyTo: gateway.Ref{Native: "q"}, Thread: gateway.Ref{Native: gateway.ThreadNative("t")}})
	f.append(entry(original, hall))
	want := gateway.Target{Event: original.ID, Room: lobby, Native: "n", Author: original.Sender, Excerpt: "first words", ReplyTo: "q", Thread: gateway.ThreadNative("t")}
	equal(t, "before", f.targets("n")["n"], want)
	want.Excerpt = "other words"
	second := f.edit("e1", "other words", original, hall)
	f.do(source, func(ctx context.Context) error { // what is staged is seen
		if err := f.Append(ctx, []gateway.Entry{second}); err != nil {
			return err
		}
		got, err := f.Targets(ctx, []gateway.Native{native("n"), native("e1")})
		if !maps.Equal(got, map[gateway.Native]gateway.Target{native("n"): want, native("e1"): want}) {
			t.Errorf("in the transaction: %+v", got)
		}
		return err
	})
	if got := f.targets("n", "e1"); !maps.Equal(got, map[string]gateway.Target{"n": want, "e1": want}) {
		t.Errorf("after it: %+v", got)
	}
	// Where the edit has an id of its own in another room, that means the original, too; its delivery is still its own.
	q := f.head(hall, 9)
	there := gateway.Native{Room: hall, ID: "there"}
	f.do(target, func(ctx context.Context) error {
		echoes, err := f.Echoes(ctx, []string{q[1].Key})
		equal(t, "echo", echoes[q[1].Key].Event, second.Event.ID)
		equal(t, "echo stands for", echoes[q[1].Key].Stands, original.ID)
		if err != nil {
			return err
		}
		if err := f.Append(ctx, []gateway.Entry{{Links: []gateway.Link{{Native: there, Event: second.Event.ID}}}}); err != nil {
			return err
		}
		got, err := f.Targets(ctx, []gateway.Native{there})
		equal(t, "staged link", got[there], want)
		return err
	})
	got, err := f.Targets(f.ctx, []gateway.Native{there})
	f.must(err)
	equal(t, "link", got[there], want)
	parts, err := f.PartsOf(f.ctx, hall, []gateway.ID{original.ID, original.ID})
	f.must(err)
	if !reflect.DeepEqual(parts, map[gateway.ID][]gateway.Part{original.ID: {{Native: "there"}}}) {
		t.Errorf("parts of what stands for it: %+v", parts)
	}
	third := f.edit("e2", "", original)
	third.Excerpt = ""
	f.append(third)
	equal(t, "without a new excerpt", f.targets("e2")["e2"], want)
}

func testReactions(t *testing.T, f *fixture) {
	message := f.event("n", "words")
	f.append(entry(message))
	first := f.reaction("r1", "romeo", message.ID, gateway.ID{}, "👍")
	anchor := first.Event.ID
	f.append(first, f.reaction("r2", "paris", message.ID, gateway.ID{}, "🌹"), f.reaction("r3", "romeo", message.ID, anchor, "👍", "❤"))
	wantSets := func(what string, ctx context.Context, want ...string) {
		t.Helper()
		sets, err := f.Reactions(ctx, []gateway.ID{message.ID, {9}, message.ID})
		f.must(err)
		var got []string
		for _, s := range sets[message.ID] {
			if s.Target != message.ID || len(s.Emoji) > 0 && s.Who.Name != "called "+s.Who.ID || s.Who.ID == "romeo" && s.Anchor != anchor {
				t.Errorf("%s: %+v", what, s)
			}
			for _, e := range s.Emoji {
				got = append(got, s.Who.ID+e)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	wantSets("two people", f.ctx, "paris🌹", "romeo❤", "romeo👍")
	f.do(source, func(ctx context.Context) error {
		if err := f.Append(ctx, []gateway.Entry{f.reaction("r4", "romeo", message.ID, anchor), f.reaction("r5", "tybalt", message.ID, gateway.ID{}, "🗡")}); err != nil {
			return err
		}
		wantSets("staged", ctx, "paris🌹", "tybalt🗡")
		got, err := f.Targets(ctx, []gateway.Native{native("r4"), native("r5")})
		equal(t, "staged change is on", got[native("r4")].Of, message.ID)
		equal(t, "staged change stands for", got[native("r4")].Event, anchor)
		equal(t, "staged first is on", got[native("r5")].Of, message.ID)
		return err
	})
	wantSets("committed", f.ctx, "paris🌹", "tybalt🗡")
	got := f.targets("r1", "r3", "n")
	equal(t, "the first stands for itself", got["r1"].Event, anchor)
	equal(t, "a change stands for it", got["r3"].Event, anchor)
	equal(t, "author", got["r3"].Author.ID, "romeo")
	equal(t, "what it is on", got["r3"].Of, message.ID)
	equal(t, "a message is on nothing", got["n"].Of, gateway.ID{})
	q := f.head(hall, 9)
	f.do(target, func(ctx context.Context) error {
		echoes, err := f.Echoes(ctx, []string{q[2].Key})
		e := echoes[q[2].Key]
		equal(t, "an echo is of the change", e.Event, q[2].Event.ID)
		equal(t, "which is of the set", e.Stands, anchor)
		equal(t, "an echo of a reaction", e.Of, message.ID)
		return err
	})

	f.append(entry(f.eventOf("gone", gateway.Retract{Target: gateway.Ref{ID: message.ID}})))
	wantSets("of what was taken back", context.Background())
	equal(t, "its anchors are known", f.targets("r1")["r1"].Of, message.ID)
}

func testGone(t *testing.T, f *fixture) {
	message := f.event("n", "words")
	f.append(entry(message, hall))
	r := f.reaction("r", "romeo", message.ID, gateway.ID{}, "👍")
	r.Links[0].Part = "👍"
	f.append(r)
	shown := gateway.Native{Room: hall, ID: "shown"}
	q := f.head(hall, 9)
	f.finish(target, gateway.Finished{Seq: q[1].Seq, Key: q[1].Key, Links: []gateway.Link{{Native: shown, Event: r.Event.ID, Part: "👍"}}})
	parts, err := f.PartsOf(f.ctx, hall, []gateway.ID{r.Event.ID})
	f.must(err)
	if !reflect.DeepEqual(parts[r.Event.ID], []gateway.Part{{Name: "👍", Native: "shown"}}) {
		t.Errorf("parts: %+v", parts)
	}
	equal(t, "part", f.targets("r")["r"].Part, "👍")
	f.finish(target, gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Gone: []gateway.Native{shown}})
	f.do(source, func(ctx context.Context) error {
		if err := f.Append(ctx, []gateway.Entry{{Gone: []gateway.Native{native("r")}}}); err != nil {
			return err
		}
		got, err := f.Targets(ctx, []gateway.Native{native("r")})
		equal(t, "staged", len(got), 0)
		return err
	})
	parts, err = f.PartsOf(f.ctx, hall, []gateway.ID{r.Event.ID})
	f.must(err)
	equal(t, "parts that are left", len(parts), 0)
	equal(t, "targets that are left", len(f.targets("r")), 0)
	equal(t, "it counts as seen", f.seen(native("r"))[native("r")], true)
	f.append(gateway.Entry{Links: []gateway.Link{{Native: native("r"), Event: r.Event.ID}}}) // a late echo
	equal(t, "and is not linked again", len(f.targets("r")), 0)
}

func testLateRetract(t *testing.T, f *fixture) {
	message := f.event("n", "words")
	f.append(entry(message), entry(f.eventOf("r", gateway.Retract{Target: gateway.Ref{Native: "unknown"}}), hall))
	equal(t, "before", f.targets("n")["n"].Excerpt, "words")
	q := f.head(hall, 9)
	f.finish(target, gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Retracted: message.ID})
	equal(t, "after", f.targets("n")["n"], gateway.Target{Event: message.ID, Room: lobby, Native: "n", Wiped: true})
	f.append(f.edit("e", "words again", message))
	equal(t, "an edit brings nothing back", f.targets("n")["n"].Excerpt, "")
}

func testLinks(t *testing.T, f *fixture) {
	one, two := f.event("1", "one"), f.event("2", "two")
	f.append(entry(one), entry(two))
	id, now := [8]byte{1, 0, 255}, time.Now()
	until := now.Add(time.Hour).Truncate(time.Millisecond)
	put := func(id [8]byte, until time.Time, data string, events ...gateway.ID) time.Time {
		t.Helper()
		got, err := f.PutLink(f.ctx, id, events, []byte(data), until)
		f.must(err)
		return got
	}
	behind := func(id [8]byte) string {
		t.Helper()
		data, till, err := f.Link(f.ctx, id)
		f.must(err)
		if (data == nil) != till.IsZero() {
			t.Errorf("%q until %v", data, till)
		}
		return string(data)
	}
	equal(t, "new", put(id, until, "https://example.org/a", one.ID, two.ID).Equal(until), true)
	equal(t, "again", put(id, until.Add(time.Hour), "other", one.ID, two.ID).Equal(until), true)
	equal(t, "data", behind(id), "https://example.org/a")
	equal(t, "other id", behind([8]byte{2}), "")
	put([8]byte{3}, now.Add(-time.Second), "over", one.ID)
	equal(t, "expired", behind([8]byte{3}), "")
	put([8]byte{4}, until, "of another event", one.ID)
	equal(t, "of nothing", put([8]byte{5}, until, "x").IsZero(), true)
	equal(t, "of an unknown event", put([8]byte{5}, until, "x", one.ID, gateway.ID{9}).IsZero(), true)

	f.append(entry(f.eventOf("r", gateway.Retract{Target: gateway.Ref{ID: two.ID}})))
	equal(t, "taken back", behind(id), "")
	equal(t, "not taken back", behind([8]byte{4}), "of another event")
	equal(t, "of what was taken back", put(id, until, "again", one.ID, two.ID).IsZero(), true)
	_, err := f.Sweep(f.ctx)
	f.must(err)
	equal(t, "rows", f.count("SELECT count(*) FROM media"), 1)
}

func testImages(t *testing.T, f *fixture) {
	face := bytes.Repeat([]byte{1, 2, 3}, 1000)
	f.must(f.PutImage(f.ctx, [32]byte{1}, "image/png", face))
	f.must(f.PutImage(f.ctx, [32]byte{1}, "image/png", face))
	got, mime, err := f.Image(f.ctx, [32]byte{1})
	f.must(err)
	if !bytes.Equal(got, face) || mime != "image/png" {
		t.Errorf("%d bytes of %q", len(got), mime)
	}
	got, _, err = f.Image(f.ctx, [32]byte{2})
	if got != nil || err != nil {
		t.Errorf("another: %d bytes, %v", len(got), err)
	}
	f.must(f.PutImage(f.ctx, [32]byte{2}, "image/gif", face))
	_, err = f.DB().Exec(f.ctx, "UPDATE image SET used = 1000")
	f.must(err)
	_, _, err = f.Image(f.ctx, [32]byte{2}) // counts as a use
	f.must(err)
	_, err = f.Sweep(f.ctx)
	f.must(err)
	equal(t, "pictures", f.count("SELECT count(*) FROM image"), 1)
}

func testRetractWipesDeadLetters(t *testing.T, f *fixture) {
	message := f.event("n", "words")
	f.append(entry(message, hall, porch))
	edit := f.edit("e", "other words", message, hall)
	f.append(edit)
	q := f.head(hall, 9)
	for _, d := range q {
		f.finish(target, gateway.Finished{Seq: d.Seq, Key: d.Key, Dead: true, Reason: "full"})
	}
	kept := func() int { return f.count("SELECT count(*) FROM event WHERE data IS NOT NULL") }
	equal(t, "texts that are kept", kept(), 2)
	f.append(entry(f.eventOf("r", gateway.Retract{Target: gateway.Ref{ID: message.ID}})))
	equal(t, "what waits still", kept(), 1)
	q = f.head(porch, 9)
	f.finish(target, gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Dead: true, Reason: "full"})
	equal(t, "after it", kept(), 0)
}
