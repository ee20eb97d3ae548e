package store_test

import (
	"context"
	"database/sql"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"go.mau.fi/util/dbutil"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// oldVersion makes a database as an earlier version did, with a delivery in each of its states. Of those that were
// swept since, the sequence knows.
func oldVersion(t *testing.T, url string, version int) {
	t.Helper()
	files, err := fs.Glob(os.DirFS("sql"), "*.sql")
	must(t, err)
	texts := fstest.MapFS{}
	for _, name := range files[:version] {
		text, err := fs.ReadFile(os.DirFS("sql"), name)
		must(t, err)
		texts[name] = &fstest.MapFile{Data: text}
	}
	var raw *sql.DB
	dialect := "pgx"
	if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
		dialect = "sqlite"
		raw, err = sql.Open("sqlite", file)
	} else {
		raw, err = sql.Open("pgx", url)
	}
	must(t, err)
	defer raw.Close()
	db, err := dbutil.NewWithDB(raw, dialect)
	must(t, err)
	db.Owner = "lockbridge"
	db.UpgradeTable = dbutil.BuildUpgradeTable().WithFS(texts).Finish()
	must(t, db.Upgrade(t.Context()))
	for _, q := range []string{
		`INSERT INTO event (id, network, room, native, data, excerpt, accepted, keep_until) VALUES ($1, 'x', $2, $2, $2, $2, 5, 0)`,
		`INSERT INTO delivery (key, event, network, room, seal, attempt, due, state, accepted) VALUES ('done', $1, 'x', $2, false, 0, 0, 1, 5)`,
		`INSERT INTO delivery (key, event, network, room, seal, attempt, due, state, accepted, reason) VALUES ('dead', $1, 'x', $2, false, 9, 0, 2, 5, 'full')`,
		`INSERT INTO delivery (key, event, network, room, seal, attempt, due, state, accepted) VALUES ('waits', $1, 'x', $2, true, 3, 7, 0, 5)`,
		`INSERT INTO delivery (key, event, network, room, seal, attempt, due, state, accepted) VALUES ('swept', $1, 'x', $2, false, 0, 0, 1, 5)`,
		`DELETE FROM delivery WHERE key = 'swept' AND event = $1 AND room = $2`,
	} {
		_, err := db.Exec(t.Context(), q, []byte("sixteen bytes id"), []byte("room"))
		must(t, err)
	}
}

func TestADatabaseOfTheFirstVersionGoesOn(t *testing.T)  { goesOn(t, 1) }
func TestADatabaseOfTheSecondVersionGoesOn(t *testing.T) { goesOn(t, 2) }

func goesOn(t *testing.T, version int) {
	t.Helper()
	for _, d := range storetest.Databases() {
		t.Run(d.Name, func(t *testing.T) {
			url := d.Make(t)
			if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
				url = "sqlite:" + strings.NewReplacer("?", "", "#", "", "%", "").Replace(file) // opened by its plain name, too
			}
			oldVersion(t, url, version)
			s := open(t, store.Config{URL: url})
			acquire(t, s, "x")
			lane := gateway.Address{Network: "x", ID: "room"}
			say(t, s, "x", "new", "words", lane)
			q, err := s.Head(t.Context(), lane, 9)
			must(t, err)
			if len(q) != 2 || q[0].Key != "waits" || q[0].Attempt != 3 || !q[0].Seal || q[0].Due.UnixMilli() != 7 || q[1].Seq != 5 {
				t.Errorf("lane: %+v", q)
			}
			must(t, s.Do(t.Context(), "x", func(ctx context.Context) error {
				return s.Finish(ctx, []gateway.Finished{{Seq: q[1].Seq, Key: q[1].Key, Dead: true, Reason: "closed"}})
			}))
			dead, err := openBeside(t, url).Dead(t.Context(), lane)
			must(t, err)
			if len(dead) != 2 || dead[0].Reason != "full" || dead[1].Reason != "closed" || !dead[0].Ended.IsZero() || dead[1].Ended.IsZero() {
				t.Errorf("dead: %+v", dead)
			}
		})
	}
}
