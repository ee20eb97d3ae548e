package gateway_test

import (
	"errors"
	"testing"

	"lockbridge/gateway"
)

// TestASecondTryKnowsWhatArrived: an echo that was recorded before the outcome was lost is told to the next try.
func TestASecondTryKnowsWhatArrived(t *testing.T) {
	w := newWorld(t).start()
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		if len(d.Known) > 0 {
			return gateway.Sent()
		}
		w.accept(w.b, reads(w.b, "native-1", func() (*gateway.Event, error) {
			return &gateway.Event{Body: gateway.Echo{Key: d.Key, Part: "2"}}, nil
		}))
		return gateway.Failed(errors.New("the answer was lost"))
	})
	w.accept(w.a, arrival(w.a, "1", "one"))
	d := w.next(w.b)
	if d.Attempt == 0 || len(d.Known) != 1 || d.Known[0].Native != "native-1" || d.Known[0].Name != "2" {
		t.Errorf("attempt %d knows %+v", d.Attempt, d.Known)
	}
}
