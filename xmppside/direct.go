package xmppside

import (
	"context"
	"errors"
	"slices"
	"time"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

const nsConference = "jabber:x:conference"

// ourAddress reports whether a bare JID is the gateway's or a known puppet's.
func (s *Side) ourAddress(jid string) bool {
	if jid == s.self {
		return true
	}
	_, ok := s.people.ofJID(jid)
	return ok
}

// incomingDirect is a message to one of our addresses between its arrival and what has to be done about it afterwards.
type incomingDirect struct {
	side    *Side
	link    *link
	room    *room // it came through one; nil
	message *message
	content content
	own     string         // ours, bare
	with    gateway.Person // whom our address speaks for; nobody: the gateway itself
	from    gateway.Person // its ID is the real bare JID

	// Read sets it, possibly several times; finish does it once.
	due []func()
}

// readDirect takes in a message to one of our addresses; r is the room if it came through one.
func (s *Side) readDirect(ctx context.Context, l *link, r *room, it item, m *message, b *batch) {
	kind := m.get("type")
	if kind != "chat" && kind != "normal" && kind != "" || m.child(nsMUCUser, "x").child(nsMUCUser, "invite") != nil || m.child(nsConference, "x") != nil {
		return // invitations: our occupants enter the rooms of bridges and no others
	}
	own := bare(m.get("to"))
	s.readMet(ctx, l, own, b)
	if !s.ourAddress(own) || s.meetings.underWay(own) {
		if r == nil && domainOf(m.get("from")) != s.domain {
			if fault := s.meet(l, own, m.get("from"), it, false); fault != "" {
				s.sendAfter(l, b, s.faultIn(it.raw, fault)...)
			}
		}
		return
	}
	in := &incomingDirect{side: s, link: l, room: r, message: m, content: decodeDirect(m), own: own}
	if p, ok := s.people.ofJID(own); ok {
		in.with = p.Person
	}
	if !in.content.says() {
		s.readReceipt(m)
		s.readDirectPassing(r, m, own, b)
		return
	}
	var refusal string
	if in.from, refusal = s.writer(r, m); refusal != "" {
		if in.with.IsZero() {
			in.helpOccupant(b)
		} else {
			in.refuse(refusal, b)
		}
		return
	}
	if in.from.ID == "" {
		return
	}
	if in.with.IsZero() && !s.knows(in.from.ID) { // nothing is opened for strangers, or they would fill State
		b.then(func() { in.help("", false) })
		return
	}
	if reason := in.turnsAway(); reason != "" {
		s.sendAfter(l, b, in.sendBack(reason))
		return
	}
	b.arrivals = append(b.arrivals, gateway.Arrival{At: in.at(), Native: in.native(), Also: in.aliases(), Old: in.content.delayed, Read: in.read})
	b.then(in.finish)
}

// decodeDirect reads a message that no room has touched: there is no id but its sender's.
func decodeDirect(m *message) content {
	c := decodeContent(m, "")
	c.stanzaID, c.subject = "", false
	if d := m.child(nsDelay, "delay"); d != nil {
		c.delayed = true
		c.time, _ = time.Parse(time.RFC3339, d.get("stamp")) // without a time it is now
	}
	return c
}

// writer is who wrote a direct message. A private message of a room that shows real addresses counts as one from the
// real address (XEP-0045, section 7.5); in others it is refused, for nobody could be sealed for and nobody be known again.
func (s *Side) writer(r *room, m *message) (from gateway.Person, refusal string) {
	from = gateway.Person{Network: s.deps.Network, ID: normalBare(m.get("from"))}
	if r != nil {
		who := r.senderOf(m, false)
		switch {
		case who.ours != "" || who.nick == "":
			return gateway.Person{}, ""
		case who.person.ID != who.real || who.real == "":
			return gateway.Person{}, "this room hides addresses, so private messages in it are not carried"
		}
		from = who.person
	}
	if domainOf(from.ID) == s.domain || domainOf(from.ID) == from.ID { // our own, or a server's
		return gateway.Person{}, ""
	}
	return from, ""
}

// at is the chat; what is written to the gateway itself belongs to none.
func (in *incomingDirect) at() gateway.Address {
	if in.with.IsZero() {
		return gateway.Address{Network: in.side.deps.Network, ID: in.from.ID}
	}
	return gateway.DirectAddress(in.from, in.with)
}

// native is the seen-key: the sender's full JID, the id and a hash of the payload. What has no id of its own and is not
// sealed may well be said twice.
func (in *incomingDirect) native() string {
	m, c := in.message, in.content
	if c.id == "" && len(m.sealed) == 0 {
		return ""
	}
	return directNative(m.get("from"), c.id, append([]byte(c.body+"\x00"+c.retracts+c.reactions()), m.sealedBytes()...), in.room == nil)
}

// read opens and decodes. It runs inside Accept's transaction.
func (in *incomingDirect) read(ctx context.Context) (*gateway.Event, error) {
	in.due = nil
	s, c, direct := in.side, in.content, in.side.deps.Direct
	var ev *gateway.Event
	var err error
	switch {
	case len(in.message.sealed) > 0:
		ev, err = in.open(ctx)
	case c.sealed:
		err = gateway.Unreadable(in.from, errors.New("sealed by something else than OMEMO"))
	case c.acts() && direct.Seals(in.from.Network) && !direct.KeepsMetadata():
		return nil, nil
	default:
		ev = c.event(in.from, "", gateway.Sealing{}, in.scene(false))
	}
	if ev == nil || err != nil {
		return nil, err
	}
	if !ev.Expires.IsZero() {
		if in.with.IsZero() || in.refused(ev) {
			return nil, nil
		}
		return ev, nil
	}
	if in.with.IsZero() {
		asked, _ := ev.Body.(gateway.Message)
		in.then(func() { in.help(asked.Text.Plain, ev.Sealed.Protection != gateway.Plain) })
		return nil, nil
	}
	if !in.refused(ev) {
		in.then(in.confirm)
		ev.Sender.Avatar = s.faces.ofOwner(in.from.ID)
		if ev.Sender.Name, err = in.name(ctx); err != nil {
			return nil, err
		}
	}
	return ev, s.editContact(ctx, in.own, in.from.ID, func(k *contact) {
		k.Room = in.way()
		if !acts(ev.Body) { // many clients do so in the clear, whatever they take back or react to
			k.Sealed = ev.Sealed.Protection != gateway.Plain
		}
	})
}

func (in *incomingDirect) then(f func()) { in.due = append(in.due, f) }

// finish does what reading found due. It runs once everything is durable.
func (in *incomingDirect) finish() {
	for _, f := range in.due {
		f()
	}
}

func (in *incomingDirect) way() string {
	if in.room == nil {
		return ""
	}
	return in.room.jid
}

// acts reports whether a body has no text that would have to be sealed.
func acts(b gateway.Body) bool {
	switch b.(type) {
	case gateway.Retract, gateway.Reaction:
		return true
	}
	return false
}

// refused reports whether the gateway will not carry an event, and tell why.
func (in *incomingDirect) refused(ev *gateway.Event) bool {
	direct := in.side.deps.Direct
	plain := direct.Seals(in.from.Network) && ev.Sealed.Protection == gateway.Plain && !acts(ev.Body)
	return plain || direct.Refuses(in.from, in.with) != ""
}

// open decrypts a message for our address. Without a text it still moved a ratchet, or healed one.
func (in *incomingDirect) open(ctx context.Context) (*gateway.Event, error) {
	s := in.side
	got, then, err := s.unseal(ctx, unsealing{
		link: in.link, message: in.message, content: in.content, owns: []string{in.own}, senders: []string{in.from.ID}, to: in.own, believe: s.deps.Direct.KeepsMetadata(),
	})
	if errors.Is(err, gateway.ErrStore) {
		return nil, err
	}
	in.then(then)
	switch {
	case errors.Is(err, omemo.ErrNotForUs):
		in.then(in.remindLater)
		return nil, gateway.Unreadable(in.from, err)
	case err != nil && in.message.carriesKeysOnly():
		return nil, nil // what it was to mend is mended by now, or will be
	case err != nil:
		return nil, gateway.Unreadable(in.from, err)
	case got == nil:
		return nil, nil
	}
	in.then(func() { s.agenda.drop(in.reminder()) })
	c := got.content
	switch {
	case got.Trust == omemo.Distrusted && got.Plain != nil:
		in.then(func() { in.tell("Nobody reads this: whoever runs this gateway distrusts the key of your device.") })
		return nil, nil
	case got.optOut && !c.hasBody:
		return &gateway.Event{Sender: in.from, Time: c.time, Sealed: got.sealing(), Body: gateway.Message{
			Style: gateway.StyleNotice, Text: gateway.Text{Plain: "asks for messages without encryption, which are not sent from here"},
		}}, nil
	case !c.hasBody && !got.proven:
		return nil, nil
	case c.isMute():
		return s.enclosedPassing(c.tells, in.at(), in.from, got.sealing()), nil
	}
	return c.event(in.from, got.lead(), got.sealing(), in.scene(true)), nil
}

// carriesKeysOnly reports whether nothing in the message has a text.
func (m *message) carriesKeysOnly() bool {
	for _, e := range m.sealed {
		if msg, err := omemo.ParseMessage(e.version, e.xml, omemo.Address{}); err != nil || msg.Payload != nil {
			return false
		}
	}
	return true
}

// scene is what the chat adds to reading what the other one said in it.
func (in *incomingDirect) scene(sealed bool) scene {
	own := func(id string, sealed bool) gateway.Ref {
		return gateway.Ref{Native: messageAlias(aliasKind(in.side.deps.Direct.Seals(in.from.Network) || sealed), in.from.ID, id)}
	}
	ref := func(id string) gateway.Ref { // what they said is known by the id that they gave it, what we said by ours
		if key, _, ours := parseOriginID(id); ours {
			return gateway.Ref{Native: id, Key: key}
		}
		return own(id, sealed)
	}
	said := func(id string) gateway.Ref { return own(id, sealed) }
	return scene{direct: true, public: !in.side.deps.Direct.Seals(in.from.Network), own: own, said: said, ref: ref}
}

// aliases are the ids by which later messages may name this one. The ids that some clients make look like ours, so who
// refers to one of those could mean either.
func (in *incomingDirect) aliases() []string {
	c := in.content
	out := c.aliases(in.from.ID)
	for _, id := range []string{c.id, c.origin} {
		if _, _, likeOurs := parseOriginID(id); likeOurs && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}
