package xmppside

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mellium.im/xmpp/jid"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// Side is the XMPP half of the gateway.
type Side struct {
	cfg    Config
	deps   gateway.Deps
	log    *slog.Logger
	domain string // ours
	self   string // the gateway's own bare JID
	now    func() time.Time

	pingAfter    time.Duration // of silence
	askTimeout   time.Duration // for an answer
	quietAfter   time.Duration // of silence in a room
	reflectLimit time.Duration
	metrics      metrics
	connected    bool // once at least; Run's

	meetings  meetings
	followers followers
	whispers  whispers
	uploads   uploads
	typists   typists
	faces     faces

	rooms    atomic.Pointer[carried]
	carrying sync.Mutex // one at a time changes them
	wanted   wanted     // under carrying

	omemo     *omemo.Manager
	versions  []omemo.Version // in the order in which a device that has several is sealed for
	epoch     epoch
	people    people
	waits     waits
	devices   *directory
	polite    pauses // who got help lately
	lately    pauses // what was logged or asked for lately
	rations   tally  // what may happen only so often a day
	agenda    agenda
	opened    seals
	ended     keys // deliveries, and parts of them, that were reflected and accepted
	allTwo    allTwo
	reflected keys // parts that were reflected, of deliveries that have several
	sealed    sealedCounts
	// patience is held by those who wait for the database on behalf of a client.
	patience chan struct{}

	mu   sync.Mutex
	link *link // nil while there is none
}

// New builds a side. It connects only when Run is called.
func New(cfg Config, deps gateway.Deps) (*Side, error) {
	domain, err := jid.Parse(cfg.Component)
	if err != nil {
		return nil, fmt.Errorf("component %q: %w", cfg.Component, err)
	}
	self, err := jid.New(cfg.Nick, domain.String(), "")
	if err != nil {
		return nil, fmt.Errorf("nick %q: %w", cfg.Nick, err)
	}
	if deps.Ready == nil {
		deps.Ready = func(error) {}
	}
	s := &Side{
		cfg: cfg, deps: deps, log: deps.Log, patience: make(chan struct{}, answerers/2), domain: domain.String(), self: self.String(), now: time.Now, pingAfter: pingAfter, askTimeout: askTimeout, quietAfter: quietAfter, reflectLimit: reflectLimit,
		metrics: newMetrics(deps.Metrics),
		omemo:   omemo.NewManager(deps.State, cfg.OMEMO.options()),
		people:  people{byPerson: map[personKey]puppet{}, byJID: map[string]personKey{}, byRoom: map[string]map[personKey]bool{}},
	}
	s.devices = newDirectory(s)
	if bad := s.carry(func(w *wanted) { w.rooms = deps.Rooms }); len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	for _, name := range cfg.OMEMO.Versions {
		v, err := omemo.ParseVersion(name)
		if err != nil {
			return nil, err
		}
		s.versions = append(s.versions, v)
	}
	return s, nil
}

// Caps implements gateway.Side.
func (s *Side) Caps(room gateway.Address) gateway.Caps {
	if local, _, ok := room.Direct(); ok {
		return s.directCaps(local)
	}
	r := s.carried().byName[room.ID]
	if r == nil {
		return gateway.Caps{}
	}
	ids := r.is(func() bool { return !r.flagsKnown || r.givesStanzaIDs }) // before that is known, as nearly all do
	caps := converses(r.believes() || r.allAreTwo(), ids)
	caps.RunLength = runLength
	switch r.conf().Puppets {
	case gateway.PuppetsActive:
		caps.Members = gateway.Leavers
	case gateway.PuppetsAll:
		caps.Members = gateway.AllMembers
	}
	conf := r.conf()
	s.passes(&caps, false, conf.Puppets != gateway.PuppetsNone && (!conf.Seal || conf.KeepMetadata))
	s.shares(&caps, conf.Seal)
	caps.Room = conf.Topic && !conf.Seal
	return caps
}

// converses are the caps of a place where what refers to other messages may be said, in the clear or sealed, if open is
// set, and where every message has an id that all know if ids is. What may not is told in words.
func converses(open, ids bool) gateway.Caps {
	return gateway.Caps{Marks: true, Notes: true, Edit: open, Thread: open, Reply: open && ids, Retract: open && ids, Reaction: open && ids}
}

// directCaps are those of the chats of somebody of this network.
func (s *Side) directCaps(local gateway.Person) gateway.Caps {
	direct := s.deps.Direct
	open := direct.KeepsMetadata() || !direct.Seals(s.deps.Network)
	caps := converses(open || s.allTwo.are(local.ID), true)
	caps.Thread = false
	s.passes(&caps, true, open)
	s.shares(&caps, direct.Seals(s.deps.Network))
	return caps
}

func (s *Side) setLink(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link = l
}

func (s *Side) currentLink() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

// pauses remembers what happened lately, to keep from doing it again too soon. It is bounded: when it is full of
// running pauses it forgets them.
type pauses struct {
	mu    sync.Mutex
	until map[string]time.Time
}

const maxPauses = 4096

// over reports whether no pause of key is running.
func (p *pauses) over(key string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !now.Before(p.until[key])
}

// free reports whether key may happen now, and if so starts its pause.
func (p *pauses) free(key string, now time.Time, pause time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.until[key]) {
		return false
	}
	if p.until == nil || len(p.until) >= maxPauses {
		kept := map[string]time.Time{}
		for k, until := range p.until {
			if now.Before(until) && len(kept) < maxPauses/2 {
				kept[k] = until
			}
		}
		p.until = kept
	}
	p.until[key] = now.Add(pause)
	return true
}
