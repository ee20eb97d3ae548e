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
			gate, err := b.DB().RawDB.Conn(t.Context())
			must(t, err)
			defer gate.Close()
			for _, statement := range []string{
				"SELECT pg_advisory_lock(4712)",
				// The driver asks the server to cancel what it gave up, which here comes too late.
				`CREATE FUNCTION await_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN LOOP BEGIN
					PERFORM pg_advisory_xact_lock_shared(4712); RETURN NULL; EXCEPTION WHEN query_canceled THEN END; END LOOP; END $$`,
				"CREATE CONSTRAINT TRIGGER await_gate AFTER INSERT ON event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION await_gate()",
			} {
				_, err := gate.ExecContext(t.Context(), statement)
				must(t, err)
			}
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
				const q = `SELECT coalesce(max(s.client_port), 0) FROM pg_locks l JOIN pg_stat_activity s USING (pid)
					WHERE l.locktype = 'advisory' AND l.objid = 4712 AND NOT l.granted`
				must(t, gate.QueryRowContext(t.Context(), q).Scan(&port))
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
			_, err = gate.ExecContext(t.Context(), "SELECT pg_advisory_unlock(4712)")
			must(t, err)
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
