package ircside

import (
	"bufio"
	"bytes"
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
	running   bool
	retryAt   time.Time             // when the next connection is tried
	changed   chan struct{}         // closed and replaced whenever a delivery may go on that could not before; see signal
	pace      Pace                  // the config's, or a slower one for a server that found us too fast
	casemap   casemap               // of the last session
	lastNick  string                // of the last session
	list      []*room               // in the order of the config
	rooms     map[string]*room      // by what they are called on the wire, folded
	byID      map[string]*room      // by what the config calls them
	marks     map[string]mark       // how far the journal has what was said; see markKey
	said      map[string]*utterance // the last deliveries, by key
	saidOrder []string
	returned  map[string][]returned                // by folded channel or nick
	told      map[string]time.Time                 // until when something is not told again; see mayTell
	sources   map[string]*source                   // by user@host; see mayPair
	reacted   map[reacted]bool                     // what the relay shows, as far as we know
	topics    map[string]string                    // by room, as we know them
	here      map[string]map[string]gateway.Person // by room, of whom others know that they are there, as State had it when the session began
	chats     map[string]gateway.Address           // of messages in direct chats, by msgid; see noteChat
	typists   map[string]*typists                  // by room
	stretches map[speaker]stretch
}

func newConn(s *Side, who gateway.Person) *conn {
	c := &conn{
		side: s, who: who, away: errors.New("not connected yet"), casemap: casemapRFC1459,
		changed: make(chan struct{}), pace: s.cfg.Pace, marks: map[string]mark{}, returned: map[string][]returned{},
		said: map[string]*utterance{}, told: map[string]time.Time{}, sources: map[string]*source{}, reacted: map[reacted]bool{},
		topics: map[string]string{}, chats: map[string]gateway.Address{}, typists: map[string]*typists{}, stretches: map[speaker]stretch{},
	}
	for _, r := range s.deps.Rooms {
		c.list = append(c.list, newRoom(r))
	}
	c.refold(casemapRFC1459)
	return c
}

// signal wakes who waits for a change; see awaitPlace.
func (c *conn) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// refold keys everything by another case mapping.
func (c *conn) refold(m casemap) {
	c.casemap = m
	for _, r := range c.list {
		r.members = map[string]gateway.Person{}
	}
	c.index()
}

// index keys the channels.
func (c *conn) index() {
	c.rooms, c.byID = map[string]*room{}, map[string]*room{}
	for _, r := range c.list {
		r.folded = c.casemap.fold(r.name)
		c.rooms[r.folded], c.byID[r.ID] = r, r
	}
}

// Run implements gateway.Side. The connection and the journal's feeder are its only goroutines, and it waits for both:
// the feeder ends last, so that what was heard until then is recorded.
func (s *Side) Run(ctx context.Context, in gateway.Inbox) error {
	if err := s.claim(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
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
		c.mu.Lock()
		c.running, c.retryAt = true, time.Time{}
		c.signal()
		c.mu.Unlock()
		err := c.session(ctx)
		if ctx.Err() != nil {
			c.down(errStopping, 0)
			return
		}
		if clock.now().Sub(began) > t.stable {
			pause = 0
		}
		pause = min(max(t.retryLeast, pause+pause/2), t.retryMost)
		var refused loginError
		if errors.As(err, &refused) {
			pause = max(pause, t.refused)
		}
		wait := time.Duration(float64(pause) * (1 + c.side.jitter()) / 2) // half of it at least
		c.down(err, wait)
		c.side.notify(err)
		c.side.deps.Log.Info("connecting again", "in", wait.Round(time.Millisecond), "because", err)
		c.side.reconnects.Inc()
		select {
		case <-clock.after(wait):
		case <-ctx.Done():
			c.down(errStopping, 0)
			return
		}
	}
}

// errStopping is why lines are not said any more once we stop. The network is not away then, so nobody is told.
var errStopping = errors.New("shutting down")

// down ends what the session leaves behind: lines on their way fail, and the channels have to be joined again, after
// wait. Lines that were written are in doubt: the server may have read them, and its answer was lost.
func (c *conn) down(err error, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retryAt = c.side.clock.now().Add(wait)
	if s := c.sess; s != nil {
		c.sess, c.lastNick = nil, s.nick
		later := gateway.Later(min(max(wait, 100*time.Millisecond), time.Minute), err)
		for _, l := range s.inflight {
			if !l.heard && !l.settled {
				l.doubt = true
				c.settle(l, later)
			}
		}
		for _, l := range s.pace.withdrawAll() {
			c.settle(l, later)
		}
		s.foundNone(err)
		s.letGo()
		if strings.Contains(strings.ToLower(err.Error()), "flood") {
			c.slowDown()
		}
	}
	c.away, c.running = err, !errors.Is(err, errStopping)
	for _, r := range c.list {
		r.rename(r.ID)
		if r.state != roomOut {
			r.state, r.reason, r.pause, r.due = roomOut, nil, 0, time.Time{}
		}
	}
	c.index()
	c.signal()
}

// slowDown halves our pace: the server threw us out for flooding.
func (c *conn) slowDown() {
	const least, most = 250 * time.Millisecond, 10 * time.Second
	c.pace = Pace{Burst: max(c.pace.Burst/2, 1), Every: min(max(2*c.pace.Every, least), most)}
	c.side.deps.Log.Warn("the server found us too fast; speaking more slowly from now on", "burst", c.pace.Burst, "every", c.pace.Every)
}

// session is one connection from dial to end. It returns why it ended.
func (c *conn) session(ctx context.Context) error {
	marks, err := c.side.loadMarks(ctx)
	if err != nil {
		return err
	}
	topics, err := c.side.loadTopics(ctx)
	if err != nil {
		return err
	}
	here, err := c.side.loadHere(ctx)
	if err != nil {
		return err
	}
	sock, err := c.side.dial(ctx)
	if err != nil {
		return err
	}
	defer sock.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	c.mu.Lock()
	s := newSession(c)
	c.sess, c.marks, c.topics, c.here = s, marks, topics, here
	s.register()
	c.signal()
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
	} else {
		forsake(sock)
	}
	return cause
}

// forsake makes the end of a connection drop what the server has not had of it: we shall say it again elsewhere, and it
// must not arrive after all when a network comes back.
func forsake(sock net.Conn) {
	if secured, ok := sock.(*tls.Conn); ok {
		sock = secured.NetConn()
	}
	if tcp, ok := sock.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0) // at worst it is said twice
	}
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

const (
	maxLine = 16 << 10 // the longest line that we expect, in bytes: 8191 of tags and 512 of message, and some that servers add
	readBuf = 64 << 10 // what is read at once; a longer line is skipped
)

// read handles what the server says until the connection ends. Lines that came together are handled together, and reach
// the journal in one batch.
func (s *session) read(ctx context.Context, sock net.Conn) error {
	side := s.c.side
	in := bufio.NewReaderSize(sock, readBuf)
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
		if err := s.handleAll(raw, in); err != nil {
			return err
		}
		s.answerAsked(ctx)
		side.inlet.hold(ctx, side.clock.after, side.timings.hold)
	}
}

// handleAll handles a line, and those that are in the buffer behind it.
func (s *session) handleAll(raw []byte, in *bufio.Reader) (err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.lastHeard = s.c.side.clock.now()
	for {
		if e := parseLine(strings.TrimRight(string(raw), "\r\n")); e != nil {
			if err = s.handle(e); err != nil {
				break
			}
		}
		rest, _ := in.Peek(in.Buffered())
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			break
		}
		raw = rest[:end]
		_, _ = in.Discard(end + 1)
	}
	s.flush()
	if s.stirred {
		s.stirred = false
		s.nudge()
	}
	return err
}

// write keeps the session up and writes what may leave, until ctx ends or something fails.
func (s *session) write(ctx context.Context, sock net.Conn) error {
	for ctx.Err() == nil {
		out, due, err := s.next()
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
		if !due.IsZero() {
			timer = s.c.side.clock.until(due)
		}
		select {
		case <-s.wake:
		case <-timer:
		case <-ctx.Done():
		}
	}
	return nil
}
