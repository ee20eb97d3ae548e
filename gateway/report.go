package gateway

import (
	"strings"
	"sync"
	"time"
)

const (
	// roomReportPause is how long a sender is spared a second report for the same reason in the same room.
	roomReportPause = 10 * time.Minute
	// chatReportPause is the same in a direct chat, where nobody else tells that a message did not arrive. It keeps the
	// gateway from talking with a machine that answers everything.
	chatReportPause = time.Minute
)

func reportPause(at Address) time.Duration {
	if _, _, direct := at.Direct(); direct {
		return chatReportPause
	}
	return roomReportPause
}

// reportKey is what a report is about.
type reportKey struct {
	room   Address
	sender string
	reason string
}

// told remembers what people were told lately, so that a broken room does not bury its members in reports. It is
// bounded: full of running pauses it forgets them all, which costs some repeated reports and nothing else.
type told struct {
	now func() time.Time

	mu    sync.Mutex
	until map[any]time.Time
}

const maxTold = 4096

// free reports whether key may be told now.
func (t *told) free(key any) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.now().Before(t.until[key])
}

// mark starts the pauses of keys.
func (t *told) mark(keys map[any]time.Duration) {
	if len(keys) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if len(t.until)+len(keys) > maxTold {
		for key, until := range t.until {
			if now.After(until) {
				delete(t.until, key)
			}
		}
		if len(t.until)+len(keys) > maxTold {
			clear(t.until)
		}
	}
	for key, pause := range keys {
		t.until[key] = now.Add(pause)
	}
}

// ReportText tells somebody that what they said was not carried, in a sentence; what is "Your message" or the like. The
// gateway's own reasons begin with whom it did not reach.
func ReportText(what, reason string) string {
	text := what + " was not delivered"
	if where, ok := strings.CutPrefix(reason, "not delivered "); ok {
		text += " " + where
	} else if reason != "" {
		text += ": " + reason
	}
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "!") {
		return text
	}
	return text + "."
}
