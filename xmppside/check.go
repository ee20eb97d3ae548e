package xmppside

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// quietAfter is how long nothing may come from a room before it is asked whether our occupants are still in it.
const quietAfter = 5 * time.Minute

// doubt has the room asked whether our occupants are in it.
func (r *room) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubtful = true
	r.poke()
}

// untilQuiet says when to look again whether the room is silent; a silent one is doubted now. The time varies, so that
// many rooms do not ask at once.
func (r *room) untilQuiet() time.Duration {
	after := r.side.quietAfter
	left := after - r.side.now().Sub(time.Unix(0, r.heard.Load()))
	if left <= 0 {
		r.doubt()
		left = after
	}
	return left + rand.N(after/10)
}

// check asks the room by pings to ourselves whether our occupants are in it (XEP-0410). A puppet that is not comes back;
// without the gateway's own occupant the room has to be entered again.
func (r *room) check(ctx context.Context, l *link) error {
	r.mu.Lock()
	nick := r.nick
	var puppets []string
	for who := range r.mine {
		if who != r.side.self {
			puppets = append(puppets, who)
		}
	}
	r.mu.Unlock()
	if in, err := r.isIn(ctx, l, r.side.self, nick); !in {
		r.lost(r.side.self)
		return fmt.Errorf("%w: the gateway is not in it any more: %w", errEnterAgain, err)
	}
	out := make([]bool, len(puppets))
	inParallel(len(puppets), perDomain, func(i int) {
		in, _ := r.isIn(ctx, l, puppets[i], r.nickIn(puppets[i]))
		out[i] = !in
	})
	var lost []string
	for i, who := range puppets {
		if out[i] {
			r.lost(who)
			lost = append(lost, who)
		}
	}
	if len(lost) == 0 {
		return ctx.Err()
	}
	r.log.Info("puppets that the room had lost come back", "count", len(lost))
	return r.side.restorePuppets(ctx, l, r, func(who string) bool { return slices.Contains(lost, who) })
}

// isIn asks the room whether an occupant of ours is in it. What does not come from the room itself counts as yes.
func (r *room) isIn(ctx context.Context, l *link, who, nick string) (bool, error) {
	if nick == "" {
		return true, nil // it has just left
	}
	_, err := l.ask(ctx, "get", who+"/"+resource, r.jid+"/"+nick, el(nsPing, "ping"))
	switch condition(err) {
	case "", "service-unavailable", "feature-not-implemented", // it is inside, and was asked itself
		"item-not-found", // it has just changed its nick
		"remote-server-not-found", "remote-server-timeout", "resource-constraint", "internal-server-error":
		return true, nil
	}
	return false, err
}

// expelGhosts takes out occupants that stand in the room with addresses of ours and that we know nothing of: an older
// database may have known them. Nobody else would.
func (r *room) expelGhosts(l *link) {
	s := r.side
	known := map[string]bool{r.fullSelf(): true}
	for _, p := range s.people.in(r.jid) {
		known[p.JID+"/"+resource] = true
	}
	var out []*node
	r.mu.Lock()
	for nick, o := range r.occupants {
		if domainOf(o.real) == s.domain && strings.Contains(o.full, "/") && !known[o.full] && r.mine[o.real] != nick {
			out = append(out, el("", "presence", "type", "unavailable", "from", o.full, "to", r.jid+"/"+nick))
		}
	}
	r.mu.Unlock()
	if len(out) == 0 {
		return
	}
	r.log.Warn("occupants of ours that nobody knows of are taken out of the room", "count", len(out))
	if err := l.send(out...); err != nil {
		r.log.Debug("ghosts stay in the room", "err", err)
	}
}
