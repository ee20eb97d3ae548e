package xmppside

import (
	"context"
	"errors"

	"lockbridge/gateway"
)

// Moderation (XEP-0425): the room itself takes back what somebody said, for a moderator. Its word comes from its own
// address, in the clear. Two versions are spoken: that of urn:xmpp:message-moderate:1, and the one before it.

// moderation is a message of the room that something was taken back.
type moderation struct {
	id       string // stanza-id
	by       string // the moderator's occupant; "" if the room does not tell
	occupant string // the same by occupant-id
	reason   string
}

// decodeModeration reads such a message; nil if it is none.
func decodeModeration(n *node) *moderation {
	held, moderated := n.child(nsRetract, "retract"), (*node)(nil)
	if moderated = held.child(nsModerate, "moderated"); moderated == nil {
		held = n.child(nsFasten, "apply-to")
		if moderated = held.child(nsModerated0, "moderated"); moderated.child(nsRetractOld, "retract") == nil {
			return nil
		}
	}
	if held.get("id") == "" {
		return nil
	}
	m := &moderation{id: held.get("id"), by: moderated.get("by"), occupant: moderated.child(nsOccupantID, "occupant-id").get("id")}
	for _, from := range []*node{held, moderated} {
		for _, kid := range from.kids {
			if kid.name == "reason" && m.reason == "" {
				m.reason = gateway.Shorten(gateway.CleanName(kid.text), gateway.MaxReason)
			}
		}
	}
	return m
}

// takeModeration takes in the room's word that something was taken back.
func (s *Side) takeModeration(what said, b *batch) {
	r, m := what.room, what.moderation
	by, ours := r.moderator(m)
	conf := r.conf()
	if ours || !r.believes() && !r.allAreTwo() { // it is done already, or nothing in the clear counts here
		return
	}
	reason := m.reason
	if conf.Seal {
		reason = ""
	}
	b.arrivals = append(b.arrivals, gateway.Arrival{
		At: conf.Address, Native: what.content.native(what.message), Old: what.content.delayed,
		Read: func(context.Context) (*gateway.Event, error) {
			return &gateway.Event{Sender: by, Time: what.content.time, Body: gateway.Retract{
				Target: gateway.Ref{Native: m.id}, Reason: reason, Moderated: true,
			}}, nil
		},
	})
}

// moderator is who took something back, and whether it was one of us.
func (r *room) moderator(m *moderation) (who gateway.Person, ours bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	nick := resourceOf(m.by)
	if normalBare(m.by) != r.jid || nick == "" {
		return gateway.Person{Network: r.conf().Network, ID: r.jid, Name: "a moderator"}, false
	}
	if r.ours[nick] != "" {
		return gateway.Person{}, true
	}
	s, id := sender{nick: nick}, ""
	if r.givesOccupantIDs {
		id = m.occupant
	}
	if o := r.occupants[nick]; o != nil && (id == "" || o.id == id) {
		s.real, id = o.real, o.id
	} else if id != "" {
		s.real = r.realOf[id]
	}
	return r.personLocked(s, id), domainOf(s.real) == r.side.domain
}

// mayModerate reports whether the gateway can take back what others said in the room.
func (r *room) mayModerate() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	self := r.occupants[r.nick]
	return r.moderates != "" && self != nil && self.role == "moderator"
}

// moderate takes back what somebody of this network said in the room, by the gateway's own power there.
func (s *Side) moderate(ctx context.Context, l *link, r *room, b gateway.Retract) error {
	refused := gateway.Dropf("this bridge may not remove messages in %s", r.jid)
	ids := stanzaIDs(b.Target.Parts)
	if len(ids) == 0 || !r.mayModerate() {
		return refused
	}
	reason := b.Reason
	if r.conf().Seal {
		reason = ""
	}
	done := false
	for _, id := range ids {
		_, err := l.ask(ctx, "set", r.fullSelf(), r.jid, encodeModeration(r.knows(), id, reason))
		var e *stanzaError
		switch {
		case err == nil:
			done = true
		case !errors.As(err, &e):
			return err
		}
	}
	if !done {
		return refused
	}
	return nil
}

func (r *room) knows() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moderates
}

// encodeModeration asks a room to take back a message, in the version that it knows.
func encodeModeration(version, id, reason string) *node {
	because := func(space string) *node {
		if reason == "" {
			return nil
		}
		return el(space, "reason").say(reason)
	}
	if version == nsModerate {
		return el(nsModerate, "moderate", "id", id).add(el(nsRetract, "retract", "id", id), because(nsModerate))
	}
	return el(nsFasten, "apply-to", "id", id).
		add(el(nsModerated0, "moderate").add(el(nsRetractOld, "retract"), because(nsModerated0)))
}

// stanzaIDs are the ids that the room gave to the parts of a message which its people said.
func stanzaIDs(parts []gateway.Part) []string {
	var out []string
	for _, p := range parts {
		if _, _, ours := voiceOf(p); !ours && isStanzaID(p.Native) && len(out) < maxParts {
			out = append(out, p.Native)
		}
	}
	return out
}
