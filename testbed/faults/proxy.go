package faults

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// Line is one way between the gateway and a server, which can be broken.
type Line struct {
	Addr string // where it is entered

	proxy *toxiproxy.Proxy
}

// newLine opens a way to a server, at a free port of a host.
func newLine(name, host, to string) (*Line, error) {
	toxics.Register("void", new(void))
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &Line{proxy: toxiproxy.NewProxy(server, name, net.JoinHostPort(host, "0"), to)}
	if err := l.proxy.Start(); err != nil {
		return nil, fmt.Errorf("opening the way to %s: %w", name, err)
	}
	l.Addr = l.proxy.Listen
	return l, nil
}

// Close ends it.
func (l *Line) Close() { l.proxy.Stop() }

// Unplug ends every connection and refuses new ones, until Plug.
func (l *Line) Unplug() { l.proxy.Stop() }

// Plug mends it.
func (l *Line) Plug() error { return l.proxy.Start() }

// Silence lets nothing through any more, either way, not even that an end has hung up; new connections open and are as dumb. So it is
// behind a router that forgot its connections. What is on its way is gone.
func (l *Line) Silence() error { return l.add("void", `{}`) }

// void is the toxic of Silence. Toxiproxy's own "timeout" tells one end when the other closes, and would spare both the half-open case.
type void struct{}

// Pipe drops what comes in until the toxic is taken away.
func (*void) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				<-stub.Interrupt
				return
			}
		}
	}
}

// Cleanup ends the connection, which lacks what was dropped.
func (*void) Cleanup(stub *toxics.ToxicStub) { stub.Close() }

// Slow delays everything by latency, give or take jitter.
func (l *Line) Slow(latency, jitter time.Duration) error {
	return l.add("latency", fmt.Sprintf(`{"latency": %d, "jitter": %d}`, latency.Milliseconds(), jitter.Milliseconds()))
}

func (l *Line) add(kind, attributes string) error {
	for _, stream := range []string{"upstream", "downstream"} {
		toxic := fmt.Sprintf(`{"name": "%s-%s", "type": %q, "stream": %q, "toxicity": 1, "attributes": %s}`, kind, stream, kind, stream, attributes)
		if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return fmt.Errorf("%s on the way to %s: %w", kind, l.proxy.Name, err)
		}
	}
	return nil
}

// Heal ends Silence (its connections end, too) and Slow.
func (l *Line) Heal(ctx context.Context) {
	l.proxy.Toxics.ResetToxics(ctx)
}
