package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var errNoRoom = errors.New("it names no room of this network that the journal can keep")

// inbox is the gateway's Inbox for one network.
type inbox struct {
	g        *Gateway
	network  string
	accepted prometheus.Counter
}

func newInbox(g *Gateway, network string) *inbox {
	return &inbox{g, network, g.metrics.accepted.WithLabelValues(network)}
}

// Accept implements Inbox.
func (in *inbox) Accept(ctx context.Context, batch []Arrival) error {
	if len(batch) == 0 {
		return nil
	}
	var a *acceptance
	err := in.g.journal.Do(ctx, in.network, func(ctx context.Context) error {
		a = &acceptance{g: in.g, router: in.g.router.Load(), network: in.network, told: map[any]time.Duration{}, begun: map[personKey]map[Address]bool{}}
		return a.run(ctx, batch)
	})
	if err != nil {
		return fmt.Errorf("accept %d arrivals of %s: %w", len(batch), in.network, err)
	}
	in.accepted.Add(float64(a.events))
	in.g.told.mark(a.told)
	in.g.starts.mark(a.begun)
	in.g.noteCopies(in.network, a.copies)
	for _, bad := range a.unread {
		in.g.metrics.unreadable.WithLabelValues(in.network).Inc()
		in.g.log.Warn("message could not be read", "network", in.network, "room", bad.room.ID, "native", bad.native, "err", bad.err)
	}
	return nil
}

// acceptance is one batch on its way into the journal. A rollback throws it away.
type acceptance struct {
	g       *Gateway
	router  *router
	network string

	heard   []heard
	events  int // how many of heard are the side's or our own events
	entries []Entry
	unread  []unread
	copies  []*Event // what another bridge said once more
	ended   []Finished
	// targets are what natives stand for: first in the journal, then as the batch goes on.
	targets map[Native]Target
	// told are the notices and reports of this batch, with how long none like them may follow.
	told map[any]time.Duration
	// used are the direct chats that are not new, and begun the new ones that each person begins.
	used  map[Address]bool
	begun map[personKey]map[Address]bool
}

// heard is what one arrival turned out to be: an event, or our own echo.
type heard struct {
	event   *Event // nil: an echo
	arrival *Arrival
	echo    Echo
}

type unread struct {
	room   Address
	native string
	err    error
}

func (a *acceptance) run(ctx context.Context, batch []Arrival) error {
	todo, err := a.unseen(ctx, batch)
	if err != nil {
		return err
	}
	for _, arrival := range todo {
		if err := a.read(ctx, arrival); err != nil {
			return err
		}
	}
	echoes, err := a.lookUp(ctx)
	if err != nil {
		return err
	}
	for _, h := range a.heard { // in order: a reference means what came before it
		if h.event == nil {
			a.linkEcho(h, echoes)
		} else if err := a.enqueue(h.event); err != nil {
			return err
		}
	}
	if len(a.ended) > 0 {
		if err := a.g.journal.Finish(ctx, a.ended); err != nil {
			return err
		}
	}
	return a.g.journal.Append(ctx, a.entries)
}

// unseen leaves out what was accepted before, stands in the batch twice, or comes from no room that can be written
// down: a stranger may choose a long name, and must not fail the batch with it.
func (a *acceptance) unseen(ctx context.Context, batch []Arrival) ([]*Arrival, error) {
	var natives []Native
	batch = slices.Clone(batch)
	batch = slices.DeleteFunc(batch, func(arrival Arrival) bool {
		bad := arrival.At.Network != a.network || arrival.At.ID == "" || len(arrival.At.ID) > MaxRoom || len(arrival.At.Mirror().ID) > MaxRoom
		if bad {
			a.unread = append(a.unread, unread{Address{a.network, Shorten(arrival.At.ID, 100)}, arrival.Native, errNoRoom})
		}
		return bad
	})
	old := false
	for i := range batch {
		if batch[i].Native != "" {
			natives = append(natives, Native{batch[i].At, batch[i].Native})
		}
		old = old || batch[i].Old
	}
	seen := map[Native]bool{}
	if len(natives) > 0 {
		var err error
		if seen, err = a.g.journal.Seen(ctx, natives, old); err != nil {
			return nil, err
		}
	}
	todo := make([]*Arrival, 0, len(batch))
	for i := range batch {
		n := Native{batch[i].At, batch[i].Native}
		if n.ID != "" && seen[n] {
			continue
		}
		if n.ID != "" {
			seen[n] = true
		}
		todo = append(todo, &batch[i])
	}
	return todo, nil
}

// read lets the side open one arrival. Only an error of the database is returned: it fails the batch.
func (a *acceptance) read(ctx context.Context, arrival *Arrival) error {
	var ev *Event
	err := a.g.journal.Stage(ctx, func(ctx context.Context) (err error) {
		ev, err = arrival.Read(ctx)
		return err
	})
	switch {
	case errors.Is(err, ErrStore), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case err != nil:
		a.markSeen(arrival)
		return a.giveNotice(arrival, err)
	case ev == nil || ev.Body == nil:
		a.markSeen(arrival)
		return nil
	}
	if echo, ok := ev.Body.(Echo); ok {
		a.heard = append(a.heard, heard{arrival: arrival, echo: echo})
		return nil
	}
	if !ev.Expires.IsZero() { // typing and presence wait in memory only, and nothing shows them yet
		return nil
	}
	ev.At, ev.Native, ev.Also = arrival.At, arrival.Native, arrival.Also
	return a.add(ev)
}

// add gives an event its id and a time that can be written down.
func (a *acceptance) add(ev *Event) error {
	id, err := NewID(a.g.rand)
	if err != nil {
		return err
	}
	ev.ID, ev.Time = id, ev.Time.UTC()
	if ev.Time.IsZero() || ev.Time.Year() < 1 || ev.Time.Year() > 9999 {
		ev.Time = a.g.now()
	}
	a.events++
	a.heard = append(a.heard, heard{event: ev})
	return nil
}

// know makes a target known to later references of the batch.
func (a *acceptance) know(at Address, native string, also []string, t Target) {
	for _, n := range append([]string{native}, also...) {
		if n != "" {
			a.targets[Native{at, n}] = t
		}
	}
}

// markSeen keeps an arrival that means nothing further from being read again.
func (a *acceptance) markSeen(arrival *Arrival) {
	if arrival.Native != "" {
		a.entries = append(a.entries, Entry{Links: []Link{{Native: Native{arrival.At, arrival.Native}}}})
	}
}

// noticePause is how long a room hears nothing more about unreadable messages after it was told of one.
const noticePause = time.Minute

// giveNotice tells the bridge's other rooms that something was said that could not be read.
func (a *acceptance) giveNotice(arrival *Arrival, err error) error {
	a.unread = append(a.unread, unread{arrival.At, arrival.Native, err})
	if !a.may(arrival.At, noticePause) {
		return nil
	}
	who := "somebody"
	var u *unreadableError
	if errors.As(err, &u) && u.sender.Label() != "" {
		who = u.sender.Label()
	}
	return a.add(&Event{At: arrival.At, own: true, Body: Message{Style: StyleNotice, Text: Text{Plain: "A message from " + CleanName(who) + " could not be read."}}})
}

// lookUp asks the journal for all that the batch refers to, and for the deliveries that its echoes name.
func (a *acceptance) lookUp(ctx context.Context) (echoes map[string]Target, err error) {
	var keys []string
	var events []*Event
	for _, h := range a.heard {
		if h.event == nil {
			keys = append(keys, h.echo.Key)
		} else {
			events = append(events, h.event)
			if key := h.event.bounce(); key != "" {
				keys = append(keys, key)
			}
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
		if t, known := echoes[ev.bounce()]; known && t.Room == ev.At.Mirror() {
			a.know(ev.At, ev.bounce(), nil, t)
		}
	}
	return echoes, nil
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
	t.Part, t.Seq = h.echo.Part, 0
	a.entries = append(a.entries, Entry{Links: links(h.arrival.At, h.arrival.Native, h.arrival.Also, t.Event, t.Part)})
	a.know(h.arrival.At, h.arrival.Native, h.arrival.Also, t)
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
func (a *acceptance) enqueue(ev *Event) error {
	resolve(ev, a.targets)
	to, reason := a.router.route(ev)
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
	if reason != "" {
		if !a.may(reportKey{ev.At, ev.Sender.ID, reason}, reportPause(ev.At)) {
			a.entries = append(a.entries, Entry{Links: links(ev.At, ev.Native, nil, ID{}, "")})
			return nil
		}
		// What was said in the clear is not even kept: the journal gets the refusal in its place.
		ev.Body, ev.own = Receipt{Target: Ref{Native: ev.Native, Author: ev.Sender}, State: Undeliverable, Reason: reason}, true
		to, _ = a.router.route(ev)
	}
	if len(to) == 0 && ev.Native == "" { // goes nowhere and nothing can refer to it: who is in a room, say
		return nil
	}
	if err := a.g.mintKeys(to); err != nil {
		return err
	}
	t := Target{Event: ev.ID, Room: ev.At, Native: ev.Native, Author: ev.Sender, Excerpt: Excerpt(ev.Body)}
	e, isEdit := ev.Body.(Edit)
	isEdit = isEdit && !e.Target.ID.IsZero()
	if isEdit { // known by its target, so that an edit of an edit, or an answer to one, finds the original
		t = a.targets[Native{ev.At, e.Target.Native}]
	}
	entry := Entry{Event: ev, Links: links(ev.At, ev.Native, ev.Also, t.Event, t.Part), Deliveries: to}
	for i := range entry.Links {
		entry.Links[i].Alias = entry.Links[i].Alias || isEdit
	}
	a.know(ev.At, ev.Native, ev.Also, t)
	a.entries = append(a.entries, entry)
	return nil
}
