package xmppside

import (
	"context"
	"strings"

	"lockbridge/gateway"
)

// answer answers queries until ctx ends. Several run side by side: the order of queries means nothing.
func (s *Side) answer(ctx context.Context, l *link) {
	for {
		select {
		case <-ctx.Done():
			return
		case raw := <-l.queries:
			if err := l.send(s.replyTo(ctx, l, raw)...); err != nil && ctx.Err() == nil {
				s.log.Warn("a query could not be answered", "err", err)
			}
		}
	}
}

// replyTo answers also what cannot be decoded.
func (s *Side) replyTo(ctx context.Context, l *link, raw []byte) []*node {
	iq, err := parseNode(raw)
	if to := bare(iq.get("to")); err == nil && to != s.domain && !s.ourAddress(to) {
		if fault := s.meet(l, to, iq.get("from"), item{raw: raw}, true); fault != "" {
			return s.faultIn(raw, fault)
		}
		return nil
	}
	if err == nil {
		return s.reply(ctx, iq)
	}
	t, tagErr := parseTag(raw)
	if tagErr != nil {
		return nil
	}
	return []*node{refusal(&node{attrs: t.attrs}, "modify", "bad-request")}
}

// reply makes the answer to a get or set, from exactly the address that was asked, and what has to be sent along with it.
// Clients compare that address, and take a missing answer for a broken contact.
func (s *Side) reply(ctx context.Context, iq *node) []*node {
	var payload *node
	if len(iq.kids) > 0 {
		payload = iq.kids[0]
	}
	if payload == nil {
		return []*node{refusal(iq, "modify", "bad-request")}
	}
	to := iq.get("to")
	domain, full := bare(to) == s.domain, strings.Contains(to, "/")
	get := iq.get("type") == "get"
	switch {
	case payload.name == "ping" && payload.space == nsPing:
		return []*node{result(iq, nil)}
	case payload.space == nsDiscoInfo && get:
		return []*node{s.discoInfo(iq, payload, domain, full)}
	case payload.space == nsDiscoItems && get:
		return []*node{s.discoItems(ctx, iq, domain, full)}
	case payload.space == nsVersion && get:
		return []*node{result(iq, el(nsVersion, "query").add(el(nsVersion, "name").say("Lockbridge")))}
	case payload.space == nsVCard && get && !full && !domain:
		return []*node{result(iq, s.vCard(ctx, bare(to)))}
	case payload.space == nsPubSub && !domain: // of an occupant's full address, too: Profanity asks that one
		return s.pubsub(ctx, iq, payload)
	case payload.space == nsPubSubOwn && !full && !domain:
		return []*node{refusal(iq, "auth", "forbidden")}
	}
	return []*node{refusal(iq, "cancel", "service-unavailable")}
}

func result(iq, payload *node) *node {
	return el("", "iq", "type", "result", "id", iq.get("id"), "from", iq.get("to"), "to", iq.get("from")).add(payload)
}

func refusal(iq *node, kind, condition string, more ...*node) *node {
	return el("", "iq", "type", "error", "id", iq.get("id"), "from", iq.get("to"), "to", iq.get("from")).
		add(errorNode(kind, condition, more...))
}

// nameOf is what an address of ours is called.
func (s *Side) nameOf(jid string) string {
	if p, ok := s.people.ofJID(jid); ok {
		return gateway.CleanName(p.Person.Label())
	}
	return s.cfg.Nick
}

func (s *Side) vCard(ctx context.Context, jid string) *node {
	name := s.nameOf(jid)
	return el(nsVCard, "vCard").add(el(nsVCard, "FN").say(name), el(nsVCard, "NICKNAME").say(name), photoCard(s.portrait(ctx, jid)))
}
