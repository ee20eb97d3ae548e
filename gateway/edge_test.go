package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// said is a message of m with a body of its own.
func said(m *mouth, native string, body gateway.Body) gateway.Arrival {
	return reads(m, native, func() (*gateway.Event, error) { return &gateway.Event{Sender: person(m), Body: body}, nil })
}

func message(s string) gateway.Message { return gateway.Message{Text: gateway.Text{Plain: s}} }

func TestWhatWasRefusedIsNotQuotedEither(t *testing.T) {
	w := newWorld(t)
	w.rooms.Encryption, w.rooms.Clear = gateway.EncryptionRequired, []string{"b", "c"}
	w.start()
	answer := message("what do you mean?")
	answer.ReplyTo.Native = "1"
	sealed := reads(w.a, "2", func() (*gateway.Event, error) {
		return &gateway.Event{Sender: person(w.a), Sealed: gateway.Sealing{Protection: gateway.OMEMO}, Body: answer}, nil
	})
	w.accept(w.a, arrival(w.a, "1", "a plain secret"), sealed)
	if got := text(w.next(w.b)); strings.Contains(got, "secret") || !strings.Contains(got, "what do you mean?") {
		t.Errorf("b heard %q", got)
	}
}

func TestAReferenceToAnEditFindsTheOriginal(t *testing.T) {
	for name, split := range map[string]bool{"in one batch": false, "in batches": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.b.caps = gateway.Caps{Edit: true, Reply: true}
			w.start()
			answer := message("I see")
			answer.ReplyTo.Native = "edit 2"
			batch := []gateway.Arrival{
				arrival(w.a, "orig", "helo"),
				said(w.a, "edit 1", gateway.Edit{Target: gateway.Ref{Native: "orig"}, Text: gateway.Text{Plain: "hallo"}}),
				said(w.a, "edit 2", gateway.Edit{Target: gateway.Ref{Native: "edit 1"}, Text: gateway.Text{Plain: "hello"}}),
				said(w.a, "answer", answer),
			}
			if split {
				for _, a := range batch {
					w.accept(w.a, a)
				}
			} else {
				w.accept(w.a, batch...)
			}
			want := "at b: " + w.next(w.b).Key
			for range 2 {
				e, ok := w.next(w.b).Event.Body.(gateway.Edit)
				if !ok || e.Target.Native != want {
					t.Errorf("got %+v", e)
				}
			}
			if m := w.next(w.b).Event.Body.(gateway.Message); m.ReplyTo.Native != want {
				t.Errorf("answers %+v", m.ReplyTo)
			}
		})
	}
}

// Clients use the id attribute again; it means the newest message before the reference.
func TestAReferenceMeansWhatCameBeforeIt(t *testing.T) {
	w := newWorld(t)
	w.b.caps.Reply = true
	w.start()
	again := func(native, s string, ref string) gateway.Arrival {
		m := message(s)
		m.ReplyTo.Native = ref
		a := said(w.a, native, m)
		a.Also = []string{"id"}
		return a
	}
	w.accept(w.a, again("1", "one", ""), again("2", "two", "id"), again("3", "three", "id"))
	one, two := w.next(w.b), w.next(w.b)
	if got := two.Event.Body.(gateway.Message).ReplyTo.Native; got != "at b: "+one.Key {
		t.Errorf("two answers %q", got)
	}
	if got := w.next(w.b).Event.Body.(gateway.Message).ReplyTo.Native; got != "at b: "+two.Key {
		t.Errorf("three answers %q", got)
	}
}

func TestAnEditOfSomebodyElsesWordsIsAMessage(t *testing.T) {
	w := newWorld(t)
	w.b.caps.Edit = true
	w.start()
	forged := reads(w.a, "2", func() (*gateway.Event, error) {
		mallory := gateway.Person{Network: "a", ID: "mallory", Name: "Mallory"}
		return &gateway.Event{Sender: mallory, Body: gateway.Edit{Target: gateway.Ref{Native: "1"}, Text: gateway.Text{Plain: "I owe you"}}}, nil
	})
	w.accept(w.a, arrival(w.a, "1", "you owe me"))
	w.accept(w.a, forged)
	w.wantNext(w.b, "you owe me", "(edited) I owe you")
}

func TestWhatTheJournalCannotWriteFailsNothingElse(t *testing.T) {
	w := newWorld(t).start()
	late := reads(w.a, "2", func() (*gateway.Event, error) {
		return &gateway.Event{Sender: person(w.a), Time: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), Body: message("from the future")}, nil
	})
	far := arrival(w.a, "3", "far away")
	far.At.ID = strings.Repeat("x", 4000)
	nowhere := arrival(w.a, "4", "nowhere")
	nowhere.At.ID = ""
	w.accept(w.a, arrival(w.a, "1", "one"), late, far, nowhere, arrival(w.a, "5", "five"))
	w.wantNext(w.b, "one", "from the future", "five")
}

// An id of one network means nothing on another: what is not resolved stays behind.
func TestForeignIdsDoNotCross(t *testing.T) {
	w := newWorld(t)
	w.b.caps = gateway.Caps{Reply: true}
	w.start()
	m := message("lost thread")
	m.Thread.Native = "unknown at a"
	w.accept(w.a, said(w.a, "1", m), said(w.a, "2", gateway.Edit{Target: gateway.Ref{Native: "unknown, too"}, Text: gateway.Text{Plain: "lost edit"}}))
	if got := w.next(w.b).Event.Body.(gateway.Message); !got.Thread.IsZero() {
		t.Errorf("b got thread %+v", got.Thread)
	}
	w.wantNext(w.b, "(edited) lost edit")
}

// The side is cut short in the middle of a run; what it had said by then is not said again.
func TestWhatWasSaidBeforeTheDeadlineIsRecorded(t *testing.T) {
	w := newWorld(t).start()
	inside := make(chan struct{})
	w.b.cut = func(ctx context.Context, run []gateway.Delivery) []gateway.Outcome {
		close(inside)
		<-ctx.Done()
		return []gateway.Outcome{gateway.Sent(), gateway.Failed(ctx.Err())}
	}
	w.accept(w.a, arrival(w.a, "1", "said"), arrival(w.a, "2", "unsaid"), arrival(w.a, "3", "later"))
	<-inside
	w.stop()
	w.b.cut = nil
	w.start()
	w.wantNext(w.b, "unsaid", "later")
}

func TestADeliveryThatPanicsHoldsUpItsLaneOnly(t *testing.T) {
	w := newWorld(t)
	w.age = time.Millisecond
	w.start()
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		if text(d) == "poison" {
			panic("cannot say " + text(d))
		}
		return gateway.Sent()
	})
	w.accept(w.a, arrival(w.a, "1", "before"), arrival(w.a, "2", "poison"), arrival(w.a, "3", "after"))
	w.wantNext(w.c, "before", "poison", "after")
	heard := []string{text(w.next(w.b))}
	for heard[len(heard)-1] != "after" {
		heard = append(heard, text(w.next(w.b)))
	}
	if got := slices.Compact(heard); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("b heard %q", heard)
	}
	told := text(w.next(w.a))
	if !strings.Contains(told, "not delivered") || strings.Contains(told, "poison") {
		t.Errorf("told %s", told)
	}
	if w.log.contains("poison") {
		t.Error("the log quotes the message")
	}
}

func TestAPanicWhileReadingIsNotQuotedInTheLog(t *testing.T) {
	w := newWorld(t).start()
	w.accept(w.a, reads(w.a, "1", func() (*gateway.Event, error) { panic("cannot parse: a plain secret") }), arrival(w.a, "2", "fine"))
	w.wantNext(w.b, "A message from somebody could not be read.", "fine")
	if w.log.contains("secret") {
		t.Error("the log quotes the message")
	}
}

func TestNoPauseOutlastsTheAgeLimit(t *testing.T) {
	w := newWorld(t)
	w.age = 50 * time.Millisecond
	w.start()
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		if text(d) == "held" {
			return gateway.Failed(gateway.Later(1000*time.Hour, errors.New("the room is closed")))
		}
		return gateway.Sent()
	})
	w.accept(w.a, arrival(w.a, "1", "held"))
	if got := text(w.next(w.a)); !strings.Contains(got, "could not be delivered") {
		t.Errorf("told %s", got)
	}
}

// The clock that accepted a message was ahead: another machine's, or ours before it was set.
func TestAClockThatGoesBackHoldsUpNothing(t *testing.T) {
	w := newWorld(t)
	w.now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	tried := make(chan struct{}, 10)
	w.b.answer(func(gateway.Delivery) gateway.Outcome {
		tried <- struct{}{}
		return gateway.Failed(errors.New("away"))
	})
	w.start()
	w.accept(w.a, arrival(w.a, "1", "one"))
	w.wantNext(w.c, "one")
	<-tried
	w.stop()
	w.now = time.Now
	w.b.answer(nil)
	w.start()
	d := w.next(w.b)
	if text(d) != "one" || d.Attempt == 0 {
		t.Errorf("%q, attempt %d", text(d), d.Attempt)
	}
	w.accept(w.a, arrival(w.a, "2", "two"))
	if d := w.next(w.b); d.Attempt != 0 {
		t.Errorf("%q, attempt %d", text(d), d.Attempt)
	}
}

func TestASideThatEndsByItselfDoesNotSpin(t *testing.T) {
	w := newWorld(t)
	ran := make(chan struct{}, 1000)
	w.b.run = func() error { ran <- struct{}{}; return nil }
	w.start()
	<-ran
	for i := range 50 {
		w.accept(w.a, arrival(w.a, fmt.Sprint(i), "on and on"))
		w.next(w.c)
	}
	if len(ran) > 0 {
		t.Errorf("it ran %d times more", len(ran))
	}
}
