package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// ledger is a store with a clock that can be set, and an operator beside it.
type ledger struct {
	*testing.T
	*store.Store
	beside *store.Beside
	now    time.Time
}

var (
	one = gateway.Address{Network: "x", ID: "one"}
	two = gateway.Address{Network: "x", ID: "two"}
)

// eachLedger runs a test on every kind of database.
func eachLedger(t *testing.T, run func(l *ledger)) {
	t.Helper()
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			l := &ledger{T: t, now: time.Now().Truncate(time.Millisecond)}
			url := d.Make(t)
			l.Store = open(t, store.Config{URL: url, Now: func() time.Time { return l.now }, DeadLetters: time.Hour})
			acquire(t, l.Store, "x")
			var err error
			l.beside, err = store.OpenBeside(t.Context(), store.Config{URL: url, Key: key, Now: func() time.Time { return l.now }})
			must(t, err)
			t.Cleanup(func() { must(t, l.beside.Close()) })
			run(l)
		})
	}
}

func (l *ledger) finish(done ...gateway.Finished) {
	l.Helper()
	must(l, l.Do(l.Context(), "x", func(ctx context.Context) error { return l.Finish(ctx, done) }))
}

func (l *ledger) head(lane gateway.Address) []gateway.Queued {
	l.Helper()
	q, err := l.Head(l.Context(), lane, 99)
	must(l, err)
	return q
}

// giveUp ends the head of a lane.
func (l *ledger) giveUp(lane gateway.Address) int64 {
	l.Helper()
	q := l.head(lane)[0]
	l.finish(gateway.Finished{Seq: q.Seq, Key: q.Key, Dead: true, Reason: "the room is full", Problem: "503 from the room"})
	return q.Seq
}

func (l *ledger) retry(want int, seqs ...int64) {
	l.Helper()
	n, err := l.beside.Retry(l.Context(), seqs...)
	if err != nil || n != want {
		l.Errorf("retried %d (%v), want %d", n, err, want)
	}
}

func (l *ledger) bodies() (n int) {
	l.Helper()
	must(l, l.DB().QueryRow(l.Context(), "SELECT count(*) FROM event WHERE data IS NOT NULL").Scan(&n))
	return n
}

func (l *ledger) sweep() {
	l.Helper()
	_, err := l.Sweep(l.Context())
	must(l, err)
}

func TestADeadLetterIsKeptAndRetried(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		say(l, l.Store, "x", "1", "first words", one)
		say(l, l.Store, "x", "2", "second words", one)
		seq := l.giveUp(one)
		l.sweep()
		dead, err := l.beside.Dead(l.Context(), gateway.Address{})
		must(l, err)
		if len(dead) != 1 || dead[0].Seq != seq || !dead[0].Kept || dead[0].Author.ID != "juliet" || dead[0].From.ID != "room" ||
			dead[0].Reason != "the room is full" || dead[0].Problem != "503 from the room" || !dead[0].Ended.Equal(l.now) {
			l.Errorf("dead: %+v", dead)
		}
		l.now = l.now.Add(30 * time.Minute)
		l.retry(1, seq, seq, 12345)
		l.retry(0, seq)
		l.now = l.now.Add(2 * time.Hour)
		l.sweep()
		q := l.head(one)
		if len(q) != 2 || q[0].Seq != seq || q[0].Attempt != 1 || q[0].Event == nil || !q[0].Accepted.Equal(l.now.Add(-2*time.Hour)) {
			l.Errorf("lane: %+v", q)
		}
		l.finish(gateway.Finished{Seq: q[0].Seq, Key: q[0].Key}, gateway.Finished{Seq: q[1].Seq, Key: q[1].Key})
		l.sweep()
		if n := l.bodies(); n != 0 {
			l.Errorf("%d bodies are left", n)
		}
	})
}

func TestTheTextOfADeadLetterGoes(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		say(l, l.Store, "x", "1", "words", one, two)
		first, second := l.giveUp(one), l.giveUp(two)
		say(l, l.Store, "x", "2", "words", one)
		q := l.head(one)
		l.finish(gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Dead: true, Wipe: true})
		l.retry(0, q[0].Seq)
		if n, err := l.beside.Discard(l.Context(), first, first, 999); n != 1 || err != nil {
			l.Errorf("dropped %d, %v", n, err)
		}
		if n := l.bodies(); n != 1 {
			l.Errorf("%d bodies, and one dead letter of the event is left", n)
		}
		l.now = l.now.Add(59 * time.Minute)
		l.sweep()
		if n := l.bodies(); n != 1 {
			l.Errorf("%d bodies before the time is over", n)
		}
		l.now = l.now.Add(2 * time.Minute)
		l.sweep()
		if n := l.bodies(); n != 0 {
			l.Errorf("%d bodies when the time is over", n)
		}
		l.retry(0, first, second)
		dead, err := l.beside.Dead(l.Context(), two)
		must(l, err)
		if len(dead) != 1 || dead[0].Kept {
			l.Errorf("dead: %+v", dead)
		}
	})
}

func TestDiscardWipesTheLastText(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		say(l, l.Store, "x", "1", "words", one)
		n, err := l.beside.Discard(l.Context(), l.giveUp(one))
		if n != 1 || err != nil || l.bodies() != 0 {
			l.Errorf("dropped %d, %v; %d bodies are left", n, err, l.bodies())
		}
	})
}

func TestLanes(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		for _, native := range []string{"1", "2", "3"} {
			say(l, l.Store, "x", native, "words", one, two)
		}
		l.giveUp(two)
		q := l.head(two)
		l.finish(gateway.Finished{Seq: q[0].Seq, Key: q[0].Key}, gateway.Finished{Seq: q[1].Seq, Key: q[1].Key})
		q = l.head(one)
		due := l.now.Add(time.Minute)
		l.finish(gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Retry: true, Due: due, Attempt: 4, Problem: "banned from the room"})
		lanes, err := l.beside.Lanes(l.Context())
		must(l, err)
		if len(lanes) != 2 {
			l.Fatalf("lanes: %+v", lanes)
		}
		want := store.LaneInfo{Lane: one, Pending: 3, Oldest: l.now, Due: due, Attempt: 4, Problem: "banned from the room"}
		if got := lanes[0]; !got.Oldest.Equal(want.Oldest) || !got.Due.Equal(due) || got.Pending != 3 || got.Attempt != 4 || got.Problem != want.Problem || got.Dead != 0 {
			l.Errorf("got %+v, want %+v", got, want)
		}
		if got := lanes[1]; got.Lane != two || got.Pending != 0 || got.Dead != 1 || !got.Oldest.IsZero() {
			l.Errorf("got %+v", got)
		}
	})
}

// Operators retry and drop while a gateway ends deliveries of the same events and sweeps: nothing that waits loses its
// text.
func TestRetryRacesWithTheSweep(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		const rounds = 30
		for i := range rounds {
			say(l, l.Store, "x", fmt.Sprint(i), "words", one, two)
		}
		var seqs []int64
		for range rounds {
			seqs = append(seqs, l.giveUp(one))
		}
		l.now = l.now.Add(2 * time.Hour) // all of it may be wiped as soon as the other delivery has ended
		var g errgroup.Group
		g.Go(func() error {
			for _, q := range l.head(two) {
				if err := l.Do(l.Context(), "x", func(ctx context.Context) error {
					return l.Finish(ctx, []gateway.Finished{{Seq: q.Seq, Key: q.Key}})
				}); err != nil {
					return err
				}
			}
			return nil
		})
		g.Go(func() error {
			for range rounds {
				if _, err := l.Sweep(l.Context()); err != nil {
					return err
				}
			}
			return nil
		})
		g.Go(func() error {
			for i, seq := range seqs {
				if _, err := l.beside.Retry(l.Context(), seq, seqs[(i+7)%rounds]); err != nil {
					return err
				}
				if _, err := l.beside.Discard(l.Context(), seqs[(i+11)%rounds]); err != nil {
					return err
				}
			}
			return nil
		})
		must(l, g.Wait())
		for _, q := range l.head(one) {
			if q.Event == nil {
				l.Errorf("delivery %d waits without its text", q.Seq)
			}
		}
		l.sweep()
		if n := l.bodies(); n != len(l.head(one)) {
			l.Errorf("%d bodies for %d deliveries", n, len(l.head(one)))
		}
	})
}
