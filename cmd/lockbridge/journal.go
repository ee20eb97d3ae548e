package main

import (
	"fmt"
	"time"
)

// journalBlock is the [journal] table: how long things are kept and tried.
type journalBlock struct {
	Retention   time.Duration `toml:"retention"`
	CatchUp     time.Duration `toml:"catch_up"`
	MaxAge      time.Duration `toml:"max_age"`
	LaneLimit   int           `toml:"lane_limit"`
	DeadLetters time.Duration `toml:"dead_letters"`
}

func defaultJournal() journalBlock {
	return journalBlock{Retention: 90 * day, CatchUp: day, MaxAge: day, LaneLimit: 10000, DeadLetters: 7 * day}
}

// leastLane is the least limit of a lane: some runs of deliveries, so that a short outage is never a loss.
const leastLane = 100

// checkJournal finds what is too little. Nothing here can be switched off: each value bounds what is lost or what is
// kept. What the file does not name gives way to a short retention.
func (c *config) checkJournal(f *findings) {
	j := &c.Journal
	if j.LaneLimit < leastLane {
		f.add(finding{key: "journal.lane_limit", text: fmt.Sprintf("is less than %d: a short outage would cost messages", leastLane), remedy: fmt.Sprintf("at least %d", leastLane)})
	}
	if j.Retention < day {
		f.add(finding{key: "journal.retention", text: "is less than a day: what is carried must stay known, or it may be carried twice", remedy: `at least "24h"`})
		return
	}
	for _, one := range []struct {
		key      string
		value    *time.Duration
		too, why string
	}{
		{"catch_up", &j.CatchUp, "what is said during a restart would not be carried", "what is read again must still be known as carried"},
		{"max_age", &j.MaxAge, "deliveries must outlive a restart of the server that they are for", "a message must be known while it is delivered"},
		{"dead_letters", &j.DeadLetters, "nobody could retry anything", "a message must be known while it can be retried"},
	} {
		key := "journal." + one.key
		_, written := f.doc.lines[key]
		switch {
		case *one.value < time.Minute:
			f.add(finding{key: key, text: "is less than a minute: " + one.too, remedy: `at least "1m"`})
		case *one.value > j.Retention && written:
			f.add(finding{key: key, text: "is longer than retention: " + one.why, remedy: "shorten it, or lengthen journal.retention"})
		}
		*one.value = min(*one.value, j.Retention)
	}
}
