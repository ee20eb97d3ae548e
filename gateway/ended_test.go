package gateway_test

import (
	"context"
	"testing"

	"lockbridge/gateway"
)

// An echo that ends its delivery ends it with the commit that links it: nothing is left to record, nothing is said
// again, and what was said can be answered.
func TestAnEchoEndsItsDelivery(t *testing.T) {
	w := newWorld(t)
	w.a.caps.Reply = true
	w.start()
	w.b.cut = func(_ context.Context, run []gateway.Delivery) (out []gateway.Outcome) {
		for _, d := range run {
			w.accept(w.b, reads(w.b, "at b: "+text(d), func() (*gateway.Event, error) {
				return &gateway.Event{Body: gateway.Echo{Key: d.Key, Ends: true}}, nil
			}))
			w.b.got <- d
			out = append(out, gateway.Outcome{Ended: true})
		}
		return out
	}
	w.accept(w.a, arrival(w.a, "1", "one"), arrival(w.a, "2", "two"))
	w.wantNext(w.b, "one", "two")
	lane := gateway.Address{Network: "b", ID: "room"}
	w.eventually("the lane is empty", func() bool { return w.waiting(lane) == 0 })
	answer := message("an answer")
	answer.ReplyTo.Native = "at b: two"
	w.accept(w.b, said(w.b, "answer", answer))
	if got := w.next(w.a).Event.Body.(gateway.Message).ReplyTo; got.Native != "2" {
		t.Errorf("a is told of an answer to %+v", got)
	}
	w.eventually("they are counted", func() bool { return w.counted("lockbridge_deliveries_delivered_total", "b") == 2 })
	w.stop()
	w.start()
	w.accept(w.a, arrival(w.a, "3", "three"))
	w.wantNext(w.b, "three")
}

// A side takes an echo for recorded that was not. What it has said is not said again all the same.
func TestWhatASideCallsEndedIsNotSaidAgain(t *testing.T) {
	w := newWorld(t).start()
	w.b.answer(func(d gateway.Delivery) gateway.Outcome { return gateway.Outcome{Ended: true} })
	w.accept(w.a, arrival(w.a, "1", "one"))
	w.wantNext(w.b, "one")
	w.accept(w.a, arrival(w.a, "2", "two"))
	w.wantNext(w.b, "two")
	lane := gateway.Address{Network: "b", ID: "room"}
	w.accept(w.a, arrival(w.a, "3", "three"))
	w.wantNext(w.b, "three")
	w.eventually("only the last one waits", func() bool { return w.waiting(lane) <= 1 })
	if len(w.b.got) != 0 {
		t.Errorf("%q was said again", text(<-w.b.got))
	}
}
