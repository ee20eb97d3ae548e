package faults

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Pulse tells whether anything still moves on a stage: something was said or arrived, the gateway counted a delivery, or fewer wait in
// its lanes. Waiting is judged by it and not by the clock, since a loaded machine's servers may take long for what they never lose.
type Pulse struct {
	mu      sync.Mutex
	moved   time.Time
	waiting int // deliveries in the gateway's lanes when it last answered; -1: it did not
}

// Still is for how long nothing has moved.
func (p *Pulse) Still() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.moved)
}

// Empty says whether nothing waits in the gateway's lanes.
func (p *Pulse) Empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting == 0
}

// reading is what the pulse is taken from.
type reading struct {
	seen      int // messages said and arrived
	delivered int
	waiting   int // -1: unknown
}

const (
	// beat lies between two readings.
	beat = time.Second
	// answerWithin is how long a process may take to answer; a frozen one never does.
	answerWithin = 3 * time.Second
)

// feel takes the pulse until ctx ends.
func (s *Stage) feel(ctx context.Context) {
	before := s.read(ctx)
	for rest(ctx, beat) {
		now := s.read(ctx)
		s.Pulse.mu.Lock()
		s.Pulse.waiting = now.waiting
		if now.seen > before.seen || now.delivered > before.delivered || now.waiting >= 0 && now.waiting < before.waiting {
			s.Pulse.moved = time.Now()
		}
		s.Pulse.mu.Unlock()
		before = now
	}
}

// read asks the processes; two of them have the same lanes.
func (s *Stage) read(ctx context.Context) reading {
	r := reading{seen: s.Ledger.Seen(), waiting: -1}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for _, p := range s.Processes {
		if !p.Running() {
			continue
		}
		status, text, err := p.Get(ctx, "/metrics")
		if err != nil || status != http.StatusOK {
			continue
		}
		r.delivered += total(text, "lockbridge_deliveries_delivered_total")
		r.waiting = total(text, "lockbridge_lane_pending")
	}
	return r
}

// total adds up a metric's values in Prometheus's text format.
func total(text, metric string) (sum int) {
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, metric); found && strings.HasPrefix(rest, "{") {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' ')+1:]), 64)
			if err == nil {
				sum += int(n)
			}
		}
	}
	return sum
}

// Drain waits until everything has arrived, nothing waits in the gateway's lanes any more, and what would come twice had a while to
// come; or until nothing has moved for the time given. What is in a lane though it arrived is waited for only so long, and then shown.
func (s *Stage) Drain(ctx context.Context, quiet time.Duration) {
	var settled time.Time
	for s.Pulse.Still() < quiet && rest(ctx, beat) {
		switch {
		case !s.Ledger.Settled():
			settled = time.Time{}
		case settled.IsZero():
			settled = time.Now()
		case s.Pulse.Empty() && s.Pulse.Still() > late, time.Since(settled) > confirmedWithin:
			return
		}
	}
}

const (
	// late is how long after everything else something may come twice, and then is sure to be counted.
	late = 4 * time.Second
	// confirmedWithin is how long the gateway may take to learn that its last deliveries arrived.
	confirmedWithin = 2 * time.Minute
)

// Held is what the gateway's lanes hold, as `lockbridge lanes` tells it: what is missing and stands there is late, not lost.
func (s *Stage) Held(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, heldWithin)
	defer cancel()
	text, err := s.Processes[0].Command(ctx, "lanes", "--config", s.Processes[0].Config)
	if err != nil {
		return fmt.Sprintf("(unknown: %v) %s", err, text)
	}
	return strings.TrimSpace(text)
}

// heldWithin is how long the answer may take while nothing else works either.
const heldWithin = 30 * time.Second
