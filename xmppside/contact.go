package xmppside

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"lockbridge/gateway"
)

// contact is what State keeps of the dealings that somebody who may have direct chats has with an address of ours. A
// component has no roster at its server.
type contact struct {
	Follows  bool `json:"follows,omitempty"`  // they see our address's presence
	Followed bool `json:"followed,omitempty"` // our address sees theirs
	Asked    bool `json:"asked,omitempty"`    // for that
	// Room is the room through which they wrote last; "" if they wrote directly.
	Room string `json:"room,omitempty"`
	// Sealed: what they wrote last came sealed.
	Sealed bool `json:"sealed,omitempty"`
}

func contactKey(own, who string) string { return stateContact + own + "/" + who }

func parseContact(value []byte) (c contact, err error) {
	if value != nil {
		err = json.Unmarshal(value, &c)
	}
	return c, err
}

// followers knows of people who show their presence to an address of ours which one that is. Their servers show that one
// more than others.
type followers struct {
	mu sync.Mutex
	by map[string]string // real bare JID to ours
}

// of is "" for nobody's contact.
func (f *followers) of(who string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.by[who]
}

// set notes whether own sees the presence of who.
func (f *followers) set(own, who string, sees bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case sees && f.by == nil:
		f.by = map[string]string{who: own}
	case sees:
		f.by[who] = own
	case f.by[who] == own:
		delete(f.by, who)
	}
}

// contacts reads who has dealings with which address of ours, and calls f for each.
func (s *Side) contacts(ctx context.Context, f func(own, who string, c contact)) error {
	stored, err := s.deps.State.List(ctx, stateContact)
	if err != nil {
		return fmt.Errorf("read the contacts: %w", err)
	}
	for key, value := range stored {
		own, who, _ := strings.Cut(strings.TrimPrefix(key, stateContact), "/")
		c, err := parseContact(value)
		if err != nil {
			return fmt.Errorf("read contact %s: %w", key, err)
		}
		f(own, who, c)
	}
	return nil
}

func (s *Side) loadContacts(ctx context.Context) error {
	return s.contacts(ctx, func(own, who string, c contact) { s.followers.set(own, who, c.Followed) })
}

// contactOf reads a contact.
func (s *Side) contactOf(ctx context.Context, own, who string) (contact, error) {
	key := contactKey(own, who)
	found, err := s.deps.State.GetMany(ctx, []string{key})
	if err != nil {
		return contact{}, fmt.Errorf("recall a contact: %w", err)
	}
	return parseContact(found[key])
}

// editContact changes a contact inside a transaction.
func (s *Side) editContact(ctx context.Context, own, who string, edit func(*contact)) error {
	was, err := s.contactOf(ctx, own, who)
	if err != nil {
		return err
	}
	now := was
	edit(&now)
	if now == was {
		return nil
	}
	var value []byte
	if now != (contact{}) {
		if value, err = json.Marshal(now); err != nil {
			return err
		}
	}
	return s.deps.State.PutMany(ctx, map[string][]byte{contactKey(own, who): value})
}

// admits reports whether somebody may have direct chats with an address of ours.
func (s *Side) admits(who, own string) bool {
	user := gateway.Person{Network: s.deps.Network, ID: who}
	if p, ok := s.people.ofJID(own); ok {
		return s.deps.Direct.Refuses(user, p.Person) == ""
	}
	return s.deps.Direct.Allows(user)
}

// readContact takes in presence from outside of rooms. Everybody may see our addresses' presence. Those who may have
// direct chats are asked for theirs in turn: their servers then tell our address of their devices, and let it read the
// lists that are for contacts only.
func (s *Side) readContact(ctx context.Context, l *link, it item, p *node, b *batch) {
	own, from, kind := bare(p.get("to")), p.get("from"), p.get("type")
	who := normalBare(from)
	if who == "" || domainOf(who) == s.domain {
		return
	}
	s.readMet(ctx, l, own, b)
	if !s.ourAddress(own) || s.meetings.underWay(own) {
		if kind == "subscribe" || kind == "probe" {
			if fault := s.meet(l, own, from, it, false); fault != "" {
				s.sendAfter(l, b, s.faultIn(it.raw, fault)...)
			}
		}
		return
	}
	switch kind {
	case "":
		if hash := photoOf(p); hash != "" && s.admits(who, own) {
			s.faces.setOwner(who, hash)
			s.wantFace(directFaces, own, who, hash)
			s.seekFaces(l, directFaces)
		}
		l.later(func(ctx context.Context) { s.sendLastItem(ctx, l, own, p) })
	case "probe":
		s.sendAfter(l, b, s.available(own, from))
	case "subscribe", "unsubscribe", "subscribed", "unsubscribed":
		s.readSubscription(l, own, who, kind, b)
	}
}

// available is the presence of an address of ours.
func (s *Side) available(own, to string) *node {
	return el("", "presence", "from", own+"/"+resource, "to", to).add(s.statusNode(own), s.capsNode(), s.photoNode(own))
}

// readSubscription takes in a step of the handshake by which two addresses see each other's presence (RFC 6121, section
// 3), and answers it once it is durable. Of strangers nothing is kept, and nothing asked.
func (s *Side) readSubscription(l *link, own, who, kind string, b *batch) {
	admitted := s.admits(who, own)
	var out []*node
	if admitted || kind == "unsubscribe" || kind == "unsubscribed" {
		b.arrivals = append(b.arrivals, s.stateArrival(who, func(ctx context.Context) error {
			return s.editContact(ctx, own, who, func(c *contact) { out = s.handshake(own, who, kind, c) })
		}))
	} else {
		out = s.handshake(own, who, kind, &contact{Asked: true})
	}
	b.then(func() {
		if len(out) > 0 {
			if err := l.send(out...); err != nil {
				s.log.Debug("presence could not be answered", "to", who, "err", err)
			}
		}
		switch kind {
		case "subscribed":
			s.followers.set(own, who, admitted)
			if admitted {
				s.learnName(l, who) // before the first message, most times
			}
			l.later(func(ctx context.Context) { s.readAgain(ctx, who) })
		case "unsubscribe", "unsubscribed":
			s.followers.set(own, who, false)
		}
	})
}

// handshake is the answer to one step, which changes the contact.
func (s *Side) handshake(own, who, kind string, c *contact) []*node {
	step := func(kind string) *node { return el("", "presence", "type", kind, "from", own, "to", who) }
	known := c.Followed || c.Asked
	switch kind {
	case "subscribe":
		c.Follows, c.Asked = true, true
		if known {
			return []*node{step("subscribed"), s.available(own, who)}
		}
		return []*node{step("subscribed"), s.available(own, who), step("subscribe").add(el(nsNick, "nick").say(s.nameOf(own)))}
	case "subscribed":
		c.Followed = true
		return []*node{s.available(own, who)} // by its capabilities their server learns what to tell us
	case "unsubscribe":
		c.Follows, c.Followed, c.Asked = false, false, false
		if known {
			return []*node{step("unsubscribed"), step("unsubscribe")}
		}
		return []*node{step("unsubscribed")}
	}
	c.Followed, c.Asked = false, false // unsubscribed
	return nil
}

// greetChunk is how many presences are written at once.
const greetChunk = 100

// greet shows our addresses to their contacts, after a new connection.
func (s *Side) greet(ctx context.Context, l *link) {
	var out []*node
	err := s.contacts(ctx, func(own, who string, c contact) {
		if c.Follows && s.ourAddress(own) {
			out = append(out, s.available(own, who))
		}
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("contacts do not learn that we are here", "err", err)
	}
	for len(out) > 0 && ctx.Err() == nil {
		n := min(len(out), greetChunk)
		if err := l.send(out[:n]...); err != nil {
			return
		}
		out = out[n:]
	}
}

// readAgain has somebody's device list read anew, which may have been closed to us so far.
func (s *Side) readAgain(ctx context.Context, jid string) {
	s.devices.pardon(jid)
	err := s.deps.State.Update(ctx, func(ctx context.Context) error {
		for _, v := range s.versions {
			err := s.devices.change(ctx, listName{jid, v}, func(list *published) bool {
				known := !list.Read.IsZero()
				list.Read = time.Time{}
				return known
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("a device list is not read anew", "of", jid, "err", err)
	}
}

// statusNode says of whom an address is.
func (s *Side) statusNode(jid string) *node {
	if p, ok := s.people.ofJID(jid); ok {
		return el("", "status").say(gateway.CleanName(p.Person.Label()) + " on " + p.Person.Network)
	}
	return el("", "status").say("Bridge to other networks")
}
