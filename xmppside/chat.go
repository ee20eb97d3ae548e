package xmppside

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lockbridge/gateway"
)

// chat is how a person is written to by an address of ours.
type chat struct {
	audience
	own    string // bare
	sealed bool   // nothing may be said in the clear
}

// chat answers people the way they wrote last: by private messages where they used those of a room and are still there.
func (s *Side) chat(own, who, room string) chat {
	c := chat{audience: audience{jid: who, to: who, log: s.log, metadata: s.deps.Direct.KeepsMetadata()}, own: own}
	c.asks = (c.metadata || !s.deps.Direct.Seals(s.deps.Network)) && s.wantsMarkers(true)
	r := s.carried().byJID[room]
	if r == nil || r.nickIn(own) == "" {
		return c
	}
	if nick, there := r.nickOf(gateway.Person{Network: s.deps.Network, ID: who}); there && r.showsAddresses() {
		c.to = r.jid + "/" + nick
	}
	return c
}

// showsAddresses reports whether everybody in the room sees real addresses.
func (r *room) showsAddresses() bool { return r.has(&r.nonAnonymous) }

// Find implements gateway.Finder. No server tells strangers who has an account, so every address is taken for somebody's
// that can be one.
func (s *Side) Find(_ context.Context, who gateway.Person) (gateway.Person, error) {
	jid := normalBare(who.ID)
	if jid == "" || domainOf(jid) == jid || domainOf(jid) == s.domain || s.carried().byJID[jid] != nil {
		return gateway.Person{}, gateway.ErrNobody
	}
	who.ID = jid
	return who, nil
}

// deliverDirect is Deliver for a chat of two people: remote's puppet speaks to local.
func (s *Side) deliverDirect(ctx context.Context, run []gateway.Delivery, local, remote gateway.Person) []gateway.Outcome {
	if found, err := s.Find(ctx, local); err != nil || found.ID != local.ID {
		return all(run, gateway.Dropf("%s cannot be written to directly", gateway.CleanName(local.ID)))
	}
	l := s.currentLink()
	if l == nil {
		return all(run[:1], gateway.Later(time.Second, errLinkDown))
	}
	to, err := s.openChat(ctx, local, nameIn(run, remote))
	if err != nil {
		return all(run[:1], err)
	}
	s.wear(ctx, l, run[len(run)-1].Event.Sender)
	jobs := make([]*job, 0, len(run))
	for i := range run {
		jobs = append(jobs, s.directJob(to, run[i]))
	}
	if err := s.recall(ctx, jobs); err != nil {
		return all(run[:1], err)
	}
	if err := s.prepareDirect(ctx, l, to, jobs); err != nil {
		return all(run[:1], err)
	}
	for _, j := range jobs {
		if to.to != to.jid && j.about == nil {
			s.whispers.note(j.Key, to.jid)
		}
	}
	return s.writeDirect(ctx, l, to, jobs)
}

// nameIn is the person with the name that they go by in the run.
func nameIn(run []gateway.Delivery, person gateway.Person) gateway.Person {
	for i := range run {
		if who := run[i].Event.Sender; who.Network == person.Network && who.ID == person.ID && who.Name != "" {
			person.Name = who.Name
		}
	}
	return person
}

// openChat returns the chat of a person with the puppet of another, which is made if there is none.
func (s *Side) openChat(ctx context.Context, local, remote gateway.Person) (chat, error) {
	p, met := s.people.of(remote)
	if !met || remote.Name != "" && remote.Name != p.Person.Name {
		var err error
		if p, err = s.editPuppet(ctx, remote, func(context.Context, *puppet) error { return nil }); err != nil {
			return chat{}, err
		}
	}
	k, err := s.contactOf(ctx, p.JID, local.ID)
	c := s.chat(p.JID, local.ID, k.Room)
	c.sealed = k.Sealed || s.deps.Direct.Seals(local.Network)
	return c, err
}

// directJob turns a delivery into a message of the puppet. A report is one, too, under an id that no delivery has: that
// it comes back means nothing to anybody.
func (s *Side) directJob(to chat, d gateway.Delivery) *job {
	d.Seal = d.Seal || to.sealed // since it was accepted the config may have changed, or how the other one writes
	j := &job{Delivery: &d, voice: voice{jid: to.own, name: s.nameOf(to.own)}}
	switch b := d.Event.Body.(type) {
	case gateway.Message, gateway.Edit, gateway.Retract, gateway.Reaction:
	case gateway.Receipt:
		event := *d.Event
		event.Body = gateway.Message{Style: gateway.StyleNotice, Text: gateway.Text{Plain: gateway.ReportText(yourMessage, b.Reason)}}
		d.Event, j.about = &event, &b
	default:
		j.err = gateway.Dropf("a direct chat on XMPP cannot show this")
	}
	return j
}

const yourMessage = "Your message"

// prepareDirect makes the bytes of each job that has none yet.
func (s *Side) prepareDirect(ctx context.Context, l *link, to chat, jobs []*job) error {
	var sealed, clear []*job
	for _, j := range jobs {
		if !j.unsaid() {
			continue
		}
		if err := s.compose(ctx, l, to.audience, j, j.Seal); err != nil {
			return err
		}
		if j.err != nil && !gateway.IsDrop(j.err) {
			break // nothing after it is said now
		}
		switch {
		case j.err != nil:
		case j.about != nil && j.Seal && !s.knows(to.jid): // their server is not asked for keys because they were refused
			s.reportInClear(to, j)
		case j.Seal:
			sealed = append(sealed, j)
		default:
			s.inClear(to.audience, j)
			clear = append(clear, j)
		}
	}
	if err := s.keep(ctx, clear); err != nil || len(sealed) == 0 {
		return err
	}
	if err := s.seal(ctx, l, to.audience, sealed); err != nil {
		return err
	}
	for _, j := range sealed {
		if j.about != nil && gateway.IsDrop(j.err) {
			s.reportInClear(to, j)
		}
	}
	return nil
}

// reportInClear reports to somebody who cannot be sealed for, without a word of what was said: the message comes back as
// an error. A room must not get one, it would put the puppet out for it.
func (s *Side) reportInClear(to chat, j *job) {
	j.err = nil
	id, from, ok := parseDirectNative(j.about.Target.Native)
	if !ok || to.to != to.jid || from == "" {
		s.inClear(to.audience, j)
		return
	}
	j.parts[0].raw = el("", "message", "type", "error", "id", id, "from", to.own, "to", to.jid+"/"+from).
		add(errorNode("cancel", "not-acceptable", el(nsStanzas, "text").say(gateway.ReportText(yourMessage, j.about.Reason)))).bytes()
}

// writeDirect sends what was prepared. A client may confirm a message, and many do not: but our server reads the stream
// in order, so when it has answered a ping that follows, it has taken the messages, and whatever it refused at once has
// come back.
func (s *Side) writeDirect(ctx context.Context, l *link, to chat, jobs []*job) []gateway.Outcome {
	var stanzas [][]byte
	jobs = startable(jobs)
	for _, j := range jobs {
		if j.err != nil || j.done {
			continue
		}
		for _, p := range j.parts {
			if !p.done {
				p.wait = s.waits.expect(p.id, to.to, to.to == to.jid)
				defer s.waits.forget(p.id)
				stanzas = append(stanzas, p.raw)
			}
		}
	}
	var err error
	if len(stanzas) > 0 {
		if err = l.write(stanzas...); err == nil {
			err = s.awaitServer(ctx, l)
		}
	}
	out := make([]gateway.Outcome, 0, len(jobs))
	for _, j := range jobs {
		var parts []gateway.Part
		for _, p := range j.parts {
			parts = append(parts, gateway.Part{Name: p.name, Native: p.id})
			if p.wait == nil || j.err != nil {
				continue
			}
			select {
			case answer := <-p.wait:
				j.err = judgeDirect(to, answer)
			default:
				j.err = err
			}
		}
		switch {
		case j.err != nil:
			out = append(out, gateway.Failed(j.err))
		case j.about != nil:
			out = append(out, gateway.Sent())
		default:
			out = append(out, gateway.Sent(parts...))
		}
	}
	return out
}

// judgeDirect turns the answer to a direct message into what is to be done about it.
func judgeDirect(to chat, answer error) error {
	var e *stanzaError
	switch {
	case !errors.As(answer, &e):
		return answer
	case e.Type == "wait":
		return gateway.Later(time.Minute, fmt.Errorf("the message came back for now (%s)", e.Condition))
	}
	return gateway.Dropf("%s", explainBounce(to.jid, e))
}

// awaitServer waits until the server has read what was written so far, and what it sent back of it was looked at.
func (s *Side) awaitServer(ctx context.Context, l *link) error {
	_, err := l.ask(ctx, "get", s.self, s.domain, el(nsPing, "ping"))
	if err != nil && condition(err) == "" {
		return fmt.Errorf("wait until the server has taken the messages: %w", err)
	}
	passed := make(chan struct{})
	l.queue.push(item{passed: passed})
	ctx, cancel := context.WithTimeout(ctx, s.askTimeout)
	defer cancel()
	select {
	case <-passed:
	case <-ctx.Done(): // the database is slow: what comes back is told later
	case <-l.down:
	}
	return nil
}

// note says something for an address of ours, apart from any delivery. What must be sealed and cannot be is left out.
func (s *Side) note(ctx context.Context, l *link, to chat, v voice, text string, sealed bool) error {
	key, err := randomID()
	if err != nil {
		return err
	}
	j := &job{Delivery: &gateway.Delivery{Key: "note-" + key, Event: &gateway.Event{Body: gateway.Message{Text: gateway.Text{Plain: text}}}}, voice: v}
	j.say(encodeMessage(j.Event.Body.(gateway.Message), phrasing{}))
	if !sealed {
		s.inClear(to.audience, j)
		return l.write(j.parts[0].raw)
	}
	if err := s.seal(ctx, l, to.audience, []*job{j}); err != nil {
		return err
	}
	if j.err != nil {
		return j.err
	}
	// A delivery's stanza is kept until the gateway has finished it; nobody says a note again.
	err = s.deps.State.Update(ctx, func(ctx context.Context) error {
		return s.deps.State.PutMany(ctx, map[string][]byte{stateOut + j.Key: nil})
	})
	if err != nil {
		return fmt.Errorf("forget a note: %w", err)
	}
	return l.write(j.parts[0].raw)
}
