package matrixside

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

const (
	// listenTime is how long a door that is taken is tried: a process before us may just be leaving.
	listenTime  = 15 * time.Second
	listenPause = 100 * time.Millisecond
)

// Run implements gateway.Side. It fails only if it cannot listen for the homeserver, or not read its State.
func (s *Side) Run(ctx context.Context, in gateway.Inbox) error {
	listener, err := s.listen(ctx)
	if err != nil {
		return fmt.Errorf("listen for the homeserver: %w", err)
	}
	defer s.http.CloseIdleConnections()
	rooms, err := s.begin(ctx)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:           s.handler(in),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ConnContext:       s.doors.opened,
		ConnState:         s.connState,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       requestTimeout,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	tasks.Go(func() {
		served <- server.Serve(listener)
		cancel()
	})
	defer s.end(ctx, server)

	s.connect(ctx)
	s.found()
	tasks.Go(func() { s.keepLink(ctx) })
	tasks.Go(func() { s.keepErrands(ctx, in) })
	tasks.Go(func() { s.keepPictures(ctx, in) })
	for _, rm := range rooms {
		tasks.Go(func() { s.keep(ctx, rm, in) })
	}
	for _, rm := range rooms {
		rm.awaitTried(ctx)
	}
	if ctx.Err() == nil {
		s.begun.Store(true)
		s.deps.Ready(nil)
		s.log.Info("the Matrix side is ready", "rooms", len(rooms), "listen", listener.Addr())
	}
	s.keepRooms(ctx, func(rm *room) { tasks.Go(func() { s.keep(ctx, rm, in) }) })
	select {
	case err := <-served:
		return fmt.Errorf("listen for the homeserver: %w", err)
	default:
		return nil
	}
}

// listen opens the door for the homeserver. Whoever had the network before us on this machine may need a moment to
// leave it.
func (s *Side) listen(ctx context.Context) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, listenTime)
	defer cancel()
	for {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return listener, err
		}
		timer := time.NewTimer(listenPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// begin starts anew from the configuration and from what State knows.
func (s *Side) begin(ctx context.Context) ([]*room, error) {
	s.mu.Lock()
	wanted := s.deps.Rooms
	s.mu.Unlock()
	rooms := make([]*room, 0, len(wanted))
	for _, r := range wanted {
		rooms = append(rooms, s.newRoom(r))
	}
	if err := s.recollect(ctx, rooms); err != nil {
		return nil, err
	}
	if err := s.dropOthers(ctx, rooms); err != nil {
		return nil, err
	}
	if err := s.recollectChats(ctx); err != nil {
		return nil, err
	}
	if err := s.recollectPictures(ctx); err != nil {
		return nil, err
	}
	s.begun.Store(false)
	s.unsettled.begin(s.now())
	s.link.mu.Lock()
	s.link.away, s.link.since, s.link.back = errStarting, s.now(), make(chan struct{})
	s.link.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rooms, s.byNative, s.users = map[string]*room{}, nativeRooms{}, map[id.UserID]*user{}
	for _, rm := range rooms {
		s.rooms[rm.ID] = rm
		s.byNative.add(rm)
	}
	<-s.turn
	return rooms, nil
}

// end stops listening and makes Deliver answer Later. A transaction that is being accepted may finish, for a moment; the
// turn stays taken afterwards, so that none begins.
func (s *Side) end(ctx context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.log.Warn("a request of the homeserver was cut off", "error", errors.Join(err, server.Close()))
	}
	s.turn <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rooms = nil
}

// keepLink finds the homeserver again when it was lost, until ctx ends, has it send again what was refused, and reads all
// rooms once more when the homeserver has settled.
func (s *Side) keepLink(ctx context.Context) {
	settled := time.NewTimer(s.unsettled.left(s.now()))
	defer settled.Stop()
	for {
		select {
		case <-s.probe:
			s.connect(ctx)
			if ctx.Err() == nil && s.found() {
				s.metrics.reconnects.Inc()
				s.deps.Ready(nil)
				s.log.Info("the homeserver is there again")
				s.goOn()
			}
		case <-s.refused:
			s.recall(ctx)
			s.goOn()
		case <-s.unsettledNow:
			settled.Reset(s.unsettled.left(s.now()))
		case <-settled.C:
			if left := s.unsettled.left(s.now()); left > 0 {
				settled.Reset(left)
			} else {
				s.doubtAll()
			}
		case <-ctx.Done():
			return
		}
	}
}

// keep looks after one room until ctx or the room ends.
func (s *Side) keep(ctx context.Context, rm *room, in gateway.Inbox) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(rm.life, cancel)()
	defer once(rm.resolved)
	defer once(rm.tried)
	said := ""
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := s.tend(ctx, rm, in)
		once(rm.resolved)
		once(rm.tried)
		if err == nil {
			attempt, said = -1, ""
			select {
			case <-rm.nudge:
			case <-ctx.Done():
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if isAway(err) {
			s.lost(plainly(err))
		}
		rm.blocked(plainly(err))
		if text := err.Error(); text != said {
			said = text
			s.log.Warn("the room cannot be bridged yet; trying again", "room", rm.ID, "error", err)
		}
		s.sleep(ctx, attempt, rm.nudge)
	}
}

// keepErrands does what is to be done in direct rooms until ctx ends.
func (s *Side) keepErrands(ctx context.Context, in gateway.Inbox) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := s.runErrands(ctx, in)
		if err == nil {
			attempt = -1
			select {
			case <-s.errands:
			case <-ctx.Done():
			}
			continue
		}
		if ctx.Err() == nil {
			s.log.Warn("something in a direct room cannot be done yet; trying again", "error", err)
		}
		s.sleep(ctx, attempt, s.errands)
	}
}

// sleep pauses before the next attempt, unless it is woken.
func (s *Side) sleep(ctx context.Context, attempt int, wake <-chan struct{}) {
	timer := time.NewTimer(s.pause(attempt))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}
