package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockbridge/gateway"
	"lockbridge/store"
)

type traceCommand struct {
	configFlag
	jsonFlag

	ID string `arg:"" name:"id" help:"Any id of a message: a network's own (or a part of it), a delivery key, or an event's."`
}

// Run shows the way of every message that the id may mean.
func (c traceCommand) Run(o output) error {
	return c.beside(o, operatorTime, func(ctx context.Context, cfg *config, db *store.Beside) error {
		found, err := db.Trace(ctx, strings.TrimSpace(c.ID))
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("no message has the id %q, or a part of it; ids are known for %s", c.ID, span(cfg.Journal.Retention))
		}
		if c.JSON {
			return printJSON(o, traceViews(found))
		}
		lanes, err := db.Lanes(ctx)
		if err != nil {
			return err
		}
		p := tracePrinter{o: o, lanes: map[gateway.Address]store.LaneInfo{}, now: time.Now()}
		for _, l := range lanes {
			p.lanes[l.Lane] = l
		}
		for i, t := range found {
			if i > 0 {
				fmt.Fprintln(o.out)
			}
			p.print(t)
		}
		if n := len(found); n > 1 {
			fmt.Fprintf(o.err, "\nnote: %d messages fit, the newest first; more than 20 are not looked for\n", n)
		}
		return nil
	})
}

// tracePrinter shows traces to people.
type tracePrinter struct {
	o     output
	lanes map[gateway.Address]store.LaneInfo // those that wait
	now   time.Time
}

func (p tracePrinter) print(t store.Trace) {
	o := p.o
	heading := func(text string) { fmt.Fprintln(o.out, paint(paints(o), bold, printable(text))) }
	if t.Event.IsZero() {
		heading("seen in " + laneName(t.At))
		fmt.Fprintf(o.out, "  on %s, and passed on to nobody: it was not for others (a key exchange, an answer to the bridge),\n"+
			"  could not be read, must not cross, or was a copy by another bridge. The log of that time may say more.\n", clockTime(t.Accepted))
		return
	}
	who := personName(t.Author)
	if t.Author.IsZero() {
		who = "the bridge itself, or somebody who took it back or was forgotten"
	}
	text := "its text is wiped"
	if t.Kept {
		text = "its text is still kept"
	}
	what := "message "
	switch {
	case t.Reaction:
		what = "reaction "
	case !t.Stands.IsZero():
		what = "edit "
	}
	heading(what + t.Event.String())
	fmt.Fprintf(o.out, "  from %s, accepted on %s; %s\n", printable(who), clockTime(t.Accepted), text)
	if !t.Stands.IsZero() {
		fmt.Fprintf(o.out, "  of message %s\n", t.Stands)
	}
	for _, edit := range t.Edits {
		fmt.Fprintf(o.out, "  edited: %s\n", edit)
	}
	if t.Reactors > 0 {
		fmt.Fprintf(o.out, "  reactions: %s\n", are(t.Reactors, "person", "people"))
	}
	fmt.Fprintln(o.out)
	w := newTable(o, "  ")
	w.row(cell{"+0 ms", dim}, cell{"accepted", ordinary}, cell{laneName(t.At), ordinary}, cell{idsIn(t, t.At), dim})
	inTime := slices.Clone(t.Deliveries)
	slices.SortStableFunc(inTime, func(a, b store.DeliveryTrace) int { return cmp.Compare(p.end(a).UnixNano(), p.end(b).UnixNano()) })
	for _, d := range inTime {
		after, colour, detail := p.describe(t, d)
		w.row(cell{after, dim}, cell{d.State.String(), colour}, cell{laneName(d.Room), ordinary}, cell{detail, dim})
	}
	if len(t.Deliveries) == 0 {
		w.row(cell{"", ordinary}, cell{"goes nowhere", yellow}, cell{"no other room was to have it", ordinary})
	}
	w.print(o.out)
}

// idsIn lists the ids by which a room knows a message, without its aliases, which are long and say no more.
func idsIn(t store.Trace, room gateway.Address) string {
	var ids []string
	for _, l := range t.Links {
		if l.Room == room && !l.Alias {
			ids = append(ids, l.ID)
		}
	}
	if len(ids) == 0 && room == t.At && t.Native != "" {
		ids = append(ids, t.Native)
	}
	return strings.Join(ids, ", ")
}

// end is when a delivery ended; those that wait come last.
func (p tracePrinter) end(d store.DeliveryTrace) time.Time {
	if d.State == store.Pending {
		return p.now
	}
	return d.Ended
}

// describe says how long a delivery took, or has taken so far, and what there is to know about it.
func (p tracePrinter) describe(t store.Trace, d store.DeliveryTrace) (after string, c colour, detail string) {
	after = "?"
	if end := p.end(d); !end.IsZero() {
		after = "+" + span(end.Sub(t.Accepted))
	}
	var details []string
	add := func(format string, args ...any) { details = append(details, fmt.Sprintf(format, args...)) }
	if ids := idsIn(t, d.Room); ids != "" {
		add("%s", ids)
	}
	if d.Attempt > 0 {
		add("%s without success", are(d.Attempt, "try", "tries"))
	}
	if again := d.Accepted.Sub(t.Accepted); again > time.Second { // a commit takes less
		add("begun again at +%s", span(again))
	}
	switch d.State {
	case store.Pending:
		c = yellow
		due, problem := d.Due, d.Problem
		if l, waits := p.lanes[d.Room]; waits && l.Pending > 1 && l.Due.After(due) {
			add("behind others of the room")
			due, problem = l.Due, l.Problem
		}
		add("%s", nextTry(due, p.now))
		if problem != "" {
			add("%s", problem)
		}
	case store.Delivered:
		c = green
	case store.Dead, store.Dropped:
		c = red
		add("number %d", d.Seq)
		add("%s", why(d))
	}
	return after, c, strings.Join(details, "; ")
}

// why joins what the sender was told and what the network's side said, where that is something else.
func why(d store.DeliveryTrace) string {
	switch {
	case d.Reason == "" && d.Problem == "":
		return "no reason is known"
	case d.Reason == "":
		return d.Problem
	case d.Problem == "" || strings.Contains(d.Reason, d.Problem):
		return d.Reason
	}
	return d.Reason + " (" + d.Problem + ")"
}

func nextTry(due, now time.Time) string {
	if wait := due.Sub(now); wait > 0 {
		return "next try in " + span(wait)
	}
	return "next try now"
}

// traceView is a trace as programs read it.
type traceView struct {
	Event      string         `json:"event,omitempty"` // absent: the id was seen, and nothing came of it
	Network    string         `json:"network"`
	Room       string         `json:"room"`
	Native     string         `json:"native,omitempty"`
	Author     string         `json:"author,omitempty"`
	Accepted   string         `json:"accepted"`
	EditOf     string         `json:"edit_of,omitempty"`
	ReactionTo string         `json:"reaction_to,omitempty"`
	Edits      []string       `json:"edits,omitempty"` // the first 20
	Reactors   int            `json:"reactors,omitempty"`
	Kept       bool           `json:"text_kept"`
	IDs        []idView       `json:"ids,omitempty"`
	Deliveries []deliveryView `json:"deliveries,omitempty"`
}

type idView struct {
	Network string `json:"network"`
	Room    string `json:"room"`
	ID      string `json:"id"`
	Part    string `json:"part,omitempty"`
	Alias   bool   `json:"alias,omitempty"`
	Known   string `json:"known"`
}

type deliveryView struct {
	Number   int64  `json:"number"`
	Key      string `json:"key"`
	Network  string `json:"network"`
	Room     string `json:"room"`
	State    string `json:"state"`
	Tries    int    `json:"failed_tries"`
	Accepted string `json:"accepted"`
	Tried    string `json:"tried,omitempty"`
	Ended    string `json:"ended,omitempty"`
	Due      string `json:"due,omitempty"`
	Millis   *int64 `json:"took_ms,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Problem  string `json:"problem,omitempty"`
}

func traceViews(found []store.Trace) []traceView {
	out := make([]traceView, len(found))
	for i, t := range found {
		v := traceView{Network: t.At.Network, Room: t.At.ID, Native: t.Native, Author: t.Author.ID, Accepted: isoTime(t.Accepted), Reactors: t.Reactors, Kept: t.Kept}
		if !t.Event.IsZero() {
			v.Event = t.Event.String()
		}
		switch {
		case t.Reaction:
			v.ReactionTo = t.Stands.String()
		case !t.Stands.IsZero():
			v.EditOf = t.Stands.String()
		}
		for _, edit := range t.Edits {
			v.Edits = append(v.Edits, edit.String())
		}
		for _, l := range t.Links {
			v.IDs = append(v.IDs, idView{l.Room.Network, l.Room.ID, l.ID, l.Part, l.Alias, isoTime(l.Known)})
		}
		for _, d := range t.Deliveries {
			v.Deliveries = append(v.Deliveries, viewDelivery(d, t.Accepted))
		}
		out[i] = v
	}
	return out
}

// viewDelivery counts from when the event was accepted; zero: from the delivery's own time.
func viewDelivery(d store.DeliveryTrace, from time.Time) deliveryView {
	v := deliveryView{
		Number: d.Seq, Key: d.Key, Network: d.Room.Network, Room: d.Room.ID, State: d.State.String(), Tries: d.Attempt, Accepted: isoTime(d.Accepted),
		Tried: isoTime(d.Tried), Ended: isoTime(d.Ended), Due: isoTime(d.Due), Reason: d.Reason, Problem: d.Problem,
	}
	if from.IsZero() {
		from = d.Accepted
	}
	if !d.Ended.IsZero() {
		took := d.Ended.Sub(from).Milliseconds()
		v.Millis = &took
	}
	return v
}
