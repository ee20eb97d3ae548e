package peers

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Entry is one text as one peer said or saw it.
type Entry struct {
	At     time.Time
	Where  string // the peer and its network, for example "XMPP romeo"
	Who    string // whom the peer saw speaking
	Text   string
	Said   bool // by this peer itself; else it arrived here
	Sealed bool // travelled end-to-end encrypted on this peer's leg
}

// Transcript collects the conversation of a scenario. A nil Transcript collects nothing.
type Transcript struct {
	mu      sync.Mutex
	entries []Entry
}

func (t *Transcript) add(e Entry) {
	if t == nil {
		return
	}
	e.At = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, e)
}

// Entries returns what was said and seen so far.
func (t *Transcript) Entries() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.entries)
}

// Print writes the conversation as each side saw it, with a lock beside what travelled sealed.
func (t *Transcript) Print(w io.Writer) {
	entries := t.Entries()
	var places []string
	for _, e := range entries {
		if !slices.Contains(places, e.Where) {
			places = append(places, e.Where)
		}
	}
	for _, place := range places {
		fmt.Fprintf(w, "\n  %s\n", place)
		for _, e := range entries {
			if e.Where != place {
				continue
			}
			lock, arrow := "  ", "<"
			if e.Sealed {
				lock = "🔒"
			}
			if e.Said {
				arrow = ">"
			}
			fmt.Fprintf(w, "    %s %s %s %s: %s\n", e.At.Format("15:04:05.000"), lock, arrow, e.Who, e.Text)
		}
	}
}
