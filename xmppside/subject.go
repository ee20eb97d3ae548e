package xmppside

import (
	"context"
	"time"

	"lockbridge/gateway"
)

const (
	// maxSubject is how much of a subject is carried, in bytes.
	maxSubject = 4 << 10
	// subjectLimit is how long the room may take to show a subject that we set.
	subjectLimit = 5 * time.Second
	// subjectPause is how long the log says nothing more of a room in which we may not set one.
	subjectPause = 24 * time.Hour
)

// subjectShown is what is awaited when a subject is set: one at a time is, for a lane is served in order.
func subjectShown(r *room) string { return "subject/" + r.jid }

// readSubject takes in a subject. That of a join ends its history, and is no news.
func (s *Side) readSubject(what said, b *batch) {
	r := what.room
	text := gateway.Shorten(gateway.Clean(what.message.child(what.message.space, "subject").said()), maxSubject)
	if what.from.ours == s.self { // rooms seldom keep its id
		b.then(func() { s.waits.end(subjectShown(r), r.jid, nil) })
	}
	r.mu.Lock()
	joining := r.tellsHistory && !r.toldSubject
	news := !joining && what.from.ours == "" && what.from.nick != "" && text != r.subject
	r.toldSubject, r.subject = true, text
	r.mu.Unlock()
	if joining {
		s.seeOff(r, b)
		b.then(func() {
			r.historyRead()
			r.mendAll(what.link)
		})
	}
	if !news || !r.conf().Topic || r.conf().Seal {
		return
	}
	sender, at := what.from.person, r.conf().Address
	b.arrivals = append(b.arrivals, gateway.Arrival{At: at, Native: what.content.stanzaID, Read: func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Sender: sender, Time: s.now(), Body: gateway.RoomState{Topic: &text}}, nil
	}})
}

// setTopic makes a topic the room's subject, in the gateway's name: puppets seldom may. Name and picture are the business
// of a room's owner. Where it is not allowed, nobody has to hear of that each time.
func (s *Side) setTopic(ctx context.Context, l *link, r *room, key string, state gateway.RoomState) error {
	if state.Topic == nil || r.conf().Seal || !r.conf().Topic {
		return nil
	}
	text := gateway.Shorten(gateway.Clean(*state.Topic), maxSubject)
	r.mu.Lock()
	same := r.toldSubject && text == r.subject
	r.mu.Unlock()
	if same {
		return nil
	}
	shown, refused := s.waits.expect(subjectShown(r), r.jid, false), s.waits.expect(key, r.jid, false)
	defer s.waits.forget(subjectShown(r))
	defer s.waits.forget(key)
	if err := l.send(el("", "message", "type", "groupchat", "id", key, "from", r.fullSelf(), "to", r.jid).add(el("", "subject").say(text))); err != nil {
		return err
	}
	timer := time.NewTimer(subjectLimit)
	defer timer.Stop()
	select {
	case <-shown:
	case err := <-refused:
		if s.lately.free("subject/"+r.jid, s.now(), subjectPause) {
			r.log.Warn("the room's subject cannot be set", "err", err, "remedy", "let the gateway's occupant change it, or set topic = false in the bridge")
		}
	case <-timer.C:
		r.log.Debug("the room did not show the subject that was set")
	case <-l.down:
		return errLinkDown
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
