package matrixside

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// lane is where a run is said: a bridged room, or a direct chat.
type lane interface {
	// arrived finds the parts of deliveries that an earlier attempt sent although its answer was not seen.
	arrived(ctx context.Context, run []gateway.Delivery) (map[string][]gateway.Part, error)
	// deliver says one event, but for the parts that are there.
	deliver(ctx context.Context, d gateway.Delivery, have []gateway.Part) gateway.Outcome
	// speak does something in the room as one of ours. What is refused may be tried once more.
	speak(ctx context.Context, v voice, do func(mouth) error) error
	// encoder writes texts for the room.
	encoder() encoder
}

// voice says who is to do something.
type voice struct {
	person gateway.Person // whom it is done for; zero: the gateway itself
	bot    bool           // the bot does it
	own    bool           // the person's ghost does it, or nobody
	fresh  bool           // a direct chat that has no room gets one for it
	// briefly: a ghost that has left the room comes back for it only if the bot may not do it, and leaves again.
	briefly bool
	// refusal is why the delivery is given up if the room does not allow it; "": it is speech, which waits if nobody of
	// ours may speak.
	refusal string
}

// mouth is one of ours, ready to speak.
type mouth struct {
	user   id.UserID
	room   id.RoomID
	prefix string // the name to speak for, where it is not the person's ghost
}

// What a Part's Also tells of an event of ours, before its id: that the bot said it, and that its text is a caption.
const (
	saidByBot = "bot:"
	isCaption = "file:"
)

// marksOf is Part.Also of an event of ours.
func marksOf(native id.EventID, byBot, caption bool) (also []string) {
	if byBot {
		also = append(also, saidByBot+string(native))
	}
	if caption {
		also = append(also, isCaption+string(native))
	}
	return also
}

// is reports whether a part bears a mark.
func is(p gateway.Part, mark string) bool { return slices.Contains(p.Also, mark+p.Native) }

// partOf is one of our own events as a part of its delivery.
func (s *Side) partOf(ev *nativeEvent, name string) gateway.Part {
	caption := name == "" && get[string](ev.Content, "url") != ""
	return gateway.Part{Name: name, Native: string(ev.ID), Also: marksOf(ev.ID, ev.Sender == s.names.bot, caption)}
}

var errVoiceGone = gateway.Plainer(errors.New("whoever said it may not speak in the Matrix room any more"))

// act says one event in a lane, whatever it is.
func (s *Side) act(ctx context.Context, l lane, d gateway.Delivery, have []gateway.Part) (parts, gone []gateway.Part, err error) {
	switch body := d.Event.Body.(type) {
	case gateway.Message:
		if d.Seal {
			return nil, nil, gateway.Dropf("a Matrix room cannot be end-to-end encrypted yet")
		}
		parts, err = s.sayMessage(ctx, l, d, body, have)
	case gateway.Edit:
		if d.Seal {
			return nil, nil, gateway.Dropf("a Matrix room cannot be end-to-end encrypted yet")
		}
		parts, err = s.sayEdit(ctx, l, d, body, have)
	case gateway.Receipt:
		pieces := func(string) []piece { return []piece{{kind: event.EventMessage, content: encodeFailure(body)}} }
		parts, err = s.say(ctx, l, d, voice{}, pieces, have)
	case gateway.Retract:
		err = s.retract(ctx, l, d, body)
	case gateway.Reaction:
		parts, gone, err = s.react(ctx, l, d, body)
	default:
		err = gateway.Dropf("a %s cannot be shown on Matrix", d.Event.Body.Kind())
	}
	if status(err) == http.StatusBadRequest && errcode(err) != "" && refersBack(d.Event.Body) {
		err = gateway.Plainer(err)
	}
	return parts, gone, err
}

// refersBack reports whether a body refers to what was said before. A homeserver refuses relations to what it does not know
// in that very room: what was said before the room was upgraded stands in another one.
func refersBack(b gateway.Body) bool {
	switch b := b.(type) {
	case gateway.Message:
		return !b.Thread.IsZero() || !b.ReplyTo.IsZero()
	case gateway.Edit, gateway.Retract, gateway.Reaction:
		return true
	}
	return false
}

func (s *Side) sayMessage(ctx context.Context, l lane, d gateway.Delivery, msg gateway.Message, have []gateway.Part) ([]gateway.Part, error) {
	files, err := s.share(ctx, d.Key, msg.Files)
	if err != nil {
		return nil, err
	}
	enc := l.encoder()
	return s.say(ctx, l, d, voice{person: d.Event.Sender, fresh: true}, func(prefix string) []piece {
		return enc.encodeMessage(msg, files, prefix)
	}, have)
}

// sayEdit replaces what was said, in the voice that said it.
func (s *Side) sayEdit(ctx context.Context, l lane, d gateway.Delivery, edit gateway.Edit, have []gateway.Part) ([]gateway.Part, error) {
	at := slices.IndexFunc(edit.Target.Parts, func(p gateway.Part) bool { return p.Name == "" && saneID(p.Native, '$') })
	if at < 0 || is(edit.Target.Parts[at], isCaption) {
		return nil, gateway.Plainer(errors.New("a file's caption cannot be edited"))
	}
	target, enc := edit.Target.Parts[at], l.encoder()
	v := voice{person: d.Event.Sender, own: true}
	if is(target, saidByBot) {
		v = voice{person: d.Event.Sender, bot: true}
	}
	return s.say(ctx, l, d, v, func(prefix string) []piece {
		return []piece{{kind: event.EventMessage, content: enc.encodeEdit(edit, id.EventID(target.Native), prefix)}}
	}, have)
}

// say sends what is not there yet of the pieces that make up a delivery.
func (s *Side) say(ctx context.Context, l lane, d gateway.Delivery, v voice, pieces func(prefix string) []piece, have []gateway.Part) ([]gateway.Part, error) {
	var parts []gateway.Part
	all := pieces("")
	for _, p := range all {
		if _, err := p.withKey(d.Key, p.part).encode(); err != nil {
			return nil, err // before anybody enters the room for it
		}
	}
	for i, p := range all {
		if at := slices.IndexFunc(have, func(h gateway.Part) bool { return h.Name == p.part }); at >= 0 {
			parts = append(parts, have[at])
			continue
		}
		err := l.speak(ctx, v, func(m mouth) error {
			p := pieces(m.prefix)[i]
			body, err := p.withKey(d.Key, p.part).encode()
			if err != nil {
				return err
			}
			native, err := s.send(ctx, m.user, m.room, p.kind, body, transactionID(d.Key, i), d.Event.Time)
			if err == nil {
				parts = append(parts, gateway.Part{Name: p.part, Native: string(native),
					Also: marksOf(native, m.user == s.names.bot, p.part == "" && p.URL != "")})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// retract takes back all that target consists of, each in the voice that said it. What somebody said on Matrix itself the
// bot takes back, if it has the power. It is harmless to repeat.
func (s *Side) retract(ctx context.Context, l lane, d gateway.Delivery, r gateway.Retract) error {
	author := r.Target.Author
	if author.IsZero() {
		author = d.Event.Sender
	}
	for i, p := range r.Target.Parts {
		if !saneID(p.Native, '$') {
			continue
		}
		v := voice{person: author, own: true, briefly: true, refusal: "you may not take messages back in the Matrix room"}
		if is(p, saidByBot) || author.Network == s.deps.Network {
			v = voice{bot: true, refusal: "this bridge may not remove messages in the Matrix room"}
		}
		err := l.speak(ctx, v, func(m mouth) error { return s.redact(ctx, m, id.EventID(p.Native), d.Key, r.Reason) })
		if err != nil && i > 0 && gateway.IsPlainer(err) { // a note would speak of what is gone already
			return gateway.Drop(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// redact takes one event back, for a delivery. It is no error if it is gone.
func (s *Side) redact(ctx context.Context, m mouth, target id.EventID, key, reason string) error {
	_, err := s.as(m.user).RedactEvent(ctx, m.room, target, mautrix.ReqRedact{
		Reason: gateway.Shorten(gateway.Clean(reason), gateway.MaxReason),
		TxnID:  key + "." + shortHash(string(target)),
	})
	if errors.Is(err, mautrix.MNotFound) {
		return nil
	}
	return err
}

// shortHash tells apart what one delivery does to several events, or several times to one, in transaction ids.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}
