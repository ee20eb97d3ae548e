package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// openRunning opens a store that hears what comes from outside, so that it answers from memory where it can.
func openRunning(t *testing.T, url string) *store.Store {
	t.Helper()
	s := open(t, store.Config{URL: url, Log: slog.New(slog.DiscardHandler)})
	orphan := s.State("heard")
	l := acquire(t, s, "heard")
	must(t, orphan.PutMany(t.Context(), map[string][]byte{"out/nobody": {1}}))
	must(t, l.Release(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	wake := s.Wake("heard")
	go func() { ended <- s.Run(ctx) }()
	<-wake
	until(t, "the first sweep is over", func() bool { // it would take what a test writes for no delivery
		left, err := orphan.GetMany(t.Context(), []string{"out/nobody"})
		must(t, err)
		return len(left) == 0
	})
	t.Cleanup(func() { // before the store is closed
		cancel()
		must(t, <-ended)
	})
	return s
}

func TestExerciseFromMemory(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			storetest.Exercise(t, func(t *testing.T) *store.Store {
				t.Helper()
				return openRunning(t, d.Make(t))
			})
		})
	}
}

// drain works like a courier until n deliveries of the lanes have ended; every tenth is put off once.
func drain(ctx context.Context, s *store.Store, network string, n int) (order map[string][]int, err error) {
	order = map[string][]int{}
	wake := s.Wake(network)
	put := map[int64]bool{}
	for ended := 0; ended < n; {
		due, _, err := s.Lanes(ctx, network, time.Now())
		if err != nil {
			return nil, err
		}
		for _, lane := range due {
			rows, err := s.Head(ctx, lane, 7)
			if err != nil {
				return nil, err
			}
			var done []gateway.Finished
			for _, row := range rows {
				f := gateway.Finished{Seq: row.Seq, Key: row.Key}
				if row.Seq%10 == 0 && !put[row.Seq] {
					put[row.Seq], f.Retry, f.Attempt, f.Due = true, true, row.Attempt+1, time.Now()
					done = append(done, f)
					break
				}
				number, err := strconv.Atoi(row.Event.Body.(gateway.Message).Text.Plain)
				if err != nil {
					return nil, fmt.Errorf("read delivery %d: %w", row.Seq, err)
				}
				order[lane.ID] = append(order[lane.ID], number)
				done = append(done, f)
				ended++
			}
			if err := s.Do(ctx, network, func(ctx context.Context) error { return s.Finish(ctx, done) }); err != nil {
				return nil, err
			}
		}
		if len(due) == 0 && ended < n {
			select {
			case <-wake:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	return order, nil
}

// What is answered from memory comes once and in order, whatever else happens meanwhile.
func TestLanesFromMemory(t *testing.T) {
	const each, lanes = 200, 3
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			s := openRunning(t, d.Make(t))
			acquire(t, s, "x")
			acquire(t, s, "m")
			var writing sync.WaitGroup
			for l := range lanes {
				writing.Go(func() {
					lane := gateway.Address{Network: "m", ID: fmt.Sprint("lane", l)}
					for i := range each {
						say(t, s, "x", fmt.Sprint(l, "-", i), fmt.Sprint(i), lane)
						if i%50 == 25 {
							if _, err := s.TakeOver(t.Context(), "m"); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			order, err := drain(t.Context(), s, "m", each*lanes)
			must(t, err)
			writing.Wait()
			for lane, numbers := range order {
				for i, n := range numbers {
					if n != i {
						t.Fatalf("%s: %d came in place %d", lane, n, i)
					}
				}
			}
			for lane := range order {
				rows, err := s.Head(t.Context(), gateway.Address{Network: "m", ID: lane}, 9)
				must(t, err)
				if len(rows) != 0 {
					t.Errorf("%s: %d still wait", lane, len(rows))
				}
			}
			due, _, err := s.Lanes(t.Context(), "m", time.Now())
			must(t, err)
			if len(due) != 0 || len(order) != lanes {
				t.Errorf("%d lanes were served, and %v still wait", len(order), due)
			}
		})
	}
}

// What another process did is heard, and what is remembered gives way to it.
func TestWordFromOutside(t *testing.T) {
	for _, d := range storetest.Postgres() {
		url := d.Make(t)
		s, other := openRunning(t, url), open(t, store.Config{URL: url})
		acquire(t, s, "m")
		acquire(t, other, "x")
		lane := gateway.Address{Network: "m", ID: "lane"}
		wake := s.Wake("m")
		for i := range 3 {
			say(t, other, "x", fmt.Sprint(i), "from outside", lane)
			for found := false; !found; {
				select {
				case <-wake:
				case <-t.Context().Done():
					t.Fatal("the word did not come")
				}
				due, _, err := s.Lanes(t.Context(), "m", time.Now())
				must(t, err)
				found = len(due) == 1
			}
			rows, err := s.Head(t.Context(), lane, 9)
			must(t, err)
			if len(rows) != 1 {
				t.Fatalf("round %d: %d rows", i, len(rows))
			}
			must(t, s.Do(t.Context(), "m", func(ctx context.Context) error {
				return s.Finish(ctx, []gateway.Finished{{Seq: rows[0].Seq, Key: rows[0].Key}})
			}))
		}
	}
}

// A transaction that takes something for new that is not runs again, and only its second run is written.
func TestHopesInVain(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			s := open(t, store.Config{URL: d.Make(t)})
			acquire(t, s, "x")
			say(t, s, "x", "old", "words")
			old := gateway.Native{Room: gateway.Address{Network: "x", ID: "room"}, ID: "old"}
			runs, seen := 0, false
			must(t, s.Do(t.Context(), "x", func(ctx context.Context) error {
				runs++
				known, err := s.Seen(ctx, []gateway.Native{old}, false)
				if seen = known[old]; err != nil || seen {
					return err
				}
				return s.State("x").PutMany(ctx, map[string][]byte{"in vain": {1}})
			}))
			got, err := s.State("x").GetMany(t.Context(), []string{"in vain"})
			must(t, err)
			if !seen || runs > 2 || len(got) != 0 {
				t.Errorf("after %d runs: seen %v, state %v", runs, seen, got)
			}
		})
	}
}

// An echo finds its delivery in memory as it does in the database, and what it ends is gone.
func TestEchoFromMemory(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			s := openRunning(t, d.Make(t))
			acquire(t, s, "x")
			acquire(t, s, "m")
			lane := gateway.Address{Network: "m", ID: "lane"}
			if _, _, err := s.Lanes(t.Context(), "m", time.Now()); err != nil { // nothing waits: from here on it is known
				t.Fatal(err)
			}
			for _, native := range []string{"1", "2"} {
				say(t, s, "x", native, "words", lane)
				rows, err := s.Head(t.Context(), lane, 9)
				must(t, err)
				if len(rows) != 1 || rows[0].Seq == 0 {
					t.Fatalf("head: %+v", rows)
				}
				var found gateway.Target
				must(t, s.Do(t.Context(), "m", func(ctx context.Context) error {
					known, err := s.Echoes(ctx, []string{rows[0].Key})
					if err != nil {
						return err
					}
					found = known[rows[0].Key]
					return s.Finish(ctx, []gateway.Finished{{Seq: found.Seq, Key: rows[0].Key}})
				}))
				if found.Seq != rows[0].Seq || found.Native != native {
					t.Errorf("echo: %+v, not of delivery %d", found, rows[0].Seq)
				}
				rows, err = s.Head(t.Context(), lane, 9)
				must(t, err)
				waiting, err := s.Beyond(t.Context(), lane, 0, 9)
				must(t, err)
				if len(rows) != 0 || len(waiting) != 0 {
					t.Errorf("after its end: %+v in memory, %+v in the database", rows, waiting)
				}
			}
		})
	}
}

// A lane that is set apart is remembered up to a bound, and beyond it comes from the database: once and in order.
func TestLongLaneSetApart(t *testing.T) {
	const each = 30
	long := strings.Repeat("0", 60<<10) // three lanes of them exceed what is remembered of all
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			s := openRunning(t, d.Make(t))
			acquire(t, s, "x")
			acquire(t, s, "m")
			finish := func(f gateway.Finished) {
				t.Helper()
				must(t, s.Do(t.Context(), "m", func(ctx context.Context) error { return s.Finish(ctx, []gateway.Finished{f}) }))
			}
			lanes := []gateway.Address{{Network: "m", ID: "a"}, {Network: "m", ID: "b"}, {Network: "m", ID: "c"}}
			_, _, err := s.Lanes(t.Context(), "m", time.Now()) // nothing waits: from here on it is known
			must(t, err)
			for _, lane := range lanes {
				say(t, s, "x", "first", "0", lane)
				rows, err := s.Head(t.Context(), lane, 9)
				must(t, err)
				finish(gateway.Finished{Seq: rows[0].Seq, Key: rows[0].Key, Retry: true, Attempt: 1, Due: time.Now()})
			}
			for i := range each {
				for _, lane := range lanes {
					say(t, s, "x", fmt.Sprint(i), fmt.Sprint(long, i+1), lane)
				}
			}
			order, err := drain(t.Context(), s, "m", (each+1)*len(lanes))
			must(t, err)
			for _, lane := range lanes {
				if numbers := order[lane.ID]; len(numbers) != each+1 || !slices.IsSorted(numbers) {
					t.Errorf("%s: %v", lane.ID, numbers)
				}
			}
		})
	}
}
