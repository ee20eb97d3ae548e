package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
)

// wantTold is the next thing that m is told, a report.
func (w *world) wantTold(m *mouth, why string) {
	w.t.Helper()
	d := w.next(m)
	if r, ok := d.Event.Body.(gateway.Receipt); !ok || r.State != gateway.Undeliverable || !strings.Contains(r.Reason, why) {
		w.t.Errorf("%s was told %q, want %q", m.network, text(d), why)
	}
}

func TestNewRulesHoldAtOnce(t *testing.T) {
	w := newWorld(t).start()
	w.accept(w.a, arrival(w.a, "1", "to both"))
	w.wantNext(w.b, "to both")
	w.wantNext(w.c, "to both")
	smaller := w.rooms
	smaller.Rooms = map[string]gateway.BridgeRoom{"a": {ID: "room"}, "b": {ID: "elsewhere"}}
	w.g.SetBridges([]gateway.Bridge{smaller})
	if rooms := <-w.b.rooms; len(rooms) != 1 || rooms[0].ID != "elsewhere" {
		t.Errorf("b was told %+v", rooms)
	}
	if rooms := <-w.c.rooms; len(rooms) != 0 {
		t.Errorf("c was told %+v", rooms)
	}
	w.accept(w.c, arrival(w.c, "9", "from nowhere"))
	w.accept(w.a, arrival(w.a, "2", "to one"))
	d := w.next(w.b)
	if text(d) != "to one" || d.Room.ID != "elsewhere" || len(w.c.got) != 0 {
		t.Errorf("b got %q in %s; c got %d", text(d), d.Room.ID, len(w.c.got))
	}
	w.g.SetBridges([]gateway.Bridge{w.rooms})
	w.accept(w.c, arrival(w.c, "10", "from c again"))
	w.wantNext(w.a, "from c again")
}

func TestWhatWaitsForARoomThatIsBridgedNoMoreIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.b.answer(func(gateway.Delivery) gateway.Outcome {
		return gateway.Failed(gateway.Later(time.Hour, errors.New("banned from the room")))
	})
	w.start()
	var batch []gateway.Arrival
	for i := range 300 { // more than are given up in one transaction
		batch = append(batch, arrival(w.a, fmt.Sprint(i), "words"))
	}
	w.accept(w.a, batch...)
	for range batch {
		w.next(w.c)
	}
	w.g.SetBridges([]gateway.Bridge{w.second()})
	// Its sender is in a room that is bridged no more either: there is nobody left to tell.
	lane := gateway.Address{Network: "b", ID: "room"}
	w.eventually("the lane is empty", func() bool { return w.waiting(lane) == 0 })
	w.g.SetBridges([]gateway.Bridge{w.rooms})
	w.b.answer(nil)
	w.accept(w.a, arrival(w.a, "later", "later"))
	w.wantNext(w.b, "later")
}

func TestASenderIsToldOfARoomThatIsBridgedNoMore(t *testing.T) {
	w := newWorld(t)
	w.b.answer(func(gateway.Delivery) gateway.Outcome {
		return gateway.Failed(gateway.Later(time.Hour, errors.New("banned from the room")))
	})
	w.start()
	w.accept(w.a, arrival(w.a, "1", "words"))
	w.wantNext(w.c, "words")
	smaller := w.rooms
	smaller.Rooms = map[string]gateway.BridgeRoom{"a": {ID: "room"}, "c": {ID: "room"}}
	w.g.SetBridges([]gateway.Bridge{smaller})
	w.wantTold(w.a, "not bridged any more")
}

// Another process has read the new rules before this one: what it accepted waits a little for a room that is not known
// yet, and not for long.
func TestARoomThatIsNotKnownYetIsWaitedFor(t *testing.T) {
	dir := quietDir(t)
	synctest.Test(t, func(t *testing.T) {
		w := makeWorld(t, dir)
		w.patience = time.Hour
		w.start()
		added := gateway.Address{Network: "b", ID: "new"}
		queue := func(key string) {
			t.Helper()
			id, err := gateway.NewID(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			ev := &gateway.Event{ID: id, At: gateway.Address{Network: "a", ID: "room"}, Sender: person(w.a), Body: message(key)}
			if err := w.st.Do(t.Context(), "a", func(ctx context.Context) error {
				return w.st.Append(ctx, []gateway.Entry{{Event: ev, Deliveries: []gateway.Queue{{Key: key, Room: added}}}})
			}); err != nil {
				t.Fatal(err)
			}
		}
		queue("early")
		pause(t.Context(), 20*time.Second)
		larger := w.rooms
		larger.Rooms = map[string]gateway.BridgeRoom{"a": {ID: "room"}, "b": {ID: "new"}}
		w.g.SetBridges([]gateway.Bridge{larger})
		w.wantNext(w.b, "early")
		w.stop()
		var ahead atomic.Int64 // of the clock of the process that accepts
		w.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		w.start() // which does not know the room
		ahead.Store(int64(time.Second))
		queue("a second ahead")
		ahead.Store(0)
		began := time.Now()
		queue("lost")
		w.wantTold(w.a, "not bridged any more")
		if waited := time.Since(began); waited < time.Minute || waited > 80*time.Second {
			t.Errorf("it was given up after %v", waited)
		}
		w.stop()
	})
}

// Rules change while people speak: what was accepted reaches the rooms of the rules that it was accepted under, or is
// reported, and nothing hangs.
func TestRulesChangeUnderLoad(t *testing.T) {
	w := newWorld(t).start()
	smaller := w.rooms
	smaller.Rooms = map[string]gateway.BridgeRoom{"a": {ID: "room"}, "b": {ID: "room"}}
	const messages = 200
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range messages {
			w.accept(w.a, arrival(w.a, fmt.Sprint(i), fmt.Sprintf("%03d", i)))
		}
	})
	wg.Go(func() {
		for i := range 50 {
			w.g.SetBridges([]gateway.Bridge{w.rooms, smaller}[i%2:][:1])
		}
		w.g.SetBridges([]gateway.Bridge{w.rooms})
	})
	for i := range messages { // b is in both
		w.wantNext(w.b, fmt.Sprintf("%03d", i))
	}
	wg.Wait()
	w.accept(w.a, arrival(w.a, "last", "last"))
	for text(w.next(w.c)) != "last" {
	}
}

func TestAFullLaneGivesUpWhatIsNewest(t *testing.T) {
	w := newWorld(t)
	w.limit = 5
	closed := make(chan struct{})
	w.b.answer(func(gateway.Delivery) gateway.Outcome {
		<-closed
		return gateway.Failed(gateway.Later(time.Hour, errors.New("the room is closed")))
	})
	w.start()
	for i := range 9 {
		w.accept(w.a, arrival(w.a, fmt.Sprint(i), fmt.Sprint(i)))
		w.next(w.c)
	}
	close(closed)
	w.wantTold(w.a, "too much waits")
	lane := gateway.Address{Network: "b", ID: "room"}
	w.eventually("five are left", func() bool { return w.waiting(lane) == 5 })
	if n := w.counted("lockbridge_deliveries_failed_total", "b"); n != 4 {
		t.Errorf("%v were given up", n)
	}
	w.eventually("nine texts are there", func() bool { return w.texts() == 9 }) // the report's has gone as well
	w.b.answer(nil)
	w.stop()
	w.start()
	w.wantNext(w.b, "0", "1", "2", "3", "4")
	w.accept(w.a, arrival(w.a, "again", "again"))
	w.wantNext(w.b, "again")
	if len(w.a.got) != 0 {
		t.Error("a was told more than once")
	}
}

func TestTheSideForgetsWhomAnOperatorWantsForgotten(t *testing.T) {
	w := newWorld(t).start()
	if err := w.st.State("b").PutMany(t.Context(), map[string][]byte{"k": []byte("v")}); err != nil {
		t.Fatal(err)
	}
	b, err := store.OpenBeside(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(w.dir, "lb.db"), Key: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	who := gateway.Person{Network: "a", ID: "alice"}
	n, err := b.Forget(t.Context(), who)
	if err := errors.Join(err, b.Close()); err != nil || n.Networks != 1 {
		t.Fatalf("%+v, %v", n, err)
	}
	if got := <-w.b.forgets; got != who {
		t.Errorf("b forgets %+v", got)
	}
	w.eventually("it is noted", func() bool {
		people, err := w.st.Forgets(t.Context(), "b")
		return err == nil && len(people) == 0
	})
	if len(w.a.forgets) != 0 {
		t.Error("a, which keeps nothing, was asked")
	}
}

func TestACopyByAnotherBridgeGoesNowhere(t *testing.T) {
	w := newWorld(t).start()
	relay := func(native, words string, to string) gateway.Arrival {
		return reads(w.b, native, func() (*gateway.Event, error) {
			m := message(words)
			m.ReplyTo.Native = to
			return &gateway.Event{Sender: gateway.Person{Network: "b", ID: "relay", Name: "relay"}, Body: m}, nil
		})
	}
	w.accept(w.a, arrival(w.a, "1", "hello"))
	w.wantNext(w.b, "hello")
	w.accept(w.b, relay("2", "<Alice> hello", ""), relay("3", "<Zed> who is here?", ""))
	w.wantNext(w.c, "hello", "<Zed> who is here?")
	w.wantNext(w.a, "<Zed> who is here?")
	w.accept(w.b, arrival(w.b, "4", "I am")) // by another Alice, who is no copy
	w.wantNext(w.a, "I am")
	if n := w.counted("lockbridge_copies_total", "b"); n != 1 {
		t.Errorf("%v copies", n)
	}
}

// A bridge that copies edits what it copied, as soon as its original is edited: in words that nobody said here, even.
func TestAnEditOfACopyGoesNowhere(t *testing.T) {
	w := newWorld(t).start()
	by := func(name, native string, b gateway.Body) gateway.Arrival {
		return reads(w.b, native, func() (*gateway.Event, error) {
			return &gateway.Event{Sender: gateway.Person{Network: "b", ID: name, Name: name}, Body: b}, nil
		})
	}
	edit := func(of, words string) gateway.Body {
		return gateway.Edit{Target: gateway.Ref{Native: of}, Text: gateway.Text{Plain: words}}
	}
	w.accept(w.a, arrival(w.a, "1", "helo"))
	w.wantNext(w.b, "helo")
	w.accept(w.b, by("relay", "2", message("<Alice> helo")), by("relay", "3", edit("2", "<Alice> something new")))
	w.accept(w.b, by("relay", "4", edit("2", "<Alice> and again")), by("Bob", "5", message("wel")))
	w.accept(w.b, by("Bob", "6", edit("5", "well")))
	w.wantNext(w.a, "wel", "(edited) well")
	if n := w.counted("lockbridge_copies_total", "b"); n != 3 {
		t.Errorf("%v copies", n)
	}
}

// The clock is set back by an hour while a delivery waits.
func TestAClockThatIsSetBackHoldsUpNoLane(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var back time.Duration
	w.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(-back)
	}
	w.start()
	tried := make(chan struct{}, 100)
	w.b.answer(func(gateway.Delivery) gateway.Outcome {
		tried <- struct{}{}
		return gateway.Failed(gateway.Later(3*time.Second, errors.New("away")))
	})
	w.accept(w.a, arrival(w.a, "1", "one"))
	<-tried
	mu.Lock()
	back = time.Hour
	mu.Unlock()
	w.b.answer(nil)
	w.wantNext(w.b, "one")
}

// What is given up in a lane that stays full is kept up to its limit as well, so that nothing grows for ever.
func TestAFullLaneKeepsNoMoreTextsThanItsLimit(t *testing.T) {
	w := newWorld(t)
	w.limit = 3
	more := make(chan struct{})
	w.b.answer(func(gateway.Delivery) gateway.Outcome {
		<-more
		return gateway.Failed(gateway.Later(0, errors.New("the room is closed")))
	})
	w.start()
	for i := range 12 {
		w.accept(w.a, arrival(w.a, fmt.Sprint(i), fmt.Sprint(i)))
		w.next(w.c)
	}
	close(more)
	w.eventually("what is too much is given up", func() bool { return w.counted("lockbridge_deliveries_failed_total", "b") == 9 })
	w.eventually("the report is told", func() bool { return len(w.a.got) == 1 && w.texts() == 6 })
}

// texts is how many events still have theirs.
func (w *world) texts() (n int) {
	w.t.Helper()
	if err := w.st.DB().QueryRow(w.t.Context(), "SELECT count(*) FROM event WHERE data IS NOT NULL").Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// waiting is how much waits in a lane.
func (w *world) waiting(lane gateway.Address) int {
	w.t.Helper()
	rows, err := w.st.Head(w.t.Context(), lane, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(rows)
}

// eventually asks again with every tick until something holds.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline:
			w.t.Fatalf("it does not come about: %s", what)
		}
	}
}
