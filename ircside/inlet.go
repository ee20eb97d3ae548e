package ircside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
)

// inlet is the bounded queue between the reader, which must not wait, and the journal.
type inlet struct {
	lost prometheus.Counter

	mu      sync.Mutex
	waiting []heard
	dropped int           // since the last batch
	stuck   bool          // a reader waited for nothing; no other does until a batch is taken
	wake    chan struct{} // something was added
	taken   chan struct{} // a batch was taken
}

// heard is an arrival on its way into the journal.
type heard struct {
	gateway.Arrival        // without Read: there is only the mark to write
	line            *line  // our own line, whose echo it is
	marks           string // of which history mark is a place; see markKey
	mark            mark   // zero: none
	membership      bool
	passing         bool // who types: it is told only where there is room
}

const (
	maxWaiting = 8192 // arrivals before the journal
	maxBatch   = 512  // arrivals in one Accept
)

func newInlet(lost prometheus.Counter) *inlet {
	return &inlet{lost: lost, wake: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

// hold makes a reader wait while the queue is nearly full, so that the server buffers what it has for us rather than we
// lose it; but not for longer than most, since a server gives up who reads nothing.
func (q *inlet) hold(ctx context.Context, after func(time.Duration) <-chan time.Time, most time.Duration) {
	if !q.nearlyFull() {
		return
	}
	for end := after(most); q.nearlyFull(); {
		select {
		case <-q.taken:
		case <-ctx.Done():
			return
		case <-end:
			q.mu.Lock()
			q.stuck = true
			q.mu.Unlock()
		}
	}
}

func (q *inlet) nearlyFull() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) >= maxWaiting-maxWaiting/8 && !q.stuck
}

// add queues arrivals and returns those for which there was no room. Membership, which is told again, leaves half of the
// room to what people say.
func (q *inlet) add(all ...heard) (refused []heard) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, h := range all {
		if n := len(q.waiting); n >= maxWaiting || (h.membership || h.passing) && n >= maxWaiting/2 {
			if h.passing {
				continue
			}
			q.dropped++
			q.lost.Inc()
			refused = append(refused, h)
			continue
		}
		q.waiting = append(q.waiting, h)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return refused
}

// empty reports whether nothing waits.
func (q *inlet) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) == 0
}

// take removes the first arrivals, and tells how many were lost since the last time.
func (q *inlet) take() (batch []heard, dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxBatch)
	batch, dropped = q.waiting[:n:n], q.dropped
	q.waiting, q.dropped = q.waiting[n:], 0
	if n > 0 {
		q.stuck = false
		select {
		case q.taken <- struct{}{}:
		default:
		}
	}
	return batch, dropped
}

// feed brings what was heard into the journal, in order: whatever queued up while the last batch was written goes into
// the next one. It returns nil when ctx ends, after a last try with what is left, or the error that no retry can mend.
func (s *Side) feed(ctx context.Context, in gateway.Inbox) error {
	const parting = 2 * time.Second
	for {
		batch, dropped := s.inlet.take()
		if dropped > 0 {
			s.deps.Log.Error("the journal took too long; lines heard on IRC are lost", "lost", dropped)
		}
		switch {
		case ctx.Err() != nil && len(batch) == 0:
			return nil
		case ctx.Err() != nil:
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), parting)
			err := s.accept(last, in, batch)
			cancel()
			if err != nil {
				s.inlet.putBack(batch)
				s.deps.Log.Error("what was heard last could not be recorded; it is kept until this process ends", "arrivals", len(batch), "error", err)
				return nil
			}
		case len(batch) == 0:
			select {
			case <-s.inlet.wake:
			case <-ctx.Done():
			}
		default:
			err := s.persist(ctx, len(batch), func(ctx context.Context) error { return s.accept(ctx, in, batch) })
			if err != nil {
				s.inlet.putBack(batch) // for the last try, or for when the network is ours again
			}
			if errors.Is(err, gateway.ErrLeaseLost) {
				return err
			}
		}
	}
}

// persist tries again until the journal takes what write writes, the network is not ours any more or ctx ends.
func (s *Side) persist(ctx context.Context, arrivals int, write func(ctx context.Context) error) error {
	const first = 50 * time.Millisecond
	for pause := first; ; pause = min(2*pause, s.timings.acceptMost) {
		err := write(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, gateway.ErrLeaseLost):
			return fmt.Errorf("record what was heard: %w", err)
		case pause == first:
			s.deps.Log.Error("the journal does not take what was heard; trying again", "arrivals", arrivals, "error", err)
		}
		select {
		case <-s.clock.after(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readerKey is where State names the process that reads the network.
const readerKey = "reader"

// claim writes into State that this process reads now. What it kept because the journal did not take it any more is given
// up if another process has read since: it would stand behind what was said after it. Echoes of ours stay: they tell what
// arrived, and nobody hears them.
func (s *Side) claim(ctx context.Context) error {
	if s.deps.State == nil {
		return nil
	}
	var other bool
	err := s.persist(ctx, 0, func(ctx context.Context) error {
		return s.deps.State.Update(ctx, func(ctx context.Context) error {
			stored, err := s.deps.State.GetMany(ctx, []string{readerKey})
			if err != nil {
				return err
			}
			last, known := stored[readerKey]
			other = other || known && string(last) != s.reader // it may run again, after a commit that nobody answered for
			return s.deps.State.PutMany(ctx, map[string][]byte{readerKey: []byte(s.reader)})
		})
	})
	if other {
		if lost := s.inlet.giveUp(); lost > 0 {
			s.deps.Log.Error("lines heard before another process took the network over were never recorded; they are lost", "lost", lost)
		}
	}
	return err
}

// giveUp empties the queue but for echoes, and returns how many lines were in it.
func (q *inlet) giveUp() (lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	before := len(q.waiting)
	q.waiting = slices.DeleteFunc(q.waiting, func(h heard) bool { return h.line == nil })
	lost = before - len(q.waiting)
	q.lost.Add(float64(lost))
	return lost
}

// putBack returns a batch to the head of the queue.
func (q *inlet) putBack(batch []heard) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(batch, q.waiting...)
}

// accept records a batch, with the marks that it moves, and tells those who wait for it.
func (s *Side) accept(ctx context.Context, in gateway.Inbox, batch []heard) error {
	arrivals := make([]gateway.Arrival, 0, len(batch)+1)
	var marks map[string][]byte
	if slices.ContainsFunc(batch, func(h heard) bool { return h.line != nil && h.line.claimed }) {
		arrivals = append(arrivals, gateway.Arrival{At: batch[0].At, Read: func(context.Context) (*gateway.Event, error) {
			for _, h := range batch {
				if h.line != nil {
					h.line.read = false // a transaction may begin anew, and then find what it has not found before
				}
			}
			return nil, nil
		}})
	}
	for _, h := range batch {
		if h.Read != nil {
			arrivals = append(arrivals, h.Arrival)
		}
		if !h.mark.at.IsZero() {
			if marks == nil {
				marks = map[string][]byte{}
			}
			marks[markKey(h.marks)] = []byte(h.mark.String())
		}
	}
	if marks != nil {
		arrivals = append(arrivals, gateway.Arrival{At: batch[len(batch)-1].At, Read: func(ctx context.Context) (*gateway.Event, error) {
			return nil, s.deps.State.PutMany(ctx, marks)
		}})
	}
	if err := in.Accept(ctx, arrivals); err != nil {
		return err
	}
	s.relay.recorded(batch)
	return nil
}

// recorded settles the lines whose echoes are in the journal, and goes on from the marks that are.
func (c *conn) recorded(batch []heard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range batch {
		if !h.mark.at.IsZero() {
			c.marks[h.marks] = h.mark
		}
		switch l := h.line; {
		case l == nil:
		case l.claimed && !l.read:
			l.native = ""
			c.settle(l, gateway.Later(100*time.Millisecond, errOthers))
		default:
			l.of.recorded = l.of.recorded || l.ends
			c.settle(l, nil)
		}
	}
	if s := c.sess; s != nil && s.gapped && c.side.inlet.empty() {
		s.reread = true
		s.nudge()
	}
}
