package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lockbridge/gateway"
)

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

// unheard is a journal whose commits for one network succeed without a word, some times.
type unheard struct {
	gateway.Journal
	network string
	times   atomic.Int32
}

func (u *unheard) Do(ctx context.Context, network string, fn func(context.Context) error) error {
	err := u.Journal.Do(ctx, network, fn)
	if err == nil && network == u.network && u.times.Add(-1) >= 0 {
		return fmt.Errorf("%w: the answer to COMMIT got lost", gateway.ErrStore)
	}
	return err
}

func TestAReportThatWasWrittenUnheardIsToldOnce(t *testing.T) {
	w := newWorld(t)
	u := &unheard{network: "b"}
	w.wrap = func(j gateway.Journal) gateway.Journal { u.Journal = j; return u }
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		u.times.Store(2)
		return gateway.Failed(gateway.Dropf("too long for this room"))
	})
	w.start()
	w.accept(w.a, arrival(w.a, "1", "bad"))
	if _, told := w.next(w.a).Event.Body.(gateway.Receipt); !told {
		t.Error("told something else")
	}
	w.eventually("the report is recorded three times over", func() bool { return u.times.Load() < 0 })
	w.accept(w.c, arrival(w.c, "2", "next"))
	w.wantNext(w.a, "next")
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
	w.eventually("what it is called in b is recorded", func() bool { return w.waiting(asked.Room) == 0 })
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
	w.wantNext(w.c, "Alice: answer")

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
