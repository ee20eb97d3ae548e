package xmppside

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"lockbridge/gateway"
)

// puppet is an address of ours that speaks for a person of another network. It is kept in State, and never changes
// hands: keyed by network and person, its address is drawn once.
type puppet struct {
	JID    string          `json:"jid"` // bare
	Person gateway.Person  `json:"person"`
	Rooms  map[string]stay `json:"rooms,omitempty"` // by room, where it is an occupant
	Device bool            `json:"device,omitempty"`
	Spoke  bool            `json:"spoke,omitempty"` // it has sealed something
	Photo  photo           `json:"photo,omitzero"`
}

// stay is a puppet's presence in a room.
type stay struct {
	Nick    string `json:"nick"`
	Name    string `json:"name"`              // the display name that the nick was made of
	Granted bool   `json:"granted,omitempty"` // we made it a member
}

func (p puppet) clone() puppet {
	p.Rooms = maps.Clone(p.Rooms)
	if p.Rooms == nil {
		p.Rooms = map[string]stay{}
	}
	return p
}

// personKey is who a person is, without what they are called.
type personKey struct{ network, id string }

func keyOf(p gateway.Person) personKey { return personKey{p.Network, p.ID} }

// people are all puppets. mu is never held during I/O; saving is held while one is written, never inside Accept.
type people struct {
	saving sync.Mutex

	mu       sync.Mutex
	byPerson map[personKey]puppet
	byJID    map[string]personKey
	byRoom   map[string]map[personKey]bool
}

func (pp *people) set(p puppet) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	key := keyOf(p.Person)
	for room := range pp.byPerson[key].Rooms {
		delete(pp.byRoom[room], key)
	}
	for room := range p.Rooms {
		if pp.byRoom[room] == nil {
			pp.byRoom[room] = map[personKey]bool{}
		}
		pp.byRoom[room][key] = true
	}
	pp.byPerson[key], pp.byJID[p.JID] = p, key
}

func (pp *people) ofJID(jid string) (puppet, bool) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	p, ok := pp.byPerson[pp.byJID[jid]]
	return p, ok && p.JID == jid
}

// all lists the puppets.
func (pp *people) all() []puppet {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	return slices.Collect(maps.Values(pp.byPerson))
}

func (pp *people) of(person gateway.Person) (puppet, bool) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	p, ok := pp.byPerson[keyOf(person)]
	return p, ok
}

// in lists the puppets that are in a room.
func (pp *people) in(room string) []puppet {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	var out []puppet
	for key := range pp.byRoom[room] {
		out = append(out, pp.byPerson[key])
	}
	slices.SortFunc(out, func(a, b puppet) int { return cmpString(a.JID, b.JID) })
	return out
}

// rooms lists the rooms that any puppet is in.
func (pp *people) rooms() []string {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	var out []string
	for room, who := range pp.byRoom {
		if len(who) > 0 {
			out = append(out, room)
		}
	}
	return out
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// load reads the puppets from State.
func (s *Side) load(ctx context.Context) error {
	stored, err := s.deps.State.List(ctx, statePuppet)
	if err != nil {
		return fmt.Errorf("read the puppets: %w", err)
	}
	for key, value := range stored {
		var p puppet
		if err := json.Unmarshal(value, &p); err != nil {
			return fmt.Errorf("read puppet %s: %w", key, err)
		}
		s.people.set(p)
	}
	if err := s.loadFaces(ctx); err != nil {
		return err
	}
	if err := s.checkEpoch(ctx); err != nil {
		return err
	}
	if err := s.loadContacts(ctx); err != nil {
		return err
	}
	if err := s.loadMoved(ctx); err != nil {
		return err
	}
	return s.loadDevices(ctx)
}

// editPuppet changes a person's puppet, which it makes if there is none, and keeps it.
func (s *Side) editPuppet(ctx context.Context, person gateway.Person, edit func(ctx context.Context, p *puppet) error) (puppet, error) {
	s.people.saving.Lock()
	defer s.people.saving.Unlock()
	old, known := s.people.of(person)
	if !known {
		jid, err := s.freeJID(person)
		if err != nil {
			return puppet{}, err
		}
		old = puppet{JID: jid, Person: person}
		old.Person.Avatar = "" // Photo is what of it is shown
	}
	was, err := json.Marshal(old)
	if err != nil {
		return puppet{}, err
	}
	var p puppet
	err = s.deps.State.Update(ctx, func(ctx context.Context) error {
		p = old.clone()
		if person.Name != "" {
			p.Person.Name = person.Name
		}
		if err := edit(ctx, &p); err != nil {
			return err
		}
		value, err := json.Marshal(p)
		if err != nil || known && bytes.Equal(value, was) {
			return err
		}
		return s.deps.State.PutMany(ctx, map[string][]byte{puppetKey(person): value})
	})
	if err != nil {
		return puppet{}, fmt.Errorf("keep the puppet of %s on %s: %w", person.ID, person.Network, err)
	}
	s.people.set(p)
	return p, nil
}

// freeJID draws an address that nobody else has.
func (s *Side) freeJID(person gateway.Person) (string, error) {
	for attempt := range 100 {
		jid, err := puppetJID(person, s.domain, attempt)
		if err != nil {
			return "", fmt.Errorf("make an address for %s: %w", person.ID, err)
		}
		if _, taken := s.people.ofJID(jid); !taken && jid != s.self {
			return jid, nil
		}
	}
	return "", fmt.Errorf("make an address for %s: all like it are taken", person.ID)
}

// voice is what speaks in a room for somebody.
type voice struct {
	jid    string // bare, ours
	name   string // what to call it where the stanza has to tell
	prefix string // who it is that the gateway speaks for; "" for a puppet
}

// voiceFor returns the person's puppet, brought into the room if need be, or the gateway where there is none to be had.
func (s *Side) voiceFor(ctx context.Context, l *link, r *room, person gateway.Person) (voice, error) {
	if person.IsZero() {
		return voice{jid: s.self}, nil
	}
	relay := voice{jid: s.self, prefix: gateway.CleanName(person.Label())}
	if r.conf().Puppets == gateway.PuppetsNone {
		return relay, nil
	}
	p, known := s.people.of(person)
	if _, in := p.Rooms[r.jid]; !in && len(s.people.in(r.jid)) >= r.conf().MaxPuppets {
		return relay, nil
	}
	s.wear(ctx, l, person)
	if known && r.nickIn(p.JID) != "" && (p.Device || !r.conf().Seal) && (person.Name == "" || p.Rooms[r.jid].Name == person.Name) {
		return voice{jid: p.JID}, nil
	}
	p, err := s.bringIn(ctx, l, r, person)
	if err == nil {
		return voice{jid: p.JID}, nil
	}
	if gateway.IsDrop(err) {
		return voice{}, err
	}
	if ctx.Err() != nil || condition(err) == "" && !errors.Is(err, errMayNotGrant) {
		return voice{}, fmt.Errorf("bring in the puppet of %s: %w", person.ID, err)
	}
	r.puppetTrouble(err)
	return relay, nil
}

// bringIn makes a puppet an occupant: device first, then membership, then presence. Clients seal for every member, and
// some refuse to send as soon as one of them has no device.
func (s *Side) bringIn(ctx context.Context, l *link, r *room, person gateway.Person) (puppet, error) {
	before, _ := s.people.of(person)
	grant, err := r.needsMembership(before.JID)
	if err != nil {
		return before, err
	}
	if grant {
		if banned, err := r.isBanned(ctx, l, before.JID); err != nil || banned {
			return before, cmp.Or(err, errBanned)
		}
	}
	p, err := s.editPuppet(ctx, person, func(ctx context.Context, p *puppet) error {
		if grant { // noted before it is done, so that it is undone whatever happens
			p.Rooms[r.jid] = stay{Nick: p.Rooms[r.jid].Nick, Name: p.Rooms[r.jid].Name, Granted: true}
		}
		if r.conf().Seal {
			return s.ensureDevice(ctx, p)
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	if p.Device && !before.Device {
		if _, err := s.device(ctx, p.JID); err != nil { // remembered from now on
			return p, err
		}
		s.announceDevice(ctx, l, r, p.JID)
	}
	if grant {
		if err := r.affiliate(ctx, l, p.JID, "member"); err != nil {
			return p, fmt.Errorf("make a puppet a member: %w", err)
		}
	}
	name := p.Person.Label()
	nick, err := s.takeNick(ctx, l, r, p, name)
	if condition(err) == "forbidden" {
		err = errBanned
	}
	if err != nil {
		return p, err
	}
	return s.editPuppet(ctx, person, func(_ context.Context, p *puppet) error {
		p.Rooms[r.jid] = stay{Nick: nick, Name: name, Granted: p.Rooms[r.jid].Granted}
		return nil
	})
}

// takeNick enters the room, or changes the nick there, under a nick that is nobody else's.
func (s *Side) takeNick(ctx context.Context, l *link, r *room, p puppet, name string) (string, error) {
	plain := false
	for attempt := 0; ; attempt++ {
		nick := pickNick(name, p.Person, plain, r.nicks(p.JID), attempt)
		var err error
		if r.nickIn(p.JID) != "" {
			err = r.rename(ctx, l, p.JID, nick)
		} else {
			err = r.join(ctx, l, p.JID, nick, el(nsMUC, "history", "maxstanzas", "0"))
		}
		switch c := condition(err); {
		case err == nil:
			return r.nickIn(p.JID), nil // the room may have changed it (status 210)
		case attempt >= 5:
			return "", err
		case c == "jid-malformed" && !plain:
			plain = true // the server's idea of a nick is narrower than ours
		case c != "conflict":
			return "", err
		}
	}
}

// restorePuppets brings those of a room's puppets back that which names. Their presences go out together; nobody waits for
// one after the other.
func (s *Side) restorePuppets(ctx context.Context, l *link, r *room, which func(jid string) bool) error {
	if r.conf().Puppets == gateway.PuppetsNone {
		return nil
	}
	var joins []*node
	var nicks []string
	for _, p := range s.people.in(r.jid) {
		if p.Rooms[r.jid].Nick == "" || !which(p.JID) {
			continue // it never came in, or is in
		}
		x := el(nsMUC, "x").add(el(nsMUC, "history", "maxstanzas", "0"))
		if r.conf().Password != "" {
			x.add(el(nsMUC, "password").say(r.conf().Password))
		}
		nicks = append(nicks, p.Rooms[r.jid].Nick)
		joins = append(joins, el("", "presence", "from", p.JID+"/"+resource, "to", r.jid+"/"+p.Rooms[r.jid].Nick).add(x, s.capsNode(), s.photoNode(p.JID)))
	}
	if len(joins) == 0 {
		return nil
	}
	r.expect(nicks, true)
	return l.send(joins...)
}

// dismiss takes the puppet of somebody who left out of the room: its membership first, so that nobody seals for it any
// more.
func (s *Side) dismiss(ctx context.Context, l *link, r *room, b gateway.Membership) error {
	p, known := s.people.of(b.Who)
	st, in := p.Rooms[r.jid]
	if !known || !in {
		return nil
	}
	if st.Granted {
		banned, err := r.isBanned(ctx, l, p.JID)
		if err == nil && !banned {
			err = r.affiliate(ctx, l, p.JID, "none")
		}
		if err != nil && condition(err) == "" {
			return err
		}
	}
	if nick := r.nickIn(p.JID); nick != "" {
		if err := l.send(r.leaving(p.JID, nick).add(partingWord(b))); err != nil {
			return err
		}
		r.lost(p.JID)
	}
	_, err := s.editPuppet(ctx, b.Who, func(_ context.Context, p *puppet) error {
		delete(p.Rooms, r.jid)
		return nil
	})
	return err
}

// partingWord says why somebody is gone; nil if that is not known.
func partingWord(b gateway.Membership) *node {
	word := b.Reason
	if how := map[gateway.Change]string{gateway.Kick: "kicked", gateway.Ban: "banned"}[b.Change]; how != "" {
		word = how
		if !b.By.IsZero() {
			word += " by " + gateway.CleanName(b.By.Label())
		}
		if b.Reason != "" {
			word += ": " + b.Reason
		}
	}
	if word == "" {
		return nil
	}
	return el("", "status").say(word)
}
