package faults

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// Network is one of the three.
type Network string

// The networks, in the order of the report.
const (
	XMPP   Network = "XMPP"
	Matrix Network = "Matrix"
	IRC    Network = "IRC"
)

var networks = []Network{XMPP, Matrix, IRC}

// Place is where messages are said and arrive: one network's room of one bridge.
type Place struct {
	Network Network
	Bridge  string
}

func (p Place) String() string { return string(p.Network) + "-" + p.Bridge }

// Ledger holds what was said and what arrived, with times. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	changed chan struct{}
	said    map[Place][]said
	arrived map[way][]arrival
	away    map[string][]window // the gateway away from the IRC channel, by bridge
	breaks  []time.Time
	reports []string
	greeted map[way]bool
	ids     map[string]string // of reflections, by text
}

type said struct {
	begun, accepted time.Time
	unsure          bool // nobody knows whether the server took it
}

type arrival struct {
	n  int
	at time.Time
}

type way struct{ from, to Place }

type window struct{ from, to time.Time } // to is zero while it lasts

// NewLedger returns an empty one.
func NewLedger() *Ledger {
	return &Ledger{changed: make(chan struct{}), said: map[Place][]said{}, arrived: map[way][]arrival{}, away: map[string][]window{}, greeted: map[way]bool{}, ids: map[string]string{}}
}

func (l *Ledger) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	close(l.changed)
	l.changed = make(chan struct{})
}

// await returns when the condition holds; it is asked under the lock, after every change.
func (l *Ledger) await(ctx context.Context, holds func() bool) error {
	for {
		l.mu.Lock()
		done, changed := holds(), l.changed
		l.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hello is what somebody says before the load begins, so that puppets, ghosts and sessions are there by then.
func hello(from Place) string { return fmt.Sprintf("fault %s 0", from) }

// text is what the n-th message at a place says; numbers start at 1.
func text(at Place, n int) string { return fmt.Sprintf("fault %s %d", at, n) }

var numbered = regexp.MustCompile(`\bfault (XMPP|Matrix|IRC)-([a-z]+) ([0-9]+)\b`)

// Said notes the next message of a place: when it was first tried and when its own server took it. Unsure ones are neither missed nor
// unexpected.
func (l *Ledger) Said(at Place, begun, accepted time.Time, unsure bool) {
	l.change(func() { l.said[at] = append(l.said[at], said{begun, accepted, unsure}) })
}

// Heard notes a text that was seen at a place, if it is one of the load's, from another network.
func (l *Ledger) Heard(at Place, text string, when time.Time) {
	m := numbered.FindStringSubmatch(text)
	if m == nil || Network(m[1]) == at.Network {
		return
	}
	n, err := strconv.Atoi(m[3])
	if err != nil {
		return
	}
	from := Place{Network(m[1]), m[2]}
	l.change(func() {
		if n == 0 {
			l.greeted[way{from, at}] = true
			return
		}
		l.arrived[way{from, at}] = append(l.arrived[way{from, at}], arrival{n, when})
	})
}

// Reflected notes the reflection of what was said at a place itself. Twice in the room would be our own fault, and arrive twice.
func (l *Ledger) Reflected(at Place, text, id string) {
	l.change(func() {
		if before, seen := l.ids[text]; seen {
			l.reports = append(l.reports, fmt.Sprintf("(the speaker said %q twice: %s, %s)", text, before, id))
		}
		l.ids[text] = id
	})
}

// Told notes what the gateway itself said to somebody: a report about a message that it gave up.
func (l *Ledger) Told(at Place, text string) {
	l.change(func() { l.reports = append(l.reports, at.String()+": "+text) })
}

// Left notes that the gateway is not in a bridge's IRC channel, or that no line can reach it there.
func (l *Ledger) Left(bridge string, when time.Time) {
	l.change(func() {
		w := l.away[bridge]
		if len(w) == 0 || !w[len(w)-1].to.IsZero() {
			l.away[bridge] = append(w, window{from: when})
		}
	})
}

// Entered notes the end of what Left began.
func (l *Ledger) Entered(bridge string, when time.Time) {
	l.change(func() {
		if w := l.away[bridge]; len(w) > 0 && w[len(w)-1].to.IsZero() {
			w[len(w)-1].to = when
		}
	})
}

// AwaitInChannels returns when the gateway is in the IRC channels of all bridges.
func (l *Ledger) AwaitInChannels(ctx context.Context) error {
	return l.await(ctx, func() bool {
		for _, w := range l.away {
			if len(w) > 0 && w[len(w)-1].to.IsZero() {
				return false
			}
		}
		return true
	})
}

// Broke notes that a process was killed or a connection cut just now.
func (l *Ledger) Broke() {
	now := time.Now()
	l.change(func() { l.breaks = append(l.breaks, now) })
}

// AwaitSaid returns when so many messages have been said at all places together.
func (l *Ledger) AwaitSaid(ctx context.Context, count int) error {
	return l.await(ctx, func() bool { return l.countLocked() >= count })
}

// Count is how many messages have been said.
func (l *Ledger) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.countLocked()
}

func (l *Ledger) countLocked() (n int) {
	for _, s := range l.said {
		n += len(s)
	}
	return n
}

// AwaitFirst returns when something arrived on a way after a moment, and when that was.
func (l *Ledger) AwaitFirst(ctx context.Context, from, to Network, after time.Time) (at time.Time, err error) {
	err = l.await(ctx, func() bool {
		at = time.Time{}
		for w, all := range l.arrived {
			if w.from.Network != from || w.to.Network != to {
				continue
			}
			for _, a := range all {
				if a.at.After(after) && (at.IsZero() || a.at.Before(at)) {
					at = a.at
				}
			}
		}
		return !at.IsZero()
	})
	return at, err
}

// Settled says whether everything that was said has arrived everywhere, save for what IRC did not offer.
func (l *Ledger) Settled() bool {
	for _, d := range l.Report() {
		if d.Lost > 0 {
			return false
		}
	}
	return true
}

// Seen is how many messages have been said and have arrived, each copy counted.
func (l *Ledger) Seen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.countLocked() + len(l.greeted)
	for _, came := range l.arrived {
		n += len(came)
	}
	return n
}
