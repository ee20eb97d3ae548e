package omemo

import (
	"context"
	"maps"
	"testing"
)

// party is one end of a conversation: a device, its Manager and its store.
type party struct {
	version Version
	jid     string
	device  Device
	manager *Manager
	store   *mapStore
}

func newParty(t testing.TB, v Version, jid string) *party {
	t.Helper()
	p := &party{version: v, jid: jid, store: newMapStore()}
	p.manager = NewManager(p.store, Options{})
	var err error
	if p.device, err = p.manager.EnsureDevice(context.Background(), jid); err != nil {
		t.Fatal(err)
	}
	return p
}

// newPair makes two parties with a session that both have used.
func newPair(t testing.TB, v Version) (alice, bob *party) {
	t.Helper()
	alice, bob = newParty(t, v, "alice@example.org"), newParty(t, v, "bob@example.org")
	for _, d := range [][2]*party{{alice, bob}, {bob, alice}} {
		if _, err := d[1].open(d[0], d[0].seal(t, d[1], "hello")); err != nil {
			t.Fatal(err)
		}
	}
	return alice, bob
}

// eachVersion runs a test for each version of the protocol.
func eachVersion(t *testing.T, test func(*testing.T, Version)) {
	for v := range Version(versions) {
		t.Run(v.String(), func(t *testing.T) { test(t, v) })
	}
}

// exchangeOf takes a key exchange apart.
func exchangeOf(t testing.TB, v Version, key *Key) exchange {
	t.Helper()
	x, err := wireOf(v).parseExchange(key.Data)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (p *party) address() Address { return Address{p.jid, p.device.ID} }

func (p *party) bundle(t testing.TB) *Bundle {
	t.Helper()
	b, err := p.manager.Bundle(context.Background(), p.version, p.jid)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// seal seals for other, from its bundle if need be.
func (p *party) seal(t testing.TB, other *party, text string) *Message {
	t.Helper()
	to := []Address{other.address()}
	missing, err := p.manager.Missing(context.Background(), p.version, p.jid, to)
	if err != nil {
		t.Fatal(err)
	}
	var bundles map[Address]*Bundle
	if len(missing) > 0 {
		bundles = map[Address]*Bundle{missing[0]: other.bundle(t)}
	}
	msg, _, err := p.manager.Seal(context.Background(), p.version, p.jid, to, bundles, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// open opens what came from other, over the wire's form.
func (p *party) open(other *party, msg *Message) (Opened, error) {
	return p.manager.Open(context.Background(), p.jid, []string{other.jid}, msg)
}

// restore puts a store back to an earlier state, as a rolled back transaction.
func (s *mapStore) restore(values map[string][]byte) { s.values = maps.Clone(values) }
