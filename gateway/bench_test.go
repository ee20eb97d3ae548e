package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// mirror is a network that sends back at once what it is told, and counts it.
type mirror struct {
	in   chan gateway.Inbox
	said chan int
}

func (*mirror) Caps(gateway.Address) gateway.Caps            { return gateway.Caps{} }
func (*mirror) SetRooms([]gateway.Room)                      {}
func (*mirror) Forget(context.Context, gateway.Person) error { return nil }

func (m *mirror) Run(ctx context.Context, in gateway.Inbox) error {
	m.in <- in
	<-ctx.Done()
	return nil
}

func (m *mirror) Deliver(ctx context.Context, run []gateway.Delivery) []gateway.Outcome {
	in := <-m.in
	m.in <- in
	batch, out := make([]gateway.Arrival, len(run)), make([]gateway.Outcome, len(run))
	for i := range run {
		key := run[i].Key
		batch[i] = gateway.Arrival{At: run[i].Room, Native: key, Read: func(context.Context) (*gateway.Event, error) {
			return &gateway.Event{Body: gateway.Echo{Key: key, Ends: true}}, nil
		}}
		out[i].Ended = true
	}
	m.said <- len(run)
	if err := in.Accept(ctx, batch); err != nil {
		return nil
	}
	return out
}

// relay is a gateway from network a to network b on a real database.
func relay(b *testing.B, d storetest.Database) (from gateway.Inbox, said <-chan int) {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(b.Context(), store.Config{URL: d.Make(b), Key: bytes.Repeat([]byte{7}, store.KeySize), Log: log})
	if err != nil {
		b.Fatal(err)
	}
	source, dest := &mirror{in: make(chan gateway.Inbox, 1)}, &mirror{in: make(chan gateway.Inbox, 1), said: make(chan int, 1<<20)}
	g := gateway.New(gateway.Config{
		Journal: st, Leases: st, Sides: map[string]gateway.Side{"a": source, "b": dest}, Status: gateway.NewStatus([]string{"a", "b"}, log), Log: log,
		Bridges: []gateway.Bridge{{Name: "one", Encryption: gateway.EncryptionOff, Rooms: map[string]gateway.BridgeRoom{"a": {ID: "room"}, "b": {ID: "room"}}}},
		Metrics: prometheus.NewRegistry(), Rand: rand.Reader, Now: time.Now,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = st.Run(ctx) })
	wg.Go(func() { _ = g.Run(ctx) })
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	})
	in := <-dest.in
	dest.in <- in
	return <-source.in, dest.said
}

// hear accepts the n-th message.
func hear(b *testing.B, in gateway.Inbox, n int) {
	if err := in.Accept(b.Context(), []gateway.Arrival{{At: gateway.Address{Network: "a", ID: "room"}, Native: fmt.Sprint(n), Read: func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Sender: gateway.Person{Network: "a", ID: "juliet", Name: "Juliet"}, Body: message(fmt.Sprint("wherefore art thou, ", n))}, nil
	}}}); err != nil {
		b.Error(err)
	}
}

// BenchmarkRelay carries messages from one network to another, with their echoes: one after the other, and as many at a
// time as come. Postgres is measured where LOCKBRIDGE_TEST_POSTGRES names one.
func BenchmarkRelay(b *testing.B) {
	for _, d := range storetest.Databases() {
		b.Run(d.Name+"/alone", func(b *testing.B) {
			in, said := relay(b, d)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				hear(b, in, n)
				<-said
			}
		})
		b.Run(d.Name+"/many", func(b *testing.B) {
			in, said := relay(b, d)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				var wg sync.WaitGroup
				for range 32 {
					n++
					i := n
					wg.Go(func() { hear(b, in, i) })
				}
				wg.Wait()
			}
			for left := n; left > 0; left -= <-said {
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
