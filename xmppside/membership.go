package xmppside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"lockbridge/gateway"
)

// learn reads the room's flags and affiliations.
func (r *room) learn(ctx context.Context, l *link) error {
	r.mu.Lock()
	known := r.flagsKnown
	r.learning = map[string]string{}
	r.mu.Unlock()
	if !known {
		if err := r.readFlags(ctx, l); err != nil {
			return err
		}
	}
	kinds := []string{"owner", "admin", "member"}
	errs := make([]error, len(kinds))
	inParallel(len(kinds), len(kinds), func(i int) { errs[i] = r.readList(ctx, l, kinds[i]) })
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.occupants {
		if o.real != "" {
			r.affiliateLocked(o.real, o.affiliation)
		}
	}
	r.affiliated, r.learning = r.learning, nil // whoever was removed while we were away is gone now
	r.learnt = r.joined
	r.changedLocked()
	return nil
}

// readList reads who has an affiliation. A room that does not show its lists is carried all the same, for those who
// are there.
func (r *room) readList(ctx context.Context, l *link, kind string) error {
	iq, err := l.ask(ctx, "get", r.fullSelf(), r.jid, el(nsMUCAdmin, "query").add(el(nsMUCAdmin, "item", "affiliation", kind)))
	if err != nil && condition(err) == "" {
		return err
	}
	if err != nil {
		if r.conf().Seal {
			r.log.Warn("the room does not show who its members are; only those who are there can read along", "list", kind, "err", err,
				"remedy", "make "+r.side.self+" an admin of the room")
		}
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, item := range iq.child(nsMUCAdmin, "query").all(nsMUCAdmin, "item") {
		if real := normalBare(item.get("jid")); real != "" {
			r.affiliateLocked(real, kind)
		}
	}
	return nil
}

// readFlags asks what kind of room it is.
func (r *room) readFlags(ctx context.Context, l *link) error {
	r.mu.Lock()
	changes := r.changes
	r.mu.Unlock()
	iq, err := l.ask(ctx, "get", r.fullSelf(), r.jid, el(nsDiscoInfo, "query"))
	if err != nil {
		return fmt.Errorf("ask what kind of room it is: %w", err)
	}
	var vars []string
	for _, f := range iq.child(nsDiscoInfo, "query").all(nsDiscoInfo, "feature") {
		vars = append(vars, f.get("var"))
	}
	r.mu.Lock()
	r.name = nameOfRoom(iq.child(nsDiscoInfo, "query"))
	r.membersOnly = slices.Contains(vars, "muc_membersonly")
	r.nonAnonymous = slices.Contains(vars, "muc_nonanonymous")
	r.archives = slices.Contains(vars, nsMAM)
	r.givesStanzaIDs = r.archives || slices.Contains(vars, nsSID)
	r.givesOccupantIDs = slices.Contains(vars, nsOccupantID)
	r.moderates = ""
	for _, ns := range []string{nsModerated0, nsModerate} {
		if slices.Contains(vars, ns) {
			r.moderates = ns
		}
	}
	r.flagsKnown, r.reread = true, r.changes != changes // what changed meanwhile may be missing in the answer
	r.changedLocked()
	l.queue.push(item{named: r})
	r.mu.Unlock()
	if reason, _ := r.unfit(); reason != "" {
		r.log.Warn("the room must be carried end-to-end encrypted, but "+reason+": nothing crosses until that is changed", "remedy", "make it members-only and show real addresses to anyone")
	}
	return nil
}

// unfit says why the room must not be carried sealed; "" if nothing speaks against it, or it is not to be sealed. known
// is false while the room's flags are being read: then nothing may be said in it, but what others sealed may be read.
func (r *room) unfit() (reason string, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.conf().Seal:
		return "", true
	case !r.flagsKnown:
		return "", false
	case !r.membersOnly && !r.nonAnonymous:
		return "it is neither members-only nor non-anonymous", true
	case !r.membersOnly:
		return "it is not members-only", true
	case !r.nonAnonymous:
		return "it is not non-anonymous", true
	case r.reread:
		return "", false
	}
	return "", true
}

// errMayNotGrant: the room wants members, and the gateway is not one of its admins.
var errMayNotGrant = errors.New("the gateway is not an admin of this members-only room, so its puppets cannot enter")

// nickIn is the nick of one of our addresses in the room; "" if it is not there.
func (r *room) nickIn(who string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mine[who]
}

// isOut reports whether one of our addresses is not known to be in the room.
func (r *room) isOut(who string) bool { return r.nickIn(who) == "" }

// needsMembership reports whether a puppet must be made a member before it can enter. Where the room does not ask for
// that, puppets stay without affiliation: nobody has to seal for them.
func (r *room) needsMembership(who string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.membersOnly || r.affiliated[who] != "":
		return false, nil
	case r.rank != "admin" && r.rank != "owner":
		return false, errMayNotGrant
	}
	return true, nil
}

// errBanned: whoever the room's admins silenced must not come back through the gateway's own occupant.
var errBanned = gateway.Dropf("you are banned from the XMPP room")

// bannedPause is how long a ban counts before it is looked for again.
const bannedPause = time.Minute

// isBanned asks whether a puppet of which we do not know that it is a member is banned. Whatever we made of it would lift
// that.
func (r *room) isBanned(ctx context.Context, l *link, who string) (bool, error) {
	key, now := "banned/"+r.jid+"/"+who, r.side.now()
	switch {
	case who == "" || r.is(func() bool { return r.affiliated[who] != "" }):
		return false, nil
	case !r.side.lately.over(key, now):
		return true, nil
	}
	iq, err := l.ask(ctx, "get", r.fullSelf(), r.jid, el(nsMUCAdmin, "query").add(el(nsMUCAdmin, "item", "affiliation", "outcast")))
	if err != nil {
		if condition(err) != "" { // it does not say
			err = nil
		}
		return false, err
	}
	banned := slices.ContainsFunc(iq.child(nsMUCAdmin, "query").all(nsMUCAdmin, "item"), func(item *node) bool {
		return normalBare(item.get("jid")) == who
	})
	if banned {
		r.side.lately.free(key, now, bannedPause)
	}
	return banned, nil
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
	r.expect([]string{nick}, true)
	defer r.expect([]string{nick}, false)
	return r.awaitAnswer(ctx, who, func() error {
		return l.send(el("", "presence", "from", who+"/"+resource, "to", r.jid+"/"+nick).add(r.side.capsNode(), r.side.photoNode(who)))
	})
}

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
