package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lockbridge/gateway"
)

// Whatever fails, and however often the gateway is stopped, people see of each message its last words, said last, and
// nothing of what was taken back where the room can take it back.
func TestFaultsLeaveTheLastWords(t *testing.T) {
	for seed := uint64(8); seed < 20; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := quietDir(t)
			synctest.Test(t, func(t *testing.T) { testFaultyEdits(t, dir, seed) })
		})
	}
}

// faultyRoom is a room that shows what it is told, if it does not fail.
type faultyRoom struct {
	*mouth
	t     *testing.T
	rnd   *rand.Rand
	shown map[string]string // by native id
	last  map[string]string // words about a message, by its name
}

func newFaultyRoom(t *testing.T, m *mouth, caps gateway.Caps, seed uint64) *faultyRoom {
	r := &faultyRoom{m, t, rand.New(rand.NewPCG(seed, uint64(m.network[0]))), map[string]string{}, map[string]string{}}
	m.caps = caps
	m.caps.RunLength = 1 + r.rnd.IntN(6)
	m.answer(r.take)
	return r
}

func (r *faultyRoom) take(d gateway.Delivery) gateway.Outcome {
	_, isEdit := d.Event.Body.(gateway.Edit)
	switch n := r.rnd.IntN(8); {
	case n == 0:
		return gateway.Failed(gateway.Later(time.Duration(1+r.rnd.IntN(5))*time.Second, errors.New("later")))
	case n == 1:
		return gateway.Failed(errors.New("broken"))
	case n == 2 && isEdit:
		return gateway.Failed(gateway.Plainer(errors.New("plainer")))
	}
	native := "at " + r.network + ": " + d.Key
	switch b := d.Event.Body.(type) {
	case gateway.Message:
		r.shown[native] = r.says(b.Text.Plain)
	case gateway.Edit:
		if original := b.Target.Parts[0].Native; r.shown[original] != "" {
			r.shown[original] = r.says(b.Text.Plain)
		}
	case gateway.Retract:
		for _, p := range b.Target.Parts {
			delete(r.shown, p.Native)
		}
	}
	if d.Event.Body.Kind() == "message" && r.rnd.IntN(3) == 0 {
		r.echo(d, native)
		if r.rnd.IntN(2) == 0 {
			return gateway.Failed(errors.New("the answer is lost"))
		}
		return gateway.Outcome{Ended: true}
	}
	return gateway.Sent(gateway.Part{Native: native})
}

// says notes the last words about a message: its name stands in front of the comma.
func (r *faultyRoom) says(text string) string {
	words := strings.TrimPrefix(text, "(edited) ")
	name, _, _ := strings.Cut(words, ",")
	r.last[name] = words
	return words
}

func (r *faultyRoom) echo(d gateway.Delivery, native string) {
	in := <-r.in
	r.in <- in
	if err := in.Accept(r.t.Context(), []gateway.Arrival{{At: d.Room, Native: native, Read: func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Body: gateway.Echo{Key: d.Key, Ends: true}}, nil
	}}}); err != nil {
		r.t.Error(err)
	}
}

func testFaultyEdits(t *testing.T, dir string, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := makeWorld(t, dir)
	rooms := []*faultyRoom{
		newFaultyRoom(t, w.b, gateway.Caps{Edit: true, Retract: true}, seed),
		newFaultyRoom(t, w.c, gateway.Caps{Retract: true, Fold: time.Duration(rnd.IntN(2)) * 5 * time.Second, Hold: time.Duration(rnd.IntN(2)) * 2 * time.Second}, seed),
	}
	w.start()
	var words []string // of each message; "": it was taken back
	for step := range 100 {
		native, n := fmt.Sprint("act", step), len(words)-1-rnd.IntN(4)
		switch k := rnd.IntN(10); {
		case k < 5 || n < 0:
			n = len(words)
			words = append(words, fmt.Sprintf("m%d,%d.", n, step))
			w.accept(w.a, by(w.a, "alice", fmt.Sprint(n), message(words[n])))
		case words[n] == "":
		case k < 8:
			words[n] = fmt.Sprintf("m%d,%d.", n, step)
			w.accept(w.a, by(w.a, "alice", native, edit(fmt.Sprint(n), words[n])))
		default:
			words[n] = ""
			w.accept(w.a, by(w.a, "alice", native, retract(fmt.Sprint(n), false)))
		}
		if rnd.IntN(2) == 0 {
			pause(t.Context(), time.Duration(rnd.IntN(3000))*time.Millisecond)
		}
		if rnd.IntN(30) == 0 {
			w.stop()
			w.start()
		}
	}
	pause(t.Context(), 10*time.Minute)
	w.stop()
	for _, r := range rooms {
		r.check(words)
	}
}

func (r *faultyRoom) check(words []string) {
	shown := map[string]bool{}
	for _, text := range r.shown {
		shown[text] = true
		name, _, _ := strings.Cut(text, ",")
		var n int
		if _, err := fmt.Sscanf(name, "m%d", &n); err != nil || words[n] == "" {
			r.t.Errorf("%s still shows %q", r.network, text)
		}
	}
	for n, want := range words {
		if last := r.last[fmt.Sprint("m", n)]; want != "" && (!shown[want] || last != want) {
			r.t.Errorf("%s: the last words are %q, want %q; shown: %v", r.network, last, want, shown[want])
		}
	}
}
