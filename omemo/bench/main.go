// Command bench compares package omemo with what others offer for the same work: libsignal-protocol-c (signal.c, a
// program of its own), encoding/xml, and databases used in the plain way. `make bench-omemo` builds and runs it.
//
// A figure of its own says little on a machine that others use, too. So each comparison is made in pairs, one side
// right after the other, and their order changes with every pair; what counts is the median of the pairs' ratios. The
// control pairs the C program with itself: what its ratio differs from 1 is how far to trust the others.
//
// Operations in memory are measured by CPU time, of the thread in C and of the whole process in Go, so that the garbage
// collector is in it. What ends on a disk is measured by the clock on the wall.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == workerArgument {
		exit(serve(os.Stdin, os.Stdout))
	}
	var c config
	flag.StringVar(&c.signal, "signal", "", "the C program (signal.c, built)")
	flag.StringVar(&c.postgres, "postgres", os.Getenv("LOCKBRIDGE_TEST_POSTGRES"), "URL of a PostgreSQL in which a database may be made; its fsync must be on")
	flag.StringVar(&c.dir, "dir", os.TempDir(), "folder on a disk for the SQLite files")
	flag.IntVar(&c.pairs, "pairs", 11, "how many pairs; nine at least")
	flag.StringVar(&c.only, "only", "", "measure only what has this in its name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx, c))
}

type config struct {
	signal, postgres, dir, only string
	pairs                       int
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, c config) error {
	switch {
	case c.signal == "":
		return errors.New("-signal is missing: `make bench-omemo` builds the C program and passes it")
	case c.postgres == "":
		return errors.New("-postgres is missing, and LOCKBRIDGE_TEST_POSTGRES is not set")
	case c.pairs < 9:
		return errors.New("fewer than nine pairs tell nothing")
	}
	report := newReport(c)
	if err := inMemory(ctx, c, report); err != nil {
		return err
	}
	if err := onDisk(ctx, c, report); err != nil {
		return err
	}
	report.print(os.Stdout)
	return nil
}

// inMemory measures what is compared by CPU time. Each pair has processes of its own, since where a process lies in
// memory makes it quicker or slower for as long as it lives.
func inMemory(ctx context.Context, c config, report *report) error {
	for pair := range c.pairs {
		fmt.Fprintf(os.Stderr, "\rin memory: pair %d of %d ", pair+1, c.pairs)
		if err := memoryPair(ctx, c, report, pair); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stderr)
	return nil
}

func memoryPair(ctx context.Context, c config, report *report, pair int) error {
	var workers [kinds]*worker
	for kind := range workers {
		w, err := startWorker(ctx, c, workerKind(kind))
		if err != nil {
			return err
		}
		defer w.kill()
		workers[kind] = w
	}
	for i := range comparisons {
		m := &comparisons[i]
		if !report.wants(m.name) {
			continue
		}
		theirs := func() (float64, error) { return workers[m.theirs].measure(m.theirOperation, m.theirCount) }
		ours := func() (float64, error) { return workers[m.ours].measure(m.ourOperation, m.ourCount) }
		if pair == 0 { // what a worker prepares when it first hears of an operation would lie between the two sides
			for _, side := range []func() (float64, error){theirs, ours} {
				if _, err := side(); err != nil {
					return err
				}
			}
		}
		if err := report.pair(m.name, pair, theirs, ours); err != nil {
			return err
		}
	}
	for _, w := range workers {
		if err := w.stop(); err != nil {
			return err
		}
	}
	return nil
}
