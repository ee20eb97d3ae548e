package xmppside

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"lockbridge/gateway"
)

// room is a room that we carry. The worker feeds its tables in stream order; its keeper enters it and puts it right.
type room struct {
	side  *Side
	asked atomic.Pointer[gateway.Room]
	jid   string // normalised
	log   *slog.Logger

	gapped  atomic.Bool  // messages were left out since the last join
	devices atomic.Int32 // that the last message was sealed for
	refused atomic.Int32 // messages in a row that were refused for now
	heard   atomic.Int64 // when something of the room came last, by the side's clock

	mu     sync.Mutex
	joined bool  // the gateway's occupant is in
	on     *link // the connection on which it came in; what comes on another one was said to an occupant of old
	learnt bool  // and knows who its members are: it may be spoken in
	ready  bool  // and has read the history since it was last there
	// tellsHistory: from a join on, until the subject ends it.
	tellsHistory bool
	toldSubject  bool   // since then
	subject      string // as the room showed it last
	picture      string // SHA-1 of its own, as it announced it last, or noPicture
	nick         string // its nick
	rank         string // its affiliation
	outBy        []string
	occupants    map[string]*occupant      // by nick
	staged       map[string]*occupant      // those of a join under way
	ours         map[string]string         // nick to our bare JID
	mine         map[string]string         // our bare JID to nick
	coming       map[string]bool           // nicks that occupants of ours are about to take
	present      map[string]there          // of whom others know that they are there, by Person.ID
	before       map[string]string         // the same as State had it before the join under way: what they are called
	visitors     map[string]gateway.Person // who spoke in the history that is being read and is not there
	realOf       map[string]string         // occupant-id to real bare JID
	affiliated   map[string]string         // real bare JID to owner, admin, member
	learning     map[string]string         // the same, while the lists are read anew

	flagsKnown   bool
	membersOnly  bool
	nonAnonymous bool
	archives     bool
	// Without these features such ids are whatever the sender wrote.
	givesStanzaIDs   bool
	givesOccupantIDs bool
	moderates        string // the namespace of XEP-0425 that the room knows; "": none
	destroyed        bool
	successor        string // the room that is said to replace this one
	asking           int    // counts what was asked for anew
	name             string // what the room is called
	reread           bool   // the flags changed, and are being read anew
	changes          int    // of the flags

	joins       map[string]chan error // by our bare JID
	first       time.Time             // when the room was first entered, ever
	sealedBy    map[sealer]int        // of each device: its count when all keys were worked through last
	holding     bool
	held        []said    // while holding
	query       string    // of the archive, now or last
	since       time.Time // from when on the history is asked for at the join under way; zero: nothing is
	told        int       // messages of that history so far, in a room without archive
	oldest      time.Time // the first of them
	stay        time.Time // when State last noted up to where the room was read
	away        error     // why the room cannot be carried; nil while it is, or is being entered for the first time
	next        time.Time // when it is entered again
	doubtful    bool      // whether our occupants are in it is to be asked
	puppetsTold bool
	changed     chan struct{}    // closed and replaced at each change
	mends       map[session]mend // what the history showed that sessions need
	wake        chan struct{}    // for the keeper
	truth       sync.Mutex       // one at a time says who reads along
	truthOn     *link            // where that was seen to; under truth
	truthTold   truth            // what was last said about that, or is about to be
	granting    sync.Mutex       // one change of affiliations at a time
}

func newRoom(s *Side, conf gateway.Room, jid string) *room {
	r := &room{side: s, jid: jid, log: s.log.With("room", conf.ID), changed: make(chan struct{}), wake: make(chan struct{}, 1), joins: map[string]chan error{}, coming: map[string]bool{}, present: map[string]there{}, visitors: map[string]gateway.Person{}, sealedBy: map[sealer]int{}, mends: map[session]mend{}}
	r.asked.Store(&conf)
	r.forget()
	return r
}

// forget drops what only a join tells.
func (r *room) forget() {
	r.joined, r.learnt, r.ready, r.staged = false, false, false, nil
	r.occupants, r.ours, r.mine = map[string]*occupant{}, map[string]string{}, map[string]string{}
	r.realOf, r.affiliated = map[string]string{}, map[string]string{}
	r.flagsKnown = false
}

// linkLost tells the room that the connection is gone. Who is who is kept until the next join: what was received
// before may still be read.
func (r *room) linkLost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined, r.learnt, r.ready, r.flagsKnown, r.away = false, false, false, false, nil
	clear(r.mine)
	r.changedLocked()
}

func (r *room) changedLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// poke wakes the keeper.
func (r *room) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// markGap notes that a message of the room was left out.
func (r *room) markGap() {
	if !r.gapped.Swap(true) {
		r.log.Warn("messages are left out while the database is slow; the room's history will bring them")
		r.poke()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changedLocked()
	}
}

// await waits until cond holds, which is called with the room locked.
func (r *room) await(ctx context.Context, cond func() bool) error {
	for {
		r.mu.Lock()
		ok, changed := cond(), r.changed
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// wait sleeps for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// is asks cond with the room locked.
func (r *room) is(cond func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cond()
}

// has reads one of the room's flags.
func (r *room) has(flag *bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *flag
}

// fullSelf is the gateway's occupant.
func (r *room) fullSelf() string { return r.side.self + "/" + resource }

// historyRead notes that the history has been read.
func (r *room) historyRead() {
	r.mu.Lock()
	ends := r.tellsHistory
	r.tellsHistory = false
	news := r.joined && !r.ready
	if news {
		r.ready = true
		r.changedLocked()
	}
	r.mu.Unlock()
	if news {
		r.side.deps.Ready(nil) // second attempts wait for it
	}
	if !ends {
		return
	}
	if from, to := r.missed(); !to.IsZero() {
		r.side.metrics.gaps.Inc()
		r.log.Warn("messages may have been missed: the room keeps no archive, and its history does not reach back", "from", from, "to", to, "remedy", "turn the room's archive on")
	}
}
