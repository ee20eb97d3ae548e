//go:build faults

package faults

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
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
	// patience bounds one fault; nothing waits for it.
	patience = 5 * time.Minute
	// quiet is how long nothing more may arrive before what is missing counts as lost. A homeserver that found the gateway away for
	// half a minute looks again after another half.
	quiet = 75 * time.Second
)

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
	random *rand.Rand

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
	return s.Ledger.AwaitSaid(ctx, int(part*float64(world.total)))
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
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("%v have passed", patience))
	t.Cleanup(cancel)
	judged := false
	t.Cleanup(func() {
		if !judged {
			addRow(Row{Fault: f.name, Broken: "the test did not come to its end: see what it says"})
		}
	})
	seed := fnv.New64()
	seed.Write([]byte(f.name))
	p := &play{fault: f, notes: map[*Stage][]string{}, random: rand.New(rand.NewPCG(world.seed, seed.Sum64()))}
	for _, store := range world.stores {
		if f.stores == nil || slices.Contains(f.stores, store) {
			p.stages = append(p.stages, p.open(ctx, t, store))
		}
	}
	if len(p.stages) == 0 {
		judged = true
		return
	}
	say("%s: everybody is there; the load begins", f.name)
	begun := time.Now()
	loads := make([]*Load, len(p.stages))
	for i, s := range p.stages {
		total := world.total
		if f.endless {
			total = math.MaxInt32
		}
		loads[i] = s.StartLoad(ctx, total, world.rate)
	}
	f.strike(ctx, t, p)
	if f.endless {
		for _, l := range loads {
			l.Enough()
		}
	}
	say("%s: the fault is over", f.name)
	p.each(t, func(s *Stage) error {
		load := loads[slices.Index(p.stages, s)]
		if err := load.Wait(); err != nil {
			return err
		}
		p.note(s, "%.1f messages a second were said", float64(s.Ledger.Count())/load.Took.Seconds())
		return s.Ledger.Drain(ctx, quiet)
	})
	say("%s: done in %.0f s", f.name, time.Since(begun).Seconds())
	judged = true
	for _, s := range p.stages {
		p.judge(t, s)
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
		if t.Failed() {
			keepLogs(t, p.fault.name, s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
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
	row := Row{Fault: p.fault.name, Store: s.Store, Directions: s.Ledger.Report(), Notes: p.notes[s]}
	if told := s.Ledger.Reports(); len(told) > 0 {
		row.Notes = append(row.Notes, fmt.Sprintf("the gateway told people %d times, for example %s", len(told), told[0]))
	}
	addRow(row)
	fmt.Fprint(os.Stderr, Table([]Row{row}))
	if !row.Sound() {
		t.Errorf("%s on %s did harm: see the table", row.Fault, row.Store)
	}
}
