package xmppside

import (
	"cmp"
	"fmt"
	"slices"

	"mellium.im/xmpp/jid"

	"lockbridge/gateway"
)

// carried are the rooms that we carry. A set is never changed, only replaced.
type carried struct {
	all      []*room
	byJID    map[string]*room
	byName   map[string]*room // as the config writes them
	replaced chan struct{}    // closed when another set takes its place
}

// wanted is what makes a set.
type wanted struct {
	rooms []gateway.Room
	moved map[string]string // where rooms of the config have moved to, by their ID there
}

func (s *Side) carried() *carried { return s.rooms.Load() }

// roomOf finds the room that an address is of.
func (s *Side) roomOf(from string) *room { return s.carried().byJID[bare(from)] }

// parseRoom returns the normalised address of a room of the config.
func parseRoom(conf gateway.Room) (string, error) {
	addr, ok := roomJID(conf.ID)
	if !ok {
		return "", fmt.Errorf("bridge %q: %q is no address of an XMPP room, like lobby@conference.example.org", conf.Bridge, conf.ID)
	}
	return addr.String(), nil
}

func roomJID(s string) (jid.JID, bool) {
	addr, err := jid.Parse(s)
	return addr, err == nil && addr.Localpart() != "" && addr.Resourcepart() == ""
}

// IsRoom reports whether an address can be a room's: with a local part, and without a nick.
func IsRoom(address string) bool {
	_, ok := roomJID(address)
	return ok
}

// carry changes what is wanted, and puts a set of rooms in place of the one before. What is in both stays as it is.
func (s *Side) carry(change func(w *wanted)) []error {
	s.carrying.Lock()
	defer s.carrying.Unlock()
	change(&s.wanted)
	old := s.rooms.Load()
	set := &carried{byJID: map[string]*room{}, byName: map[string]*room{}, replaced: make(chan struct{})}
	var bad []error
	for _, conf := range s.wanted.rooms {
		addr, err := parseRoom(conf)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		addr = cmp.Or(s.wanted.moved[conf.ID], addr)
		if set.byJID[addr] != nil {
			bad = append(bad, fmt.Errorf("bridge %q: room %s is in another bridge, too", conf.Bridge, addr))
			continue
		}
		var r *room
		if old != nil {
			r = old.byName[conf.ID]
		}
		if r != nil && r.jid == addr {
			r.ask(conf)
		} else {
			r = newRoom(s, conf, addr)
		}
		set.all = append(set.all, r)
		set.byJID[addr], set.byName[conf.ID] = r, r
	}
	s.rooms.Store(set)
	if old != nil {
		close(old.replaced)
	}
	return bad
}

// conf is what is asked for of the room.
func (r *room) conf() *gateway.Room { return r.asked.Load() }

// ask changes what is asked for of a room that is carried already.
func (r *room) ask(conf gateway.Room) {
	was := r.asked.Swap(&conf)
	if was.Seal == conf.Seal && was.Password == conf.Password && was.Puppets == conf.Puppets && was.Bridge == conf.Bridge &&
		slices.Equal(was.Others, conf.Others) && slices.Equal(was.Clear, conf.Clear) {
		return
	}
	r.truth.Lock()
	r.truthOn = nil // who reads along may have changed
	r.truth.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking++
	if was.Seal != conf.Seal { // whether the room is fit for that is not known yet
		r.changes++
		r.reread = true
		r.holding = r.holding || conf.Seal
	}
	r.changedLocked()
	r.poke()
}
