package store

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
)

// queued waits until n callers stand in the queue.
func (g *group) queued(n int) {
	for {
		g.mu.Lock()
		have := len(g.queue)
		g.mu.Unlock()
		if have == n {
			return
		}
		runtime.Gosched()
	}
}

func TestGroupSharesCommitsInCallOrder(t *testing.T) {
	t.Parallel()
	const followers = maxGroup + 10
	var sizes, order []int
	inside, goOn := make(chan struct{}), make(chan struct{})
	g := &group{transact: func(calls []*call) error {
		sizes = append(sizes, len(calls))
		for _, c := range calls {
			c.err = c.fn(c.ctx)
		}
		return nil
	}}
	errs := make(chan error, followers+1)
	go func() {
		errs <- g.do(t.Context(), func(context.Context) error {
			close(inside)
			<-goOn
			return nil
		})
	}()
	<-inside
	own := errors.New("of one caller")
	for i := range followers {
		go func() {
			errs <- g.do(t.Context(), func(context.Context) error {
				order = append(order, i)
				if i == 7 {
					return own
				}
				return nil
			})
		}()
		g.queued(i + 1)
	}
	close(goOn)
	failed := 0
	for range followers + 1 {
		if err := <-errs; err != nil {
			failed++
			if !errors.Is(err, own) {
				t.Error(err)
			}
		}
	}
	if failed != 1 || !slices.Equal(sizes, []int{1, maxGroup, 10}) || !slices.IsSorted(order) || len(order) != followers {
		t.Errorf("%d failed, groups of %v, order %v", failed, sizes, order)
	}
}

func TestGroupFailsTogether(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	inside, goOn := make(chan struct{}), make(chan struct{})
	first := true
	g := &group{transact: func([]*call) error {
		if first {
			first = false
			close(inside)
			<-goOn
			return nil
		}
		return broken
	}}
	nothing := func(context.Context) error { return nil }
	errs := make(chan error, 4)
	go func() {
		if err := g.do(t.Context(), nothing); err != nil {
			t.Error(err)
		}
	}()
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 4 {
		callers := t.Context()
		if i == 1 {
			callers = ctx
		}
		go func() { errs <- g.do(callers, nothing) }()
		g.queued(i + 1)
	}
	cancel() // leaves the queue while it waits
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(goOn)
	for range 3 {
		if err := <-errs; !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzSeal(f *testing.F) {
	s, err := newSealer(make([]byte, KeySize), zeroes{})
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.seal([]byte("value"), colState, "network", "key")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, "network", "key")
	f.Add(good, "net", "workkey")
	f.Add([]byte("short"), "", "")
	f.Fuzz(func(t *testing.T, sealed []byte, network, key string) {
		plain, err := s.open(sealed, colState, network, key)
		if err == nil && (string(plain) != "value" || network != "network" || key != "key") {
			t.Errorf("forged: %q at %q, %q", plain, network, key)
		}
	})
}

// zeroes is a source of randomness for a key that seals one value.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
