package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// outage lets a database fail and mend again.
type outage struct {
	name       string
	fail, mend string // statements
}

// TestDatabaseFull: a disk that is full is an error of the database, discards the transaction and nothing else, and is
// over when it is over.
func TestDatabaseFull(t *testing.T) {
	for _, d := range storetest.Databases() {
		outages := []outage{{"pages", "PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000"}}
		if d.Name == "postgres" {
			// The server's own error for a full disk, raised by a trigger: with a statement, and with the commit.
			const function = `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;`
			const mend = "DROP FUNCTION full_disk CASCADE"
			outages = []outage{
				{"statement", function + "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON state EXECUTE FUNCTION full_disk()", mend},
				{"commit", function + "CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT OR UPDATE ON state DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION full_disk()", mend},
			}
		}
		for _, o := range outages {
			t.Run(d.Name+" "+o.name, func(t *testing.T) {
				s := open(t, store.Config{URL: d.Make(t)})
				acquire(t, s, "x")
				must(t, put(t.Context(), s, "x", "before"))
				run := func(statements string) {
					t.Helper()
					_, err := s.DB().Exec(t.Context(), statements)
					must(t, err)
				}
				run(o.fail)
				for range 3 {
					if err := s.State("x").PutMany(t.Context(), map[string][]byte{"during": make([]byte, 1<<20)}); !errors.Is(err, gateway.ErrStore) {
						t.Errorf("got %v", err)
					}
					if got := get(t, s.State("x"), "before"); got != "v" {
						t.Errorf("meanwhile %q is read", got)
					}
				}
				run(o.mend)
				must(t, put(t.Context(), s, "x", "after"))
				if got := list(t, s, "x"); len(got) != 2 || got["during"] != nil {
					t.Errorf("there are %d values", len(got))
				}
			})
		}
	}
}

// TestDiskFullAtCommit: the file system refuses what a commit wants to write. It runs in a process of its own, since the
// limit that stands for a full disk is the process's.
func TestDiskFullAtCommit(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "LOCKBRIDGE_TEST_FULL="+filepath.Join(t.TempDir(), "a.db"))
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "recovered\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// fillDisk is that process.
func fillDisk(file string) error {
	signal.Ignore(unix.SIGXFSZ)
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{URL: "sqlite:" + file, Key: key})
	if err != nil {
		return err
	}
	value := map[string][]byte{"k": bytes.Repeat([]byte("v"), 10_000)}
	if err := s.State("x").PutMany(ctx, value); err != nil {
		return err
	}
	var free unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &free); err != nil {
		return err
	}
	for round := range uint64(20) { // the limit falls at another place of what is written each time
		info, err := os.Stat(file + "-wal")
		if err != nil {
			return err
		}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(info.Size()) + round*500, Max: free.Max}); err != nil {
			return err
		}
		full := s.State("x").PutMany(ctx, map[string][]byte{"k": []byte("lost"), "lost": make([]byte, 30_000)})
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &free); err != nil {
			return err
		}
		if !errors.Is(full, gateway.ErrStore) {
			return fmt.Errorf("round %d: the full disk was %w", round, full)
		}
		if err := s.State("x").PutMany(ctx, map[string][]byte{fmt.Sprint("round ", round): []byte("v")}); err != nil {
			return fmt.Errorf("round %d, when there is room again: %w", round, err)
		}
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = store.Open(ctx, store.Config{URL: "sqlite:" + file, Key: key}); err != nil {
		return err
	}
	all, err := s.State("x").List(ctx, "")
	if err != nil || len(all) != 21 || !bytes.Equal(all["k"], value["k"]) {
		return fmt.Errorf("there are %d values, k has %d bytes: %w", len(all), len(all["k"]), err)
	}
	fmt.Println("recovered")
	return s.Close()
}

// TestUnknownCommit: the connection ends while the server commits. The caller gets an error, and when it brings the same
// again, it is there once.
func TestUnknownCommit(t *testing.T) {
	for _, d := range storetest.Postgres() {
		t.Run(d.Name, func(t *testing.T) {
			dsn := d.Make(t)
			b := open(t, store.Config{URL: dsn})
			w, a, _, _ := throughWire(t, dsn)
			gate := shutGate(t, b)
			result := make(chan error, 1)
			e := entry(t, "x", "1", "hello", gateway.Address{Network: "m", ID: "lane"})
			go func() {
				result <- a.Do(t.Context(), "x", func(ctx context.Context) error { return a.Append(ctx, []gateway.Entry{e}) })
			}()
			until(t, "the server commits", func() bool { return gate.waiting(t) != 0 })
			w.set(cut)
			if err := await(t, "the end of the transaction", result); !errors.Is(err, gateway.ErrStore) {
				t.Errorf("got %v", err)
			}
			w.set(whole)
			// Brought again at once: the first try is over by then, one way or the other.
			again := make(chan error, 1)
			go func() {
				again <- a.Do(t.Context(), "x", func(ctx context.Context) error {
					known, err := a.Seen(ctx, []gateway.Native{e.Links[0].Native}, false)
					if err == nil && len(known) == 0 {
						err = a.Append(ctx, []gateway.Entry{e})
					}
					return err
				})
			}()
			gate.open(t)
			must(t, await(t, "the second try", again))
			q, err := a.Head(t.Context(), gateway.Address{Network: "m", ID: "lane"}, 9)
			if err != nil || len(q) != 1 {
				t.Errorf("%d deliveries wait, %v", len(q), err)
			}
		})
	}
}

// TestOpenWaits: a server that starts later than the gateway is waited for.
func TestOpenWaits(t *testing.T) {
	for _, d := range storetest.Postgres() {
		t.Run(d.Name, func(t *testing.T) {
			w, url := newWire(t, d.Make(t))
			w.set(cut)
			var log bytes.Buffer
			logged := make(chan struct{})
			opened := make(chan error, 1)
			go func() {
				s, err := store.Open(t.Context(), store.Config{URL: url, Key: key, Log: logTo(&log, logged)})
				if err == nil {
					err = s.Close()
				}
				opened <- err
			}()
			await(t, "a line in the log", logged)
			if !strings.Contains(log.String(), "does not answer yet") {
				t.Errorf("the log says %s", log.String())
			}
			w.set(whole)
			must(t, await(t, "the store", opened))
		})
	}
}

// logTo returns a log, and closes logged with its first line.
func logTo(w io.Writer, logged chan struct{}) *slog.Logger {
	return slog.New(slog.NewTextHandler(&firstLine{w: w, logged: logged}, nil))
}

type firstLine struct {
	w      io.Writer
	logged chan struct{}
	once   sync.Once
}

func (f *firstLine) Write(p []byte) (n int, err error) {
	f.once.Do(func() {
		n, err = f.w.Write(p)
		close(f.logged)
	})
	return len(p), err
}
