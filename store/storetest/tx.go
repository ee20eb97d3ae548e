package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"lockbridge/gateway"
)

var errMine = errors.New("changed my mind")

func testErrorDiscards(t *testing.T, f *fixture) {
	st := f.State(source)
	err := f.Do(f.ctx, source, func(ctx context.Context) error {
		f.must(st.PutMany(ctx, values("k", "v")))
		f.must(f.Append(ctx, []gateway.Entry{entry(f.event("1", ""), hall)}))
		return errMine
	})
	if !errors.Is(err, errMine) || errors.Is(err, gateway.ErrStore) {
		t.Errorf("got %v", err)
	}
	f.do(source, func(ctx context.Context) error {
		f.must(f.Append(ctx, []gateway.Entry{entry(f.event("2", ""), hall)}))
		err := f.Stage(ctx, func(ctx context.Context) error {
			f.must(st.PutMany(ctx, values("k", "v")))
			f.must(f.Append(ctx, []gateway.Entry{entry(f.event("3", ""), hall)}))
			return errMine
		})
		equal(t, "error of the stage", err, errMine)
		return nil
	})
	equal(t, "state", f.get(st, "k"), "absent")
	q := f.head(hall, 9)
	if len(q) != 1 || q[0].Event.Native != "2" {
		t.Errorf("lane: %+v", q)
	}
	equal(t, "seen", len(f.seen(native("1"), native("2"), native("3"))), 1)
}

func testPanic(t *testing.T, f *fixture) {
	st := f.State(source)
	panicking := func(ctx context.Context) error {
		f.must(st.PutMany(ctx, values("k", "v")))
		panic("with words that somebody wrote")
	}
	if err := f.Do(f.ctx, source, panicking); err == nil || errors.Is(err, gateway.ErrStore) {
		t.Errorf("got %v", err)
	}
	f.do(source, func(ctx context.Context) error {
		if err := f.Stage(ctx, panicking); err == nil {
			t.Error("a panic in a stage is no error")
		}
		return st.PutMany(ctx, values("other", "v"))
	})
	equal(t, "state", f.get(st, "k"), "absent")
	equal(t, "state of the others", f.get(st, "other"), "v")
}

func testDatabaseError(t *testing.T, f *fixture) {
	st := f.State(source)
	f.append(entry(f.event("1", ""), hall))
	err := f.Do(f.ctx, source, func(ctx context.Context) error {
		f.must(st.PutMany(ctx, values("k", "v")))
		return f.Append(ctx, []gateway.Entry{entry(f.event("2", ""), porch), entry(f.event("1", ""), hall)}) // the key is taken
	})
	if !errors.Is(err, gateway.ErrStore) {
		t.Errorf("got %v", err)
	}
	equal(t, "state", f.get(st, "k"), "absent")
	equal(t, "lane", len(f.head(porch, 9)), 0)
	f.must(st.PutMany(f.ctx, values("k", "again")))
	equal(t, "state afterwards", f.get(st, "k"), "again")
}

func testSwallowed(t *testing.T, f *fixture) {
	st := f.State(source)
	rename := func(from, to string) {
		t.Helper()
		_, err := f.DB().Exec(f.ctx, fmt.Sprintf("ALTER TABLE %s RENAME TO %s", from, to))
		f.must(err)
	}
	rename("link", "gone")
	err := f.Do(f.ctx, source, func(ctx context.Context) error {
		f.must(st.PutMany(ctx, values("k", "v")))
		_ = f.Stage(ctx, func(ctx context.Context) error {
			if _, err := f.Targets(ctx, []gateway.Native{native("1")}); !errors.Is(err, gateway.ErrStore) {
				t.Errorf("targets: %v", err)
			}
			return nil
		})
		if err := st.PutMany(ctx, values("k", "v")); !errors.Is(err, gateway.ErrStore) {
			t.Errorf("put after an error of the database: %v", err)
		}
		return nil
	})
	if !errors.Is(err, gateway.ErrStore) {
		t.Errorf("got %v", err)
	}
	rename("gone", "link")
	equal(t, "state", f.get(st, "k"), "absent")
	err = f.Do(f.ctx, source, func(ctx context.Context) error {
		f.must(st.PutMany(ctx, values("k", "v")))
		return f.Stage(ctx, func(context.Context) error { return fmt.Errorf("crypto store: %w", gateway.ErrStore) })
	})
	if !errors.Is(err, gateway.ErrStore) {
		t.Errorf("got %v", err)
	}
	equal(t, "state", f.get(st, "k"), "absent")
}

func testGoexit(t *testing.T, f *fixture) {
	st := f.State(source)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = st.Update(f.ctx, func(ctx context.Context) error {
			f.must(st.PutMany(ctx, values("k", "v")))
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	equal(t, "state", f.get(st, "k"), "absent")
	f.must(st.PutMany(f.ctx, values("k", "next")))
	equal(t, "state", f.get(st, "k"), "next")
}

func testLateUse(t *testing.T, f *fixture) {
	st := f.State(source)
	var late context.Context
	f.do(source, func(ctx context.Context) error {
		late = ctx
		return nil
	})
	if err := st.PutMany(late, values("k", "v")); err == nil {
		t.Error("put after the end")
	}
	if _, err := st.GetMany(late, []string{"k"}); err == nil {
		t.Error("get after the end")
	}
	if err := f.DB().QueryRow(late, "SELECT 1").Scan(new(int)); err == nil {
		t.Error("query after the end")
	}
	f.do(source, func(ctx context.Context) error {
		f.must(f.Stage(ctx, func(ctx context.Context) error {
			late = ctx
			return st.PutMany(ctx, values("k", "v"))
		}))
		_ = st.PutMany(late, values("k", "late"))
		return st.PutMany(ctx, values("other", "v"))
	})
	equal(t, "what was staged too late", f.get(st, "k"), "v")
}

// Another store's statement that fails ends the transaction on both databases, whatever became of its error.
func testOtherStore(t *testing.T, f *fixture) {
	st := f.State(source)
	err := f.Do(f.ctx, source, func(ctx context.Context) error {
		f.must(st.PutMany(ctx, values("k", "v")))
		if _, err := f.DB().Exec(ctx, "INSERT INTO meta (key, value) SELECT key, value FROM meta"); err == nil {
			t.Error("a key was written twice")
		}
		return nil
	})
	if !errors.Is(err, gateway.ErrStore) {
		t.Errorf("got %v", err)
	}
	equal(t, "state", f.get(st, "k"), "absent")

	ctx, cancel := context.WithCancel(f.ctx)
	f.must(f.Do(ctx, source, func(ctx context.Context) error {
		f.must(st.PutMany(ctx, values("k", "v")))
		cancel() // of no concern to what is under way
		_, err := f.DB().Exec(ctx, "INSERT INTO meta (key, value) VALUES ($1, $2)", "other store", []byte("v"))
		return err
	}))
	equal(t, "state", f.get(st, "k"), "v")
	equal(t, "rows of the other store", f.count("SELECT count(*) FROM meta WHERE key = $1", "other store"), 1)
}

func testOutside(t *testing.T, f *fixture) {
	_, seen := f.Seen(f.ctx, []gateway.Native{native("1")}, false)
	_, echoes := f.Echoes(f.ctx, []string{"k"})
	for name, err := range map[string]error{
		"seen": seen, "echoes": echoes, "append": f.Append(f.ctx, nil), "finish": f.Finish(f.ctx, nil),
		"stage": f.Stage(f.ctx, func(context.Context) error { return nil }),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func testNested(t *testing.T, f *fixture) {
	st := f.State(source)
	f.do(source, func(ctx context.Context) error {
		f.must(st.Update(ctx, func(ctx context.Context) error { return st.PutMany(ctx, values("inner", "v")) }))
		err := f.Do(ctx, source, func(ctx context.Context) error {
			f.must(st.PutMany(ctx, values("failed", "v")))
			return errMine
		})
		equal(t, "error", err, errMine)
		got, err := st.GetMany(ctx, []string{"inner", "failed"})
		equal(t, "values", len(got), 1)
		return err
	})
	equal(t, "inner", f.get(st, "inner"), "v")
	equal(t, "failed", f.get(st, "failed"), "absent")
}

func testConcurrent(t *testing.T, f *fixture) {
	const callers, rounds = 16, 12
	st := f.State(source)
	// Each adds one to a shared number and appends an event that names what it found there; every third one fails.
	add := func(caller, round int) error {
		return f.Do(f.ctx, source, func(ctx context.Context) error {
			m, err := st.GetMany(ctx, []string{"n"})
			if err != nil {
				return err
			}
			n, _ := strconv.Atoi(string(m["n"]))
			if err := st.PutMany(ctx, values("n", strconv.Itoa(n+1))); err != nil {
				return err
			}
			name := fmt.Sprintf("%d/%d", caller, round)
			if err := f.Append(ctx, []gateway.Entry{entry(f.event(name, strconv.Itoa(n)), hall)}); err != nil {
				return err
			}
			if round%3 == 2 {
				return errMine
			}
			return nil
		})
	}
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for round := range rounds {
				if err := add(caller, round); err != nil && !errors.Is(err, errMine) {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range rounds { // another network works beside it
				if err := f.State(target).PutMany(f.ctx, values(fmt.Sprint(caller), "v")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	const want = callers * rounds * 2 / 3
	equal(t, "number", f.get(st, "n"), strconv.Itoa(want))
	q := f.head(hall, 2*want)
	equal(t, "events", len(q), want)
	for i := range q {
		equal(t, "order", q[i].Event.Body.(gateway.Message).Text.Plain, strconv.Itoa(i))
	}
}

func testCancel(t *testing.T, f *fixture) {
	st := f.State(source)
	leading, end := context.WithCancel(f.ctx)
	inside, goOn := make(chan struct{}), make(chan struct{})
	errs := make(chan error, 2)
	go func() {
		errs <- f.Do(leading, source, func(ctx context.Context) error {
			close(inside)
			<-goOn
			return st.PutMany(ctx, values("leader", "v")) // the ctx that ended meanwhile cuts nothing off
		})
	}()
	<-inside
	gone, leave := context.WithCancel(f.ctx)
	leave()
	err := f.Do(gone, source, func(context.Context) error {
		t.Error("the function of a caller that is gone ran")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	limited, cancel := context.WithTimeout(f.ctx, time.Millisecond)
	defer cancel()
	if err := f.Do(limited, source, func(context.Context) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller in the queue: got %v", err)
	}
	type key struct{}
	go func() {
		errs <- f.Do(context.WithValue(f.ctx, key{}, "mine"), source, func(ctx context.Context) error {
			if ctx.Err() != nil || ctx.Value(key{}) != "mine" {
				t.Errorf("the ctx of a follower: %v, %v", ctx.Err(), ctx.Value(key{}))
			}
			return st.PutMany(ctx, values("follower", "v"))
		})
	}()
	end()
	close(goOn)
	for range 2 {
		select {
		case err := <-errs:
			f.must(err)
		case <-time.After(patience):
			t.Fatal("a caller hangs")
		}
	}
	equal(t, "leader", f.get(st, "leader"), "v")
	equal(t, "follower", f.get(st, "follower"), "v")
}
