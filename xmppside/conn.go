package xmppside

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/component"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stream"

	"lockbridge/gateway"
)

const (
	firstPause     = 500 * time.Millisecond
	longestPause   = time.Minute
	earlyPause     = 2 * time.Second  // a pause is a tenth of the absence so far at the longest, or this
	refusedPause   = 30 * time.Second // the longest after a refusal, which an admin has to mend, or which passes as the server starts
	steadyAfter    = 30 * time.Second // a link that held so long is no failure
	handshakeLimit = 8 * time.Second
	pingAfter      = 30 * time.Second // of silence
	enterLimit     = 15 * time.Second // how long the rooms may hold up the news that the network is ready
	epochLimit     = time.Second
	answerers      = 4
	choreHands     = 4
)

// Run implements gateway.Side.
func (s *Side) Run(ctx context.Context, in gateway.Inbox) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	lost := s.now()
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := s.now()
		err := s.runLink(ctx, in)
		if ctx.Err() != nil {
			return nil
		}
		s.deps.Ready(err)
		if s.now().Sub(began) > steadyAfter {
			attempt, lost = 0, s.now()
		}
		pause := linkPause(err, attempt, s.now().Sub(lost))
		s.log.Warn("no connection to the XMPP server", "err", err, "again", pause.Round(time.Millisecond))
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// linkPause is how long to wait before the next attempt to connect: less than a second at first, then twice as long each
// time, within what the absence so far allows, with jitter.
func linkPause(err error, attempt int, away time.Duration) time.Duration {
	longest := longestPause
	if refusedByServer(err) {
		longest = refusedPause
	}
	d := min(firstPause<<min(attempt, 10), max(away/10, earlyPause), longest)
	return d/2 + rand.N(d/2)
}

func refusedByServer(err error) bool {
	var e stream.Error
	return errors.As(err, &e) && (e.Err == "not-authorized" || e.Err == "conflict" || e.Err == "host-unknown")
}

// runLink connects and serves one connection until it ends, and waits for all that it started.
func (s *Side) runLink(ctx context.Context, in gateway.Inbox) error {
	l, w, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if s.connected {
		s.metrics.reconnects.Inc()
	}
	s.connected = true
	linkCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var served error
	wg.Go(func() {
		defer l.close()
		served = l.sess.Serve(xmpp.HandlerFunc(ignore))
	})
	wg.Go(func() { s.work(ctx, l, in) }) // drains what was received, also after the link is down
	for range answerers {
		wg.Go(func() { s.answer(linkCtx, l) })
	}
	for range choreHands {
		wg.Go(func() { doChores(linkCtx, l) })
	}
	wg.Go(func() { s.watch(linkCtx, l, w) })
	s.setLink(l)
	wg.Go(func() { s.keepRooms(linkCtx, l) })
	s.resumeMeetings(l)
	wg.Go(func() { s.greet(linkCtx, l) })
	if s.deps.Media != nil {
		l.later(func(ctx context.Context) { _, _, _ = s.findUploads(ctx, l) }) // who uploads looks again
	}
	select {
	case <-ctx.Done():
		_ = l.conn.SetWriteDeadline(time.Now().Add(time.Second)) // a server that takes nothing must not hold us up
		_ = l.sess.Close()                                       // the polite end of a stream; it is closed in any case
	case <-l.down:
	}
	s.setLink(nil)
	cancel()
	l.close()
	l.queue.close()
	for _, r := range s.carried().all {
		r.linkLost()
	}
	wg.Wait()
	ending, done := context.WithTimeout(context.WithoutCancel(ctx), epochLimit)
	s.keepEpoch(ending, true)
	done()
	if served == nil {
		served = io.EOF
	}
	return fmt.Errorf("serve the component stream: %w", served)
}

// keepRooms runs a keeper for each room that we carry, as rooms come and go, and waits for all. It tells that the network
// is ready once each of the first ones has been tried.
func (s *Side) keepRooms(ctx context.Context, l *link) {
	var wg sync.WaitGroup
	defer wg.Wait()
	running := map[*room]keeper{}
	leaving := map[string]<-chan struct{}{} // by address: it is entered again only when it has been left
	first := s.carried().all
	tried := make(chan struct{}, len(first))
	for begun := false; ; begun = true {
		set := s.carried()
		for r, k := range running {
			if set.byJID[r.jid] != r {
				k.end()
				leaving[r.jid] = k.ended
				delete(running, r)
			}
		}
		for _, r := range set.all {
			if _, runs := running[r]; runs {
				continue
			}
			keeping, end := context.WithCancel(ctx)
			ended, before := make(chan struct{}), leaving[r.jid]
			running[r] = keeper{end, ended}
			told := func() {}
			if slices.Contains(first, r) {
				told = sync.OnceFunc(func() { tried <- struct{}{} })
			}
			wg.Go(func() {
				defer close(ended)
				defer end()
				if before != nil {
					<-before
				}
				r.keep(keeping, l, told)
				if ctx.Err() == nil && keeping.Err() != nil { // the room is not ours any more
					s.leave(ctx, l, r)
				}
			})
		}
		if !begun {
			wg.Go(func() { s.announce(ctx, tried, cap(tried)) })
			wg.Go(func() { s.leaveOthers(ctx, l) })
		}
		select {
		case <-ctx.Done():
			return
		case <-set.replaced:
		}
	}
}

// keeper is a running keeper of a room.
type keeper struct {
	end   func()
	ended <-chan struct{}
}

// announce tells that the network is ready, once n rooms have been tried.
func (s *Side) announce(ctx context.Context, tried <-chan struct{}, n int) {
	timer := time.NewTimer(enterLimit)
	defer timer.Stop()
	for range n {
		select {
		case <-ctx.Done():
			return
		case <-tried:
			continue
		case <-timer.C:
		}
		break
	}
	s.deps.Ready(nil)
}

// connect dials and shakes hands.
func (s *Side) connect(ctx context.Context) (*link, *wire, error) {
	dialer := net.Dialer{Timeout: handshakeLimit, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	conn, err := dialer.DialContext(ctx, "tcp", s.cfg.Server)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the XMPP server: %w", err)
	}
	addr, err := jid.Parse(s.domain)
	if err != nil {
		return nil, nil, err
	}
	l := newLink(s.domain, conn, s.askTimeout)
	w := &wire{Conn: conn, side: s, link: l}
	w.framer = newFramer(source{conn, &w.heard}, maxStanza)
	// The session's own way to end a handshake is a deadline that it may set and lift too late; see wire.
	stop := context.AfterFunc(ctx, l.close)
	timer := time.AfterFunc(handshakeLimit, l.close)
	l.sess, err = component.NewSession(context.WithoutCancel(ctx), addr, []byte(s.cfg.Secret), w)
	if !timer.Stop() && err == nil {
		err = errLinkDown
	}
	stop()
	if err != nil {
		l.close()
		return nil, nil, explainHandshake(err)
	}
	return l, w, nil
}

func explainHandshake(err error) error {
	var e stream.Error
	if errors.As(err, &e) {
		switch e.Err {
		case "not-authorized":
			return fmt.Errorf("the XMPP server refuses the component's secret: set the same one in both configs: %w", err)
		case "conflict":
			return fmt.Errorf("another program is connected as this component: stop it: %w", err)
		case "host-unknown":
			return fmt.Errorf("the XMPP server does not know this component: add it to the server's config: %w", err)
		}
	}
	return fmt.Errorf("shake hands with the XMPP server: %w", err)
}

// watch pings over a silent stream and ends it when nothing comes back. The ping goes to our own domain: every server
// can route that, and the way there and back is what has to work.
func (s *Side) watch(ctx context.Context, l *link, w *wire) {
	tick := time.NewTicker(s.pingAfter / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.agenda.start(l, s.now())
		s.keepEpoch(ctx, false)
		s.countPreKeys(ctx)
		if s.now().Sub(time.Unix(0, w.heard.Load())) < s.pingAfter {
			continue
		}
		if _, err := l.ask(ctx, "get", s.self, s.domain, el(nsPing, "ping")); err != nil && condition(err) == "" && ctx.Err() == nil {
			s.log.Warn("the XMPP server does not answer; connecting anew", "err", err)
			l.close()
			return
		}
	}
}

// inParallel calls f for 0 to n-1, at most limit at a time, and waits for all.
func inParallel(n, limit int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, limit)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

func doChores(ctx context.Context, l *link) {
	for {
		select {
		case <-ctx.Done():
			return
		case chore := <-l.chores:
			chore(ctx)
		}
	}
}

// ignore is mellium's handler: what it is handed was meant for nobody.
func ignore(r xmlstream.TokenReadEncoder, _ *xml.StartElement) error {
	_, err := xmlstream.Copy(xmlstream.Discard(), r)
	return err
}
