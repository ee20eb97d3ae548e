package xmppside

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what operators can watch of the side.
type metrics struct {
	reconnects prometheus.Counter
	rebuilt    prometheus.Counter
	gaps       prometheus.Counter

	preKeys func(least int)
	counted time.Time // when prekeys were counted; for the watcher only
}

// newMetrics registers them; reg may be nil.
func newMetrics(reg prometheus.Registerer) metrics {
	preKeys := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lockbridge_prekeys_left", Help: "One-time OMEMO prekeys that the device with the fewest has left.",
	})
	first := sync.OnceFunc(func() { // while there is no device, 0 would read like a want
		if reg != nil {
			reg.MustRegister(preKeys)
		}
	})
	m := metrics{
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lockbridge_reconnects_total", Help: "Times that a connection was lost and begun again.",
		}),
		rebuilt: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lockbridge_sessions_rebuilt_total", Help: "OMEMO sessions that were built anew, for what came in the old ones could not be opened.",
		}),
		gaps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lockbridge_gaps_total", Help: "Times that messages may have been missed, since the network hands them out no more.",
		}),
		preKeys: func(least int) {
			preKeys.Set(float64(least))
			first()
		},
	}
	if reg != nil {
		reg.MustRegister(m.reconnects, m.rebuilt, m.gaps)
	}
	return m
}

// countPause is how often prekeys are counted.
const countPause = 10 * time.Minute

// countPreKeys sets the gauge of prekeys, now and then.
func (s *Side) countPreKeys(ctx context.Context) {
	if s.now().Sub(s.metrics.counted) < countPause {
		return
	}
	s.metrics.counted = s.now()
	least := -1
	for _, own := range s.devices.owns() {
		err := s.deps.State.Update(ctx, func(ctx context.Context) error {
			left, err := s.omemo.PreKeysLeft(ctx, own)
			for _, n := range left {
				if least < 0 || n < least {
					least = n
				}
			}
			return err
		})
		if err != nil {
			return // the database is away; there is no news of it
		}
	}
	if least >= 0 {
		s.metrics.preKeys(least)
	}
}

// owns lists the addresses of ours that have a device.
func (d *directory) owns() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]string, 0, len(d.own))
	for own := range d.own {
		out = append(out, own)
	}
	return out
}
