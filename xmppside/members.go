package xmppside

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lockbridge/gateway"
)

// maxHere is how many people are named to those who ask who is in a room.
const maxHere = 200

// there is somebody in a room of whom other networks have been told.
type there struct {
	nick string
	who  gateway.Person
}

// moved is a change of who is in a room; was is who it was before, of a Rename.
type moved struct {
	gateway.Membership
	was gateway.Person
	// silent: nobody is to show them before they speak. Two gateways that give everybody a puppet in the same rooms would
	// else make puppets of each other's, of these again, and so on until their rooms are full.
	silent bool
}

// nativeLocked reports whether an occupant is none of ours, not even one that is coming in just now.
func (r *room) nativeLocked(o *occupant) bool {
	_, ours := r.ours[o.nick]
	return !ours && !r.coming[o.nick] && domainOf(o.real) != r.side.domain
}

// whoLocked is an occupant as other networks know them.
func (r *room) whoLocked(o *occupant) gateway.Person {
	p := r.personLocked(sender{nick: o.nick, real: o.real}, o.id)
	p.Avatar = r.side.faces.of(o.photo)
	return p
}

// expect notes that occupants of ours are about to take nicks, or are not any more: a room that hides addresses shows
// them like anybody before it answers them.
func (r *room) expect(nicks []string, coming bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, nick := range nicks {
		if coming {
			r.coming[nick] = true
		} else {
			delete(r.coming, nick)
		}
	}
}

// listedLocked tells what has changed between what others know and the list that a join brought.
func (r *room) listedLocked() (out []moved) {
	now := map[string]there{}
	for _, nick := range slices.Sorted(maps.Keys(r.occupants)) {
		o := r.occupants[nick]
		if !r.nativeLocked(o) {
			continue
		}
		t := there{nick, r.whoLocked(o)}
		was, known := r.present[t.who.ID]
		if known && was.nick != nick && r.isLocked(was.nick, t.who.ID) {
			t = there{was.nick, r.whoLocked(r.occupants[was.nick])} // they are there under several nicks
		}
		if _, twice := now[t.who.ID]; twice {
			continue
		}
		now[t.who.ID] = t
		out = append(out, r.occupants[t.nick].silence(compared(was, t, true))...)
	}
	gone := map[string]gateway.Person{}
	for id, name := range r.before { // of whom a process before this one told, or another one meanwhile
		gone[id] = gateway.Person{Network: r.conf().Network, ID: id, Name: name}
	}
	for id, t := range r.present {
		gone[id] = t.who
	}
	for _, id := range slices.Sorted(maps.Keys(gone)) {
		if _, still := now[id]; !still {
			out = append(out, moved{Membership: gateway.Membership{Who: gone[id], Change: gateway.Leave, Quiet: true}})
		}
	}
	r.present, r.before = now, nil
	return out
}

// maxHereKey is how long such a key may be, in bytes. Nobody whose id is longer is looked for.
const maxHereKey = 1500

// hereKey is where State keeps that others know that somebody is in a room.
func hereKey(room, id string) string { return stateHere + room + "/" + id }

// recallHere reads of whom others know that they are in the room: who is gone when it is entered left while nobody looked.
func (r *room) recallHere(ctx context.Context) error {
	stored, err := r.side.deps.State.List(ctx, hereKey(r.jid, ""))
	if err != nil {
		return fmt.Errorf("recall who was in the room: %w", err)
	}
	before := make(map[string]string, len(stored))
	for key, name := range stored {
		before[strings.TrimPrefix(key, hereKey(r.jid, ""))] = string(name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = before
	return nil
}

// visited notes who spoke in the history that is being read, unless they are there.
func (r *room) visited(who gateway.Person) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, here := r.present[who.ID]; !here && !who.IsZero() && len(r.visitors) < maxOccupants {
		r.visitors[who.ID] = who
	}
}

// seeOff tells that those are gone again who came, spoke and went while nobody looked.
func (s *Side) seeOff(r *room, b *batch) {
	r.mu.Lock()
	visitors := r.visitors
	r.visitors = map[string]gateway.Person{}
	maps.DeleteFunc(visitors, func(id string, _ gateway.Person) bool {
		_, here := r.present[id]
		return here || len(r.present) >= maxOccupants // not all of them are known
	})
	r.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(visitors)) {
		s.tellMoved(r, moved{Membership: gateway.Membership{Who: visitors[id], Change: gateway.Leave, Quiet: true}}, b)
	}
}

// compared tells how somebody has changed; was is nobody if they have just come.
func compared(was, now there, quiet bool) []moved {
	m := moved{Membership: gateway.Membership{Who: now.who, Change: gateway.Join, Quiet: quiet}}
	if !was.who.IsZero() {
		if was.who.Name == now.who.Name && (now.who.Avatar == "" || now.who.Avatar == was.who.Avatar) {
			return nil
		}
		m.Change, m.was = gateway.Rename, was.who
	}
	return []moved{m}
}

// isLocked reports whether the occupant of a nick is that person.
func (r *room) isLocked(nick, id string) bool {
	o := r.occupants[nick]
	return o != nil && r.personLocked(sender{nick: nick, real: o.real}, o.id).ID == id
}

// cameLocked tells of a native occupant who has come or changed.
func (r *room) cameLocked(o *occupant) []moved {
	now := there{o.nick, r.whoLocked(o)}
	was := r.present[now.who.ID]
	if was.nick != "" && was.nick != o.nick && r.isLocked(was.nick, now.who.ID) || len(r.present) >= maxOccupants && was.nick == "" {
		return nil
	}
	r.present[now.who.ID] = now
	return o.silence(compared(was, now, false))
}

// silence marks the coming of somebody for whom another Lockbridge speaks.
func (o *occupant) silence(changes []moved) []moved {
	for i := range changes {
		changes[i].silent = changes[i].Change == gateway.Join && o.relayed
	}
	return changes
}

// wentLocked tells of a native occupant who is no longer in the table under that nick (XEP-0045, section 17.7 lists the
// codes).
func (r *room) wentLocked(o *occupant, p, x *node) []moved {
	was, known := r.present[r.personLocked(sender{nick: o.nick, real: o.real}, o.id).ID]
	if !known || was.nick != o.nick {
		return nil
	}
	id, codes, item := was.who.ID, statuses(x), x.child(nsMUCUser, "item")
	if next := item.get("nick"); slices.Contains(codes, statusRenamed) && next != "" {
		renamed := occupant{nick: strings.Clone(next), real: o.real, id: o.id, photo: o.photo}
		if now := r.whoLocked(&renamed); now.ID == id {
			r.present[id] = there{renamed.nick, now}
			return compared(was, r.present[id], false)
		}
	}
	for nick, other := range r.occupants {
		if r.isLocked(nick, id) { // they are there under another nick as well
			r.present[id] = there{nick, r.whoLocked(other)}
			return compared(was, r.present[id], false)
		}
	}
	delete(r.present, id)
	m := gateway.Membership{Who: was.who, Change: gateway.Leave, Reason: cleanReason(cmp.Or(item.child(nsMUCUser, "reason").said(), p.child(p.space, "status").said()))}
	switch {
	case slices.Contains(codes, statusBanned):
		m.Change, m.By = gateway.Ban, r.actorLocked(item)
	case slices.Contains(codes, statusShutdown):
		m.Quiet = true // with everybody else
	case slices.Contains(codes, statusKicked) && !slices.Contains(codes, statusTechnical):
		m.Change, m.By = gateway.Kick, r.actorLocked(item)
	}
	return []moved{{Membership: m}}
}

// actorLocked is who put somebody out, by their nick alone: the real address that a room may show its admins beside it
// must not leave the room.
func (r *room) actorLocked(item *node) gateway.Person {
	nick := item.child(nsMUCUser, "actor").get("nick")
	if o := r.occupants[nick]; o != nil && r.nativeLocked(o) {
		p := r.whoLocked(o)
		p.Avatar = ""
		return p
	}
	return gateway.Person{}
}

// cleanReason makes a reason fit for one line.
func cleanReason(s string) string {
	return gateway.Shorten(strings.Join(strings.Fields(gateway.Clean(s)), " "), gateway.MaxReason)
}

// readPresence takes in a presence of a room, and tells who came and went.
func (s *Side) readPresence(l *link, r *room, p *node, b *batch) {
	for _, m := range r.presence(l, p) {
		s.tellMoved(r, m, b)
	}
	s.seePicture(r, p, b)
	if r.has(&r.joined) {
		s.seekFaces(l, r.jid)
	}
}

func (s *Side) tellMoved(r *room, m moved, b *batch) {
	ev := gateway.Event{Sender: m.Who, Time: s.now(), Body: m.Membership}
	switch {
	case !m.By.IsZero():
		ev.Sender = m.By
	case m.Change == gateway.Rename:
		ev.Sender = m.was
	}
	at, key, here := r.conf().Address, hereKey(r.jid, m.Who.ID), []byte(m.Who.Name)
	switch m.Change {
	case gateway.Leave, gateway.Kick, gateway.Ban:
		here = nil
	}
	b.arrivals = append(b.arrivals, gateway.Arrival{At: at, Read: func(ctx context.Context) (*gateway.Event, error) {
		if len(key) <= maxHereKey {
			if err := s.deps.State.PutMany(ctx, map[string][]byte{key: here}); err != nil {
				return nil, err
			}
		}
		if m.silent {
			return nil, nil
		}
		return &ev, nil
	}})
	if here == nil {
		s.pass(b, at, m.Who, gateway.Typing{})
	}
}

// Here implements gateway.Roster.
func (s *Side) Here(room gateway.Address) []gateway.Person {
	r := s.carried().byName[room.ID]
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.joined {
		return nil
	}
	byID := map[string]gateway.Person{}
	for _, o := range r.occupants {
		if p := r.whoLocked(o); r.nativeLocked(o) && len(byID) < maxOccupants {
			byID[p.ID] = p
		}
	}
	out := slices.AppendSeq([]gateway.Person{}, maps.Values(byID))
	slices.SortFunc(out, func(a, b gateway.Person) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return out[:min(len(out), maxHere)]
}
