package store_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
	"lockbridge/store/storetest"
)

// patience is how long a test waits for what must happen; atOnce is less than any timer of the store.
const (
	patience = 30 * time.Second
	atOnce   = 4 * time.Second
)

func put(ctx context.Context, s *store.Store, network, key string) error {
	return s.State(network).PutMany(ctx, map[string][]byte{key: []byte("v")})
}

// await returns what comes out of c.
func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

type acquired struct {
	lease gateway.Lease
	err   error
}

// acquiring acquires in the background.
func acquiring(ctx context.Context, s *store.Store, network string) <-chan acquired {
	c := make(chan acquired, 1)
	go func() {
		l, err := s.Acquire(ctx, network)
		c <- acquired{l, err}
	}()
	return c
}

// waiting awaits that n sessions of the database run a statement that contains part.
func waiting(t *testing.T, s *store.Store, part string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for n := 0; n == 0; {
		must(t, s.DB().QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND position($1 in query) > 0`, part).Scan(&n))
	}
}

func TestFileLeaseIsImmediate(t *testing.T) {
	s := open(t, store.Config{URL: "sqlite:" + t.TempDir() + "/a.db"})
	l := acquire(t, s, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, l.Keep(ctx))
	must(t, l.Release(t.Context()))
}

func TestLeases(t *testing.T) {
	for _, d := range storetest.Postgres() {
		for name, run := range map[string]func(t *testing.T, dsn string, a, b *store.Store){
			"needed":        leaseNeeded,
			"released":      leaseReleased,
			"cut":           leaseCut,
			"half-open":     leaseHalfOpen,
			"healed":        leaseHealed,
			"terminated":    leaseTerminated,
			"renewed often": leaseRenewedOften,
			"suspended":     leaseSuspended,
			"hanging":       leaseHanging,
			"renewed":       leaseRenewed,
			"in flight":     leaseInFlight,
			"killed":        leaseKilled,
			"given up":      leaseWaitGivenUp,
			"per network": func(t *testing.T, _ string, a, b *store.Store) {
				acquire(t, a, "x")
				acquire(t, b, "y")
				must(t, put(t.Context(), a, "x", "k"))
				must(t, put(t.Context(), b, "y", "k"))
			},
		} {
			t.Run(d.Name+" "+name, func(t *testing.T) {
				t.Parallel()
				dsn := d.Make(t)
				run(t, dsn, open(t, store.Config{URL: dsn}), open(t, store.Config{URL: dsn}))
			})
		}
	}
}

func leaseNeeded(t *testing.T, _ string, a, _ *store.Store) {
	if err := put(t.Context(), a, "x", "k"); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Errorf("got %v", err)
	}
}

func leaseReleased(t *testing.T, _ string, a, b *store.Store) {
	l := acquire(t, a, "x")
	next := acquiring(t.Context(), b, "x")
	waiting(t, a, "pg_advisory_lock")
	must(t, put(t.Context(), a, "x", "k"))
	start := time.Now()
	must(t, l.Release(t.Context()))
	got := await(t, "the lease", next)
	must(t, got.err)
	if took := time.Since(start); took > atOnce {
		t.Errorf("it took %v", took)
	}
	if err := put(t.Context(), a, "x", "late"); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Errorf("the old owner: %v", err)
	}
	must(t, put(t.Context(), b, "x", "k"))
	must(t, got.lease.Release(t.Context()))
	acquire(t, a, "x")
	must(t, put(t.Context(), a, "x", "back"))
}

// leaseHanging: the holder's session lives on and holds the lock, but its time is over.
func leaseHanging(t *testing.T, _ string, a, b *store.Store) {
	l := acquire(t, a, "x")
	_, err := b.DB().Exec(t.Context(), "UPDATE lease SET until = 0")
	must(t, err)
	got := await(t, "the lease", acquiring(t.Context(), b, "x"))
	must(t, got.err)
	if err := put(t.Context(), a, "x", "late"); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Errorf("the old owner: %v", err)
	}
	if err := l.Keep(t.Context()); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Errorf("keep: %v", err)
	}
	// The late holder's end frees a lock that means nothing any more.
	must(t, l.Release(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := a.Acquire(ctx, "x"); err == nil {
		t.Error("two processes own the network")
	}
	must(t, put(t.Context(), b, "x", "k"))
}

func leaseRenewed(t *testing.T, _ string, a, _ *store.Store) {
	l := acquire(t, a, "x")
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan error, 1)
	go func() { kept <- l.Keep(ctx) }()
	until := func() (ms int64) {
		t.Helper()
		must(t, a.DB().QueryRow(t.Context(), "SELECT until FROM lease").Scan(&ms))
		return ms
	}
	for first, deadline := until(), time.Now().Add(patience); until() == first; {
		if time.Now().After(deadline) {
			t.Fatal("it was not renewed")
		}
	}
	cancel()
	must(t, await(t, "the end of Keep", kept))
	must(t, put(t.Context(), a, "x", "k"))
}

// leaseInFlight: a transaction that began under the old epoch writes nothing, whatever it does.
func leaseInFlight(t *testing.T, _ string, a, b *store.Store) {
	acquire(t, a, "x")
	inside, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- a.State("x").Update(t.Context(), func(ctx context.Context) error {
			close(inside)
			<-goOn
			return put(ctx, a, "x", "k")
		})
	}()
	await(t, "the transaction", inside)
	_, err := b.DB().Exec(t.Context(), "UPDATE lease SET until = 0")
	must(t, err)
	acquire(t, b, "x")
	close(goOn)
	if err := await(t, "the transaction's end", done); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Errorf("got %v", err)
	}
	got, err := b.State("x").GetMany(t.Context(), []string{"k"})
	if err != nil || len(got) != 0 {
		t.Errorf("the old owner wrote: %v, %v", got, err)
	}
}

// leaseKilled: a process that dies without a word is replaced at once.
func leaseKilled(t *testing.T, dsn string, a, _ *store.Store) {
	holder := exec.CommandContext(t.Context(), os.Args[0])
	holder.Env = append(os.Environ(), "LOCKBRIDGE_TEST_HOLD="+dsn)
	holder.Stderr = os.Stderr
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "held\n" {
		t.Fatalf("the holder said %q, %v", line, err)
	}
	next := acquiring(t.Context(), a, "x")
	waiting(t, a, "pg_advisory_lock")
	start := time.Now()
	must(t, holder.Process.Kill())
	must(t, await(t, "the lease", next).err)
	if took := time.Since(start); took > atOnce {
		t.Errorf("it took %v", took)
	}
	if err := holder.Wait(); err == nil {
		t.Error("the holder was not killed")
	}
	must(t, put(t.Context(), a, "x", "k"))
}

func leaseWaitGivenUp(t *testing.T, _ string, a, b *store.Store) {
	acquire(t, a, "x")
	ctx, cancel := context.WithCancel(t.Context())
	next := acquiring(ctx, b, "x")
	waiting(t, a, "pg_advisory_lock")
	cancel()
	if err := await(t, "the end of Acquire", next).err; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestWakeAcrossProcesses(t *testing.T) {
	for _, d := range storetest.Postgres() {
		t.Run(d.Name, func(t *testing.T) {
			dsn := d.Make(t)
			a, b := open(t, store.Config{URL: dsn}), open(t, store.Config{URL: dsn})
			acquire(t, a, "x")
			acquire(t, b, "m")
			wake := b.Wake("m")
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- b.Run(ctx) }()
			waiting(t, a, "LISTEN")
			await(t, "the first poll", wake)
			for drained := false; !drained; {
				select {
				case <-wake:
				default:
					drained = true
				}
			}
			start := time.Now()
			say(t, a, "x", "1", "hello", gateway.Address{Network: "m", ID: "lane"})
			await(t, "the wake-up", wake)
			if took := time.Since(start); took > atOnce {
				t.Errorf("it took %v", took)
			}
			due, _, err := b.Lanes(t.Context(), "m", time.Now().Add(time.Minute))
			if err != nil || len(due) != 1 {
				t.Errorf("lanes: %v, %v", due, err)
			}
			cancel()
			must(t, await(t, "the end of Run", ended))
		})
	}
}
