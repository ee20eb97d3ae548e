package gateway

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// threadName is the name of the thread that a message is in, where its network names threads; see ThreadNative.
func threadName(ev *Event) string {
	m, ok := ev.Body.(Message)
	if !ok {
		return ""
	}
	name, ok := strings.CutPrefix(m.Thread.Native, ThreadNative(""))
	if !ok {
		return ""
	}
	return name
}

// loadThreads finds the roots of threads that are named by the id of their root. Anybody can write such a name: it means
// something only in rooms that have the event.
func (a *acceptance) loadThreads(ctx context.Context, events []*Event) error {
	roots := map[Address]map[ID][]Native{} // by the room in which they are named
	for _, ev := range events {
		name := threadName(ev)
		n := Native{ev.At, ThreadNative(name)}
		if _, known := a.targets[n]; name == "" || known {
			continue
		}
		if id, err := ParseID(name); err == nil {
			if roots[ev.At] == nil {
				roots[ev.At] = map[ID][]Native{}
			}
			roots[ev.At][id] = append(roots[ev.At][id], n)
		}
	}
	for room, named := range roots {
		parts, err := a.g.journal.Parts(ctx, room, slices.Collect(maps.Keys(named)))
		if err != nil {
			return err
		}
		for id := range parts {
			for _, n := range named[id] {
				a.targets[n] = Target{Event: id, Part: ThreadPart}
				a.entries = append(a.entries, Entry{Links: []Link{{Native: n, Event: id, Part: ThreadPart}}})
			}
		}
	}
	return nil
}

// hang ties a message to its thread: to the root if the thread is known, else it is the root itself, which the room knows
// by the link that is returned.
func (a *acceptance) hang(ev *Event) []Link {
	name := threadName(ev)
	n := Native{ev.At, ThreadNative(name)}
	if _, known := a.targets[n]; name == "" || known {
		return nil
	}
	m := ev.Body.(Message) //nolint:forcetypeassert // it has a thread
	m.Thread = Ref{}
	ev.Body = m
	a.targets[n] = Target{Event: ev.ID, Room: ev.At, Native: ev.Native, Part: ThreadPart, Author: ev.Sender, Excerpt: Excerpt(m)}
	return []Link{{Native: n, Event: ev.ID, Part: ThreadPart}}
}
