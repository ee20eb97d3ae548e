package faults

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"lockbridge/testbed/peers"
)

// ConnectAndJoin measures what the servers themselves take to let a gateway in, by doing it as bare as it can be done, several times:
// the longest of each. On XMPP a component's handshake and entering a room, on IRC the registration with capabilities (InspIRCd ends it
// at the next full second) and entering a channel. Matrix has no connection; what the homeserver takes there, Transactions tell.
func ConnectAndJoin(ctx context.Context, b *peers.Bed) (map[Network]time.Duration, error) {
	slot, err := b.Slot()
	if err != nil {
		return nil, err
	}
	defer slot.Release()
	longest := map[Network]time.Duration{}
	for range probes {
		for network, probe := range map[Network]func(context.Context, *peers.Bed, *peers.Slot) error{XMPP: probeXMPP, IRC: probeIRC} {
			begun := time.Now()
			if err := probe(ctx, b, slot); err != nil {
				return nil, fmt.Errorf("how long %s takes: %w", network, err)
			}
			longest[network] = max(longest[network], time.Since(begun))
		}
	}
	return longest, nil
}

const probes = 5

func probeXMPP(ctx context.Context, b *peers.Bed, slot *peers.Slot) error {
	conn, err := dial(ctx, b.Addr("COMPONENT"))
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "<stream:stream to='%s' xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>", slot.Component)
	stream := xml.NewDecoder(conn)
	for {
		token, err := stream.Token()
		if err != nil {
			return err
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "stream":
			digest := sha1.Sum([]byte(attribute(start, "id") + slot.ComponentSecret))
			fmt.Fprintf(conn, "<handshake>%s</handshake>", hex.EncodeToString(digest[:]))
		case "handshake":
			fmt.Fprintf(conn, "<presence from='probe@%s/probe' to='%s@conference.%s/probe'><x xmlns='http://jabber.org/protocol/muc'/></presence>", slot.Component, peers.Unique("probe"), b.Host)
		case "status":
			if attribute(start, "code") == "110" {
				return nil
			}
		case "error":
			return errors.New("refused")
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func probeIRC(ctx context.Context, b *peers.Bed, _ *peers.Slot) error {
	conn, err := dial(ctx, b.Addr("IRC"))
	if err != nil {
		return err
	}
	defer conn.Close()
	nick := peers.Unique("probe")
	fmt.Fprintf(conn, "CAP LS 302\r\nNICK %s\r\nUSER probe 0 * :probe\r\n", nick)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.Contains(line, " CAP "):
			fmt.Fprintf(conn, "CAP END\r\n")
		case strings.HasPrefix(line, "PING"):
			fmt.Fprintf(conn, "PONG%s\r\n", line[4:])
		case strings.Contains(line, " 001 "):
			fmt.Fprintf(conn, "JOIN #%s\r\n", nick)
		case strings.Contains(line, " 366 "):
			return nil
		}
	}
	return errors.Join(errors.New("the connection ended"), lines.Err())
}

// dial connects; the connection ends with ctx.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err == nil {
		context.AfterFunc(ctx, func() { conn.Close() })
	}
	return conn, err
}
