package xmppside

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

// device is somebody's client with an OMEMO device, which publishes it on the fake server.
type device struct {
	t     testing.TB
	f     *fakeServer
	jid   string
	state *sidetest.State
	keys  *omemo.Manager
	omemo.Device
}

// newDevice makes a client whose device is in the lists of versions.
func newDevice(t testing.TB, f *fakeServer, jid string, versions ...omemo.Version) *device {
	t.Helper()
	state := sidetest.NewState()
	d := &device{t: t, f: f, jid: jid, state: state, keys: omemo.NewManager(state, omemo.Options{})}
	d.do(func(ctx context.Context) (err error) {
		d.Device, err = d.keys.EnsureDevice(ctx, jid)
		return err
	})
	d.publish(versions...)
	return d
}

func (d *device) do(fn func(ctx context.Context) error) {
	d.t.Helper()
	must(d.t, d.state.Update(d.t.Context(), fn))
}

// publish writes the lists of versions, and of no others, with this device alone.
func (d *device) publish(versions ...omemo.Version) {
	d.t.Helper()
	lists, bundles := map[omemo.Version]string{}, map[omemo.Version]string{}
	for _, v := range versions {
		d.do(func(ctx context.Context) error {
			b, err := d.keys.Bundle(ctx, v, d.jid)
			if err == nil {
				lists[v], bundles[v] = string(omemo.AppendDeviceList(nil, v, d.ID)), string(b.AppendXML(nil))
			}
			return err
		})
	}
	d.f.set(func() {
		for _, v := range []omemo.Version{omemo.Legacy, omemo.Two} {
			name, _ := bundleNode(v, d.ID)
			d.f.answers[d.jid+" "+listNode(v)], d.f.answers[d.jid+" "+name] = lists[v], bundles[v]
		}
	})
}

// seal seals content for addresses of the side: a text in the legacy version, an envelope's content in OMEMO 2.
func (d *device) seal(side *Side, v omemo.Version, plain []byte, owns ...string) *node {
	d.t.Helper()
	var to []omemo.Address
	bundles := map[omemo.Address]*omemo.Bundle{}
	for _, own := range owns {
		dev, err := side.device(d.t.Context(), own)
		must(d.t, err)
		b, err := side.bundle(d.t.Context(), v, own)
		must(d.t, err)
		a := omemo.Address{JID: own, Device: dev.ID}
		bundles[a], err = omemo.ParseBundle(v, b.raw)
		must(d.t, err)
		to = append(to, a)
	}
	var msg *omemo.Message
	d.do(func(ctx context.Context) (err error) {
		msg, _, err = d.keys.Seal(ctx, v, d.jid, to, bundles, plain)
		return err
	})
	return rawNode(msg.AppendXML(nil))
}

// say says a text in the room, sealed for the gateway.
func (d *device) say(side *Side, v omemo.Version, text string, beside ...*node) {
	d.t.Helper()
	plain := []byte(text)
	if v == omemo.Two {
		plain = d.envelope(omemo.Envelope{From: d.jid, To: fakeRoom, Content: el(nsClient, "body").say(text).append(nil, "")})
	}
	d.f.juliet(append([]*node{d.seal(side, v, plain, fakeSelf), body(fallbackBody)}, beside...)...)
}

func (d *device) envelope(e omemo.Envelope) []byte {
	d.t.Helper()
	plain, err := omemo.AppendEnvelope(nil, rand.Reader, e)
	must(d.t, err)
	return plain
}

// open opens what an address of the side sealed. ok is false when there is no key for the device in it.
func (d *device) open(v omemo.Version, stanza *node) (o omemo.Opened, ok bool) {
	d.t.Helper()
	sealed := stanza.child(v.Namespace(), "encrypted")
	if sealed == nil {
		return o, false
	}
	msg, err := omemo.ParseMessage(v, sealed.append(nil, ""), omemo.Address{JID: d.jid, Device: d.ID})
	must(d.t, err)
	if len(msg.Keys) == 0 {
		return o, false
	}
	d.do(func(ctx context.Context) (err error) {
		o, err = d.keys.Open(ctx, d.jid, []string{bare(stanza.get("from"))}, msg)
		return err
	})
	return o, true
}

// transports are the messages without content for somebody so far.
func (f *fakeServer) transports(to string) []*node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*node
	for _, n := range f.seen {
		if isTransportTo(n, to) {
			out = append(out, n)
		}
	}
	return out
}

func isTransportTo(n *node, to string) bool {
	if n.name != "message" || n.get("type") != "chat" || n.get("to") != to {
		return false
	}
	for _, v := range []omemo.Version{omemo.Legacy, omemo.Two} {
		if e := n.child(v.Namespace(), "encrypted"); e != nil && e.child(v.Namespace(), "payload") == nil {
			return true
		}
	}
	return false
}

// transport awaits the nth message without content for the device.
func (d *device) transport(nth int) *node {
	d.t.Helper()
	count := 0
	return d.f.await(fmt.Sprintf("empty message %d", nth), func(n *node) bool {
		if isTransportTo(n, d.jid) {
			count++
		}
		return count == nth
	})
}

// world is a room with Juliet in it, and a side whose clock the test moves.
type world struct {
	*fakeServer
	juliet *device
	side   *Side
	inbox  *sidetest.Inbox
	own    *sidetest.State
	clock  *clock
	edit   func(*Side) // before it runs
	stop   func()
}

type clock struct {
	mu sync.Mutex
	by time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.by)
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by += by
}

// newWorld starts all that. edit may change the config.
func newWorld(t testing.TB, edit func(*Config, *gateway.Deps), versions ...omemo.Version) *world {
	t.Helper()
	f := newFakeServer(t)
	f.features = []string{"muc_nonanonymous", "muc_membersonly", nsSID}
	f.members["juliet@test"] = "owner"
	w := &world{fakeServer: f, juliet: newDevice(t, f, "juliet@test", versions...), own: sidetest.NewState(), clock: &clock{}}
	w.start(edit)
	return w
}

// restart runs another side on the same State.
func (w *world) restart(edit func(*Config, *gateway.Deps)) {
	w.t.Helper()
	w.stop()
	w.start(edit)
}

func (w *world) start(edit func(*Config, *gateway.Deps)) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	w.t.Cleanup(cancel)
	cfg, deps := w.config(), gateway.Deps{Rooms: []gateway.Room{fakeBridgeRoom(true, gateway.PuppetsActive)}}
	if edit != nil {
		edit(&cfg, &deps)
	}
	w.side, w.inbox, w.stop = startEdited(ctx, w.t, cfg, w.own, deps, func(s *Side) {
		s.now, s.pingAfter = w.clock.now, 20*time.Millisecond
		if w.edit != nil {
			w.edit(s)
		}
	})
	must(w.t, w.side.room0().await(ctx, func() bool { return w.side.room0().ready }))
	w.enter("Juliet", "juliet@test/phone", "owner")
	must(w.t, w.side.room0().await(ctx, func() bool { return w.side.room0().occupants["Juliet"] != nil }))
}

func (w *world) heard(text string) *gateway.Event {
	w.t.Helper()
	return heard(w.t, w.inbox, text)
}

// report awaits a refusal that holds text.
func (w *world) report(text string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	ev, err := w.inbox.Await(ctx, "a report", func(ev *gateway.Event) bool {
		r, ok := ev.Body.(gateway.Receipt)
		return ok && r.State == gateway.Undeliverable && strings.Contains(r.Reason, text)
	})
	must(w.t, err)
	if ev.Sender.IsZero() {
		w.t.Error("the report is nobody's, so that nobody is told")
	}
}

// unread waits until n messages could not be read.
func (w *world) unread(n int) []error {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	must(w.t, w.inbox.AwaitUnread(ctx, n))
	return w.inbox.Unread()
}

// crossed fails the test if anything of what was said has crossed.
func (w *world) crossed(text string) {
	w.t.Helper()
	for _, ev := range w.inbox.Heard() {
		if strings.Contains(fmt.Sprint(ev.Body), text) {
			w.t.Errorf("%q crossed: %+v", text, ev.Body)
		}
	}
}

func both(c *Config, _ *gateway.Deps) { c.OMEMO.Versions = []string{versionLegacy, versionTwo} }
