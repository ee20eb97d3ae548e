package store

import (
	"context"
	"errors"
	"sync"
)

// maxGroup bounds how many callers share one transaction.
const maxGroup = 256

// group is one network's group committer. It has no goroutine: the first caller leads, opens a transaction for all
// that wait, runs their functions in the order of their calls, commits, and hands the lead to whoever came meanwhile.
// An idle network commits at once; a busy one commits as many at a time as queued up during the last commit.
type group struct {
	// transact runs the calls in one transaction and sets each one's err. Its own error is everybody's.
	transact func(calls []*call) error

	mu      sync.Mutex
	queue   []*call
	leading bool
}

// call is one caller's wish.
type call struct {
	ctx  context.Context //nolint:containedctx // a call travels to the leader's goroutine together with its ctx
	fn   func(ctx context.Context) error
	err  error
	lead chan bool // true: lead the next group; false: err is set
}

var errAbandoned = failed("run transaction", errors.New("the goroutine that ran it ended"))

// do runs fn in a transaction and returns when it is committed. A caller whose ctx ends while it waits leaves the
// queue; once its function may be running, it stays for the result.
func (g *group) do(ctx context.Context, fn func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &call{ctx: ctx, fn: fn, lead: make(chan bool, 1)}
	if !g.enter(c) && !g.await(c) {
		return c.err
	}
	g.runGroup(c)
	return c.err
}

// enter makes c the leader, or queues it.
func (g *group) enter(c *call) (leads bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leading {
		g.queue = append(g.queue, c)
		return false
	}
	g.leading = true
	return true
}

// await waits until c has its result (false) or shall lead (true).
func (g *group) await(c *call) (leads bool) {
	select {
	case leads = <-c.lead:
		return leads
	case <-c.ctx.Done():
	}
	if g.leave(c) {
		c.err = c.ctx.Err()
		return false
	}
	return <-c.lead
}

func (g *group) leave(c *call) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, q := range g.queue {
		if q == c {
			g.queue = append(g.queue[:i], g.queue[i+1:]...)
			return true
		}
	}
	return false
}

// runGroup runs the leader and all that wait, then hands the lead on.
func (g *group) runGroup(leader *call) {
	g.mu.Lock()
	n := min(len(g.queue), maxGroup-1)
	calls := append([]*call{leader}, g.queue[:n]...)
	g.queue = append([]*call(nil), g.queue[n:]...)
	g.mu.Unlock()

	err := errAbandoned
	defer func() { // deferred, since a function may end its goroutine (runtime.Goexit) and others wait
		for _, c := range calls {
			if err != nil {
				c.err = err
			}
		}
		for _, c := range calls[1:] {
			c.lead <- false
		}
		g.handOver()
	}()
	err = g.transact(calls)
}

func (g *group) handOver() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		g.leading = false
		return
	}
	next := g.queue[0]
	g.queue = g.queue[1:]
	next.lead <- true
}
