package omemo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// talk is a random conversation of two devices over a network that reorders,
// repeats, alters and loses, with processes that fail before they commit. What
// is delivered arrives once.
type talk struct {
	t      *rapid.T
	ends   [2]*end
	flight []*flying
	count  int
}

type end struct {
	*party
	phase     int  // own chains so far, at most
	heard     bool // opened something since it last sealed
	exchanges int
	used      map[uint32]bool // prekeys of this end that the other has used
}

// flying is a message on its way.
type flying struct {
	from    int
	phase   int
	text    string // "" for an empty message
	msg     *Message
	arrived bool
}

// fresh is the end's bundle without what the other end has used already: two
// sessions on one prekey are a fault of the caller, not of the protocol.
func (e *end) fresh(t *rapid.T) *Bundle {
	b, err := e.manager.Bundle(context.Background(), e.version, e.jid)
	if err != nil {
		t.Fatal(err)
	}
	for id := range e.used {
		b = b.Without(id)
	}
	return b
}

func (k *talk) seal(from int, empty, anew bool) {
	e, far := k.ends[from], k.ends[1-from]
	if e.heard {
		e.phase, e.heard = e.phase+1, false
	}
	k.count++
	f := &flying{from: from, phase: e.phase}
	ctx := context.Background()
	bundle := far.fresh(k.t)
	missing, err := e.manager.Missing(ctx, e.version, e.jid, []Address{far.address()})
	if err != nil {
		k.t.Fatal(err)
	}
	begins := anew || len(missing) > 0
	switch {
	case anew:
		f.msg, err = e.manager.SealEmpty(ctx, e.version, e.jid, far.address(), bundle)
	case empty && len(missing) == 0:
		f.msg, err = e.manager.SealEmpty(ctx, e.version, e.jid, far.address(), nil)
	default:
		f.text = fmt.Sprintf("message %d", k.count)
		f.msg, _, err = e.manager.Seal(ctx, e.version, e.jid, []Address{far.address()}, map[Address]*Bundle{far.address(): bundle}, []byte(f.text))
	}
	if err != nil {
		k.t.Fatal(err)
	}
	if begins {
		x, err := wireOf(e.version).parseExchange(f.msg.Keys[0].Data)
		if err != nil {
			k.t.Fatal(err)
		}
		far.used[x.preKey] = true
		e.exchanges++
	}
	k.flight = append(k.flight, f)
}

// deliver opens a message at the other end. A message that is too late for the
// chains kept may be lost; else it must open, or be a duplicate.
func (k *talk) deliver(f *flying) {
	e := k.ends[1-f.from]
	before := e.store.snapshot()
	opened, err := e.open(k.ends[f.from].party, f.msg)
	late := k.ends[f.from].phase-f.phase >= maxChains
	switch {
	case f.arrived && !late && !errors.Is(err, ErrDuplicate), f.arrived && err == nil:
		k.t.Fatalf("%q again: %v", f.text, err)
	case !f.arrived && !late && err != nil:
		k.t.Fatalf("%q is lost: %v", f.text, err)
	case err != nil:
		if !maps.Equal(before, e.store.snapshot()) {
			k.t.Fatalf("%q failed and changed the state", f.text)
		}
		return
	}
	if string(opened.Plain) != f.text || opened.Sender != k.ends[f.from].address() {
		k.t.Fatalf("%q came as %q from %v", f.text, opened.Plain, opened.Sender)
	}
	e.heard, f.arrived = true, true
}

// tamper delivers an altered message, which must change nothing.
func (k *talk) tamper(f *flying, bit int) {
	e := k.ends[1-f.from]
	before := e.store.snapshot()
	bad := *f.msg
	key := bad.Keys[0]
	key.Data = append([]byte(nil), key.Data...)
	key.Data[bit/8%len(key.Data)] ^= 1 << (bit % 8)
	bad.Keys = []Key{key}
	if _, err := e.open(k.ends[f.from].party, &bad); err == nil {
		// Only bytes that authenticate nothing may change: the version's low
		// nibble of a key exchange and its registration id.
		if !key.PreKey {
			k.t.Fatalf("bit %d of %q altered, and it opens", bit, f.text)
		}
		f.arrived = true
		e.heard = true
	} else if !maps.Equal(before, e.store.snapshot()) {
		k.t.Fatal("an altered message changed the state")
	}
}

func TestProperty(t *testing.T) {
	eachVersion(t, func(t *testing.T, v Version) { testProperty(t, v) })
	t.Run("both", func(t *testing.T) { testProperty(t, Legacy, Two) })
}

// testProperty holds a conversation in each of the versions, between the same
// devices.
func testProperty(t *testing.T, in ...Version) {
	// Making prekeys takes most of the time, so it is done once.
	alice, bob := newParty(t, in[0], "alice@example.org"), newParty(t, in[0], "bob@example.org")
	for _, v := range in {
		alice.version, bob.version = v, v
		alice.bundle(t)
		bob.bundle(t)
	}
	rapid.Check(t, func(t *rapid.T) {
		var stores [2]*mapStore
		for i, p := range []*party{alice, bob} {
			stores[i] = newMapStore()
			stores[i].restore(p.store.values)
		}
		var talks []*talk
		actions := make(map[string]func(*rapid.T))
		for _, v := range in {
			k := &talk{t: t}
			for i, p := range []party{*alice, *bob} {
				p.version, p.store, p.manager = v, stores[i], NewManager(stores[i], Options{})
				k.ends[i] = &end{party: &p, used: make(map[uint32]bool)}
			}
			talks = append(talks, k)
			for name, act := range k.actions() {
				actions[name+", "+v.String()] = func(t *rapid.T) { k.t = t; act(t) }
			}
		}
		actions[""] = func(*rapid.T) {}
		t.Repeat(actions)
		for _, k := range talks {
			k.t = t
			k.end()
		}
	})
}

// pick calls f with one of the messages sent so far.
func (k *talk) pick(f func(*flying)) {
	if len(k.flight) > 0 {
		f(k.flight[rapid.IntRange(0, len(k.flight)-1).Draw(k.t, "message")])
	}
}

// actions are what may happen in a conversation.
func (k *talk) actions() map[string]func(*rapid.T) {
	who := rapid.IntRange(0, 1)
	return map[string]func(*rapid.T){
		"seal":       func(t *rapid.T) { k.seal(who.Draw(t, "who"), false, false) },
		"seal empty": func(t *rapid.T) { k.seal(who.Draw(t, "who"), true, false) },
		"begin anew": func(t *rapid.T) {
			from := who.Draw(t, "who")
			if k.ends[0].exchanges+k.ends[1].exchanges < maxSessions-2 { // each end may begin once without being told
				k.seal(from, true, true)
			}
		},
		"deliver": func(*rapid.T) { k.pick(k.deliver) },
		"tamper": func(t *rapid.T) {
			k.pick(func(f *flying) { k.tamper(f, rapid.IntRange(0, 8*200).Draw(t, "bit")) })
		},
		"fail before commit": func(t *rapid.T) { k.fail(who.Draw(t, "who"), rapid.Bool().Draw(t, "sealing")) },
	}
}

// fail has a process fail before it commits.
func (k *talk) fail(who int, sealing bool) {
	e := k.ends[who]
	saved, flight, heard, phase := maps.Clone(e.store.values), len(k.flight), e.heard, e.phase
	if sealing {
		k.seal(who, false, false)
		k.flight = k.flight[:flight] // never left the process
	} else {
		k.pick(func(f *flying) {
			if f.from != who && !f.arrived {
				k.deliver(f)
				f.arrived = false
			}
		})
	}
	e.store.restore(saved)
	e.heard, e.phase = heard, phase
}

// end delivers all that is left, in any order, and checks that the conversation
// goes on.
func (k *talk) end() {
	for _, i := range rapid.Permutation(indexes(len(k.flight))).Draw(k.t, "order") {
		k.deliver(k.flight[i])
	}
	for i := range 6 {
		k.seal(i%2, false, false)
		k.deliver(k.flight[len(k.flight)-1])
	}
	for _, e := range k.ends {
		if err := check(e.store); err != nil {
			k.t.Fatal(err)
		}
	}
}

func indexes(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
