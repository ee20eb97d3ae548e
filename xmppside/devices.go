package xmppside

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"lockbridge/omemo"
)

const (
	listAge     = time.Hour        // how old a cached device list may be when something is sealed
	untoldAge   = 10 * time.Minute // the same where no news of it comes
	expirePause = 10 * time.Second // between two occasions to read somebody's lists earlier
	firstBroken = time.Hour        // how long a device whose bundle is unusable is left out; doubles
	lastBroken  = 24 * time.Hour
	silentPause = 5 * time.Minute // the same for one whose server did not answer
	perDomain   = 8               // queries at a time
	maxDevices  = 100             // of one person
	maxBroken   = 4096
)

// directory finds other people's devices. What it remembers itself is how to spare others needless questions.
type directory struct {
	side  *Side
	spent spent

	mu         sync.Mutex
	own        map[string]omemo.Device
	broken     map[deviceName]brokenDevice
	silent     map[listName]time.Time   // lists that could not be read, and until when that is not tried again
	refreshing map[listName]bool        // lists that are known, and being read anew
	order      int                      // how often news of a list came by itself
	told       map[listName]int         // the last of them that was of a list
	expired    map[string]time.Time     // bare JIDs whose lists are to be read anew if they are older
	limits     map[string]chan struct{} // by domain
	clients    map[string][]string      // by person and capability hash: the nodes of ours that the client wants to hear of
}

// deviceName names what a device publishes in a version.
type deviceName struct {
	omemo.Address
	version omemo.Version
}

type brokenDevice struct {
	until time.Time
	pause time.Duration
}

func newDirectory(s *Side) *directory {
	return &directory{
		side: s, own: map[string]omemo.Device{}, broken: map[deviceName]brokenDevice{}, silent: map[listName]time.Time{}, expired: map[string]time.Time{}, refreshing: map[listName]bool{}, told: map[listName]int{},
		limits: map[string]chan struct{}{}, clients: map[string][]string{},
	}
}

func (d *directory) ownDevice(own string) (omemo.Device, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dev, ok := d.own[own]
	return dev, ok
}

func (d *directory) setOwnDevice(dev omemo.Device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.own[dev.JID] = dev
}

func (d *directory) caps(ver string) (wants []string, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wants, known = d.clients[ver]
	return wants, known
}

func (d *directory) setCaps(ver string, wants []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.clients) >= maxCaps {
		clear(d.clients)
	}
	d.clients[ver] = wants
}

// enter takes one of a domain's places for a query; leave gives it back.
func (d *directory) enter(ctx context.Context, jid string) (leave func(), err error) {
	d.mu.Lock()
	limit := d.limits[domainOf(jid)]
	if limit == nil {
		if len(d.limits) >= maxCaps {
			clear(d.limits)
		}
		limit = make(chan struct{}, perDomain)
		d.limits[domainOf(jid)] = limit
	}
	d.mu.Unlock()
	select {
	case limit <- struct{}{}:
		return func() { <-limit }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetch asks for an item of a PEP node, always at the bare JID: for the one that is called id, or for the node's only one.
func (d *directory) fetch(ctx context.Context, l *link, jid, name, id string) ([]byte, error) {
	leave, err := d.enter(ctx, jid)
	if err != nil {
		return nil, err
	}
	defer leave()
	ask, prefer := el(nsPubSub, "items", "node", name), currentItem
	if id != "" {
		ask.add(el(nsPubSub, "item", "id", id))
		prefer = id
	}
	iq, err := l.ask(ctx, "get", d.side.self+"/"+resource, jid, el(nsPubSub, "pubsub").add(ask))
	if own := d.side.followers.of(jid); hidden(err) && own != "" { // shown to contacts only
		iq, err = l.ask(ctx, "get", own+"/"+resource, jid, el(nsPubSub, "pubsub").add(ask))
	}
	if err != nil {
		return nil, err
	}
	items := iq.child(nsPubSub, "pubsub").child(nsPubSub, "items").all(nsPubSub, "item")
	item := pickItem(items, prefer)
	if item == nil || len(item.kids) == 0 || id != "" && item.get("id") != id {
		return nil, fmt.Errorf("ask %s: %w", jid, &stanzaError{Type: "cancel", Condition: "item-not-found"})
	}
	return item.kids[0].append(nil, ""), nil
}

// pickItem prefers the item that is called so; any other name may be as good (old clients use random ones).
func pickItem(items []*node, name string) *node {
	for _, it := range items {
		if it.get("id") == name {
			return it
		}
	}
	if len(items) == 0 {
		return nil
	}
	return items[0]
}

// bundles fetches what the devices publish, for sessions that are about to be used. Unusable ones are left out for a
// while. The error is errLinkDown where some could not be asked for.
func (d *directory) bundles(ctx context.Context, l *link, v omemo.Version, devices []omemo.Address) (map[omemo.Address]*omemo.Bundle, error) {
	var ask []omemo.Address
	now := d.side.now()
	d.mu.Lock()
	for _, a := range devices {
		if now.After(d.broken[deviceName{a, v}].until) {
			ask = append(ask, a)
		}
	}
	d.mu.Unlock()
	got, errs := make([]*omemo.Bundle, len(ask)), make([]error, len(ask))
	inParallel(len(ask), 2*perDomain, func(i int) { got[i], errs[i] = d.bundle(ctx, l, deviceName{ask[i], v}) })
	out := map[omemo.Address]*omemo.Bundle{}
	var cut error
	for i, b := range got {
		if b != nil {
			out[ask[i]] = b
		}
		if errs[i] != nil {
			cut = errs[i]
		}
	}
	return out, cut
}

// pardon forgets what was wrong with somebody's devices, after they have published something new.
func (d *directory) pardon(jid string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.silent {
		if name.jid == jid {
			delete(d.silent, name)
		}
	}
	for a := range d.broken {
		if a.JID == jid {
			delete(d.broken, a)
		}
	}
}

// speaksForItself reports whether an account, or its server, has refused something. Other errors come from the way there.
func speaksForItself(err error) bool {
	switch condition(err) {
	case "", "remote-server-not-found", "remote-server-timeout", "service-unavailable", "resource-constraint", "internal-server-error", "recipient-unavailable", "undefined-condition":
		return false
	}
	return true
}

// bundle is nil where a device has none that is usable; then it is not asked again for a while.
func (d *directory) bundle(ctx context.Context, l *link, a deviceName) (*omemo.Bundle, error) {
	name, id := bundleNode(a.version, a.Device)
	xml, err := d.fetch(ctx, l, a.JID, name, id)
	var b *omemo.Bundle
	if err == nil {
		b, err = omemo.ParseBundle(a.version, xml)
		if err != nil {
			err = fmt.Errorf("%w: %w", &stanzaError{Type: "cancel", Condition: "unusable"}, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		delete(d.broken, a)
		return d.spent.fresh(a, b), nil
	}
	if errors.Is(err, errLinkDown) {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, nil
	}
	pause := silentPause
	if speaksForItself(err) {
		pause = min(max(2*d.broken[a].pause, firstBroken), lastBroken)
	}
	if len(d.broken) >= maxBroken {
		clear(d.broken)
	}
	d.broken[a] = brokenDevice{d.side.now().Add(pause), pause}
	d.side.log.Warn("a device's bundle is unusable; the device is left out", "of", a.JID, "device", a.Device, "version", a.version, "for", pause, "err", err)
	return nil, nil
}
