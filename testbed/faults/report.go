package faults

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// untaken is how long before the gateway left an IRC channel a line may have been on its way to it.
	untaken = time.Second
	// inFlight is how long before a break a line to IRC may have been written whose echo was not noted any more. It bounds what is
	// excused: on a loaded machine a line and its echo lie tens of milliseconds apart.
	inFlight = 2 * time.Second
)

// Direction is what became of the messages from one network to another, both bridges together.
type Direction struct {
	From, To                  Network
	Sent, Arrived             int // Arrived counts each message once
	Lost, Twice, Disorder     int // violations
	NotOffered, Again, Unsure int // see the package; Unsure: its own server went away before it answered
	Silence                   time.Duration
	Wrong                     []string // the first violations, named
}

// Sound says whether nothing was lost, repeated or out of order.
func (d Direction) Sound() bool { return d.Lost == 0 && d.Twice == 0 && d.Disorder == 0 }

// Report compares what was said with what arrived, for every direction.
func (l *Ledger) Report() []Direction {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.directionsLocked()
}

// Reports are what the gateway told people about messages that it gave up.
func (l *Ledger) Reports() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.reports)
}

func (l *Ledger) directionsLocked() []Direction {
	var all []Direction
	for _, from := range networks {
		for _, to := range networks {
			if from == to {
				continue
			}
			d := Direction{From: from, To: to}
			for place := range l.said {
				if place.Network == from {
					l.compare(&d, place, Place{to, place.Bridge})
				}
			}
			all = append(all, d)
		}
	}
	return all
}

// compare adds one bridge's part to a direction.
func (l *Ledger) compare(d *Direction, from, to Place) {
	sent, came := l.said[from], l.arrived[way{from, to}]
	times := map[int][]time.Time{}
	newest, last := 0, time.Time{}
	for _, a := range came {
		if len(times[a.n]) == 0 && a.n < newest {
			d.Disorder++
			d.wrong("%s at %s: %d came after %d", from, to, a.n, newest)
		}
		newest = max(newest, a.n)
		if !last.IsZero() {
			d.Silence = max(d.Silence, a.at.Sub(last))
		}
		last = a.at
		times[a.n] = append(times[a.n], a.at)
	}
	for i, s := range sent {
		n := i + 1
		switch copies := times[n]; {
		case len(copies) > 0:
			d.Arrived++
			d.extra(l, from, to, n, copies)
		case s.unsure:
			d.Unsure++
		case from.Network == IRC && l.notOffered(from, n, s):
			d.NotOffered++
		default:
			d.Lost++
			d.wrong("%s at %s: %d, said at %s, has not arrived", from, to, n, s.accepted.Format(clock))
		}
	}
	d.Sent += len(sent)
}

const clock = "15:04:05.000"

// extra counts copies beyond the first.
func (d *Direction) extra(l *Ledger, from, to Place, n int, copies []time.Time) {
	for _, c := range copies[1:] {
		if to.Network == IRC && slices.ContainsFunc(l.breaks, func(b time.Time) bool {
			return copies[0].After(b.Add(-inFlight)) && copies[0].Before(b.Add(inFlight)) && c.After(b)
		}) {
			d.Again++
			continue
		}
		d.Twice++
		d.wrong("%s at %s: %d came at %s and again at %s", from, to, n, copies[0].Format(clock), c.Format(clock))
	}
}

// shown is how many violations of a direction are named.
const shown = 5

func (d *Direction) wrong(format string, args ...any) {
	if len(d.Wrong) < shown {
		d.Wrong = append(d.Wrong, fmt.Sprintf(format, args...))
	}
}

// notOffered says whether IRC could not give the gateway a message: it was away, or about to go, and the message came nowhere.
func (l *Ledger) notOffered(from Place, n int, s said) bool {
	for _, to := range networks {
		if slices.ContainsFunc(l.arrived[way{from, Place{to, from.Bridge}}], func(a arrival) bool { return a.n == n }) {
			return false
		}
	}
	return slices.ContainsFunc(l.away[from.Bridge], func(w window) bool {
		return s.accepted.After(w.from.Add(-untaken)) && (w.to.IsZero() || s.begun.Before(w.to))
	})
}

// Row is one fault's outcome on one store.
type Row struct {
	Fault, Store string
	Directions   []Direction
	Notes        []string // figures of the fault's own, like a blackout
	Broken       string   // why there is no outcome
}

// Sound says whether the fault did no harm.
func (r Row) Sound() bool {
	return r.Broken == "" && !slices.ContainsFunc(r.Directions, func(d Direction) bool { return !d.Sound() })
}

// Table writes what people look at: a line for each direction, what is wrong after it.
func Table(rows []Row) string {
	var b strings.Builder
	line := "%-22s %-9s %-14s %6v %8v %6v %6v %6v %9v %11v %10s\n"
	fmt.Fprintf(&b, line, "fault", "store", "direction", "sent", "arrived", "lost", "twice", "order", "silence", "not offered", "said again")
	for _, r := range rows {
		if len(rows) > 1 {
			b.WriteString("\n")
		}
		fault, store := r.Fault, r.Store
		for _, d := range r.Directions {
			fmt.Fprintf(&b, line, fault, store, d.From+" → "+d.To, d.Sent-d.Unsure, d.Arrived, d.Lost, d.Twice, d.Disorder, seconds(d.Silence), count(d.From == IRC, d.NotOffered), count(d.To == IRC, d.Again))
			fault, store = "", ""
			for _, w := range d.Wrong {
				fmt.Fprintf(&b, "    WRONG %s\n", w)
			}
		}
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "    %s\n", n)
		}
		if r.Broken != "" {
			fmt.Fprintf(&b, "%-22s %-9s    BROKEN %s\n", r.Fault, r.Store, r.Broken)
		}
	}
	return b.String()
}

// Summary is the one line to read.
func Summary(rows []Row) string {
	var sum Direction
	var harmed []string
	for _, r := range rows {
		for _, d := range r.Directions {
			sum.Sent += d.Sent - d.Unsure
			sum.Arrived += d.Arrived
			sum.Lost += d.Lost
			sum.Twice += d.Twice
			sum.Disorder += d.Disorder
			sum.NotOffered += d.NotOffered
			sum.Again += d.Again
		}
		if !r.Sound() {
			harmed = append(harmed, r.Fault+" on "+r.Store)
		}
	}
	line := fmt.Sprintf("%d faults: of %d messages on their way %d arrived; %d lost, %d twice, %d out of order; %d not offered by IRC, %d said again on IRC",
		len(rows), sum.Sent, sum.Arrived, sum.Lost, sum.Twice, sum.Disorder, sum.NotOffered, sum.Again)
	if len(harmed) > 0 {
		line += "\nHARM was done by: " + strings.Join(harmed, ", ")
	}
	return line
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func count(applies bool, n int) string {
	if !applies {
		return "-"
	}
	return fmt.Sprint(n)
}
