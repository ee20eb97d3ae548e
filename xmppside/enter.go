package xmppside

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	joinLimit    = 20 * time.Second
	historyLimit = 10 * time.Second // how long the subject, which ends a room's history, may be missing
	firstRejoin  = 2 * time.Second  // with jitter, like all pauses before a room is entered again
	lastRejoin   = 5 * time.Minute
	steadyStay   = time.Minute // a stay that was so long is no failure
)

// keep enters the room and stays in it until ctx ends. tried is called after the first attempt.
func (r *room) keep(ctx context.Context, l *link, tried func()) {
	defer tried()
	pause := firstRejoin
	for ctx.Err() == nil {
		began := r.side.now()
		err := r.follow(ctx, l)
		if err == nil || r.isBack(ctx, l) {
			err = r.enter(ctx, l)
		}
		if err == nil {
			r.trouble(nil, 0)
			tried()
			r.side.deps.Ready(nil) // what waits for the room need not wait longer
			l.later(func(ctx context.Context) { r.side.proclaimWhenReady(ctx, l, r) })
			err = r.remain(ctx, l)
		}
		tried()
		if ctx.Err() != nil || l.isDown() {
			return
		}
		stayed := r.side.now().Sub(began)
		if stayed > steadyStay {
			pause = firstRejoin
		}
		if errors.Is(err, errEnterAgain) && stayed > firstRejoin {
			r.log.Info("the room is entered again", "because", err)
			continue
		}
		d := pause/2 + rand.N(pause/2)
		r.trouble(err, d)
		wait(ctx, d)
		pause = min(2*pause, lastRejoin)
	}
}

// trouble notes why the room cannot be carried, and logs it once for each reason. nil: it is carried.
func (r *room) trouble(why error, pause time.Duration) {
	r.mu.Lock()
	was := r.away
	r.away, r.next = why, r.side.now().Add(pause)
	r.changedLocked()
	r.mu.Unlock()
	switch {
	case why == nil && was == nil, why != nil && was != nil && why.Error() == was.Error():
	case why == nil:
		r.log.Info("the room is carried again")
	default:
		r.log.Warn("the room cannot be carried for now", "err", why)
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
		return errDestroyed
	}
	mem, err := r.recall(ctx)
	if err != nil {
		return err
	}
	if err := r.recallHere(ctx); err != nil {
		return err
	}
	behind := keeps && !mem.Since.IsZero()
	r.startHolding(behind)
	if err := r.joinGateway(ctx, l, mem.ask()); err != nil {
		r.noteSuccessor(err)
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
		if err := r.catchUp(ctx, l, mem); err != nil && ctx.Err() == nil {
			r.log.Warn("what was said meanwhile is taken from the room's short history", "err", err)
		}
		l.queue.push(item{release: r})
	}
	r.expelGhosts(l)
	if err := r.side.restorePuppets(ctx, l, r, r.isOut); err != nil {
		r.log.Warn("puppets could not come back", "err", err)
	}
	return nil
}

// joinGateway takes the configured nick, or one with underscores when that is somebody else's.
func (r *room) joinGateway(ctx context.Context, l *link, history *node) error {
	nick := r.side.cfg.Nick
	r.mu.Lock()
	for _, p := range r.side.people.in(r.jid) { // the room may show them still, though it does not say whose they are
		r.coming[p.Rooms[r.jid].Nick] = true
	}
	r.staged, r.tellsHistory, r.toldSubject, r.told = map[string]*occupant{}, true, false, 0
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
	r.expect([]string{nick}, true)
	defer r.expect([]string{nick}, false)
	return r.awaitAnswer(ctx, who, func() error {
		return l.send(el("", "presence", "from", who+"/"+resource, "to", r.jid+"/"+nick).add(x, r.side.capsNode(), r.side.photoNode(who)))
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

// errEnterAgain: entering the room puts it right, and there is no reason to wait before it.
var errEnterAgain = errors.New("the room has to be entered again")

// remain puts the room right until we are out of it.
func (r *room) remain(ctx context.Context, l *link) error {
	late := time.NewTimer(historyLimit)
	defer late.Stop()
	quiet := time.NewTimer(r.side.quietAfter)
	defer quiet.Stop()
	asked := -1
	for {
		r.mu.Lock()
		joined, reread, out, asking, doubtful, nick := r.joined, r.reread, r.outBy, r.asking, r.doubtful, r.nick
		r.doubtful = false
		regain := nick != r.side.cfg.Nick && r.occupants[r.side.cfg.Nick] == nil
		r.mu.Unlock()
		if asked < 0 {
			asked = asking
		}
		switch {
		case !joined && out == nil:
			return fmt.Errorf("%w: the gateway turned out not to be in it", errEnterAgain)
		case !joined:
			return r.explainPutOut(out)
		case r.gapped.Load() && l.queue.half():
			return fmt.Errorf("%w: messages were left out", errEnterAgain)
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
		case doubtful:
			if err := r.check(ctx, l); err != nil {
				return err
			}
		case regain && r.side.lately.free("nick/"+r.jid, r.side.now(), time.Minute):
			if err := r.rename(ctx, l, r.side.self, r.side.cfg.Nick); err != nil && condition(err) == "" {
				return err
			}
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
			r.historyRead()
		case <-quiet.C:
			quiet.Reset(r.untilQuiet())
		}
	}
}
