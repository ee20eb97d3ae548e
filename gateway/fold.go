package gateway

import (
	"slices"
	"time"
)

// reactionFold is how long reactions that are told in words are gathered.
const reactionFold = 10 * time.Second

// folding is what becomes of the head of a lane whose room has no edits.
type folding struct {
	// say are the rows to deliver, in order. The event of one may be a copy that says what a later row made of it.
	say []Queued
	// ended are rows that need no delivery any more.
	ended []Queued
	// with are rows whose words are said by another row, by its Seq: they end with it. If it fails they wait on, for a
	// message must not lose its edit.
	with map[int64][]Queued
	// left are rows that wait until due, at the end of the lane.
	left []Queued
	due  time.Time
}

// fold says quick edits as one. rows are the head of a lane, in order, their references resolved; full: more may wait
// behind them. A message that waits there untried says what its last edit made of it; one that was taken back is not
// said at all, nor are its edits and the reactions to it. An edit that is the last thing waiting is left until it is
// caps.Fold old, and reactions that are told in words until they are reactionFold old: as soon as anything follows they
// are said. With caps.Hold a message is left as well, and all behind it, but not where a report is behind it. What was
// tried before is neither changed nor left. It is pure.
func fold(rows []Queued, caps Caps, now time.Time, full bool) folding {
	f := folder{caps: caps, rows: slices.Clone(rows), fate: make([]fate, len(rows)), waiting: map[ID]int{}, takenBack: map[ID]bool{}}
	for i := range f.rows {
		if f.rows[i].Event != nil {
			f.consider(i)
		}
	}
	from, due := f.leave(now, full)
	out := folding{with: map[int64][]Queued{}, due: due}
	for i, row := range f.rows {
		last := i // the row that says it
		for f.fate[last] > 0 {
			last = int(f.fate[last]) - 1
		}
		switch {
		case f.fate[last] == over:
			out.ended = append(out.ended, row)
		case last >= from: // what another row says waits with that
			out.left = append(out.left, row)
		case last != i:
			out.with[rows[last].Seq] = append(out.with[rows[last].Seq], row)
		default:
			out.say = append(out.say, row)
		}
	}
	return out
}

// fate is what becomes of a row: it is said by itself (0), by the row of index fate-1, or not at all.
type fate int

const over fate = -1

type folder struct {
	caps Caps
	rows []Queued
	fate []fate
	// waiting are untried messages, and untried edits of others, by the message; untried reactions by their anchor.
	waiting map[ID]int
	// takenBack are messages that waited and are not said.
	takenBack map[ID]bool
}

// consider looks at one more row.
func (f *folder) consider(i int) {
	f.forget(i)
	row := f.rows[i]
	untried, joins := row.Attempt == 0, f.caps.Fold > 0 || f.caps.Hold > 0
	switch b := row.Event.Body.(type) {
	case Message:
		if untried && joins && !row.Event.Sender.IsZero() {
			f.waiting[row.Event.ID] = i
		}
	case Edit:
		switch {
		case untried && f.takenBack[b.Target.ID]:
			f.fate[i] = over
		case untried && joins && !b.Target.ID.IsZero() && len(b.Files) == 0:
			f.edit(i, b)
		default: // said by itself, so what is said before it must not be newer
			delete(f.waiting, b.Target.ID)
		}
	case Retract:
		if untried && joins && !b.Target.ID.IsZero() {
			f.retract(i, b.Target.ID)
		}
	case Reaction:
		switch {
		case !untried:
		case f.takenBack[b.Target.ID]:
			f.fate[i] = over
		case f.gathers() && !b.Anchor.IsZero():
			if at, waits := f.waiting[b.Anchor]; waits {
				f.fate[at] = fate(i + 1)
			}
			f.waiting[b.Anchor] = i
		}
	}
}

// gathers reports whether reactions are told in words.
func (f *folder) gathers() bool { return f.caps.ReactionNotes && !f.caps.Reaction }

// edit lets the message say what the edit made of it, or an earlier edit what this one did. Always the earlier row speaks:
// if its echo ends it and nothing is known of the others, they say what is newer or the same.
func (f *folder) edit(i int, e Edit) {
	at, waits := f.waiting[e.Target.ID]
	if !waits {
		f.waiting[e.Target.ID] = i
		return
	}
	if !f.bySame(at, i) {
		return
	}
	switch b := f.rows[at].Event.Body.(type) {
	case Message:
		b.Text, b.Style = e.Text, e.Style
		f.replace(at, b)
	case Edit: // what people see is what was there before that one
		b.Text, b.Style = e.Text, e.Style
		f.replace(at, b)
		f.rows[at].Accepted = f.rows[i].Accepted // it may still change
	}
	f.fate[i] = fate(at + 1)
}

// bySame reports whether two rows come from the same person. Whoever may change a message has been judged before; that
// it is asked again here costs nothing.
func (f *folder) bySame(i, j int) bool {
	a, b := f.rows[i].Event.Sender, f.rows[j].Event.Sender
	return a.Network == b.Network && a.ID == b.ID
}

// retract ends what waits of a message. If that is the message itself, nothing of it is ever said.
func (f *folder) retract(i int, target ID) {
	at, waits := f.waiting[target]
	if f.takenBack[target] {
		f.fate[i] = over
	}
	if r := f.rows[i].Event.Body.(Retract); !waits || !r.Moderated && !f.bySame(at, i) {
		return
	}
	delete(f.waiting, target)
	f.fate[at] = over
	if _, isEdit := f.rows[at].Event.Body.(Edit); isEdit {
		return
	}
	f.fate[i], f.takenBack[target] = over, true
	for j := at + 1; j < i; j++ {
		if f.rows[j].Event == nil {
			continue
		}
		if r, ok := f.rows[j].Event.Body.(Reaction); ok && r.Target.ID == target && f.rows[j].Attempt == 0 {
			f.fate[j] = over
		}
		f.forget(j)
	}
}

// forget takes what was taken back out of the quote of a row.
func (f *folder) forget(i int) {
	if len(f.takenBack) == 0 {
		return
	}
	f.replace(i, refs(f.rows[i].Event.Body, func(r Ref) Ref {
		if f.takenBack[r.ID] {
			r.Excerpt = ""
		}
		return r
	}))
}

// replace gives a row another body; the event that others may hold as well stays as it is.
func (f *folder) replace(i int, b Body) {
	ev := *f.rows[i].Event
	ev.Body = b
	f.rows[i].Event = &ev
}

// leave decides from which row on the lane waits, and until when.
func (f *folder) leave(now time.Time, full bool) (from int, due time.Time) {
	last, held := -1, -1
	for i := range f.rows {
		row := &f.rows[i]
		if f.fate[i] != 0 {
			continue
		}
		if last = i; row.Event == nil {
			continue
		}
		switch b := row.Event.Body.(type) {
		case Message:
			if held < 0 && row.Attempt == 0 && !row.Event.Sender.IsZero() && young(*row, f.caps.Hold, now) {
				held = i
			}
		case Receipt:
			if b.State == Undeliverable {
				held = len(f.rows) // nothing is held in front of it
			}
		}
	}
	if held >= 0 && held < len(f.rows) {
		return held, until(f.rows[held], f.caps.Hold, now)
	}
	if last < 0 || full || f.rows[last].Event == nil || f.rows[last].Attempt > 0 {
		return len(f.rows), time.Time{}
	}
	var wait time.Duration
	switch f.rows[last].Event.Body.(type) {
	case Edit:
		wait = f.caps.Fold
	case Reaction:
		if f.gathers() {
			wait = reactionFold
		}
	}
	if !young(f.rows[last], wait, now) {
		return len(f.rows), time.Time{}
	}
	return last, until(f.rows[last], wait, now)
}

// young reports whether a row is not of an age yet. What another process accepted, whose clock is far ahead, is not.
func young(row Queued, age time.Duration, now time.Time) bool {
	return now.Sub(row.Accepted).Abs() < age
}

// until is when a young row is old enough.
func until(row Queued, age time.Duration, now time.Time) time.Time {
	if due := row.Accepted.Add(age); due.Before(now.Add(age)) {
		return due
	}
	return now.Add(age)
}
