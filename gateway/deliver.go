package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// pollPause is how long a courier waits for a wake-up before it looks for itself.
	pollPause = 15 * time.Second
	// defaultRun is the most deliveries of one run where the side names no number.
	defaultRun = 64
	// firstRetry and lastRetry bound the pause before another attempt; it doubles in between.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// shortestWait keeps a side that asks for no pause from spinning.
	shortestWait = 100 * time.Millisecond
	// recordTime is how long it may take to record what was said by a side that was cut short.
	recordTime = time.Second
	// patience is how often a delivery is tried that makes the side panic.
	patience = 3
)

// courier delivers everything that waits in one network's lanes. Each lane has at most one goroutine, which lives
// while the lane has something due; so a lane keeps its order, and a failing one holds up no other.
type courier struct {
	g       *Gateway
	network string
	side    Side
	last    int64 // the newest delivery when we took over: those up to it may have been tried before
	log     *slog.Logger

	wg sync.WaitGroup

	mu    sync.Mutex
	lanes map[Address]bool // running lanes; true: look again before ending
	// changed gets a value when a lane ended with something left that falls due later.
	changed chan struct{}
	// rules gets a value when other rooms are bridged than before.
	rules chan struct{}
}

func newCourier(g *Gateway, network string, side Side, log *slog.Logger) *courier {
	return &courier{
		g: g, network: network, side: side, log: log, lanes: map[Address]bool{},
		changed: make(chan struct{}, 1), rules: make(chan struct{}, 1),
	}
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
	for stop.Err() == nil {
		due, next, err := c.g.journal.Lanes(stop, c.network, c.g.now())
		pause := pollPause
		switch {
		case err != nil && stop.Err() == nil:
			c.log.Error("cannot look for deliveries", "err", err)
			pause = firstRetry
		case !next.IsZero():
			pause = min(pause, max(next.Sub(c.g.now()), time.Millisecond))
		}
		for _, lane := range due {
			c.start(stop, hard, lane)
		}
		timer := time.NewTimer(pause)
		select {
		case <-stop.Done():
		case <-wake:
		case <-c.changed:
		case <-timer.C:
		}
		timer.Stop()
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
		for again := true; again; again = c.again(lane) {
			c.work(stop, hard, lane)
		}
	})
}

// again ends a lane's goroutine, unless the lane was woken meanwhile.
func (c *courier) again(lane Address) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lanes[lane] {
		c.lanes[lane] = false
		return true
	}
	delete(c.lanes, lane)
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return false
}

// work delivers the lane run by run until nothing is due.
func (c *courier) work(stop, hard context.Context, lane Address) {
	limit := c.side.Caps(lane).RunLength
	if limit <= 0 {
		limit = defaultRun
	}
	for stop.Err() == nil {
		rows, err := c.g.journal.Head(hard, lane, limit)
		if err != nil {
			c.log.Error("cannot read lane", "lane", lane.ID, "err", err)
			rest(stop, firstRetry) // the lane is still due: without a pause the courier would spin
			return
		}
		if len(rows) == 0 || rows[0].Due.After(c.g.now()) {
			return
		}
		more, err := c.deliver(hard, lane, rows)
		if err != nil {
			c.log.Error("cannot deliver", "lane", lane.ID, "err", err)
			rest(stop, firstRetry)
			return
		}
		if !more {
			return
		}
	}
}

// deliver hands rows to the side and records what became of them. False means that the lane's head has to wait.
func (c *courier) deliver(ctx context.Context, lane Address, rows []Queued) (more bool, err error) {
	run, rows, settled, err := c.prepare(ctx, lane, rows)
	if err != nil {
		return false, err
	}
	s := settlement{courier: c, done: settled, more: true}
	if len(run) > 0 {
		outcomes := c.say(ctx, run)
		for i := range rows {
			if i < len(outcomes) {
				s.settle(&rows[i], run[i].Event, outcomes[i])
			}
		}
		if len(outcomes) == 0 { // nothing was attempted: not a failure, but no reason to hurry either
			rest(ctx, firstRetry)
		}
	}
	return s.more, s.commit(ctx)
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
		run[i].Attempt++
		one := c.say(ctx, run[i:i+1])
		out = append(out, one...)
		if len(one) == 0 || one[0].Err != nil && !IsDrop(one[0].Err) {
			break
		}
	}
	return out
}

// attempt is Deliver; false: it panicked.
func (c *courier) attempt(ctx context.Context, run []Delivery) (out []Outcome, ok bool) {
	defer func() {
		if p := recover(); p != nil { // its value may quote a message
			c.log.Error("panic in a delivery", "lane", run[0].Room.ID, "event", run[0].Event.ID, "run", len(run), "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
		}
	}()
	return c.side.Deliver(ctx, run), true
}

// prepare makes a run of the head of a lane: references in the room's own ids, bodies that the room can show. What
// needs no delivery after all is settled here. It returns the rows that belong to the run.
func (c *courier) prepare(ctx context.Context, lane Address, rows []Queued) (run []Delivery, kept []Queued, settled []Finished, err error) {
	if err := c.resolve(ctx, eventsOf(rows)); err != nil {
		return nil, nil, nil, err
	}
	rows = cut(rows)
	if err := c.localize(ctx, lane, eventsOf(rows)); err != nil {
		return nil, nil, nil, err
	}
	for i := range rows {
		if rows[i].Attempt == 0 && rows[i].Seq <= c.last {
			rows[i].Attempt = 1 // whoever had the network before may have sent it
		}
	}
	known, err := c.known(ctx, lane, rows)
	if err != nil {
		return nil, nil, nil, err
	}
	caps := c.side.Caps(lane)
	for _, row := range rows {
		if row.Event == nil {
			c.log.Error("delivery of a kind that this version does not know is given up", "lane", lane.ID, "seq", row.Seq)
			settled = append(settled, Finished{Seq: row.Seq, Key: row.Key, Dead: true, Reason: "unknown kind of event"})
			continue
		}
		ev := degrade(row.Event, caps)
		if ev == nil {
			settled = append(settled, Finished{Seq: row.Seq, Key: row.Key})
			continue
		}
		run = append(run, Delivery{Key: row.Key, Room: lane, Event: ev, Seal: row.Seal, Attempt: row.Attempt, Known: known[row.Event.ID]})
		kept = append(kept, row)
	}
	return run, kept, settled, nil
}

// known finds what earlier tries brought to the lane's room, by the links that their echoes left.
func (c *courier) known(ctx context.Context, lane Address, rows []Queued) (map[ID][]Part, error) {
	var tried []ID
	for i := range rows {
		if rows[i].Attempt > 0 && rows[i].Event != nil {
			tried = append(tried, rows[i].Event.ID)
		}
	}
	if len(tried) == 0 {
		return nil, nil
	}
	return c.g.journal.Parts(ctx, lane, tried)
}

// eventsOf leaves out what could not be read.
func eventsOf(rows []Queued) []*Event {
	events := make([]*Event, 0, len(rows))
	for i := range rows {
		if rows[i].Event != nil {
			events = append(events, rows[i].Event)
		}
	}
	return events
}

// cut ends the rows before one that points at an earlier one of them: its target has no native id here before that
// was delivered.
func cut(rows []Queued) []Queued {
	inside := map[ID]bool{}
	for i := range rows {
		ev := rows[i].Event
		if ev == nil {
			continue
		}
		inward := false
		refs(ev.Body, func(r Ref) Ref {
			inward = inward || inside[r.ID]
			return r
		})
		if inward {
			return rows[:i]
		}
		inside[ev.ID] = true
	}
	return rows
}

// settlement turns outcomes into what the journal records.
type settlement struct {
	*courier
	done    []Finished
	reports []*Event
	more    bool
	told    map[any]time.Duration
}

func (s *settlement) settle(row *Queued, ev *Event, o Outcome) {
	f := Finished{Seq: row.Seq, Key: row.Key}
	now, limit := s.g.now(), row.Accepted.Add(s.g.maxAge)
	count := s.g.metrics.delivered
	switch wait, asked := LaterThan(o.Err); {
	case o.Err == nil:
		for _, p := range o.Parts {
			f.Links = append(f.Links, links(row.Room, p.Native, p.Also, ev.ID, p.Name)...)
		}
	case IsDrop(o.Err):
		f.Dead, f.Reason = true, o.Err.Error()
	case !now.Before(limit): // the error itself goes to the log only: it was not written for the sender
		f.Dead, f.Reason = true, fmt.Sprintf("it could not be delivered for %v", s.g.maxAge)
	case asked:
		f.Retry, f.Due, f.Attempt = true, now.Add(max(wait, shortestWait)), row.Attempt
	default:
		f.Retry, f.Due, f.Attempt = true, now.Add(backoff(row.Attempt)), row.Attempt+1
	}
	if f.Due.After(limit) {
		f.Due = limit
	}
	switch {
	case f.Dead:
		count = s.g.metrics.failed
		s.log.Warn("delivery given up", "event", ev.ID, "lane", row.Room.ID, "attempt", row.Attempt, "reason", f.Reason, "err", o.Err)
		s.report(row, ev, f.Reason)
	case f.Retry:
		count, s.more = s.g.metrics.retried, false
		s.log.Info("delivery will be tried again", "event", ev.ID, "lane", row.Room.ID, "attempt", f.Attempt, "at", f.Due.Format(time.RFC3339), "err", o.Err)
	}
	count.WithLabelValues(s.network).Inc()
	s.done = append(s.done, f)
}

// backoff is the pause before the attempt after the given one, with a fifth of jitter so that lanes do not come back
// all at once.
func backoff(attempt int) time.Duration {
	d := lastRetry
	if attempt < 6 {
		d = min(firstRetry<<attempt, lastRetry)
	}
	return d + time.Duration(rand.Int64N(int64(d)/5+1))
}

// report tells the sender of a message that it was given up. Nobody is told about what nobody said, nor about a
// report that failed itself.
func (s *settlement) report(row *Queued, ev *Event, reason string) {
	if ev.Sender.IsZero() || !carriesContent(ev.Body) {
		return
	}
	reason = fmt.Sprintf("not delivered to %s (%s): %s", row.Room.label(), row.Room.Network, reason)
	key := reportKey{ev.At, ev.Sender.ID, reason}
	if !s.g.told.free(key) || s.told[key] != 0 {
		return
	}
	if s.told == nil {
		s.told = map[any]time.Duration{}
	}
	s.told[key] = reportPause(ev.At)
	s.reports = append(s.reports, &Event{
		At: ev.At, Time: s.g.now(), own: true,
		Body: Receipt{Target: Ref{ID: ev.ID, Author: ev.Sender}, State: Undeliverable, Reason: reason},
	})
}

// commit writes the settlement down. It does not give up while the network is ours: what was sent would be sent again.
// When ctx has ended it still tries once, as an owner may write until another one has taken over.
func (s *settlement) commit(ctx context.Context) error {
	if len(s.done) == 0 {
		return nil
	}
	recording, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(recordTime, cancel) })()
	for attempt := 0; ; attempt++ {
		err := s.g.journal.Do(recording, s.network, func(ctx context.Context) error {
			if err := s.g.journal.Finish(ctx, s.done); err != nil {
				return err
			}
			entries, err := s.entries()
			if err != nil || len(entries) == 0 {
				return err
			}
			return s.g.journal.Append(ctx, entries)
		})
		if err == nil {
			s.g.told.mark(s.told)
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrLeaseLost) {
			return fmt.Errorf("record deliveries: %w", err)
		}
		s.log.Error("cannot record deliveries; trying again", "err", err)
		rest(ctx, backoff(attempt))
	}
}

func (s *settlement) entries() ([]Entry, error) {
	entries := make([]Entry, 0, len(s.reports))
	for _, ev := range s.reports {
		id, err := NewID(s.g.rand)
		if err != nil {
			return nil, err
		}
		ev.ID = id
		to, _ := s.g.router.Load().route(ev)
		if err := s.g.mintKeys(to); err != nil {
			return nil, err
		}
		entries = append(entries, Entry{Event: ev, Deliveries: to})
	}
	return entries, nil
}
