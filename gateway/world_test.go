package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"lockbridge/gateway"
	"lockbridge/store"
)

// mouth is a side whose network is the test: what it hears is told by say, what it is to deliver is answered by the
// test's function.
type mouth struct {
	network string
	caps    gateway.Caps
	in      chan gateway.Inbox // holds the inbox while Run runs

	run     func() error                                                // instead of Run
	cut     func(context.Context, []gateway.Delivery) []gateway.Outcome // instead of Deliver
	mu      sync.Mutex
	deliver func(gateway.Delivery) gateway.Outcome
	got     chan gateway.Delivery
	rooms   chan []gateway.Room // what SetRooms was told
	forgets chan gateway.Person // whom Forget was told
}

func newMouth(network string) *mouth {
	return &mouth{
		network: network, in: make(chan gateway.Inbox, 1), got: make(chan gateway.Delivery, 1000),
		rooms: make(chan []gateway.Room, 1000), forgets: make(chan gateway.Person, 10),
	}
}

func (m *mouth) Caps(gateway.Address) gateway.Caps { return m.caps }

func (m *mouth) Run(ctx context.Context, in gateway.Inbox) error {
	if m.run != nil {
		return m.run()
	}
	m.in <- in
	<-ctx.Done()
	<-m.in
	return nil
}

func (m *mouth) SetRooms(rooms []gateway.Room) { m.rooms <- rooms }

func (m *mouth) Forget(_ context.Context, who gateway.Person) error {
	m.forgets <- who
	return nil
}

func (m *mouth) Deliver(ctx context.Context, run []gateway.Delivery) []gateway.Outcome {
	if m.cut != nil {
		return m.cut(ctx, run)
	}
	m.mu.Lock()
	answer := m.deliver
	m.mu.Unlock()
	var out []gateway.Outcome
	for _, d := range run {
		o := gateway.Sent(gateway.Part{Native: "at " + m.network + ": " + d.Key})
		if answer != nil {
			o = answer(d)
		}
		if o.Err == nil {
			m.got <- d
		}
		out = append(out, o)
		if o.Err != nil && !gateway.IsDrop(o.Err) {
			break
		}
	}
	return out
}

func (m *mouth) answer(f func(gateway.Delivery) gateway.Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deliver = f
}

// syncBuffer is what was logged.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) contains(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Contains(s.b.Bytes(), []byte(text))
}

// world is a gateway with three networks a, b and c over a real store in a folder.
type world struct {
	t        *testing.T
	dir      string
	a        *mouth
	b        *mouth
	c        *mouth
	stop     func()
	st       *store.Store
	g        *gateway.Gateway
	reg      *prometheus.Registry
	status   *gateway.Status
	age      time.Duration
	limit    int
	patience time.Duration
	now      func() time.Time
	log      syncBuffer
	rooms    gateway.Bridge

	direct  gateway.Direct
	privacy gateway.Privacy
	media   gateway.Media
	sides   map[string]gateway.Side               // instead of the mouths
	wrap    func(gateway.Journal) gateway.Journal // nil: the store itself
}

func newWorld(t *testing.T) *world {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	return makeWorld(t, t.TempDir())
}

// quietDir is a folder for a world whose clock is synctest's, which stands still while a socket is read: its path is too
// long for the one by which commands are heard.
func quietDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// makeWorld is for simulated time, where what is left running is found anyway.
func makeWorld(t *testing.T, dir string) *world {
	w := &world{t: t, now: time.Now, dir: dir, patience: time.Minute, a: newMouth("a"), b: newMouth("b"), c: newMouth("c"), rooms: gateway.Bridge{
		Name: "one", Encryption: gateway.EncryptionOff,
		Rooms: map[string]gateway.BridgeRoom{"a": {ID: "room"}, "b": {ID: "room"}, "c": {ID: "room"}},
	}}
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) start() *world {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(io.MultiWriter(w.t.Output(), &w.log), nil))
	st, err := store.Open(w.t.Context(), store.Config{
		URL: "sqlite:" + filepath.Join(w.dir, "lb.db"), Key: bytes.Repeat([]byte{7}, 32), Log: log, Now: w.now, Rand: rand.Reader,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.st, w.reg, w.status = st, prometheus.NewRegistry(), gateway.NewStatus([]string{"a", "b", "c"}, log)
	journal := gateway.Journal(st)
	if w.wrap != nil {
		journal = w.wrap(st)
	}
	sides := map[string]gateway.Side{"a": w.a, "b": w.b, "c": w.c}
	maps.Copy(sides, w.sides)
	g := gateway.New(gateway.Config{
		Journal: journal, Leases: st, Bridges: []gateway.Bridge{w.rooms, w.second()}, Direct: w.direct, Privacy: w.privacy, Media: w.media, Sides: sides,
		Status: w.status, Log: log, Metrics: w.reg, Rand: rand.Reader, Now: w.now, MaxAge: w.age, LaneLimit: w.limit,
	})
	w.g = g
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	wg.Go(func() {
		if err := st.Run(ctx); err != nil && ctx.Err() == nil {
			w.t.Errorf("store: %v", err)
		}
	})
	w.stop = func() {
		cancel()
		wg.Wait()
		if err := st.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
		w.stop = func() {}
	}
	return w
}

// second is a bridge of two other rooms.
func (w *world) second() gateway.Bridge {
	other := w.rooms
	other.Name, other.Rooms = "two", map[string]gateway.BridgeRoom{"a": {ID: "room2"}, "b": {ID: "room2"}}
	return other
}

// linked lists the native ids of a room.
func (w *world) linked(room gateway.Address) (natives []string) {
	w.t.Helper()
	rows, err := w.st.DB().Query(w.t.Context(), "SELECT native FROM link WHERE network = $1 AND room = $2 ORDER BY seq", room.Network, []byte(room.ID))
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var native []byte
		if err := rows.Scan(&native); err != nil {
			w.t.Fatal(err)
		}
		natives = append(natives, string(native))
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return natives
}

// counted is the value of a counter for a network.
func (w *world) counted(name, network string) float64 {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == network {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// arrival is a message heard by m.
func arrival(m *mouth, native, text string) gateway.Arrival {
	return reads(m, native, func() (*gateway.Event, error) {
		return &gateway.Event{Sender: person(m), Body: gateway.Message{Text: gateway.Text{Plain: text}}}, nil
	})
}

func person(m *mouth) gateway.Person {
	return gateway.Person{Network: m.network, ID: "alice", Name: "Alice"}
}

func reads(m *mouth, native string, read func() (*gateway.Event, error)) gateway.Arrival {
	return gateway.Arrival{At: gateway.Address{Network: m.network, ID: "room"}, Native: native,
		Read: func(context.Context) (*gateway.Event, error) { return read() }}
}

func (w *world) accept(m *mouth, batch ...gateway.Arrival) {
	w.t.Helper()
	in := <-m.in
	m.in <- in
	if err := in.Accept(w.t.Context(), batch); err != nil {
		w.t.Fatal(err)
	}
}

// next is the next delivery that m's network took.
func (w *world) next(m *mouth) gateway.Delivery {
	w.t.Helper()
	select {
	case d := <-m.got:
		return d
	case <-time.After(w.patience):
		w.t.Fatalf("nothing was delivered to %s", m.network)
		return gateway.Delivery{}
	}
}

func text(d gateway.Delivery) string {
	if m, ok := d.Event.Body.(gateway.Message); ok {
		return m.Text.Plain
	}
	return fmt.Sprintf("%s: %+v", d.Event.Body.Kind(), d.Event.Body)
}

func (w *world) wantNext(m *mouth, want ...string) {
	w.t.Helper()
	for _, s := range want {
		if got := text(w.next(m)); got != s {
			w.t.Fatalf("%s got %q, want %q", m.network, got, s)
		}
	}
}
