package media

import (
	"context"
	"errors"
	"sync"
	"time"

	"lockbridge/gateway"
)

const (
	maxTransfers = 8
	maxFromHost  = 2
	// maxVisits is how many of the transfers may be for people who follow links: they choose when, and messages wait.
	maxVisits = maxTransfers / 2
)

var errVisits = errors.New("those who follow links wait for too many files")

// gate bounds how many transfers run at once, and how many of one host. Those who wait come in no particular order.
type gate struct {
	all, visits chan struct{}

	mu    sync.Mutex
	hosts map[string]*queue
}

// queue is for one host.
type queue struct {
	turns chan struct{}
	users int // who hold a turn or wait for one
}

func newGate() *gate {
	return &gate{all: make(chan struct{}, maxTransfers), visits: make(chan struct{}, maxVisits), hosts: map[string]*queue{}}
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

// visit waits for a visitor's turn, which comes before any other. It gives up in time: a message may wait for the same file.
func (g *gate) visit(ctx context.Context, patience time.Duration) (leave func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, gateway.Later(fullPause, errVisits))
	defer cancel()
	if take(ctx, g.visits) != nil {
		return nil, context.Cause(ctx)
	}
	return func() { <-g.visits }, nil
}

func take(ctx context.Context, turns chan struct{}) error {
	select {
	case turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
