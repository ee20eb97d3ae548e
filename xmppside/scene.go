package xmppside

import (
	"net/url"
	"strings"

	"lockbridge/gateway"
)

// scene is what the room adds to reading what somebody said in it.
func (r *room) scene(from sender) scene {
	return scene{
		public: !r.conf().Seal,
		own: func(id string, sealed bool) gateway.Ref {
			return gateway.Ref{Native: messageAlias(aliasKind(sealed), from.known(), id)}
		},
		said: func(id string) gateway.Ref {
			if from.weak {
				return gateway.Ref{Native: messageAlias(kindStay, from.known(), id)}
			}
			return gateway.Ref{Native: id}
		},
		ref:   func(id string) gateway.Ref { return gateway.Ref{Native: id} },
		named: r.named,
		nicks: r.puppetNicks,
	}
}

// believes reports whether what stands in the clear in the room's messages counts: references of what is sealed, and acts
// that have no text.
func (r *room) believes() bool {
	conf := r.conf()
	return !conf.Seal || conf.KeepMetadata
}

// puppetNicks are the people of other networks that have an occupant in the room, by its nick.
func (r *room) puppetNicks() map[string]gateway.Person {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]gateway.Person{}
	for nick, jid := range r.ours {
		if p, ok := r.side.people.ofJID(jid); ok {
			out[nick] = p.Person
		}
	}
	return out
}

// named is who is meant by a URI (RFC 5122): an occupant, one of our puppets or, where real addresses are shown, somebody
// who is there. Nobody else: what a message says of others is not known to be true.
func (r *room) named(uri string) gateway.Person {
	at, ok := strings.CutPrefix(uri, "xmpp:")
	at, _, _ = strings.Cut(at, "?")
	at, err := url.PathUnescape(at)
	if !ok || err != nil {
		return gateway.Person{}
	}
	who := normalBare(at)
	if p, ours := r.side.people.ofJID(who); ours {
		return p.Person
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for nick, o := range r.occupants {
		if who == r.jid && nick == resourceOf(at) || who != r.jid && r.nonAnonymous && o.real == who && who != "" {
			if jid := r.ours[nick]; jid != "" {
				p, _ := r.side.people.ofJID(jid)
				return p.Person
			}
			return r.personLocked(sender{nick: nick, real: o.real}, o.id)
		}
	}
	return gateway.Person{}
}

// allAreTwo reports whether all that was said here lately was sealed for devices of OMEMO 2 alone: then everything is.
func (r *room) allAreTwo() bool { return r.side.allTwo.are(r.jid) }
