package xmppside

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// Forget implements gateway.Side. Operators' decisions about keys are the operators' to take back; see Operator.Forget.
func (s *Side) Forget(ctx context.Context, who gateway.Person) error {
	err := s.forgetPuppet(ctx, who)
	if err == nil && who.Network == s.deps.Network {
		err = s.forgetPerson(ctx, who.ID)
	}
	if err != nil {
		return fmt.Errorf("forget %s on %s: %w", who.ID, who.Network, err)
	}
	return nil
}

// forgetPuppet takes the puppet of somebody elsewhere out of its rooms and away from its contacts, and drops it with its
// keys. Should its person come back, they get a new one.
func (s *Side) forgetPuppet(ctx context.Context, who gateway.Person) error {
	p, known := s.people.of(who)
	if !known {
		return nil
	}
	l := s.currentLink()
	for jid, st := range p.Rooms {
		r := s.carried().byJID[jid]
		switch {
		case r != nil && l != nil:
			if err := s.dismiss(ctx, l, r, gateway.Membership{Who: who}); err != nil {
				return err
			}
		case st.Granted:
			return fmt.Errorf("take its membership of %s back: %w", jid, errLinkDown)
		}
	}
	contacts, err := s.deps.State.List(ctx, stateContact+p.JID+"/")
	if err != nil {
		return err
	}
	gone := deleted(contacts)
	gone[puppetKey(p.Person)] = nil
	var farewell []*node
	for key := range contacts {
		farewell = append(farewell, parting(p.JID, strings.TrimPrefix(key, stateContact+p.JID+"/"))...)
	}
	for _, v := range s.versions {
		subscribers, err := s.deps.State.List(ctx, subKey(v, p.JID, ""))
		if err != nil {
			return err
		}
		for key := range subscribers {
			gone[key] = nil
			farewell = append(farewell, retraction(p.JID, strings.TrimPrefix(key, subKey(v, p.JID, "")), listNode(v)))
		}
	}
	repairs, err := s.deps.State.List(ctx, stateRepair+p.JID+"/")
	if err != nil {
		return err
	}
	maps.Copy(gone, deleted(repairs))
	s.people.saving.Lock()
	defer s.people.saving.Unlock()
	err = s.deps.State.Update(ctx, func(ctx context.Context) error {
		if err := s.omemo.Drop(ctx, p.JID); err != nil {
			return err
		}
		return s.deps.State.PutMany(ctx, gone)
	})
	if err != nil {
		return err
	}
	s.people.remove(who)
	s.devices.forgetOwn(p.JID)
	s.followers.forget(p.JID)
	s.agenda.dropThose(p.JID)
	s.sendFarewell(l, farewell)
	return nil
}

// forgetPerson drops what is kept of somebody on this network: their dealings with all addresses of ours, sessions and
// pinned keys, device lists, what they call themselves, and when they were told what.
func (s *Side) forgetPerson(ctx context.Context, id string) error {
	gone := map[string][]byte{stateList + id: nil, stateName + id: nil}
	var farewell []*node
	for _, prefix := range []string{stateContact, stateSub, stateRepair, stateTold, stateHere} {
		stored, err := s.deps.State.List(ctx, prefix)
		if err != nil {
			return err
		}
		for key := range stored {
			parts := strings.Split(strings.TrimPrefix(key, prefix), "/")
			if !slices.Contains(parts[1:], id) && !strings.HasSuffix(key, "/"+id) { // an id may hold a slash itself
				continue
			}
			gone[key] = nil
			if prefix == stateContact {
				farewell = append(farewell, parting(parts[0], id)...)
			}
		}
	}
	owns := []string{s.self}
	for _, p := range s.people.all() {
		owns = append(owns, p.JID)
	}
	for own := range slices.Chunk(owns, 50) { // others use the database, too
		err := s.deps.State.Update(ctx, func(ctx context.Context) error {
			for _, o := range own {
				if err := s.omemo.ForgetAll(ctx, o, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := s.deps.State.Update(ctx, func(ctx context.Context) error { return s.deps.State.PutMany(ctx, gone) }); err != nil {
		return err
	}
	s.devices.forget(id)
	s.followers.forget(id)
	s.agenda.dropThose(id)
	s.sendFarewell(s.currentLink(), farewell)
	return nil
}

// sendFarewell is a courtesy: who misses it notices by the errors that the address answers with.
func (s *Side) sendFarewell(l *link, stanzas []*node) {
	if l == nil || len(stanzas) == 0 {
		return
	}
	if err := l.send(stanzas...); err != nil {
		s.log.Debug("contacts do not learn that an address is gone", "err", err)
	}
}

// deleted maps the keys of values to nil.
func deleted(values map[string][]byte) map[string][]byte {
	out := make(map[string][]byte, len(values))
	for key := range values {
		out[key] = nil
	}
	return out
}

// parting ends the presence subscriptions between an address of ours and a contact.
func parting(own, who string) []*node {
	step := func(kind string) *node { return el("", "presence", "type", kind, "from", own, "to", who) }
	return []*node{
		el("", "presence", "type", "unavailable", "from", own+"/"+resource, "to", who), step("unsubscribed"), step("unsubscribe"),
	}
}

// retraction tells that a node of an address of ours has no item any more (XEP-0060, section 7.2.2.1).
func retraction(own, to, name string) *node {
	items := el(nsEvent, "items", "node", name).add(el(nsEvent, "retract", "id", currentItem))
	return el("", "message", "type", "headline", "from", own, "to", to).add(el(nsEvent, "event").add(items))
}

func (pp *people) remove(who gateway.Person) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	key := keyOf(who)
	p := pp.byPerson[key]
	for room := range p.Rooms {
		delete(pp.byRoom[room], key)
	}
	delete(pp.byPerson, key)
	delete(pp.byJID, p.JID)
}

func (d *directory) forgetOwn(own string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.own, own)
}

// forget drops what is remembered of somebody's devices.
func (d *directory) forget(jid string) {
	d.pardon(jid)
	d.spent.forget(jid)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.expired, jid)
	maps.DeleteFunc(d.clients, func(of string, _ []string) bool { return strings.HasPrefix(of, jid+" ") })
}

func (s *spent) forget(jid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.by, func(a deviceName, _ []uint32) bool { return a.JID == jid })
}

// forget drops somebody, or an address of ours.
func (f *followers) forget(jid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.by, func(who, own string) bool { return who == jid || own == jid })
}

// dropThose takes off what concerns an address.
func (a *agenda) dropThose(jid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.items, func(key string, _ appointment) bool { return slices.Contains(strings.Split(key, "/"), jid) })
}

// Forget takes back what operators decided about somebody's keys.
func (o *Operator) Forget(ctx context.Context, jid string) error {
	err := o.state.Update(ctx, func(ctx context.Context) error {
		judged, err := o.omemo.Judged(ctx)
		if err != nil {
			return err
		}
		for _, j := range judged {
			if j.JID != jid || !j.Decided {
				continue
			}
			if err := o.omemo.Decide(ctx, jid, j.Identity, omemo.Undecided); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget the decisions about %s: %w", jid, err)
	}
	return nil
}
