package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/store"
)

func TestMonitor(t *testing.T) {
	now := time.Unix(1000, 0)
	stats := func(context.Context) ([]store.LaneStats, error) {
		return []store.LaneStats{{Lane: gateway.Address{Network: "irc", ID: "#lobby"}, Pending: 3, Oldest: now.Add(-90 * time.Second)}}, nil
	}
	up := func() map[string]error { return map[string]error{"irc": nil, "xmpp": nil} }
	oneAway := func() map[string]error {
		return map[string]error{"irc": nil, "xmpp": errors.New("the server refused the secret")}
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(newUpMetric(oneAway), newBacklogMetric(stats, func() time.Time { return now }, slog.New(slog.DiscardHandler)))
	works := func(context.Context) error { return nil }
	broken := func(context.Context) error { return errors.New("no such table") }

	for _, c := range []struct {
		m      monitor
		path   string
		status int
		body   string
	}{
		{monitor{works, up, metrics}, "/healthz", 200, "ok\n"},
		{monitor{broken, up, metrics}, "/healthz", 503, "store: no such table\n"},
		{monitor{works, up, metrics}, "/readyz", 200, `{"ready":true,"networks":{"irc":{"ready":true},"xmpp":{"ready":true}}}`},
		{monitor{works, oneAway, metrics}, "/readyz", 503, `"xmpp":{"ready":false,"reason":"the server refused the secret"}`},
		{monitor{works, oneAway, metrics}, "/metrics", 200, `lockbridge_network_up{network="xmpp"} 0`},
		{monitor{works, oneAway, metrics}, "/metrics", 200, `lockbridge_lane_pending{network="irc",room="#lobby"} 3`},
		{monitor{works, oneAway, metrics}, "/metrics", 200, `lockbridge_lane_oldest_seconds{network="irc",room="#lobby"} 90`},
	} {
		answer := httptest.NewRecorder()
		c.m.handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, c.path, nil))
		if answer.Code != c.status || !strings.Contains(answer.Body.String(), c.body) {
			t.Errorf("%s answers %d %s, want %d %s", c.path, answer.Code, answer.Body, c.status, c.body)
		}
	}
}
