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
	states := func(irc, xmpp networkState) func() map[string]networkState {
		return func() map[string]networkState { return map[string]networkState{"irc": irc, "xmpp": xmpp} }
	}
	isUp := networkState{State: stateUp, held: true}
	up := states(isUp, isUp)
	oneAway := states(isUp, networkState{State: stateAway, Reason: "the server refused the secret", held: true})
	standing := states(isUp, networkState{State: stateStandby})
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(newOwnerMetric(standing), newBacklogMetric(stats, func() time.Time { return now }, slog.New(slog.DiscardHandler)))
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
		{monitor{works, up, metrics}, "/readyz", 200, `{"ready":true,"networks":{"irc":{"state":"up"},"xmpp":{"state":"up"}}}`},
		{monitor{works, oneAway, metrics}, "/readyz", 503, `{"ready":false,"networks":{"irc":{"state":"up"},"xmpp":{"state":"away","reason":"the server refused the secret"}}}`},
		{monitor{works, standing, metrics}, "/readyz", 200, `{"ready":true,"networks":{"irc":{"state":"up"},"xmpp":{"state":"standby"}}}`},
		{monitor{works, standing, metrics}, "/readyz/irc", 200, `{"state":"up"}`},
		{monitor{works, standing, metrics}, "/readyz/xmpp", 503, `{"state":"standby"}`},
		{monitor{works, oneAway, metrics}, "/readyz/xmpp", 503, `{"state":"away","reason":"the server refused the secret"}`},
		{monitor{works, standing, metrics}, "/readyz/matrix", 404, "does not run such a network"},
		{monitor{works, standing, metrics}, "/metrics", 200, `lockbridge_network_up{network="irc"} 1`},
		{monitor{works, standing, metrics}, "/metrics", 200, `lockbridge_network_up{network="xmpp"} 0`},
		{monitor{works, standing, metrics}, "/metrics", 200, `lockbridge_lease_held{network="irc"} 1`},
		{monitor{works, standing, metrics}, "/metrics", 200, `lockbridge_lease_held{network="xmpp"} 0`},
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
