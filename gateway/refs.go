package gateway

import "context"

// refs calls f for each reference of a body and returns the body with what f made of them.
func refs(b Body, f func(Ref) Ref) Body {
	each := func(r Ref) Ref {
		if r.ID.IsZero() && r.Native == "" {
			return r
		}
		return f(r)
	}
	switch b := b.(type) {
	case Message:
		b.ReplyTo, b.Thread = each(b.ReplyTo), each(b.Thread)
		return b
	case Edit:
		b.Target = each(b.Target)
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
	return b
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

// resolve gives the references of ev the shared id of their target, and what the journal knows of it. A reference to
// something unknown keeps its native id and is looked up again at delivery: its target may be accepted meanwhile.
//
// An edit of somebody else's words points nowhere, and so becomes a message of whoever wrote it: networks leave it to
// clients to ignore such edits, and where the gateway speaks for all, clients could not tell.
func resolve(ev *Event, targets map[Native]Target) {
	if e, ok := ev.Body.(Edit); ok && e.Target.ID.IsZero() {
		t, ok := targets[Native{ev.At, e.Target.Native}]
		if ok && (t.Author.Network != ev.Sender.Network || t.Author.ID != ev.Sender.ID) {
			e.Target = Ref{}
			ev.Body = e
			return
		}
	}
	ev.Body = refs(ev.Body, func(r Ref) Ref {
		t, ok := targets[Native{ev.At, r.Native}]
		if !r.ID.IsZero() || !ok {
			return r
		}
		r.ID = t.Event
		if !t.Author.IsZero() {
			r.Author = t.Author // the journal's word is better than a stanza's
		}
		if r.Excerpt == "" {
			r.Excerpt = t.Excerpt
		}
		return r
	})
}

// resolve looks again for what was unknown when the events were accepted.
func (c *courier) resolve(ctx context.Context, events []*Event) error {
	unknown := nativesOf(events)
	if len(unknown) == 0 {
		return nil
	}
	targets, err := c.g.journal.Targets(ctx, unknown)
	if err != nil {
		return err
	}
	for _, ev := range events {
		resolve(ev, targets)
	}
	return nil
}

// localize gives the references of events the native ids that their targets have in room, and takes away those that
// they have elsewhere.
func (c *courier) localize(ctx context.Context, room Address, events []*Event) error {
	var ids []ID
	for _, ev := range events {
		refs(ev.Body, func(r Ref) Ref {
			if !r.ID.IsZero() {
				ids = append(ids, r.ID)
			}
			return r
		})
	}
	var parts map[ID][]Part
	if len(ids) > 0 {
		var err error
		if parts, err = c.g.journal.Parts(ctx, room, ids); err != nil {
			return err
		}
	}
	for _, ev := range events {
		ev.Body = refs(ev.Body, func(r Ref) Ref {
			r.Parts, r.Native = parts[r.ID], ""
			if len(r.Parts) > 0 {
				r.Native = r.Parts[0].Native
			}
			return r
		})
	}
	return nil
}
