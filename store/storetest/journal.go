package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"lockbridge/gateway"
)

func testEventTravels(t *testing.T, f *fixture) {
	ev := f.event("n1", "good morrow")
	ev.Also = []string{"also1"}
	e := entry(ev, hall, porch)
	e.Deliveries[1].Seal = true
	e.Links = append(e.Links, gateway.Link{Native: native("also1"), Event: ev.ID, Alias: true})
	f.append(e)

	equal(t, "seen", len(f.seen(native("n1"), native("also1"), native("other"))), 2)
	heads := [][]gateway.Queued{f.head(hall, 10), f.head(porch, 10)}
	for i, q := range heads {
		if len(q) != 1 || q[0].Event == nil {
			t.Fatalf("head: %+v", q)
		}
		equal(t, "seal", q[0].Seal, i == 1)
		equal(t, "key", q[0].Key, e.Deliveries[i].Key)
		equal(t, "room", q[0].Room, e.Deliveries[i].Room)
		if !reflect.DeepEqual(q[0].Event, ev) {
			t.Errorf("event: got %+v, want %+v", q[0].Event, ev)
		}
	}
	want := gateway.Target{Event: ev.ID, Room: lobby, Native: "n1", Author: ev.Sender, Excerpt: "good morrow"}
	targets, err := f.Targets(f.ctx, []gateway.Native{native("n1"), native("also1"), native("other")})
	f.must(err)
	if !maps.Equal(targets, map[gateway.Native]gateway.Target{native("n1"): want, native("also1"): want}) {
		t.Errorf("targets: %+v", targets)
	}
	f.do(target, func(ctx context.Context) error {
		echoes, err := f.Echoes(ctx, []string{"n1-#hall", "nobody's", "\xff\x00"})
		pending := want
		pending.Seq = heads[0][0].Seq
		if !maps.Equal(echoes, map[string]gateway.Target{"n1-#hall": pending}) {
			t.Errorf("echoes: %+v", echoes)
		}
		return err
	})
	f.finish(target, gateway.Finished{Seq: heads[0][0].Seq, Key: "n1-#hall", Links: []gateway.Link{
		{Native: gateway.Native{Room: hall, ID: "line1"}, Event: ev.ID},
		{Native: gateway.Native{Room: hall, ID: "file"}, Event: ev.ID, Part: "f1"},
		{Native: gateway.Native{Room: hall, ID: "label"}, Event: ev.ID, Alias: true},
	}})
	parts, err := f.Parts(f.ctx, hall, []gateway.ID{ev.ID, ev.ID, {1}})
	f.must(err)
	wantParts := map[gateway.ID][]gateway.Part{ev.ID: {{Native: "line1", Also: []string{"label"}}, {Name: "f1", Native: "file"}}}
	if !reflect.DeepEqual(parts, wantParts) {
		t.Errorf("parts: %+v", parts)
	}
}

func testLinkRules(t *testing.T, f *fixture) {
	a, b := f.event("a", "a"), f.event("b", "b")
	link := func(id string, ev *gateway.Event, alias bool) gateway.Link {
		return gateway.Link{Native: native(id), Event: ev.ID, Alias: alias}
	}
	f.append(entry(a), entry(b))
	// The same rules hold inside one transaction and over several.
	f.append(gateway.Entry{Links: []gateway.Link{
		link("shared", a, true), link("shared", b, true), link("a", b, true), link("a", b, false), link("shared", a, false),
	}})
	f.append(gateway.Entry{Links: []gateway.Link{link("later", a, true)}})
	f.append(gateway.Entry{Links: []gateway.Link{link("later", b, true), link("b", a, true), link("b", a, false)}})
	got, err := f.Targets(f.ctx, []gateway.Native{native("a"), native("b"), native("shared"), native("later")})
	f.must(err)
	for id, want := range map[string]*gateway.Event{"a": a, "b": b, "shared": b, "later": b} {
		equal(t, id, got[native(id)].Event, want.ID)
	}
}

func testStagedLinks(t *testing.T, f *fixture) {
	old := f.event("old", "old words")
	f.append(entry(old))
	fresh := f.event("fresh", "fresh words")
	var seen map[gateway.Native]bool // by the run that was committed
	f.do(source, func(ctx context.Context) error {
		if err := f.Append(ctx, []gateway.Entry{entry(fresh), {Links: []gateway.Link{
			{Native: native("echo"), Event: old.ID, Part: "p"}, {Native: native("mark")},
		}}}); err != nil {
			return err
		}
		var err error
		seen, err = f.Seen(ctx, []gateway.Native{native("old"), native("fresh"), native("echo"), native("mark"), native("none")}, false)
		if err != nil {
			return err
		}
		got, err := f.Targets(ctx, []gateway.Native{native("old"), native("fresh"), native("echo"), native("mark"), native("none")})
		equal(t, "targets", len(got), 3)
		equal(t, "excerpt of fresh", got[native("fresh")].Excerpt, "fresh words")
		equal(t, "excerpt of echo", got[native("echo")].Excerpt, "old words")
		equal(t, "part of echo", got[native("echo")].Part, "p")
		return err
	})
	equal(t, "seen", len(seen), 4)
	equal(t, "seen later", f.seen(native("mark"))[native("mark")], true)
	got, err := f.Targets(f.ctx, []gateway.Native{native("mark")})
	f.must(err)
	equal(t, "a mark is no target", len(got), 0)
}

func testUsedRooms(t *testing.T, f *fixture) {
	elsewhere := gateway.Address{Network: "elsewhere", ID: lobby.ID}
	refused := f.event("refused", "words")
	refused.At.ID = "refused"
	report := entry(refused, refused.At) // goes back where it came from
	report.Links[0].Room = refused.At
	f.append(entry(f.event("first", "words"), elsewhere), report)
	f.do(source, func(ctx context.Context) error {
		used, err := f.Used(ctx, []gateway.Address{elsewhere, lobby, refused.At})
		equal(t, "rooms in use", len(used), 1)
		equal(t, "the lobby is in use", used[lobby], true)
		return err
	})
}

func testStrangeIDs(t *testing.T, f *fixture) {
	ids := []string{"\x00", "\xff\xfe", "'; DROP TABLE link; --", "🙂", strings.Repeat("x", 1000), strings.Repeat("x", 1001), strings.Repeat("y", 1<<20)}
	for _, id := range ids {
		ev := f.event(id, "text with \x00 and \xff")
		f.append(gateway.Entry{Event: ev, Links: []gateway.Link{{Native: native(id), Event: ev.ID, Part: id}}})
		equal(t, "seen", f.seen(native(id))[native(id)], true)
		got, err := f.Targets(f.ctx, []gateway.Native{native(id)})
		f.must(err)
		equal(t, "target", got[native(id)].Event, ev.ID)
		parts, err := f.Parts(f.ctx, lobby, []gateway.ID{ev.ID})
		f.must(err)
		switch {
		case len(id) > 1000:
			equal(t, "parts of an id kept as its hash", len(parts), 0)
		case len(parts[ev.ID]) != 1 || parts[ev.ID][0].Native != id:
			t.Errorf("part of %q: %+v", id, parts)
		}
	}
}

func testManyEntries(t *testing.T, f *fixture) {
	const n = 1200
	var entries []gateway.Entry
	var natives []gateway.Native
	var ids []gateway.ID
	for i := range n {
		ev := f.event(fmt.Sprint("n", i), fmt.Sprint("text ", i))
		entries = append(entries, entry(ev, hall, porch))
		natives = append(natives, native(ev.Native), native(fmt.Sprint("unknown", i)))
		ids = append(ids, ev.ID)
	}
	f.append(entries...)
	equal(t, "seen", len(f.seen(natives...)), n)
	got, err := f.Targets(f.ctx, natives)
	f.must(err)
	equal(t, "targets", len(got), n)
	parts, err := f.Parts(f.ctx, lobby, ids)
	f.must(err)
	equal(t, "parts", len(parts), n)
	q := f.head(porch, 2*n)
	equal(t, "head", len(q), n)
	for i := range q {
		if q[i].Event == nil || q[i].Event.ID != ids[i] {
			t.Fatalf("delivery %d is out of order", i)
		}
	}
}

func testBadAppend(t *testing.T, f *fixture) {
	tooLong := gateway.Address{Network: target, ID: strings.Repeat("r", 1001)}
	for name, e := range map[string]gateway.Entry{
		"deliveries alone": {Deliveries: []gateway.Queue{{Key: "k", Room: hall}}},
		"long room":        entry(f.event("n", "t"), tooLong),
		"no room":          {Links: []gateway.Link{{Native: gateway.Native{ID: "x"}}}},
	} {
		err := f.Do(f.ctx, source, func(ctx context.Context) error { return f.Append(ctx, []gateway.Entry{e}) })
		if err == nil || errors.Is(err, gateway.ErrStore) {
			t.Errorf("%s: got %v, want an error that is not the database's", name, err)
		}
	}
	f.append(entry(f.event("n", "t"), hall))
	equal(t, "lane", len(f.head(hall, 9)), 1)
}

func testRetract(t *testing.T, f *fixture) {
	ev := f.event("n", "regrettable")
	f.append(entry(ev))
	f.append(entry(f.eventOf("r", gateway.Retract{Target: gateway.Ref{ID: ev.ID}}), hall))
	got, err := f.Targets(f.ctx, []gateway.Native{native("n")})
	f.must(err)
	equal(t, "target", got[native("n")], gateway.Target{Event: ev.ID, Room: lobby, Native: "n", Wiped: true})
}

func testLaneOrder(t *testing.T, f *fixture) {
	for i := range 20 {
		f.append(entry(f.event(fmt.Sprint("a", i), ""), hall), entry(f.event(fmt.Sprint("b", i), ""), porch, hall))
	}
	q := f.head(hall, 100)
	equal(t, "length", len(q), 40)
	for i, want := 0, ""; i < len(q); i++ {
		want = fmt.Sprint(string("ab"[i%2]), i/2)
		equal(t, "native", q[i].Event.Native, want)
		if i > 0 && q[i].Seq <= q[i-1].Seq {
			t.Errorf("seq %d after %d", q[i].Seq, q[i-1].Seq)
		}
	}
	equal(t, "limited", len(f.head(hall, 3)), 3)
	due, _ := f.lanes(target, time.Now().Add(time.Minute))
	equal(t, "lanes", len(due), 2)
	due, _ = f.lanes(source, time.Now().Add(time.Minute))
	equal(t, "lanes of another network", len(due), 0)
}

func testRetry(t *testing.T, f *fixture) {
	f.append(entry(f.event("1", ""), hall), entry(f.event("2", ""), hall), entry(f.event("3", ""), porch))
	now := time.Now().Add(time.Minute)
	later := now.Add(time.Hour).Truncate(time.Millisecond)
	q := f.head(hall, 1)
	f.finish(target, gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Retry: true, Due: later, Attempt: 3})
	due, next := f.lanes(target, now)
	if len(due) != 1 || due[0] != porch || !next.Equal(later) {
		t.Errorf("due %v, next %v", due, next)
	}
	q = f.head(hall, 10)
	equal(t, "length", len(q), 2)
	equal(t, "attempt", q[0].Attempt, 3)
	equal(t, "due", q[0].Due.Equal(later), true)
	due, next = f.lanes(target, later)
	equal(t, "lanes", len(due), 2)
	equal(t, "none waits", next.IsZero(), true)
}

func testFinish(t *testing.T, f *fixture) {
	for i := range 3 {
		f.append(entry(f.event(fmt.Sprint(i), ""), hall))
	}
	q := f.head(hall, 3)
	f.finish(target, gateway.Finished{Seq: q[0].Seq, Key: q[0].Key},
		gateway.Finished{Seq: q[1].Seq, Key: q[1].Key, Dead: true, Reason: "the room is \x00\xff " + strings.Repeat("full", 1000)})
	// What has ended stays so, whatever is told later.
	f.finish(target, gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Retry: true, Attempt: 7}, gateway.Finished{Seq: q[1].Seq, Key: q[1].Key})
	rest := f.head(hall, 3)
	if len(rest) != 1 || rest[0].Seq != q[2].Seq {
		t.Errorf("rest: %+v", rest)
	}
	equal(t, "dead", f.count("SELECT count(*) FROM delivery WHERE state = 2 AND reason LIKE 'the room is%'"), 1)
	f.do(target, func(ctx context.Context) error {
		echoes, err := f.Echoes(ctx, []string{q[0].Key})
		equal(t, "an ended delivery is still recognised", len(echoes), 1)
		equal(t, "as one that has ended", echoes[q[0].Key].Seq, 0)
		return err
	})
}

func testUnknownKind(t *testing.T, f *fixture) {
	f.append(entry(f.eventOf("1", gateway.Echo{Key: "no body of the journal"}), hall), entry(f.event("2", ""), hall))
	q := f.head(hall, 2)
	if len(q) != 2 || q[0].Event != nil || q[1].Event == nil {
		t.Errorf("head: %+v", q)
	}
}

const bodies = "SELECT count(*) FROM event WHERE data IS NOT NULL"

func testWipe(t *testing.T, f *fixture) {
	f.append(entry(f.event("none", "for nobody")), entry(f.event("two", "for two"), hall, porch))
	equal(t, "bodies", f.count(bodies), 1)
	for i, lane := range []gateway.Address{hall, porch} {
		q := f.head(lane, 1)
		f.finish(target, gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Dead: i == 1, Wipe: true})
		equal(t, "bodies", f.count(bodies), 1-i)
	}
	f.append(entry(f.event("dead", "given up"), hall))
	q := f.head(hall, 1)
	f.finish(target, gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Dead: true})
	equal(t, "bodies of dead letters", f.count(bodies), 1)
	got, err := f.Targets(f.ctx, []gateway.Native{native("two")})
	f.must(err)
	equal(t, "excerpt", got[native("two")].Excerpt, "for two")
}

func testWipeRace(t *testing.T, f *fixture) {
	const rounds = 25
	back := gateway.Address{Network: source, ID: "garden"}
	for i := range rounds {
		f.append(entry(f.event(fmt.Sprint(i), "words"), hall, back))
	}
	var wg sync.WaitGroup
	for _, lane := range []gateway.Address{hall, back} {
		wg.Go(func() {
			for range rounds {
				q, err := f.Head(f.ctx, lane, 1)
				if err == nil {
					err = f.Do(f.ctx, lane.Network, func(ctx context.Context) error {
						return f.Finish(ctx, []gateway.Finished{{Seq: q[0].Seq, Key: q[0].Key}})
					})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	equal(t, "bodies", f.count(bodies), 0)
}

func testStats(t *testing.T, f *fixture) {
	f.must(f.Ping(f.ctx))
	f.append(entry(f.event("1", ""), hall, porch), entry(f.event("2", ""), hall))
	stats, err := f.Stats(f.ctx)
	f.must(err)
	if len(stats) != 2 || stats[0].Lane != hall || stats[0].Pending != 2 || stats[1].Pending != 1 || stats[0].Oldest.IsZero() {
		t.Errorf("stats: %+v", stats)
	}
}

func testWake(t *testing.T, f *fixture) {
	wake := f.Wake(target)
	failing := errors.New("changed my mind")
	f.do(source, func(ctx context.Context) error {
		err := f.Do(ctx, source, func(ctx context.Context) error {
			return errors.Join(f.Append(ctx, []gateway.Entry{entry(f.event("0", ""), hall)}), failing)
		})
		if !errors.Is(err, failing) {
			t.Errorf("got %v", err)
		}
		return nil
	})
	f.append(entry(f.event("to nobody", "")))
	select {
	case <-wake:
		t.Error("woken without a delivery")
	default:
	}
	f.do(source, func(ctx context.Context) error {
		err := f.Append(ctx, []gateway.Entry{entry(f.event("1", ""), hall)})
		select {
		case <-wake:
			t.Error("woken before the commit")
		default:
		}
		return err
	})
	select {
	case <-wake:
	default:
		t.Error("not woken by the commit")
	}
	equal(t, "lane", len(f.head(hall, 9)), 1)
}
