//go:build faults

package faults

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestKill kills the gateway at random moments and starts it again at once.
func TestKill(t *testing.T) {
	run(t, fault{name: "kill -9", strike: func(ctx context.Context, t *testing.T, p *play) {
		moments := p.moments(6)
		p.each(t, func(s *Stage) error { return p.killAt(ctx, s, moments) })
	}})
}

func (p *play) killAt(ctx context.Context, s *Stage, moments []moment) error {
	for _, m := range moments {
		if err := p.reach(ctx, s, m); err != nil {
			return err
		}
		if err := s.Kill(s.Processes[0]); err != nil {
			return err
		}
		if err := s.Processes[0].Start(); err != nil {
			return err
		}
	}
	return nil
}

// TestRestart stops the gateway as a service manager does: on SQLite the same is started again, on Postgres another stands by and takes
// over, as when a new version is rolled out.
func TestRestart(t *testing.T) {
	run(t, fault{name: "rolling restart", processes: 2, strike: func(ctx context.Context, t *testing.T, p *play) {
		moments := p.moments(4)
		p.each(t, func(s *Stage) error {
			for _, m := range moments {
				if err := p.reach(ctx, s, m); err != nil {
					return err
				}
				active, err := s.Active(ctx)
				if err != nil {
					return err
				}
				if err := active.Stop(); err != nil {
					return err
				}
				if err := active.Start(); err != nil {
					return err
				}
			}
			return nil
		})
	}})
}

// TestTakeOver kills the active one of two processes ten times; the other one takes over each time.
func TestTakeOver(t *testing.T) {
	run(t, fault{name: "take-over", stores: []string{"postgres"}, processes: 2, strike: func(ctx context.Context, t *testing.T, p *play) {
		moments := p.moments(10)
		p.each(t, func(s *Stage) error {
			for _, m := range moments {
				if err := p.reach(ctx, s, m); err != nil {
					return err
				}
				active, err := s.Active(ctx)
				if err != nil {
					return err
				}
				if err := s.Kill(active); err != nil {
					return err
				}
				if err := active.Start(); err != nil {
					return err
				}
			}
			return nil
		})
	}})
}

// TestFrozen stops the active one of two processes for longer than its lease (SIGSTOP) and lets it go on when the other one has taken
// over: it must not say anything then.
func TestFrozen(t *testing.T) {
	run(t, fault{name: "frozen past its lease", stores: []string{"postgres"}, processes: 2, strike: func(ctx context.Context, t *testing.T, p *play) {
		p.each(t, func(s *Stage) error {
			for i, part := range []float64{0.15, 0.6} {
				if err := p.said(ctx, s, part); err != nil {
					return err
				}
				active, err := s.Active(ctx)
				if err != nil {
					return err
				}
				s.CutOffIRC()
				frozen := time.Now()
				if err := active.Signal(syscall.SIGSTOP); err != nil {
					return err
				}
				if _, err := s.ActiveBeside(ctx, active); err != nil {
					return err
				}
				p.note(s, "%d: the other process had taken over %.1f s after the freeze", i+1, time.Since(frozen).Seconds())
				rest(ctx, 2*time.Second)
				s.Ledger.Broke()
				if err := active.Signal(syscall.SIGCONT); err != nil {
					return err
				}
			}
			return nil
		})
	}})
}

// TestDiskFull fills the filesystem that the SQLite database lies on, for a third of the load.
func TestDiskFull(t *testing.T) {
	run(t, fault{name: "disk full", stores: []string{"sqlite"}, mount: mountSmall, strike: func(ctx context.Context, t *testing.T, p *play) {
		p.each(t, func(s *Stage) error {
			if err := p.said(ctx, s, 0.3); err != nil {
				return err
			}
			ballast := s.Dir + "/ballast"
			size, err := fill(ballast)
			if err != nil {
				return err
			}
			p.note(s, "the disk is full (%d KiB of ballast)", size>>10)
			if err := p.said(ctx, s, 0.6); err != nil {
				return err
			}
			return os.Remove(ballast)
		})
	}})
}

// mountSmall puts a filesystem of its own at dir: a tmpfs of 64 MiB. There is no other way to a full disk that SQLite meets as one:
// a limit on the file's size kills a Go program by SIGXFSZ, and a quota needs a filesystem too.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	if out, err := asRoot("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=64m,uid=%d,mode=700", os.Getuid()), "tmpfs", dir); err != nil {
		t.Fatalf("a small filesystem: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := asRoot("umount", dir); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// TestClockJumps sets the clock that the gateway sees an hour ahead, then two back, then right.
func TestClockJumps(t *testing.T) {
	binary, clock := jumpy(t)
	run(t, fault{name: "clock jumps", binary: binary, strike: func(ctx context.Context, t *testing.T, p *play) {
		for _, jump := range []struct {
			part float64
			to   time.Duration
		}{{0.2, time.Hour}, {0.4, -time.Hour}, {0.6, 0}} {
			p.each(t, func(s *Stage) error { return p.said(ctx, s, jump.part) })
			say("%s: the clock is off by %v", p.fault.name, jump.to)
			if err := setClock(clock, jump.to); err != nil {
				t.Fatal(err)
			}
		}
	}})
}

// TestBlackout kills the gateway when everything is well and measures how long each direction is silent after its restart.
func TestBlackout(t *testing.T) {
	run(t, fault{name: "blackout", endless: true, strike: func(ctx context.Context, t *testing.T, p *play) {
		servers, err := ConnectAndJoin(ctx, world.bed)
		if err != nil {
			t.Fatal(err)
		}
		interval := time.Duration(float64(len(networks)) / world.rate * float64(time.Second))
		p.each(t, func(s *Stage) error {
			var measured []Blackout
			for _, part := range []float64{0.1, 0.25, 0.4, 0.55, 0.7, 0.85} {
				if err := p.said(ctx, s, part); err != nil {
					return err
				}
				if err := s.Kill(s.Processes[0]); err != nil {
					return err
				}
				restart := time.Now()
				if err := s.Processes[0].Start(); err != nil {
					return err
				}
				var err error
				if measured, err = s.MeasureBlackout(ctx, restart, servers, measured); err != nil {
					return err
				}
			}
			for _, b := range measured {
				verdict := ""
				if Median(b.Ours) > b.MayAdd(interval) {
					verdict = fmt.Sprintf(": more than %.2f s", b.MayAdd(interval).Seconds())
				}
				p.note(s, "blackout %v%s", b, verdict)
			}
			return nil
		})
	}})
}
