package xmppside

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"lockbridge/omemo"
)

// deviceList is what State keeps of somebody's devices.
type deviceList struct {
	IDs []uint32 `json:"ids"`
	// Heard are devices that wrote to us without standing in a list that we could read.
	Heard     []uint32  `json:"heard,omitempty"`
	Read      time.Time `json:"read"` // zero: to be read again
	Forbidden bool      `json:"forbidden,omitempty"`
	// Subscribed: the person's server was asked to tell us of changes.
	Subscribed bool `json:"subscribed,omitempty"`
}

// usable are the devices to seal for. Only a list that may not be read is stretched by those that were heard: the
// trap of a client that publishes its list for its contacts only.
func (d deviceList) usable() []uint32 {
	if !d.Forbidden {
		return d.IDs
	}
	out := slices.Clone(d.IDs)
	for _, id := range d.Heard {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// hear notes that a device wrote to us, and asks for the list to be read again if it is not in it.
func (d *deviceList) hear(id uint32) (changed bool) {
	if slices.Contains(d.IDs, id) || slices.Contains(d.Heard, id) {
		return false
	}
	d.Heard = append(d.Heard, id)
	if len(d.Heard) > maxDevices {
		d.Heard = d.Heard[1:]
	}
	d.Read = time.Time{}
	return true
}

// lists returns the device lists of people: cached ones where they are fresh, else read anew. Who cannot be read keeps
// what was known: silence is not emptiness.
func (d *directory) lists(ctx context.Context, l *link, jids []string) (map[string]deviceList, error) {
	known, err := d.cached(ctx, jids)
	if err != nil {
		return nil, err
	}
	old := d.outdated(jids, known)
	fresh := make([]deviceList, len(old))
	read := make([]bool, len(old))
	inParallel(len(old), 2*perDomain, func(i int) {
		fresh[i], read[i] = d.read(ctx, l, old[i])
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	keep := map[string]deviceList{}
	for i, j := range old {
		if read[i] {
			keep[j] = fresh[i]
		} else {
			d.markSilent(j)
		}
	}
	if len(keep) == 0 {
		return known, nil
	}
	err = d.side.deps.State.Update(ctx, func(ctx context.Context) error {
		now, err := d.cached(ctx, old)
		if err != nil {
			return err
		}
		for j, list := range keep {
			was := now[j]
			list.Heard, list.Subscribed = was.Heard, was.Subscribed
			if list.Forbidden {
				list.IDs = was.IDs
			} else {
				list.Heard = nil
			}
			known[j] = list
		}
		return d.put(ctx, known, keep)
	})
	if err != nil {
		return nil, fmt.Errorf("keep device lists: %w", err)
	}
	for j := range keep {
		d.follow(l, j, known[j])
	}
	return known, nil
}

// outdated picks the lists to read anew: not those of servers that were silent a moment ago, or each message would wait
// for them again.
func (d *directory) outdated(jids []string, known map[string]deviceList) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.side.now()
	var old []string
	for _, j := range jids {
		if now.Sub(known[j].Read) >= listAge && !now.Before(d.silent[j]) {
			old = append(old, j)
		}
	}
	return old
}

func (d *directory) markSilent(jid string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.silent) >= maxBroken {
		clear(d.silent)
	}
	d.silent[jid] = d.side.now().Add(silentPause)
}

// read asks for one list. false: nothing was learnt.
func (d *directory) read(ctx context.Context, l *link, jid string) (deviceList, bool) {
	xml, err := d.fetch(ctx, l, jid, nodeList)
	switch c := condition(err); {
	case err == nil:
		ids, err := omemo.ParseDeviceList(xml)
		if err != nil {
			d.side.log.Warn("a device list is malformed", "of", jid, "err", err)
			return deviceList{}, false
		}
		return deviceList{IDs: ids[:min(len(ids), maxDevices)], Read: d.side.now()}, true
	case c == "forbidden" || c == "not-authorized" || c == "subscription-required" || c == "presence-subscription-required":
		return deviceList{Forbidden: true, Read: d.side.now()}, true
	case c == "item-not-found":
		return deviceList{Read: d.side.now()}, true
	default:
		d.side.log.Info("a device list could not be read; the last one known counts", "of", jid, "err", err)
		return deviceList{}, false
	}
}

func (d *directory) cached(ctx context.Context, jids []string) (map[string]deviceList, error) {
	keys := make([]string, len(jids))
	for i, j := range jids {
		keys[i] = stateList + j
	}
	found, err := d.side.deps.State.GetMany(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("recall device lists: %w", err)
	}
	out := map[string]deviceList{}
	for _, j := range jids {
		var list deviceList
		if v := found[stateList+j]; v != nil {
			if err := json.Unmarshal(v, &list); err != nil {
				return nil, fmt.Errorf("recall the device list of %s: %w", j, err)
			}
		}
		out[j] = list
	}
	return out, nil
}

// put writes the lists of those whom keys names.
func (d *directory) put(ctx context.Context, lists, keys map[string]deviceList) error {
	values := map[string][]byte{}
	for j := range keys {
		v, err := json.Marshal(lists[j])
		if err != nil {
			return err
		}
		values[stateList+j] = v
	}
	return d.side.deps.State.PutMany(ctx, values)
}

// change edits one list inside a transaction.
func (d *directory) change(ctx context.Context, jid string, edit func(*deviceList) bool) error {
	lists, err := d.cached(ctx, []string{jid})
	if err != nil {
		return err
	}
	list := lists[jid]
	if !edit(&list) {
		return nil
	}
	lists[jid] = list
	return d.put(ctx, lists, lists)
}

// follow asks for news of a list, once: by an explicit subscription from the gateway's address where the list is open,
// by a presence subscription where it is not.
func (d *directory) follow(l *link, jid string, list deviceList) {
	if list.Subscribed || (!list.Forbidden && len(list.IDs) == 0) {
		return
	}
	s := d.side
	l.later(func(ctx context.Context) {
		if list.Forbidden {
			ask := el("", "presence", "type", "subscribe", "from", s.self, "to", jid)
			ask.add(el("", "status").say("May the bridge read your device list? It has to, to encrypt for you."))
			if err := l.send(ask); err != nil {
				return
			}
		} else {
			query := el(nsPubSub, "pubsub").add(el(nsPubSub, "subscribe", "node", nodeList, "jid", s.self))
			if _, err := l.ask(ctx, "set", s.self, jid, query); err != nil && condition(err) == "" {
				return
			}
		}
		err := s.deps.State.Update(ctx, func(ctx context.Context) error {
			return d.change(ctx, jid, func(list *deviceList) bool { list.Subscribed = true; return true })
		})
		if err != nil && ctx.Err() == nil {
			s.log.Warn("it could not be noted that a device list is followed", "of", jid, "err", err)
		}
	})
}

// readListEvent takes in the news of a list, which counts only from the account itself.
func (s *Side) readListEvent(m *message, b *batch) {
	items := m.child(nsEvent, "event").child(nsEvent, "items")
	from := m.get("from")
	jid := normalBare(from)
	if items.get("node") != nodeList || jid == "" || jid != from || domainOf(jid) == s.domain || !s.ourAddress(bare(m.get("to"))) {
		return
	}
	var ids []uint32
	if item := pickItem(items.all(nsEvent, "item")); item != nil && len(item.kids) > 0 {
		var err error
		if ids, err = omemo.ParseDeviceList(item.kids[0].append(nil, "")); err != nil {
			s.log.Warn("a device list is malformed", "of", jid, "err", err)
			return
		}
	} else if items.child(nsEvent, "retract") == nil {
		return
	}
	b.arrivals = append(b.arrivals, s.stateArrival(jid, func(ctx context.Context) error {
		return s.devices.change(ctx, jid, func(list *deviceList) bool {
			if list.Read.IsZero() && !list.Subscribed && len(list.Heard) == 0 {
				return false // somebody we never asked about
			}
			list.IDs, list.Read, list.Forbidden, list.Heard = ids[:min(len(ids), maxDevices)], s.now(), false, nil
			return true
		})
	}))
	b.then(func() { s.devices.pardon(jid) })
}
