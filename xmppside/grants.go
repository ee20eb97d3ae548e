package xmppside

import (
	"context"
	"errors"
	"fmt"
)

// errMayNotGrant: the room wants members, and the gateway is not one of its admins.
var errMayNotGrant = errors.New("the gateway is not an admin of this members-only room, so its puppets cannot enter")

// nickIn is the nick of one of our addresses in the room; "" if it is not there.
func (r *room) nickIn(who string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mine[who]
}

// admit makes a puppet a member where the room asks for that, and reports whether it had to. Where it does not ask,
// puppets stay without affiliation: nobody has to seal for them.
func (r *room) admit(ctx context.Context, l *link, who string) (granted bool, err error) {
	r.mu.Lock()
	needed, rank, has := r.membersOnly, r.rank, r.affiliated[who]
	r.mu.Unlock()
	switch {
	case !needed || has != "":
		return false, nil
	case rank != "admin" && rank != "owner":
		return false, errMayNotGrant
	}
	if err := r.affiliate(ctx, l, who, "member"); err != nil {
		return false, fmt.Errorf("make a puppet a member: %w", err)
	}
	return true, nil
}

// affiliate changes what one of our own addresses is to the room (XEP-0045, section 9.3). The bare domain is never
// affiliated: clients would look for its device, and ejabberd would let every address of it inherit.
func (r *room) affiliate(ctx context.Context, l *link, who, affiliation string) error {
	r.granting.Lock()
	defer r.granting.Unlock()
	item := el(nsMUCAdmin, "item", "affiliation", affiliation, "jid", who)
	if _, err := l.ask(ctx, "set", r.fullSelf(), r.jid, el(nsMUCAdmin, "query").add(item)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.affiliateLocked(who, affiliation)
	return nil
}

// rename changes the nick of an occupant of ours.
func (r *room) rename(ctx context.Context, l *link, who, nick string) error {
	if r.nickIn(who) == nick {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	return r.awaitAnswer(ctx, who, func() error {
		return l.send(el("", "presence", "from", who+"/"+resource, "to", r.jid+"/"+nick).add(capsNode()))
	})
}

// mayGrantError reports whether the room itself stands against a puppet, so that the gateway has to speak for it.
func (r *room) mayGrantError(err error) bool { return errors.Is(err, errMayNotGrant) }

// puppetTrouble logs once per room why the gateway speaks for people itself.
func (r *room) puppetTrouble(err error) {
	r.mu.Lock()
	told := r.puppetsTold
	r.puppetsTold = true
	r.mu.Unlock()
	if !told {
		r.log.Warn("the gateway speaks for people itself", "err", err, "remedy", "make "+r.side.self+" an admin of the room")
	}
}
