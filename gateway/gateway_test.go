package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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

	direct gateway.Direct
}

func newWorld(t *testing.T) *world {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	return makeWorld(t, t.TempDir())
}

// makeWorld is for simulated time, where what is left running is found anyway.
func makeWorld(t *testing.T, dir string) *world {
	w := &world{t: t, now: time.Now, dir: dir, patience: 20 * time.Second, a: newMouth("a"), b: newMouth("b"), c: newMouth("c"), rooms: gateway.Bridge{
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
	g := gateway.New(gateway.Config{
		Journal: st, Leases: st, Bridges: []gateway.Bridge{w.rooms, w.second()}, Direct: w.direct, Sides: map[string]gateway.Side{"a": w.a, "b": w.b, "c": w.c},
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

func TestAMessageReachesTheOtherRoomsOnceAndInOrder(t *testing.T) {
	w := newWorld(t).start()
	w.accept(w.a, arrival(w.a, "1", "one"), arrival(w.a, "2", "two"), arrival(w.a, "1", "one again"))
	w.accept(w.a, arrival(w.a, "2", "two again"), arrival(w.a, "3", "three"))
	w.wantNext(w.b, "one", "two", "three")
	w.wantNext(w.c, "one", "two", "three")
}

func TestARestartGoesOnWhereItWas(t *testing.T) {
	w := newWorld(t)
	w.b.answer(func(gateway.Delivery) gateway.Outcome { return gateway.Failed(errors.New("away")) })
	w.start()
	w.accept(w.a, arrival(w.a, "1", "one"), arrival(w.a, "2", "two"))
	w.wantNext(w.c, "one", "two")
	w.stop()
	w.b.answer(nil)
	w.start()
	first := w.next(w.b)
	if text(first) != "one" || first.Attempt == 0 {
		t.Errorf("%q, attempt %d: want one, and not as if for the first time", text(first), first.Attempt)
	}
	w.wantNext(w.b, "two")
	w.accept(w.a, arrival(w.a, "1", "one again"), arrival(w.a, "3", "three"))
	w.wantNext(w.b, "three")
	w.wantNext(w.c, "three")
}

func TestAFailingLaneHoldsUpNoOther(t *testing.T) {
	w := newWorld(t).start()
	failed, again := false, make(chan struct{})
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		if d.Room.ID == "room" && !failed {
			failed = true
			close(again)
			return gateway.Failed(errors.New("not now"))
		}
		return gateway.Sent()
	})
	w.accept(w.a, arrival(w.a, "1", "held"), arrival(w.a, "2", "held too"))
	<-again
	side := arrival(w.a, "9", "elsewhere")
	side.At.ID = "room2"
	w.accept(w.a, side)
	w.wantNext(w.b, "elsewhere", "held", "held too")
}

func TestADropIsToldToItsSenderAndTheLaneGoesOn(t *testing.T) {
	w := newWorld(t).start()
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		if text(d) == "bad" {
			return gateway.Failed(gateway.Dropf("too long for this room"))
		}
		return gateway.Sent()
	})
	w.accept(w.a, arrival(w.a, "1", "bad"), arrival(w.a, "2", "good"))
	w.wantNext(w.b, "good")
	d := w.next(w.a)
	r, ok := d.Event.Body.(gateway.Receipt)
	if !ok || r.State != gateway.Undeliverable || !strings.Contains(r.Reason, "too long for this room") || r.Target.Native != "1" || r.Target.Author != person(w.a) {
		t.Errorf("told %+v", d.Event.Body)
	}
}

func TestAfterItsAgeLimitADeliveryIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.age = time.Millisecond
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		<-time.After(2 * time.Millisecond)
		return gateway.Failed(gateway.Later(time.Hour, errors.New("the room is closed")))
	})
	w.start()
	w.accept(w.a, arrival(w.a, "1", "old"))
	if got := text(w.next(w.a)); !strings.Contains(got, "could not be delivered for 1ms") {
		t.Errorf("told %s", got)
	}
}

func TestLaterIsNoAttempt(t *testing.T) {
	w := newWorld(t).start()
	asked := 0
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		asked++
		if asked < 3 {
			return gateway.Failed(gateway.Later(10*time.Millisecond, errors.New("rate limited")))
		}
		return gateway.Sent()
	})
	// The takeover margin counts as one attempt, so compare with what the first try said.
	w.accept(w.a, arrival(w.a, "1", "patience"))
	if d := w.next(w.b); d.Attempt > 1 {
		t.Errorf("attempt %d after two Laters", d.Attempt)
	}
}

func TestWhatCannotBeReadIsNoticedOnce(t *testing.T) {
	w := newWorld(t).start()
	tries := 0
	broken := reads(w.a, "1", func() (*gateway.Event, error) {
		tries++
		return nil, gateway.Unreadable(person(w.a), errors.New("no session"))
	})
	panics := reads(w.a, "2", func() (*gateway.Event, error) { panic("bad stanza") })
	w.accept(w.a, broken, panics, arrival(w.a, "3", "fine"))
	w.accept(w.a, broken, panics)
	w.accept(w.a, arrival(w.a, "4", "fine, too"))
	w.wantNext(w.b, "A message from Alice could not be read.", "fine", "fine, too")
	if tries != 1 {
		t.Errorf("read %d times", tries)
	}
}

func TestAReplyFindsItsTargetInEveryRoom(t *testing.T) {
	w := newWorld(t)
	w.a.caps.Reply, w.b.caps.Reply = true, true
	w.start()
	w.accept(w.a, arrival(w.a, "a1", "question"))
	asked := w.next(w.b)
	w.next(w.c)
	answer := func(m *mouth, native, target string) gateway.Arrival {
		return reads(m, native, func() (*gateway.Event, error) {
			return &gateway.Event{Sender: person(m), Body: gateway.Message{Text: gateway.Text{Plain: "answer"}, ReplyTo: gateway.Ref{Native: target}}}, nil
		})
	}
	w.accept(w.b, answer(w.b, "b2", "at b: "+asked.Key))
	got := w.next(w.a)
	if ref := got.Event.Body.(gateway.Message).ReplyTo; ref.Native != "a1" || ref.Author != person(w.a) {
		t.Errorf("in a it answers %+v", ref)
	}
	w.wantNext(w.c, "(re Alice: “question”) answer")

	// In a the answer is known by the echo that the network sent back, and by an alias.
	echo := gateway.Arrival{At: got.Room, Native: "a2", Also: []string{"o:a2"}, Read: func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Body: gateway.Echo{Key: got.Key}}, nil
	}}
	w.accept(w.a, echo, answer(w.a, "a3", "o:a2"))
	if ref := w.next(w.b).Event.Body.(gateway.Message).ReplyTo; ref.Native != "b2" {
		t.Errorf("in b it answers %+v", ref)
	}
}

func TestARequiredBridgeCarriesNothingThatCameInTheClear(t *testing.T) {
	w := newWorld(t)
	w.rooms.Encryption, w.rooms.Clear = gateway.EncryptionRequired, []string{"b", "c"}
	w.start()
	sealed := reads(w.a, "2", func() (*gateway.Event, error) {
		return &gateway.Event{Sender: person(w.a), Sealed: gateway.Sealing{Protection: gateway.OMEMO}, Body: gateway.Message{Text: gateway.Text{Plain: "sealed"}}}, nil
	})
	w.accept(w.a, arrival(w.a, "1", "a plain secret"), sealed)
	w.wantNext(w.b, "sealed")
	told := w.next(w.a)
	if r, ok := told.Event.Body.(gateway.Receipt); !ok || r.Target.Author != person(w.a) || !told.Seal {
		t.Errorf("told %+v", told)
	}
	w.accept(w.b, arrival(w.b, "3", "from b"))
	if d := w.next(w.a); !d.Seal || text(d) != "from b" {
		t.Errorf("%q to a, sealed: %v", text(d), d.Seal)
	}
	if d := w.next(w.c); text(d) != "sealed" {
		t.Errorf("%q to c", text(d))
	}
	w.stop()
	w.wantNoPlaintext("a plain secret", "from b", "sealed", "Alice")
}

// wantNoPlaintext looks for text in everything that lies on disk.
func (w *world) wantNoPlaintext(words ...string) {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if err != nil || len(files) == 0 {
		w.t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, word := range words {
			if word != "sealed" && bytes.Contains(b, []byte(word)) {
				w.t.Errorf("%q lies in the clear in %s", word, filepath.Base(name))
			}
		}
	}
}

func TestAStopLetsDeliveriesUnderWayEnd(t *testing.T) {
	w := newWorld(t).start()
	inside, goOn := make(chan struct{}), make(chan struct{})
	w.b.answer(func(gateway.Delivery) gateway.Outcome {
		close(inside)
		<-goOn
		return gateway.Sent()
	})
	w.accept(w.a, arrival(w.a, "1", "under way"))
	<-inside
	stopped := make(chan struct{})
	stop := w.stop
	go func() { stop(); close(stopped) }()
	close(goOn)
	<-stopped
	w.b.answer(nil)
	w.start()
	w.accept(w.a, arrival(w.a, "2", "afterwards"))
	w.wantNext(w.b, "under way", "afterwards")
	if len(w.b.got) != 0 {
		t.Errorf("delivered again: %q", text(<-w.b.got))
	}
}

func TestManyWritersLoseNothing(t *testing.T) {
	w := newWorld(t).start()
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := range each {
				w.accept(w.a, arrival(w.a, fmt.Sprintf("%d/%d", i, n), fmt.Sprintf("%d/%03d", i, n)))
			}
		})
	}
	wg.Wait()
	bySender := map[byte][]string{}
	for range writers * each {
		s := text(w.next(w.b))
		bySender[s[0]] = append(bySender[s[0]], s)
	}
	for _, said := range bySender {
		if len(said) != each || !slices.IsSorted(said) {
			t.Errorf("out of order or lost: %v", said)
		}
	}
}
