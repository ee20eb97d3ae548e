package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
)

// standbyAfter is how long a lease is waited for before that counts as standing by: a lease that is free is had at once.
const standbyAfter = time.Second

// ownership hands out leases and remembers which networks this process owns, and for which it waits.
type ownership struct {
	leases gateway.Leases
	ping   func(context.Context) error // asks the database that the leases are in
	status *gateway.Status
	now    func() time.Time
	log    *slog.Logger

	mu    sync.Mutex
	held  map[string]bool
	since map[string]time.Time // waiting, since when
}

func newOwnership(leases gateway.Leases, ping func(context.Context) error, status *gateway.Status, now func() time.Time, log *slog.Logger) *ownership {
	return &ownership{leases: leases, ping: ping, status: status, now: now, log: log, held: map[string]bool{}, since: map[string]time.Time{}}
}

// Acquire implements gateway.Leases.
func (o *ownership) Acquire(ctx context.Context, network string) (gateway.Lease, error) {
	o.mu.Lock()
	o.since[network] = o.now()
	o.mu.Unlock()
	told := time.AfterFunc(standbyAfter, func() {
		if o.answers() == nil && o.waits(network) {
			o.log.Info("standing by: another process owns the network", "network", network)
		}
	})
	lease, err := o.leases.Acquire(ctx, network)
	stoodBy := !told.Stop()
	o.mu.Lock()
	delete(o.since, network)
	o.held[network] = err == nil
	o.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if stoodBy {
		o.log.Info("this process owns the network now", "network", network)
	}
	return ownedLease{lease, o, network}, nil
}

// ownedLease is a lease that tells when it ends.
type ownedLease struct {
	gateway.Lease
	o       *ownership
	network string
}

// Keep implements gateway.Lease.
func (l ownedLease) Keep(ctx context.Context) error {
	err := l.Lease.Keep(ctx)
	if err != nil {
		l.ended()
	}
	return err
}

// Release implements gateway.Lease.
func (l ownedLease) Release(ctx context.Context) error {
	l.ended()
	return l.Lease.Release(ctx)
}

func (l ownedLease) ended() {
	l.o.mu.Lock()
	defer l.o.mu.Unlock()
	l.o.held[l.network] = false
}

// What a network is in this process.
const (
	stateUp      = "up"
	stateStandby = "standby" // another process owns it
	stateAway    = "away"
)

// networkState is what there is to say about one network.
type networkState struct {
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is away
	held   bool
}

// states tells about each network that this process runs, or would run if another did not.
func (o *ownership) states() map[string]networkState {
	all := map[string]networkState{}
	for name, away := range o.status.Networks() {
		s := networkState{State: stateUp, held: o.holds(name)}
		switch {
		case o.waits(name):
			s.State = stateStandby
			if err := o.answers(); err != nil {
				s.State, s.Reason = stateAway, err.Error()
			}
		case away != nil:
			s.State, s.Reason = stateAway, away.Error()
		case !s.held:
			s.State, s.Reason = stateAway, "the lease was lost"
		}
		all[name] = s
	}
	return all
}

func (o *ownership) holds(network string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held[network]
}

// waits reports whether the lease of a network has been waited for so long that another process must own it, if the
// database answers.
func (o *ownership) waits(network string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	since, waits := o.since[network]
	return waits && o.now().Sub(since) >= standbyAfter
}

func (o *ownership) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), pingTime)
	defer cancel()
	return o.ping(ctx)
}

// find asks whether a person exists on one of the networks. Where another process runs that network its side can often
// tell all the same; where it cannot, everybody's word is taken: the process that delivers finds out, and tells the
// sender.
func (o *ownership) find(ctx context.Context, sides map[string]gateway.Side, kinds map[string]gateway.NetworkKind, who gateway.Person) (gateway.Person, error) {
	if _, known := kinds[who.Network]; !known {
		return gateway.Person{}, gateway.ErrNobody
	}
	if sides[who.Network] == nil {
		return who, nil
	}
	found, err := gateway.FindIn(ctx, sides, who)
	if err != nil && !errors.Is(err, gateway.ErrNobody) && o.waits(who.Network) {
		return who, nil
	}
	return found, err
}

// ownerMetric tells for each network whether it is up, and whether this process owns it.
type ownerMetric struct {
	states   func() map[string]networkState
	up, held *prometheus.Desc
}

func newOwnerMetric(states func() map[string]networkState) ownerMetric {
	labels := []string{"network"}
	return ownerMetric{
		states: states,
		up:     prometheus.NewDesc("lockbridge_network_up", "1 while this process has the network connected and its rooms joined.", labels, nil),
		held:   prometheus.NewDesc("lockbridge_lease_held", "1 while this process owns the network; of all processes one does.", labels, nil),
	}
}

func (m ownerMetric) Describe(ch chan<- *prometheus.Desc) { ch <- m.up; ch <- m.held }

func (m ownerMetric) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, on bool, network string) {
		value := 0.0
		if on {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, network)
	}
	for name, s := range m.states() {
		gauge(m.up, s.State == stateUp, name)
		gauge(m.held, s.held, name)
	}
}
