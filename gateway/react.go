package gateway

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"
)

// react turns a reaction into the sender's whole set. It returns what is to be written, and false where the reaction goes
// nowhere: its target is not known, or too many people have reacted to it. Where nothing changes there is no event.
func (a *acceptance) react(ev *Event, r Reaction) (e Entry, ok bool) {
	if r.Target.ID.IsZero() {
		return Entry{}, false
	}
	part := ""
	if r.Op == ReactionAdd && len(r.Emoji) == 1 {
		part = r.Emoji[0] // who takes this native id back takes back that
	}
	sets := a.sets[r.Target.ID]
	i := slices.IndexFunc(sets, func(s Reactions) bool { return s.Who.Network == ev.Sender.Network && s.Who.ID == ev.Sender.ID })
	set := Reactions{Anchor: ev.ID, Target: r.Target.ID}
	if i >= 0 {
		set = sets[i]
	}
	before := set.Emoji
	set.Who, set.Emoji = ev.Sender, r.apply(before)
	set.Who.Avatar = ""
	if sameSet(before, set.Emoji) {
		if i < 0 || part != "" && !isReaction(part) { // there is nothing that this could be linked to
			return Entry{Links: links(ev.At, ev.Native, nil, ID{}, "")}, true
		}
		a.know(ev.At, ev.Native, ev.Also, Target{Event: set.Anchor, Part: part, Room: ev.At, Author: ev.Sender, Of: set.Target})
		return Entry{Links: links(ev.At, ev.Native, ev.Also, set.Anchor, part)}, true
	}
	switch {
	case i >= 0:
		sets[i] = set
	case len(sets) >= MaxReactors:
		return Entry{}, false
	default:
		a.sets[set.Target] = append(sets, set)
	}
	r.Emoji, r.Op, r.Anchor = set.Emoji, ReactionSet, set.Anchor
	ev.Body = r
	return Entry{Event: ev, Links: links(ev.At, ev.Native, ev.Also, linked(ev, part), part), Stands: set.Anchor, Reaction: &set}, true
}

// linked is the event that a part of ev is linked to. What is a native message for each reaction belongs to the set, so
// that it is found however often the set was changed.
func linked(ev *Event, part string) ID {
	if anchor := anchorOf(ev); !anchor.IsZero() && part != "" {
		return anchor
	}
	return ev.ID
}

// unreact turns the retraction of a reaction's native id into a change of the set of whoever reacted.
func (a *acceptance) unreact(ev *Event, b Retract, on Target) (e Entry, ok bool) {
	if on.Author.IsZero() {
		return Entry{}, false
	}
	r := Reaction{Target: Ref{ID: on.Of}, Op: ReactionRemove, Emoji: []string{on.Part}}
	if on.Part == "" { // the native id is one of a whole set
		r.Op, r.Emoji = ReactionSet, nil
	}
	gone := Native{ev.At, b.Target.Native}
	ev.Sender = on.Author
	e, ok = a.react(ev, r)
	e.Links, e.Gone = links(ev.At, ev.Native, nil, ID{}, ""), []Native{gone} // nobody refers to a retraction
	delete(a.targets, gone)
	return e, ok
}

// apply is the set that r makes of the one before.
func (r *Reaction) apply(before []string) []string {
	var out []string
	add := func(emoji []string) {
		for _, e := range emoji {
			if len(out) < MaxEmoji && isReaction(e) && !slices.Contains(out, e) {
				out = append(out, e)
			}
		}
	}
	switch r.Op {
	case ReactionAdd:
		add(before)
		add(r.Emoji)
	case ReactionRemove:
		add(slices.DeleteFunc(slices.Clone(before), func(e string) bool { return slices.Contains(r.Emoji, e) }))
	default:
		add(r.Emoji)
	}
	return out
}

// isReaction reports whether a text can be a reaction: short, on one line, and seen.
func isReaction(e string) bool {
	return len(e) <= MaxEmojiSize && utf8.ValidString(e) && strings.TrimSpace(e) != "" && Clean(e) == e && !strings.ContainsAny(e, "\n\t")
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(e string) bool { return !slices.Contains(b, e) })
}

// loadSets reads the sets that reactions and retractions of the batch may change: on whatever the batch refers to, or
// has an echo of.
func (a *acceptance) loadSets(ctx context.Context, echoes map[string]Target) (err error) {
	var ids []ID
	reacts := false
	for _, h := range a.heard {
		if h.event == nil {
			continue
		}
		switch h.event.Body.(type) {
		case Reaction:
			reacts = true
		case Retract:
			t := a.targets[Native{h.event.At, actsOn(h.event.Body)}]
			reacts = reacts || !t.Of.IsZero()
		}
	}
	if !reacts {
		return nil
	}
	for _, t := range a.targets {
		ids = append(ids, t.Event, t.Of)
	}
	for _, t := range echoes {
		ids = append(ids, t.Event)
	}
	a.sets, err = a.g.journal.Reactions(ctx, ids)
	return err
}

// latest leaves out reactions that a later one of the same person on the same event follows in rows: what is said is the
// set as it stands. Whatever was tried of it counts as tried.
func latest(rows []Queued) (left, over []Queued) {
	if !slices.ContainsFunc(rows, func(row Queued) bool { return !anchorOf(row.Event).IsZero() }) {
		return rows, nil
	}
	last, tries := map[ID]int{}, map[ID]int{}
	for i, row := range rows {
		if id := anchorOf(row.Event); !id.IsZero() {
			last[id], tries[id] = i, max(tries[id], row.Attempt)
		}
	}
	for i, row := range rows {
		id := anchorOf(row.Event)
		if !id.IsZero() {
			if last[id] != i {
				over = append(over, row)
				continue
			}
			row.Attempt = tries[id]
		}
		left = append(left, row)
	}
	return left, over
}

func anchorOf(ev *Event) ID {
	if ev == nil {
		return ID{}
	}
	r, ok := ev.Body.(Reaction)
	if !ok {
		return ID{}
	}
	return r.Anchor
}

// present fills in what is thought by now, and what the room has of it already.
func (c *courier) present(ctx context.Context, room Address, events []*Event) error {
	var anchors, targets []ID
	for _, ev := range events {
		if r, ok := ev.Body.(Reaction); ok {
			anchors, targets = append(anchors, r.Anchor), append(targets, r.Target.ID)
		}
	}
	if len(anchors) == 0 {
		return nil
	}
	sets, err := c.g.journal.Reactions(ctx, targets)
	if err != nil {
		return err
	}
	have, err := c.g.journal.Parts(ctx, room, anchors)
	if err != nil {
		return err
	}
	for anchor, parts := range have { // where a set is one native message, that is none of it
		have[anchor] = slices.DeleteFunc(parts, func(p Part) bool { return p.Name == "" })
	}
	for _, ev := range events {
		if r, ok := ev.Body.(Reaction); ok {
			r.Emoji, r.Have, r.Sets = nil, have[r.Anchor], sets[r.Target.ID]
			for _, s := range r.Sets {
				if s.Anchor == r.Anchor {
					r.Emoji = s.Emoji
				}
			}
			ev.Body = r
		}
	}
	return nil
}
