package xmppside

import (
	"context"

	"lockbridge/gateway"
)

// act does what no message says.
func (s *Side) act(ctx context.Context, l *link, r *room, d *gateway.Delivery) error {
	switch b := d.Event.Body.(type) {
	case gateway.Receipt:
		return s.tell(l, r, b)
	case gateway.Membership:
		return s.follow(ctx, l, r, d.Event.Sender, b)
	case gateway.RoomState:
		return s.setTopic(ctx, l, r, d.Key, b)
	case gateway.Retract:
		return s.moderate(ctx, l, r, b)
	}
	return gateway.Dropf("an XMPP room cannot show this")
}

// tell lets a member know privately that something they said was not carried. Who is gone meanwhile misses it.
func (s *Side) tell(l *link, r *room, b gateway.Receipt) error {
	nick, there := r.nickOf(b.Target.Author)
	if !there {
		return nil
	}
	return l.send(privateMessage(r.fullSelf(), r.jid+"/"+nick, gateway.ReportText(yourMessage+" in "+r.jid, b.Reason)))
}

// follow lets puppets come, go and change their names with their people.
func (s *Side) follow(ctx context.Context, l *link, r *room, was gateway.Person, b gateway.Membership) error {
	var err error
	switch b.Change {
	case gateway.Leave, gateway.Kick, gateway.Ban:
		err = s.dismiss(ctx, l, r, b)
	case gateway.Join:
		if r.conf().Puppets == gateway.PuppetsAll {
			_, err = s.voiceFor(ctx, l, r, b.Who)
		}
	case gateway.Rename:
		p, known := s.people.of(b.Who)
		there := known && r.nickIn(p.JID) != ""
		if old, ok := s.people.of(was); ok && keyOf(was) != keyOf(b.Who) && was.Network == b.Who.Network && r.nickIn(old.JID) != "" {
			there = true // where a nick is all that people are known by, another one is another puppet
			err = s.dismiss(ctx, l, r, gateway.Membership{Who: was, Change: gateway.Leave})
		}
		if there && err == nil {
			_, err = s.voiceFor(ctx, l, r, b.Who)
		}
	}
	if condition(err) != "" {
		return gateway.Dropf("the room refused it: %s", condition(err))
	}
	return err
}
