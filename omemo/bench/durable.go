package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"lockbridge/gateway"
	"lockbridge/omemo"
	"lockbridge/store"
)

const (
	roomDevices = 1000
	recordBytes = 600 // of a session record of libsignal-protocol-c, with few receiving chains
	perSide     = 9   // messages of one side in a pair; their median is its figure
)

// onDisk measures one message to a room of 1000 devices, durable before it may leave: ours with package store, and the
// plain way. The databases are the same, with fsync.
func onDisk(ctx context.Context, c config, report *report) error {
	const postgres, sqlite = "seal_1000_postgres", "seal_1000_sqlite"
	if !report.wants(postgres) && !report.wants(sqlite) {
		return nil
	}
	base, err := filepath.Abs(c.dir) // a URL names a file by its whole path
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(base, "bench-omemo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	dsn, drop, err := makeDatabase(ctx, c.postgres)
	if err != nil {
		return err
	}
	defer drop()
	signal, err := startWorker(ctx, c, libsignal)
	if err != nil {
		return err
	}
	defer signal.kill()
	records, err := openPlainPostgres(ctx, dsn)
	if err != nil {
		return err
	}
	defer records.close()
	files, err := openPlainSQLite(ctx, filepath.Join(dir, "plain.db"))
	if err != nil {
		return err
	}
	defer files.close()
	for _, d := range []struct {
		name, url string
		plain     plainStore
	}{{postgres, dsn, records}, {sqlite, "sqlite:" + filepath.Join(dir, "ours.db"), files}} {
		if !report.wants(d.name) {
			continue
		}
		if err := durablePairs(ctx, c, report, d.name, d.url, &plainWay{signal: signal, store: d.plain, message: stanzaMessage()}); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}

func durablePairs(ctx context.Context, c config, report *report, name, url string, plain *plainWay) error {
	fmt.Fprintf(os.Stderr, "%s: making %d sessions ", name, roomDevices)
	own, err := openDurable(ctx, url)
	if err != nil {
		return err
	}
	defer own.store.Close()
	one := func(seal func(context.Context) (time.Duration, error)) func() (float64, error) {
		return func() (float64, error) {
			spent, err := seal(ctx)
			return float64(spent), err
		}
	}
	theirSeal, ourSeal := one(plain.seal), one(own.seal)
	for number := -1; number < c.pairs; number++ { // the first one warms
		fmt.Fprintf(os.Stderr, "\r%s: pair %d of %d     ", name, number+1, c.pairs)
		messages := make([]pair, perSide)
		for i := range messages { // what else the machine does comes in bursts: they should meet both sides
			if messages[i], err = measurePair(number+1+i, theirSeal, ourSeal); err != nil {
				return err
			}
		}
		if number >= 0 {
			report.add(name, pair{spreadOf(messages, theirs).median * 1000, spreadOf(messages, ours).median * 1000})
		}
	}
	fmt.Fprintln(os.Stderr)
	return nil
}

// durable is our side: a device whose state lies in a database.
type durable struct {
	store *store.Store
	state gateway.State
	room  *room
	sent  int
}

const network = "bench"

// openDurable opens an empty store and puts the state of a room's own device into it.
func openDurable(ctx context.Context, url string) (*durable, error) {
	s, err := store.Open(ctx, store.Config{URL: url, Key: bytes.Repeat([]byte{7}, store.KeySize), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	d := &durable{store: s, state: s.State(network)}
	if _, err = s.Acquire(ctx, network); err == nil { // freed with the process
		d.room, err = newRoom(roomDevices, true)
	}
	if err == nil {
		err = d.state.PutMany(ctx, d.room.own.state)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	d.room.own.manager = omemo.NewManager(d.state, omemo.Options{})
	return d, nil
}

// seal is what the gateway does for one message: in one transaction it seals for all devices, which reads and writes the
// state, and stages the whole stanza; both are on the disk before the function returns.
func (d *durable) seal(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	d.sent++
	err := d.state.Update(ctx, func(ctx context.Context) error {
		msg, report, err := d.room.own.manager.Seal(ctx, version, ownJID, d.room.to, nil, body())
		if err != nil {
			return err
		}
		if len(report.Sealed) != roomDevices {
			return fmt.Errorf("sealed for %d devices only", len(report.Sealed))
		}
		return d.state.PutMany(ctx, map[string][]byte{fmt.Sprint("out/", d.sent): msg.AppendXML(nil)})
	})
	return time.Since(start), err
}

// plainWay seals by libsignal-protocol-c, marshals the stanza by encoding/xml and upserts the records of all sessions in
// one transaction. The sealing is timed in the C program; nothing is added for getting its results here. The stanza
// itself is not stored: that flatters the plain way.
type plainWay struct {
	signal  *worker
	store   plainStore
	message *omemo.Message // of the size of what the C program has made
	stanza  bytes.Buffer
}

type plainStore interface {
	upsert(ctx context.Context, devices []int64, records [][]byte) error
	close()
}

func (p *plainWay) seal(ctx context.Context) (time.Duration, error) {
	records := make([][]byte, roomDevices)
	numbers := make([]int64, roomDevices)
	data := make([]byte, roomDevices*recordBytes)
	_, _ = rand.Read(data) // never fails
	for i := range records {
		records[i], numbers[i] = data[i*recordBytes:(i+1)*recordBytes], int64(i)
	}
	each, err := p.signal.measure("seal_wall", roomDevices)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := marshalPlain(&p.stanza, p.message); err != nil {
		return 0, err
	}
	if err := p.store.upsert(ctx, numbers, records); err != nil {
		return 0, err
	}
	return time.Since(start) + time.Duration(each*roomDevices), nil
}

const recordTable = "(name TEXT NOT NULL, device BIGINT NOT NULL, record %s NOT NULL, PRIMARY KEY (name, device))"

func recordName(device int64) string { return fmt.Sprintf("member%d@example.org", device/3) }

// makeDatabase makes a database on the server, which drop removes.
func makeDatabase(ctx context.Context, admin string) (dsn string, drop func(), err error) {
	u, err := url.Parse(admin)
	if err != nil {
		return "", nil, fmt.Errorf("read the server's URL: %w", err)
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	name := "bench_" + hex.EncodeToString(b[:])
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return "", nil, err
	}
	drop = func() {
		ctx := context.WithoutCancel(ctx)
		if _, err := conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			fmt.Fprintln(os.Stderr, "bench: drop the database:", err)
		}
		conn.Close(ctx)
	}
	var fsync, commit string
	if err := conn.QueryRow(ctx, "SELECT current_setting('fsync'), current_setting('synchronous_commit')").Scan(&fsync, &commit); err != nil {
		conn.Close(ctx)
		return "", nil, err
	}
	if fsync != "on" || commit != "on" {
		conn.Close(ctx)
		return "", nil, fmt.Errorf("fsync is %s and synchronous_commit is %s on the server: both must be on", fsync, commit)
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		conn.Close(ctx)
		return "", nil, err
	}
	u.Path = "/" + name
	return u.String(), drop, nil
}

type plainPostgres struct{ conn *pgx.Conn }

func openPlainPostgres(ctx context.Context, dsn string) (*plainPostgres, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "CREATE TABLE plain "+fmt.Sprintf(recordTable, "BYTEA"))
	return &plainPostgres{conn}, err
}

func (p *plainPostgres) close() { p.conn.Close(context.Background()) }

// upsert is the quickest of the usual ways: one statement over arrays, prepared by pgx when it is first used.
func (p *plainPostgres) upsert(ctx context.Context, devices []int64, records [][]byte) error {
	names := make([]string, len(devices))
	for i, d := range devices {
		names[i] = recordName(d)
	}
	_, err := p.conn.Exec(ctx, `INSERT INTO plain (name, device, record)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])
		ON CONFLICT (name, device) DO UPDATE SET record = excluded.record`, names, devices, records)
	return err
}

type plainSQLite struct {
	db  *sql.DB
	put *sql.Stmt
}

func openPlainSQLite(ctx context.Context, file string) (*plainSQLite, error) {
	dsn := url.URL{Scheme: "file", Path: file, RawQuery: "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate"}
	db, err := sql.Open("sqlite", dsn.String()) // the driver that package store registers
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE plain "+fmt.Sprintf(recordTable, "BLOB")); err != nil {
		db.Close()
		return nil, err
	}
	put, err := db.PrepareContext(ctx, "INSERT INTO plain (name, device, record) VALUES (?, ?, ?) ON CONFLICT (name, device) DO UPDATE SET record = excluded.record")
	if err != nil {
		db.Close()
		return nil, err
	}
	return &plainSQLite{db, put}, nil
}

func (p *plainSQLite) close() { p.db.Close() }

// upsert runs a prepared statement for each record: on SQLite, which is in the process, no way is quicker.
func (p *plainSQLite) upsert(ctx context.Context, devices []int64, records [][]byte) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	put := tx.StmtContext(ctx, p.put)
	defer put.Close()
	for i, d := range devices {
		if _, err := put.ExecContext(ctx, recordName(d), d, records[i]); err != nil {
			return err
		}
	}
	return tx.Commit()
}
