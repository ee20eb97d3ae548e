package omemo

import (
	"context"
	"fmt"
	"testing"
)

// Benchmarks on a store in memory: what sealing and opening cost without a
// database. Times are per message, with "ns/device" where there are several.

const benchOwn = "gateway@bridge.example.org"

// benchRoom makes an own device with a confirmed session with n devices, three
// a member.
func benchRoom(b testing.TB, n int) (*mapStore, *Manager, []Address) {
	b.Helper()
	ctx := context.Background()
	store := newMapStore()
	m := NewManager(store, Options{})
	if _, err := m.EnsureDevice(ctx, benchOwn); err != nil {
		b.Fatal(err)
	}
	far := newParty(b, Legacy, "member@example.org")
	bundle, err := far.manager.Bundle(ctx, Legacy, far.jid)
	if err != nil {
		b.Fatal(err)
	}
	to := make([]Address, n)
	bundles := make(map[Address]*Bundle, n)
	for i := range to {
		to[i] = Address{fmt.Sprintf("member%d@example.org", i/3), uint32(1000000 + i)}
		bundles[to[i]] = bundle
	}
	if _, _, err := m.Seal(ctx, Legacy, benchOwn, to, bundles, []byte("hello")); err != nil {
		b.Fatal(err)
	}
	// The sessions count as answered: none of the peers exists.
	book := m.book(Legacy, benchOwn)
	want := make(map[Address]struct{}, n)
	for _, a := range to {
		want[a] = struct{}{}
	}
	found, err := book.locate(ctx, nil, want)
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range found {
		p.send().unconfirmed = false
		p.sendChanged = true
	}
	if err := book.save(ctx); err != nil {
		b.Fatal(err)
	}
	return store, m, to
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			store, m, to := benchRoom(b, n)
			store.reads, store.writes, store.bytesRead, store.bytesWritten = 0, 0, 0, 0
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := m.Seal(context.Background(), Legacy, benchOwn, to, nil, []byte("hello, world")); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/device")
			b.ReportMetric(float64(store.bytesWritten)/float64(b.N), "B-written/op")
			b.ReportMetric(float64(store.bytesRead)/float64(b.N), "B-read/op")
		})
	}
}

func BenchmarkAppendXML(b *testing.B) {
	_, m, to := benchRoom(b, 1000)
	msg, _, err := m.Seal(context.Background(), Legacy, benchOwn, to, nil, []byte("hello, world"))
	if err != nil {
		b.Fatal(err)
	}
	dst := msg.AppendXML(nil)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		dst = msg.AppendXML(dst[:0])
	}
}

func BenchmarkParseMessage(b *testing.B) {
	_, m, to := benchRoom(b, 1000)
	msg, _, err := m.Seal(context.Background(), Legacy, benchOwn, to, nil, []byte("hello, world"))
	if err != nil {
		b.Fatal(err)
	}
	xml := msg.AppendXML(nil)
	for name, rids := range map[string][]Address{"own": {to[500]}, "all": nil} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(xml)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseMessage(Legacy, xml, rids...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen opens messages of one chain.
func BenchmarkOpen(b *testing.B) {
	alice, bob := newPair(b, Legacy)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		msg := alice.seal(b, bob, "hello, world")
		b.StartTimer()
		if _, err := bob.open(alice, msg); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTurn opens a message that brings a new ratchet key, and BenchmarkReply
// seals the first message after it.
func BenchmarkTurn(b *testing.B) {
	alice, bob := newPair(b, Legacy)
	for b.Loop() {
		b.StopTimer()
		reply(b, bob, alice)
		msg := alice.seal(b, bob, "hello, world")
		b.StartTimer()
		if _, err := bob.open(alice, msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReply(b *testing.B) {
	alice, bob := newPair(b, Legacy)
	for b.Loop() {
		b.StopTimer()
		reply(b, bob, alice)
		msg := alice.seal(b, bob, "hello, world")
		if _, err := bob.open(alice, msg); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		bob.seal(b, alice, "hello")
	}
}

func reply(b testing.TB, from, to *party) {
	if _, err := to.open(from, from.seal(b, to, "reply")); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSessionBuild starts a session from a verified bundle and seals in
// it; with the bundle's parsing and verification apart.
func BenchmarkSessionBuild(b *testing.B) {
	alice, bob := newParty(b, Legacy, "alice@example.org"), newParty(b, Legacy, "bob@example.org")
	bundle := bob.bundle(b)
	b.Run("seal", func(b *testing.B) {
		for b.Loop() {
			if _, err := alice.manager.SealEmpty(context.Background(), Legacy, alice.jid, bob.address(), bundle); err != nil {
				b.Fatal(err)
			}
		}
	})
	xml := bundle.AppendXML(nil)
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseBundle(Legacy, xml); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFirstOpen opens key exchanges.
func BenchmarkFirstOpen(b *testing.B) {
	alice, bob := newParty(b, Legacy, "alice@example.org"), newParty(b, Legacy, "bob@example.org")
	for b.Loop() {
		b.StopTimer()
		msg, err := alice.manager.SealEmpty(context.Background(), Legacy, alice.jid, bob.address(), bob.bundle(b))
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := bob.open(alice, msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkX25519(b *testing.B) {
	k, err := newKeyPair(&script{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := x25519(&k.priv, &k.pub); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnsureDevice(b *testing.B) {
	for b.Loop() {
		newParty(b, Legacy, "alice@example.org")
	}
}
