package main

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
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// These benchmarks put together what the packages measure apart: sealing with its state in a real database, accepting
// through the gateway. Postgres is measured where LOCKBRIDGE_TEST_POSTGRES names one; its fsync should be on.

const benchOwn = "lockbridge@bridge.example.org"

// benchStore opens an empty database of each kind and owns the network "x" in it.
func benchStore(b *testing.B, run func(b *testing.B, s *store.Store)) {
	for _, d := range storetest.Databases() {
		b.Run(d.Name, func(b *testing.B) {
			s, err := store.Open(b.Context(), store.Config{URL: d.Make(b), Key: bytes.Repeat([]byte{7}, store.KeySize), Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			run(b, s)
		})
	}
}

func own(b *testing.B, s *store.Store, network string) {
	lease, err := s.Acquire(b.Context(), network)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = lease.Release(context.Background()) })
}

// far is a device of a member, with its state in memory.
type far struct {
	state   *sidetest.State
	manager *omemo.Manager
	address omemo.Address
	bundle  *omemo.Bundle
}

func newFar(b *testing.B, i int) far {
	f := far{state: sidetest.NewState()}
	f.manager = omemo.NewManager(f.state, omemo.Options{})
	jid := fmt.Sprintf("member%d@example.org", i)
	device, err := f.manager.EnsureDevice(b.Context(), jid)
	if err != nil {
		b.Fatal(err)
	}
	if f.bundle, err = f.manager.Bundle(b.Context(), omemo.Legacy, jid); err != nil {
		b.Fatal(err)
	}
	f.address = omemo.Address{JID: jid, Device: device.ID}
	return f
}

// members makes n devices that each have a session with ours, confirmed by an answer as in a room that has talked.
func members(b *testing.B, state gateway.State, n int) (m *omemo.Manager, to []omemo.Address, last far) {
	b.Helper()
	m = omemo.NewManager(state, omemo.Options{})
	bundles, fars := map[omemo.Address]*omemo.Bundle{}, make([]far, n)
	for i := range fars {
		fars[i] = newFar(b, i)
		to = append(to, fars[i].address)
		bundles[fars[i].address] = fars[i].bundle
	}
	var first *omemo.Message
	update(b, state, func(ctx context.Context) (err error) {
		if _, err = m.EnsureDevice(ctx, benchOwn); err != nil {
			return err
		}
		first, _, err = m.Seal(ctx, omemo.Legacy, benchOwn, to, bundles, []byte("hello"))
		return err
	})
	for _, f := range fars {
		if _, err := f.manager.Open(b.Context(), f.address.JID, []string{benchOwn}, first); err != nil {
			b.Fatal(err)
		}
		answer := f.seal(b, first.SID, "yes")
		update(b, state, func(ctx context.Context) error {
			_, err := m.Open(ctx, benchOwn, []string{f.address.JID}, answer)
			return err
		})
	}
	return m, to, fars[n-1]
}

func (f far) seal(b *testing.B, device uint32, text string) *omemo.Message {
	b.Helper()
	msg, _, err := f.manager.Seal(b.Context(), omemo.Legacy, f.address.JID, []omemo.Address{{JID: benchOwn, Device: device}}, nil, []byte(text))
	if err != nil {
		b.Fatal(err)
	}
	return msg
}

func update(b *testing.B, state gateway.State, fn func(ctx context.Context) error) {
	b.Helper()
	if err := state.Update(b.Context(), fn); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSealDurable seals one message for n devices and writes the stanza, both durable before it could leave.
func BenchmarkSealDurable(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			benchStore(b, func(b *testing.B, s *store.Store) {
				own(b, s, "x")
				state := s.State("x")
				m, to, _ := members(b, state, n)
				i := 0
				for b.Loop() {
					i++
					update(b, state, func(ctx context.Context) error {
						msg, _, err := m.Seal(ctx, omemo.Legacy, benchOwn, to, nil, []byte("what light through yonder window breaks?"))
						if err != nil {
							return err
						}
						return state.PutMany(ctx, map[string][]byte{fmt.Sprint("out/", i): msg.AppendXML(nil)})
					})
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "µs/device")
			})
		})
	}
}

// BenchmarkOpenDurable opens one message, durable before it would be acknowledged.
func BenchmarkOpenDurable(b *testing.B) {
	benchStore(b, func(b *testing.B, s *store.Store) {
		own(b, s, "x")
		state := s.State("x")
		m, _, peer := members(b, state, 1)
		device, err := m.EnsureDevice(b.Context(), benchOwn)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			b.StopTimer()
			msg := peer.seal(b, device.ID, "it is the east, and Juliet is the sun")
			b.StartTimer()
			update(b, state, func(ctx context.Context) error {
				_, err := m.Open(ctx, benchOwn, []string{peer.address.JID}, msg)
				return err
			})
		}
	})
}

// silent is a side that hands out its inbox and takes everything.
type silent struct{ in chan gateway.Inbox }

func (silent) Caps(gateway.Address) gateway.Caps { return gateway.Caps{} }

func (s silent) Run(ctx context.Context, in gateway.Inbox) error {
	select {
	case s.in <- in:
	default:
	}
	<-ctx.Done()
	return nil
}

func (silent) SetRooms([]gateway.Room) {}

func (silent) Forget(context.Context, gateway.Person) error { return nil }

func (silent) Deliver(_ context.Context, run []gateway.Delivery) []gateway.Outcome {
	return make([]gateway.Outcome, len(run))
}

// BenchmarkAccept accepts messages through the gateway, each for one other room that takes them meanwhile: one at a
// time, in batches, and from many callers at once.
func BenchmarkAccept(b *testing.B) {
	for _, mode := range []struct {
		name           string
		batch, callers int
	}{{"alone", 1, 1}, {"batch100", 100, 1}, {"callers32", 1, 32}} {
		b.Run(mode.name, func(b *testing.B) {
			benchStore(b, func(b *testing.B, s *store.Store) {
				in := startGateway(b, s)
				n := 0
				for b.Loop() {
					var wg sync.WaitGroup
					for range mode.callers {
						batch := make([]gateway.Arrival, mode.batch)
						for i := range batch {
							n++
							batch[i] = said(n)
						}
						wg.Go(func() {
							if err := in.Accept(b.Context(), batch); err != nil {
								b.Error(err)
							}
						})
					}
					wg.Wait()
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
			})
		})
	}
}

func said(n int) gateway.Arrival {
	return gateway.Arrival{At: gateway.Address{Network: "x", ID: "room"}, Native: fmt.Sprint(n), Read: func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Sender: gateway.Person{Network: "x", ID: "juliet@example.org"}, Body: gateway.Message{Text: gateway.Text{Plain: "wherefore art thou?"}}}, nil
	}}
}

// startGateway runs a gateway of two networks until the benchmark ends, and returns the inbox of "x".
func startGateway(b *testing.B, s *store.Store) gateway.Inbox {
	x, y := silent{make(chan gateway.Inbox, 1)}, silent{make(chan gateway.Inbox, 1)}
	log := slog.New(slog.DiscardHandler)
	g := gateway.New(gateway.Config{
		Journal: s, Leases: s, Log: log, Metrics: prometheus.NewRegistry(), Rand: rand.Reader, Now: time.Now,
		Bridges: []gateway.Bridge{{Name: "b", Encryption: gateway.EncryptionOff, Rooms: map[string]gateway.BridgeRoom{"x": {ID: "room"}, "y": {ID: "room"}}}},
		Sides:   map[string]gateway.Side{"x": x, "y": y}, Status: gateway.NewStatus([]string{"x", "y"}, log),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Run(ctx) })
	wg.Go(func() { _ = s.Run(ctx) })
	b.Cleanup(func() { cancel(); wg.Wait() })
	return <-x.in
}
