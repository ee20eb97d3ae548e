package storetest

import (
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// postgresEnv names an admin database (postgres://…) in which tests make databases of their own.
const postgresEnv = "LOCKBRIDGE_TEST_POSTGRES"

// Database is a kind of database to test on.
type Database struct {
	Name string
	// Make makes an empty one, which goes when the test ends, and returns its URL.
	Make func(t testing.TB) string
}

// Databases are those that this machine has: SQLite, and Postgres where LOCKBRIDGE_TEST_POSTGRES names one.
func Databases() []Database {
	list := []Database{{"sqlite", func(t testing.TB) string {
		t.Helper()
		return "sqlite:" + filepath.Join(t.TempDir(), "a b#c?d%20.db") // a name that a careless URL would break
	}}}
	return append(list, Postgres()...)
}

// Postgres is the part of Databases that several processes can share.
func Postgres() []Database {
	admin := os.Getenv(postgresEnv)
	if admin == "" {
		return nil
	}
	return []Database{{"postgres", func(t testing.TB) string {
		t.Helper()
		return makePostgres(t, admin)
	}}}
}

func makePostgres(t testing.TB, admin string) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(admin)
	must(err)
	var b [8]byte
	_, err = rand.Read(b[:])
	must(err)
	name := "lbtest_" + hex.EncodeToString(b[:])
	db, err := sql.Open("pgx", admin)
	must(err)
	_, err = db.Exec("CREATE DATABASE " + name)
	must(err)
	t.Cleanup(func() {
		if _, err := db.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		must(db.Close())
	})
	u.Path = "/" + name
	return u.String()
}
