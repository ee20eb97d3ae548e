package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// pollPause is how long a courier waits for a wake-up before it looks for itself.
	pollPause = 15 * time.Second
	// defaultRun is the most deliveries of one run where the side names no number.
	defaultRun = 64
	// heldPause is how long a courier waits before it asks again whether the network is ours to speak in.
	heldPause = 200 * time.Millisecond
	// clockDrift is how far the clock and the time that passed may differ before the clock counts as set.
	clockDrift = 2 * time.Second
	// secondChance is how long nothing is given up for its age after a start, or after the clock was set forward: what is
	// old by then had no chance meanwhile.
	secondChance = 5 * time.Minute
	// patience is how often a delivery is tried that makes the side panic.
	patience = 3
)

// courier delivers everything that waits in one network's lanes. Each lane has at most one goroutine, which lives
// while the lane has something due; so a lane keeps its order, and a failing one holds up no other.
type courier struct {
	g       *Gateway
	network string
	side    Side
	lease   Lease
	since   atomic.Int64 // ms; see secondChance
	last    int64        // the newest delivery when we took over: those up to it may have been tried before
	log     *slog.Logger

	wg sync.WaitGroup

	mu    sync.Mutex
	lanes map[Address]bool // running lanes; true: look again before ending
	// held are the lanes whose head may still change, with the last delivery that was seen there; see fold.
	held map[Address]int64
	// problems are what the log has said of lanes that wait, and kept is how much was given up in them and is kept.
	problems map[Address]string
	kept     map[Address]int
	// ended are deliveries that were lately ended by an echo, and not by us; plain are those that their rooms cannot show
	// as they are.
	ended, plain noted
	// changed gets a value when a lane ended with something left that falls due later.
	changed chan struct{}
	// woken gets a value when somebody says that there is news in the journal.
	woken chan struct{}
	ready *readiness
	// rules gets a value when other rooms are bridged than before.
	rules chan struct{}
}

func newCourier(g *Gateway, network string, side Side, lease Lease, log *slog.Logger) *courier {
	c := &courier{
		g: g, network: network, side: side, lease: lease, log: log, lanes: map[Address]bool{}, problems: map[Address]string{}, kept: map[Address]int{}, held: map[Address]int64{}, ready: g.status.readiness(network),
		changed: make(chan struct{}, 1), woken: make(chan struct{}, 1), rules: make(chan struct{}, 1),
	}
	c.since.Store(g.now().UnixMilli())
	return c
}

// run delivers until stop ends, then waits for the runs under way. Work that is still not done when hard ends is
// abandoned; it is done again by whoever has the network next.
func (c *courier) run(stop, hard context.Context) {
	defer c.wg.Wait()
	wake := c.g.journal.Wake(c.network)
	for stop.Err() == nil {
		var err error
		if c.last, err = c.g.journal.TakeOver(stop, c.network); err == nil {
			break
		}
		c.log.Error("cannot take the lanes over", "err", err)
		rest(stop, firstRetry)
	}
	c.wg.Go(func() { c.forgets(stop) })
	if to, ok := c.side.(Passer); ok {
		c.wg.Go(func() { c.passes(stop, to) })
	}
	before, began := c.g.now().Round(0), time.Now() // the wall clock, beside the time that passes
	for stop.Err() == nil {
		now := c.g.now().Round(0)
		switch drift := now.Sub(before) - time.Since(began); {
		case drift < -clockDrift:
			c.log.Warn("the clock was set back: deliveries that wait are tried now")
			c.endPauses(stop)
		case drift > clockDrift:
			c.since.Store(now.UnixMilli())
		}
		before, began = now, time.Now()
		pause := c.look(stop, hard, now)
		timer := time.NewTimer(pause)
		select {
		case <-stop.Done():
		case <-wake:
			c.lookBehind(stop, hard)
			select {
			case c.woken <- struct{}{}:
			default:
			}
		case <-c.changed:
		case <-c.ready.news:
			c.endPauses(stop)
		case <-c.rules:
			c.look(stop, hard, endOfTime) // every lane, since it may have to be given up
		case <-timer.C:
		}
		timer.Stop()
	}
}

// endOfTime is later than anything is due.
var endOfTime = time.UnixMilli(math.MaxInt64)

// look starts what is due at now and returns for how long there is nothing else to do.
func (c *courier) look(stop, hard context.Context, now time.Time) (pause time.Duration) {
	due, next, err := c.g.journal.Lanes(stop, c.network, now)
	switch {
	case err != nil && stop.Err() == nil:
		c.log.Error("cannot look for deliveries", "err", err)
		pause = firstRetry
	case !next.IsZero():
		pause = min(pollPause, max(next.Sub(now), time.Millisecond))
	default:
		pause = pollPause
	}
	for _, lane := range due {
		c.start(stop, hard, lane)
	}
	return pause
}

// endPauses lets every lane be tried now: what they waited for has come about, or the clock by which they wait was set
// back.
func (c *courier) endPauses(stop context.Context) {
	if _, err := c.g.journal.TakeOver(stop, c.network); err != nil && stop.Err() == nil {
		c.log.Error("cannot end the pauses of lanes", "err", err)
	}
}

// start sees to it that a lane is worked on.
func (c *courier) start(stop, hard context.Context, lane Address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, running := c.lanes[lane]; running {
		c.lanes[lane] = true
		return
	}
	c.lanes[lane] = false
	c.wg.Go(func() {
		for again := true; again; {
			again = c.again(lane, c.work(stop, hard, lane))
		}
	})
}

// again ends a lane's goroutine, unless the lane was woken meanwhile. If something is left, it says when it is due.
func (c *courier) again(lane Address, empty bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lanes[lane] {
		c.lanes[lane] = false
		return true
	}
	delete(c.lanes, lane)
	if empty {
		return false
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return false
}

// work delivers the lane run by run until nothing is due. It reports whether nothing at all was left: what has come
// since has also woken the courier.
func (c *courier) work(stop, hard context.Context, lane Address) (empty bool) {
	limit := c.side.Caps(lane).RunLength
	if limit <= 0 {
		limit = defaultRun
	}
	for stop.Err() == nil {
		if !c.g.router.Load().knows(lane) {
			c.release(lane)
			if err := c.turnAway(hard, lane); err != nil {
				c.log.Error("cannot give a lane up", "lane", lane.ID, "err", err)
				rest(stop, firstRetry)
			}
			return false
		}
		rows, err := c.g.journal.Head(hard, lane, limit)
		if err != nil {
			c.log.Error("cannot read lane", "lane", lane.ID, "err", err)
			rest(stop, firstRetry) // the lane is still due: without a pause the courier would spin
			return false
		}
		if len(rows) == 0 {
			c.release(lane)
			return true
		}
		if rows[0].Due.After(c.g.now()) && !c.followed(lane, rows) {
			return false
		}
		ended, more, err := c.deliver(hard, lane, rows, len(rows) == limit)
		if err != nil {
			c.log.Error("cannot deliver", "lane", lane.ID, "err", err)
			rest(stop, firstRetry)
			return false
		}
		if !more || ended == len(rows) && len(rows) < limit {
			return more
		}
	}
	return false
}

// deliver hands rows to the side and records what became of them. It returns how many of them have ended; more is false
// if the lane's head has to wait.
func (c *courier) deliver(ctx context.Context, lane Address, rows []Queued, full bool) (ended int, more bool, err error) {
	p, err := c.prepare(ctx, lane, rows, full)
	if err != nil {
		return 0, false, err
	}
	s := settlement{courier: c, done: p.settled, late: p.late, with: p.with, ended: p.ended(), more: true, times: c.ready.times.Load()}
	if len(p.run) > 0 {
		for !c.lease.Held() { // what we said now, another process might say as well
			if rest(ctx, heldPause); ctx.Err() != nil {
				return 0, false, ctx.Err()
			}
		}
		outcomes := c.say(ctx, p.run)
		for i := range p.rows {
			if i < len(outcomes) {
				s.settle(&p.rows[i], p.run[i], outcomes[i])
			}
		}
		if len(outcomes) == 0 { // nothing was attempted: not a failure, but no reason to hurry either
			rest(ctx, firstRetry)
		}
	}
	if err := s.commit(ctx); err != nil || s.more {
		return s.ended, s.more, err
	}
	return s.ended, false, c.giveUp(ctx, lane, c.g.limit, tooMuch)
}

// errPanic is what the sender of a delivery is told that makes its side panic.
var errPanic = errors.New("it is something that the gateway cannot say there")

// say calls the side's Deliver. Where that panics, the run is said one by one, so that only the delivery at fault
// fails: a message must not be able to end the process, again after each restart.
func (c *courier) say(ctx context.Context, run []Delivery) (out []Outcome) {
	out, ok := c.attempt(ctx, run)
	switch {
	case ok:
		return out
	case len(run) == 1 && run[0].Attempt >= patience:
		return []Outcome{Failed(Drop(errPanic))}
	case len(run) == 1:
		return []Outcome{Failed(errPanic)}
	}
	for i := range run {
		run[i].Attempt++ // it may have been said before the panic
	}
	for i := range run {
		one := c.say(ctx, run[i:i+1])
		out = append(out, one...)
		if len(one) == 0 || one[0].Err != nil && !IsDrop(one[0].Err) {
			break
		}
	}
	for len(out) < len(run) {
		out = append(out, Failed(errUnsure))
	}
	return out
}

// errUnsure is the outcome of deliveries behind one that failed, in a run that ended in a panic: they had no try of their
// own, but may have been said.
var errUnsure = errors.New("it was cut short by an error of the gateway")

// attempt is Deliver; false: it panicked.
func (c *courier) attempt(ctx context.Context, run []Delivery) (out []Outcome, ok bool) {
	defer func() {
		if p := recover(); p != nil { // its value may quote a message
			c.log.Error("panic in a delivery", "lane", run[0].Room.ID, "event", run[0].Event.ID, "run", len(run), "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
		}
	}()
	return c.side.Deliver(ctx, run), true
}
