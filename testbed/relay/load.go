package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	inFlight = 64  // messages of a closed loop
	bodySize = 100 // bytes
	// silence is after how long what has not arrived counts as lost.
	silence = 5 * time.Second
)

// way is one direction through a bridge, or through a server alone.
type way struct {
	from, to *peer
	// seal and open are set where messages are sealed. What has to be sealed is sealed before the clock starts, and
	// opened after it has stopped: all of it, so that every message is known to have been readable.
	seal func(text string) ([]byte, error)
	open func(frame []byte) (text string, err error) // errNotOurs: no message
}

var errNotOurs = errors.New("not a message of the load")

// arrival is a message that came through.
type arrival struct {
	at    time.Time
	seq   int
	frame []byte // sealed, to be opened
}

// result is what a run told. Latencies count from the time at which a message was due.
type result struct {
	sent, lost, disorder int
	rate                 float64 // received a second
	p50, p99             time.Duration
	cpu                  time.Duration // of the bridge, for a message
	store                time.Duration // of the database server, for a message
	waits                float64       // how often a thread of the bridge went to sleep, for a message
	rss                  int64         // of the bridge afterwards, bytes
}

// run is one measurement under way.
type run struct {
	way   *way
	mark  string
	texts [][]byte // as they are written
	due   []time.Time

	slots chan struct{} // closed loop: those in flight
	mu    sync.Mutex
	got   []arrival
	all   chan struct{}
}

// newRun prepares n messages with a mark that no other run has.
func newRun(w *way, n int) (*run, error) {
	var id [4]byte
	rand.Read(id[:])
	r := &run{way: w, mark: "lb" + hex.EncodeToString(id[:]) + ".", due: make([]time.Time, n), all: make(chan struct{})}
	for i := range n {
		text := fmt.Sprintf("%s%06d.", r.mark, i)
		text += strings.Repeat(" and so on", bodySize/10)[:bodySize-len(text)]
		raw, err := w.frame(text)
		if err != nil {
			return nil, err
		}
		r.texts = append(r.texts, raw)
	}
	return r, nil
}

func (w *way) frame(text string) ([]byte, error) {
	if w.seal != nil {
		return w.seal(text)
	}
	return w.from.say(nil, text), nil
}

// number finds the run's mark in a text and returns the number behind it; -1: there is none.
func (r *run) number(text []byte) int {
	i := bytes.Index(text, []byte(r.mark))
	if i < 0 || len(text) < i+len(r.mark)+7 || text[i+len(r.mark)+6] != '.' {
		return -1
	}
	n := 0
	for _, c := range text[i+len(r.mark):][:6] {
		n = 10*n + int(c-'0')
	}
	if n >= len(r.texts) {
		return -1
	}
	return n
}

// hear notes what arrives, in the reader's goroutine.
func (r *run) hear(frame []byte, at time.Time) {
	a := arrival{at: at}
	if r.way.open != nil {
		if !isSealed(frame) {
			return
		}
		a.seq, a.frame = -1, bytes.Clone(frame)
	} else if a.seq = r.number(frame); a.seq < 0 {
		return
	}
	r.mu.Lock()
	r.got = append(r.got, a)
	n := len(r.got)
	r.mu.Unlock()
	if r.slots != nil {
		select {
		case <-r.slots:
		default: // more came than was sent
		}
	}
	if n == len(r.texts) {
		close(r.all)
	}
}

// send writes the messages: at a rate, or, with rate 0, so many at once as may be in flight.
func (r *run) send(ctx context.Context, rate int) error {
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, text := range r.texts {
		if rate > 0 {
			r.due[i] = start.Add(time.Duration(i) * time.Second / time.Duration(rate))
			timer.Reset(time.Until(r.due[i]))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		} else {
			select {
			case r.slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			case <-r.way.to.ended:
				return r.way.to.err
			}
			r.due[i] = time.Now()
		}
		if err := r.way.from.write(text); err != nil {
			return err
		}
	}
	return nil
}

// await returns when everything has arrived, or nothing more comes.
func (r *run) await(ctx context.Context) {
	tick := time.NewTicker(silence / 5)
	defer tick.Stop()
	for seen, since := -1, time.Now(); ; {
		select {
		case <-r.all:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		n := len(r.got)
		r.mu.Unlock()
		if n != seen {
			seen, since = n, time.Now()
		} else if time.Since(since) > silence {
			return
		}
	}
}

// measure sends n messages and tells how they arrived and what they cost, by a meter that is read right before and right
// after. rate 0: a closed loop.
func (w *way) measure(ctx context.Context, n, rate int, meter func() usage) (result, error) {
	r, err := newRun(w, n)
	if err != nil {
		return result{}, err
	}
	if rate == 0 {
		r.slots = make(chan struct{}, inFlight)
	}
	w.to.listen(r.hear)
	defer w.to.listen(nil)
	sending, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := make(chan error, 1)
	before := meter()
	go func() { sent <- r.send(sending, rate) }()
	r.await(ctx)
	after := meter()
	cancel() // a closed loop with losses waits for ever
	if err := <-sent; err != nil && !errors.Is(err, context.Canceled) {
		return result{}, err
	}
	w.to.listen(nil)
	if err := ctx.Err(); err != nil {
		return result{}, err
	}
	res, err := r.tell()
	res.cpu, res.store, res.rss = (after.cpu-before.cpu)/time.Duration(n), (after.store-before.store)/time.Duration(n), after.rss
	res.waits = float64(after.waits-before.waits) / float64(n)
	return res, err
}

// tell works out what the arrivals say.
func (r *run) tell() (result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := result{sent: len(r.texts)}
	seen := make([]bool, len(r.texts))
	var latencies []time.Duration
	last := -1
	for i := range r.got {
		a := &r.got[i]
		if a.seq < 0 {
			text, err := r.way.open(a.frame)
			if errors.Is(err, errNotOurs) {
				continue
			} else if err != nil {
				return res, err
			}
			if a.seq = r.number([]byte(text)); a.seq < 0 {
				continue // a probe that came late
			}
		}
		if seen[a.seq] {
			return res, fmt.Errorf("message %d arrived twice", a.seq)
		}
		seen[a.seq] = true
		if a.seq < last {
			res.disorder++
		}
		last = a.seq
		latencies = append(latencies, a.at.Sub(r.due[a.seq]))
	}
	res.lost = len(r.texts) - len(latencies)
	if len(latencies) == 0 {
		return res, errors.New("nothing arrived")
	}
	res.rate = float64(len(latencies)) / r.got[len(r.got)-1].at.Sub(r.due[0]).Seconds()
	slices.Sort(latencies)
	res.p50, res.p99 = latencies[len(latencies)/2], latencies[(len(latencies)*99-1)/100]
	return res, nil
}

// probe says something until it arrives: the bridge is up and idle then.
func (w *way) probe(ctx context.Context) error {
	for {
		r, err := newRun(w, 1)
		if err != nil {
			return err
		}
		w.to.listen(r.hear)
		r.due[0] = time.Now()
		if err := w.from.write(r.texts[0]); err != nil {
			return err
		}
		wait := time.NewTimer(time.Second)
		select {
		case <-r.all:
			wait.Stop()
			w.to.listen(nil)
			if _, err := r.tell(); err == nil {
				return nil
			}
		case <-wait.C:
		case <-w.to.ended:
			return w.to.err
		case <-ctx.Done():
			return fmt.Errorf("from %s to %s nothing comes through: %w", w.from.name, w.to.name, ctx.Err())
		}
	}
}
