package xmppside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

const (
	nsReceipts   = "urn:xmpp:receipts"
	nsMarkers    = "urn:xmpp:chat-markers:0"
	nsConference = "jabber:x:conference"

	// helpPause is how long somebody who writes to the gateway itself gets no more help.
	helpPause = time.Minute
)

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
	from, why := s.writer(r, m)
	in.from = from
	switch {
	case !in.content.says():
	case why != "":
		in.refuse(why, b)
	case from.ID == "":
	case in.turnsAway() != "":
		s.sendAfter(l, b, in.sendBack(in.turnsAway()))
	default:
		b.arrivals = append(b.arrivals, gateway.Arrival{At: in.at(), Native: in.native(), Also: in.content.aliases(from.ID), Read: in.read})
		b.then(in.finish)
	}
}

// turnsAway says why nothing is opened for the sender, and nothing kept of them; "" if the message is taken in. What
// members of rooms seal matters for their sessions, even where they may have no chat.
func (in *incomingDirect) turnsAway() string {
	s := in.side
	if at := in.at(); max(len(at.ID), len(at.Mirror().ID)) > gateway.MaxRoom {
		return "the address is too long to be carried"
	}
	if in.with.IsZero() || s.knows(in.from.ID) {
		return ""
	}
	return s.deps.Direct.Refuses(in.from, in.with)
}

// sendBack makes the answer to a stranger's message. A room must not get an error, it would put the puppet out for it.
func (in *incomingDirect) sendBack(reason string) *node {
	m := in.message
	if in.room != nil {
		return in.word("Nobody read this: " + reason + ".")
	}
	return el("", "message", "type", "error", "id", m.get("id"), "from", m.get("to"), "to", m.get("from")).
		add(errorNode("auth", "forbidden", el(nsStanzas, "text").say(reason)))
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
	return directNative(m.get("from"), c.id, append([]byte(c.body+"\x00"+c.retracts), m.sealedBytes()...), in.room == nil)
}

// read opens and decodes. It runs inside Accept's transaction.
func (in *incomingDirect) read(ctx context.Context) (*gateway.Event, error) {
	in.due = nil
	s, c := in.side, in.content
	var ev *gateway.Event
	var err error
	switch {
	case len(in.message.sealed) > 0:
		ev, err = in.open(ctx)
	case c.sealed:
		err = gateway.Unreadable(in.from, errors.New("sealed by something else than OMEMO"))
	default:
		ev = in.event(c, c.body, gateway.Sealing{})
	}
	if ev == nil || err != nil {
		return nil, err
	}
	if in.with.IsZero() {
		in.then(func() { in.help(ev.Sealed.Protection != gateway.Plain) })
		return nil, nil
	}
	if !in.refused(ev) {
		in.then(in.confirm)
	}
	return ev, s.editContact(ctx, in.own, in.from.ID, func(k *contact) { k.Room = in.way() })
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

// refused reports whether the gateway will not carry an event, and tell why.
func (in *incomingDirect) refused(ev *gateway.Event) bool {
	direct := in.side.deps.Direct
	_, takesBack := ev.Body.(gateway.Retract)
	plain := direct.Seals(in.from.Network) && ev.Sealed.Protection == gateway.Plain && !takesBack
	return plain || direct.Refuses(in.from, in.with) != ""
}

// open decrypts a message for our address. Without a text it still moved a ratchet, or healed one.
func (in *incomingDirect) open(ctx context.Context) (*gateway.Event, error) {
	s := in.side
	got, then, err := s.unseal(ctx, unsealing{
		link: in.link, message: in.message, content: in.content, owns: []string{in.own}, senders: []string{in.from.ID}, to: in.own,
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
	case !c.hasBody && c.retracts == "":
		return nil, nil
	}
	return in.event(c, got.text(), got.sealing()), nil
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

// event makes the event of a text that the sender is known to have written.
func (in *incomingDirect) event(c content, text string, sealed gateway.Sealing) *gateway.Event {
	kind := aliasKind(in.side.deps.Direct.Seals(in.from.Network) || sealed.Protection != gateway.Plain)
	alias := func(id string) gateway.Ref { return gateway.Ref{Native: messageAlias(kind, in.from.ID, id)} }
	if c.retracts != "" { // most clients take sealed words back in the clear
		return &gateway.Event{Sender: in.from, Time: c.time, Sealed: sealed, Body: gateway.Retract{Target: alias(c.retracts)}}
	}
	ev := c.event(in.from, text, sealed, true)
	if msg, ok := ev.Body.(gateway.Message); ok && c.replyTo != "" { // ours is known by its delivery key, theirs by the id that they gave it
		msg.ReplyTo = alias(c.replyTo)
		if _, part, ours := parseOriginID(c.replyTo); ours && part == "" {
			msg.ReplyTo.Native = c.replyTo
		}
		ev.Body = msg
	}
	return ev
}

// confirm answers a request for a receipt (XEP-0184), now that the message is safe with us.
func (in *incomingDirect) confirm() {
	m, id := in.message, in.content.id
	if id == "" || in.content.delayed || m.child(nsReceipts, "request") == nil && m.child(nsMarkers, "markable") == nil {
		return
	}
	answer := el("", "message", "type", "chat", "from", in.own+"/"+resource, "to", m.get("from")).
		add(el(nsReceipts, "received", "id", id), el(nsHints, "store"))
	if in.room != nil {
		answer.add(el(nsMUCUser, "x"))
	}
	if err := in.link.send(answer); err != nil {
		in.side.log.Debug("a receipt got lost", "err", err)
	}
}

// refuse answers politely what cannot be carried.
func (in *incomingDirect) refuse(why string, b *batch) {
	s, from := in.side, in.message.get("from")
	if in.content.delayed || !s.polite.free(from, s.now(), helpPause) {
		return
	}
	s.sendAfter(in.link, b, in.word("Sorry, nobody read this: "+why+"."))
}

func (in *incomingDirect) reminder() string { return "remind/" + in.own + "/" + in.from.ID }

// remindLater sends our device list to somebody whose client left our device out, and tells them, unless it finds the
// device before; once a day.
func (in *incomingDirect) remindLater() {
	s, key, own, from := in.side, in.reminder(), in.own, in.message.get("from")
	if !s.lately.free(key, s.now(), namePause) {
		return
	}
	text := "What you write here is not encrypted for my device, so it does not arrive. Please have your client read my keys anew."
	s.agenda.put(key, s.now().Add(remindPause), func(ctx context.Context, l *link) {
		out := []*node{in.word(text)}
		if in.room == nil {
			out = append(out, s.listEvents(ctx, own, bare(from))...)
		}
		_ = l.send(out...) // a hint, nothing more
	})
}

// word is a message without content of anybody's, to the client that wrote, in the clear.
func (in *incomingDirect) word(text string) *node {
	if in.room != nil {
		return privateMessage(in.own+"/"+resource, in.message.get("from"), text)
	}
	return el("", "message", "type", "chat", "from", in.own+"/"+resource, "to", in.message.get("from")).add(el("", "body").say(text))
}

// tell says something to the sender about what they wrote, once a day.
func (in *incomingDirect) tell(text string) {
	from := in.message.get("from")
	if in.content.delayed || !in.side.lately.free("tell/"+in.own+"/"+from, in.side.now(), namePause) {
		return
	}
	if err := in.link.send(in.word(text)); err != nil {
		in.side.log.Debug("a word about a message got lost", "err", err)
	}
}

// help tells somebody who writes to the gateway itself what it is, sealed if they wrote sealed.
func (in *incomingDirect) help(sealed bool) {
	s, l := in.side, in.link
	if in.content.delayed || !s.polite.free(in.from.ID, s.now(), helpPause) {
		return
	}
	to := s.chat(in.own, in.from.ID, in.way())
	l.later(func(ctx context.Context) {
		if err := s.note(ctx, l, to, voice{jid: in.own, name: s.cfg.Nick}, s.helpText(ctx, in.from), sealed); err != nil && ctx.Err() == nil {
			s.log.Info("help could not be given", "to", in.from.ID, "err", err)
		}
	})
}

// helpText is what the gateway says of itself.
func (s *Side) helpText(ctx context.Context, to gateway.Person) string {
	var b strings.Builder
	b.WriteString("This is a gateway between XMPP and other networks; nobody reads what is written to this address.\n")
	if s.deps.Direct.Allows(to) {
		fmt.Fprintf(&b, "To write to somebody elsewhere, write to NAME%%NETWORK@%s. So nick%%libera@%s is nick on the network libera, and "+
			`alice\3aexample.org%%matrix@%s is @alice:example.org on the network matrix (\3a stands for a colon).`+"\n", s.domain, s.domain, s.domain)
	} else {
		b.WriteString("Direct chats with people elsewhere are not open to you; ask whoever runs this gateway.\n")
	}
	if s.deps.Direct.Seals(s.deps.Network) {
		b.WriteString("Turn on OMEMO: what comes in the clear is not carried.\n")
	}
	fmt.Fprintf(&b, "All keys of addresses at %s are the gateway's own: it opens what you encrypt for them, and passes it on.", s.domain)
	if dev, err := s.device(ctx, s.self); err == nil {
		b.WriteString(" The fingerprint of this address is " + dev.Identity.Fingerprint() + ".")
	}
	return b.String()
}

// readRefusal takes in a message that came back. In a room its delivery is waiting for it; a direct one counted as sent,
// so its sender is told.
func (s *Side) readRefusal(r *room, m *message, b *batch) {
	key, part, ok := parseOriginID(m.get("id"))
	if !ok {
		return
	}
	refused := errorOf(m.node)
	s.waits.end(key, refused)
	p, ours := s.people.ofJID(bare(m.get("to")))
	if !ours || part != "" || r != nil && resourceOf(m.get("from")) == "" {
		return
	}
	from, _ := s.writer(r, m)
	if from.ID == "" {
		return
	}
	at := gateway.DirectAddress(gateway.Person{Network: from.Network, ID: from.ID}, p.Person)
	b.arrivals = append(b.arrivals, gateway.Arrival{At: at, Native: kindBounce + key, Read: func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Sender: from, Body: gateway.Receipt{
			Target: gateway.Ref{Native: key}, State: gateway.Undeliverable, Reason: explainBounce(from.ID, refused),
		}}, nil
	}})
}

// explainBounce says why a message came back, for whoever wrote it. What the other server wrote about it is not for their
// eyes.
func explainBounce(who string, e *stanzaError) string {
	switch {
	case slices.Contains([]string{"remote-server-not-found", "remote-server-timeout"}, e.Condition):
		return "the server " + gateway.CleanName(domainOf(who)) + " cannot be reached"
	case slices.Contains([]string{"service-unavailable", "item-not-found", "recipient-unavailable", "gone"}, e.Condition):
		return gateway.CleanName(who) + " does not exist or cannot be reached"
	case slices.Contains([]string{"forbidden", "not-allowed", "not-authorized", "policy-violation", "not-acceptable", "subscription-required"}, e.Condition):
		return gateway.CleanName(who) + " does not accept messages from you"
	}
	return "the server " + gateway.CleanName(domainOf(who)) + " refused it (" + gateway.CleanName(e.Condition) + ")"
}
