package matrixside

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// Side is the gateway's half on one homeserver. It implements gateway.Side.
type Side struct {
	cfg        Config
	deps       gateway.Deps
	log        *slog.Logger
	reg        registration
	names      naming
	homeserver *url.URL
	http       *http.Client
	now        func() time.Time
	pause      func(attempt int) time.Duration // before the next try of something that failed

	away atomic.Bool   // Ready was told that the homeserver does not answer
	turn chan struct{} // held by the one transaction that is being accepted; while the side does not run, by nobody

	errands     chan struct{} // something is to be done in a direct room
	invitations invitations

	mu       sync.Mutex
	met      []time.Time      // when ghosts were made for people who never spoke
	rooms    map[string]*room // by the address in the configuration; nil while the side does not run
	byNative map[id.RoomID]*room
	users    map[id.UserID]*user
}

// New makes the side of one homeserver. It reads the registration file, and refuses one that contradicts cfg.
func New(cfg Config, deps gateway.Deps) (*Side, error) {
	reg, err := readRegistration(cfg.Registration)
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, p := range reg.compare(cfg) {
		problems = append(problems, p)
	}
	for _, r := range deps.Rooms {
		if !saneID(r.ID, '#') && !saneID(r.ID, '!') {
			problems = append(problems, fmt.Errorf("bridge %s: %q is neither a Matrix room alias (#room:server) nor a room id (!id:server)", r.Bridge, r.ID))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	base, err := mautrix.ParseAndNormalizeBaseURL(cfg.Homeserver)
	if err != nil {
		return nil, fmt.Errorf("homeserver: %w", err)
	}
	s := &Side{
		cfg: cfg, deps: deps, log: deps.Log, reg: reg, names: newNaming(cfg), homeserver: base,
		http:  &http.Client{Timeout: requestTimeout, Transport: newTransport()},
		now:   time.Now,
		pause: func(attempt int) time.Duration { return min(time.Second<<min(attempt, 6), time.Minute) },
		turn:  make(chan struct{}, 1),

		errands: make(chan struct{}, 1),
	}
	s.turn <- struct{}{}
	return s, nil
}

// newTransport keeps as many connections open as lanes usually speak at once.
func newTransport() *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // somebody replaced it in this process
		return &http.Transport{MaxIdleConnsPerHost: 32}
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 32
	return t
}

// Caps implements gateway.Side: plain text, for now.
func (s *Side) Caps(gateway.Address) gateway.Caps { return gateway.Caps{} }

// Deliver implements gateway.Side.
func (s *Side) Deliver(ctx context.Context, run []gateway.Delivery) []gateway.Outcome {
	if len(run) == 0 {
		return nil
	}
	at, err := s.open(run[0].Room)
	if err != nil {
		return failAll(run, err)
	}
	arrived, err := at.arrived(ctx, run)
	if err != nil {
		outcome := s.failed(err)
		if gateway.IsDrop(outcome.Err) { // a question that is refused is no reason to give a message up
			outcome.Err = err
		}
		return []gateway.Outcome{outcome}
	}
	out := make([]gateway.Outcome, 0, len(run))
	for _, d := range run {
		if native := arrived[d.Key]; native != "" {
			out = append(out, gateway.Sent(gateway.Part{Native: string(native)}))
			continue
		}
		native, err := at.deliver(ctx, d)
		if err == nil {
			if s.away.Swap(false) {
				s.deps.Ready(nil)
			}
			out = append(out, gateway.Sent(gateway.Part{Native: string(native)}))
			continue
		}
		out = append(out, s.failed(err))
		if !gateway.IsDrop(out[len(out)-1].Err) {
			break
		}
	}
	return out
}

// failed reports a failed delivery, and to Ready whether the homeserver is there at all.
func (s *Side) failed(err error) gateway.Outcome {
	var urlErr *url.Error
	if errors.As(err, &urlErr) && status(err) == 0 && !errors.Is(err, context.Canceled) && !s.away.Swap(true) {
		s.deps.Ready(fmt.Errorf("the homeserver does not answer: %w", err))
	}
	return gateway.Failed(instruction(err))
}

// failAll gives one reason for a whole run: all of it is dropped, or its head waits.
func failAll(run []gateway.Delivery, err error) []gateway.Outcome {
	if !gateway.IsDrop(err) {
		return []gateway.Outcome{gateway.Failed(err)}
	}
	out := make([]gateway.Outcome, len(run))
	for i := range out {
		out[i] = gateway.Failed(err)
	}
	return out
}

// lane is where a run is said: a bridged room, or a direct chat.
type lane interface {
	// arrived finds deliveries that an earlier attempt sent although its answer was not seen.
	arrived(ctx context.Context, run []gateway.Delivery) (map[string]id.EventID, error)
	// deliver says one event.
	deliver(ctx context.Context, d gateway.Delivery) (id.EventID, error)
}

// open finds a lane, or says why nothing can be said there now.
func (s *Side) open(at gateway.Address) (lane, error) {
	if local, remote, ok := at.Direct(); ok {
		return s.openDirect(at, local, remote)
	}
	rm, err := s.openRoom(at)
	return bridged{s, rm}, err
}

var errNotRunning = gateway.Later(time.Second, errors.New("the Matrix side is not running yet"))

func (s *Side) isRunning() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms != nil
}

// bridged is the lane of a bridged room.
type bridged struct {
	*Side
	rm *room
}

// openRoom finds a bridged room that can be spoken in.
func (s *Side) openRoom(at gateway.Address) (*room, error) {
	s.mu.Lock()
	rooms := s.rooms
	rm := rooms[at.ID]
	s.mu.Unlock()
	if rooms == nil {
		return nil, errNotRunning
	}
	if rm == nil {
		return nil, gateway.Dropf("the Matrix room is not bridged")
	}
	_, joined, encrypted := rm.standing()
	if encrypted {
		return nil, gateway.Dropf("the Matrix room is end-to-end encrypted, and such rooms are not bridged yet")
	}
	if !joined {
		return nil, gateway.Later(5*time.Second, fmt.Errorf("the gateway is not in the Matrix room %s", rm.ID))
	}
	return rm, nil
}

// arrived finds deliveries that an earlier attempt sent although its answer was not seen. That may be any delivery
// with an earlier attempt, and in the first run after a start any at all.
func (b bridged) arrived(ctx context.Context, run []gateway.Delivery) (map[string]id.EventID, error) {
	s, rm := b.Side, b.rm
	rm.mu.Lock()
	native, all := rm.native, !rm.searched
	rm.mu.Unlock()
	keys := map[string]bool{}
	speakers := []id.UserID{s.names.bot}
	seen := map[id.UserID]bool{}
	for _, d := range run {
		if !all && d.Attempt == 0 {
			continue
		}
		keys[d.Key] = true
		if mxid := s.names.ghost(d.Event.Sender); !d.Event.Sender.IsZero() && !seen[mxid] {
			seen[mxid] = true
			speakers = append(speakers, mxid)
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	found := map[string]id.EventID{}
	if err := s.findSent(ctx, s.names.bot, native, speakers, keys, found); err != nil {
		return nil, fmt.Errorf("look for earlier attempts in %s: %w", rm.ID, err)
	}
	rm.mu.Lock()
	rm.searched = true
	rm.mu.Unlock()
	return found, nil
}

// deliver says one event.
func (b bridged) deliver(ctx context.Context, d gateway.Delivery) (id.EventID, error) {
	s, rm := b.Side, b.rm
	switch body := d.Event.Body.(type) {
	case gateway.Message:
		if d.Seal {
			return "", gateway.Dropf("the Matrix room cannot be end-to-end encrypted yet")
		}
		return s.say(ctx, rm, d, body)
	case gateway.Receipt:
		return s.sendAs(ctx, rm, s.names.bot, encodeFailure(body), d.Key)
	}
	return "", gateway.Dropf("a %s cannot be shown on Matrix yet", d.Event.Body.Kind())
}

// say says a message through its sender's ghost. A ghost that is refused is let in anew once: somebody may have removed
// it meanwhile.
func (s *Side) say(ctx context.Context, rm *room, d gateway.Delivery, msg gateway.Message) (id.EventID, error) {
	if _, err := encodeMessage(msg, "").encode(); err != nil {
		return "", err // before anybody enters the room for it
	}
	for again := false; ; again = true {
		speaker, prefix, err := s.voice(ctx, rm, d.Event.Sender)
		if err != nil {
			return "", err
		}
		native, err := s.sendAs(ctx, rm, speaker, encodeMessage(msg, prefix), d.Key)
		if isForbidden(err) && speaker != s.names.bot && !again {
			rm.setGhost(speaker, false)
			continue
		}
		return native, err
	}
}

// sendAs sends the one part of a delivery.
func (s *Side) sendAs(ctx context.Context, rm *room, speaker id.UserID, c content, key string) (id.EventID, error) {
	native, _, _ := rm.standing()
	return s.send(ctx, speaker, native, c.withKey(key, ""), transactionID(key, 0))
}
