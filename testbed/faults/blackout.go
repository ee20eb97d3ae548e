package faults

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Blackout is how long a direction was silent after restarts, and how much of it the servers took.
type Blackout struct {
	From, To Network
	Took     []time.Duration // from the start of the new process to the first message that arrived
	Ours     []time.Duration // what of it the servers do not take themselves
}

// MayAdd is what the gateway may add to what the servers take: its own start, and where nothing waits to be carried the pause between
// two messages.
func (b Blackout) MayAdd(interval time.Duration) time.Duration {
	const start = 300 * time.Millisecond
	if b.From == IRC {
		return start + interval
	}
	return start
}

func (b Blackout) String() string {
	return fmt.Sprintf("%s → %s: %.2f s (longest %.2f s), %.2f s of it ours", b.From, b.To, Median(b.Took).Seconds(), slices.Max(b.Took).Seconds(), Median(b.Ours).Seconds())
}

// Median is the one in the middle.
func Median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// MeasureBlackout waits until every direction has carried something after a restart and adds how long that took. servers is what
// ConnectAndJoin found; the homeserver takes until it tries again to reach the gateway.
func (s *Stage) MeasureBlackout(ctx context.Context, restart time.Time, servers map[Network]time.Duration, into []Blackout) ([]Blackout, error) {
	if into == nil {
		for _, from := range networks {
			for _, to := range networks {
				if from != to {
					into = append(into, Blackout{From: from, To: to})
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
		server := max(servers[b.From], servers[b.To])
		if first, ok := s.Transactions.First(restart); ok && b.From == Matrix && first.Before(at) {
			server = max(server, first.Sub(restart))
		}
		b.Took = append(b.Took, at.Sub(restart))
		b.Ours = append(b.Ours, max(0, at.Sub(restart)-server))
	}
	return into, nil
}
