package gateway_test

import (
	"context"
	"errors"
	"maps"
	mrand "math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
)

// reactors are a source in whose rooms people react to one message, again and again.
type reactors struct {
	tap
	ops map[string][]gateway.Event // by room, in order
	all atomic.Int64               // how many were accepted
}

func (s *reactors) Run(ctx context.Context, in gateway.Inbox) error {
	for ctx.Err() == nil {
		room := s.rooms[s.dice.upTo(len(s.rooms))]
		n := min(1+s.dice.upTo(5), s.each-s.next[room])
		var batch []gateway.Arrival
		for i := range n {
			ev := s.ops[room][s.next[room]+i]
			batch = append(batch, gateway.Arrival{At: gateway.Address{Network: "a", ID: room}, Native: ev.Native, Read: func(context.Context) (*gateway.Event, error) {
				one := ev
				return &one, nil
			}})
		}
		if err := in.Accept(ctx, batch); err == nil {
			s.next[room] += n
			s.all.Add(int64(n))
		}
		pause(ctx, 50*time.Millisecond)
	}
	return nil
}

// board is a destination where each reaction is a native message. After a try that may have arrived it looks what is there.
type board struct {
	dice *dice

	mu   sync.Mutex
	next int
	on   map[string]map[string]string // by room and person: native ids by "person emoji"
}

func (*board) Caps(gateway.Address) gateway.Caps {
	return gateway.Caps{Reaction: true, RunLength: 7}
}
func (*board) SetRooms([]gateway.Room)                        {}
func (*board) Forget(context.Context, gateway.Person) error   { return nil }
func (*board) Run(ctx context.Context, _ gateway.Inbox) error { <-ctx.Done(); return nil }

func (s *board) Deliver(ctx context.Context, run []gateway.Delivery) (out []gateway.Outcome) {
	for _, d := range run {
		pause(ctx, time.Millisecond)
		if ctx.Err() != nil || s.dice.hit(60) {
			return out
		}
		if s.dice.hit(30) {
			return append(out, gateway.Failed(errors.New("the room is muted")))
		}
		o := gateway.Sent(gateway.Part{Native: d.Key})
		if r, ok := d.Event.Body.(gateway.Reaction); ok {
			o = s.show(d, r)
		}
		if s.dice.hit(30) { // the answer is lost
			return append(out, gateway.Failed(errors.New("no answer")))
		}
		out = append(out, o)
	}
	return out
}

func (s *board) show(d gateway.Delivery, r gateway.Reaction) (o gateway.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on[d.Room.ID] == nil {
		s.on[d.Room.ID] = map[string]string{}
	}
	there, who := s.on[d.Room.ID], d.Event.Sender.ID+" "
	have := map[string]string{}
	for _, p := range r.Have {
		have[p.Name] = p.Native
	}
	if d.Attempt > 0 { // what is there counts, whatever is known of it
		for e, native := range have {
			if there[who+e] != native {
				delete(have, e)
				o.Gone = append(o.Gone, gateway.Part{Name: e, Native: native})
			}
		}
		for _, e := range []string{"👍", "❤", "🌹"} {
			if native, ok := there[who+e]; ok && have[e] == "" {
				have[e] = native
				o.Parts = append(o.Parts, gateway.Part{Name: e, Native: native})
			}
		}
	}
	for _, e := range r.Emoji {
		if _, ok := have[e]; !ok {
			s.next++
			there[who+e] = strconv.Itoa(s.next)
			o.Parts = append(o.Parts, gateway.Part{Name: e, Native: there[who+e]})
		}
	}
	for e, native := range have {
		if !slices.Contains(r.Emoji, e) {
			delete(there, who+e)
			o.Gone = append(o.Gone, gateway.Part{Name: e, Native: native})
		}
	}
	return o
}

// TestFaultsLeaveReactionsRight: whatever fails meanwhile, in the end each room shows what people think.
func TestFaultsLeaveReactionsRight(t *testing.T) {
	for range 2 {
		seed := mrand.Uint64()
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			dir := quietDir(t)
			synctest.Test(t, func(t *testing.T) { testFaultySets(t, dir, seed) })
		})
	}
}

func testFaultySets(t *testing.T, dir string, seed uint64) {
	const each = 100
	rooms := []string{"one", "two"}
	d := &dice{r: mrand.New(mrand.NewPCG(seed, 2))}
	source := &reactors{tap: tap{rooms: rooms, each: each, dice: d, next: map[string]int{}}, ops: map[string][]gateway.Event{}}
	model := map[string]map[string]bool{}
	var bridges []gateway.Bridge
	for _, room := range rooms {
		bridges = append(bridges, gateway.Bridge{Name: room, Encryption: gateway.EncryptionOff, Rooms: map[string]gateway.BridgeRoom{"a": {ID: room}, "b": {ID: room}}})
		model[room] = map[string]bool{}
		for i := range each {
			who := gateway.Person{Network: "a", ID: []string{"romeo", "paris"}[d.upTo(2)]}
			emoji := []string{"👍", "❤", "🌹"}[d.upTo(3)]
			ev := gateway.Event{Native: strconv.Itoa(i), Sender: who, Body: message("words")}
			key := who.ID + " " + emoji
			switch {
			case i == 0:
			case d.upTo(2) == 0:
				ev.Body, model[room][key] = reaction(gateway.ReactionAdd, "0", emoji), true
			default:
				ev.Body = reaction(gateway.ReactionRemove, "0", emoji)
				delete(model[room], key)
			}
			source.ops[room] = append(source.ops[room], ev)
		}
	}
	dest := &board{dice: d, on: map[string]map[string]string{}}
	for range 4 {
		n := 1 + d.upTo(5)
		runFaulty(t, dir, d, bridges, source, dest, func(*store.Store) bool { n--; return n < 0 })
	}
	runFaulty(t, dir, d, bridges, source, dest, func(st *store.Store) bool {
		for _, room := range rooms {
			rows, err := st.Head(t.Context(), gateway.Address{Network: "b", ID: room}, 1)
			if source.all.Load() < int64(each*len(rooms)) || err != nil || len(rows) > 0 {
				return false
			}
		}
		return true
	})
	for _, room := range rooms {
		got, want := slices.Sorted(maps.Keys(dest.on[room])), slices.Sorted(maps.Keys(model[room]))
		if !slices.Equal(got, want) {
			t.Errorf("%s shows %v, want %v", room, got, want)
		}
	}
}
