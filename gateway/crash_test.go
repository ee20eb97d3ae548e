package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/store"
)

const (
	crashEnv   = "LOCKBRIDGE_TEST_CRASH"
	crashTotal = 600 // messages
	crashKills = 12
)

// TestMain lets the test binary be the process that TestKillsLoseAndRepeatNothing kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashEnv); dir != "" {
		if err := carry(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// The source numbers its messages, sends what was not acknowledged again after a restart, and notes each
// acknowledgement; the destination notes what it was told. Both notes survive a kill, as a network would.
func TestKillsLoseAndRepeatNothing(t *testing.T) {
	dir := t.TempDir()
	for kills := 0; ; kills++ {
		after := -1
		if kills < crashKills {
			after = 1 + mrand.IntN(2*crashTotal/crashKills)
		}
		if carryUntil(t, dir, after) {
			break
		}
	}
	wire, err := os.ReadFile(filepath.Join(dir, "wire"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(wire), "\n"), "\n")
	if len(lines) != crashTotal {
		t.Errorf("%d messages were said, not %d", len(lines), crashTotal)
	}
	for i, line := range lines {
		if _, text, _ := strings.Cut(line, " "); text != strconv.Itoa(i) {
			t.Fatalf("the %d. message is %q", i, line)
		}
	}
}

// carryUntil runs the process until it is done (true) or kills it after some of its notes.
func carryUntil(t *testing.T, dir string, after int) (done bool) {
	t.Helper()
	child := exec.Command(os.Args[0]) //nolint:gosec // this test itself
	child.Env = append(os.Environ(), crashEnv+"="+dir)
	child.Stderr = t.Output()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; n != after && lines.Scan(); n++ {
		done = lines.Text() == "done"
	}
	if !done {
		err = child.Process.Kill()
	}
	if err := errors.Join(err, child.Wait()); done && err != nil {
		t.Fatal(err)
	}
	return done
}

// carry is the process: a source and a destination on one gateway.
func carry(dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st, err := store.Open(ctx, store.Config{URL: "sqlite:" + filepath.Join(dir, "lb.db"), Key: bytes.Repeat([]byte{7}, 32), Log: log})
	if err != nil {
		return err
	}
	source, err := openNotes(filepath.Join(dir, "acked"))
	if err != nil {
		return err
	}
	wire, err := openNotes(filepath.Join(dir, "wire"))
	if err != nil {
		return err
	}
	sides := map[string]gateway.Side{"a": &counter{source}, "b": &wall{notes: wire, done: cancel}}
	g := gateway.New(gateway.Config{
		Journal: st, Leases: st, Sides: sides, Status: gateway.NewStatus([]string{"a", "b"}, log), Log: log,
		Bridges: []gateway.Bridge{{Encryption: gateway.EncryptionOff, Rooms: map[string]gateway.BridgeRoom{"a": {ID: "room"}, "b": {ID: "room"}}}},
		Metrics: prometheus.NewRegistry(), Rand: rand.Reader, Now: time.Now,
	})
	if err := errors.Join(g.Run(ctx), st.Close()); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// notes are the lines of a file that a kill does not lose.
type notes struct {
	file  *os.File
	lines []string
}

func openNotes(name string) (*notes, error) {
	b, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	n := &notes{file: f}
	for line := range strings.Lines(string(b)) {
		n.lines = append(n.lines, strings.TrimSuffix(line, "\n"))
	}
	return n, err
}

func (n *notes) add(line string) {
	n.lines = append(n.lines, line)
	if _, err := n.file.WriteString(line + "\n"); err != nil {
		panic(err)
	}
	fmt.Println("noted")
}

// counter is the source.
type counter struct{ acked *notes }

func (*counter) Caps(gateway.Address) gateway.Caps { return gateway.Caps{} }
func (*counter) SetRooms([]gateway.Room)           {}

func (*counter) Forget(context.Context, gateway.Person) error { return nil }

func (*counter) Deliver(context.Context, []gateway.Delivery) []gateway.Outcome { return nil }

func (c *counter) Run(ctx context.Context, in gateway.Inbox) error {
	next := 0
	if n := len(c.acked.lines); n > 0 {
		next, _ = strconv.Atoi(c.acked.lines[n-1])
	}
	for next < crashTotal && ctx.Err() == nil {
		var batch []gateway.Arrival
		for range min(1+mrand.IntN(8), crashTotal-next) {
			text := strconv.Itoa(next)
			next++
			batch = append(batch, gateway.Arrival{At: gateway.Address{Network: "a", ID: "room"}, Native: text, Read: func(context.Context) (*gateway.Event, error) {
				return &gateway.Event{Sender: gateway.Person{Network: "a", ID: "x"}, Body: gateway.Message{Text: gateway.Text{Plain: text}}}, nil
			}})
		}
		if err := in.Accept(ctx, batch); err != nil {
			return err
		}
		c.acked.add(strconv.Itoa(next))
	}
	<-ctx.Done()
	return nil
}

// wall is the destination. What was tried before it looks up, as a side does in a room's history.
type wall struct {
	mu    sync.Mutex
	notes *notes
	done  func()
}

func (*wall) Caps(gateway.Address) gateway.Caps { return gateway.Caps{RunLength: 10} }

func (w *wall) Run(ctx context.Context, _ gateway.Inbox) error {
	w.end()
	<-ctx.Done()
	return nil
}

func (w *wall) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.notes.lines) == crashTotal {
		w.done()
	}
}

func (*wall) SetRooms([]gateway.Room) {}

func (*wall) Forget(context.Context, gateway.Person) error { return nil }

func (w *wall) Deliver(_ context.Context, run []gateway.Delivery) []gateway.Outcome {
	defer w.end()
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []gateway.Outcome
	for _, d := range run {
		line := d.Key + " " + text(d)
		dice := mrand.IntN(100)
		switch known := w.said(line); {
		case known && d.Attempt > 0:
		case dice == 0:
			return append(out, gateway.Failed(gateway.Later(time.Millisecond, errors.New("not now"))))
		case dice == 1 && len(out) > 0:
			return out
		default:
			w.notes.add(line)
		}
		out = append(out, gateway.Sent(gateway.Part{Native: d.Key}))
	}
	return out
}

func (w *wall) said(line string) bool {
	for _, l := range w.notes.lines {
		if l == line {
			return true
		}
	}
	return false
}
