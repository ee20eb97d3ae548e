package omemo

import (
	"context"
	"fmt"
	"testing"
)

// TestPages fills the tree of pages far beyond its first two levels and finds
// every device again; with few devices one read does it.
func TestPages(t *testing.T) {
	const devices = 7000
	store := newMapStore()
	m := NewManager(store, Options{})
	address := func(i int) Address { return Address{fmt.Sprintf("member%d@example.org", i/2), uint32(i)} }
	want := func(from, to int) map[Address]struct{} {
		w := make(map[Address]struct{})
		for i := from; i < to; i++ {
			w[address(i)] = struct{}{}
		}
		return w
	}
	ctx := context.Background()
	const step = 500
	for from := 0; from < devices; from += step {
		b := m.book(Legacy, "own@example.org")
		found, err := b.locate(ctx, nil, want(from, from+step))
		if err != nil || len(found) != 0 {
			t.Fatalf("%d found before they are there, %v", len(found), err)
		}
		for i := from; i < from+step; i++ {
			p, err := b.insert(address(i), nil)
			if err != nil {
				t.Fatal(err)
			}
			p.store([32]byte{}, &session{sent: uint32(i)})
		}
		if err := b.save(ctx); err != nil {
			t.Fatal(err)
		}
		checkState(t, store)
		store.reads = 0
		b = m.book(Legacy, "own@example.org")
		found, err = b.locate(ctx, nil, want(0, from+step))
		if err != nil || len(found) != from+step {
			t.Fatalf("%d found of %d, %v", len(found), from+step, err)
		}
		for i := range from + step {
			var s session
			if found[address(i)].load(&s); s.sent != uint32(i) {
				t.Fatalf("device %d has the state of %d", i, s.sent)
			}
		}
		if from+step <= 3500 && store.reads != 1 {
			t.Fatalf("%d reads for %d devices", store.reads, from+step)
		}
	}

	// A freed slot is used again, and frees nothing that lies deeper.
	b := m.book(Legacy, "own@example.org")
	found, err := b.locate(ctx, nil, want(0, 10))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		p.free()
	}
	if err := b.save(ctx); err != nil {
		t.Fatal(err)
	}
	b = m.book(Legacy, "own@example.org")
	found, err = b.locate(ctx, nil, want(0, devices))
	if err != nil || len(found) != devices-10 {
		t.Fatalf("%d found, %v", len(found), err)
	}
	if found, err = b.locate(ctx, nil, map[Address]struct{}{{}: {}}); err != nil || len(found) != 0 {
		t.Fatalf("a free slot is taken for a device: %v, %v", found, err)
	}
	if p, err := b.insert(address(0), nil); err != nil || p.path != "" {
		t.Fatalf("inserted on page %q, %v", p.path, err)
	}
}
