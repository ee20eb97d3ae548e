package xmppside

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"lockbridge/gateway"
)

const (
	joinLimit    = 20 * time.Second
	historyLimit = 10 * time.Second // how long the subject, which ends a room's history, may be missing
	firstRejoin  = 2 * time.Second
	lastRejoin   = 5 * time.Minute
)

// room is a room that we carry. The worker feeds its tables in stream order; its keeper enters it and puts it right.
type room struct {
	side  *Side
	asked atomic.Pointer[gateway.Room]
	jid   string // normalised
	log   *slog.Logger

	gapped atomic.Bool // messages were left out since the last join

	mu     sync.Mutex
	joined bool // the gateway's occupant is in
	ready  bool // and has read the history since it was last there
	// tellsHistory: from a join on, until the subject ends it.
	tellsHistory bool
	recalled     int    // echoes since a join that only a nick vouches for
	nick         string // its nick
	rank         string // its affiliation
	outBy        []string
	occupants    map[string]*occupant // by nick
	staged       map[string]*occupant // those of a join under way
	ours         map[string]string    // nick to our bare JID
	mine         map[string]string    // our bare JID to nick
	realOf       map[string]string    // occupant-id to real bare JID
	affiliated   map[string]string    // real bare JID to owner, admin, member
	learning     map[string]string    // the same, while the lists are read anew

	flagsKnown   bool
	membersOnly  bool
	nonAnonymous bool
	archives     bool
	// Without these features such ids are whatever the sender wrote.
	givesStanzaIDs   bool
	givesOccupantIDs bool
	destroyed        bool
	asking           int  // counts what was asked for anew
	reread           bool // the flags changed, and are being read anew
	changes          int  // of the flags

	joins       map[string]chan error // by our bare JID
	first       time.Time             // when the room was first entered, ever
	sealedBy    map[sealer]int        // of each device: its count when all keys were worked through last
	holding     bool
	held        []said            // while holding
	query       string            // of the archive, now or last
	stay        time.Time         // when State last noted that we were there
	authors     map[string]string // of the last messages, by stanza-id
	authorRing  []string
	told        string // the last trouble that was logged
	puppetsTold bool
	changed     chan struct{}    // closed and replaced at each change
	mends       map[session]mend // what the history showed that sessions need
	wake        chan struct{}    // for the keeper
	truth       sync.Mutex       // one at a time says who reads along
	truthOn     *link            // where that was seen to; under truth
	granting    sync.Mutex       // one change of affiliations at a time
}

func newRoom(s *Side, conf gateway.Room, jid string) *room {
	r := &room{side: s, jid: jid, log: s.log.With("room", conf.ID), changed: make(chan struct{}), wake: make(chan struct{}, 1), joins: map[string]chan error{}, authors: map[string]string{}, sealedBy: map[sealer]int{}, mends: map[session]mend{}}
	r.asked.Store(&conf)
	r.forget()
	return r
}

// forget drops what only a join tells.
func (r *room) forget() {
	r.joined, r.ready, r.staged = false, false, nil
	r.occupants, r.ours, r.mine = map[string]*occupant{}, map[string]string{}, map[string]string{}
	r.realOf, r.affiliated = map[string]string{}, map[string]string{}
	r.flagsKnown = false
}

// linkLost tells the room that the connection is gone. Who is who is kept until the next join: what was received
// before may still be read.
func (r *room) linkLost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined, r.ready, r.flagsKnown = false, false, false
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

// keep enters the room and stays in it until ctx ends. tried is called after the first attempt.
func (r *room) keep(ctx context.Context, l *link, tried func()) {
	defer tried()
	pause := firstRejoin
	for ctx.Err() == nil {
		err := r.enter(ctx, l)
		if err == nil {
			r.trouble("")
			tried()
			pause = firstRejoin
			l.later(func(ctx context.Context) { r.side.proclaimWhenReady(ctx, l, r) })
			err = r.remain(ctx, l)
		}
		tried()
		if ctx.Err() != nil {
			return
		}
		r.trouble(err.Error())
		wait(ctx, pause)
		pause = min(2*pause, lastRejoin)
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

// trouble logs why the room cannot be carried, once for each reason.
func (r *room) trouble(reason string) {
	r.mu.Lock()
	same := r.told == reason
	r.told = reason
	r.mu.Unlock()
	switch {
	case same:
	case reason == "":
		r.log.Info("the room is carried")
	default:
		r.log.Warn("the room cannot be carried for now", "err", reason)
	}
}

// enter joins the room with the gateway's occupant, after it has learnt what kind of room that is.
func (r *room) enter(ctx context.Context, l *link) error {
	err := r.readFlags(ctx, l)
	if err != nil && condition(err) == "" {
		return err
	}
	missing := condition(err) == "item-not-found"
	keeps := r.has(&r.archives)
	if missing && r.conf().Seal { // entering would create it, in the clear
		return errors.New("the room does not exist: create it, members-only and non-anonymous")
	}
	if missing && r.has(&r.destroyed) {
		return errors.New("the room was destroyed: create it again, or take it out of the config")
	}
	history, since, err := r.history(ctx)
	if err != nil {
		return err
	}
	behind := keeps && !since.IsZero()
	r.startHolding(behind)
	if err := r.joinGateway(ctx, l, history); err != nil {
		return explainJoin(err, r.side.self)
	}
	if missing {
		r.log.Info("the room did not exist; it was made with the server's defaults")
		form := el("jabber:x:data", "x", "type", "submit")
		if _, err := l.ask(ctx, "set", r.fullSelf(), r.jid, el(nsMUC+"#owner", "query").add(form)); err != nil {
			return fmt.Errorf("open the new room: %w", err)
		}
	}
	if err := r.learn(ctx, l); err != nil {
		return err
	}
	if behind {
		if err := r.catchUp(ctx, l, since); err != nil {
			r.log.Warn("what was said meanwhile is taken from the room's short history", "err", err)
		}
		l.queue.push(item{release: r})
	}
	if err := r.side.restorePuppets(ctx, l, r); err != nil {
		r.log.Warn("puppets could not come back", "err", err)
	}
	return nil
}

// has reads one of the room's flags.
func (r *room) has(flag *bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *flag
}

// fullSelf is the gateway's occupant.
func (r *room) fullSelf() string { return r.side.self + "/" + resource }

// joinGateway takes the configured nick, or one with underscores when that is somebody else's.
func (r *room) joinGateway(ctx context.Context, l *link, history *node) error {
	nick := r.side.cfg.Nick
	r.mu.Lock()
	r.staged, r.tellsHistory, r.recalled = map[string]*occupant{}, true, 0
	r.mu.Unlock()
	for {
		err := r.join(ctx, l, r.side.self, nick, history)
		if condition(err) != "conflict" || len(nick) > len(r.side.cfg.Nick)+3 {
			return err
		}
		nick += "_"
		r.log.Warn("the gateway's nick is taken", "next", nick)
	}
}

// join enters the room as one of our occupants and waits for the room's answer. Joining again is a safe way to
// synchronise.
func (r *room) join(ctx context.Context, l *link, who, nick string, history *node) error {
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	x := el(nsMUC, "x").add(history)
	if r.conf().Password != "" {
		x.add(el(nsMUC, "password").say(r.conf().Password))
	}
	return r.awaitAnswer(ctx, who, func() error {
		return l.send(el("", "presence", "from", who+"/"+resource, "to", r.jid+"/"+nick).add(x, r.side.capsNode()))
	})
}

// awaitAnswer calls ask and waits until the room has answered the presence that it sends for who.
func (r *room) awaitAnswer(ctx context.Context, who string, ask func() error) error {
	answer := make(chan error, 1)
	r.mu.Lock()
	r.joins[who] = answer
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.joins[who] == answer {
			delete(r.joins, who)
		}
	}()
	if err := ask(); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the room did not answer: %w", ctx.Err())
	}
}

// answerJoinLocked ends a join under way.
func (r *room) answerJoinLocked(who string, err error) {
	if answer, ok := r.joins[who]; ok {
		answer <- err
		delete(r.joins, who)
	}
}

// leaving is the presence with which an occupant of ours goes.
func (r *room) leaving(who, nick string) *node {
	return el("", "presence", "type", "unavailable", "from", who+"/"+resource, "to", r.jid+"/"+nick)
}

func explainJoin(err error, self string) error {
	switch condition(err) {
	case "registration-required":
		return fmt.Errorf("the room is for members only: make %s a member, better an admin: %w", self, err)
	case "forbidden":
		return fmt.Errorf("%s is banned from the room: lift the ban: %w", self, err)
	case "not-authorized":
		return fmt.Errorf("the room asks for a password: set { room = ..., password = ... }: %w", err)
	case "item-not-found", "not-allowed":
		return fmt.Errorf("the room does not exist or may not be entered: create it: %w", err)
	case "service-unavailable":
		return fmt.Errorf("the room is full: %w", err)
	}
	return fmt.Errorf("enter the room: %w", err)
}

// remain puts the room right until we are out of it.
func (r *room) remain(ctx context.Context, l *link) error {
	late := time.NewTimer(historyLimit)
	defer late.Stop()
	asked := -1
	for {
		r.mu.Lock()
		joined, reread, out, asking := r.joined, r.reread, r.outBy, r.asking
		r.mu.Unlock()
		if asked < 0 {
			asked = asking
		}
		switch {
		case !joined:
			return fmt.Errorf("the gateway was put out of the room (status %v)", out)
		case r.gapped.Load() && l.queue.half():
			return errors.New("messages were left out")
		case reread:
			if err := r.readFlags(ctx, l); err != nil {
				return err
			}
			l.queue.push(item{release: r})
			continue // they may have changed again
		case asked != asking:
			asked = asking
			r.adjust(ctx, l)
			continue
		}
		var again <-chan time.Time
		if r.gapped.Load() {
			again = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		case <-again:
		case <-late.C:
			r.setReady()
		}
	}
}

// setReady notes that the history has been read.
func (r *room) setReady() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellsHistory = false
	if r.joined && !r.ready {
		r.ready = true
		r.changedLocked()
	}
}
