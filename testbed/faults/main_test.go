//go:build faults

package faults

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"lockbridge/testbed/peers"
)

// world is what all faults share.
var world struct {
	bed    *peers.Bed
	binary string
	stores []string
	total  int // messages of one fault, on all stores together
	rate   float64
	seed   uint64

	mu   sync.Mutex
	rows []Row
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx := context.Background()
		dir, err := os.MkdirTemp("", "lockbridge-faults-")
		if err == nil {
			defer os.RemoveAll(dir)
			err = prepare(ctx, dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		return max(code, finish())
	}())
}

// prepare reads what was asked for: STORE, MESSAGES, RATE, SEED.
func prepare(ctx context.Context, dir string) (err error) {
	world.stores = []string{"sqlite", "postgres"}
	if only := os.Getenv("STORE"); only != "" {
		world.stores = []string{only}
	}
	if world.total, err = strconv.Atoi(cmp.Or(os.Getenv("MESSAGES"), "3000")); err != nil {
		return fmt.Errorf("MESSAGES: %w", err)
	}
	if world.rate, err = strconv.ParseFloat(cmp.Or(os.Getenv("RATE"), "20"), 64); err != nil {
		return fmt.Errorf("RATE: %w", err)
	}
	if world.seed, err = strconv.ParseUint(cmp.Or(os.Getenv("SEED"), strconv.FormatUint(rand.Uint64(), 10)), 10, 64); err != nil {
		return fmt.Errorf("SEED: %w", err)
	}
	say("%d messages for each fault, at %g a second on each store, SEED=%d", world.total, world.rate, world.seed)
	if world.bed, err = peers.Start(ctx, os.Stderr); err != nil {
		return err
	}
	world.binary, err = peers.BuildLockbridge(ctx, world.bed, dir)
	return err
}

// finish writes the table; it returns 1 when a fault did harm.
func finish() int {
	table := fmt.Sprintf("%s\n%s (SEED=%d)\n", Table(world.rows), Summary(world.rows), world.seed)
	fmt.Fprint(os.Stderr, "\n", table)
	code := 0
	if len(world.rows) == 0 {
		say("there is no such fault")
		code = 1
	}
	for _, r := range world.rows {
		if !r.Sound() {
			code = 1
		}
	}
	out := filepath.Join(world.bed.Root(), "bin", "test-output")
	err := os.MkdirAll(out, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(out, "faults.txt"), []byte(table), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// say prints a line of progress at once.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05")+" faults: "+format+"\n", args...)
}
