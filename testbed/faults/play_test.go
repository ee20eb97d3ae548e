//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// quiet is for how long nothing may move before what is missing counts as lost. A homeserver that finds the gateway away doubles its
	// pauses: after half a minute it looks again after another half, after more than one it may take two.
	quiet = 150 * time.Second
	// settingWithin is how long a stage may take until everybody has heard everybody.
	settingWithin = 5 * time.Minute
)

// errStill ends a fault in which nothing moves any more.
var errStill = fmt.Errorf("nothing has moved for %v", quiet)

// atMost is the end of every fault, in case that something moves for ever: far more than a starved machine takes.
func atMost() time.Duration {
	return 15*time.Minute + 10*time.Duration(float64(world.total)/world.rate*float64(time.Second))
}

// fault is one story.
type fault struct {
	name      string
	stores    []string // nil: both
	processes int      // 0: one
	binary    string   // "": the program as it is released
	endless   bool     // the load goes on until strike returns; else it is of a size
	mount     func(t *testing.T, dir string)
	// strike breaks things while the load runs, on all stages at once: they share the servers. It returns when everything is whole again.
	strike func(ctx context.Context, t *testing.T, p *play)
}

// play is a fault under way.
type play struct {
	fault  fault
	stages []*Stage
	total  int // messages on each stage
	loads  []*Load
	random *rand.Rand
	judged bool // it has come to its end

	mu    sync.Mutex
	notes map[*Stage][]string
}

func (p *play) note(s *Stage, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notes[s] = append(p.notes[s], fmt.Sprintf(format, args...))
	say("%s, %s: %s", p.fault.name, s.Store, fmt.Sprintf(format, args...))
}

// each does something on every stage at once.
func (p *play) each(t *testing.T, do func(s *Stage) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(p.stages))
	for i, s := range p.stages {
		wg.Go(func() { errs[i] = do(s) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("%s: %v", p.stages[i].Store, err)
		}
	}
}

// said waits until a part (0 to 1) of the load has been said.
func (p *play) said(ctx context.Context, s *Stage, part float64) error {
	return s.Ledger.AwaitSaid(ctx, int(part*float64(p.total)))
}

// moment is a point of the load at which something breaks, and a pause after it, so that it does not always fall on a message just taken.
type moment struct {
	part  float64
	pause time.Duration
}

// moments are random ones, spread over the load.
func (p *play) moments(count int) []moment {
	all := make([]moment, count)
	for i := range all {
		all[i] = moment{0.08 + 0.8*(float64(i)+p.random.Float64())/float64(count), time.Duration(p.random.Int64N(int64(100 * time.Millisecond)))}
	}
	return all
}

func (p *play) reach(ctx context.Context, s *Stage, m moment) error {
	if err := p.said(ctx, s, m.part); err != nil {
		return err
	}
	rest(ctx, m.pause)
	return nil
}

// jumpy builds the program with a clock that can be set, and returns the file by which it is set.
func jumpy(t *testing.T) (binary, clock string) {
	t.Helper()
	dir := t.TempDir()
	binary, err := buildJumpy(t.Context(), world.bed.Root(), dir)
	if err != nil {
		t.Fatal(err)
	}
	clock = filepath.Join(dir, "clock")
	if err := setClock(clock, 0); err != nil {
		t.Fatal(err)
	}
	t.Setenv(clockVariable, clock)
	return binary, clock
}

// run plays a fault on its stores and adds the rows.
func run(t *testing.T, f fault) {
	t.Helper()
	seed := fnv.New64()
	seed.Write([]byte(f.name))
	p := &play{fault: f, notes: map[*Stage][]string{}, random: rand.New(rand.NewPCG(world.seed, seed.Sum64()))}
	ctx, end := context.WithCancelCause(t.Context())
	t.Cleanup(func() { end(nil) })
	limit := time.AfterFunc(atMost(), func() { end(fmt.Errorf("%v have passed", atMost())) })
	t.Cleanup(func() { limit.Stop() })
	t.Cleanup(func() {
		if !p.judged {
			p.broken(context.Cause(ctx))
		}
	})
	begun := time.Now()
	p.set(ctx, t)
	if len(p.stages) == 0 {
		p.judged = true
		return
	}
	say("%s: everybody is there after %.0f s; the load begins", f.name, time.Since(begun).Seconds())
	p.load(ctx)
	watching, unwatch := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { p.watch(watching, end) })
	t.Cleanup(watch.Wait)
	t.Cleanup(unwatch)
	f.strike(ctx, t, p)
	if f.endless {
		for _, l := range p.loads {
			l.Enough()
		}
	}
	say("%s: the fault is over", f.name)
	p.each(t, func(s *Stage) error {
		load := p.loads[slices.Index(p.stages, s)]
		if err := load.Wait(); err != nil {
			return err
		}
		said := time.Now()
		s.Drain(ctx, quiet)
		p.note(s, "%.1f messages a second were said; it was over %.0f s after the last", float64(s.Ledger.Count())/load.Took.Seconds(), time.Since(said).Seconds())
		return nil
	})
	say("%s: done in %.0f s", f.name, time.Since(begun).Seconds())
	p.judged = true
	for _, s := range p.stages {
		p.judge(t, s)
	}
}

// set opens the stages and starts their gateways.
func (p *play) set(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(ctx, settingWithin, fmt.Errorf("the stages were not set within %v", settingWithin))
	defer cancel()
	for _, store := range world.stores {
		if p.fault.stores == nil || slices.Contains(p.fault.stores, store) {
			p.stages = append(p.stages, p.open(ctx, t, store))
		}
	}
	p.total = world.total / max(1, len(p.stages))
	p.each(t, func(s *Stage) error { return s.Start(ctx) })
}

// load has everybody begin to speak.
func (p *play) load(ctx context.Context) {
	for _, s := range p.stages {
		total := p.total
		if p.fault.endless {
			total *= 10 // more than the fault takes; nothing lasts for ever
		}
		p.loads = append(p.loads, s.StartLoad(ctx, total, world.rate))
	}
}

// watch ends the fault when nothing moves any more: on any stage where somebody still has something to say, or on all of them.
func (p *play) watch(ctx context.Context, end context.CancelCauseFunc) {
	for rest(ctx, beat) {
		still := 0
		for i, s := range p.stages {
			if s.Pulse.Still() < quiet {
				continue
			}
			still++
			if !p.loads[i].Over() || still == len(p.stages) {
				end(errStill)
				return
			}
		}
	}
}

func (p *play) open(ctx context.Context, t *testing.T, store string) *Stage {
	t.Helper()
	dir := t.TempDir()
	if p.fault.mount != nil {
		p.fault.mount(t, dir)
	}
	o := Options{Binary: world.binary, Store: store, Dir: dir, Processes: p.fault.processes}
	if p.fault.binary != "" {
		o.Binary = p.fault.binary
	}
	if store == "sqlite" {
		o.Processes = 1
	}
	s, err := NewStage(ctx, world.bed, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && !p.judged {
			p.held(s)
		}
		if t.Failed() || !s.Pulse.Empty() {
			keepLogs(t, p.fault.name, s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// keepLogs leaves what helps to find a cause in bin/test-output.
func keepLogs(t *testing.T, fault string, s *Stage) {
	out := filepath.Join(world.bed.Root(), "bin", "test-output")
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Log(err)
		return
	}
	stem := fmt.Sprintf("faults-%s-%s-%s", strings.ReplaceAll(fault, " ", "-"), s.Store, time.Now().Format("150405"))
	for i, process := range s.Processes {
		name := filepath.Join(out, fmt.Sprintf("%s-%d.log", stem, i+1))
		t.Logf("the gateway's log: %s (%v)", name, os.WriteFile(name, []byte(process.Log()), 0o644))
	}
	if err := s.Processes[0].Dump(context.WithoutCancel(t.Context()), s.Bed, filepath.Join(s.Dir, "lockbridge.sql")); err != nil {
		t.Log(err)
	}
	if err := os.CopyFS(filepath.Join(out, stem), os.DirFS(s.Dir)); err != nil {
		t.Log(err)
	}
}

func addRow(r Row) {
	world.mu.Lock()
	defer world.mu.Unlock()
	world.rows = append(world.rows, r)
}

// judge adds a stage's row and fails the test where the fault did harm.
func (p *play) judge(t *testing.T, s *Stage) {
	t.Helper()
	row := p.row(s)
	if !row.Sound() || !s.Pulse.Empty() {
		p.held(s)
		row = p.row(s)
	}
	addRow(row)
	fmt.Fprint(os.Stderr, Table([]Row{row}))
	if !row.Sound() {
		t.Errorf("%s on %s did harm: see the table", row.Fault, row.Store)
	}
}

// row is what became of a stage's messages so far.
func (p *play) row(s *Stage) Row {
	p.mu.Lock()
	defer p.mu.Unlock()
	row := Row{Fault: p.fault.name, Store: s.Store, Directions: s.Ledger.Report(), Notes: slices.Clone(p.notes[s])}
	if told := s.Ledger.Reports(); len(told) > 0 {
		row.Notes = append(row.Notes, fmt.Sprintf("the gateway told people %d times, for example %s", len(told), told[0]))
	}
	return row
}

// held notes what the gateway's lanes hold, by which a loss differs from what a slow server has not taken yet.
func (p *play) held(s *Stage) {
	p.note(s, "the gateway's lanes, %.0f s after something moved last:\n%s", s.Pulse.Still().Seconds(), indented(s.Held(context.Background())))
}

func indented(text string) string { return "        " + strings.ReplaceAll(text, "\n", "\n        ") }

// broken adds rows for a fault that did not come to its end, with what had become of the messages by then.
func (p *play) broken(cause error) {
	why := "the test did not come to its end: see what it says"
	if !errors.Is(cause, context.Canceled) {
		why = fmt.Sprintf("the test did not come to its end: %v", cause)
	}
	for _, s := range p.stages {
		row := p.row(s)
		row.Broken = why
		addRow(row)
	}
	if len(p.stages) == 0 {
		addRow(Row{Fault: p.fault.name, Broken: why})
	}
}
