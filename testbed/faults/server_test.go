//go:build faults

package faults

import (
	"context"
	"errors"
	"testing"
	"time"

	"lockbridge/testbed/peers"
)

// restarts ends a server of the bed twice during the load and starts it again.
func restarts(daemon, signal string) func(context.Context, *testing.T, *play) {
	return func(ctx context.Context, t *testing.T, p *play) {
		for _, part := range []float64{0.2, 0.55} {
			p.each(t, func(s *Stage) error { return p.said(ctx, s, part) })
			begun := time.Now()
			if err := errors.Join(world.bed.Stop(ctx, daemon, signal), world.bed.Resume(ctx, daemon)); err != nil {
				t.Fatal(err)
			}
			for _, s := range p.stages {
				p.note(s, "%s was away for %.1f s", daemon, time.Since(begun).Seconds())
			}
		}
	}
}

// TestPostgresKilled kills Postgres (kill -9) and starts it again.
func TestPostgresKilled(t *testing.T) {
	run(t, fault{name: "Postgres killed", stores: []string{"postgres"}, strike: restarts("postgres", "KILL")})
}

// TestXMPPServerRestarts restarts Prosody.
func TestXMPPServerRestarts(t *testing.T) {
	run(t, fault{name: "Prosody restarted", strike: restarts("prosody", "TERM")})
}

// TestHomeserverRestarts restarts Synapse.
func TestHomeserverRestarts(t *testing.T) {
	run(t, fault{name: "Synapse restarted", strike: restarts("synapse", "TERM")})
}

// TestIRCServerRestarts restarts InspIRCd. The gateway finds it when the observers are back: IRC would not tell them what it said before.
func TestIRCServerRestarts(t *testing.T) {
	run(t, fault{name: "InspIRCd restarted", strike: func(ctx context.Context, t *testing.T, p *play) {
		for _, part := range []float64{0.2, 0.55} {
			p.each(t, func(s *Stage) error { return p.said(ctx, s, part) })
			before := map[*Stage]*peers.IRC{}
			for _, s := range p.stages {
				before[s], _ = s.irc.current()
				s.ToIRC.Unplug()
				s.CutOffIRC()
			}
			if err := errors.Join(world.bed.Stop(ctx, "inspircd", "TERM"), world.bed.Resume(ctx, "inspircd")); err != nil {
				t.Fatal(err)
			}
			p.each(t, func(s *Stage) error {
				if err := s.irc.back(ctx, before[s]); err != nil {
					return err
				}
				return s.ToIRC.Plug()
			})
		}
	}})
}
