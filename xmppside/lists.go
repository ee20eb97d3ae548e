package xmppside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lockbridge/omemo"
)

// listName names somebody's list of a version.
type listName struct {
	jid     string
	version omemo.Version
}

// refreshLimit is how long a message waits for news of lists that are known, but old.
const refreshLimit = time.Second

// lists returns the device lists of people: cached ones where they are fresh, else read anew. Who cannot be read keeps
// what was known: silence is not emptiness.
func (d *directory) lists(ctx context.Context, l *link, jids []string) (map[string]*deviceList, error) {
	known, err := d.cached(ctx, jids)
	if err != nil {
		return nil, err
	}
	unknown, old := d.outdated(jids, known)
	if len(unknown)+len(old) == 0 {
		return known, nil
	}
	if len(old) > 0 {
		done := make(chan struct{})
		if l.later(func(ctx context.Context) {
			defer close(done)
			if err := d.refresh(ctx, l, old); err != nil && ctx.Err() == nil && !errors.Is(err, errLinkDown) {
				d.side.log.Warn("device lists are not read anew", "err", err)
			}
		}) {
			waiting, cancel := context.WithTimeout(ctx, refreshLimit)
			defer cancel()
			select {
			case <-done:
			case <-waiting.Done():
			}
		} else {
			unknown = append(unknown, old...)
		}
	}
	if err := d.refresh(ctx, l, unknown); err != nil {
		return nil, err
	}
	return d.cached(ctx, jids)
}

// refresh reads lists and keeps what it learns. The error is errLinkDown where some could not be asked for.
func (d *directory) refresh(ctx context.Context, l *link, names []listName) error {
	defer d.refreshed(names)
	asked := d.asking()
	fresh := make([]published, len(names))
	errs := make([]error, len(names))
	inParallel(len(names), 2*perDomain, func(i int) {
		fresh[i], errs[i] = d.read(ctx, l, names[i])
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var cut error
	var learnt []listName
	var whose []string
	news := map[listName]published{}
	for i, name := range names {
		switch {
		case errors.Is(errs[i], errLinkDown):
			cut = errs[i]
			continue
		case errs[i] != nil:
			d.markSilent(name)
			continue
		}
		learnt, news[name] = append(learnt, name), fresh[i]
		if !slices.Contains(whose, name.jid) {
			whose = append(whose, name.jid)
		}
	}
	if len(learnt) == 0 {
		return cut
	}
	var now map[string]*deviceList
	err := d.side.deps.State.Update(ctx, func(ctx context.Context) (err error) {
		if now, err = d.cached(ctx, whose); err != nil {
			return err
		}
		for _, name := range learnt {
			switch list := now[name.jid].of(name.version); {
			case d.toldSince(name, asked): // the answer may be from before
			case news[name].Forbidden:
				list.Forbidden, list.Read = true, news[name].Read
			default:
				list.take(news[name].IDs, news[name].Read)
			}
		}
		return d.put(ctx, now)
	})
	if err != nil {
		return fmt.Errorf("keep device lists: %w", err)
	}
	for _, name := range learnt {
		d.follow(l, name, *now[name.jid].of(name.version))
	}
	return cut
}

// asking is the place of a question in the order of questions and news.
func (d *directory) asking() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.order
}

// tell notes that news of a list came by itself and is taken: answers to what was asked before it are not any more.
func (d *directory) tell(name listName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.told) >= maxBroken {
		clear(d.told)
	}
	d.order++
	d.told[name] = d.order
}

func (d *directory) toldSince(name listName, asked int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.told[name] > asked
}

func (d *directory) refreshed(names []listName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		delete(d.refreshing, name)
	}
}

// outdated picks the lists to read anew, those that were never read apart: not those of servers that were silent a moment
// ago, or each message would wait for them again, and not old ones that are being read.
func (d *directory) outdated(jids []string, known map[string]*deviceList) (unknown, old []listName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.side.now()
	for _, j := range jids {
		for _, v := range d.side.versions {
			name, list := listName{j, v}, known[j].of(v)
			switch {
			case now.Sub(list.Read).Abs() < list.age() && !list.Read.Before(d.expired[j]), now.Before(d.silent[name]):
			case list.Read.IsZero():
				unknown = append(unknown, name)
			case !d.refreshing[name]:
				d.refreshing[name] = true
				old = append(old, name)
			}
		}
	}
	return unknown, old
}

// expire has somebody's lists read anew before the next message: they came with a client that may be new.
func (d *directory) expire(jid string) {
	if !d.side.lately.free("expire/"+jid, d.side.now(), expirePause) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.expired) >= maxBroken {
		clear(d.expired)
	}
	d.expired[jid] = d.side.now()
}

func (d *directory) markSilent(name listName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.silent) >= maxBroken {
		clear(d.silent)
	}
	d.silent[name] = d.side.now().Add(silentPause)
}

// read asks for one list. With an error nothing was learnt.
func (d *directory) read(ctx context.Context, l *link, name listName) (published, error) {
	xml, err := d.fetch(ctx, l, name.jid, listNode(name.version), "")
	switch c := condition(err); {
	case err == nil:
		ids, err := omemo.ParseDeviceList(name.version, xml)
		if err != nil {
			d.grumble(name, "a device list is malformed", err)
			return published{}, err
		}
		return published{IDs: ids, Read: d.side.now()}, nil
	case hidden(err):
		return published{Forbidden: true, Read: d.side.now()}, nil
	case c == "item-not-found":
		return published{Read: d.side.now()}, nil
	default:
		if !errors.Is(err, errLinkDown) {
			d.grumble(name, "a device list could not be read; the last one known counts", err)
		}
		return published{}, err
	}
}

// hidden reports whether somebody shows a node to their contacts only.
func hidden(err error) bool {
	switch condition(err) {
	case "forbidden", "not-authorized", "subscription-required", "presence-subscription-required":
		return true
	}
	return false
}

// grumble logs what is wrong with a list, now and then.
func (d *directory) grumble(name listName, what string, err error) {
	if d.side.lately.free(what+name.jid+name.version.String(), d.side.now(), namePause) {
		d.side.log.Warn(what, "of", name.jid, "version", name.version, "err", err)
	}
}

func (d *directory) cached(ctx context.Context, jids []string) (map[string]*deviceList, error) {
	keys := make([]string, len(jids))
	for i, j := range jids {
		keys[i] = stateList + j
	}
	found, err := d.side.deps.State.GetMany(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("recall device lists: %w", err)
	}
	out := map[string]*deviceList{}
	for _, j := range jids {
		list := &deviceList{}
		if v := found[stateList+j]; v != nil {
			if err := json.Unmarshal(v, list); err != nil {
				return nil, fmt.Errorf("recall the device list of %s: %w", j, err)
			}
		}
		out[j] = list
	}
	return out, nil
}

func (d *directory) put(ctx context.Context, lists map[string]*deviceList) error {
	values := map[string][]byte{}
	for j, list := range lists {
		v, err := json.Marshal(list)
		if err != nil {
			return err
		}
		values[stateList+j] = v
	}
	return d.side.deps.State.PutMany(ctx, values)
}

// change edits one list inside a transaction.
func (d *directory) change(ctx context.Context, name listName, edit func(*published) bool) error {
	lists, err := d.cached(ctx, []string{name.jid})
	if err != nil || !edit(lists[name.jid].of(name.version)) {
		return err
	}
	return d.put(ctx, lists)
}

// hear notes inside a transaction that a device wrote to us.
func (d *directory) hear(ctx context.Context, v omemo.Version, a omemo.Address) error {
	return d.change(ctx, listName{a.JID, v}, func(list *published) bool { return list.hear(a.Device) })
}

// follow asks for news of a list, once: by an explicit subscription from the gateway's address where the list is open,
// by a presence subscription where it is not.
func (d *directory) follow(l *link, name listName, list published) {
	if list.Subscribed || (!list.Forbidden && len(list.IDs) == 0) {
		return
	}
	s := d.side
	l.later(func(ctx context.Context) {
		if list.Forbidden {
			ask := el("", "presence", "type", "subscribe", "from", s.self, "to", name.jid)
			ask.add(el("", "status").say("May the bridge read your device list? It has to, to encrypt for you."))
			if err := l.send(ask); err != nil {
				return
			}
		} else {
			query := el(nsPubSub, "pubsub").add(el(nsPubSub, "subscribe", "node", listNode(name.version), "jid", s.self))
			if _, err := l.ask(ctx, "set", s.self, name.jid, query); err != nil && condition(err) == "" {
				return
			}
		}
		err := s.deps.State.Update(ctx, func(ctx context.Context) error {
			return d.change(ctx, name, func(list *published) bool { list.Subscribed = true; return true })
		})
		if err != nil && ctx.Err() == nil {
			s.log.Warn("it could not be noted that a device list is followed", "of", name.jid, "err", err)
		}
	})
}

// readListEvent takes in the news of a list, which counts only from the account itself.
func (s *Side) readListEvent(m *message, b *batch) {
	event := m.child(nsEvent, "event")
	from := m.get("from")
	jid := normalBare(from)
	if jid == "" || jid != from || domainOf(jid) == s.domain || !s.ourAddress(bare(m.get("to"))) {
		return
	}
	for _, v := range s.versions {
		name := listName{jid, v}
		if sub := event.child(nsEvent, "subscription"); sub.get("node") == listNode(v) && sub.get("subscription") == "none" {
			s.changeList(name, b, func(list *published) bool { list.Subscribed, list.Told = false, false; return true })
		}
		items := event.child(nsEvent, "items")
		if items.get("node") != listNode(v) {
			continue
		}
		var ids []uint32
		if item := pickItem(items.all(nsEvent, "item"), currentItem); item != nil && len(item.kids) > 0 {
			var err error
			if ids, err = omemo.ParseDeviceList(v, item.kids[0].append(nil, "")); err != nil {
				s.devices.grumble(name, "a device list is malformed", err)
				return
			}
		} else if items.child(nsEvent, "retract") == nil {
			return
		}
		s.changeList(name, b, func(list *published) bool {
			if list.Read.IsZero() && !list.Subscribed && len(list.Heard) == 0 {
				return false // somebody we never asked about
			}
			s.devices.tell(name)
			list.take(ids, s.now())
			list.Told = true
			return true
		})
		b.then(func() { s.devices.pardon(jid) })
	}
}

// changeList edits a list in the order of the stream.
func (s *Side) changeList(name listName, b *batch, edit func(*published) bool) {
	b.arrivals = append(b.arrivals, s.stateArrival(name.jid, func(ctx context.Context) error { return s.devices.change(ctx, name, edit) }))
}
