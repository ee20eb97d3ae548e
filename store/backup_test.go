package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// fill gives a store something of everything.
func fill(t testing.TB, s *store.Store) {
	t.Helper()
	lane, other := gateway.Address{Network: "m", ID: "lane"}, gateway.Address{Network: "i", ID: "#lane"}
	for i := range 20 {
		say(t, s, "x", fmt.Sprint("native ", i), "words", lane, other)
	}
	q, err := s.Head(t.Context(), lane, 12)
	must(t, err)
	var done []gateway.Finished
	for i, d := range q {
		done = append(done, gateway.Finished{Seq: d.Seq, Key: d.Key, Dead: i%5 == 0, Reason: "no such room \U0001F6AA"})
	}
	must(t, s.Do(t.Context(), "m", func(ctx context.Context) error { return s.Finish(ctx, done) }))
	large := make([]byte, 300_000)
	_, err = rand.Read(large)
	must(t, err)
	must(t, s.State("x").PutMany(t.Context(), map[string][]byte{"large": large, "empty": {}, "\x00\xff key": []byte("v"), "epoch": []byte("7")}))
	must(t, s.State("m").PutMany(t.Context(), map[string][]byte{"k": []byte("v")}))
	e := entry(t, "x", "conversation", "words", lane)
	thumb := entry(t, "x", "reaction", "", lane)
	thumb.Event.Body = gateway.Reaction{Target: gateway.Ref{ID: e.Event.ID}, Emoji: []string{"👍"}, Op: gateway.ReactionSet}
	thumb.Stands = thumb.Event.ID
	thumb.Reaction = &gateway.Reactions{Anchor: thumb.Stands, Target: e.Event.ID, Who: thumb.Event.Sender, Emoji: []string{"👍"}}
	write(t, s, "x", e, thumb)
	_, err = s.PutLink(t.Context(), [8]byte{1}, []gateway.ID{e.Event.ID, thumb.Event.ID}, []byte("https://example.org"), time.Now().Add(time.Hour))
	must(t, err)
	must(t, s.PutImage(t.Context(), [32]byte{1}, "image/png", []byte("face")))
	// The newest numbers are gone, as after a sweep.
	for _, table := range []string{"delivery", "link"} {
		_, err := s.DB().Exec(t.Context(), "DELETE FROM "+table+" WHERE seq > (SELECT max(seq) - 3 FROM "+table+")")
		must(t, err)
	}
}

// dump reads everything that a backup holds, in an order of its own.
func dump(t *testing.T, s *store.Store) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, table := range []string{"meta", "event", "delivery", "link", "state", "forget", "reaction", "media", "image"} {
		rows, err := s.DB().Query(t.Context(), "SELECT * FROM "+table)
		must(t, err)
		names, err := rows.Columns()
		must(t, err)
		for rows.Next() {
			values, into := make([]any, len(names)), make([]any, len(names))
			for i := range into {
				into[i] = &values[i]
			}
			must(t, rows.Scan(into...))
			var row []string
			restored := false
			for i, v := range values {
				if is, ok := v.(bool); ok { // as SQLite has it
					v = map[bool]int{true: 1}[is]
				}
				restored = restored || fmt.Sprintf("%s", v) == gateway.StateRestored
				row = append(row, fmt.Sprintf("%s=%v", names[i], v))
			}
			slices.Sort(row) // an upgrade may order columns otherwise
			if !restored {
				out[table] = append(out[table], strings.Join(row, " "))
			}
		}
		must(t, rows.Err())
		must(t, rows.Close())
		slices.Sort(out[table])
	}
	return out
}

func backup(t *testing.T, url string) []byte {
	t.Helper()
	var b bytes.Buffer
	var last int64
	c, err := openBeside(t, url).Backup(t.Context(), &b, func(done, total int64) {
		if done < last || done > total {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last = done
	})
	must(t, err)
	if c.Rows() != last {
		t.Errorf("%d rows, %d done", c.Rows(), last)
	}
	return b.Bytes()
}

func restore(t *testing.T, url string, b []byte) {
	t.Helper()
	_, err := store.Restore(t.Context(), store.Config{URL: url, Key: key}, bytes.NewReader(b), nil)
	must(t, err)
}

func lastSeq(t *testing.T, s *store.Store, table string) (n int64) {
	t.Helper()
	must(t, s.DB().QueryRow(t.Context(), "SELECT max(seq) FROM "+table).Scan(&n))
	return n
}

func TestBackupRestore(t *testing.T) {
	for _, from := range storetest.Databases() {
		for _, to := range storetest.Databases() {
			t.Run(from.Name+" to "+to.Name, func(t *testing.T) {
				url, next := from.Make(t), to.Make(t)
				s := open(t, store.Config{URL: url})
				acquire(t, s, "x")
				acquire(t, s, "m")
				fill(t, s)
				b := backup(t, url)
				if bytes.Contains(b, []byte("lane")) || bytes.Contains(b, []byte("delivery")) {
					t.Error("the backup is legible")
				}
				restore(t, next, b)
				again := open(t, store.Config{URL: next})
				want, got := dump(t, s), dump(t, again)
				for table := range want {
					if len(got[table]) != len(want[table]) {
						t.Errorf("%s has %d rows, want %d", table, len(got[table]), len(want[table]))
					}
					for i := range min(len(want[table]), len(got[table])) {
						if want[table][i] != got[table][i] {
							t.Fatalf("%s: got\n%.300s\nwant\n%.300s", table, got[table][i], want[table][i])
						}
					}
				}
				for _, network := range []string{"x", "m"} {
					if get(t, again.State(network), gateway.StateRestored) == "" {
						t.Errorf("%s is not told of it", network)
					}
				}
				// Numbers go on where they were, not where the rows end.
				acquire(t, again, "x")
				lane := gateway.Address{Network: "m", ID: "lane"}
				say(t, s, "x", "new", "words", lane)
				say(t, again, "x", "new", "words", lane)
				for _, table := range []string{"delivery", "link"} {
					if a, b := lastSeq(t, s, table), lastSeq(t, again, table); a != b {
						t.Errorf("%s goes on with %d, want %d", table, b, a)
					}
				}
			})
		}
	}
}

// TestBackupBesideABusyGateway: what a backup holds is one moment: each transaction is in it or is not.
func TestBackupBesideABusyGateway(t *testing.T) {
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			url := d.Make(t)
			s := open(t, store.Config{URL: url})
			acquire(t, s, "x")
			ctx, stop := context.WithCancel(t.Context())
			var busy errgroup.Group
			begun := make(chan struct{})
			busy.Go(func() error {
				for n := 0; ctx.Err() == nil; n++ {
					pair := map[string][]byte{"one": fmt.Append(nil, n), "two": fmt.Append(nil, n), fmt.Sprint("filler", n): make([]byte, 2000)}
					if err := s.State("x").PutMany(context.Background(), pair); err != nil {
						return err
					}
					if n == 20 {
						close(begun)
					}
				}
				return nil
			})
			await(t, "the gateway", begun)
			for range 5 {
				next := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
				restore(t, next, backup(t, url))
				again := open(t, store.Config{URL: next})
				one, two := get(t, again.State("x"), "one"), get(t, again.State("x"), "two")
				if one == "" || one != two || get(t, again.State("x"), "filler"+one) == "" {
					t.Errorf("the backup holds %q and %q", one, two)
				}
			}
			stop()
			must(t, busy.Wait())
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	source := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
	s := open(t, store.Config{URL: source})
	fill(t, s)
	b := backup(t, source)
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			url := d.Make(t)
			refused := func(cfg store.Config, b []byte, want string) {
				t.Helper()
				_, err := store.Restore(t.Context(), cfg, bytes.NewReader(b), nil)
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			cfg := store.Config{URL: url, Key: key}
			refused(store.Config{URL: url, Key: bytes.Repeat([]byte{8}, store.KeySize)}, b, "another key")
			refused(cfg, []byte("SQLite format 3\x00"), "no backup of lockbridge")
			refused(cfg, b[:len(b)-1], "damaged or cut off")
			restore(t, url, b) // what was refused has left nothing
			refused(cfg, b, "not empty")
			again := open(t, store.Config{URL: url})
			if d.Name == "sqlite" {
				refused(cfg, b, "another process uses the database")
				return
			}
			acquire(t, again, "x")
			refused(cfg, b, "a gateway is running on this database (it has network x)")
		})
	}
}

// TestDamagedBackups: whatever is changed, taken away, added or put in another order is found.
func TestDamagedBackups(t *testing.T) {
	source := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
	s := open(t, store.Config{URL: source})
	fill(t, s)
	whole := backup(t, source)
	check := func(b []byte) error {
		_, err := store.CheckBackup(bytes.NewReader(b), key, nil)
		return err
	}
	must(t, check(whole))
	const head, sealed = 20 + 32 + 16, 64<<10 + 16
	if len(whole) < head+3*sealed {
		t.Fatalf("the backup has %d bytes", len(whole))
	}
	bad := map[string][]byte{
		"nothing":      nil,
		"head":         whole[:head],
		"half a head":  whole[:head/2],
		"one chunk":    whole[:head+sealed],
		"two chunks":   whole[:head+2*sealed],
		"something":    append(slices.Clone(whole), 0),
		"twice":        append(slices.Clone(whole), whole[head:]...),
		"other order":  slices.Concat(whole[:head], whole[head+sealed:head+2*sealed], whole[head:head+sealed], whole[head+2*sealed:]),
		"one left out": slices.Concat(whole[:head], whole[head+sealed:]),
	}
	for at := 0; at < len(whole); at += 1 + len(whole)/300 {
		flipped := slices.Clone(whole)
		flipped[at] ^= 1 << (at % 8)
		bad[fmt.Sprint("flipped ", at)] = flipped
		bad[fmt.Sprint("cut ", at)] = whole[:at]
	}
	for name, b := range bad {
		if err := check(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	other := backup(t, source)
	if err := check(append(slices.Clone(whole[:head+sealed]), other[head+sealed:]...)); err == nil {
		t.Error("chunks of another backup were accepted")
	}
}

// TestBackupOfAnOlderSchema restores what an earlier version wrote.
func TestBackupOfAnOlderSchema(t *testing.T) {
	b, err := os.ReadFile("testdata/schema1.backup")
	must(t, err)
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			url := d.Make(t)
			restore(t, url, b)
			s := open(t, store.Config{URL: url})
			if got := get(t, s.State("x"), "k"); got != "v" {
				t.Errorf("read %q", got)
			}
			q, err := s.Head(t.Context(), gateway.Address{Network: "m", ID: "lane"}, 9)
			if err != nil || len(q) != 1 || q[0].Event == nil {
				t.Errorf("%+v, %v", q, err)
			}
		})
	}
}

func TestBackupToAFullDisk(t *testing.T) {
	source := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
	s := open(t, store.Config{URL: source})
	fill(t, s)
	beside := openBeside(t, source)
	for _, room := range []int{0, 50, 100_000, 300_000} {
		if _, err := beside.Backup(t.Context(), &narrow{room}, nil); !errors.Is(err, errNarrow) {
			t.Errorf("room for %d bytes: %v", room, err)
		}
	}
}

var errNarrow = errors.New("no space left")

// narrow takes so many bytes.
type narrow struct{ room int }

func (n *narrow) Write(p []byte) (int, error) {
	if n.room -= len(p); n.room < 0 {
		return 0, errNarrow
	}
	return len(p), nil
}
