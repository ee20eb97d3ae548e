package xmppside

import (
	"context"
	"errors"
	"sync"
	"time"

	"lockbridge/gateway"
)

// A puppet that nobody has met yet is made when somebody who may have direct chats turns to its address, and the other
// network says that its person exists. What was sent to the address waits for that answer.

const (
	findLimit    = 10 * time.Second // for another network's answer
	meetWindow   = time.Minute
	maxMeets     = 10      // new puppets that one domain may ask for in meetWindow
	maxHeld      = 512     // stanzas that wait for any answer
	maxHeldFor   = 64      // that wait for one
	maxHeldBytes = 8 << 20 // of them
	maxDomains   = 1024    // whose requests are counted
	nobodyPause  = 2 * time.Minute
)

// meeting is an address about whose person another network is being asked.
type meeting struct {
	person  gateway.Person
	queries [][]byte
	items   []item // messages and presences, in stream order
	// done: the worker may go on with the items. Then fault is what is wrong with the address; "" if nothing is.
	done  bool
	fault string
}

// meetings are the addresses that are being asked about. What they hold is bounded.
type meetings struct {
	mu     sync.Mutex
	of     map[string]*meeting // by bare JID
	held   int
	size   int
	asked  map[string][]time.Time // by asking domain
	nobody pauses                 // addresses that were found to be nobody's
}

// hold keeps a stanza until it is known whether the address is somebody's. begun: it is the first one.
func (ms *meetings) hold(own, asker string, person gateway.Person, it item, query bool, now time.Time) (begun bool, fault string) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if ms.held >= maxHeld || ms.size+len(it.raw) > maxHeldBytes {
		return false, "resource-constraint"
	}
	m := ms.of[own]
	switch {
	case m != nil && len(m.items)+len(m.queries) >= maxHeldFor:
		return false, "resource-constraint"
	case m == nil:
		if !ms.countLocked(domainOf(asker), now) {
			return false, "resource-constraint"
		}
		if ms.of == nil {
			ms.of = map[string]*meeting{}
		}
		m, begun = &meeting{person: person}, true
		ms.of[own] = m
	}
	if query {
		m.queries = append(m.queries, it.raw)
	} else {
		m.items = append(m.items, it)
	}
	ms.held, ms.size = ms.held+1, ms.size+len(it.raw)
	return begun, ""
}

// countLocked reports whether a domain may ask for one more puppet now, and if so counts it.
func (ms *meetings) countLocked(domain string, now time.Time) bool {
	if ms.asked == nil || len(ms.asked) >= maxDomains {
		ms.asked = map[string][]time.Time{}
	}
	var recent []time.Time
	for _, at := range ms.asked[domain] {
		if now.Sub(at) < meetWindow {
			recent = append(recent, at)
		}
	}
	free := len(recent) < maxMeets
	if free {
		recent = append(recent, now)
	}
	ms.asked[domain] = recent
	return free
}

// end settles what an address is, and returns the queries that waited for it.
func (ms *meetings) end(own, fault string) (queries [][]byte) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.of[own]
	m.done, m.fault, queries, m.queries = true, fault, m.queries, nil
	for _, raw := range queries {
		ms.held, ms.size = ms.held-1, ms.size-len(raw)
	}
	return queries
}

// release returns the items that waited, once it is settled what the address is.
func (ms *meetings) release(own string) (items []item, fault string) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.of[own]
	if m == nil || !m.done {
		return nil, ""
	}
	delete(ms.of, own)
	for _, it := range m.items {
		ms.held, ms.size = ms.held-1, ms.size-len(it.raw)
	}
	return m.items, m.fault
}

// all lists the addresses that something waits for, and whether it is settled what they are.
func (ms *meetings) all() map[string]meeting {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	out := map[string]meeting{}
	for own, m := range ms.of {
		out[own] = *m
	}
	return out
}

// underWay reports whether it is not settled yet what an address is.
func (ms *meetings) underWay(own string) bool {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.of[own]
	return m != nil && !m.done
}

// personAt says for whom an address of ours would speak if they exist. false: it is no puppet's address, or that of a
// network that we do not know.
func (s *Side) personAt(own string) (gateway.Person, bool) {
	id, network, ok := splitPuppet(own, s.domain)
	if !ok {
		return gateway.Person{}, false
	}
	for _, id := range []string{id, "@" + id} {
		who, reason := s.deps.Direct.Named(id+puppetMark+network, s.deps.Network)
		if reason != "" || who.ID != id || who.Network != network {
			continue
		}
		again, err := puppetJID(who, s.domain, 0)
		return who, err == nil && again == own
	}
	return gateway.Person{}, false
}

// meet has a stanza wait until it is known whether the address that it was sent to is somebody's. It returns the error
// condition to answer with where that is not to be found out.
func (s *Side) meet(l *link, own, asker string, it item, query bool) (fault string) {
	person, ok := s.personAt(own)
	user := gateway.Person{Network: s.deps.Network, ID: normalBare(asker)}
	switch {
	case !ok, s.deps.Find == nil, user.ID == "", s.deps.Direct.Refuses(user, person) != "":
		return "item-not-found"
	case !s.meetings.nobody.over(own, s.now()):
		return "item-not-found"
	}
	begun, fault := s.meetings.hold(own, asker, person, it, query, s.now())
	if fault != "" || !begun {
		return fault
	}
	if !l.later(func(ctx context.Context) { s.introduce(ctx, l, own, person) }) {
		s.settle(context.Background(), l, own, "resource-constraint")
	}
	return ""
}

var errOtherAddress = errors.New("the person goes by another address")

// introduce finds out whether an address is somebody's, makes the puppet, and lets go on what waited.
func (s *Side) introduce(ctx context.Context, l *link, own string, person gateway.Person) {
	err := s.makePuppet(ctx, own, person)
	fault := ""
	switch {
	case l.isDown():
		return // the next connection goes on with it
	case errors.Is(err, gateway.ErrNobody), errors.Is(err, errOtherAddress):
		fault = "item-not-found"
		s.meetings.nobody.free(own, s.now(), nobodyPause)
	case err != nil:
		fault = "remote-server-timeout"
		s.log.Warn("it could not be found out whether somebody exists", "network", person.Network, "err", err)
	}
	s.settle(ctx, l, own, fault)
}

func (s *Side) makePuppet(ctx context.Context, own string, person gateway.Person) error {
	if _, met := s.people.ofJID(own); met {
		return nil // settled while the stanza was on its way here
	}
	finding, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	found, err := s.deps.Find(finding, person)
	if err != nil {
		return err
	}
	if p, met := s.people.of(found); met && p.JID == own {
		return nil // a delivery was quicker
	} else if met {
		return errOtherAddress
	}
	if jid, err := s.freeJID(found); err != nil || jid != own || found.Network != person.Network {
		return errOtherAddress
	}
	_, err = s.editPuppet(ctx, found, func(context.Context, *puppet) error { return nil })
	return err
}

// resumeMeetings takes up what the connection before this one left.
func (s *Side) resumeMeetings(l *link) {
	for own, m := range s.meetings.all() {
		if m.done {
			l.queue.push(item{met: own})
		} else {
			l.later(func(ctx context.Context) { s.introduce(ctx, l, own, m.person) })
		}
	}
}

// settle lets go on what waited for an address: queries here and now, the rest in the worker.
func (s *Side) settle(ctx context.Context, l *link, own, fault string) {
	for _, raw := range s.meetings.end(own, fault) {
		answers := s.replyTo(ctx, l, raw)
		if fault != "" {
			answers = s.faultIn(raw, fault)
		}
		if err := l.send(answers...); err != nil && ctx.Err() == nil {
			s.log.Warn("a query could not be answered", "err", err)
		}
	}
	l.queue.push(item{met: own}) // a full queue is read before long, and with it what is held
}

// faultIn answers a stanza with an error, unless it is one that expects no answer.
func (s *Side) faultIn(raw []byte, fault string) []*node {
	t, err := parseTag(raw)
	if err != nil || t.get("type") == "error" || t.get("type") == "headline" {
		return nil
	}
	kind := "cancel"
	if fault != "item-not-found" {
		kind = "wait"
	}
	if t.name == "presence" {
		if t.get("type") != "subscribe" || kind == "wait" {
			return nil
		}
		return []*node{el("", "presence", "type", "unsubscribed", "from", bare(t.get("to")), "to", bare(t.get("from")))}
	}
	return []*node{el("", t.name, "type", "error", "id", t.get("id"), "from", t.get("to"), "to", t.get("from")).add(errorNode(kind, fault))}
}

// readMet goes on with what waited for an address, once it is settled what that is.
func (s *Side) readMet(ctx context.Context, l *link, own string, b *batch) {
	items, fault := s.meetings.release(own)
	for _, it := range items {
		if fault == "" {
			s.read(ctx, l, it, b)
			continue
		}
		s.sendAfter(l, b, s.faultIn(it.raw, fault)...)
	}
}

// sendAfter sends once the batch is durable. What is lost is a courtesy.
func (s *Side) sendAfter(l *link, b *batch, stanzas ...*node) {
	if len(stanzas) == 0 {
		return
	}
	b.then(func() {
		if err := l.send(stanzas...); err != nil {
			s.log.Debug("an answer got lost", "err", err)
		}
	})
}
