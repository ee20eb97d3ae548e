package gateway

import (
	"context"
	"slices"
)

// refs calls f for each reference of a body and returns the body with what f made of them.
func refs(body Body, f func(Ref) Ref) Body {
	each := func(r Ref) Ref {
		if r.ID.IsZero() && r.Native == "" {
			return r
		}
		return f(r)
	}
	switch b := body.(type) {
	case Message:
		if b.ReplyTo.IsZero() && b.Thread.IsZero() { // as most do, which are not copied then
			return body
		}
		b.ReplyTo, b.Thread = each(b.ReplyTo), each(b.Thread)
		return b
	case Edit:
		b.Target, b.ReplyTo, b.Thread = each(b.Target), each(b.ReplyTo), each(b.Thread)
		return b
	case Retract:
		b.Target = each(b.Target)
		return b
	case Reaction:
		b.Target = each(b.Target)
		return b
	case Receipt:
		b.Target = each(b.Target)
		return b
	}
	return body
}

// actsOn is the native id of what a body changes, as long as it is not known what that is; "" if it changes nothing that
// was said before.
func actsOn(b Body) string {
	var r Ref
	switch b := b.(type) {
	case Edit:
		r = b.Target
	case Retract:
		r = b.Target
	case Reaction:
		r = b.Target
	}
	if !r.ID.IsZero() {
		return ""
	}
	return r.Native
}

// nativesOf lists the native ids of room at that the events refer to and whose event is not known yet.
func nativesOf(events []*Event) []Native {
	var out []Native
	for _, ev := range events {
		refs(ev.Body, func(r Ref) Ref {
			if r.ID.IsZero() {
				out = append(out, Native{ev.At, r.Native})
			}
			return r
		})
	}
	return out
}

// saidBy reports whether p is the author of the event.
func (t *Target) saidBy(p Person) bool {
	return !t.Author.IsZero() && t.Author.Network == p.Network && t.Author.ID == p.ID
}

// relations are what an event of room that edits t says again of it. They are looked up as the edit is delivered, since
// what was answered may have been taken back by then.
func (t *Target) relations(room Address) (replyTo, thread Ref) {
	if t.Room != room {
		return Ref{}, Ref{}
	}
	return Ref{Native: t.ReplyTo}, Ref{Native: t.Thread}
}

// allows reports whether the sender of ev may do to t what ev does. Networks leave it to clients to ignore what others
// do to somebody's words, and where the gateway speaks for all, clients could not tell.
func (t *Target) allows(ev *Event) bool {
	switch b := ev.Body.(type) {
	case Edit:
		return t.saidBy(ev.Sender) && t.Of.IsZero()
	case Retract:
		return t.saidBy(ev.Sender) || b.Moderated
	case Reaction:
		return t.Of.IsZero()
	}
	return true
}

// resolve gives the references of ev the shared id of their target, and what the journal knows of it. A reference to
// something unknown keeps its native id and is looked up again at delivery: its target may be accepted meanwhile.
//
// It returns what ev changes, zero if that is nothing or not known. An edit of somebody else's words points nowhere, and
// so becomes a message of whoever wrote it; one of what was taken back, and what else its sender may not do, is not ok,
// and must go nowhere.
func resolve(ev *Event, targets map[Native]Target) (on Target, ok bool) {
	if native := actsOn(ev.Body); native != "" {
		on = targets[Native{ev.At, native}]
	}
	if !on.Event.IsZero() && !on.allows(ev) {
		e, isEdit := ev.Body.(Edit)
		if !isEdit || on.Wiped { // what was taken back does not come back as a message
			return Target{}, false
		}
		e.Target = Ref{}
		ev.Body = e
		return Target{}, true
	}
	_, isMessage := ev.Body.(Message)
	ev.Body = refs(ev.Body, func(r Ref) Ref {
		t, ok := targets[Native{ev.At, r.Native}]
		if !r.ID.IsZero() || !ok || t.recalled && isMessage { // at delivery it is known what is left to be quoted
			return r
		}
		if !t.Of.IsZero() && on.Event.IsZero() { // who answers a reaction answers what it is on
			return Ref{ID: t.Of}
		}
		if t.Event == ev.ID { // a report stands in the journal in place of what was refused, and knows alone whose that was
			r.ID = t.Event
			return r
		}
		// The journal's word counts, not what a stanza says: it may put words into somebody's mouth, or repeat what was
		// taken back. Of an edit the excerpt is the text before.
		r.ID, r.Author, r.Excerpt = t.Event, t.Author, t.Excerpt
		r.Author.Avatar = ""
		return r
	})
	if b, isRetract := ev.Body.(Retract); isRetract && on.saidBy(ev.Sender) {
		b.Moderated = false
		ev.Body = b
	}
	return on, true
}

// resolve looks again for what was unknown when the rows were accepted. It returns what was taken back by those of them
// that turned out to be retractions of something known, and those that go nowhere.
func (c *courier) resolve(ctx context.Context, lane Address, rows []Queued) (left []Queued, late map[int64]ID, nowhere []Queued, err error) {
	unknown := nativesOf(eventsOf(rows))
	if len(unknown) == 0 {
		return rows, nil, nil, nil
	}
	targets, err := c.g.journal.Targets(ctx, unknown)
	if err != nil {
		return nil, nil, nil, err
	}
	late = map[int64]ID{}
	r := c.g.router.Load()
	for _, row := range rows {
		if row.Event != nil {
			on, ok := resolve(row.Event, targets)
			b, isRetract := row.Event.Body.(Retract)
			if isRetract && !on.Event.IsZero() {
				ok = ok && on.Of.IsZero() && (!b.Moderated || r.moderates(lane, on.Room))
				late[row.Seq] = on.Event
			}
			if !ok {
				delete(late, row.Seq)
				nowhere = append(nowhere, row)
				continue
			}
		}
		left = append(left, row)
	}
	return left, late, nowhere, nil
}

// localize gives the references of events the native ids that their targets have in room, and takes away those that
// they have elsewhere.
func (c *courier) localize(ctx context.Context, room Address, events []*Event) error {
	var ids, retracted []ID
	for _, ev := range events {
		_, isRetract := ev.Body.(Retract)
		refs(ev.Body, func(r Ref) Ref {
			if !r.ID.IsZero() {
				ids = append(ids, r.ID)
				if isRetract {
					retracted = append(retracted, r.ID)
				}
			}
			return r
		})
	}
	var parts, changes map[ID][]Part
	var err error
	if len(ids) > 0 {
		if parts, err = c.g.journal.Parts(ctx, room, ids); err != nil {
			return err
		}
	}
	if len(retracted) > 0 { // where a room has no edits they are messages, which go as well
		if changes, err = c.g.journal.PartsOf(ctx, room, retracted); err != nil {
			return err
		}
	}
	for _, ev := range events {
		_, isRetract := ev.Body.(Retract)
		ev.Body = refs(ev.Body, func(r Ref) Ref {
			all := parts[r.ID]
			r.Parts, r.Native = slices.DeleteFunc(slices.Clone(all), func(p Part) bool { return p.Name == ThreadPart }), ""
			if isRetract {
				r.Parts = append(r.Parts, changes[r.ID]...)
			}
			if len(r.Parts) > 0 {
				r.Native = r.Parts[0].Native
			}
			return r
		})
		switch b := ev.Body.(type) { // what may name a thread
		case Message:
			if b.Thread.nameThread(parts) {
				ev.Body = b
			}
		case Edit:
			if b.Thread.nameThread(parts) {
				ev.Body = b
			}
		}
	}
	return nil
}

// nameThread adds what the room calls the thread of a root that it has; false: nothing.
func (r *Ref) nameThread(parts map[ID][]Part) (named bool) {
	if len(r.Parts) == 0 {
		return false
	}
	for _, p := range parts[r.ID] {
		if p.Name == ThreadPart {
			r.Parts, named = append(r.Parts, p), true
		}
	}
	return named
}
