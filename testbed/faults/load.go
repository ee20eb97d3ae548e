package faults

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Load is everybody speaking at once.
type Load struct {
	Ledger *Ledger
	Took   time.Duration // set by Wait

	begun    time.Time
	enough   atomic.Bool
	speaking atomic.Int32
	done     sync.WaitGroup
	stop     context.CancelFunc
	mu       sync.Mutex
	err      error
}

// StartLoad has each speaker of the stage say messages in both rooms: total in all, at rate a second in all. A speaker whose server is
// away holds back and goes on at its pace; numbers are never left out.
func (s *Stage) StartLoad(ctx context.Context, total int, rate float64) *Load {
	ctx, stop := context.WithCancel(ctx)
	l := &Load{Ledger: s.Ledger, begun: time.Now(), stop: stop}
	places := s.places()
	each := total / len(places)
	interval := time.Duration(float64(time.Second) * float64(len(places)) / rate)
	l.speaking.Store(int32(len(places)))
	for i, at := range places {
		// Their beats lie between one another, so that the load is even.
		l.done.Go(func() {
			defer l.speaking.Add(-1)
			l.speak(ctx, s.speakers[at.Network], at, each, interval, interval*time.Duration(i)/time.Duration(len(places)))
		})
	}
	return l
}

func (l *Load) speak(ctx context.Context, who speaker, at Place, count int, interval, offset time.Duration) {
	rest(ctx, offset)
	beat := time.NewTicker(interval)
	defer beat.Stop()
	for n := 1; n <= count && !l.enough.Load(); n++ {
		begun := time.Now()
		unsure, err := who.say(ctx, at.Bridge, text(at, n))
		if err != nil {
			l.fail(fmt.Errorf("%s cannot say message %d: %w", at, n, err))
			return
		}
		l.Ledger.Said(at, begun, time.Now(), unsure)
		select {
		case <-beat.C:
		case <-ctx.Done():
			l.fail(context.Cause(ctx))
			return
		}
	}
}

func (l *Load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// Enough has everybody stop after what they are saying, however much is left.
func (l *Load) Enough() { l.enough.Store(true) }

// Over says whether everything has been said.
func (l *Load) Over() bool { return l.speaking.Load() == 0 }

// Wait returns when everything has been said.
func (l *Load) Wait() error {
	l.done.Wait()
	l.stop()
	l.Took = time.Since(l.begun)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
