package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.mau.fi/util/dbutil"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// The benchmarks write with fsync on, as in service. They name the database in the sub-benchmark.

func benchmark(b *testing.B, run func(b *testing.B, s *store.Store)) {
	b.Helper()
	for _, d := range storetest.Databases() {
		b.Run(d.Name, func(b *testing.B) {
			s := open(b, store.Config{URL: d.Make(b)})
			l := acquire(b, s, "x")
			defer func() { must(b, l.Release(context.Background())) }()
			b.ReportAllocs()
			b.ResetTimer()
			run(b, s)
		})
	}
}

// acceptOne does what Accept does for one message: seen?, a changed ratchet, event, link and delivery.
func acceptOne(ctx context.Context, s *store.Store, n int64) error {
	room := gateway.Address{Network: "x", ID: "room@rooms.example"}
	at := gateway.Native{Room: room, ID: fmt.Sprint("stanza-", n)}
	id, err := gateway.NewID(rand.Reader)
	if err != nil {
		return err
	}
	ev := &gateway.Event{
		ID: id, At: room, Native: at.ID, Time: time.Now(), Sender: gateway.Person{Network: "x", ID: "juliet@example.org", Name: "Juliet"},
		Body: gateway.Message{Text: gateway.Text{Plain: "what light through yonder window breaks? it is the east, and Juliet is the sun"}},
	}
	return s.Do(ctx, "x", func(ctx context.Context) error {
		if _, err := s.Seen(ctx, []gateway.Native{at}, false); err != nil {
			return err
		}
		session := fmt.Sprint("session/", n%50)
		if _, err := s.State("x").GetMany(ctx, []string{session}); err != nil {
			return err
		}
		if err := s.State("x").PutMany(ctx, map[string][]byte{session: make([]byte, 600)}); err != nil {
			return err
		}
		return s.Append(ctx, []gateway.Entry{{
			Event: ev, Links: []gateway.Link{{Native: at, Event: id}},
			Deliveries: []gateway.Queue{
				{Key: "m" + at.ID, Room: gateway.Address{Network: "m", ID: "!room"}}, {Key: "i" + at.ID, Room: gateway.Address{Network: "i", ID: "#room"}},
			},
		}})
	})
}

func BenchmarkAccept(b *testing.B) {
	benchmark(b, func(b *testing.B, s *store.Store) {
		b.Helper()
		for i := range b.N {
			must(b, acceptOne(b.Context(), s, int64(i)))
		}
	})
}

func BenchmarkAcceptParallel(b *testing.B) {
	benchmark(b, func(b *testing.B, s *store.Store) {
		b.Helper()
		var n atomic.Int64
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := acceptOne(b.Context(), s, n.Add(1)); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkWritePages is the same with the cold records in the side's memory.
func BenchmarkWritePages(b *testing.B) {
	benchmark(b, func(b *testing.B, s *store.Store) {
		b.Helper()
		pages := map[string][]byte{}
		for i := range 4 {
			pages[fmt.Sprintf("chains/juliet@example.org/%d", i)] = bytes.Repeat([]byte{2}, 12<<10)
		}
		for range b.N {
			must(b, s.State("x").PutMany(b.Context(), pages))
		}
	})
}

// BenchmarkDeliver takes runs of 16 off a lane with a large backlog behind them.
func BenchmarkDeliver(b *testing.B) {
	benchmark(b, func(b *testing.B, s *store.Store) {
		b.Helper()
		const run = 16
		lane := gateway.Address{Network: "x", ID: "lane"}
		for i := 0; i < 2000+run*b.N; {
			var entries []gateway.Entry
			for ; len(entries) < 1000; i++ {
				id, err := gateway.NewID(rand.Reader)
				must(b, err)
				entries = append(entries, gateway.Entry{
					Event:      &gateway.Event{ID: id, At: gateway.Address{Network: "x", ID: "r"}, Body: gateway.Message{}},
					Deliveries: []gateway.Queue{{Key: fmt.Sprint("k", i), Room: lane}},
				})
			}
			must(b, s.Do(b.Context(), "x", func(ctx context.Context) error { return s.Append(ctx, entries) }))
		}
		b.ResetTimer()
		for range b.N {
			if due, _, err := s.Lanes(b.Context(), "x", time.Now().Add(time.Second)); err != nil || len(due) != 1 {
				b.Fatal(due, err)
			}
			q, err := s.Head(b.Context(), lane, run)
			must(b, err)
			done := make([]gateway.Finished, len(q))
			for i := range q {
				done[i] = gateway.Finished{Seq: q[i].Seq, Key: q[i].Key, Links: []gateway.Link{{Native: gateway.Native{Room: lane, ID: q[i].Key}, Event: q[i].Event.ID}}}
			}
			must(b, s.Do(b.Context(), "x", func(ctx context.Context) error { return s.Finish(ctx, done) }))
		}
	})
}

// BenchmarkLanes looks for due lanes among 100 with a backlog of 200 each.
func BenchmarkLanes(b *testing.B) {
	benchmark(b, func(b *testing.B, s *store.Store) {
		b.Helper()
		for i := range 200 {
			var rooms []gateway.Address
			for r := range 100 {
				rooms = append(rooms, gateway.Address{Network: "m", ID: fmt.Sprint("room", r)})
			}
			say(b, s, "x", fmt.Sprint(i), "text", rooms...)
		}
		b.ResetTimer()
		for range b.N {
			if due, _, err := s.Lanes(b.Context(), "m", time.Now().Add(time.Second)); err != nil || len(due) != 100 {
				b.Fatal(len(due), err)
			}
		}
	})
}

// BenchmarkAcceptWhileSweeping is how long one accept takes while a million events are forgotten: the median, the 99th
// percentile and the worst, beside those without a sweep.
func BenchmarkAcceptWhileSweeping(b *testing.B) {
	const old = 1_000_000
	benchmark(b, func(b *testing.B, s *store.Store) {
		b.Helper()
		series := fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)", old)
		id := "unhex(printf('%032x', i))"
		if s.DB().Dialect == dbutil.Postgres {
			id = "decode(lpad(to_hex(i), 32, '0'), 'hex')"
		}
		room, native := "CAST('room' AS "+map[bool]string{true: "bytea", false: "blob"}[s.DB().Dialect == dbutil.Postgres]+")", id
		for _, insert := range []string{
			"INSERT INTO event (id, network, room, native, excerpt, accepted, keep_until) " + series + " SELECT " + id + ", 'x', " + room + ", " + native + ", " + id + ", i, 0 FROM n",
			"INSERT INTO link (network, room, native, event, part, alias, accepted) " + series + " SELECT 'x', " + room + ", " + native + ", " + id + ", " + room + ", false, i FROM n",
			"INSERT INTO delivery (key, event, network, room, seal, due, state, accepted) " + series + " SELECT 'key' || i, " + id + ", 'm', " + room + ", false, 0, 1, i FROM n",
		} {
			if _, err := s.DB().Exec(b.Context(), insert); err != nil {
				b.Fatal(err)
			}
		}
		_, err := s.DB().Exec(b.Context(), "ANALYZE")
		must(b, err)
		n := int64(0)
		measure := func(name string, until func() bool) {
			var took []time.Duration
			for ; !until(); n++ {
				began := time.Now()
				must(b, acceptOne(b.Context(), s, n))
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			for unit, d := range map[string]time.Duration{"p50": took[len(took)/2], "p99": took[len(took)*99/100], "max": took[len(took)-1]} {
				b.ReportMetric(float64(d.Microseconds())/1000, name+"-"+unit+"-ms")
			}
		}
		b.ResetTimer()
		for b.Loop() {
			measure("alone", func() bool { return n >= 2000 })
			ctx, cancel := context.WithCancel(b.Context())
			swept := make(chan int, 1)
			go func() {
				count, err := s.Sweep(ctx)
				if err != nil && ctx.Err() == nil {
					b.Error(err)
				}
				swept <- count
			}()
			began := time.Now()
			measure("sweeping", func() bool { return time.Since(began) > 20*time.Second })
			cancel()
			b.ReportMetric(float64(<-swept)/time.Since(began).Seconds(), "swept/s")
		}
	})
}
