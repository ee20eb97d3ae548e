package sidetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"lockbridge/gateway"
)

// Inbox is a gateway.Inbox that records what a side heard. It keeps Accept's rules: nothing is read twice once it was
// accepted, a failing Read is recorded and passed over, a failed batch leaves nothing behind.
type Inbox struct {
	state *State

	mu      sync.Mutex
	seen    map[gateway.Native]bool
	heard   []*gateway.Event
	unread  []error
	refuse  int
	refused int
	changed chan struct{} // closed and replaced whenever something above changed
}

var _ gateway.Inbox = (*Inbox)(nil)

// NewInbox returns an empty inbox whose transactions are those of state.
func NewInbox(state *State) *Inbox {
	return &Inbox{state: state, seen: map[gateway.Native]bool{}, changed: make(chan struct{})}
}

var errRefused = errors.New("the test refuses this batch")

// Accept implements gateway.Inbox.
func (in *Inbox) Accept(ctx context.Context, batch []gateway.Arrival) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	defer func() {
		close(in.changed)
		in.changed = make(chan struct{})
	}()
	if in.refuse > 0 {
		in.refuse--
		in.refused++
		return errRefused
	}
	err := in.state.in(ctx, func(ctx context.Context) error {
		for _, a := range batch {
			if a.Passing {
				continue
			}
			n := gateway.Native{Room: a.At, ID: a.Native}
			if a.Native != "" && in.seen[n] {
				continue
			}
			in.read(ctx, a)
			in.seen[n] = true
		}
		return nil
	})
	for _, a := range batch {
		if err == nil && a.Passing {
			in.read(ctx, a)
		}
	}
	return err
}

func (in *Inbox) read(ctx context.Context, a gateway.Arrival) {
	var ev *gateway.Event
	read := func(ctx context.Context) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		ev, err = a.Read(ctx)
		return err
	}
	var err error
	if a.Passing {
		err = read(ctx)
	} else {
		err = in.state.in(ctx, read)
	}
	switch {
	case err != nil:
		in.unread = append(in.unread, err)
	case ev != nil && ev.Body != nil:
		ev.At, ev.Native, ev.Also = a.At, a.Native, a.Also
		in.heard = append(in.heard, ev)
	}
}

// Refuse makes the next n Accepts fail.
func (in *Inbox) Refuse(n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.refuse += n
}

// Refused is how many Accepts failed by Refuse.
func (in *Inbox) Refused() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.refused
}

// Await returns the first event, heard or to be heard, that pred likes.
func (in *Inbox) Await(ctx context.Context, what string, pred func(*gateway.Event) bool) (*gateway.Event, error) {
	for from := 0; ; {
		in.mu.Lock()
		for ; from < len(in.heard); from++ {
			if pred(in.heard[from]) {
				ev := in.heard[from]
				in.mu.Unlock()
				return ev, nil
			}
		}
		changed, n := in.changed, len(in.heard)
		unread := in.unread
		in.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: not among the %d events heard (unreadable: %v)", what, n, unread)
		case <-changed:
		}
	}
}

// Heard returns all events so far.
func (in *Inbox) Heard() []*gateway.Event {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]*gateway.Event(nil), in.heard...)
}

// Unread returns the errors of arrivals that could not be read.
func (in *Inbox) Unread() []error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]error(nil), in.unread...)
}

// AwaitUnread waits until at least n arrivals could not be read.
func (in *Inbox) AwaitUnread(ctx context.Context, n int) error {
	for {
		in.mu.Lock()
		changed, got := in.changed, len(in.unread)
		in.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d arrivals were unreadable", got, n)
		case <-changed:
		}
	}
}
