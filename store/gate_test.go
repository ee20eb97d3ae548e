package store_test

import (
	"database/sql"
	"testing"

	"lockbridge/store"
)

// gate holds up commits of new events on Postgres.
type gate struct{ conn *sql.Conn }

// shutGate lets no new event be committed until the gate is opened.
func shutGate(t *testing.T, s *store.Store) gate {
	t.Helper()
	conn, err := s.DB().RawDB.Conn(t.Context())
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	for _, statement := range []string{
		"SELECT pg_advisory_lock(4711)",
		// The driver asks the server to cancel what it gave up, which here comes too late.
		`CREATE FUNCTION await_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN LOOP BEGIN
			PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; EXCEPTION WHEN query_canceled THEN END; END LOOP; END $$`,
		"CREATE CONSTRAINT TRIGGER await_gate AFTER INSERT ON event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION await_gate()",
	} {
		_, err := conn.ExecContext(t.Context(), statement)
		must(t, err)
	}
	return gate{conn}
}

// waiting is the client's port of a connection whose commit is held up; 0: there is none.
func (g gate) waiting(t *testing.T) (port int) {
	t.Helper()
	const q = `SELECT coalesce(max(s.client_port), 0) FROM pg_locks l JOIN pg_stat_activity s USING (pid)
		WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.objid = 4711 AND NOT l.granted`
	must(t, g.conn.QueryRowContext(t.Context(), q).Scan(&port))
	return port
}

func (g gate) open(t *testing.T) {
	t.Helper()
	_, err := g.conn.ExecContext(t.Context(), "SELECT pg_advisory_unlock(4711)")
	must(t, err)
}
