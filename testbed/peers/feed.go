package peers

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// Feed is everything that one peer has seen, in order.
type Feed[E any] struct {
	owner string
	show  func(E) string

	mu      sync.Mutex
	events  []E
	ended   error
	changed chan struct{}
}

func newFeed[E any](owner string, show func(E) string) *Feed[E] {
	return &Feed[E]{owner: owner, show: show, changed: make(chan struct{})}
}

func (f *Feed[E]) add(e E) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
	close(f.changed)
	f.changed = make(chan struct{})
}

// end makes every wait fail at once: the peer is gone.
func (f *Feed[E]) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil {
		f.ended = err
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

// Events returns what has been seen so far.
func (f *Feed[E]) Events() []E {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events[:len(f.events):len(f.events)]
}

// Mark is a point in the feed for AwaitAfter: now.
func (f *Feed[E]) Mark() int { return len(f.Events()) }

// Await returns the first event that fits, whether it has come already or is still to come.
func (f *Feed[E]) Await(ctx context.Context, what string, fits func(E) bool) (E, error) {
	return f.AwaitAfter(ctx, 0, what, fits)
}

// AwaitAfter is Await for events after a mark.
func (f *Feed[E]) AwaitAfter(ctx context.Context, mark int, what string, fits func(E) bool) (E, error) {
	var none E
	for next := mark; ; {
		f.mu.Lock()
		events, changed, ended := f.events, f.changed, f.ended
		f.mu.Unlock()
		for ; next < len(events); next++ {
			if fits(events[next]) {
				return events[next], nil
			}
		}
		if ended != nil {
			return none, fmt.Errorf("%s: waiting for %s: %w; it had seen:\n%s", f.owner, what, ended, f.text(mark))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return none, fmt.Errorf("%s: %s has not come: %w; it saw:\n%s", f.owner, what, context.Cause(ctx), f.text(mark))
		}
	}
}

// Each calls see with every event after a mark, as they come, until ctx or the feed ends.
func (f *Feed[E]) Each(ctx context.Context, mark int, see func(E)) {
	for next := mark; ; {
		f.mu.Lock()
		events, changed, ended := f.events, f.changed, f.ended
		f.mu.Unlock()
		for ; next < len(events); next++ {
			see(events[next])
		}
		if ended != nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// text shows the last events for a failure message.
func (f *Feed[E]) text(mark int) string {
	const most = 60
	events := f.Events()[mark:]
	var b strings.Builder
	if len(events) > most {
		fmt.Fprintf(&b, "    (%d earlier ones)\n", len(events)-most)
		events = events[len(events)-most:]
	}
	for _, e := range events {
		if s := f.show(e); s != "" {
			b.WriteString("    " + s + "\n")
		}
	}
	if b.Len() == 0 {
		return "    nothing"
	}
	return b.String()
}

// contains says whether a text holds what a person would look for in it, whatever line breaks and spaces lie between the words.
func contains(text, wanted string) bool {
	return strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(wanted), " "))
}
