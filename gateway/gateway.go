package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// defaultMaxAge is how long a delivery is tried before it is given up and its sender told.
	defaultMaxAge = 24 * time.Hour
	// defaultLaneLimit is how many deliveries may wait for one room that takes none.
	defaultLaneLimit = 10_000
	// drainTime is how long deliveries under way may take to end after a stop was asked for. Together with what the
	// sides need to disconnect it stays under the 5 s that a service manager is promised.
	drainTime = 3 * time.Second
	// restartPause is how long a side rests after it failed in a way that no reconnect can mend.
	restartPause = 30 * time.Second
)

// Config is what a Gateway is made of.
type Config struct {
	Journal Journal
	Leases  Leases
	Bridges []Bridge
	Direct  Direct
	Sides   map[string]Side // by network
	Status  *Status
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Rand    io.Reader        // cryptographic randomness
	Now     func() time.Time // the clock
	MaxAge  time.Duration    // how long a delivery is tried; 0: 24 h
	// LaneLimit is how many deliveries may wait for one room that takes none; 0: 10,000. What is beyond is given up.
	LaneLimit int
	// Media makes links to what a room cannot show; nil: there are none. Sides get it in their Deps.
	Media Media
	// Privacy says what crosses besides what people say.
	Privacy Privacy
}

// Gateway runs the sides of one process and carries what they hear to where it belongs.
type Gateway struct {
	journal Journal
	leases  Leases
	sides   map[string]Side
	router  atomic.Pointer[router]
	status  *Status
	log     *slog.Logger
	metrics *metrics
	rand    io.Reader
	now     func() time.Time
	maxAge  time.Duration
	limit   int // see Config.LaneLimit
	told    told
	starts  starts
	loops   *loops
	names   *speakers
	media   Media
	privacy Privacy
	passing map[string]*passing // by network

	mu       sync.Mutex
	couriers map[*courier]bool // those that run
	used     map[Address]bool  // direct chats that are known to be in use
}

// New puts a gateway together. It starts nothing.
func New(cfg Config) *Gateway {
	g := &Gateway{
		journal: cfg.Journal, leases: cfg.Leases, sides: cfg.Sides, status: cfg.Status, log: cfg.Log,
		metrics: newMetrics(cfg.Metrics, maps.Keys(cfg.Sides)), rand: cfg.Rand, now: cfg.Now, maxAge: cfg.MaxAge, limit: cfg.LaneLimit, media: cfg.Media, privacy: cfg.Privacy,
		couriers: map[*courier]bool{}, used: map[Address]bool{}, passing: map[string]*passing{}, loops: newLoops(cfg.Now), names: newSpeakers(),
		told: told{now: cfg.Now, until: map[any]time.Time{}}, starts: starts{now: cfg.Now, by: map[personKey]map[Address]time.Time{}},
	}
	for network := range cfg.Sides {
		g.passing[network] = newPassing(cfg.Now)
	}
	if g.maxAge == 0 {
		g.maxAge = defaultMaxAge
	}
	if g.limit == 0 {
		g.limit = defaultLaneLimit
	}
	g.router.Store(newRouter(cfg.Bridges, cfg.Direct, g.caps))
	return g
}

// caps asks the side that shows a room; false where that side runs in another process.
func (g *Gateway) caps(room Address) (Caps, bool) {
	side, here := g.sides[room.Network]
	if !here {
		return Caps{}, false
	}
	return side.Caps(room), true
}

// Run runs every side until ctx ends, then lets deliveries under way end, for 3 s at most. It returns when everything
// it started has ended.
func (g *Gateway) Run(ctx context.Context) error {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for network, side := range g.sides {
		wg.Go(func() { g.runNetwork(ctx, hard, network, side) })
	}
	<-ctx.Done()
	deadline := time.AfterFunc(drainTime, cancel)
	defer deadline.Stop()
	wg.Wait()
	return nil
}

// runNetwork owns one network for as long as its lease can be had.
func (g *Gateway) runNetwork(stop, hard context.Context, network string, side Side) {
	log := g.log.With("network", network)
	for stop.Err() == nil {
		lease, err := g.leases.Acquire(stop, network)
		if stop.Err() != nil {
			if err == nil {
				g.release(hard, lease, log)
			}
			return
		}
		if err != nil {
			log.Error("cannot get the network's lease", "err", err)
			g.status.For(network)(err)
			rest(stop, restartPause)
			continue
		}
		switch err := g.own(stop, hard, network, side, lease, log); {
		case err == nil || stop.Err() != nil:
		case errors.Is(err, ErrLeaseLost): // and maybe free again: the database was away
			log.Warn("network's lease was lost", "err", err)
			g.status.For(network)(err)
		default:
			log.Error("network stopped", "err", err, "again_in", restartPause)
			g.status.For(network)(err)
			rest(stop, restartPause)
		}
	}
}

// own runs a network while its lease lasts: the side reads, the courier delivers. When a stop is asked for the
// courier ends first, since it needs the side to confirm what it sends.
func (g *Gateway) own(stop, hard context.Context, network string, side Side, lease Lease, log *slog.Logger) error {
	defer g.release(hard, lease, log)
	held, lose := context.WithCancelCause(hard)
	defer lose(nil)
	working, quit := context.WithCancel(stop) // ends the courier
	defer quit()

	c := newCourier(g, network, side, lease, log)
	defer g.attach(c)()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := lease.Keep(held); err != nil {
			quit()
			lose(fmt.Errorf("lease: %w", err))
		}
	})
	var sideErr error
	wg.Go(func() {
		sideErr = side.Run(held, newInbox(g, network))
		if sideErr == nil && held.Err() == nil {
			sideErr = errors.New("the side ended by itself")
		}
		quit()
		lose(nil)
	})
	c.run(working, held)
	lose(nil) // delivered what could be: let the side go
	wg.Wait()
	if cause := context.Cause(held); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return sideErr
}

func (g *Gateway) release(ctx context.Context, lease Lease, log *slog.Logger) {
	// The lease is given up even when everything else was cut short: the next owner should not have to wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := lease.Release(ctx); err != nil {
		log.Warn("cannot release the network's lease", "err", err)
	}
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// mintKeys gives new deliveries their keys.
func (g *Gateway) mintKeys(to []Queue) error {
	for i := range to {
		key, err := randomKey(g.rand)
		if err != nil {
			return err
		}
		to[i].Key = key
	}
	return nil
}
