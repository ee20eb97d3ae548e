package matrixside

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// Run implements gateway.Side. It fails only if it cannot listen for the homeserver.
func (s *Side) Run(ctx context.Context, in gateway.Inbox) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
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
	tasks.Go(func() { s.keepErrands(ctx, in) })
	var tried sync.WaitGroup
	for _, rm := range rooms {
		tried.Add(1)
		tasks.Go(func() { s.keep(ctx, rm, in, tried.Done) })
	}
	tried.Wait()
	if ctx.Err() == nil {
		s.deps.Ready(nil)
		s.log.Info("the Matrix side is ready", "rooms", len(rooms), "listen", listener.Addr())
	}
	<-ctx.Done()
	select {
	case err := <-served:
		return fmt.Errorf("listen for the homeserver: %w", err)
	default:
		return nil
	}
}

// begin starts anew from the configuration and from what State knows: the rooms behind aliases.
func (s *Side) begin(ctx context.Context) ([]*room, error) {
	pins, err := s.deps.State.List(ctx, pinKey(""))
	if err != nil {
		return nil, fmt.Errorf("read the pinned rooms: %w", err)
	}
	rooms := make([]*room, 0, len(s.deps.Rooms))
	byID, byNative := map[string]*room{}, map[id.RoomID]*room{}
	for _, r := range s.deps.Rooms {
		rm := newRoom(r)
		rm.native = id.RoomID(r.ID)
		if rm.isAlias() {
			rm.native = id.RoomID(pins[pinKey(r.ID)])
		}
		rooms = append(rooms, rm)
		byID[r.ID] = rm
		if rm.native != "" && byNative[rm.native] == nil {
			byNative[rm.native] = rm
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rooms, s.byNative, s.users = byID, byNative, map[id.UserID]*user{}
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

// connect waits until the homeserver answers and knows us, and makes the bot.
func (s *Side) connect(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := s.introduce(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			s.log.Warn("the homeserver cannot be used yet", "homeserver", s.cfg.Homeserver, "error", err)
			s.deps.Ready(err)
		}
		s.sleep(ctx, attempt, nil)
	}
}

// introduce asks the homeserver who we are, registers the bot, and has the homeserver try to reach us.
func (s *Side) introduce(ctx context.Context) error {
	bot := s.bot()
	who, err := bot.Whoami(ctx)
	switch {
	case errors.Is(err, mautrix.MUnknownToken) || isForbidden(err):
		return fmt.Errorf("the homeserver does not know the registration: have it load %s and restart it: %w", s.cfg.Registration, err)
	case err != nil:
		return fmt.Errorf("ask the homeserver who we are: %w", err)
	case who.UserID != s.names.bot:
		return fmt.Errorf("the homeserver calls us %s and not %s: nick or domain differ from its registration", who.UserID, s.names.bot)
	}
	if err := s.prepare(ctx, s.names.bot, gateway.Person{}, s.cfg.Nick); err != nil {
		return err
	}
	if _, err := bot.AppservicePing(ctx, s.reg.ID, ""); err != nil && !errors.Is(err, mautrix.MUnrecognized) && ctx.Err() == nil {
		s.log.Error("the homeserver cannot reach us, so that nothing will arrive from Matrix", "url", s.reg.URL, "error", err)
	}
	return nil
}

// keep looks after one room until ctx ends. It calls tried after the first try.
func (s *Side) keep(ctx context.Context, rm *room, in gateway.Inbox, tried func()) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := s.tend(ctx, rm, in)
		once(rm.resolved)
		if tried != nil {
			close(rm.tried)
			tried()
			tried = nil
		}
		if err == nil {
			attempt = -1
			select {
			case <-rm.nudge:
			case <-ctx.Done():
			}
			continue
		}
		if ctx.Err() == nil {
			s.log.Warn("the room cannot be bridged yet; trying again", "room", rm.ID, "error", err)
		}
		s.sleep(ctx, attempt, rm.nudge)
	}
	if tried != nil {
		tried()
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
