package peers

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
)

// IRC is an IRC user on a connection of its own.
type IRC struct {
	*Feed[IRCLine]
	Nick string

	conn       net.Conn
	write      sync.Mutex
	transcript *Transcript
	done       sync.WaitGroup
}

// IRCLine is one line from the server.
type IRCLine struct {
	Tags, Source, Command string
	Params                []string
}

// Nick is the speaker's nick.
func (l IRCLine) Nick() string {
	nick, _, _ := strings.Cut(l.Source, "!")
	return nick
}

// Text is the last parameter.
func (l IRCLine) Text() string {
	if len(l.Params) == 0 {
		return ""
	}
	return l.Params[len(l.Params)-1]
}

func (l IRCLine) String() string {
	if l.Command[0] >= '0' && l.Command[0] <= '3' { // welcome, MOTD and lists
		return ""
	}
	return fmt.Sprintf("%s %s %q", l.Source, l.Command, l.Params)
}

func parseIRCLine(s string) IRCLine {
	var l IRCLine
	if strings.HasPrefix(s, "@") {
		l.Tags, s, _ = strings.Cut(s[1:], " ")
	}
	if strings.HasPrefix(s, ":") {
		l.Source, s, _ = strings.Cut(s[1:], " ")
	}
	middle, trailing, long := strings.Cut(s, " :")
	words := strings.Fields(middle)
	if long {
		words = append(words, trailing)
	}
	if len(words) > 0 {
		l.Command, l.Params = words[0], words[1:]
	}
	return l
}

// DialIRC connects, over TLS when secure, and registers the nick.
func DialIRC(ctx context.Context, b *Bed, nick string, secure bool, t *Transcript) (*IRC, error) {
	conn, err := dialIRC(ctx, b, secure)
	if err != nil {
		return nil, fmt.Errorf("IRC %s: %w", nick, err)
	}
	c := &IRC{Nick: nick, conn: conn, transcript: t, Feed: newFeed("IRC "+nick, IRCLine.String)}
	c.done.Go(c.read)
	if err := c.Send("NICK " + nick + "\r\nUSER " + nick + " 0 * :" + nick); err != nil {
		c.Close()
		return nil, err
	}
	welcome, err := c.Await(ctx, "the welcome", func(l IRCLine) bool { return l.Command == "001" || l.Command == "433" || l.Command == "ERROR" })
	if err == nil && welcome.Command != "001" {
		err = fmt.Errorf("IRC %s: refused: %s", nick, welcome.Text())
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func dialIRC(ctx context.Context, b *Bed, secure bool) (net.Conn, error) {
	if !secure {
		return (&net.Dialer{}).DialContext(ctx, "tcp", b.Addr("IRC"))
	}
	pem, err := os.ReadFile(b.Certificate())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return (&tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: b.IP}}).DialContext(ctx, "tcp", b.Addr("IRC_TLS"))
}

func (c *IRC) read() {
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(nil, 1<<16)
	for lines.Scan() {
		l := parseIRCLine(lines.Text())
		switch {
		case l.Command == "":
			continue
		case l.Command == "PING":
			c.Send("PONG :" + l.Text())
			continue
		case l.Nick() == c.Nick: // an echo
		case l.Command == "PRIVMSG" || l.Command == "NOTICE" && strings.Contains(l.Source, "!"):
			c.transcript.add(Entry{Where: c.owner, Who: l.Nick(), Text: l.Text()})
		}
		c.add(l)
	}
	c.end(errors.Join(errors.New("the connection ended"), lines.Err()))
}

// Send writes raw lines.
func (c *IRC) Send(lines string) error {
	c.write.Lock()
	defer c.write.Unlock()
	_, err := c.conn.Write([]byte(lines + "\r\n"))
	return err
}

// Join enters a channel.
func (c *IRC) Join(ctx context.Context, channel string) error {
	if err := c.Send("JOIN " + channel); err != nil {
		return err
	}
	_, err := c.Await(ctx, "the members of "+channel, func(l IRCLine) bool {
		return l.Command == "366" && len(l.Params) > 1 && strings.EqualFold(l.Params[1], channel)
	})
	return err
}

// Say speaks in a channel or to a nick.
func (c *IRC) Say(target, text string) error {
	c.transcript.add(Entry{Where: c.owner, Who: c.Nick, Text: text, Said: true})
	return c.Send("PRIVMSG " + target + " :" + text)
}

// AwaitText waits for a message of somebody else to the channel that holds the text.
func (c *IRC) AwaitText(ctx context.Context, channel, text string) (IRCLine, error) {
	return c.Await(ctx, fmt.Sprintf("the message %q", text), func(l IRCLine) bool {
		return l.Command == "PRIVMSG" && len(l.Params) > 0 && l.Nick() != c.Nick && strings.EqualFold(l.Params[0], channel) && contains(l.Text(), text)
	})
}

// AwaitPrivate waits for a message of a nick to us alone that holds the text.
func (c *IRC) AwaitPrivate(ctx context.Context, nick, text string) (IRCLine, error) {
	return c.Await(ctx, fmt.Sprintf("the private message %q of %s", text, nick), func(l IRCLine) bool {
		return l.Command == "PRIVMSG" && len(l.Params) > 0 && strings.EqualFold(l.Params[0], c.Nick) && strings.EqualFold(l.Nick(), nick) && contains(l.Text(), text)
	})
}

// AwaitJoin waits until a nick has joined the channel while we were in it, or was there when we came.
func (c *IRC) AwaitJoin(ctx context.Context, channel, nick string) error {
	_, err := c.Await(ctx, nick+" in "+channel, func(l IRCLine) bool {
		switch l.Command {
		case "JOIN":
			return len(l.Params) > 0 && strings.EqualFold(l.Params[0], channel) && strings.EqualFold(l.Nick(), nick)
		case "353":
			for _, n := range strings.Fields(l.Text()) {
				if strings.EqualFold(strings.TrimLeft(n, "@+%&~"), nick) && strings.EqualFold(l.Params[len(l.Params)-2], channel) {
					return true
				}
			}
		}
		return false
	})
	return err
}

// Close leaves the network.
func (c *IRC) Close() {
	c.Send("QUIT")
	c.conn.Close()
	c.done.Wait()
}
