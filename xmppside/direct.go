package xmppside

import (
	"context"
	"time"

	"lockbridge/gateway"
)

// Direct chats are not bridged yet. What comes directly is answered politely, and key transports are opened, since
// they carry nothing but a ratchet's progress.

// ourAddress reports whether a bare JID is the gateway's or a known puppet's.
func (s *Side) ourAddress(jid string) bool {
	if jid == s.self {
		return true
	}
	_, ok := s.people.ofJID(jid)
	return ok
}

// readDirect takes in a message to one of our addresses; r is the room if it came through one.
func (s *Side) readDirect(ctx context.Context, l *link, r *room, m *message, b *batch) {
	to := bare(m.get("to"))
	if !s.ourAddress(to) {
		return
	}
	if m.sealed != nil {
		s.readKeys(l, r, m, b)
	}
	c := decodeContent(m, "")
	if kind := m.get("type"); kind != "chat" && kind != "normal" && kind != "" {
		return
	}
	if c.body == "" && !c.sealed || m.child(nsMUCUser, "x").child(nsMUCUser, "invite") != nil {
		return
	}
	if m.sealed != nil && isTransport(m.sealed) {
		return
	}
	who := bare(m.get("from"))
	if r != nil {
		who = m.get("from")
	}
	if c.delayed || !s.polite.free(who, s.now(), politePause) {
		return
	}
	text := "Sorry, direct chats are not bridged yet, so nobody read this. What is said in the room is."
	answer := el("", "message", "type", "chat", "from", m.get("to"), "to", m.get("from")).add(el("", "body").say(text))
	if r != nil {
		answer = privateMessage(to+"/"+resource, m.get("from"), text)
	}
	b.then(func() {
		if err := l.send(answer); err != nil {
			s.log.Debug("a polite answer got lost", "err", err)
		}
	})
}

// contact answers presence outside of rooms: everybody may see our addresses' presence, and is answered when they ask.
func (s *Side) contact(ctx context.Context, l *link, p *node) {
	to, from := bare(p.get("to")), p.get("from")
	if !s.ourAddress(to) || domainOf(from) == s.domain {
		return
	}
	available := el("", "presence", "from", to+"/"+resource, "to", from).add(s.statusNode(to), capsNode())
	var out []*node
	switch p.get("type") {
	case "subscribe":
		out = []*node{el("", "presence", "type", "subscribed", "from", to, "to", bare(from)), available}
	case "unsubscribe":
		out = []*node{el("", "presence", "type", "unsubscribed", "from", to, "to", bare(from))}
	case "subscribed":
		out = []*node{available}
		l.later(func(ctx context.Context) { s.readAgain(ctx, bare(from)) })
	case "probe":
		out = []*node{available}
	case "":
		l.later(func(ctx context.Context) { s.sendLastItem(ctx, l, to, p) })
	}
	if len(out) == 0 {
		return
	}
	if err := l.send(out...); err != nil && ctx.Err() == nil {
		s.log.Debug("presence could not be answered", "to", from, "err", err)
	}
}

// readAgain has somebody's device list read anew, which may have been closed to us so far.
func (s *Side) readAgain(ctx context.Context, jid string) {
	s.devices.pardon(jid)
	err := s.deps.State.Update(ctx, func(ctx context.Context) error {
		return s.devices.change(ctx, jid, func(list *deviceList) bool {
			known := !list.Read.IsZero()
			list.Read = time.Time{}
			return known
		})
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
