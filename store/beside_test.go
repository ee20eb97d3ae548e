package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

func openBeside(t testing.TB, url string) *store.Beside {
	t.Helper()
	b, err := store.OpenBeside(t.Context(), store.Config{URL: url, Key: key})
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	return b
}

func get(t testing.TB, st gateway.State, key string) string {
	t.Helper()
	m, err := st.GetMany(t.Context(), []string{key})
	must(t, err)
	return string(m[key])
}

// increment adds one to a number kept under key.
func increment(ctx context.Context, st gateway.State, key string) error {
	return st.Update(ctx, func(ctx context.Context) error {
		m, err := st.GetMany(ctx, []string{key})
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(string(m[key]))
		return st.PutMany(ctx, map[string][]byte{key: []byte(strconv.Itoa(n + 1))})
	})
}

func TestBesideReadsAndWritesWhileAGatewayRuns(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			url := d.Make(t)
			s := open(t, store.Config{URL: url})
			acquire(t, s, "x")
			running := s.State("x")
			must(t, running.PutMany(t.Context(), map[string][]byte{"device": []byte("d"), "operator/trust": []byte("first")}))

			st := openBeside(t, url).State("x", "operator/trust")
			if got := get(t, st, "device"); got != "d" {
				t.Errorf("read %q", got)
			}
			list, err := st.List(t.Context(), "")
			must(t, err)
			if len(list) != 2 {
				t.Errorf("listed %d keys", len(list))
			}
			must(t, running.Update(t.Context(), func(ctx context.Context) error { // a transaction reads what is committed
				must(t, running.PutMany(ctx, map[string][]byte{"device": []byte("e")}))
				return nil
			}))
			must(t, st.PutMany(t.Context(), map[string][]byte{"operator/trust": []byte("second")}))
			if got := get(t, running, "operator/trust"); got != "second" {
				t.Errorf("outside a transaction the gateway reads %q", got)
			}
			must(t, running.Update(t.Context(), func(ctx context.Context) error {
				m, err := running.GetMany(ctx, []string{"operator/trust"})
				if got := string(m["operator/trust"]); got != "second" {
					t.Errorf("in a transaction the gateway reads %q", got)
				}
				return err
			}))

			mine := errors.New("changed my mind")
			err = st.Update(t.Context(), func(ctx context.Context) error {
				must(t, st.PutMany(ctx, map[string][]byte{"operator/trust": []byte("third")}))
				m, err := st.GetMany(ctx, []string{"operator/trust"})
				if err != nil || string(m["operator/trust"]) != "third" {
					t.Errorf("inside the update: %q, %v", m, err)
				}
				return mine
			})
			if !errors.Is(err, mine) || get(t, running, "operator/trust") != "second" {
				t.Errorf("an update that failed: %v, %q", err, get(t, running, "operator/trust"))
			}
			must(t, st.PutMany(t.Context(), map[string][]byte{"operator/trust": nil}))
			if got := get(t, running, "operator/trust"); got != "" {
				t.Errorf("deleted, the gateway reads %q", got)
			}
			for _, bad := range []map[string][]byte{{"device": []byte("mine")}, {"operator/trust": nil, "device": nil}} {
				if err := st.PutMany(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "belongs to the gateway") {
					t.Errorf("put %v: %v", bad, err)
				}
			}
			if got := get(t, running, "device"); got != "e" {
				t.Errorf("the gateway's own value is %q", got)
			}
		})
	}
}

// TestBesideIsSafeWithGroupCommits: a busy gateway and two commands write at once; nobody loses anything, and nobody
// brings back what another one replaced.
func TestBesideIsSafeWithGroupCommits(t *testing.T) {
	const rounds = 40
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			url := d.Make(t)
			s := open(t, store.Config{URL: url})
			acquire(t, s, "x")
			var g errgroup.Group
			for i := range 4 {
				g.Go(func() error {
					own := fmt.Sprintf("ratchet/%d", i)
					for range rounds {
						if err := increment(t.Context(), s.State("x"), own); err != nil {
							return err
						}
					}
					return nil
				})
			}
			for range 2 {
				st := openBeside(t, url).State("x", "operator/trust")
				g.Go(func() error {
					for range rounds {
						if err := increment(t.Context(), st, "operator/trust"); err != nil {
							return err
						}
					}
					return nil
				})
			}
			must(t, g.Wait())
			for key, want := range map[string]int{"ratchet/0": rounds, "ratchet/3": rounds, "operator/trust": 2 * rounds} {
				if got := get(t, s.State("x"), key); got != strconv.Itoa(want) {
					t.Errorf("%s is %s, want %d", key, got, want)
				}
			}
		})
	}
}

func TestBesideKeepsNobodyOut(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
	s, err := store.Open(t.Context(), store.Config{URL: url, Key: key})
	must(t, err)
	b := openBeside(t, url)
	if _, err := store.Open(t.Context(), store.Config{URL: url, Key: key}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second gateway: %v", err)
	}
	must(t, s.State("x").PutMany(t.Context(), map[string][]byte{"k": []byte("v")}))
	must(t, s.Close())
	if got := get(t, b.State("x"), "k"); got != "v" { // the gateway has stopped
		t.Errorf("read %q", got)
	}
	again := open(t, store.Config{URL: url}) // and starts while the command still runs
	must(t, b.State("x", "mine").PutMany(t.Context(), map[string][]byte{"mine": []byte("w")}))
	if got := get(t, again.State("x"), "mine"); got != "w" {
		t.Errorf("the gateway that started reads %q", got)
	}
}

func TestBesideChecksTheDatabase(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			url := d.Make(t)
			refused := func(k []byte, want string) {
				t.Helper()
				b, err := store.OpenBeside(t.Context(), store.Config{URL: url, Key: k})
				if err == nil {
					t.Errorf("opened, want %q", want)
					must(t, b.Close())
				} else if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q", err, want)
				}
			}
			if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
				refused(key, "does not exist yet")
				if _, err := os.Stat(file); err == nil {
					t.Error("it made the file")
				}
				must(t, os.WriteFile(file, nil, 0o600))
			}
			refused(key, "no gateway has used this database yet")
			s := open(t, store.Config{URL: url})
			refused(bytes.Repeat([]byte{8}, store.KeySize), "another key")
			for version, want := range map[string]string{"99, compat = 99": "newer version", "0, compat = 0": "no gateway has used"} {
				_, err := s.DB().Exec(t.Context(), "UPDATE version SET version = "+version)
				must(t, err)
				refused(key, want)
			}
		})
	}
}
