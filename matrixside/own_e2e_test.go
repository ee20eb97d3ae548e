//go:build e2e

package matrixside

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lockbridge/testbed/peers"
)

// openOwn is a bed with nothing but a homeserver, which the test may kill.
func openOwn(t *testing.T) *bed {
	t.Helper()
	shared, err := peers.Start(t.Context(), os.Stderr)
	must(t, err)
	base, err := strconv.Atoi(cmp.Or(os.Getenv("TESTBED_PORT_BASE"), "25000"))
	must(t, err)
	base += 900
	dir := fmt.Sprintf("/var/tmp/lockbridge-testbed-%d-%d", os.Getuid(), base)
	t.Setenv("TESTBED_PORT_BASE", strconv.Itoa(base))
	t.Setenv("TESTBED_DIR", dir)
	t.Setenv("TESTBED_SLOTS", "2")
	t.Setenv("HOMESERVER", shared.Homeserver)
	for _, folder := range []string{"pids", "log", "slots"} {
		must(t, os.MkdirAll(filepath.Join(dir, folder), 0o755))
	}
	env := fmt.Sprintf("HOST=%s\nIP=%s\nHOMESERVER=%s\nSLOTS=2\nMATRIX_PORT=%d\nAPPSERVICE_PORT=%d\nLOCKBRIDGE_PORT=%d\n", shared.Host, shared.IP, shared.Homeserver, base+8, base+330, base+380)
	must(t, os.WriteFile(filepath.Join(dir, "env"), []byte(env), 0o600))
	homeserver := func(ctx context.Context, what string) error {
		out, err := exec.CommandContext(ctx, filepath.Join(shared.Source, "homeserver.sh"), what).CombinedOutput()
		if err != nil {
			return fmt.Errorf("homeserver.sh %s: %w\n%s", what, err, out)
		}
		return nil
	}
	must(t, homeserver(t.Context(), "start"))
	t.Cleanup(func() {
		must(t, homeserver(context.WithoutCancel(t.Context()), "stop"))
		must(t, os.RemoveAll(dir))
	})
	own, err := peers.Open()
	must(t, err)
	return slotOf(t, own)
}

// stay is a person who goes on when the homeserver comes back.
func (b *bed) stay(ctx context.Context, t *testing.T, name string) *peers.Matrix {
	t.Helper()
	m := b.login(ctx, t, name)
	m.Keep()
	return m
}

// kill ends the homeserver as a crash does.
func (b *bed) kill(ctx context.Context, t *testing.T) {
	t.Helper()
	must(t, b.Stop(ctx, b.Homeserver, "KILL"))
}

func (b *bed) resume(ctx context.Context, t *testing.T) {
	t.Helper()
	must(t, b.Resume(ctx, b.Homeserver))
}

// muzzle is a proxy before the homeserver that can keep the answers of some requests to itself: these arrive, and the
// connection breaks.
type muzzle struct {
	address string
	target  string
	mu      sync.Mutex
	hush    string        // a request whose first line holds this gets no answer
	caught  chan struct{} // closed when one was hushed
}

func newMuzzle(t *testing.T, target string) *muzzle {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	m := &muzzle{address: l.Addr().String(), target: target}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { m.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Wait()
	})
	return m
}

// keepSilent hushes the next request whose first line holds a text, and returns what is closed when it happened.
func (m *muzzle) keepSilent(about string) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hush, m.caught = about, make(chan struct{})
	return m.caught
}

func (m *muzzle) hushes(request []byte) (caught chan struct{}) {
	line, _, _ := strings.Cut(string(request), "\r\n")
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hush == "" || !strings.Contains(line, m.hush) {
		return nil
	}
	m.hush = ""
	return m.caught
}

// serve passes one connection on. Requests are not pipelined, so each read from the client begins or continues one, and
// what comes back belongs to the last.
func (m *muzzle) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", m.target)
	if err != nil {
		return
	}
	defer server.Close()
	var silent sync.Map
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if caught, ok := silent.Load(true); ok { // the homeserver has answered, so it was done
				close(caught.(chan struct{}))
				return
			}
			if n > 0 {
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if n > 0 {
			if caught := m.hushes(buf[:n]); caught != nil {
				silent.Store(true, caught)
			}
			if _, err := server.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	server.Close()
	back.Wait()
}
