package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lockbridge/gateway"
	"lockbridge/store"
)

// cutOff is within what a holder that is cut off is replaced.
const cutOff = 10 * time.Second

// until waits for something that nothing tells of.
func until(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !yes(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func held(l gateway.Lease) bool { return l.(interface{ Held() bool }).Held() }

// keeping keeps a lease in the background.
func keeping(t *testing.T, l gateway.Lease) <-chan error {
	kept := make(chan error, 1)
	go func() { kept <- l.Keep(t.Context()) }()
	return kept
}

// throughWire opens a store whose way to the database can break, and has it hold x.
func throughWire(t *testing.T, dsn string) (*wire, *store.Store, gateway.Lease, <-chan error) {
	t.Helper()
	w, url := newWire(t, dsn)
	s := open(t, store.Config{URL: url, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	l := acquire(t, s, "x")
	return w, s, l, keeping(t, l)
}

// leaseCut: a holder that loses its way to the database is replaced at once, since its session ends.
func leaseCut(t *testing.T, dsn string, _, b *store.Store) {
	w, a, l, kept := throughWire(t, dsn)
	next := acquiring(t.Context(), b, "x")
	waiting(t, b, "pg_advisory_lock")
	start := time.Now()
	w.set(cut)
	must(t, await(t, "the lease", next).err)
	if took := time.Since(start); took > atOnce {
		t.Errorf("it took %v", took)
	}
	until(t, "the old owner is silent", func() bool { return !held(l) })
	if took := time.Since(start); took > atOnce {
		t.Errorf("it was silent after %v", took)
	}
	if err := await(t, "the end of Keep", kept); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Errorf("keep: %v", err)
	}
	w.set(whole)
	if err := put(t.Context(), a, "x", "late"); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Errorf("the old owner: %v", err)
	}
	must(t, l.Release(t.Context()))
	must(t, put(t.Context(), b, "x", "k"))
}

// leaseHalfOpen: nothing arrives any more and nobody is told. The holder falls silent before its lease ends; another one
// takes over when it has ended; when the way heals, the old one has not written.
func leaseHalfOpen(t *testing.T, dsn string, _, b *store.Store) {
	w, a, l, kept := throughWire(t, dsn)
	must(t, put(t.Context(), a, "x", "before"))
	inside, goOn, wrote := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		wrote <- a.State("x").Update(t.Context(), func(ctx context.Context) error {
			close(inside)
			<-goOn
			return put(ctx, a, "x", "late")
		})
	}()
	await(t, "the transaction", inside)
	next := acquiring(t.Context(), b, "x")
	waiting(t, b, "pg_advisory_lock")
	start := time.Now()
	w.set(stalled)
	close(goOn)
	if err := await(t, "the end of Keep", kept); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Errorf("keep: %v", err)
	}
	silent := time.Since(start)
	if held(l) {
		t.Error("the old owner believes that it holds the lease")
	}
	must(t, await(t, "the lease", next).err)
	took := time.Since(start)
	t.Logf("silent after %v, replaced after %v", silent, took)
	if took > cutOff || took-silent < 1500*time.Millisecond {
		t.Errorf("silent after %v, replaced after %v", silent, took)
	}
	if err := await(t, "the transaction's end", wrote); err == nil {
		t.Error("the old owner's transaction went through")
	}
	must(t, put(t.Context(), b, "x", "k"))
	w.set(whole)
	if err := put(t.Context(), a, "x", "later"); !errors.Is(err, gateway.ErrLeaseLost) {
		t.Errorf("the old owner: %v", err)
	}
	got, err := b.State("x").List(t.Context(), "")
	if err != nil || len(got) != 2 || got["before"] == nil || got["k"] == nil {
		t.Errorf("the old owner wrote: %v, %v", got, err)
	}
	must(t, l.Release(t.Context()))
}

// leaseHealed: without another process a short cut costs nothing but what was under way.
func leaseHealed(t *testing.T, dsn string, _, b *store.Store) {
	w, a, l, kept := throughWire(t, dsn)
	must(t, put(t.Context(), a, "x", "k"))
	w.set(cut)
	until(t, "the holder notices", func() bool { return !held(l) })
	patient := make(chan error, 1)
	go func() { patient <- put(t.Context(), a, "x", "patient") }()
	w.set(whole)
	until(t, "the holder is back", func() bool { return held(l) })
	must(t, await(t, "the write that waited", patient))
	for range 20 { // all connections of the pool
		must(t, put(t.Context(), a, "x", "k"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := b.Acquire(ctx, "x"); err == nil {
		t.Error("two processes own the network")
	}
	select {
	case err := <-kept:
		t.Errorf("keep ended: %v", err)
	default:
	}
}

// leaseRenewedOften: sessions of the lease end while others write, and nobody notices.
func leaseRenewedOften(t *testing.T, _ string, a, b *store.Store) {
	l := acquire(t, a, "x")
	kept := keeping(t, l)
	ctx, stop := context.WithCancel(t.Context())
	var busy errgroup.Group
	var written [3]atomic.Int64
	for i := range written {
		busy.Go(func() error {
			for ctx.Err() == nil {
				if err := put(t.Context(), a, "x", fmt.Sprint(i, "-", written[i].Load())); err != nil {
					return err
				}
				written[i].Add(1)
			}
			return nil
		})
	}
	const holders = "FROM pg_locks l WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
	for range 10 { // the doubt between two sessions may be too short to be seen
		var ended string
		must(t, b.DB().QueryRow(t.Context(), "SELECT coalesce(string_agg(l.pid::text, ','), '') FROM (SELECT l.pid, pg_terminate_backend(l.pid) "+holders+") l").Scan(&ended))
		until(t, "another session holds the lease", func() bool {
			var others int
			must(t, b.DB().QueryRow(t.Context(), "SELECT count(*) "+holders+" AND l.pid::text <> ALL(string_to_array($1, ','))", ended).Scan(&others))
			return others > 0 && held(l)
		})
		for i := range written { // or one write would meet more ends than it is tried again
			n := written[i].Load()
			until(t, "there are writes", func() bool { return written[i].Load() > n })
		}
	}
	stop()
	must(t, busy.Wait())
	select {
	case err := <-kept:
		t.Errorf("keep ended: %v", err)
	default:
	}
}

// leaseTerminated: the server ends every session again and again, as a restart does. Whoever owns the network in the end,
// exactly one of the two does, and it can write.
func leaseTerminated(t *testing.T, _ string, a, b *store.Store) {
	stores := []*store.Store{a, b}
	leases := make(chan int, 2)
	for i, s := range stores {
		go func() {
			for {
				l, err := s.Acquire(t.Context(), "x")
				if err != nil {
					return
				}
				leases <- i
				if l.Keep(t.Context()) == nil {
					return
				}
				_ = l.Release(t.Context())
			}
		}()
	}
	owner := await(t, "an owner", leases)
	for range 5 {
		_, _ = b.DB().Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		until(t, "somebody owns it and can write", func() bool {
			select {
			case owner = <-leases:
			default:
			}
			return put(t.Context(), stores[owner], "x", "k") == nil
		})
		if err := put(t.Context(), stores[1-owner], "x", "k"); err == nil {
			select {
			case owner = <-leases: // it changed hands meanwhile
			case <-time.After(time.Second):
				t.Fatal("two processes own the network")
			}
		}
	}
}

// leaseSuspended: a process that is suspended past its lease and goes on is silent from the first moment.
func leaseSuspended(t *testing.T, dsn string, a, _ *store.Store) {
	holder := exec.CommandContext(t.Context(), os.Args[0])
	holder.Env = append(os.Environ(), "LOCKBRIDGE_TEST_HOLD="+dsn, "LOCKBRIDGE_TEST_WRITE=1")
	holder.Stderr = os.Stderr
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	lines := bufio.NewScanner(out)
	read := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the holder ended before it said %q", want)
	}
	read("wrote 20 ")
	next := acquiring(t.Context(), a, "x")
	waiting(t, a, "pg_advisory_lock")
	start := time.Now()
	must(t, holder.Process.Signal(syscall.SIGSTOP))
	must(t, await(t, "the lease", next).err)
	if took := time.Since(start); took > cutOff {
		t.Errorf("it took %v", took)
	}
	count := func() int { return len(list(t, a, "x")) }
	before := count()
	must(t, holder.Process.Signal(syscall.SIGCONT))
	refused := false
	for lines.Scan() { // what it wrote before it was suspended may come late
		word, rest, _ := strings.Cut(lines.Text(), " ")
		n, mine, _ := strings.Cut(rest, " ")
		if i, err := strconv.Atoi(n); word == "wrote" && (err != nil || i >= before) {
			t.Errorf("%q after it was resumed, though %d were there", lines.Text(), before)
		}
		if word == "refused" {
			if !strings.HasPrefix(mine, "held=false") {
				t.Errorf("when it was resumed: %s", mine)
			}
			refused = true
		}
	}
	if !refused {
		t.Error("the holder did not say how it fared")
	}
	if n := count(); n != before {
		t.Errorf("it wrote %d after it was resumed", n-before)
	}
	if err := holder.Wait(); err != nil {
		t.Error(err)
	}
}

func list(t *testing.T, s *store.Store, network string) map[string][]byte {
	t.Helper()
	m, err := s.State(network).List(t.Context(), "")
	must(t, err)
	return m
}

// writeOn is what the process does that will be suspended: it writes one value after the other until that fails.
func writeOn(ctx context.Context, s *store.Store, l gateway.Lease) error {
	for n := 0; ; n++ {
		if err := put(ctx, s, "x", fmt.Sprintf("n%06d", n)); err != nil {
			fmt.Printf("refused %d held=%v %v\n", n, held(l), err)
			return nil
		}
		fmt.Printf("wrote %d \n", n)
	}
}
