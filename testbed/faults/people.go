package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"lockbridge/testbed/peers"
)

// speaker says messages at a place, each until its own server has taken it. unsure: nobody knows whether it has.
type speaker interface {
	say(ctx context.Context, bridge, text string) (unsure bool, err error)
}

// xmppPerson is in both rooms with one client.
type xmppPerson struct {
	client *peers.XMPPClient
	rooms  map[string]string // by bridge
}

func (p *xmppPerson) say(ctx context.Context, bridge, text string) (unsure bool, err error) {
	return false, p.client.SayUntilHeard(ctx, p.rooms[bridge], text, bridge == Sealed)
}

// listen notes what arrives.
func (p *xmppPerson) listen(ctx context.Context, l *Ledger) {
	p.client.Each(ctx, 0, func(e peers.XMPPEvent) {
		if e.Kind != "message" {
			return
		}
		for bridge, room := range p.rooms {
			if strings.HasPrefix(e.From, room+"/") {
				at := Place{XMPP, bridge}
				if e.Own {
					l.Reflected(at, e.Text(), e.StanzaID)
					continue
				}
				l.Heard(at, e.Text(), time.Now())
				if e.Type == "chat" || e.Type == "error" || e.Body == nil && e.Error != "" {
					l.Told(at, fmt.Sprintf("%s %q %s", e.Type, e.Text(), e.Error))
				}
			}
		}
	})
}

type matrixPerson struct {
	user  *peers.Matrix
	rooms map[string]string
}

func (p *matrixPerson) say(ctx context.Context, bridge, text string) (unsure bool, err error) {
	return false, p.user.SayUntilTaken(ctx, p.rooms[bridge], text)
}

func (p *matrixPerson) listen(ctx context.Context, l *Ledger) {
	p.user.Each(ctx, 0, func(e peers.MatrixEvent) {
		if e.Type != "m.room.message" || e.Sender == p.user.UserID {
			return
		}
		for bridge, room := range p.rooms {
			if e.Room == room {
				l.Heard(Place{Matrix, bridge}, e.Text(), time.Now())
				if e.Content["msgtype"] == "m.notice" {
					l.Told(Place{Matrix, bridge}, e.Text())
				}
			}
		}
	})
}

// ircPerson connects again when the server ends the connection. The server's echo says that a line was taken.
type ircPerson struct {
	bed      *peers.Bed
	nick     string
	relay    string            // how the gateway's nicks begin
	channels map[string]string // by bridge

	mu      sync.Mutex
	conn    *peers.IRC
	changed chan struct{}              // closed when conn changes
	present map[string]map[string]bool // by bridge: the gateway's nicks that are in the channel and not cut off
}

// connect connects and enters the channels.
func (p *ircPerson) connect(ctx context.Context) error {
	c, err := peers.DialIRC(ctx, p.bed, p.nick, false, nil)
	if err != nil {
		return err
	}
	if err = c.Send("CAP REQ :echo-message"); err == nil {
		_, err = c.Await(ctx, "echo-message", func(l peers.IRCLine) bool { return l.Command == "CAP" && strings.Contains(l.String(), "ACK") })
	}
	for _, channel := range p.channels {
		if err == nil {
			err = c.Join(ctx, channel)
		}
	}
	if err != nil {
		c.Close()
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn = c
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// listen notes what arrives, and when the gateway comes and goes; it connects again until ctx ends.
func (p *ircPerson) listen(ctx context.Context, l *Ledger) {
	for ctx.Err() == nil {
		c, _ := p.current()
		c.Each(ctx, 0, func(line peers.IRCLine) { p.heard(l, line) })
		c.Close()
		for ctx.Err() == nil {
			if p.connect(ctx) == nil {
				break
			}
			rest(ctx, retryPause)
		}
	}
}

// retryPause lies between two tries to connect.
const retryPause = 200 * time.Millisecond

func (p *ircPerson) current() (c *peers.IRC, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn, p.changed
}

func (p *ircPerson) heard(l *Ledger, line peers.IRCLine) {
	now := time.Now()
	if len(line.Params) == 0 {
		return
	}
	relay := strings.HasPrefix(line.Nick(), p.relay)
	for bridge, channel := range p.channels {
		here := strings.EqualFold(line.Params[0], channel)
		switch {
		case line.Command == "PRIVMSG" && here && relay:
			l.Heard(Place{IRC, bridge}, line.Text(), now)
		case line.Command == "NOTICE" && relay:
			l.Told(Place{IRC, bridge}, line.Text())
		case line.Command == "JOIN" && here && relay:
			p.moved(bridge, line.Nick(), true)
			l.Entered(bridge, now)
		case line.Command == "PART" && here && relay, line.Command == "QUIT" && relay:
			if p.moved(bridge, line.Nick(), false) {
				l.Left(bridge, now)
			}
		case line.Command == "NICK" && relay && p.moved(bridge, line.Nick(), false):
			p.moved(bridge, line.Text(), true)
		}
	}
}

// moved notes that a nick of the gateway is in a channel or is not; alone says whether it was the only one there.
func (p *ircPerson) moved(bridge, nick string, here bool) (alone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if here {
		if p.present[bridge] == nil {
			p.present[bridge] = map[string]bool{}
		}
		p.present[bridge][nick] = true
		return false
	}
	alone = p.present[bridge][nick] && len(p.present[bridge]) == 1
	delete(p.present[bridge], nick)
	return alone
}

// lost notes that no line reaches the gateway any more, though its nick may stay in the channels for a while.
func (p *ircPerson) lost(l *Ledger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	clear(p.present)
	for bridge := range p.channels {
		l.Left(bridge, now)
	}
}

// say waits for the echo. Where the connection ends before, the line may or may not have been taken.
func (p *ircPerson) say(ctx context.Context, bridge, text string) (unsure bool, err error) {
	for {
		c, changed := p.current()
		mark := c.Mark()
		if c.Say(p.channels[bridge], text) == nil {
			_, err = c.AwaitAfter(ctx, mark, "its echo", func(l peers.IRCLine) bool {
				return l.Command == "PRIVMSG" && l.Nick() == p.nick && l.Text() == text
			})
			if err != nil && ctx.Err() != nil {
				return false, err
			}
			return err != nil, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// back returns when the person is in the channels on another connection than c.
func (p *ircPerson) back(ctx context.Context, c *peers.IRC) error {
	for {
		now, changed := p.current()
		if now != c {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(errors.New("the IRC user did not come back"), context.Cause(ctx))
		}
	}
}

// rest waits; it returns false when ctx ended first.
func rest(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
