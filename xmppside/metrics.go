package xmppside

import "github.com/prometheus/client_golang/prometheus"

// metrics are what operators can watch of the side.
type metrics struct {
	reconnects prometheus.Counter
	rebuilt    prometheus.Counter
	gaps       prometheus.Counter
	preKeys    prometheus.Gauge
}

// newMetrics registers them; reg may be nil.
func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lockbridge_reconnects_total", Help: "Times that a connection was lost and begun again.",
		}),
		rebuilt: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lockbridge_sessions_rebuilt_total", Help: "OMEMO sessions that were built anew, for what came in the old ones could not be opened.",
		}),
		gaps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lockbridge_gaps_total", Help: "Times when messages may have been missed, since the network hands them out no more.",
		}),
		preKeys: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lockbridge_prekeys_left", Help: "One-time OMEMO prekeys that the device with the fewest has left.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.reconnects, m.rebuilt, m.gaps, m.preKeys)
	}
	return m
}
