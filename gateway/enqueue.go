package gateway

import (
	"context"
	"slices"
	"time"
)

// lookUp asks the journal for all that the batch refers to, and for the deliveries that its echoes name.
func (a *acceptance) lookUp(ctx context.Context) (echoes map[string]Target, err error) {
	var keys []string
	var events []*Event
	for _, h := range a.heard {
		if h.event == nil {
			keys = append(keys, h.echo.Key)
		} else {
			events = append(events, h.event)
			h.event.ours(func(_, key string) { keys = append(keys, key) })
		}
	}
	if a.used, err = a.g.journal.Used(ctx, chatsOf(events)); err != nil {
		return nil, err
	}
	a.targets = map[Native]Target{}
	if ask := nativesOf(events); len(ask) > 0 {
		if a.targets, err = a.g.journal.Targets(ctx, ask); err != nil {
			return nil, err
		}
	}
	if len(keys) > 0 {
		if echoes, err = a.g.journal.Echoes(ctx, keys); err != nil {
			return nil, err
		}
	}
	for _, ev := range events {
		ev.ours(func(native, key string) {
			_, linked := a.targets[Native{ev.At, native}]
			t, known := echoes[key]
			if known && !linked && t.Room == ev.At.Mirror() && (t.Stands.IsZero() || key == ev.bounce()) { // an edit is linked to what it changes
				a.know(ev.At, native, nil, t)
			}
		})
	}
	if err := a.loadThreads(ctx, events); err != nil {
		return nil, err
	}
	return echoes, a.loadSets(ctx, echoes)
}

// linkEcho ties the native ids of our own delivery to its event.
func (a *acceptance) linkEcho(h heard, known map[string]Target) {
	t, ok := known[h.echo.Key]
	if !ok { // older than the journal's memory
		a.markSeen(h.arrival)
		return
	}
	if h.echo.Ends && t.Seq != 0 {
		a.ended = append(a.ended, Finished{Seq: t.Seq, Key: h.echo.Key})
	}
	t.Part, t.Seq, t.recalled = h.echo.Part, 0, true
	event := t.Event
	if !t.Of.IsZero() && t.Part != "" { // as linked has it
		event = t.Stands
	}
	a.entries = append(a.entries, Entry{Links: links(h.arrival.At, h.arrival.Native, h.arrival.Also, event, t.Part)})
	if t.Stands.IsZero() { // else it means another event, which whoever refers to it will find at delivery
		a.know(h.arrival.At, h.arrival.Native, h.arrival.Also, t)
	}
}

// links ties a native id and its aliases to a part of an event.
func links(at Address, native string, also []string, event ID, part string) []Link {
	var out []Link
	if native != "" {
		out = append(out, Link{Native: Native{at, native}, Event: event, Part: part})
	}
	for _, alias := range also {
		out = append(out, Link{Native: Native{at, alias}, Event: event, Part: part, Alias: true})
	}
	return out
}

// may asks whether something may be told now, at most once per pause. It counts as told when the batch is committed.
func (a *acceptance) may(key any, pause time.Duration) bool {
	if _, now := a.told[key]; now || !a.g.told.free(key) {
		return false
	}
	a.told[key] = pause
	return true
}

// chatsOf lists the direct chats of events, as both of their networks know them.
func chatsOf(events []*Event) []Address {
	var chats []Address
	for _, ev := range events {
		if mirror := ev.At.Mirror(); mirror.ID != "" && !slices.Contains(chats, ev.At) {
			chats = append(chats, ev.At, mirror)
		}
	}
	return chats
}

// leads reports whether an event of a direct chat has anywhere to go: only words begin a chat, and only what was said to
// somebody can come back from them. Else one could reach people without counting as one who writes to them.
func (a *acceptance) leads(ev *Event) bool {
	local, _, ok := ev.At.Direct()
	switch {
	case !ok || ev.own || carriesContent(ev.Body):
		return true
	case ev.bounce() != "":
		return a.targets[Native{ev.At, ev.bounce()}].Room == ev.At.Mirror()
	}
	return a.used[ev.At] || a.used[ev.At.Mirror()] || a.begun[personKey{local.Network, local.ID}][ev.At]
}

// begin counts the event's direct chat if it is a new one. It returns why it must not begin.
func (a *acceptance) begin(ev *Event) (reason string) {
	local, _, ok := ev.At.Direct()
	if !ok || a.used[ev.At] || a.used[ev.At.Mirror()] || !carriesContent(ev.Body) {
		return ""
	}
	who := personKey{local.Network, local.ID}
	if !a.g.starts.free(who, ev.At, a.begun[who]) {
		return tooMany
	}
	if a.begun[who] == nil {
		a.begun[who] = map[Address]bool{}
	}
	a.begun[who][ev.At] = true
	return ""
}

// enqueue resolves what the event points at and writes it with one delivery for each room that it goes to.
func (a *acceptance) enqueue(h heard) error {
	ev := h.event
	threads := a.hang(ev)
	on, ok := resolve(ev, a.targets)
	if !ok || !a.router.admits(ev) {
		a.ignore(ev, !ok)
		return nil
	}
	if b, bridged := a.router.bridges[ev.At]; bridged && !ev.own {
		a.g.names.name(b.Name, ev)
	}
	entry, ok := a.effect(ev, on)
	if !ok {
		a.ignore(ev, true)
		return nil
	}
	if entry.Event == nil { // nothing has changed
		a.entries = append(a.entries, entry)
		return nil
	}
	to, reason := a.destinations(ev, on)
	if reason != "" {
		if !a.may(reportKey{ev.At, ev.Sender.ID, reason}, reportPause(ev.At)) {
			a.ignore(ev, false)
			return nil
		}
		// What was said in the clear is not even kept: the journal gets the refusal in its place.
		ev.Body, ev.own = Receipt{Target: Ref{Native: ev.Native, Author: ev.Sender}, State: Undeliverable, Reason: reason}, true
		to, _ = a.router.route(ev)
		entry = Entry{Event: ev, Links: links(ev.At, ev.Native, ev.Also, ev.ID, "")}
		threads = nil
	}
	if b, isRetract := ev.Body.(Retract); isRetract && len(to) == 0 && b.Moderated {
		a.ignore(ev, false) // it takes nothing back anywhere, so its target stays known
		return nil
	}
	if len(to) == 0 && ev.Native == "" && entry.Reaction == nil && on.Event.IsZero() { // goes nowhere and nothing can refer to it: who is in a room, say
		return nil
	}
	if err := a.g.mintKeys(to); err != nil {
		return err
	}
	entry.Deliveries, entry.Links = to, append(entry.Links, threads...)
	a.entries = append(a.entries, entry)
	a.meant(&entry, on)
	if len(to) > 0 {
		a.command(h)
	}
	return nil
}

// ignore keeps an event that has no effect from being read again; lost: because of what it refers to.
func (a *acceptance) ignore(ev *Event, lost bool) {
	if lost {
		a.dropped++
	}
	if ev.Native != "" {
		a.entries = append(a.entries, Entry{Links: links(ev.At, ev.Native, nil, ID{}, "")})
	}
}

// effect is what an event writes: itself, and what it makes of the one that it changes. It may become another kind of
// event. False: it goes nowhere.
func (a *acceptance) effect(ev *Event, on Target) (Entry, bool) {
	switch b := ev.Body.(type) {
	case Reaction:
		return a.react(ev, b)
	case Retract:
		if !on.Of.IsZero() {
			if b.Moderated && !a.router.moderated(ev.At) {
				return Entry{}, false
			}
			return a.unreact(ev, b, on)
		}
	case Edit:
		if !on.Event.IsZero() {
			b.ReplyTo, b.Thread = on.relations(ev.At)
			ev.Body = b
			return Entry{Event: ev, Links: links(ev.At, ev.Native, ev.Also, ev.ID, ""), Stands: on.Event, Excerpt: Excerpt(b)}, true
		}
	}
	return Entry{Event: ev, Links: links(ev.At, ev.Native, ev.Also, ev.ID, "")}, true
}

// destinations are the rooms that an event goes to, or why it must not cross.
func (a *acceptance) destinations(ev *Event, on Target) (to []Queue, reason string) {
	to, reason = a.router.route(ev)
	if b, ok := ev.Body.(Retract); ok && b.Moderated && !on.Event.IsZero() {
		to = slices.DeleteFunc(to, func(q Queue) bool { return !a.router.moderates(q.Room, on.Room) })
	}
	switch {
	case reason != "" || len(to) == 0:
	case a.leads(ev):
		reason = a.begin(ev)
	default:
		to = nil
	}
	if reason == "" && len(to) > 0 && a.isCopy(ev) {
		a.copies, to = append(a.copies, ev), nil
	}
	return to, reason
}

// meant makes known, for the rest of the batch, what the event's ids mean, and what became of the one that it changes.
func (a *acceptance) meant(e *Entry, on Target) {
	ev := e.Event
	t := Target{Event: ev.ID, Room: ev.At, Native: ev.Native, Author: ev.Sender, Excerpt: Excerpt(ev.Body)}
	t.ReplyTo, t.Thread = Answers(ev.Body)
	_, isRetract := ev.Body.(Retract)
	switch {
	case e.Reaction != nil:
		t = Target{Event: e.Stands, Room: ev.At, Native: ev.Native, Author: ev.Sender, Of: e.Reaction.Target, Part: partOf(e.Links)}
	case !e.Stands.IsZero():
		if e.Excerpt != "" {
			on.Excerpt = e.Excerpt
		}
		t = on
	case isRetract:
		on.Author, on.Excerpt, on.Wiped = Person{}, "", true
	}
	if _, isEdit := ev.Body.(Edit); isRetract || isEdit {
		for n, known := range a.targets {
			if known.Event == on.Event && !on.Event.IsZero() {
				known.Author, known.Excerpt, known.Wiped = on.Author, on.Excerpt, on.Wiped
				a.targets[n] = known
			}
		}
	}
	a.know(ev.At, ev.Native, ev.Also, t)
}

func partOf(links []Link) string {
	if len(links) == 0 {
		return ""
	}
	return links[0].Part
}
