//go:build e2e

package e2e

import (
	"testing"
	"time"

	"lockbridge/testbed/faults"
)

// TestAKillUnderLoad kills Lockbridge (kill -9) while everybody speaks in a sealed and in a plain room, and starts it again: nothing is lost,
// nothing comes twice, and everybody's messages stay in order. `make test-faults` breaks everything else, too, and for longer.
func TestAKillUnderLoad(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*patience)
	const total, rate = 240, 20
	s := must[*faults.Stage](t)(faults.NewStage(ctx, world.bed, faults.Options{Binary: world.binary, Store: "sqlite", Dir: t.TempDir()}))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.LogTail())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ok(t, s.Start(ctx))
	load := s.StartLoad(ctx, total, rate)
	ok(t, s.Ledger.AwaitSaid(ctx, total/2))
	ok(t, s.Kill(s.Processes[0]))
	ok(t, s.Processes[0].Start())
	ok(t, load.Wait())
	s.Drain(ctx, 2*time.Minute)
	row := faults.Row{Fault: "kill -9", Store: "sqlite", Directions: s.Ledger.Report(), Notes: s.Ledger.Reports()}
	if !row.Sound() {
		t.Errorf("the kill did harm:\n%s\nthe lanes:\n%s", faults.Table([]faults.Row{row}), s.Held(ctx))
	}
}
