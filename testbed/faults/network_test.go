//go:build faults

package faults

import (
	"context"
	"testing"
	"time"
)

// cutFor is how long the network is away.
const cutFor = 30 * time.Second

// silences makes lines half-open for a while.
func silences(lines func(s *Stage) []*Line) func(context.Context, *testing.T, *play) {
	return func(ctx context.Context, t *testing.T, p *play) {
		p.each(t, func(s *Stage) error {
			if err := p.said(ctx, s, 0.15); err != nil {
				return err
			}
			for _, l := range lines(s) {
				if l == s.ToIRC {
					s.CutOffIRC()
				}
				if err := l.Silence(); err != nil {
					return err
				}
			}
			rest(ctx, cutFor)
			for _, l := range lines(s) {
				l.Heal(ctx)
			}
			return nil
		})
	}
}

// TestXMPPHalfOpen has nothing pass between the gateway and the XMPP server, and neither end told.
func TestXMPPHalfOpen(t *testing.T) {
	run(t, fault{name: "XMPP cut, half-open", strike: silences(func(s *Stage) []*Line { return []*Line{s.ToXMPP} })})
}

// TestMatrixHalfOpen is the same for the homeserver, in both directions.
func TestMatrixHalfOpen(t *testing.T) {
	run(t, fault{name: "Matrix cut, half-open", strike: silences(func(s *Stage) []*Line { return []*Line{s.ToMatrix, s.FromMatrix} })})
}

// TestIRCHalfOpen is the same for the IRC server.
func TestIRCHalfOpen(t *testing.T) {
	run(t, fault{name: "IRC cut, half-open", strike: silences(func(s *Stage) []*Line { return []*Line{s.ToIRC} })})
}

// TestDatabaseHalfOpen is the same for Postgres.
func TestDatabaseHalfOpen(t *testing.T) {
	run(t, fault{name: "Postgres cut, half-open", stores: []string{"postgres"}, strike: silences(func(s *Stage) []*Line { return []*Line{s.ToPostgres} })})
}

// TestUnplugged takes everything away at once; connections end and new ones are refused.
func TestUnplugged(t *testing.T) {
	run(t, fault{name: "all unplugged", strike: func(ctx context.Context, t *testing.T, p *play) {
		p.each(t, func(s *Stage) error {
			if err := p.said(ctx, s, 0.15); err != nil {
				return err
			}
			s.CutOffIRC()
			for _, l := range s.Lines() {
				l.Unplug()
			}
			rest(ctx, cutFor)
			for _, l := range s.Lines() {
				if err := l.Plug(); err != nil {
					return err
				}
			}
			return nil
		})
	}})
}

// TestSlowNetwork delays every line for most of the load.
func TestSlowNetwork(t *testing.T) {
	run(t, fault{name: "latency and jitter", strike: func(ctx context.Context, t *testing.T, p *play) {
		p.each(t, func(s *Stage) error {
			if err := p.said(ctx, s, 0.1); err != nil {
				return err
			}
			for _, l := range s.Lines() {
				latency, jitter := 150*time.Millisecond, 100*time.Millisecond
				if l == s.ToPostgres {
					latency, jitter = 3*time.Millisecond, 2*time.Millisecond // a database lies near
				}
				if err := l.Slow(latency, jitter); err != nil {
					return err
				}
			}
			if err := p.said(ctx, s, 0.8); err != nil {
				return err
			}
			for _, l := range s.Lines() {
				l.Heal(ctx)
			}
			return nil
		})
	}})
}
