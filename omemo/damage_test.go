package omemo

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestLossesAtRandom loses or spoils values of the state at random while two
// parties talk and repair what they cannot open. Nothing panics, no message key
// is used twice, and what was only lost is made good.
func TestLossesAtRandom(t *testing.T) { eachVersion(t, testLossesAtRandom) }

func testLossesAtRandom(t *testing.T, v Version) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, uint64(v)))
		alice, bob := newPair(t, v)
		spoil, used := seed%3 == 2, map[header]bool{}
		for range 40 {
			if r.IntN(3) == 0 {
				bob.damage(r, spoil)
			}
			from, to := alice, bob
			if r.IntN(2) == 0 {
				from, to = bob, alice
			}
			msg, err := from.trySeal(t.Context(), to, r.IntN(6) == 0)
			if err != nil {
				if !spoil && !errors.Is(err, ErrState) {
					t.Fatalf("seed %d: seal: %v", seed, err)
				}
				continue
			}
			h := headerOf(t, v, &msg.Keys[0])
			if used[h] && !spoil {
				t.Fatalf("seed %d: a message key is used twice", seed)
			}
			used[h] = true
			if r.IntN(4) == 0 {
				continue // it is lost
			}
			before := to.store.snapshot()
			if _, err := to.open(from, msg); err != nil {
				to.store.mustEqual(t, before)
			}
			if !spoil {
				bob.checkChain(t, alice)
			}
		}
		if _, err := bob.manager.Known(t.Context()); err != nil && !spoil {
			t.Fatal(err)
		}
	}
}

// damage drops a value or both halves of a page, or changes a bit.
func (p *party) damage(r *rand.Rand, spoil bool) {
	b := p.manager.book(p.version, p.jid)
	keys := slices.Sorted(maps.Keys(p.store.values))
	key := keys[r.IntN(len(keys))]
	switch {
	case key == b.identityKey() || key == b.stockKey():
	case spoil:
		value := slices.Clone(p.store.values[key])
		value[r.IntN(len(value))] ^= byte(1 << r.IntN(8))
		p.store.values[key] = value[:len(value)-r.IntN(2)*r.IntN(len(value))]
	case strings.HasPrefix(key, b.prefix+"hot/"), strings.HasPrefix(key, b.prefix+"send/"):
		_, path, _ := strings.Cut(key[len(b.prefix):], "/")
		delete(p.store.values, b.prefix+"hot/"+path)
		delete(p.store.values, b.prefix+"send/"+path)
	default:
		delete(p.store.values, key)
	}
}

// checkChain fails if the party would send to other by a key of zeros.
func (p *party) checkChain(t *testing.T, other *party) {
	t.Helper()
	found, err := p.manager.book(p.version, p.jid).locate(t.Context(), nil, map[Address]struct{}{other.address(): {}})
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := found[other.address()]; ok && *at.chain() == [32]byte{} && (at.dueTurn() == nil || at.dueTurn().root == [32]byte{}) {
		t.Fatal("a chain of zeros")
	}
}

// trySeal seals for other, in a new session if anew.
func (p *party) trySeal(ctx context.Context, other *party, anew bool) (*Message, error) {
	bundle, err := other.manager.Bundle(ctx, other.version, other.jid)
	if err != nil {
		return nil, err
	}
	to := other.address()
	if anew {
		return p.manager.SealEmpty(ctx, p.version, p.jid, to, bundle)
	}
	msg, _, err := p.manager.Seal(ctx, p.version, p.jid, []Address{to}, map[Address]*Bundle{to: bundle}, []byte("text"))
	return msg, err
}

// headerOf is a key's place in the ratchet: ratchet key and number.
func headerOf(t *testing.T, v Version, key *Key) header {
	t.Helper()
	data := key.Data
	if key.PreKey {
		data = exchangeOf(t, v, key).message
	}
	m, err := wireOf(v).parse(data)
	if err != nil {
		t.Fatal(err)
	}
	m.pn = 0
	return m.header
}
