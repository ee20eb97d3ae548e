package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/store"
)

// reloadConfig has two networks whose servers are away, and one bridge.
const reloadConfig = `
store.key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
http.listen = "127.0.0.1:0"
network.a = { kind = "irc", server = "127.0.0.1:1", nick = "lockbridge" }
network.b = { kind = "irc", server = "127.0.0.1:1", nick = "lockbridge" }
bridge = [{ name = "lobby", rooms = { a = "#lobby", b = "#lobby" }, encryption = "off" }]
`

const twoBridges = `bridge = [
	{ name = "lobby", rooms = { a = "#lobby", b = "#lobby" }, encryption = "off" },
	{ name = "attic", rooms = { a = "#attic", b = "#attic" }, encryption = "off" },
]
`

// edited is the configuration with other bridges.
func edited(bridges string) string {
	return reloadConfig[:strings.Index(reloadConfig, "bridge =")] + bridges
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHangup sends SIGHUP to the program.
func TestHangup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	config := filepath.Join(dir, "lockbridge.toml")
	writeFile(t, config, reloadConfig)
	cmd := program(ctx, oneKey, "run", "--config", "lockbridge.toml", "--networks", "a")
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	base := "http://" + await(t, lines, regexp.MustCompile(`msg="http listens" address=(\S+)`))
	await(t, lines, regexp.MustCompile(`msg="lockbridge starts" .* (networks=\[a\])`))
	expect(ctx, t, base+"/readyz", http.StatusServiceUnavailable, `^{"ready":false,"networks":{"a":{"state":"away","reason":".+"}}}\n$`)

	for _, c := range []struct{ text, log string }{
		{edited("bridge = [\n"), `msg="the configuration is wrong" file=\S+lockbridge.toml line=\d+ problem="cannot be read as TOML`},
		{edited(strings.Replace(twoBridges, `a = "#attic"`, `c = "#attic"`, 1)), `line=8 problem="bridge.1.rooms.c: there is no network \\"c\\"`},
		{edited(strings.Replace(twoBridges, `a = "#attic"`, `c = "#attic"`, 1)) + `network.c = { kind = "irc", server = "127.0.0.1:1", nick = "lockbridge" }`,
			`line=8 problem="bridge.1.rooms.c: the network \\"c\\" is new \(restart`},
	} {
		writeFile(t, config, c.text)
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await(t, lines, regexp.MustCompile("("+c.log+")"))
		await(t, lines, regexp.MustCompile(`(msg="the configuration was not taken; everything goes on as it was" errors=1)`))
	}
	writeFile(t, config, edited(twoBridges)+"log.level = \"debug\"\n")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await(t, lines, regexp.MustCompile(`(msg="something else than bridges has changed, which needs a restart" where=\[\[log\]\])`))
	await(t, lines, regexp.MustCompile(`(msg="the bridges were reread" bridges=2 added=\[attic\] removed=\[\] changed=\[\])`))

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, lines, regexp.MustCompile(`(msg=stopped)`))
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// roomSide is a side that says what rooms it has and what it was given to deliver.
type roomSide struct {
	silent
	rooms     chan []gateway.Room
	delivered chan gateway.Delivery
}

func (s roomSide) SetRooms(rooms []gateway.Room) { s.rooms <- rooms }

func (s roomSide) Deliver(_ context.Context, run []gateway.Delivery) []gateway.Outcome {
	for _, d := range run {
		s.delivered <- d
	}
	return make([]gateway.Outcome, len(run))
}

// TestRereadBridges rereads the file under a gateway that runs: a new bridge carries, one that is gone does not, a file
// that is broken changes nothing.
func TestRereadBridges(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "lockbridge.toml", reloadConfig)
	cfg, f, err := load("lockbridge.toml", kinds())
	if err != nil || f.broken() {
		t.Fatal(err, f.all)
	}
	st, err := store.Open(t.Context(), store.Config{URL: "sqlite:lockbridge.db", Key: cfg.key})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	newSide := func() roomSide {
		return roomSide{silent{make(chan gateway.Inbox, 1)}, make(chan []gateway.Room, 1), make(chan gateway.Delivery, 1)}
	}
	a, b := newSide(), newSide()
	g := gateway.New(gateway.Config{
		Journal: st, Leases: st, Bridges: cfg.bridges, Sides: map[string]gateway.Side{"a": a, "b": b}, Status: gateway.NewStatus([]string{"a", "b"}, log),
		Log: log, Metrics: prometheus.NewRegistry(), Rand: rand.Reader, Now: time.Now,
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Run(ctx) })
	wg.Go(func() { _ = st.Run(ctx) })
	defer wg.Wait()
	defer cancel()

	n := 0
	in := <-a.in
	say := func(room string) {
		t.Helper()
		n++
		arrival := said(n)
		arrival.At = gateway.Address{Network: "a", ID: room}
		if err := in.Accept(t.Context(), []gateway.Arrival{arrival}); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(room string) {
		t.Helper()
		select {
		case d := <-b.delivered:
			if d.Room != (gateway.Address{Network: "b", ID: room}) {
				t.Errorf("delivered to %v, want %s", d.Room, room)
			}
		case <-time.After(time.Minute):
			t.Fatalf("nothing was delivered to %s", room)
		}
	}
	has := func(s roomSide, want string) {
		t.Helper()
		var got []string
		for _, r := range <-s.rooms {
			got = append(got, r.ID)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("the side has rooms %v, want %s", got, want)
		}
	}
	r := &reload{path: filepath.Join(mustGetwd(t), "lockbridge.toml"), running: cfg, log: log}

	say("#lobby")
	hears("#lobby")
	writeFile(t, "lockbridge.toml", edited("bridge = 7\n"))
	r.reread(g.SetBridges) // would hang if it set rooms twice
	writeFile(t, "lockbridge.toml", edited(twoBridges))
	r.reread(g.SetBridges)
	has(a, "[#lobby #attic]")
	has(b, "[#lobby #attic]")
	say("#lobby")
	hears("#lobby")
	say("#attic")
	hears("#attic")
	writeFile(t, "lockbridge.toml", edited(strings.ReplaceAll(strings.ReplaceAll(twoBridges, `name = "lobby", rooms = { a = "#lobby"`, `name = "lobby", rooms = { a = "#foyer"`), "attic", "cellar")))
	r.reread(g.SetBridges)
	has(a, "[#foyer #cellar]")
	has(b, "[#lobby #cellar]")
	say("#attic") // goes nowhere any more
	say("#foyer")
	hears("#lobby")
	if want := `added=[cellar] removed=[attic] changed=[lobby]`; !strings.Contains(logged.String(), want) {
		t.Errorf("the log does not hold %s:\n%s", want, &logged)
	}
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
