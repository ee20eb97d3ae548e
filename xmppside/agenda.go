package xmppside

import (
	"context"
	"sync"
	"time"
)

// maxAgenda is how much may wait for its time. What does not fit is left undone: all of it are hints.
const maxAgenda = 1024

// agenda holds what is to be done later, each thing under a key: the same thing twice is one. It outlives a connection,
// whose watcher works it off.
type agenda struct {
	mu    sync.Mutex
	items map[string]appointment
}

type appointment struct {
	at time.Time
	do func(ctx context.Context, l *link)
}

// put notes something, unless it stands there already.
func (a *agenda) put(key string, at time.Time, do func(ctx context.Context, l *link)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, there := a.items[key]; there || len(a.items) >= maxAgenda {
		return
	}
	if a.items == nil {
		a.items = map[string]appointment{}
	}
	a.items[key] = appointment{at, do}
}

// drop takes something off that is not needed any more.
func (a *agenda) drop(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.items, key)
}

// start hands what is due to the link's chores.
func (a *agenda) start(l *link, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, it := range a.items {
		if !now.Before(it.at) && l.later(func(ctx context.Context) { it.do(ctx, l) }) {
			delete(a.items, key)
		}
	}
}

// tally counts what may happen only so often a day. Like pauses it is bounded and kept in memory.
type tally struct {
	mu    sync.Mutex
	since map[string]count
}

type count struct {
	from time.Time
	n    int
}

const tallyTime = 24 * time.Hour

// free counts key and reports whether it has not happened most times within a day yet.
func (t *tally) free(key string, now time.Time, most int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, known := t.since[key]
	if now.Sub(c.from) >= tallyTime {
		c = count{from: now}
	}
	if c.n >= most {
		return false
	}
	if t.since == nil {
		t.since = map[string]count{}
	}
	if !known && len(t.since) >= maxPauses {
		for k, old := range t.since {
			if now.Sub(old.from) >= tallyTime {
				delete(t.since, k)
			}
		}
		if len(t.since) >= maxPauses {
			clear(t.since)
		}
	}
	c.n++
	t.since[key] = c
	return true
}
