package faults

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Blackout is how long a direction was silent after restarts, and what is allowed.
type Blackout struct {
	From, To Network
	Took     []time.Duration // from the start of the new process to the first message that arrived
	Server   time.Duration   // what the two servers took themselves, the slower one
}

// ours is what the gateway may add: its own start.
const ours = 300 * time.Millisecond

// Allowed is what the servers took, our own start, and where nothing waits to be carried on the pause between two messages.
func (b Blackout) Allowed(interval time.Duration) time.Duration {
	if b.From == IRC {
		return b.Server + ours + interval
	}
	return b.Server + ours
}

// Median is the one in the middle.
func (b Blackout) Median() time.Duration {
	sorted := slices.Sorted(slices.Values(b.Took))
	return sorted[len(sorted)/2]
}

func (b Blackout) String() string {
	return fmt.Sprintf("%s → %s %.2f s (%.2f to %.2f; the servers' own %.2f s)", b.From, b.To,
		b.Median().Seconds(), slices.Min(b.Took).Seconds(), slices.Max(b.Took).Seconds(), b.Server.Seconds())
}

// MeasureBlackout waits until every direction has carried something after a restart and adds how long that took.
func (s *Stage) MeasureBlackout(ctx context.Context, restart time.Time, servers map[Network]time.Duration, into []Blackout) ([]Blackout, error) {
	if into == nil {
		for _, from := range networks {
			for _, to := range networks {
				if from != to {
					into = append(into, Blackout{From: from, To: to, Server: max(servers[from], servers[to])})
				}
			}
		}
	}
	for i := range into {
		b := &into[i]
		at, err := s.Ledger.AwaitFirst(ctx, b.From, b.To, restart)
		if err != nil {
			return nil, fmt.Errorf("nothing from %s to %s after a restart: %w", b.From, b.To, err)
		}
		took := at.Sub(restart)
		if first, ok := s.Transactions.First(restart); ok && b.From == Matrix {
			took -= max(0, first.Sub(restart)-ours) // the homeserver had not tried again before
		}
		b.Took = append(b.Took, took)
	}
	return into, nil
}
