package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"lockbridge/gateway"
	"lockbridge/store"
)

const (
	// openTime bounds the opening of the store, with the upgrade of its schema.
	openTime = 30 * time.Second
	// stopTime is how long everything may take to end after a signal. The gateway drains for less; this is the last
	// resort, so that a service manager that waits 5 s never has to kill us.
	stopTime = 4800 * time.Millisecond
)

type runCommand struct{ configFlag }

// Run carries messages until a signal. A second signal ends the process at once.
func (c runCommand) Run(o output) error {
	cfg, f, err := load(c.Config, kinds())
	if err != nil {
		return err
	}
	cfg.checkFiles(f)
	if wrong, _ := f.print(o.err, true); wrong > 0 {
		return errReported
	}
	log := cfg.logger(o.err)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, func() {
		stop() // from here on a signal has its usual effect
		log.Info("stopping")
		time.AfterFunc(stopTime, func() {
			log.Warn("stopped before everything had ended; what was not delivered yet is delivered after the next start")
			os.Exit(0)
		})
	})
	if err := cfg.run(ctx, log); err != nil && !(ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return err
	}
	return nil // stopped before it had started counts as stopped
}

func (c *config) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// run opens, builds and runs everything; it returns when ctx has ended and everything has stopped.
func (c *config) run(ctx context.Context, log *slog.Logger) error {
	opening, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	st, err := store.Open(opening, store.Config{URL: c.Store.URL, Key: c.key, Log: log, Now: time.Now, Rand: rand.Reader})
	if err != nil {
		return err // says what was attempted
	}
	defer func() {
		if err := st.Close(); err != nil {
			log.Error("cannot close the store", "err", err)
		}
	}()
	var listener net.Listener
	if c.HTTP.Listen != "" {
		if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.HTTP.Listen); err != nil {
			return fmt.Errorf("http: %w", err)
		}
		defer listener.Close()
		log.Info("http listens", "address", listener.Addr().String())
	}
	status := gateway.NewStatus(c.networkNames(), log)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newUpMetric(status.Networks), newBacklogMetric(st.Stats, time.Now, log))
	sides, err := c.buildSides(st, status, registry, log)
	if err != nil {
		return err
	}
	gw := gateway.New(gateway.Config{
		Journal: st, Leases: st, Bridges: c.bridges, Direct: c.direct, Sides: sides, Status: status, Log: log, Metrics: registry, Rand: rand.Reader, Now: time.Now,
	})
	log.Info("lockbridge starts", "version", fullVersion(), "networks", len(sides), "bridges", len(c.bridges))
	// The store and the monitor stay until the gateway has drained, and end it when they fail.
	group, running := errgroup.WithContext(ctx)
	behind, done := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { defer done(); return gw.Run(running) })
	group.Go(func() error { return st.Run(behind) })
	if listener != nil {
		m := monitor{ping: st.Ping, networks: status.Networks, metrics: registry}
		group.Go(func() error { return serve(behind, listener, m.handler()) })
	}
	err = group.Wait()
	log.Info("stopped")
	return err
}

func (c *config) networkNames() []string {
	names := make([]string, len(c.networks))
	for i, n := range c.networks {
		names[i] = n.name
	}
	return names
}

func (c *config) buildSides(st *store.Store, status *gateway.Status, registry prometheus.Registerer, log *slog.Logger) (map[string]gateway.Side, error) {
	sides := map[string]gateway.Side{}
	epochs := &epochFile{path: c.Store.Epoch}
	for _, n := range c.networks {
		deps := gateway.Deps{
			Network: n.name, Rooms: gateway.RoomsOf(n.name, c.bridges), State: st.State(n.name), Log: log.With("network", n.name),
			Metrics: prometheus.WrapRegistererWith(prometheus.Labels{"network": n.name}, registry), Ready: status.For(n.name),
			Direct: c.direct, Find: func(ctx context.Context, who gateway.Person) (gateway.Person, error) {
				return gateway.FindIn(ctx, sides, who)
			},
		}
		if epochs.path != "" {
			deps.Epoch = epochs.of(n.name)
		}
		side, err := n.build(deps)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", n.name, err)
		}
		sides[n.name] = side
	}
	return sides, nil
}
