package xmppside

import (
	"context"
	"strings"
	"sync"
	"time"

	"lockbridge/gateway"
)

const (
	nsStates = "http://jabber.org/protocol/chatstates"

	typingLasts  = 30 * time.Second // clients say once that somebody types, and may vanish then
	receiptLasts = time.Minute
	maxTypists   = 1024
)

// typists are those who are known to type, each with the place: that somebody does not is news for them alone.
type typists struct {
	mu  sync.Mutex
	now map[typist]bool
}

type typist struct {
	at     gateway.Address
	person string
}

// news notes whether somebody types, and reports whether others are to be told.
func (t *typists) news(who typist, on bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !on {
		known := t.now[who]
		delete(t.now, who)
		return known
	}
	if t.now == nil || len(t.now) >= maxTypists {
		t.now = map[typist]bool{}
	}
	t.now[typist{who.at, strings.Clone(who.person)}] = true
	return true
}

// decodePassing reads what a message tells besides words: the chat state (XEP-0085) and how far its sender got one of
// ours (XEP-0184, XEP-0333), one of each at most.
func decodePassing(n *node) (out []gateway.Body) {
	var typing *gateway.Typing
	var receipt *gateway.Receipt
	for _, k := range n.kids {
		id := gateway.Ref{Native: k.get("id")}
		switch {
		case k.space == nsStates && typing == nil:
			typing = &gateway.Typing{On: k.name == "composing"}
		case id.Native == "" || k.space != nsMarkers && k.space != nsReceipts:
		case k.name == "received" && receipt == nil:
			receipt = &gateway.Receipt{Target: id, State: gateway.Delivered}
		case k.space == nsMarkers && (k.name == "displayed" || k.name == "acknowledged"):
			receipt = &gateway.Receipt{Target: id, State: gateway.Displayed}
		}
	}
	if typing != nil {
		out = append(out, *typing)
	}
	if receipt != nil {
		out = append(out, *receipt)
	}
	return out
}

// passing is the event of what expires; nil where the config carries no such thing.
func (s *Side) passing(at gateway.Address, sender gateway.Person, body gateway.Body) *gateway.Event {
	_, _, direct := at.Direct()
	ev := &gateway.Event{At: at, Sender: sender, Time: s.now(), Body: body}
	switch b := body.(type) {
	case gateway.Typing:
		if !s.deps.Privacy.Typing {
			return nil
		}
		ev.Expires = ev.Time.Add(typingLasts)
	case gateway.Receipt:
		if !s.wantsMarkers(direct) || !direct && b.State != gateway.Displayed {
			return nil
		}
		ev.Expires = ev.Time.Add(receiptLasts)
	}
	return ev
}

// wantsMarkers reports whether it is carried who has read what.
func (s *Side) wantsMarkers(direct bool) bool {
	how := s.deps.Privacy.Receipts
	return how == gateway.ReceiptsAll || direct && how == gateway.ReceiptsDirect
}

// pass appends what expires to the batch, unless nobody has to know.
func (s *Side) pass(b *batch, at gateway.Address, sender gateway.Person, bodies ...gateway.Body) {
	for _, body := range bodies {
		if t, ok := body.(gateway.Typing); ok && !s.typists.news(typist{at, sender.ID}, t.On) {
			continue
		}
		if ev := s.passing(at, sender, body); ev != nil {
			b.arrivals = append(b.arrivals, gateway.Arrival{At: at, Passing: true, Read: func(context.Context) (*gateway.Event, error) { return ev, nil }})
		}
	}
}

// readPassing takes in what a room's message tells in the clear besides words.
func (s *Side) readPassing(what said, b *batch) {
	conf := what.room.conf()
	if what.content.delayed || what.message.archive != "" || conf.Seal && !conf.KeepMetadata {
		return
	}
	s.pass(b, conf.Address, what.from.person, decodePassing(what.message.node)...)
}

// saidSo ends the typing of somebody who has said something.
func (s *Side) saidSo(what said, b *batch) {
	if !what.content.delayed {
		s.pass(b, what.room.conf().Address, what.from.person, gateway.Typing{})
	}
}

// readDirectPassing is readPassing for what is said to one of our addresses.
func (s *Side) readDirectPassing(r *room, m *message, own string, b *batch) {
	p, ours := s.people.ofJID(own)
	from, refusal := s.writer(r, m)
	direct := s.deps.Direct
	if !ours || refusal != "" || from.ID == "" || m.child(nsDelay, "delay") != nil || direct.Refuses(from, p.Person) != "" ||
		direct.Seals(s.deps.Network) && !direct.KeepsMetadata() {
		return
	}
	for _, body := range decodePassing(m.node) {
		if receipt, ok := body.(gateway.Receipt); ok {
			if _, _, told := parseOriginID(receipt.Target.Native); !told {
				continue // it was nothing of ours
			}
		}
		s.pass(b, gateway.DirectAddress(from, p.Person), from, body)
	}
}

// enclosedPassing is what an envelope without words tells, for a Read; nil if that is nothing. The legacy version has no
// envelope: then inner is nil.
func (s *Side) enclosedPassing(inner *node, at gateway.Address, sender gateway.Person, sealed gateway.Sealing) *gateway.Event {
	if inner == nil {
		return nil
	}
	for _, body := range decodePassing(inner) {
		if ev := s.passing(at, sender, body); ev != nil {
			ev.Sealed = sealed
			return ev
		}
	}
	return nil
}

// Pass implements gateway.Passer. Only who has a puppet there already is shown.
func (s *Side) Pass(ctx context.Context, room gateway.Address, ev *gateway.Event) {
	l := s.currentLink()
	if l == nil {
		return
	}
	var stanza *node
	if local, remote, ok := room.Direct(); ok {
		stanza = s.passDirect(ctx, local, remote, ev.Body)
	} else if r := s.carried().byName[room.ID]; r != nil {
		stanza = s.passRoom(r, ev)
	}
	if stanza == nil || ctx.Err() != nil {
		return
	}
	if err := l.send(stanza); err != nil {
		s.log.Debug("what passes got lost", "room", room.ID, "err", err)
	}
}

func (s *Side) passRoom(r *room, ev *gateway.Event) *node {
	p, known := s.people.of(ev.Sender)
	if !known || r.nickIn(p.JID) == "" || r.conf().Seal && !r.conf().KeepMetadata {
		return nil
	}
	what := encodePassing(ev.Body, stanzaIDOf)
	if what == nil {
		return nil
	}
	return el("", "message", "type", "groupchat", "from", p.JID+"/"+resource, "to", r.jid).add(what...)
}

func (s *Side) passDirect(ctx context.Context, local, remote gateway.Person, body gateway.Body) *node {
	p, met := s.people.of(remote)
	if !met {
		return nil
	}
	k, err := s.contactOf(ctx, p.JID, local.ID)
	if err != nil || (k.Sealed || s.deps.Direct.Seals(local.Network)) && !s.deps.Direct.KeepsMetadata() {
		return nil
	}
	what := encodePassing(body, idOf)
	if what == nil {
		return nil
	}
	to := s.chat(p.JID, local.ID, k.Room)
	n := el("", "message", "type", "chat", "from", p.JID+"/"+resource, "to", to.to).add(what...)
	if to.to != to.jid {
		n.add(el(nsMUCUser, "x"), el(nsHints, "no-copy"))
	}
	return n
}

// encodePassing writes what expires; nil where XMPP says nothing of it. idFor finds the id by which markers name a
// message: in rooms the room's, else its sender's (XEP-0333, section 4).
func encodePassing(body gateway.Body, idFor func(gateway.Ref) string) []*node {
	switch b := body.(type) {
	case gateway.Typing:
		state := "active"
		if b.On {
			state = "composing"
		}
		return []*node{el(nsStates, state), el(nsHints, "no-store")}
	case gateway.Receipt:
		if id := idFor(b.Target); id != "" && b.State == gateway.Displayed {
			return []*node{el(nsMarkers, "displayed", "id", id), el(nsHints, "store")}
		}
	}
	return nil
}

// passes fills in which of what expires can be shown in a room, or in a direct chat, where what is not sealed goes in the
// clear if open.
func (s *Side) passes(caps *gateway.Caps, direct, open bool) {
	caps.Typing = open && s.deps.Privacy.Typing
	caps.Receipt = open && s.wantsMarkers(direct)
}

// stanzaIDOf is the stanza-id of the last part of what ref points at; "" where the room gave none.
func stanzaIDOf(ref gateway.Ref) string {
	for i := len(ref.Parts) - 1; i >= 0; i-- {
		if native := ref.Parts[i].Native; isStanzaID(native) {
			return native
		}
	}
	return ""
}

// idOf is the id that somebody gave the last part of what they said to one of ours; "" where it is not known.
func idOf(ref gateway.Ref) string {
	for i := len(ref.Parts) - 1; i >= 0; i-- {
		if id, _, ok := parseDirectNative(ref.Parts[i].Native); ok {
			return id
		}
		for _, alias := range ref.Parts[i].Also {
			if _, id, ok := strings.Cut(alias, "\x1f"); ok && (strings.HasPrefix(alias, kindID) || strings.HasPrefix(alias, kindSealed)) {
				return id
			}
		}
	}
	return ""
}
