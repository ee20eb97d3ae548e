package store

import (
	"maps"
	"strings"

	"lockbridge/gateway"
)

// layer is what one function staged, on top of what was staged before it. Reads look through the layers from the top
// and then into the database.
type layer struct {
	below *layer

	values map[string][]byte // state; nil: deleted
	outs   map[string]bool   // delivery keys whose state "out/<key>…" is deleted

	links     map[gateway.Native]gateway.Link
	linkOrder []gateway.Native
	targets   map[gateway.ID]gateway.Target // of events
	retracted map[gateway.ID]bool           // events of which all is wiped that was kept for others
	stands    map[gateway.ID]gateway.ID     // what events stand for
	said      map[gateway.ID]resaid         // events whose excerpt is replaced
	gone      map[gateway.Native]bool       // links that are only marks now
	reactions map[reactionKey]gateway.Reactions

	events     [][]any
	deliveries [][]any
	fresh      []freshRow // the same deliveries, for memory
	done       []gateway.Finished
	wakes      map[string]bool // networks with new deliveries
}

// value looks a key up. ok: the layers know it; a nil value means that it is deleted.
func (l *layer) value(key string) (value []byte, ok bool) {
	for ; l != nil; l = l.below {
		if v, ok := l.values[key]; ok {
			return v, true
		}
		if l.outs[outKey(key)] {
			return nil, true
		}
	}
	return nil, false
}

// outPrefix is where a side keeps the bytes of a delivery; see gateway.Journal.Finish.
const outPrefix = "out/"

// outKey returns the delivery key of "out/<key>" and "out/<key>/…", else "".
func outKey(key string) string {
	rest, ok := strings.CutPrefix(key, outPrefix)
	if !ok {
		return ""
	}
	out, _, _ := strings.Cut(rest, "/")
	return out
}

func (l *layer) put(key string, value []byte) {
	if l.values == nil {
		l.values = map[string][]byte{}
	}
	l.values[key] = value
}

// dropOut deletes the state of a delivery that has ended.
func (l *layer) dropOut(key string) {
	if l.outs == nil {
		l.outs = map[string]bool{}
	}
	l.outs[key] = true
	for k := range l.values {
		if outKey(k) == key {
			delete(l.values, k)
		}
	}
}

// link applies the rule for native ids: the first link stays, but an alias yields to a newer alias.
func (l *layer) link(link gateway.Link) {
	old, ok := l.links[link.Native]
	if ok && (!old.Alias || !link.Alias) {
		return
	}
	if l.links == nil {
		l.links = map[gateway.Native]gateway.Link{}
	}
	if !ok {
		l.linkOrder = append(l.linkOrder, link.Native)
	}
	l.links[link.Native] = link
}

// linked looks a native id up through the layers, on top of what the database says.
func (l *layer) linked(n gateway.Native, link gateway.Link, ok bool) (gateway.Link, bool) {
	if l == nil {
		return link, ok
	}
	link, ok = l.below.linked(n, link, ok)
	mine, staged := l.links[n]
	if staged && (!ok || link.Alias && mine.Alias) {
		return mine, true
	}
	return link, ok
}

// target looks an event up through the layers.
func (l *layer) target(id gateway.ID) (gateway.Target, bool) {
	for ; l != nil; l = l.below {
		if t, ok := l.targets[id]; ok {
			return t, true
		}
	}
	return gateway.Target{}, false
}

// drop makes a native id mean nothing any more.
func (l *layer) drop(n gateway.Native) { l.gone = merged(l.gone, map[gateway.Native]bool{n: true}) }

// dropped reports whether drop was told of it.
func (l *layer) dropped(n gateway.Native) bool {
	for ; l != nil; l = l.below {
		if l.gone[n] {
			return true
		}
	}
	return false
}

// standsFor is what a staged event stands for; zero: none, or it is not staged.
func (l *layer) standsFor(id gateway.ID) gateway.ID {
	for ; l != nil; l = l.below {
		if s, ok := l.stands[id]; ok {
			return s
		}
	}
	return gateway.ID{}
}

// about lays over what is known of an event what was staged since it was said.
func (l *layer) about(t gateway.Target) gateway.Target {
	for ; l != nil; l = l.below {
		if l.retracted[t.Event] {
			t.Author, t.Excerpt, t.ReplyTo, t.Thread, t.Wiped = gateway.Person{}, "", "", "", true
			return t
		}
		if s, ok := l.said[t.Event]; ok {
			t.Excerpt = s.excerpt
			return t
		}
	}
	return t
}

// settle adds what l holds to the layer below it.
func (l *layer) settle(below *layer) {
	if below.untouched() {
		rest := below.below
		*below = *l
		below.below = rest
		*l = layer{below: below} // who stages in it too late stages in vain
		return
	}
	for key := range l.outs {
		below.dropOut(key)
	}
	for key, value := range l.values {
		below.put(key, value)
	}
	for _, n := range l.linkOrder {
		below.link(l.links[n])
	}
	below.targets = merged(below.targets, l.targets)
	below.retracted = merged(below.retracted, l.retracted)
	below.stands = merged(below.stands, l.stands)
	below.said = merged(below.said, l.said)
	below.gone = merged(below.gone, l.gone)
	below.reactions = merged(below.reactions, l.reactions)
	below.wakes = merged(below.wakes, l.wakes)
	below.events = append(below.events, l.events...)
	below.deliveries = append(below.deliveries, l.deliveries...)
	below.fresh = append(below.fresh, l.fresh...)
	below.done = append(below.done, l.done...)
}

// untouched reports whether nothing has been staged in l.
func (l *layer) untouched() bool {
	return l.outs == nil && l.values == nil && l.links == nil && l.targets == nil && l.retracted == nil && l.wakes == nil &&
		l.stands == nil && l.said == nil && l.gone == nil && l.reactions == nil && l.events == nil && l.deliveries == nil && l.done == nil
}

func merged[K comparable, V any](into, from map[K]V) map[K]V {
	if into == nil {
		return from
	}
	maps.Copy(into, from)
	return into
}
