package ircside

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
)

// maxMembers bounds how many members of a channel are tracked; who comes beyond is heard all the same.
const maxMembers = 20_000

// person makes a Person of a clean nick.
func (s *session) person(nick string) gateway.Person {
	return gateway.Person{Network: s.c.side.deps.Network, ID: s.c.casemap.fold(nick), Name: nick}
}

func (s *session) isMe(nick string) bool {
	return nick != "" && s.c.casemap.fold(nick) == s.c.casemap.fold(s.nick)
}

// enter tells that somebody is in a channel. e is nil for what NAMES told.
func (s *session) enter(r *room, e *girc.Event, p gateway.Person) {
	delete(r.gone, p.ID)
	if r.members[p.ID] == p || len(r.members) >= maxMembers {
		return
	}
	r.members[p.ID] = p
	s.tell(r, e, p, gateway.Membership{Who: p, Change: gateway.Join})
}

// depart tells that nick is no longer in a channel, if it was.
func (s *session) depart(r *room, e *girc.Event, nick string, m gateway.Membership) {
	p, ok := r.members[s.c.casemap.fold(nick)]
	if !ok {
		return
	}
	delete(r.members, p.ID)
	delete(r.gone, p.ID)
	m.Who = p
	sender := p
	if !m.By.IsZero() {
		sender = m.By
	}
	s.tell(r, e, sender, m)
}

// tell passes a change of membership on. e is nil where it was told from a list, or long after it happened.
func (s *session) tell(r *room, e *girc.Event, sender gateway.Person, m gateway.Membership) {
	now := s.c.side.clock.now()
	m.Quiet = e == nil
	ev := gateway.Event{At: r.Address, Sender: sender, Time: now, Body: m}
	if e != nil {
		ev.Time = timeOf(e, now)
	}
	h := s.c.side.keeping(arrival(ev), r, sender, m)
	h.membership = true
	s.take(h)
}

// quit handles QUIT: a departure from every channel. Whoever leaves in a netsplit mostly comes back soon, and so counts as
// there for a while.
func (s *session) quit(e *girc.Event) {
	nick := nickOf(e)
	id, split := s.c.casemap.fold(nick), s.batches[e.Tags["batch"]].split || isSplit(param(e, 0))
	for _, r := range s.c.list {
		if _, here := r.members[id]; here && split {
			r.gone[id] = s.c.side.clock.now().Add(s.c.side.timings.split)
			continue
		}
		s.depart(r, e, nick, gateway.Membership{Change: gateway.Leave, Reason: cleanReason(param(e, 0))})
	}
	s.maybeRegain(nick)
}

// isSplit reports whether the reason of a QUIT is that of a netsplit, the names of two servers. People cannot give such
// a reason, as servers put "Quit: " before theirs, or quotes around them.
func isSplit(reason string) bool {
	servers := strings.Fields(reason)
	return len(servers) == 2 && servers[0]+" "+servers[1] == reason && !slices.ContainsFunc(servers, func(name string) bool {
		label := strings.Trim(name, ".")
		return label != name || !strings.Contains(name, ".") || strings.ContainsFunc(name, func(r rune) bool {
			return !isASCIILetter(r) && (r < '0' || r > '9') && !strings.ContainsRune(".-_*", r)
		})
	})
}

// splitDue tells of those who left in a netsplit and have not come back in time. It returns when the next one is due.
func (s *session) splitDue(now time.Time) (next time.Time) {
	for _, r := range s.c.list {
		for _, id := range slices.Sorted(maps.Keys(r.gone)) {
			due := r.gone[id]
			if now.Before(due) {
				next = earliest(next, due)
				continue
			}
			delete(r.gone, id)
			s.depart(r, nil, id, gateway.Membership{Change: gateway.Leave})
		}
	}
	return next
}

// renamed handles NICK, ours included. The event's sender is the person under the old nick, Who under the new one.
func (s *session) renamed(e *girc.Event) {
	from, to := nickOf(e), cleanNick(param(e, 0))
	if from == "" || !validTarget(to) {
		return
	}
	if s.isMe(from) {
		s.nick = to
		s.c.side.deps.Log.Info("our nick is now another", "nick", to)
		return
	}
	now := s.person(to)
	for _, r := range s.c.list {
		was, ok := r.members[s.c.casemap.fold(from)]
		if !ok {
			continue
		}
		delete(r.members, was.ID)
		r.members[now.ID] = now
		s.tell(r, e, was, gateway.Membership{Who: now, Change: gateway.Rename})
	}
	s.maybeRegain(from)
}

// maybeRegain takes our nick back as soon as its holder gave it up.
func (s *session) maybeRegain(freed string) {
	if s.c.casemap.fold(freed) == s.c.casemap.fold(s.c.side.cfg.Nick) {
		s.regainAt = s.c.side.clock.now()
	}
}

// names handles one line of the NAMES reply: "353 me = #channel :@nick +nick nick!user@host".
func (s *session) names(e *girc.Event) {
	if len(e.Params) < 4 {
		return
	}
	r := s.room(param(e, 2))
	if r == nil || r.listed == nil {
		return
	}
	for _, name := range strings.Fields(e.Last()) {
		name, _, _ = strings.Cut(strings.TrimLeft(name, s.prefixes), "!")
		if name = cleanNick(name); validTarget(name) && !s.isMe(name) && len(r.listed) < maxMembers {
			p := s.person(name)
			r.listed[p.ID] = p
		}
	}
}

// namesEnd handles the end of the NAMES reply: who is not in it has left while we were away.
func (s *session) namesEnd(e *girc.Event) {
	r := s.room(param(e, 1))
	if r == nil || r.listed == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(r.members)) {
		if _, ok := r.listed[id]; !ok {
			s.depart(r, nil, id, gateway.Membership{Change: gateway.Leave})
			delete(s.c.here[r.ID], id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.c.here[r.ID])) { // of whom a process before this one told, or another one meanwhile
		if _, ok := r.listed[id]; !ok {
			who := s.c.here[r.ID][id]
			s.tell(r, nil, who, gateway.Membership{Who: who, Change: gateway.Leave})
		}
	}
	delete(s.c.here, r.ID)
	for _, id := range slices.Sorted(maps.Keys(r.listed)) {
		s.enter(r, nil, r.listed[id])
	}
	r.listed = nil
}

// called returns how people are named in text that is said in a room (nil: a chat): those who are on this network by their
// nick, which pings them, and others so that nobody is pinged. Whom a text names is its writer's word, and may be no nick.
func (c *conn) called(r *room) func(who gateway.Person, text string) string {
	return func(who gateway.Person, text string) string {
		if who.Network != c.side.deps.Network {
			return unpingable(text)
		}
		if r != nil {
			if member, here := r.here(who.ID); here {
				return member.Name
			}
		}
		switch {
		case !couldBeNick(who.ID):
			return unpingable(text)
		case c.casemap.fold(who.Name) == who.ID:
			return who.Name
		}
		return who.ID
	}
}

// here finds somebody in a channel.
func (r *room) here(id string) (who gateway.Person, ok bool) {
	if _, gone := r.gone[id]; gone {
		return who, false
	}
	who, ok = r.members[id]
	return who, ok
}

// Here implements gateway.Roster.
func (s *Side) Here(room gateway.Address) []gateway.Person {
	const most = 200
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	r := s.relay.byID[room.ID]
	if r == nil || r.state != roomIn {
		return nil
	}
	out := make([]gateway.Person, 0, len(r.members))
	for id := range r.members {
		if who, ok := r.here(id); ok {
			out = append(out, who)
		}
	}
	slices.SortFunc(out, func(a, b gateway.Person) int { return strings.Compare(a.ID, b.ID) })
	return out[:min(len(out), most)]
}

// channels names some of the bridged channels.
func (c *conn) channels() string {
	var names []string
	for _, r := range c.list {
		if len(names) == 3 {
			names = append(names, "…")
			break
		}
		names = append(names, r.ID)
	}
	return strings.Join(names, ", ")
}
