package store_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

var otherKey = bytes.Repeat([]byte{9}, store.KeySize)

func TestRekey(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			url := d.Make(t)
			s, err := store.Open(t.Context(), store.Config{URL: url, Key: key})
			must(t, err)
			x, m := acquire(t, s, "x"), acquire(t, s, "m")
			fill(t, s)
			lane := gateway.Address{Network: "m", ID: "lane"}
			_, err = s.DB().Exec(t.Context(), "UPDATE state SET value = (SELECT value FROM state WHERE network = 'm') WHERE network = 'x' AND key = $1", []byte("empty"))
			must(t, err)
			want, err := s.Head(t.Context(), lane, 99)
			must(t, err)
			large := get(t, s.State("x"), "large")

			// while a gateway runs: no
			err = store.Rekey(t.Context(), store.Config{URL: url, Key: key}, otherKey, nil)
			wantError(t, err, map[string]string{"sqlite": "another process uses the database", "postgres": "a gateway is running on this database"}[d.Name])
			must(t, x.Release(t.Context()))
			must(t, m.Release(t.Context()))
			must(t, s.Close())

			wantError(t, store.Rekey(t.Context(), store.Config{URL: url, Key: otherKey}, key, nil), store.ErrKey.Error())
			wantError(t, store.Rekey(t.Context(), store.Config{URL: url, Key: key}, otherKey[:5], nil), "32 bytes")
			var done, total int64
			must(t, store.Rekey(t.Context(), store.Config{URL: url, Key: key}, otherKey, func(d, n int64) { done, total = d, n }))
			if done != total || total < 20 {
				t.Errorf("%d of %d done", done, total)
			}
			if _, err := store.Open(t.Context(), store.Config{URL: url, Key: key}); !errors.Is(err, store.ErrKey) {
				t.Errorf("with the old key: %v", err)
			}
			again := open(t, store.Config{URL: url, Key: otherKey})
			got, err := again.Head(t.Context(), lane, 99)
			must(t, err)
			if len(got) != len(want) {
				t.Fatalf("%d deliveries, want %d", len(got), len(want))
			}
			for i := range got {
				if got[i].Event == nil || got[i].Event.ID != want[i].Event.ID || got[i].Key != want[i].Key {
					t.Errorf("delivery %d is %+v", i, got[i])
				}
			}
			targets, err := again.Targets(t.Context(), []gateway.Native{{Room: gateway.Address{Network: "x", ID: "room"}, ID: "native 3"}})
			must(t, err)
			for _, target := range targets {
				if target.Excerpt != "words" || target.Author.Name != "Juliet Capulet" {
					t.Errorf("the excerpt reads %+v", target)
				}
			}
			if len(targets) != 1 || get(t, again.State("x"), "large") != large || get(t, again.State("x"), "\x00\xff key") != "v" {
				t.Error("something is missing")
			}
			link, _, err := again.Link(t.Context(), [8]byte{1})
			must(t, err)
			face, _, err := again.Image(t.Context(), [32]byte{1})
			must(t, err)
			if string(link) != "https://example.org" || string(face) != "face" {
				t.Errorf("link %q, picture %q", link, face)
			}
			about, err := again.Targets(t.Context(), []gateway.Native{{Room: gateway.Address{Network: "x", ID: "room"}, ID: "conversation"}})
			must(t, err)
			for _, target := range about {
				sets, err := again.Reactions(t.Context(), []gateway.ID{target.Event})
				must(t, err)
				if s := sets[target.Event]; len(s) != 1 || len(s[0].Emoji) != 1 {
					t.Errorf("reactions: %+v", sets)
				}
			}
			if _, err := again.State("x").GetMany(t.Context(), []string{"empty"}); err == nil {
				t.Error("a value that did not open before opens now")
			}
		})
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestRekeyIsAllOrNothing: a process that dies on the way has changed nothing.
func TestRekeyIsAllOrNothing(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			url := d.Make(t)
			s, err := store.Open(t.Context(), store.Config{URL: url, Key: key})
			must(t, err)
			l := acquire(t, s, "x")
			values := map[string][]byte{}
			for i := range 1200 {
				values[string(rune('a'+i%26))+string(rune(0x4e00+i))] = []byte("v")
			}
			must(t, s.State("x").PutMany(t.Context(), values))
			must(t, l.Release(t.Context()))
			must(t, s.Close())
			ctx, cancel := context.WithCancel(t.Context())
			if err := store.Rekey(ctx, store.Config{URL: url, Key: key}, otherKey, func(int64, int64) { cancel() }); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			again := open(t, store.Config{URL: url})
			if got := list(t, again, "x"); len(got) != len(values) {
				t.Errorf("%d of %d values are left", len(got), len(values))
			}
		})
	}
}

// TestStandbyOfAnotherKey: a process that stood by while the key was changed does not take over.
func TestStandbyOfAnotherKey(t *testing.T) {
	for _, d := range storetest.Postgres() {
		t.Run(d.Name, func(t *testing.T) {
			url := d.Make(t)
			s, beside := open(t, store.Config{URL: url}), openBeside(t, url)
			must(t, acquire(t, s, "x").Release(t.Context()))
			must(t, store.Rekey(t.Context(), store.Config{URL: url, Key: key}, otherKey, nil))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := s.Acquire(ctx, "x"); !errors.Is(err, store.ErrKey) {
				t.Errorf("acquire: %v", err)
			}
			if err := beside.State("x", "mine").PutMany(t.Context(), map[string][]byte{"mine": []byte("v")}); !errors.Is(err, store.ErrKey) {
				t.Errorf("a command's write: %v", err)
			}
			start := time.Now()
			acquire(t, open(t, store.Config{URL: url, Key: otherKey}), "x") // the one before has let go
			if took := time.Since(start); took > atOnce {
				t.Errorf("it took %v", took)
			}
		})
	}
}
