package gateway

import "slices"

// degrade makes an event fit for a room with these caps. It is pure. Nil means that the room has no way to show the
// event and no need to. What a poor room gets is short and legible; degradetext.go has the words.
func degrade(ev *Event, caps Caps) *Event {
	out := *ev
	switch b := ev.Body.(type) {
	case Message:
		out.Body = degradeMessage(ev.ID, b, caps)
	case Edit:
		out.Body = degradeEdit(ev.ID, b, caps)
	case Retract:
		return degradeRetract(ev, b, caps)
	case Reaction:
		return degradeReaction(ev, b, caps)
	case Receipt:
		if b.State != Undeliverable && (!caps.Receipt || len(b.Target.Parts) == 0) {
			return nil
		}
	case Membership:
		return degradeMembership(ev, b, caps)
	case Typing:
		if !caps.Typing {
			return nil
		}
	case Presence:
		if !caps.Presence {
			return nil
		}
	case RoomState:
		if !caps.Room {
			return nil
		}
	}
	return &out
}

// wants reports whether a change of membership means something to the room.
func (c Caps) wants(change Change) bool {
	switch c.Members {
	case AllMembers:
		return change != Invite
	case Leavers:
		return change == Leave || change == Kick || change == Ban || change == Rename
	}
	return false
}

// takes reports whether the room shows a file as one. What it does not take is told in a line, with File.Link.
func (c Caps) takes(f File) bool { return c.Files && (c.MaxFile <= 0 || f.Size <= c.MaxFile) }

// degradeMessage makes m, the body of the event id, fit. A thread becomes answers to its root.
func degradeMessage(id ID, m Message, caps Caps) Message {
	m.Text = m.Text.Normal()
	if !m.Thread.IsZero() && (!caps.Thread || len(m.Thread.Parts) == 0) {
		if m.ReplyTo.IsZero() {
			m.ReplyTo = m.Thread
			m.ReplyTo.Parts = slices.DeleteFunc(slices.Clone(m.Thread.Parts), func(p Part) bool { return p.Name == ThreadPart })
		}
		m.Thread = Ref{}
	}
	native := caps.Reply && len(m.ReplyTo.Parts) > 0
	if !m.ReplyTo.IsZero() && (!native || caps.ReplyText) {
		m.Text = answering(id, m)
	}
	if !native {
		m.ReplyTo = Ref{}
	}
	m.Text, m.Files = withFiles(m.Text, m.Files, caps)
	m.Text = m.Text.fit(caps)
	return m
}

// fit takes marks away where the room has none. Mentions stay, since each side has a way of its own to write a name.
func (t Text) fit(caps Caps) Text {
	if caps.Marks || len(t.Marks) == 0 {
		return t
	}
	return t.Without(looks()...)
}

func degradeEdit(id ID, e Edit, caps Caps) Body {
	if caps.Edit && len(e.Target.Parts) > 0 {
		m := degradeMessage(e.Target.ID, Message{Text: e.Text, Style: e.Style, ReplyTo: e.ReplyTo, Thread: e.Thread}, caps)
		e.Text, e.ReplyTo, e.Thread, e.Files = m.Text, m.ReplyTo, m.Thread, nil
		return e
	}
	m := Message{Text: prefixed(bareText("(edited) "), editText(e.Target.Excerpt, e.Text.Normal())), Files: e.Files, Style: e.Style}
	return degradeMessage(id, m, caps)
}

// degradeRetract tells of a retraction where the room has no form for it. Of what is not known any more nothing is told.
func degradeRetract(ev *Event, r Retract, caps Caps) *Event {
	switch {
	case caps.Retract && len(r.Target.Parts) > 0:
		return ev
	case !caps.Notes || r.Target.ID.IsZero():
		return nil
	}
	out := *ev
	if r.Moderated && (r.Target.Author.Network != ev.Sender.Network || r.Target.Author.ID != ev.Sender.ID) {
		out.Sender, out.Body = Person{}, Message{Style: StyleNotice, Text: removedText(ev, r).fit(caps)}
	} else {
		out.Body = Message{Style: StyleEmote, Text: deletedText(ev, r).fit(caps)}
	}
	return &out
}

// degradeReaction tells of reactions that are new where the room has no form for them. That some are gone is told to
// nobody.
func degradeReaction(ev *Event, r Reaction, caps Caps) *Event {
	if caps.Reaction && len(r.Target.Parts) > 0 {
		return ev
	}
	added := r.added()
	if !caps.ReactionNotes || len(added) == 0 {
		return nil
	}
	out := *ev
	out.Body = Message{Style: StyleEmote, Note: true, Text: reactedText(added, r.Target).fit(caps)}
	return &out
}

// added are the reactions that the room has not got yet.
func (r Reaction) added() (out []string) {
	for _, emoji := range r.Emoji {
		if !slices.ContainsFunc(r.Have, func(p Part) bool { return p.Name == emoji }) {
			out = append(out, emoji)
		}
	}
	return out
}

// degradeMembership tells who comes and goes where the room wants to hear it in words.
func degradeMembership(ev *Event, m Membership, caps Caps) *Event {
	switch {
	case !caps.wants(m.Change):
		return nil
	case !caps.MemberNotes:
		return ev
	}
	out := *ev
	who, text, ok := memberText(ev.Sender, m)
	if !ok {
		return nil
	}
	out.Sender, out.Body = who, Message{Style: StyleEmote, Note: true, Text: text.fit(caps)}
	return &out
}
