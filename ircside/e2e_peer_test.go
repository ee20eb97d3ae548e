//go:build e2e

package ircside

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrstanley/girc"

	"lockbridge/gateway/sidetest"
)

// peer is somebody in the channel.
type peer struct {
	nick, channel string
	conn          net.Conn
	wire          *wire

	mu      sync.Mutex
	raw     []string      // lines of others, as they came
	heard   []string      // their texts
	seen    []*girc.Event // what anybody said or did, the peer included
	reacted map[string][]string
	changed chan struct{}
}

var (
	_ sidetest.Peer    = (*peer)(nil)
	_ sidetest.Replier = (*peer)(nil)
	_ sidetest.Reactor = (*peer)(nil)
	_ sidetest.Typist  = (*peer)(nil)
)

func startPeer(t testing.TB, address string, w *wire, channel string) *peer {
	t.Helper()
	return startPeerAs(t, "Bob[x]", address, w, channel)
}

func startPeerAs(t testing.TB, nick, address string, w *wire, channel string) *peer {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{nick: nick, channel: channel, conn: conn, wire: w, reacted: map[string][]string{}, changed: make(chan struct{})}
	in := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() { p.read(in) })
	t.Cleanup(func() {
		conn.Close()
		reading.Wait()
	})
	p.write("CAP REQ :message-tags echo-message\r\nNICK " + p.nick + "\r\nUSER bob 0 * :Bob\r\nCAP END")
	select {
	case <-in:
	case <-time.After(patience):
		t.Fatal("the peer does not get in")
	}
	return p
}

func (p *peer) write(text string) { _, _ = io.WriteString(p.conn, text+"\r\n") }

func (p *peer) read(in chan struct{}) {
	lines := bufio.NewScanner(p.conn)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		e := girc.ParseEvent(lines.Text())
		switch {
		case e == nil:
		case e.Command == girc.PING:
			p.write("PONG :" + e.Last())
		case e.Command == girc.RPL_WELCOME:
			p.write("JOIN " + p.channel)
		case e.Command == girc.RPL_ENDOFNAMES && e.Params[1] == p.channel:
			close(in)
		case e.Source != nil && e.Source.IsHostmask():
			p.note(e, lines.Text())
		}
	}
}

// note keeps what somebody said or did.
func (p *peer) note(e *girc.Event, raw string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, e)
	if (e.Command == girc.PRIVMSG || e.Command == girc.NOTICE) && (e.Source.Name != p.nick || e.Params[0] == p.nick) {
		_, line, tagged := strings.Cut(raw, " ")
		if !tagged || raw[0] != '@' {
			line = raw
		}
		p.raw, p.heard = append(p.raw, line), append(p.heard, e.Last())
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// await waits until pred likes all that the peer has seen.
func (p *peer) await(ctx context.Context, what string, pred func(seen []*girc.Event) bool) error {
	for {
		p.mu.Lock()
		seen, changed := p.seen, p.changed
		p.mu.Unlock()
		if pred(seen) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s is not among %d lines", what, len(seen))
		}
	}
}

// find waits for the message that holds text.
func (p *peer) find(ctx context.Context, text string) (found *girc.Event, err error) {
	err = p.await(ctx, fmt.Sprintf("%q", text), func(seen []*girc.Event) bool {
		i := slices.IndexFunc(seen, func(e *girc.Event) bool { return e.Command == girc.PRIVMSG && strings.Contains(e.Last(), text) })
		if i >= 0 {
			found = seen[i]
		}
		return i >= 0
	})
	return found, err
}

func (p *peer) ID() string { return casemapRFC1459.fold(p.nick) }

func (p *peer) Say(_ context.Context, text string) error {
	_, err := io.WriteString(p.conn, "PRIVMSG "+p.channel+" :"+text+"\r\n")
	return err
}

func (p *peer) Reply(ctx context.Context, to, text string) error {
	of, err := p.find(ctx, to)
	if err == nil {
		p.write("@+draft/reply=" + of.Tags["msgid"] + " PRIVMSG " + p.channel + " :" + text)
	}
	return err
}

func (p *peer) SeeReply(ctx context.Context, to, text string) error {
	of, err := p.find(ctx, to)
	if err != nil {
		return err
	}
	answer, err := p.find(ctx, text)
	if err == nil && (of.Tags["msgid"] == "" || answer.Tags["+draft/reply"] != of.Tags["msgid"]) {
		err = fmt.Errorf("%q answers %q, not %q", text, answer.Tags["+draft/reply"], of.Tags["msgid"])
	}
	return err
}

func (p *peer) React(ctx context.Context, to string, emoji ...string) error {
	of, err := p.find(ctx, to)
	if err != nil {
		return err
	}
	id := of.Tags["msgid"]
	for _, e := range p.reacted[id] {
		if !slices.Contains(emoji, e) {
			p.write("@+draft/unreact=" + e + ";+draft/reply=" + id + " TAGMSG " + p.channel)
		}
	}
	for _, e := range emoji {
		if !slices.Contains(p.reacted[id], e) {
			p.write("@+draft/react=" + e + ";+draft/reply=" + id + " TAGMSG " + p.channel)
		}
	}
	p.reacted[id] = emoji
	return nil
}

func (p *peer) SeeReactions(ctx context.Context, to string, emoji ...string) error {
	of, err := p.find(ctx, to)
	if err != nil {
		return err
	}
	return p.await(ctx, fmt.Sprintf("reactions %v", emoji), func(seen []*girc.Event) bool {
		var set []string
		for _, e := range seen {
			if e.Command != "TAGMSG" || e.Tags["+draft/reply"] != of.Tags["msgid"] || e.Source.Name == p.nick {
				continue
			}
			set = slices.DeleteFunc(set, func(s string) bool { return s == e.Tags["+draft/react"] || s == e.Tags["+draft/unreact"] })
			if add := e.Tags["+draft/react"]; add != "" {
				set = append(set, add)
			}
		}
		slices.Sort(set)
		return slices.Equal(set, slices.Sorted(slices.Values(emoji)))
	})
}

func (p *peer) Type(_ context.Context, on bool) error {
	p.write("@+typing=" + map[bool]string{true: "active", false: "done"}[on] + " TAGMSG " + p.channel)
	return nil
}

func (p *peer) SeeTyping(ctx context.Context, on bool) error {
	return p.await(ctx, fmt.Sprintf("typing %v", on), func(seen []*girc.Event) bool {
		state := "done"
		for _, e := range seen {
			if told := e.Tags["+typing"]; e.Command == "TAGMSG" && told != "" && e.Source.Name != p.nick {
				state = told
			}
		}
		return (state == "active") == on
	})
}

func (p *peer) Hear(ctx context.Context, text string) (string, error) {
	for from := 0; ; {
		p.mu.Lock()
		heard, changed := p.heard, p.changed
		p.mu.Unlock()
		for ; from < len(heard); from++ {
			if strings.Contains(heard[from], text) {
				return heard[from], nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("%q is not among the %d lines heard", text, len(heard))
		}
	}
}

func (p *peer) Count(text string) int {
	n := 0
	for _, l := range p.all() {
		if strings.Contains(l, text) {
			n++
		}
	}
	return n
}

func (p *peer) Cut(context.Context) error {
	p.wire.cut()
	return nil
}

func (p *peer) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.heard...)
}

// longest is the longest line that came, with a line end and without tags.
func (p *peer) longest() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := ""
	for _, l := range p.raw {
		if len(l)+2 > len(out) {
			out = l + "\r\n"
		}
	}
	return out
}

// lines are the lines of others as they came, without tags.
func (p *peer) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.raw...)
}
