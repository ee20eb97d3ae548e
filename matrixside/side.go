package matrixside

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
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
	files      *Files
	now        func() time.Time
	pause      func(attempt int) time.Duration // before the next try of something that failed

	metrics   metrics
	toldStale atomic.Bool // that old messages are not carried
	begun     atomic.Bool // every room was tried

	link      link
	doors     doors
	unsettled unsettled
	uploads   uploads
	typists   typists
	pictures  pictures

	edits edits // of late

	unsettledNow chan struct{} // a time begins in which the homeserver may leave something behind

	turn    chan struct{} // held by the one transaction that is being accepted; while the side does not run, by nobody
	probe   chan struct{} // the homeserver is to be found again
	refused chan struct{} // a transaction could not be accepted
	reload  chan struct{} // SetRooms was called
	errands chan struct{} // something is to be done in a direct room

	invitations invitations

	mu       sync.Mutex
	met      []time.Time      // when ghosts were made for people who never spoke
	rooms    map[string]*room // by the address in the configuration; nil while the side does not run
	byNative nativeRooms
	users    map[id.UserID]*user
	heard    map[id.RoomID]*heard // direct rooms
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
		if !IsRoom(r.ID) {
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
	counters, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Side{
		cfg: cfg, deps: deps, log: deps.Log, reg: reg, names: newNaming(cfg), homeserver: base,
		http:  &http.Client{Timeout: requestTimeout, Transport: newTransport()},
		files: newFiles(base, reg),
		now:   time.Now,
		pause: pause,

		metrics: counters,
		turn:    make(chan struct{}, 1), probe: make(chan struct{}, 1), refused: make(chan struct{}, 1),
		unsettledNow: make(chan struct{}, 1), reload: make(chan struct{}, 1), errands: make(chan struct{}, 1),
	}
	s.link.away, s.link.back = errStarting, make(chan struct{})
	s.heard, s.edits = map[id.RoomID]*heard{}, edits{}
	s.pictures.known, s.pictures.asked, s.pictures.now = map[string]picture{}, map[string]request{}, make(chan struct{}, 1)
	s.turn <- struct{}{}
	return s, nil
}

// pause grows from at most a second to a minute, with a fifth of jitter.
func pause(attempt int) time.Duration {
	d := min(time.Second<<min(attempt, 6), time.Minute)
	return d - rand.N(d/5)
}

// IsRoom reports whether a bridge's room is a room alias, with its server, or a room id, which may have none.
func IsRoom(name string) bool {
	return saneID(name, '#') && strings.Contains(name, ":") || saneID(name, '!')
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

// Caps implements gateway.Side.
func (s *Side) Caps(at gateway.Address) gateway.Caps {
	limit, _ := s.files.known()
	caps := gateway.Caps{
		Reply: true, Thread: true, Edit: true, Retract: true, Reaction: true, Marks: true,
		Files: s.deps.Media != nil, MaxFile: limit, Typing: true, Receipt: true,
	}
	s.mu.Lock()
	rm := s.rooms[at.ID]
	s.mu.Unlock()
	if rm != nil {
		caps.Members, caps.Room = rm.members(), rm.carriesTopic()
	}
	return caps
}

// Deliver implements gateway.Side.
func (s *Side) Deliver(ctx context.Context, run []gateway.Delivery) []gateway.Outcome {
	if len(run) == 0 {
		return nil
	}
	at, err := s.open(ctx, run[0].Room)
	if err != nil {
		return failAll(run, err)
	}
	arrived, err := at.arrived(ctx, run)
	if err != nil {
		outcome := s.failed(err)
		if gateway.IsDrop(outcome.Err) { // a question that is refused is no reason to give a message up
			outcome.Err = plainly(err)
		}
		return []gateway.Outcome{outcome}
	}
	out := make([]gateway.Outcome, 0, len(run))
	for _, d := range run {
		out = append(out, at.deliver(ctx, d, arrived[d.Key]))
		if err := out[len(out)-1].Err; err != nil && !gateway.IsDrop(err) && !gateway.IsPlainer(err) {
			break
		}
	}
	return out
}

// failed reports a failed delivery, and notes whether the homeserver is there at all.
func (s *Side) failed(err error) gateway.Outcome {
	if isAway(err) && !errors.Is(err, context.Canceled) || isUnknown(err) {
		s.lost(plainly(err))
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

// open finds a lane, or says why nothing can be said there now.
func (s *Side) open(ctx context.Context, at gateway.Address) (lane, error) {
	if !s.isRunning() {
		return nil, errNotRunning
	}
	if err := s.reachable(ctx); err != nil {
		return nil, err
	}
	if local, remote, ok := at.Direct(); ok {
		return s.openDirect(at, local, remote)
	}
	rm, err := s.openRoom(ctx, at)
	return bridged{s, rm}, err
}

var errNotRunning = gateway.Later(100*time.Millisecond, errors.New("the Matrix side is not running yet"))

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

var errNotYet = errors.New("the Matrix room is about to be entered")

// openRoom finds a bridged room that can be spoken in.
func (s *Side) openRoom(ctx context.Context, at gateway.Address) (*room, error) {
	s.mu.Lock()
	rm := s.rooms[at.ID]
	wanted := slices.ContainsFunc(s.deps.Rooms, func(r gateway.Room) bool { return r.ID == at.ID })
	s.mu.Unlock()
	switch {
	case rm == nil && wanted: // SetRooms named it a moment ago
		return nil, gateway.Later(time.Second, errNotYet)
	case rm == nil:
		return nil, gateway.Dropf("the Matrix room is not bridged")
	}
	s.await(ctx, rm.tried)
	if _, _, encrypted := rm.standing(); encrypted {
		return nil, gateway.Dropf("the Matrix room is end-to-end encrypted, and such rooms are not bridged yet")
	}
	if since, problem := rm.obstacle(); problem != nil {
		return nil, gateway.Later(s.patience(since), problem)
	}
	return rm, nil
}

// encoder implements lane.
func (b bridged) encoder() encoder {
	return encoder{network: b.deps.Network, pill: func(p gateway.Person) id.UserID {
		mxid := b.mxid(p)
		if p.Network != b.deps.Network && !b.rm.hasGhost(mxid) {
			return ""
		}
		return mxid
	}}
}

// mxid is the user id under which Matrix knows somebody; empty if nobody can be called so.
func (s *Side) mxid(p gateway.Person) id.UserID {
	switch {
	case p.Network != s.deps.Network:
		return s.names.ghost(p)
	case saneID(p.ID, '@'):
		return id.UserID(p.ID)
	}
	return ""
}

// deliver implements lane.
func (b bridged) deliver(ctx context.Context, d gateway.Delivery, have []gateway.Part) gateway.Outcome {
	b.rm.attempts.begin(d.Key)
	parts, gone, err := b.perform(ctx, d, have)
	b.rm.attempts.end(d.Key, instruction(err))
	if err != nil {
		return b.failed(err)
	}
	if partNames(d.Event.Body) != nil {
		b.rm.accepted()
	}
	return gateway.Outcome{Parts: parts, Gone: gone}
}

// perform says one event, or does what has no words.
func (b bridged) perform(ctx context.Context, d gateway.Delivery, have []gateway.Part) (parts, gone []gateway.Part, err error) {
	switch body := d.Event.Body.(type) {
	case gateway.Membership:
		return nil, nil, b.follow(ctx, d.Event.Sender, body)
	case gateway.RoomState:
		if d.Seal {
			return nil, nil, gateway.Dropf("the Matrix room cannot be end-to-end encrypted yet")
		}
		return nil, nil, b.setState(ctx, d, body)
	}
	return b.act(ctx, b, d, have)
}

// speak implements lane. A ghost that is refused is let in anew once: somebody may have removed it meanwhile.
func (b bridged) speak(ctx context.Context, v voice, do func(mouth) error) error {
	for again := false; ; again = true {
		left := v.briefly && !v.bot && !b.rm.hasGhost(b.names.ghost(v.person))
		if left && b.rm.may(b.names.bot, (*event.PowerLevelsEventContent).Redact) {
			v.bot, left = true, false
		}
		m, err := b.mouth(ctx, v)
		if err == nil {
			err = do(m)
		}
		if left && err == nil {
			return b.goAway(ctx, m.user, "")
		}
		switch {
		case !isRefusal(err):
			return err
		case m.user != "" && m.user != b.names.bot && !again:
			b.rm.setGhost(m.user, false)
			continue
		case m.user == "":
			m.user = b.names.bot
		}
		return b.refused(ctx, v, m.user, err)
	}
}

// mouth finds who speaks, and has them be in the room.
func (b bridged) mouth(ctx context.Context, v voice) (m mouth, err error) {
	switch {
	case !v.bot:
		m.user, m.prefix, err = b.voice(ctx, b.rm, v.person)
	case !v.person.IsZero():
		m.user, m.prefix = b.names.bot, displayName(v.person)
	default:
		m.user = b.names.bot
	}
	if err == nil && v.own && !v.bot && m.user == b.names.bot && !v.person.IsZero() {
		err = errVoiceGone
	}
	m.room, _, _ = b.rm.standing()
	return m, err
}
