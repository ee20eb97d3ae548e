package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/store"
)

// backlogMetric tells how much waits in each lane, asked from the store when metrics are collected. Lanes in which
// nothing waits are left out.
type backlogMetric struct {
	stats        func(context.Context) ([]store.LaneStats, error)
	now          func() time.Time
	log          *slog.Logger
	pending, age *prometheus.Desc
}

func newBacklogMetric(stats func(context.Context) ([]store.LaneStats, error), now func() time.Time, log *slog.Logger) backlogMetric {
	labels := []string{"network", "room"}
	return backlogMetric{
		stats: stats, now: now, log: log,
		pending: prometheus.NewDesc("lockbridge_lane_pending", "Deliveries that wait for a room.", labels, nil),
		age:     prometheus.NewDesc("lockbridge_lane_oldest_seconds", "How long the oldest of them has waited.", labels, nil),
	}
}

func (m backlogMetric) Describe(ch chan<- *prometheus.Desc) { ch <- m.pending; ch <- m.age }

func (m backlogMetric) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), pingTime)
	defer cancel()
	lanes, err := m.stats(ctx)
	if err != nil {
		m.log.Warn("cannot count what waits", "err", err)
		return
	}
	for _, l := range lanes {
		ch <- prometheus.MustNewConstMetric(m.pending, prometheus.GaugeValue, float64(l.Pending), l.Lane.Network, l.Lane.ID)
		ch <- prometheus.MustNewConstMetric(m.age, prometheus.GaugeValue, m.now().Sub(l.Oldest).Seconds(), l.Lane.Network, l.Lane.ID)
	}
}

// newBuildMetric tells which version runs.
func newBuildMetric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lockbridge_build_info", Help: "1, for the version in its label.", ConstLabels: prometheus.Labels{"version": fullVersion()},
	}, func() float64 { return 1 })
}
