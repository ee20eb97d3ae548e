package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// pingTime bounds the question to the database behind /healthz.
	pingTime = 2 * time.Second
	// requestTime bounds a whole request: nobody may hold a connection open for nothing.
	requestTime = 10 * time.Second
)

// monitor answers the questions of service managers and metric collectors.
type monitor struct {
	ping     func(context.Context) error
	networks func() map[string]networkState
	metrics  prometheus.Gatherer
}

func (m monitor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", m.healthz)
	mux.HandleFunc("GET /readyz", m.readyz)
	mux.HandleFunc("GET /readyz/{network}", m.readyNetwork)
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.metrics, promhttp.HandlerOpts{}))
	return mux
}

// healthz tells whether the process works: it answers and reaches its store. A restart may help where it does not.
func (m monitor) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pingTime)
	defer cancel()
	if err := m.ping(ctx); err != nil {
		http.Error(w, "store: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// readyz tells whether every network is up, here or in a process that this one stands by for, and why one is not.
func (m monitor) readyz(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Ready    bool                    `json:"ready"`
		Networks map[string]networkState `json:"networks"`
	}{true, m.networks()}
	for _, n := range answer.Networks {
		answer.Ready = answer.Ready && n.State != stateAway
	}
	answerJSON(w, answer.Ready, answer)
}

// readyNetwork tells whether this very process has one network up: whoever stands by for it says no.
func (m monitor) readyNetwork(w http.ResponseWriter, r *http.Request) {
	n, known := m.networks()[r.PathValue("network")]
	if !known {
		http.Error(w, "this process does not run such a network", http.StatusNotFound)
		return
	}
	answerJSON(w, n.State == stateUp, n)
}

func answerJSON(w http.ResponseWriter, good bool, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if !good {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(answer) //nolint:errcheck // the reader is gone
}

// server answers questions about the process.
func (m monitor) server() *http.Server {
	return &http.Server{Handler: m.handler(), ReadTimeout: requestTime, WriteTimeout: requestTime, MaxHeaderBytes: 16 << 10}
}

// serve answers on l until ctx ends. Requests under way may end for a second.
func serve(ctx context.Context, l net.Listener, s *http.Server) error {
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.Shutdown(end) != nil {
			s.Close()
		}
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}
