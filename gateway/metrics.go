package gateway

import (
	"iter"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the gateway's counters, by network.
type metrics struct {
	accepted, unreadable, delivered, failed, retried, copies, dropped *prometheus.CounterVec
}

// newMetrics begins every counter of the networks at 0: what is absent before its first count cannot be watched.
func newMetrics(reg prometheus.Registerer, networks iter.Seq[string]) *metrics {
	names := slices.Collect(networks)
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "lockbridge", Name: name, Help: help}, []string{"network"})
		reg.MustRegister(c)
		for _, network := range names {
			c.WithLabelValues(network)
		}
		return c
	}
	return &metrics{
		accepted:   counter("events_accepted_total", "Events accepted into the journal, by the network they came from."),
		unreadable: counter("events_unreadable_total", "Arrivals that could not be opened or decoded, by the network they came from."),
		delivered:  counter("deliveries_delivered_total", "Deliveries that the network took."),
		failed:     counter("deliveries_failed_total", "Deliveries given up and reported to their sender."),
		retried:    counter("deliveries_retried_total", "Attempts that failed and are tried again."),
		copies:     counter("copies_total", "Messages that another bridge said once more and that were not carried, by the network they came from."),
		dropped:    counter("events_dropped_total", "Reactions and retractions that went nowhere, since their target was unknown or their sender may not do so, by the network where that was noticed."),
	}
}
