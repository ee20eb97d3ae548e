//go:build e2e

package ircside

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// benchInbox is an inbox that only reads what it gets.
type benchInbox struct{}

func (benchInbox) Accept(ctx context.Context, batch []gateway.Arrival) error {
	for _, a := range batch {
		if _, err := a.Read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// beginBench starts a side without a pace at a real server.
func beginBench(b *testing.B, old bool) *Side {
	b.Helper()
	ircd := startServer(b, server{old: old})
	startPeer(b, ircd.plain, nil, "#lobby")
	cfg := defaults()
	cfg.Server, cfg.TLS, cfg.Nick, cfg.User, cfg.Pace = ircd.plain, false, "lb", "lb", Pace{Burst: 1}
	ready := make(chan error, 10)
	s, err := New(cfg, gateway.Deps{
		Network: "net", Rooms: []gateway.Room{lobby()}, Log: slog.New(slog.DiscardHandler), State: sidetest.NewState(), Ready: func(err error) { ready <- err },
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, benchInbox{}) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	if err := <-ready; err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkSay is what a message costs on its way out, its confirmation and InspIRCd included.
func BenchmarkSay(b *testing.B) {
	for name, old := range map[string]bool{"echo": false, "ping": true} {
		b.Run(name, func(b *testing.B) {
			s := beginBench(b, old)
			size := s.Caps(lobby().Address).RunLength
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += size {
				run := make([]gateway.Delivery, min(size, b.N-i))
				for j := range run {
					run[j] = delivery(fmt.Sprintf("%032d", i+j), "but soft, what light through yonder window breaks?")
				}
				for len(run) > 0 {
					out := s.Deliver(b.Context(), run)
					for _, o := range out {
						if o.Err != nil {
							b.Fatal(o.Err)
						}
					}
					run = run[len(out):]
				}
			}
		})
	}
}
