// Package storetest is the one suite that a store passes on every database.
//
// Policy: it looks at a store only through its public methods, and through plain SQL where something must break.
package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
)

// The networks and rooms of the suite.
const (
	source = "source"
	target = "target"
)

var (
	lobby = gateway.Address{Network: source, ID: "lobby@rooms.example"}
	hall  = gateway.Address{Network: target, ID: "#hall"}
	porch = gateway.Address{Network: target, ID: "#porch"}
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// Exercise runs the suite. open returns an empty store, closed by the test's cleanup.
func Exercise(t *testing.T, open func(t *testing.T) *store.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, f *fixture)
	}{
		{"an event travels", testEventTravels},
		{"native ids: the first link stays, the newest alias wins", testLinkRules},
		{"links staged in a transaction are seen in it", testStagedLinks},
		{"a room is in use once something went from it to another", testUsedRooms},
		{"ids of any bytes and any length", testStrangeIDs},
		{"many entries in one batch", testManyEntries},
		{"an append that makes no sense is refused", testBadAppend},
		{"a retraction wipes its target's excerpt", testRetract},
		{"an edit stands for its original", testEdits},
		{"reactions are sets, one a person", testReactions},
		{"what a room shows no more is known as seen", testGone},
		{"a retraction that was understood late wipes as well", testLateRetract},
		{"a retraction wipes what was given up", testRetractWipesDeadLetters},
		{"links end with their time, or with what they show", testLinks},
		{"pictures are kept while they are used", testImages},
		{"lanes keep their order", testLaneOrder},
		{"a failing head holds its lane only", testRetry},
		{"deliveries end", testFinish},
		{"an event of an unknown kind has no event", testUnknownKind},
		{"the body goes with the last delivery", testWipe},
		{"bodies go when two networks end the last deliveries at once", testWipeRace},
		{"state: put, get, list, delete", testState},
		{"state: staged values are seen, through all layers", testStateOverlay},
		{"state: large reads", testStateLarge},
		{"state of a delivery goes with it", testOuts},
		{"state of one network is hidden from another", testStateNetworks},
		{"an error discards what its function staged", testErrorDiscards},
		{"a panic is an error", testPanic},
		{"an error of the database discards everything", testDatabaseError},
		{"a swallowed error of the database still discards everything", testSwallowed},
		{"what ends the goroutine ends the transaction", testGoexit},
		{"a ctx outlives its transaction", testLateUse},
		{"another store takes part", testOtherStore},
		{"calls outside a transaction", testOutside},
		{"nested transactions join", testNested},
		{"concurrent callers lose nothing", testConcurrent},
		{"the end of one caller's ctx does not hurt the others", testCancel},
		{"a wake-up follows the commit", testWake},
		{"what waits is counted", testStats},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := &fixture{T: t, Store: open(t), ctx: t.Context()}
			f.own(source, target)
			c.run(t, f)
		})
	}
}

// fixture is a store with the suite's vocabulary.
type fixture struct {
	*testing.T
	*store.Store
	ctx context.Context //nolint:containedctx // a test's
}

// own acquires the leases, as the owner of a network does before anything else.
func (f *fixture) own(networks ...string) {
	f.Helper()
	for _, n := range networks {
		l, err := f.Acquire(f.ctx, n)
		f.must(err)
		f.Cleanup(func() {
			if err := l.Release(context.Background()); err != nil {
				f.Error(err)
			}
		})
	}
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) do(network string, fn func(ctx context.Context) error) {
	f.Helper()
	f.must(f.Do(f.ctx, network, fn))
}

// event makes an event of lobby.
func (f *fixture) event(native, text string) *gateway.Event {
	f.Helper()
	return f.eventOf(native, gateway.Message{Text: gateway.Text{Plain: text}})
}

func (f *fixture) eventOf(native string, body gateway.Body) *gateway.Event {
	f.Helper()
	id, err := gateway.NewID(rand.Reader)
	f.must(err)
	return &gateway.Event{
		ID: id, At: lobby, Native: native, Time: time.UnixMilli(1_700_000_000_000).UTC(), Body: body,
		Sender: gateway.Person{Network: source, ID: "juliet@example.org", Name: "Juliet"},
	}
}

// entry makes an entry with one delivery, whose key is the native id, for each room.
func entry(ev *gateway.Event, rooms ...gateway.Address) gateway.Entry {
	e := gateway.Entry{Event: ev}
	if ev.Native != "" {
		e.Links = []gateway.Link{{Native: gateway.Native{Room: ev.At, ID: ev.Native}, Event: ev.ID}}
	}
	for _, r := range rooms {
		e.Deliveries = append(e.Deliveries, gateway.Queue{Key: fmt.Sprintf("%s-%s", ev.Native, r.ID), Room: r})
	}
	return e
}

// append writes entries in a transaction of their own.
func (f *fixture) append(entries ...gateway.Entry) {
	f.Helper()
	f.do(source, func(ctx context.Context) error { return f.Append(ctx, entries) })
}

func (f *fixture) seen(natives ...gateway.Native) (seen map[gateway.Native]bool) {
	f.Helper()
	f.do(source, func(ctx context.Context) (err error) {
		seen, err = f.Seen(ctx, natives, false)
		return err
	})
	return seen
}

func (f *fixture) head(lane gateway.Address, limit int) []gateway.Queued {
	f.Helper()
	q, err := f.Head(f.ctx, lane, limit)
	f.must(err)
	return q
}

func (f *fixture) finish(network string, done ...gateway.Finished) {
	f.Helper()
	f.do(network, func(ctx context.Context) error { return f.Finish(ctx, done) })
}

func (f *fixture) lanes(network string, now time.Time) (due []gateway.Address, next time.Time) {
	f.Helper()
	due, next, err := f.Lanes(f.ctx, network, now)
	f.must(err)
	return due, next
}

func (f *fixture) get(st gateway.State, key string) string {
	f.Helper()
	m, err := st.GetMany(f.ctx, []string{key})
	f.must(err)
	v, ok := m[key]
	if !ok {
		return "absent"
	}
	return string(v)
}

// count runs a query that answers with one number.
func (f *fixture) count(query string, args ...any) (n int) {
	f.Helper()
	f.must(f.DB().QueryRow(f.ctx, query, args...).Scan(&n))
	return n
}

func native(id string) gateway.Native { return gateway.Native{Room: lobby, ID: id} }

func values(pairs ...string) map[string][]byte {
	m := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = []byte(pairs[i+1])
	}
	return m
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
