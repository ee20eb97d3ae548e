package gateway_test

import (
	"errors"
	"testing"
	"time"

	"lockbridge/gateway"
)

// What a side put off is tried at once when it says that it is ready, even if it says so while it still answers.
func TestANetworkThatIsReadyEndsThePausesOfItsLanes(t *testing.T) {
	for name, early := range map[string]bool{"while it answers": true, "afterwards": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).start()
			tried := make(chan struct{}, 10)
			w.b.answer(func(gateway.Delivery) gateway.Outcome {
				if len(tried) == 0 {
					tried <- struct{}{}
					if early {
						w.b.answer(nil)
						w.status.For("b")(nil)
					}
					return gateway.Failed(gateway.Later(time.Hour, errors.New("not in the room yet")))
				}
				return gateway.Sent()
			})
			w.accept(w.a, arrival(w.a, "1", "one"))
			if !early {
				w.wantNext(w.c, "one")
				lane := gateway.Address{Network: "b", ID: "room"}
				w.eventually("it is put off", func() bool {
					rows, err := w.st.Head(t.Context(), lane, 1)
					return err == nil && len(rows) == 1 && rows[0].Due.After(time.Now())
				})
				w.status.For("b")(nil)
			}
			if d := w.next(w.b); text(d) != "one" || d.Attempt > 1 { // 1: it was there before the lanes were taken over
				t.Errorf("%q, attempt %d", text(d), d.Attempt)
			}
		})
	}
}
