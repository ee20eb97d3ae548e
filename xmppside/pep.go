package xmppside

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockbridge/omemo"
)

// The nodes of device lists and bundles. In the legacy version each device has a bundle node of its own, in OMEMO 2 an
// item of the one node.
const (
	nodeList       = omemo.NamespaceLegacy + ".devicelist"
	nodeBundles    = omemo.NamespaceLegacy + ".bundles:"
	nodeListTwo    = omemo.NamespaceTwo + ":devices"
	nodeBundlesTwo = omemo.NamespaceTwo + ":bundles"
	currentItem    = "current"

	maxSubscribers = 1000 // explicit ones, per address and version
)

func listNode(v omemo.Version) string {
	if v == omemo.Two {
		return nodeListTwo
	}
	return nodeList
}

// bundleNode is where a device's bundle is published; id is "" where it is the node's only item.
func bundleNode(v omemo.Version, device uint32) (name, id string) {
	number := strconv.FormatUint(uint64(device), 10)
	if v == omemo.Two {
		return nodeBundlesTwo, number
	}
	return nodeBundles + number, ""
}

// listVersion is the version whose device list a node is, of those that we publish.
func (s *Side) listVersion(name string) (omemo.Version, bool) {
	for _, v := range s.versions {
		if name == listNode(v) {
			return v, true
		}
	}
	return 0, false
}

// pubsub answers for the account that one of our bare JIDs is to others, as its server would (XEP-0163).
func (s *Side) pubsub(ctx context.Context, iq, pubsub *node) []*node {
	one := func(n *node) []*node {
		if n == nil {
			return nil
		}
		return []*node{n}
	}
	if len(pubsub.kids) == 0 {
		return one(refusal(iq, "modify", "bad-request"))
	}
	verb := pubsub.kids[0]
	switch get := iq.get("type") == "get"; {
	case get && verb.name == "items":
		return one(s.items(ctx, iq, verb))
	case get && verb.name == "subscriptions":
		return one(s.subscriptions(ctx, iq, verb))
	case !get && verb.name == "subscribe":
		return s.subscribe(ctx, iq, verb)
	case !get && verb.name == "unsubscribe":
		return one(s.unsubscribe(ctx, iq, verb))
	case !get:
		return one(refusal(iq, "auth", "forbidden"))
	}
	return one(refusal(iq, "cancel", "feature-not-implemented"))
}

// items answers a request for a node's items. The node is echoed, for clients read the device id out of it, and there
// is exactly one item.
func (s *Side) items(ctx context.Context, iq, items *node) *node {
	name, to := items.get("node"), bare(iq.get("to"))
	id, payload, err := s.itemPatiently(ctx, to, name)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			s.log.Error("a device list or bundle could not be served; whoever asked will ask again", "of", to, "node", name, "err", err)
		}
		return nil
	case payload == nil:
		return refusal(iq, "cancel", "item-not-found")
	}
	answer := el(nsPubSub, "items", "node", name)
	if wants := items.all(nsPubSub, "item"); len(wants) == 0 || wantsItem(wants, id) {
		answer.add(el(nsPubSub, "item", "id", id).add(payload))
	}
	return result(iq, el(nsPubSub, "pubsub").add(answer))
}

const (
	serveLimit = 10 * time.Second // for one answer; clients wait twice as long at least
	servePause = 500 * time.Millisecond
)

// itemPatiently is item, for as long as clients wait where the database fails. An error would have them take the
// device for broken until they are restarted; silence they take for a network that is slow. Half of those who answer
// may wait like that: the others are needed for what needs no database.
func (s *Side) itemPatiently(ctx context.Context, own, name string) (id string, payload *node, err error) {
	id, payload, err = s.item(ctx, own, name)
	if err == nil {
		return id, payload, nil
	}
	select {
	case s.patience <- struct{}{}:
		defer func() { <-s.patience }()
	default:
		return "", nil, err
	}
	for until := s.now().Add(serveLimit); err != nil && ctx.Err() == nil && s.now().Before(until); {
		wait(ctx, servePause)
		id, payload, err = s.item(ctx, own, name)
	}
	return id, payload, err
}

func wantsItem(wants []*node, id string) bool {
	for _, w := range wants {
		if w.get("id") == id {
			return true
		}
	}
	return false
}

// item is a node's one item, by its name and payload; nil when there is no such node.
func (s *Side) item(ctx context.Context, own, name string) (id string, payload *node, err error) {
	switch name {
	case nsAvatarMeta, nsAvatarData:
		id, payload = s.avatarItem(ctx, own, name)
		return id, payload, nil
	case nsNick:
		return currentItem, el(nsNick, "nick").say(s.nameOf(own)), nil
	}
	if !s.publishes(own) {
		return "", nil, nil
	}
	if v, ok := s.listVersion(name); ok {
		dev, err := s.device(ctx, own)
		if err != nil {
			return "", nil, err
		}
		return currentItem, rawNode(omemo.AppendDeviceList(nil, v, dev.ID)), nil
	}
	if !strings.HasPrefix(name, nodeBundles) && name != nodeBundlesTwo {
		return "", nil, nil
	}
	dev, err := s.device(ctx, own)
	if err != nil {
		return "", nil, err
	}
	for _, v := range s.versions {
		node, id := bundleNode(v, dev.ID)
		if node != name {
			continue
		}
		if id == "" {
			id = currentItem
		}
		payload, err := s.bundle(ctx, v, own)
		return id, payload, err
	}
	return "", nil, nil
}

// subKey is where it is kept that who hears of own's list; of all who do, if who is empty.
func subKey(v omemo.Version, own, who string) string {
	if v == omemo.Two {
		own = "2/" + own
	}
	return stateSub + own + "/" + who
}

// subscribe lets somebody hear of changes of a device list without a presence subscription (XEP-0060, section 6.1).
func (s *Side) subscribe(ctx context.Context, iq, verb *node) []*node {
	own, who := bare(iq.get("to")), bare(iq.get("from"))
	v, known := s.listVersion(verb.get("node"))
	switch {
	case bare(verb.get("jid")) != who:
		return []*node{refusal(iq, "modify", "bad-request", el(nsPubSubErr, "invalid-jid"))}
	case !known:
		return []*node{refusal(iq, "cancel", "item-not-found")}
	}
	full := false
	err := s.deps.State.Update(ctx, func(ctx context.Context) error {
		have, err := s.deps.State.List(ctx, subKey(v, own, ""))
		if err != nil {
			return err
		}
		if full = len(have) >= maxSubscribers && have[subKey(v, own, who)] == nil; full {
			return nil
		}
		return s.deps.State.PutMany(ctx, map[string][]byte{subKey(v, own, who): stamp(s.now())})
	})
	switch {
	case err != nil:
		s.log.Error("a subscription could not be kept", "err", err)
		return []*node{refusal(iq, "wait", "internal-server-error")}
	case full:
		return []*node{refusal(iq, "wait", "resource-constraint")}
	}
	out := []*node{result(iq, el(nsPubSub, "pubsub").add(el(nsPubSub, "subscription", "node", listNode(v), "jid", verb.get("jid"), "subscription", "subscribed")))}
	if ev, err := s.listEvent(ctx, v, own, who); err == nil {
		out = append(out, ev)
	}
	return out
}

func (s *Side) unsubscribe(ctx context.Context, iq, verb *node) *node {
	own, who := bare(iq.get("to")), bare(iq.get("from"))
	if bare(verb.get("jid")) != who {
		return refusal(iq, "modify", "bad-request", el(nsPubSubErr, "invalid-jid"))
	}
	v, known := s.listVersion(verb.get("node"))
	err := s.deps.State.Update(ctx, func(ctx context.Context) error {
		have, err := s.deps.State.GetMany(ctx, []string{subKey(v, own, who)})
		if known = known && len(have) > 0; err != nil || !known {
			return err
		}
		return s.deps.State.PutMany(ctx, map[string][]byte{subKey(v, own, who): nil})
	})
	switch {
	case err != nil:
		return refusal(iq, "wait", "internal-server-error")
	case !known:
		return refusal(iq, "cancel", "unexpected-request", el(nsPubSubErr, "not-subscribed"))
	}
	return result(iq, nil)
}

func (s *Side) subscriptions(ctx context.Context, iq, verb *node) *node {
	own, who := bare(iq.get("to")), bare(iq.get("from"))
	var keys []string
	for _, v := range s.versions {
		keys = append(keys, subKey(v, own, who))
	}
	have, err := s.deps.State.GetMany(ctx, keys)
	if err != nil {
		return refusal(iq, "wait", "internal-server-error")
	}
	list := el(nsPubSub, "subscriptions")
	if n := verb.get("node"); n != "" {
		list.attrs = append(list.attrs, attr{"node", n})
	}
	for _, v := range s.versions {
		if n := verb.get("node"); have[subKey(v, own, who)] != nil && (n == "" || n == listNode(v)) {
			list.add(el(nsPubSub, "subscription", "node", listNode(v), "jid", who, "subscription", "subscribed"))
		}
	}
	return result(iq, el(nsPubSub, "pubsub").add(list))
}

// listEvent is the notice of own's device list to somebody.
func (s *Side) listEvent(ctx context.Context, v omemo.Version, own, to string) (*node, error) {
	return s.itemEvent(ctx, own, to, listNode(v))
}

var errNoItem = errors.New("there is no such item")

// itemEvent is the notice of what a node of own holds.
func (s *Side) itemEvent(ctx context.Context, own, to, name string) (*node, error) {
	id, payload, err := s.item(ctx, own, name)
	if err == nil && payload == nil {
		err = errNoItem
	}
	if err != nil {
		return nil, err
	}
	items := el(nsEvent, "items", "node", name).add(el(nsEvent, "item", "id", id).add(payload))
	return el("", "message", "type", "headline", "from", own, "to", to).add(el(nsEvent, "event").add(items)), nil
}

// publishes reports whether an address of ours shows devices: the gateway's own does, a puppet's where it may be written
// to sealed. Clients would turn encryption on for every address that has a device.
func (s *Side) publishes(own string) bool {
	p, ok := s.people.ofJID(own)
	return !ok || p.Device || s.deps.Direct.Seals(s.deps.Network)
}

// listEvents are the notices of own's lists of all versions.
func (s *Side) listEvents(ctx context.Context, own, to string) []*node {
	var out []*node
	for _, v := range s.versions {
		if ev, err := s.listEvent(ctx, v, own, to); err == nil { // a hint; who misses it asks
			out = append(out, ev)
		}
	}
	return out
}

// announceDevice tells everybody who may want to know that an address of ours has a new device: explicit subscribers,
// and the members of the room that it is about to enter.
func (s *Side) announceDevice(ctx context.Context, l *link, r *room, own string) {
	var out []*node
	for _, v := range s.versions {
		to := map[string]bool{}
		subs, err := s.deps.State.List(ctx, subKey(v, own, ""))
		if err != nil {
			s.log.Warn("a new device could not be announced to subscribers", "of", own, "err", err)
		}
		for key := range subs {
			to[strings.TrimPrefix(key, subKey(v, own, ""))] = true
		}
		for _, j := range r.realMembers() {
			to[j] = true
		}
		for j := range to {
			if ev, err := s.listEvent(ctx, v, own, j); err == nil {
				out = append(out, ev)
			}
		}
	}
	if len(out) == 0 {
		return
	}
	if err := l.send(out...); err != nil {
		s.log.Debug("a new device could not be announced", "of", own, "err", err)
	}
}

const (
	maxCaps     = 1000 // clients whose capabilities are remembered
	maxCapsName = 1000 // bytes of what such capabilities are called
)

// sendLastItem sends an address's name and device lists to a resource of a contact that came online and wants them
// (XEP-0163, section 4.3.4). What a client wants is asked once per person and capability hash.
func (s *Side) sendLastItem(ctx context.Context, l *link, own string, p *node) {
	c, from := p.child(nsCaps, "c"), p.get("from")
	if c == nil {
		return
	}
	if !s.knows(bare(from)) {
		return // a stranger might never answer
	}
	ver := c.get("node") + "#" + c.get("ver")
	if len(ver) > maxCapsName {
		return
	}
	of := bare(from) + " " + ver // what somebody's client answers holds for nobody else's
	wants, known := s.devices.caps(of)
	if !known {
		iq, err := l.ask(ctx, "get", own+"/"+resource, from, el(nsDiscoInfo, "query", "node", ver))
		if err != nil {
			return
		}
		for _, f := range iq.child(nsDiscoInfo, "query").all(nsDiscoInfo, "feature") {
			if name, ok := strings.CutSuffix(f.get("var"), "+notify"); ok && (name == nodeList || name == nodeListTwo || name == nsNick || name == nsAvatarMeta) {
				wants = append(wants, name)
			}
		}
		s.devices.setCaps(of, wants)
	}
	last := []string{nsNick, nsAvatarMeta}
	for _, v := range s.versions {
		last = append(last, listNode(v))
	}
	for _, name := range last {
		if !slices.Contains(wants, name) {
			continue
		}
		if ev, err := s.itemEvent(ctx, own, from, name); err == nil {
			_ = l.send(ev) // whoever misses it asks
		}
	}
}
