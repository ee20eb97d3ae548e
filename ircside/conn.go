package ircside

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"lockbridge/gateway"
)

// conn is a connection over all its sessions, as a value that belongs to a person; the zero Person is the relay.
type conn struct {
	side *Side
	who  gateway.Person

	mu        sync.Mutex // guards what follows, and the session
	sess      *session   // nil while there is none
	away      error      // why there is none
	casemap   casemap    // of the last session
	list      []*room    // in the order of the config
	rooms     map[string]*room
	said      map[string]*utterance // the last deliveries, by key
	saidOrder []string
	told      map[string]time.Time // until when something is not told again; see mayTell
	sources   map[string]*source   // by user@host; see mayPair
}

func newConn(s *Side, who gateway.Person) *conn {
	c := &conn{
		side: s, who: who, away: errors.New("not connected yet"), casemap: casemapRFC1459,
		said: map[string]*utterance{}, told: map[string]time.Time{}, sources: map[string]*source{},
	}
	for _, r := range s.deps.Rooms {
		c.list = append(c.list, &room{Room: r})
	}
	c.refold(casemapRFC1459)
	return c
}

// refold keys everything by another case mapping.
func (c *conn) refold(m casemap) {
	c.casemap, c.rooms = m, map[string]*room{}
	for _, r := range c.list {
		r.folded, r.members = m.fold(r.ID), map[string]gateway.Person{}
		c.rooms[r.folded] = r
	}
}

// Run implements gateway.Side. The connection and the journal's feeder are its only goroutines, and it waits for both:
// the feeder ends last, so that what was heard until then is recorded.
func (s *Side) Run(ctx context.Context, in gateway.Inbox) error {
	feeding, drain := context.WithCancel(context.WithoutCancel(ctx))
	defer drain()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	fed := make(chan error, 1)
	go func() {
		err := s.feed(feeding, in)
		stop() // before drain: the journal is no longer ours
		fed <- err
	}()
	s.relay.run(ctx)
	drain()
	return <-fed
}

// run connects again and again until ctx ends.
func (c *conn) run(ctx context.Context) {
	t, clock := c.side.timings, c.side.clock
	pause := time.Duration(0)
	for {
		began := clock.now()
		err := c.session(ctx)
		if ctx.Err() != nil {
			c.down(errStopping)
			return
		}
		c.down(err)
		c.side.notify(err)
		if clock.now().Sub(began) > t.stable {
			pause = 0
		}
		pause = min(max(t.retryLeast, 2*pause), t.retryMost)
		var refused loginError
		if errors.As(err, &refused) {
			pause = max(pause, t.refused)
		}
		wait := time.Duration(float64(pause) * (1 + c.side.jitter()) / 2) // half of it at least
		c.side.deps.Log.Info("connecting again", "in", wait.Round(time.Millisecond), "because", err)
		select {
		case <-clock.after(wait):
		case <-ctx.Done():
			c.down(errStopping)
			return
		}
	}
}

// errStopping is why lines are not said any more once we stop. The network is not away then, so nobody is told.
var errStopping = errors.New("shutting down")

// down ends what the session leaves behind: lines on their way fail, and the channels have to be joined again.
func (c *conn) down(err error) {
	c.mu.Lock()
	if s := c.sess; s != nil {
		for _, l := range s.inflight {
			if !l.heard {
				l.settle(gateway.Later(time.Second, err))
			}
		}
		s.pace.withdrawAll(func(l *line) { l.settle(gateway.Later(time.Second, err)) })
		s.foundNone(err)
	}
	c.sess, c.away = nil, err
	for _, r := range c.list {
		if r.state != roomOut {
			r.state, r.reason, r.pause, r.due = roomOut, nil, 0, time.Time{}
		}
	}
	c.mu.Unlock()
}

// session is one connection from dial to end. It returns why it ended.
func (c *conn) session(ctx context.Context) error {
	sock, err := c.side.dial(ctx)
	if err != nil {
		return err
	}
	defer sock.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	c.mu.Lock()
	s := newSession(c)
	c.sess = s
	s.register()
	c.mu.Unlock()

	// The reader has no deadline of its own: the writer notices silence.
	unblock := context.AfterFunc(ctx, func() { _ = sock.SetReadDeadline(time.Unix(1, 0)) })
	defer unblock()
	written := make(chan struct{})
	go func() {
		defer close(written)
		cancel(s.write(ctx, sock))
	}()
	readErr := s.read(ctx, sock)
	cancel(readErr)
	<-written
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) { // we were told to stop: take leave
		_ = sock.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(sock, "QUIT :Lockbridge stops\r\n")
	}
	return cause
}

// dial connects, with TLS where the config asks for it. The certificate must be valid for the server's name.
func (s *Side) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timings.dial)
	defer cancel()
	var d net.Dialer
	sock, err := d.DialContext(ctx, "tcp", s.cfg.Server)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.cfg.Server, err)
	}
	sock = quickAck(sock)
	if !s.cfg.TLS {
		return sock, nil
	}
	host, _, err := net.SplitHostPort(s.cfg.Server)
	if err != nil {
		sock.Close()
		return nil, fmt.Errorf("read the server's address: %w", err)
	}
	roots, err := s.cfg.roots()
	if err != nil {
		sock.Close()
		return nil, err
	}
	secured := tls.Client(sock, &tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12})
	if err := secured.HandshakeContext(ctx); err != nil {
		sock.Close()
		return nil, fmt.Errorf("TLS with %s: %w", s.cfg.Server, err)
	}
	return secured, nil
}

// maxLine is the longest line that is read, in bytes: 8191 of tags and 512 of message, and some that servers add.
const maxLine = 16 << 10

// read hands each line to handle until the connection ends. A longer line than maxLine is skipped.
func (s *session) read(ctx context.Context, sock net.Conn) error {
	side := s.c.side
	in := bufio.NewReaderSize(sock, maxLine)
	skipping := false
	for {
		raw, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			skipping = true
			continue
		case err != nil:
			return fmt.Errorf("read from the server: %w", err)
		case skipping:
			skipping = false
			continue
		}
		if e := parseLine(strings.TrimRight(string(raw), "\r\n")); e != nil {
			if err := s.handle(e); err != nil {
				return err
			}
			side.inlet.hold(ctx, side.clock.after, side.timings.hold)
		}
	}
}

// write keeps the session up and writes what may leave, until ctx ends or something fails.
func (s *session) write(ctx context.Context, sock net.Conn) error {
	for ctx.Err() == nil {
		out, wait, err := s.next()
		if err != nil {
			return err
		}
		if out != "" {
			_ = sock.SetWriteDeadline(time.Now().Add(s.c.side.timings.answer))
			if _, err := io.WriteString(sock, out); err != nil {
				return fmt.Errorf("write to the server: %w", err)
			}
			continue
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = s.c.side.clock.after(wait)
		}
		select {
		case <-s.wake:
		case <-timer:
		case <-ctx.Done():
		}
	}
	return nil
}
