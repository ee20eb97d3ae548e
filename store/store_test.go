package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

var key = bytes.Repeat([]byte{7}, store.KeySize)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	if cfg.Key == nil {
		cfg.Key = key
	}
	s, err := store.Open(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func acquire(t testing.TB, s *store.Store, network string) gateway.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), network)
	must(t, err)
	return l
}

// entry makes an event of a room of network with deliveries to rooms.
func entry(t testing.TB, network, native, text string, to ...gateway.Address) gateway.Entry {
	t.Helper()
	id, err := gateway.NewID(rand.Reader)
	must(t, err)
	at := gateway.Address{Network: network, ID: "room"}
	e := gateway.Entry{
		Event: &gateway.Event{
			ID: id, At: at, Native: native, Body: gateway.Message{Text: gateway.Text{Plain: text}},
			Sender: gateway.Person{Network: network, ID: "juliet", Name: "Juliet Capulet"},
		},
		Links: []gateway.Link{{Native: gateway.Native{Room: at, ID: native}, Event: id}},
	}
	for _, room := range to {
		e.Deliveries = append(e.Deliveries, gateway.Queue{Key: native + room.ID, Room: room})
	}
	return e
}

func write(t testing.TB, s *store.Store, network string, entries ...gateway.Entry) {
	t.Helper()
	must(t, s.Do(t.Context(), network, func(ctx context.Context) error { return s.Append(ctx, entries) }))
}

// say appends one event.
func say(t testing.TB, s *store.Store, network, native, text string, to ...gateway.Address) {
	t.Helper()
	write(t, s, network, entry(t, network, native, text, to...))
}

func TestExercise(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			storetest.Exercise(t, func(t *testing.T) *store.Store {
				t.Helper()
				return open(t, store.Config{URL: d.Make(t)})
			})
		})
	}
}

func TestCommittedSurvivesCrash(t *testing.T) {
	dir := t.TempDir()
	s := open(t, store.Config{URL: "sqlite:" + filepath.Join(dir, "live.db")})
	say(t, s, "x", "1", "durable words", gateway.Address{Network: "m", ID: "lane"})
	must(t, s.State("x").PutMany(t.Context(), map[string][]byte{"k": []byte("v")}))
	// What a crash leaves are the files as they lie there now, nothing closed and nothing checkpointed.
	crashed := filepath.Join(t.TempDir(), "crashed.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, "live.db"+suffix))
		must(t, err)
		must(t, os.WriteFile(crashed+suffix, b, 0o600))
	}
	again := open(t, store.Config{URL: "sqlite:" + crashed})
	got, err := again.State("x").GetMany(t.Context(), []string{"k"})
	must(t, err)
	q, err := again.Head(t.Context(), gateway.Address{Network: "m", ID: "lane"}, 9)
	must(t, err)
	if string(got["k"]) != "v" || len(q) != 1 || q[0].Event == nil {
		t.Errorf("after the crash: %q, %+v", got, q)
	}
}

func TestNothingLegibleOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, store.Config{URL: "sqlite:" + filepath.Join(dir, "a.db")})
	say(t, s, "x", "native-id", "wherefore art thou", gateway.Address{Network: "m", ID: "lane"})
	must(t, s.State("x").PutMany(t.Context(), map[string][]byte{"legible-key": []byte("ratchet bytes")}))
	var all []byte
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	}))
	for _, secret := range []string{"wherefore", "art thou", "Capulet", "ratchet bytes"} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%q lies on disk", secret)
		}
	}
	for _, id := range []string{"native-id", "legible-key"} {
		if !bytes.Contains(all, []byte(id)) {
			t.Errorf("the test does not see what lies on disk: %q is missing", id)
		}
	}
}

func TestValuesCannotBeMoved(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			s := open(t, store.Config{URL: d.Make(t)})
			acquire(t, s, "x")
			st := s.State("x")
			must(t, st.PutMany(t.Context(), map[string][]byte{"a": []byte("1"), "b": []byte("2")}))
			_, err := s.DB().Exec(t.Context(), "UPDATE state SET value = (SELECT value FROM state WHERE key = $1) WHERE key = $2", []byte("a"), []byte("b"))
			must(t, err)
			if got, err := st.GetMany(t.Context(), []string{"b"}); err == nil {
				t.Errorf("read %q", got)
			}
			got, err := st.GetMany(t.Context(), []string{"a"})
			if err != nil || string(got["a"]) != "1" {
				t.Errorf("the other value: %q, %v", got, err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	refused := func(t *testing.T, cfg store.Config, words ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		s, err := store.Open(ctx, cfg)
		if err == nil {
			must(t, s.Close())
			t.Fatal("it opened")
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q is missing in: %v", w, err)
			}
		}
	}
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			dsn := d.Make(t)
			s, err := store.Open(t.Context(), store.Config{URL: dsn, Key: key})
			must(t, err)
			if d.Name == "sqlite" {
				refused(t, store.Config{URL: dsn, Key: key}, "another process", strings.TrimPrefix(dsn, "sqlite:"))
			}
			must(t, s.Close())
			refused(t, store.Config{URL: dsn, Key: make([]byte, store.KeySize)}, "another key")
			refused(t, store.Config{URL: dsn, Key: key[:31]}, "32 bytes")

			s, err = store.Open(t.Context(), store.Config{URL: dsn, Key: key})
			must(t, err)
			_, err = s.DB().Exec(t.Context(), "UPDATE version SET version = version + 1, compat = version + 1")
			must(t, err)
			must(t, s.Close())
			refused(t, store.Config{URL: dsn, Key: key}, "newer version")
		})
	}
	t.Run("url", func(t *testing.T) {
		refused(t, store.Config{URL: "mysql://x", Key: key}, "sqlite:FILE")
		refused(t, store.Config{URL: "sqlite:" + t.TempDir() + "/no/such/dir/a.db", Key: key}, "no/such/dir")
		refused(t, store.Config{URL: "postgres://127.0.0.1:1/x", Key: key}, "connection refused", "tried for")
	})
}

func TestSweep(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			now := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
			s := open(t, store.Config{URL: d.Make(t), Now: func() time.Time { return now }, Retention: 24 * time.Hour})
			acquire(t, s, "x")
			lane := gateway.Address{Network: "x", ID: "lane"}
			var many []gateway.Entry
			for i := range 450 { // more than two batches
				many = append(many, entry(t, "x", fmt.Sprint("old", i), "old"))
			}
			write(t, s, "x", many...)
			say(t, s, "x", "waiting", "still wanted", lane)
			room := gateway.Address{Network: "x", ID: "room"}
			write(t, s, "x", gateway.Entry{Links: []gateway.Link{{Native: gateway.Native{Room: room, ID: "mark"}}}})
			now = now.Add(23 * time.Hour)
			say(t, s, "x", "young", "young")
			sweep := func(want int) {
				t.Helper()
				n, err := s.Sweep(t.Context())
				if err != nil || n != want {
					t.Errorf("swept %d, want %d (%v)", n, want, err)
				}
			}
			sweep(0)
			now = now.Add(2 * time.Hour)
			sweep(450)
			count := func(table string) (n int) {
				t.Helper()
				must(t, s.DB().QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
				return n
			}
			if e, l := count("event"), count("link"); e != 2 || l != 2 {
				t.Errorf("left: %d events, %d links", e, l)
			}
			q, err := s.Head(t.Context(), lane, 1)
			must(t, err)
			must(t, s.Do(t.Context(), "x", func(ctx context.Context) error {
				return s.Finish(ctx, []gateway.Finished{{Seq: q[0].Seq, Key: q[0].Key}})
			}))
			sweep(1)
			if n := count("delivery"); n != 0 {
				t.Errorf("left: %d deliveries", n)
			}
			// What was sealed for deliveries goes with them, however they ended.
			say(t, s, "x", "sealed", "words", lane)
			must(t, s.State("x").PutMany(t.Context(), map[string][]byte{"out/sealedlane": nil, "out/sealedlane/2": []byte("v"), "out/gone": []byte("v"), "out/\xff\x00": []byte("v"), "outer": []byte("v")}))
			sweep(0)
			if got := list(t, s, "x"); len(got) != 2 || got["outer"] == nil || got["out/sealedlane/2"] == nil {
				t.Errorf("left: %q", got)
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			s := open(t, store.Config{URL: d.Make(t), Log: slog.New(slog.DiscardHandler)})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			wake := s.Wake("x")
			go func() { ended <- s.Run(ctx) }()
			<-wake // it polls
			cancel()
			must(t, <-ended)
		})
	}
}

// TestMain lets the test binary be a process that holds a lease, or one whose disk is full.
func TestMain(m *testing.M) {
	for name, run := range map[string]func(string) error{"LOCKBRIDGE_TEST_HOLD": hold, "LOCKBRIDGE_TEST_FULL": fillDisk} {
		if arg := os.Getenv(name); arg != "" {
			if err := run(arg); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

func hold(dsn string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{URL: dsn, Key: key})
	if err != nil {
		return err
	}
	l, err := s.Acquire(ctx, "x")
	if err != nil {
		return err
	}
	fmt.Println("held")
	if os.Getenv("LOCKBRIDGE_TEST_WRITE") != "" {
		go l.Keep(ctx) //nolint:errcheck // what the writes say is what counts
		return writeOn(ctx, s, l)
	}
	return errors.Join(l.Keep(ctx), errors.New("the lease ended"))
}

// A transaction of one store inside of another's is its own, and each call finds its own store's.
func TestStoresDoNotMix(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			a, b := open(t, store.Config{URL: d.Make(t)}), open(t, store.Config{URL: d.Make(t)})
			acquire(t, a, "x")
			acquire(t, b, "x")
			refused := errors.New("refused")
			err := a.Do(t.Context(), "x", func(ctx context.Context) error {
				must(t, b.Do(ctx, "x", func(ctx context.Context) error {
					must(t, put(ctx, a, "x", "of a"))
					return put(ctx, b, "x", "of b")
				}))
				return refused
			})
			if !errors.Is(err, refused) {
				t.Errorf("got %v", err)
			}
			for s, want := range map[*store.Store]int{a: 0, b: 1} {
				got, err := s.State("x").List(t.Context(), "")
				must(t, err)
				if len(got) != want {
					t.Errorf("state: %q", got)
				}
			}
		})
	}
}
