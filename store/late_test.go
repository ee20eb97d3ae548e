package store_test

import (
	"context"
	"net"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// cutOne ends the one connection that the server knows by its client's port.
func (w *wire) cutOne(port int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		if addr, ok := c.LocalAddr().(*net.TCPAddr); ok && addr.Port == port {
			c.Close()
		}
	}
}

// A commit that nobody answered for may come late. What is accepted after it does not overtake it in a lane, although the
// memory of that lane has asked the database meanwhile.
func TestALateCommitIsNotOvertaken(t *testing.T) {
	for _, d := range storetest.Postgres() {
		t.Run(d.Name, func(t *testing.T) {
			dsn := d.Make(t)
			b := open(t, store.Config{URL: dsn})
			w, url := newWire(t, dsn)
			a := openRunning(t, url)
			<-a.Wake("heard") // the word of other processes reaches it
			keeping(t, acquire(t, a, "x"))
			keeping(t, acquire(t, a, "m"))
			lane := gateway.Address{Network: "m", ID: "lane"}
			gate := shutGate(t, b)
			accepting := func(native string) <-chan error {
				result := make(chan error, 1)
				e := entry(t, "x", native, native, lane)
				go func() {
					result <- a.Do(t.Context(), "x", func(ctx context.Context) error { return a.Append(ctx, []gateway.Entry{e}) })
				}()
				return result
			}
			first := accepting("first")
			port := 0
			until(t, "the server commits", func() bool {
				port = gate.waiting(t)
				return port != 0
			})
			w.cutOne(port)
			if err := await(t, "the end of the transaction", first); err == nil {
				t.Error("it was answered")
			}
			if due, _, err := a.Lanes(t.Context(), "m", time.Now()); err != nil || len(due) != 0 {
				t.Errorf("due are %v, %v", due, err)
			}
			second := accepting("second")
			gate.open(t)
			must(t, await(t, "the second one", second))
			rows, err := a.Head(t.Context(), lane, 9)
			must(t, err)
			var order []string
			for _, row := range rows {
				order = append(order, row.Event.Native)
			}
			if len(order) != 2 || order[0] != "first" {
				t.Errorf("in the lane are %v", order)
			}
		})
	}
}
