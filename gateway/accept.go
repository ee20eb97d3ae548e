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
	dropped  prometheus.Counter
}

func newInbox(g *Gateway, network string) *inbox {
	return &inbox{g, network, g.metrics.accepted.WithLabelValues(network), g.metrics.dropped.WithLabelValues(network)}
}

// Accept implements Inbox.
func (in *inbox) Accept(ctx context.Context, batch []Arrival) error {
	batch, passing := split(batch)
	if len(batch) == 0 {
		in.pass(ctx, passing, nil)
		return nil
	}
	var a *acceptance
	err := in.g.journal.Do(ctx, in.network, func(ctx context.Context) error {
		a = &acceptance{g: in.g, in: in, router: in.g.router.Load(), network: in.network, told: map[any]time.Duration{}, begun: map[personKey]map[Address]bool{}}
		return a.run(ctx, batch)
	})
	if err != nil {
		return fmt.Errorf("accept %d arrivals of %s: %w", len(batch), in.network, err)
	}
	in.accepted.Add(float64(a.events))
	in.dropped.Add(float64(a.dropped))
	in.g.told.mark(a.told)
	in.g.starts.mark(a.begun)
	in.g.noteCopies(in.network, a.copies)
	for _, bad := range a.unread {
		in.g.metrics.unreadable.WithLabelValues(in.network).Inc()
		in.g.log.Warn("message could not be read", "network", in.network, "room", bad.room.ID, "native", bad.native, "err", bad.err)
	}
	in.pass(ctx, passing, a.passing)
	in.answer(ctx, a.commands)
	return nil
}

// split parts what needs a transaction from what does not.
func split(batch []Arrival) (durable, passing []Arrival) {
	is := func(a Arrival) bool { return a.Passing }
	if !slices.ContainsFunc(batch, is) {
		return batch, nil
	}
	for _, a := range batch {
		if is(a) {
			passing = append(passing, a)
		} else {
			durable = append(durable, a)
		}
	}
	return durable, passing
}

// keeps reports whether a room is one of the network's that can be written down.
func (in *inbox) keeps(at Address) bool {
	return at.Network == in.network && at.ID != "" && len(at.ID) <= MaxRoom && len(at.Mirror().ID) <= MaxRoom
}

// acceptance is one batch on its way into the journal. A rollback throws it away.
type acceptance struct {
	g       *Gateway
	in      *inbox
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
	// sets are what people think of the events that the batch refers to, as far as it reacts to any.
	sets map[ID][]Reactions
	// dropped counts what goes nowhere because of what it refers to.
	dropped  int
	passing  []*Event     // what expires
	commands []commandKey // to be answered
	// used are the direct chats that are not new, and begun the new ones that each person begins.
	used  map[Address]bool
	begun map[personKey]map[Address]bool
}

// heard is what one arrival turned out to be: an event, or our own echo.
type heard struct {
	event   *Event // nil: an echo
	arrival *Arrival
	echo    Echo
	old     bool // see Arrival.Old
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
		} else if err := a.enqueue(h); err != nil {
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
		bad := !a.in.keeps(arrival.At)
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
	ev.At, ev.Native, ev.Also = arrival.At, arrival.Native, arrival.Also
	if !ev.Expires.IsZero() {
		a.markSeen(arrival) // what was opened once does not open again
		a.passing = append(a.passing, ev)
		return nil
	}
	ev.limit()
	a.router.bare(ev)
	if !a.g.privacy.Avatars {
		ev.withoutAvatars()
	}
	return a.add(ev, arrival.Old)
}

// add gives an event its id and a time that can be written down.
func (a *acceptance) add(ev *Event, old bool) error {
	id, err := NewID(a.g.rand)
	if err != nil {
		return err
	}
	ev.ID, ev.Time = id, ev.Time.UTC()
	if ev.Time.IsZero() || ev.Time.Year() < 1 || ev.Time.Year() > 9999 {
		ev.Time = a.g.now()
	}
	a.events++
	a.heard = append(a.heard, heard{event: ev, old: old})
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
	return a.add(&Event{At: arrival.At, own: true, Body: Message{Style: StyleNotice, Text: Text{Plain: "A message from " + CleanName(who) + " could not be read."}}}, true)
}
