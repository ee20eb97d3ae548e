package media

import (
	"context"
	"sync"
)

const (
	maxTransfers = 8
	maxFromHost  = 2
)

// gate bounds how many transfers run at once, and how many of one host. Those who wait come in no particular order.
type gate struct {
	all chan struct{}

	mu    sync.Mutex
	hosts map[string]*queue
}

// queue is for one host.
type queue struct {
	turns chan struct{}
	users int // who hold a turn or wait for one
}

func newGate() *gate {
	return &gate{all: make(chan struct{}, maxTransfers), hosts: map[string]*queue{}}
}

// enter waits for a turn. A host's own come first, so that who waits for it keeps nobody from others.
func (g *gate) enter(ctx context.Context, host string) (leave func(), err error) {
	g.mu.Lock()
	q := g.hosts[host]
	if q == nil {
		q = &queue{turns: make(chan struct{}, maxFromHost)}
		g.hosts[host] = q
	}
	q.users++
	g.mu.Unlock()
	done := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(g.hosts, host)
		}
	}
	if err := take(ctx, q.turns); err != nil {
		done()
		return nil, err
	}
	if err := take(ctx, g.all); err != nil {
		<-q.turns
		done()
		return nil, err
	}
	return func() { <-g.all; <-q.turns; done() }, nil
}

func take(ctx context.Context, turns chan struct{}) error {
	select {
	case turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
