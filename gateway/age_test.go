package gateway_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lockbridge/gateway"
)

// The gateway was down for longer than a delivery is tried. Its networks need a moment to come up, and nothing is given
// up for that; what still fails after a while is.
func TestWhatIsOldAtTheStartGetsASecondChance(t *testing.T) {
	dir := quietDir(t)
	synctest.Test(t, func(t *testing.T) {
		w := makeWorld(t, dir)
		w.patience = 25 * time.Hour
		var tries []time.Time
		w.b.answer(func(gateway.Delivery) gateway.Outcome {
			tries = append(tries, time.Now())
			return gateway.Failed(gateway.Later(time.Second, errors.New("not connected yet")))
		})
		w.start()
		w.accept(w.a, arrival(w.a, "1", "one"))
		w.stop()
		pause(t.Context(), 48*time.Hour)
		tries = nil
		started := time.Now()
		w.start()
		w.wantTold(w.a, "could not be delivered for 24h")
		if waited := time.Since(started); waited < 5*time.Minute || waited > 6*time.Minute {
			t.Errorf("it was given up after %v", waited)
		}
		w.stop()
	})
}

// A failing delivery is tried again with growing pauses, and at last given up.
func TestPausesGrow(t *testing.T) {
	dir := quietDir(t)
	synctest.Test(t, func(t *testing.T) {
		w := makeWorld(t, dir)
		w.patience, w.age = 3*time.Hour, 2*time.Hour
		var tries []time.Time
		w.b.answer(func(d gateway.Delivery) gateway.Outcome {
			if text(d) != "bad" {
				return gateway.Sent()
			}
			tries = append(tries, time.Now())
			return gateway.Failed(errors.New("muted"))
		})
		w.start()
		began := time.Now()
		w.accept(w.a, arrival(w.a, "1", "bad"), arrival(w.a, "2", "good"))
		w.wantNext(w.b, "good")
		if took := time.Since(began); took < 2*time.Hour || took > 2*time.Hour+time.Minute {
			t.Errorf("it was given up after %v", took)
		}
		w.wantTold(w.a, "could not be delivered for 2h")
		var pauses []time.Duration
		for i, at := range tries[1:] {
			pauses = append(pauses, at.Sub(tries[i]))
		}
		if pauses[0] < time.Second || pauses[0] > 3*time.Second || !slices.IsSorted(pauses[:5]) || slices.Max(pauses) > 72*time.Second+100*time.Millisecond || len(tries) < 90 {
			t.Errorf("%d tries; pauses %v … %v", len(tries), pauses[:8], slices.Max(pauses))
		}
		w.stop()
	})
}

// A lane that waits because it failed is not tried sooner because its end is held back, and more comes behind that.
func TestWhatFailedWaitsWhateverIsHeldBehindIt(t *testing.T) {
	dir := quietDir(t)
	synctest.Test(t, func(t *testing.T) {
		w := makeWorld(t, dir)
		w.patience = 2 * time.Hour
		w.c.caps = gateway.Caps{Notes: true, Fold: time.Minute}
		failing := true
		var tries []time.Time
		w.c.answer(func(d gateway.Delivery) gateway.Outcome {
			if text(d) == "new" {
				if tries = append(tries, time.Now()); failing {
					failing = false
					return gateway.Failed(gateway.Later(time.Hour, errors.New("not yet")))
				}
			}
			return gateway.Sent(gateway.Part{Native: "at c: " + d.Key})
		})
		w.start()
		w.accept(w.a, by(w.a, "alice", "1", message("old")))
		w.wantNext(w.c, "old")
		w.accept(w.a, by(w.a, "bob", "2", message("new")), by(w.a, "alice", "3", edit("1", "older")))
		for _, native := range []string{"4", "5", "6"} {
			pause(t.Context(), time.Second)
			w.accept(w.a, by(w.a, "alice", native, edit("1", "older still")))
		}
		w.wantNext(w.c, "new", "(edited) older still")
		if len(tries) != 2 || tries[1].Sub(tries[0]) < time.Hour {
			t.Errorf("tried at %v", tries)
		}
		w.stop()
	})
}
