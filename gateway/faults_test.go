package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/store"
)

// faults is a store whose database fails at random, for a while altogether, or for good as if the process had died;
// and whose leases get lost. It may commit and say that it did not.
type faults struct {
	*store.Store
	dice *dice

	mu     sync.Mutex
	away   bool            // the database is away
	dead   bool            // the process is
	lost   map[string]bool // networks
	losing map[string]chan struct{}
}

// dice are shared randomness.
type dice struct {
	mu sync.Mutex
	r  *mrand.Rand
}

func (d *dice) hit(oneIn int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(oneIn) == 0
}

func (d *dice) upTo(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

var errFault = fmt.Errorf("%w: the disk is full", gateway.ErrStore)

func (f *faults) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *faults) fault(oneIn int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away || f.dead || f.dice.hit(oneIn) {
		return errFault
	}
	return nil
}

func (f *faults) Do(ctx context.Context, network string, fn func(context.Context) error) error {
	f.mu.Lock()
	lost := f.lost[network]
	f.mu.Unlock()
	if lost || f.dice.hit(150) { // lost for good, or held again under a new epoch
		return gateway.ErrLeaseLost
	}
	if err := f.fault(60); err != nil {
		return err
	}
	if err := f.Store.Do(ctx, network, fn); err != nil {
		return err
	}
	return f.fault(60)
}

func (f *faults) Lanes(ctx context.Context, network string, now time.Time) ([]gateway.Address, time.Time, error) {
	if err := f.fault(40); err != nil {
		return nil, time.Time{}, err
	}
	return f.Store.Lanes(ctx, network, now)
}

func (f *faults) Head(ctx context.Context, lane gateway.Address, limit int) ([]gateway.Queued, error) {
	if err := f.fault(40); err != nil {
		return nil, err
	}
	return f.Store.Head(ctx, lane, limit)
}

func (f *faults) Parts(ctx context.Context, room gateway.Address, events []gateway.ID) (map[gateway.ID][]gateway.Part, error) {
	if err := f.fault(40); err != nil {
		return nil, err
	}
	return f.Store.Parts(ctx, room, events)
}

func (f *faults) TakeOver(ctx context.Context, network string) (int64, error) {
	if err := f.fault(3); err != nil {
		return 0, err
	}
	return f.Store.TakeOver(ctx, network)
}

// Acquire implements gateway.Leases.
func (f *faults) Acquire(_ context.Context, network string) (gateway.Lease, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &brittle{f, make(chan struct{})}
	f.lost[network], f.losing[network] = false, l.gone
	return l, nil
}

func (f *faults) lose(network string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.losing[network]; c != nil && !f.lost[network] {
		f.lost[network] = true
		close(c)
	}
}

// brittle is a lease that gets lost.
type brittle struct {
	f    *faults
	gone chan struct{}
}

func (l *brittle) Keep(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-l.gone:
		return gateway.ErrLeaseLost
	}
}

func (l *brittle) Held() bool                  { return !l.f.dice.hit(20) }
func (*brittle) Release(context.Context) error { return nil }

// tap is a source that numbers what it says in each room, and says again what was not accepted.
type tap struct {
	rooms []string
	each  int
	dice  *dice
	next  map[string]int // per room; kept over restarts, as a network does
}

func (*tap) Caps(gateway.Address) gateway.Caps                             { return gateway.Caps{} }
func (*tap) SetRooms([]gateway.Room)                                       {}
func (*tap) Forget(context.Context, gateway.Person) error                  { return nil }
func (*tap) Deliver(context.Context, []gateway.Delivery) []gateway.Outcome { return nil }

func (s *tap) Run(ctx context.Context, in gateway.Inbox) error {
	for ctx.Err() == nil {
		room := s.rooms[s.dice.upTo(len(s.rooms))]
		n := min(1+s.dice.upTo(5), s.each-s.next[room])
		var batch []gateway.Arrival
		for i := range n {
			text := strconv.Itoa(s.next[room] + i)
			batch = append(batch, gateway.Arrival{At: gateway.Address{Network: "a", ID: room}, Native: text, Read: func(context.Context) (*gateway.Event, error) {
				return &gateway.Event{Sender: gateway.Person{Network: "a", ID: "x", Name: "X"}, Body: message(text)}, nil
			}})
		}
		if err := in.Accept(ctx, batch); err == nil {
			s.next[room] += n
		}
		pause(ctx, 20*time.Millisecond)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// sink is a destination whose network recognises what it was told before, if it is asked to look.
type sink struct {
	t    *testing.T
	dice *dice
	bad  string // a room that takes nothing for a long time
	good chan struct{}

	mu   sync.Mutex
	in   gateway.Inbox
	said map[string][]string // by room
	keys map[string]bool
}

func (*sink) Caps(gateway.Address) gateway.Caps            { return gateway.Caps{RunLength: 7} }
func (*sink) SetRooms([]gateway.Room)                      {}
func (*sink) Forget(context.Context, gateway.Person) error { return nil }

func (s *sink) Run(ctx context.Context, in gateway.Inbox) error {
	s.mu.Lock()
	s.in = in
	s.mu.Unlock()
	<-ctx.Done()
	return nil
}

// echo is how the network sends back what it was told; it fails when the echo cannot be accepted.
func (s *sink) echo(ctx context.Context, d gateway.Delivery) error {
	s.mu.Lock()
	in := s.in
	s.mu.Unlock()
	return in.Accept(ctx, []gateway.Arrival{{At: d.Room, Native: d.Key, Read: func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Body: gateway.Echo{Key: d.Key, Ends: true}}, nil
	}}})
}

func (s *sink) Deliver(ctx context.Context, run []gateway.Delivery) (out []gateway.Outcome) {
	for _, d := range run {
		select {
		case <-s.good:
		default:
			if d.Room.ID == s.bad {
				return append(out, gateway.Failed(gateway.Later(5*time.Minute, errors.New("banned from the room"))))
			}
		}
		pause(ctx, time.Millisecond)
		if ctx.Err() != nil {
			return out
		}
		switch {
		case s.dice.hit(40):
			return append(out, gateway.Failed(gateway.Later(0, errors.New("rate limited"))))
		case s.dice.hit(60): // not said
			return append(out, gateway.Failed(errors.New("the room is muted")))
		case s.dice.hit(60): // said, and the answer lost
			s.say(d)
			return append(out, gateway.Failed(errors.New("no answer")))
		case s.dice.hit(60):
			s.say(d)
			panic("a bug")
		case s.dice.hit(60):
			return out
		}
		s.say(d)
		switch {
		case len(d.Known) > 0 || s.dice.hit(3):
			out = append(out, gateway.Sent(gateway.Part{Native: d.Key}))
		case s.echo(ctx, d) != nil:
			return append(out, gateway.Failed(errors.New("no echo")))
		case s.dice.hit(60):
			return append(out, gateway.Failed(errors.New("the echo was overlooked")))
		default:
			out = append(out, gateway.Outcome{Ended: true})
		}
	}
	return out
}

func (s *sink) say(d gateway.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[d.Key] {
		if d.Attempt == 0 {
			s.t.Errorf("%s is told %q again as if for the first time", d.Room, text(d))
		}
		return
	}
	s.keys[d.Key] = true
	s.said[d.Room.ID] = append(s.said[d.Room.ID], text(d))
}

// has reports whether every room but except heard everything.
func (s *sink) has(each int, rooms []string, except string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(rooms, func(room string) bool { return room != except && len(s.said[room]) < each })
}

// Databases fail, answers get lost, leases are taken away, the process dies between saying and recording: each room
// hears everything once and in order, and none waits for another one that takes nothing. Time is simulated.
func TestFaultsLoseAndRepeatNothing(t *testing.T) {
	for range 2 {
		seed := mrand.Uint64()
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			dir := quietDir(t)
			synctest.Test(t, func(t *testing.T) { testFaults(t, dir, seed) })
		})
	}
}

func testFaults(t *testing.T, dir string, seed uint64) {
	const each = 100
	rooms := []string{"one", "two", "three"}
	d := &dice{r: mrand.New(mrand.NewPCG(seed, 1))}
	source := &tap{rooms: rooms, each: each, dice: d, next: map[string]int{}}
	dest := &sink{t: t, dice: d, bad: "two", good: make(chan struct{}), said: map[string][]string{}, keys: map[string]bool{}}
	var bridges []gateway.Bridge
	for _, room := range rooms {
		bridges = append(bridges, gateway.Bridge{Name: room, Encryption: gateway.EncryptionOff, Rooms: map[string]gateway.BridgeRoom{"a": {ID: room}, "b": {ID: room}}})
	}
	run := func(until func() bool) {
		runFaulty(t, dir, d, bridges, source, dest, func(*store.Store) bool { return until() })
	}
	for range 4 {
		n := 3 + d.upTo(10)
		run(func() bool { n--; return n < 0 })
	}
	run(func() bool { return dest.has(each, rooms, dest.bad) })
	close(dest.good)
	run(func() bool { return dest.has(each, rooms, "") })
	for _, room := range rooms {
		if len(dest.said[room]) != each {
			t.Errorf("%s heard %d messages", room, len(dest.said[room]))
		}
		for i, text := range dest.said[room] {
			if text != strconv.Itoa(i) {
				t.Fatalf("%s: the %d. message is %q", room, i, text)
			}
		}
	}
}

// runFaulty runs a gateway between a and b over a journal that fails, until it is to die.
func runFaulty(t *testing.T, dir string, d *dice, bridges []gateway.Bridge, source, dest gateway.Side, until func(*store.Store) bool) {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(dir, "lb.db"), Key: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{Store: st, dice: d, lost: map[string]bool{}, losing: map[string]chan struct{}{}}
	log := slog.New(slog.DiscardHandler)
	g := gateway.New(gateway.Config{
		Journal: f, Leases: f, Bridges: bridges, Sides: map[string]gateway.Side{"a": source, "b": dest}, Status: gateway.NewStatus([]string{"a", "b"}, log),
		Log: log, Metrics: prometheus.NewRegistry(), Rand: rand.Reader, Now: time.Now,
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for n := 0; !until(st); n++ {
		pause(ctx, time.Second)
		switch {
		case n%9 == 3:
			f.lose([]string{"a", "b"}[d.upTo(2)])
		case n%30 == 10:
			f.set(func() { f.away = true })
			pause(ctx, 10*time.Second)
			f.set(func() { f.away = false })
		}
		if n > 3600 {
			t.Fatalf("nothing goes on: %+v", dest)
		}
	}
	f.set(func() { f.dead = true })
	cancel()
	wg.Wait()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}
