package store_test

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// wire is a connection's way to Postgres that can break: what goes through it is stalled or cut.
type wire struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns []net.Conn
	state wireState
	flow  chan struct{} // closed while bytes pass
	wg    sync.WaitGroup
}

type wireState int

const (
	whole   wireState = iota
	stalled           // half-open: everything is acknowledged, nothing arrives
	cut               // connections end, new ones too
)

// newWire returns a way to the database of dsn, and the URL that goes that way.
func newWire(t *testing.T, dsn string) (*wire, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	w := &wire{listener: l, target: u.Host, flow: make(chan struct{})}
	close(w.flow)
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		l.Close()
		w.set(whole)
		w.set(cut)
		w.wg.Wait()
	})
	u.Host = l.Addr().String()
	return w, u.String()
}

func (w *wire) set(s wireState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s == stalled && w.state != stalled {
		w.flow = make(chan struct{})
	} else if s != stalled && w.state == stalled {
		close(w.flow)
	}
	w.state = s
	if s == cut {
		for _, c := range w.conns {
			c.Close()
		}
		w.conns = nil
	}
}

func (w *wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.wg.Go(func() { w.carry(c) })
	}
}

func (w *wire) carry(c net.Conn) {
	defer c.Close()
	w.mu.Lock()
	if w.state == cut {
		w.mu.Unlock()
		return
	}
	w.conns = append(w.conns, c)
	flow := w.flow
	w.mu.Unlock()
	<-flow
	server, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer server.Close()
	w.mu.Lock()
	w.conns = append(w.conns, server)
	w.mu.Unlock()
	w.wg.Go(func() { w.pass(server, c) })
	w.pass(c, server)
}

func (w *wire) pass(from, to net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		flow := w.flow
		w.mu.Unlock()
		<-flow
		if _, bad := to.Write(buf[:n]); err != nil || bad != nil {
			return
		}
	}
}
