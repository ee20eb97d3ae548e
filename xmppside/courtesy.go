package xmppside

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lockbridge/gateway"
)

// What our addresses answer of themselves to those who write to them: receipts, and words that hold nothing of what
// anybody said.

const (
	nsReceipts = "urn:xmpp:receipts"
	nsMarkers  = "urn:xmpp:chat-markers:0"

	// helpPause is how long somebody who writes to the gateway itself gets no more help.
	helpPause = time.Minute
)

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

// help answers somebody who writes to the gateway itself: who is in a room that they are in, if they ask for that, else
// what the gateway is. It is sealed if they wrote sealed.
func (in *incomingDirect) help(text string, sealed bool) {
	s, l := in.side, in.link
	command, about, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(strings.TrimSpace(text)), "!"), " ")
	pause := in.from.ID
	if command == commandWho {
		pause += "/" + command
	}
	if in.content.delayed || !s.polite.free(pause, s.now(), helpPause) {
		return
	}
	to := s.chat(in.own, in.from.ID, in.way())
	l.later(func(ctx context.Context) {
		answer := ""
		if command == commandWho {
			answer = s.whoText(ctx, in.from.ID, in.room, normalBare(about))
		}
		if answer == "" {
			answer = s.helpText(ctx, in.from)
		}
		if err := s.note(ctx, l, to, voice{jid: in.own, name: s.cfg.Nick}, answer, sealed); err != nil && ctx.Err() == nil {
			s.log.Info("help could not be given", "to", in.from.ID, "err", err)
		}
	})
}

// helpOccupant answers somebody who writes to the gateway itself in a room that hides addresses, with what everybody there
// may ask aloud.
func (in *incomingDirect) helpOccupant(b *batch) {
	s, l, at := in.side, in.link, in.room.conf().Address
	command := commandHelp
	if strings.TrimPrefix(strings.ToLower(strings.TrimSpace(in.content.body)), "!") == commandWho {
		command = commandWho
	}
	if s.deps.Answer == nil || in.content.delayed || !s.polite.free(in.message.get("from")+"/"+command, s.now(), helpPause) {
		return
	}
	b.then(func() {
		l.later(func(ctx context.Context) {
			if err := l.send(in.word(s.deps.Answer(ctx, at, command))); err != nil {
				s.log.Debug("help got lost", "err", err)
			}
		})
	})
}

// commandWho asks who is in a room, or on the other sides of it; commandHelp what there is to ask.
const (
	commandWho  = "who"
	commandHelp = "help"
)

// whoText says who is on the other sides of a room: of the one through which somebody asks, the one that they name, or the
// only one that they are in. Of a room that they are not in they learn nothing, not even that we carry it.
func (s *Side) whoText(ctx context.Context, who string, r *room, named string) string {
	if s.deps.Answer == nil {
		return ""
	}
	var in []*room
	for _, other := range s.carried().all {
		if other == r || r == nil && (named == "" || named == other.jid) && other.holds(who) {
			in = append(in, other)
		}
	}
	switch {
	case len(in) == 1:
		return s.deps.Answer(ctx, in[0].conf().Address, commandWho)
	case named != "":
		return "You are in no room of that address that I join with others."
	case len(in) == 0:
		return "You are in none of the rooms that I join with others."
	}
	return "You are in several rooms that I join with others: write \"who ROOM@SERVER\"."
}

// holds reports whether somebody is in the room by their real address.
func (r *room) holds(real string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.occupants {
		if o.real == real {
			return r.joined
		}
	}
	return false
}

// helpText is what the gateway says of itself.
func (s *Side) helpText(ctx context.Context, to gateway.Person) string {
	var b strings.Builder
	b.WriteString("This is a gateway between XMPP and other networks; nobody reads what is written to this address.\n")
	if s.deps.Direct.Allows(to) {
		fmt.Fprintf(&b, "To write to somebody elsewhere, write to NAME%%NETWORK@%s. For example, nick%%libera@%s would be nick on a network libera, and "+
			`alice\3aexample.org%%matrix@%s would be @alice:example.org on a network matrix (\3a stands for a colon).`+"\n", s.domain, s.domain, s.domain)
	} else {
		b.WriteString("Direct chats with people elsewhere are not open to you; ask whoever runs this gateway.\n")
	}
	if s.deps.Direct.Seals(s.deps.Network) {
		b.WriteString("Turn on OMEMO: what comes in the clear is not carried.\n")
	}
	if s.deps.Answer != nil {
		b.WriteString("To see who is on the other sides of a room that you are in, write \"who\", or \"who ROOM@SERVER\"; or say \"!who\" there.\n")
	}
	fmt.Fprintf(&b, "All keys of addresses at %s are the gateway's own: it opens what you encrypt for them, and passes it on.", s.domain)
	if dev, err := s.device(ctx, s.self); err == nil {
		b.WriteString(" The fingerprint of this address is " + dev.Identity.Fingerprint() + ".")
	}
	return b.String()
}
