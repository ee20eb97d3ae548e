package ircside

import (
	"slices"
	"time"
)

// pacer decides which line leaves when. It holds a token bucket, one queue a lane, and serves the lanes in turn, so
// that a loud channel does not starve the others. Without every there is no limit. Its owner guards it.
type pacer struct {
	burst  float64
	every  time.Duration
	tokens float64
	at     time.Time // when tokens was right

	first []*line // JOIN, NICK and the like: before every lane, but not faster
	lanes map[string][]*line
	turns []string // lanes that have lines, in the order of their turns
}

func newPacer(p Pace, now time.Time) *pacer {
	return &pacer{burst: float64(p.Burst), every: p.Every, tokens: float64(p.Burst), at: now, lanes: map[string][]*line{}}
}

// push queues lines in a lane, behind what it has; but text goes before what is low there.
func (p *pacer) push(lane string, lines ...*line) {
	if len(lines) == 0 {
		return
	}
	queue := p.lanes[lane]
	if len(queue) == 0 {
		p.turns = append(p.turns, lane)
	}
	for _, l := range lines {
		at := len(queue)
		for !l.low && at > 0 && queue[at-1].low {
			at--
		}
		queue = slices.Insert(queue, at, l)
	}
	p.lanes[lane] = queue
}

// stale removes the lines that are not worth saying any more, and returns them.
func (p *pacer) stale(now time.Time) (out []*line) {
	for _, lane := range slices.Clone(p.turns) {
		if queue := p.lanes[lane]; queue[len(queue)-1].low { // those that are low stand last
			out = append(out, p.withdraw(lane, func(l *line) bool { return l.expires && now.After(l.until) })...)
		}
	}
	return out
}

// idle reports whether nothing waits, and a line of text would leave at once even behind another line.
func (p *pacer) idle(now time.Time) bool {
	p.refill(now)
	return p.head() == nil && (p.every == 0 || p.tokens >= min(2, p.burst))
}

// pushFirst queues lines that go before all lanes.
func (p *pacer) pushFirst(lines ...*line) { p.first = append(p.first, lines...) }

// ahead is how long what is queued first takes at most, and a line behind it.
func (p *pacer) ahead() time.Duration { return time.Duration(len(p.first)+1) * p.every }

// charge counts a line that could not wait, a PONG: what follows it waits the longer.
func (p *pacer) charge(now time.Time) {
	p.refill(now)
	p.tokens--
}

// rest lets nothing leave for d.
func (p *pacer) rest(now time.Time, d time.Duration) {
	p.refill(now)
	if p.every > 0 {
		p.tokens = min(p.tokens, -float64(d)/float64(p.every))
	}
}

// take removes the lines that may leave now, at most size bytes of them, and returns how long to wait for the next one.
// The wait is zero if nothing is queued, or if it is the size that lets nothing more leave.
func (p *pacer) take(now time.Time, size int) (out []*line, wait time.Duration) {
	p.refill(now)
	for l := p.head(); l != nil; l = p.head() {
		if need := min(float64(l.cost()), p.burst); p.tokens < need && p.every > 0 {
			return out, time.Duration((need-p.tokens)*float64(p.every)) + 1
		}
		if size -= l.size(); size < 0 {
			return out, 0
		}
		p.tokens -= float64(l.cost())
		out = append(out, l)
		p.shift()
	}
	return out, 0
}

func (p *pacer) refill(now time.Time) {
	if gone := now.Sub(p.at); gone > 0 && p.every > 0 {
		p.tokens = min(p.burst, p.tokens+float64(gone)/float64(p.every))
	}
	p.at = now
}

// head is the line whose turn it is; nil: none waits.
func (p *pacer) head() *line {
	switch {
	case len(p.first) > 0:
		return p.first[0]
	case len(p.turns) > 0:
		return p.lanes[p.turns[0]][0]
	}
	return nil
}

// shift removes the head.
func (p *pacer) shift() {
	if len(p.first) > 0 {
		p.first = p.first[1:]
		return
	}
	lane := p.turns[0]
	p.turns = p.turns[1:]
	if queue := p.lanes[lane]; len(queue) > 1 {
		p.lanes[lane] = queue[1:]
		p.turns = append(p.turns, lane)
	} else {
		delete(p.lanes, lane)
	}
}

// queued counts the lines of a lane.
func (p *pacer) queued(lane string) int { return len(p.lanes[lane]) }

// withdraw removes the lines of a lane that gone selects, and returns them.
func (p *pacer) withdraw(lane string, gone func(*line) bool) (out []*line) {
	kept := p.lanes[lane][:0:0]
	for _, l := range p.lanes[lane] {
		if gone(l) {
			out = append(out, l)
		} else {
			kept = append(kept, l)
		}
	}
	p.lanes[lane] = kept
	if len(kept) > 0 {
		return out
	}
	delete(p.lanes, lane)
	for i, turn := range p.turns {
		if turn == lane {
			p.turns = append(p.turns[:i:i], p.turns[i+1:]...)
			break
		}
	}
	return out
}

// withdrawAll empties the pacer and returns what was in it.
func (p *pacer) withdrawAll() (out []*line) {
	for _, queue := range p.lanes {
		out = append(out, queue...)
	}
	p.first, p.turns = nil, nil
	clear(p.lanes)
	return out
}
