package ircside

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
)

// Side is an IRC network's half of the gateway.
type Side struct {
	cfg     Config
	deps    gateway.Deps
	clock   clock
	jitter  func() float64 // from [0, 1)
	timings timings
	inlet   *inlet
	relay   *conn
	reader  string // names this process among those that may read the network

	reconnects prometheus.Counter
}

// clock is the time as the side sees it. until misses nothing that happens between the look at the time and the wait.
type clock struct {
	now   func() time.Time
	after func(time.Duration) <-chan time.Time
	until func(time.Time) <-chan time.Time
}

// timings are the side's waits.
type timings struct {
	dial       time.Duration // until the connection, TLS included, stands
	register   time.Duration // from then until the server welcomes us
	quiet      time.Duration // of silence, after which we ask whether the server lives
	answer     time.Duration // for that answer, for a JOIN's, and for the confirmation of a line
	find       time.Duration // for the answer whether somebody is there
	retryLeast time.Duration // the pause before the first reconnect; half as much again each time
	retryMost  time.Duration
	refused    time.Duration // the least pause after a login that was refused
	stable     time.Duration // after which a connection or a channel counts as good, and pauses begin anew
	rejoin     time.Duration // the pause before the first return to a channel that threw us out; doubles
	knock      time.Duration // the pause before the first retry of a channel that does not let us in; doubles
	rejoinMost time.Duration
	regain     time.Duration // between tries to get our nick back
	hold       time.Duration // for which we read nothing while the journal takes nothing; less than answer
	acceptMost time.Duration // the longest pause between tries of a journal that does not take what we heard
	mute       time.Duration // the pause after a channel refused to let us speak; doubles up to muteMost
	muteMost   time.Duration
	throttle   time.Duration // the pause after the server asked us to slow down
	forwarded  time.Duration // before we ask again for a channel that forwards us to a stranger
	soon       time.Duration // for which a delivery waits for a login or JOIN that is under way
	stale      time.Duration // in the queue, after which a reaction or a note is not said any more
	split      time.Duration // after which those who left in a netsplit and have not come back count as gone
}

func defaultTimings() timings {
	return timings{
		dial: 20 * time.Second, register: 45 * time.Second, quiet: 60 * time.Second, answer: 30 * time.Second, find: 10 * time.Second,
		retryLeast: 500 * time.Millisecond, retryMost: 5 * time.Minute, refused: time.Minute, stable: 2 * time.Minute,
		rejoin: 5 * time.Second, knock: 10 * time.Second, rejoinMost: 5 * time.Minute, regain: time.Minute,
		hold: 20 * time.Second, acceptMost: 10 * time.Second,
		mute: 5 * time.Second, muteMost: 5 * time.Minute, throttle: 5 * time.Second, forwarded: 30 * time.Minute, soon: 2 * time.Second,
		stale: 30 * time.Second, split: 10 * time.Minute,
	}
}

// New makes a side of a checked config. It fails if a room is no channel that IRC can name.
func New(cfg Config, deps gateway.Deps) (*Side, error) {
	s := &Side{
		cfg: cfg, deps: deps, jitter: rand.Float64, timings: defaultTimings(), reader: cryptorand.Text(),
		clock: clock{now: time.Now, after: time.After, until: func(at time.Time) <-chan time.Time { return time.After(time.Until(at)) }},
	}
	var wrong []error
	for _, r := range deps.Rooms {
		if err := checkRoom(r); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	lost := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "lockbridge_irc_lost_total",
		Help: "Lines heard on IRC that found the queue before the journal full and were lost.",
	})
	s.reconnects = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "lockbridge_reconnects_total",
		Help: "Times that a connection was lost and begun again.",
	})
	if deps.Metrics != nil {
		for _, c := range []prometheus.Counter{lost, s.reconnects} {
			if err := deps.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("register metrics: %w", err)
			}
		}
	}
	s.inlet = newInlet(lost)
	s.relay = newConn(s, gateway.Person{})
	return s, nil
}

// checkRoom says why a room can be no channel.
func checkRoom(r gateway.Room) error {
	if !IsChannel(r.ID) {
		return fmt.Errorf("bridge %s: %q cannot be an IRC channel", r.Bridge, r.ID)
	}
	if r.Password != "" && !validTarget(r.Password) {
		return fmt.Errorf("bridge %s: the password of %s holds a character that no channel's password may have", r.Bridge, r.ID)
	}
	return nil
}

// IsChannel reports whether a name can be a channel's: RFC 2812, section 1.3. Which of the signs a network has, it tells
// when we connect.
func IsChannel(name string) bool {
	return validTarget(name) && len(name) <= maxChannel && strings.ContainsRune("#&+!", rune(name[0]))
}

// maxChannel is the longest channel name, in bytes: RFC 2812's 50 are often exceeded, and 200 leave a line some text.
const maxChannel = 200

// conn returns the connection that speaks for a person. The relay speaks for everybody.
func (s *Side) conn(gateway.Person) *conn { return s.relay }

// Caps implements gateway.Side. What the connection decides is false while there is none. A run is as long as the pace
// lets us say in some seconds, so that one lane's run holds its deliveries no longer than that.
func (s *Side) Caps(room gateway.Address) gateway.Caps {
	const seconds, most = 10 * time.Second, 256
	caps := gateway.Caps{
		Marks: true, Notes: true, ReplyText: true, ReactionNotes: s.cfg.Reactions == reactionsText,
		Fold: s.cfg.CorrectAfter, Hold: s.cfg.Hold, RunLength: most,
	}
	if pace := s.cfg.Pace; pace.Every > 0 {
		caps.RunLength = min(pace.Burst+int(min(seconds/pace.Every, most)), most)
	}
	c := s.relay
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.byID[room.ID]; r != nil {
		caps.Marks, caps.Room = !r.plain, r.Topic
		if s.cfg.Joins == joinsOn {
			caps.Members, caps.MemberNotes = gateway.AllMembers, true
		}
	}
	if c.sess != nil && c.sess.registered {
		caps.Reply, caps.Typing, caps.Retract = c.sess.takesTag(tagReply), c.sess.takesTag(tagTyping), c.sess.caps[capRedact]
		caps.Reaction = s.cfg.Reactions == reactionsTags && caps.Reply && c.sess.takesTag(tagReact)
	}
	return caps
}

// Deliver implements gateway.Side: it queues the lines of the whole run and then waits for each to be confirmed.
func (s *Side) Deliver(ctx context.Context, run []gateway.Delivery) []gateway.Outcome {
	if len(run) == 0 {
		return nil
	}
	c := s.conn(run[0].Event.Sender)
	c.awaitPlace(ctx, run)
	brief := s.shorten(ctx, c, run)
	said := c.say(brief)
	out := make([]gateway.Outcome, 0, len(said))
	stopped := false
	for i, u := range said {
		if stopped && !c.begun(u) {
			break
		}
		o := c.await(ctx, u)
		if o.Err != nil && !gateway.IsDrop(o.Err) && !stopped {
			stopped = true
			c.withdraw(said[i+1:])
		}
		if brief[i].in != i && o.Err == nil {
			o = gateway.Sent() // another one's line told of it
		}
		out = append(out, o)
	}
	return out
}

// notify tells the gateway whether the network is there.
func (s *Side) notify(away error) {
	if s.deps.Ready != nil {
		s.deps.Ready(away)
	}
}
