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
	"path/filepath"
	"runtime"
	"slices"
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

type runCommand struct {
	configFlag

	Networks []string `placeholder:"NAME" help:"Run only these networks; others are run by other processes with the same database (default: all)."`
	HTTP     *string  `name:"http" placeholder:"ADDR" help:"Listen here instead of at [http] listen; empty: nowhere."`
}

// Run carries messages until a signal; SIGHUP rereads the bridges. A second signal to end does so at once.
func (c runCommand) Run(o output) error {
	path, err := filepath.Abs(c.Config) // load enters the folder
	if err != nil {
		return fmt.Errorf("find the configuration: %w", err)
	}
	cfg, f, err := load(c.Config, kinds())
	if err != nil {
		return err
	}
	for _, name := range c.Networks {
		if known := cfg.networkNames(); f.doc != nil && !slices.Contains(known, name) {
			return fmt.Errorf("--networks: no network is called %q: the nearest one is %s", name, nearest(name, known))
		}
	}
	c.apply(cfg, f)
	cfg.checkFiles(f)
	if wrong, _ := f.print(o.err, true); wrong > 0 {
		return errReported
	}
	log := cfg.logger(o.err)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	reread := make(chan os.Signal, 1)
	signal.Notify(reread, syscall.SIGHUP) // from here on it ends nothing
	defer signal.Stop(reread)
	context.AfterFunc(ctx, func() {
		stop() // from here on a signal has its usual effect
		log.Info("stopping")
		time.AfterFunc(stopTime, func() {
			log.Warn("stopped before everything had ended; what was not delivered yet is delivered after the next start")
			os.Exit(0)
		})
	})
	r := &reload{command: c, path: path, running: cfg, log: log}
	fewThreads()
	if err := cfg.run(ctx, log, r, reread); err != nil && !(ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return err
	}
	return nil // stopped before it had started counts as stopped
}

// apply lets the command line have its way with the configuration. What is missing for networks that are not run here,
// such as their secrets, is no concern of this process.
func (c runCommand) apply(cfg *config, f *findings) {
	if c.HTTP != nil {
		cfg.HTTP.Listen = *c.HTTP
		cfg.checkHTTP(f)
	}
	if len(c.Networks) == 0 {
		return
	}
	for i := range cfg.networks {
		n := &cfg.networks[i]
		if n.elsewhere = !slices.Contains(c.Networks, n.name); n.elsewhere {
			f.forgive(n.name)
		}
	}
}

func (c *config) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// fewThreads halves the number of threads that run at once, unless GOMAXPROCS says how many. A relay waits more than it
// computes: a second thread mostly hands work over, and takes the core from the server that is waited for (a quarter of
// the CPU, a third of the throughput on two cores).
func fewThreads() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}

// run opens, builds and runs everything; it returns when ctx has ended and everything has stopped.
func (c *config) run(ctx context.Context, log *slog.Logger, r *reload, reread <-chan os.Signal) error {
	opening, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	st, err := store.Open(opening, store.Config{URL: c.Store.URL, Key: c.key, Log: log, Now: time.Now, Rand: rand.Reader, Retention: c.Journal.Retention, DeadLetters: c.Journal.DeadLetters})
	if ctx.Err() != nil && st == nil {
		return ctx.Err() // while the database was awaited
	}
	if err != nil {
		return c.explainKey(err) // says what was attempted
	}
	defer func() {
		if err := st.Close(); err != nil {
			log.Error("cannot close the store", "err", err)
		}
	}()
	var listener net.Listener
	if c.HTTP.Listen != "" {
		if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.HTTP.Listen); err != nil {
			return fmt.Errorf("http: %w ([http] listen or --http names another address)", err)
		}
		defer listener.Close()
		log.Info("http listens", "address", listener.Addr().String())
	}
	files, err := c.newMedia(st, log)
	if err != nil {
		return err
	}
	status := gateway.NewStatus(c.namesHere(), log)
	owner := newOwnership(st, st.Ping, status, time.Now, log)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newOwnerMetric(owner.states), newBacklogMetric(st.Stats, time.Now, log), newBuildMetric())
	var gw *gateway.Gateway
	answer := func(ctx context.Context, at gateway.Address, command string) string {
		return gw.Answer(ctx, at, command)
	}
	sides, err := c.buildSides(st, owner, registry, carrier(files), answer, log)
	if err != nil {
		return err
	}
	gw = gateway.New(gateway.Config{
		Journal: st, Leases: owner, Bridges: c.bridges, Direct: c.direct, Sides: sides, Status: status, Log: log, Metrics: registry, Rand: rand.Reader, Now: time.Now,
		MaxAge: c.Journal.MaxAge, LaneLimit: c.Journal.LaneLimit, Media: carrier(files), Privacy: c.privacy,
	})
	log.Info("lockbridge starts", "version", fullVersion(), "networks", c.namesHere(), "bridges", len(c.bridges))
	// The store and the monitor stay until the gateway has drained, and end it when they fail.
	group, running := errgroup.WithContext(ctx)
	behind, done := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { defer done(); return gw.Run(running) })
	group.Go(func() error { return st.Run(behind) })
	group.Go(func() error { r.run(running, reread, gw.SetBridges); return nil })
	if files != nil {
		group.Go(func() error { return files.Run(behind) })
		if c.Media.Listen != "" {
			group.Go(func() error { return c.Media.serveLinks(behind, files.Handler(), doorPause, log) })
		}
	}
	if listener != nil {
		m := monitor{ping: st.Ping, networks: owner.states, metrics: registry}
		group.Go(func() error { return serve(behind, listener, m.server()) })
	}
	err = group.Wait()
	log.Info("stopped")
	return err
}

// namesHere are the networks that this process runs.
func (c *config) namesHere() []string {
	var names []string
	for _, n := range c.networks {
		if !n.elsewhere {
			names = append(names, n.name)
		}
	}
	return names
}

// buildSides makes the sides of the networks that run here. answer is for what people ask them once they run.
func (c *config) buildSides(st *store.Store, owner *ownership, registry prometheus.Registerer, files gateway.Media,
	answer func(ctx context.Context, at gateway.Address, command string) string, log *slog.Logger,
) (map[string]gateway.Side, error) {
	sides := map[string]gateway.Side{}
	epochs, all := &epochFile{path: c.Store.Epoch}, c.networkKinds()
	for _, n := range c.networks {
		if n.elsewhere {
			continue
		}
		deps := gateway.Deps{
			Network: n.name, Rooms: gateway.RoomsOf(n.name, c.bridges), State: st.State(n.name), Log: log.With("network", n.name),
			Metrics: prometheus.WrapRegistererWith(prometheus.Labels{"network": n.name}, registry), Ready: owner.status.For(n.name),
			Direct: c.direct, Find: func(ctx context.Context, who gateway.Person) (gateway.Person, error) {
				return owner.find(ctx, sides, all, who)
			},
			CatchUp: c.Journal.CatchUp, Media: files, Privacy: c.privacy, Answer: answer,
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
