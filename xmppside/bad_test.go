package xmppside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

// lines collects a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// monsters are messages to the room that cost much to write and must cost little to refuse.
func monsters(dev omemo.Device) map[string]string {
	key := func(i int) string { return fmt.Sprintf("<key rid='%d'>AAAA</key>", i) }
	keys := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(key(i + 1))
		}
		return b.String()
	}
	legacy := func(keys, payload string) string {
		return "<encrypted xmlns='" + nsLegacy + "'><header sid='5'>" + keys + "<iv>AAAAAAAAAAAAAAAA</iv></header><payload>" + payload + "</payload></encrypted><body>secret</body>"
	}
	two := func(keys string) string {
		return "<encrypted xmlns='" + nsOMEMOTwo + "'><header sid='5'><keys jid='" + fakeSelf + "'>" + keys + "</keys></header><payload>AAAA</payload></encrypted><body>secret</body>"
	}
	mine := fmt.Sprintf("<key rid='%d' prekey='true' kex='true'>%s</key>", dev.ID, strings.Repeat("A", 4000))
	return map[string]string{
		"100,000 keys":          legacy(keys(100000), "AAAA"),
		"as many as fit":        legacy(keys(30000)+mine, "AAAA"),
		"as many as fit, in 2":  two(keys(30000) + mine),
		"1,000 keys for us":     legacy(strings.Repeat(mine, 200), "AAAA"),
		"1 MB of base64":        legacy(key(int(dev.ID)), strings.Repeat("A", 1<<20)),
		"base64, as it fits":    legacy(key(int(dev.ID)), strings.Repeat("A", 1<<20-2000)),
		"deep":                  strings.Repeat("<a>", 50000) + strings.Repeat("</a>", 50000) + "<body>secret</body>",
		"deep, sealed":          "<encrypted xmlns='" + nsLegacy + "'>" + strings.Repeat("<a>", 50000) + strings.Repeat("</a>", 50000) + "</encrypted><body>secret</body>",
		"many children":         strings.Repeat("<a/>", 100000) + "<body>secret</body>",
		"many attributes":       "<encrypted xmlns='" + nsLegacy + "'" + strings.Repeat(" a='b'", 100000) + "/><body>secret</body>",
		"two of a kind":         legacy("", "AAAA") + legacy("", "AAAA"),
		"entities":              "<body>&a;secret</body>",
		"sealed by a stranger":  "<openpgp xmlns='" + nsOpenPGP + "'/><encryption xmlns='" + nsEME + "' namespace='urn:x'/><body>secret</body>",
		"a skip beyond all":     legacy(fmt.Sprintf("<key rid='%d'>MwohBQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQ/////w8YACIQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==</key>", dev.ID), "AAAA"),
		"an element of neither": "<encrypted xmlns='urn:xmpp:omemo:1'/><body>secret</body>",
	}
}

func TestMonstersAreRefusedCheaply(t *testing.T) {
	log := &lines{}
	w := newWorld(t, both, omemo.Legacy, omemo.Two)
	w.edit = func(s *Side) { s.log = slog.New(slog.NewTextHandler(io.MultiWriter(log, t.Output()), nil)) }
	w.restart(both)
	dev, err := w.side.device(t.Context(), fakeSelf)
	must(t, err)
	for name, inside := range monsters(dev) {
		t.Run(name, func(t *testing.T) {
			before := len(w.inbox.Unread())
			var from, to runtime.MemStats
			runtime.ReadMemStats(&from)
			for i := range 3 {
				w.raw("<message type='groupchat' id='" + fmt.Sprint(name, i) + "' from='" + fakeRoom + "/Juliet' to='" + fakeSelf + "/" + resource + "'>" + inside + "</message>")
			}
			w.unread(before + 3)
			runtime.ReadMemStats(&to)
			if cost := int(to.TotalAlloc-from.TotalAlloc) / 3; cost > 16*len(inside)+4<<20 {
				t.Errorf("a message of %d KB cost %d KB", len(inside)>>10, cost>>10)
			}
		})
	}
	if n := log.count("a stanza was left out"); n == 0 || n > 2 { // one for her, one for those whose start tag is too long to tell whose it is
		t.Errorf("%d lines of the log", n)
	}
	w.crossed("secret")
	w.juliet.say(w.side, omemo.Legacy, "still here")
	w.heard("still here")
}

func TestLongDeviceListsAreCut(t *testing.T) {
	w := newWorld(t, both, omemo.Legacy)
	ids := make([]uint32, 10000)
	for i := range ids {
		ids[i] = uint32(i + 1)
	}
	list := func() published {
		lists, err := w.side.devices.cached(t.Context(), []string{"juliet@test"})
		must(t, err)
		return lists["juliet@test"].published
	}
	w.set(func() { w.answers["juliet@test "+nodeList] = string(omemo.AppendDeviceList(nil, omemo.Legacy, ids...)) })
	w.clock.move(2 * listAge)
	if _, err := w.side.devices.lists(t.Context(), w.side.currentLink(), []string{"juliet@test"}); err != nil {
		t.Fatal(err)
	}
	if n := len(list().IDs); n != maxDevices {
		t.Errorf("%d devices are kept", n)
	}
	listed := append([]uint32{w.juliet.ID}, ids[5000:]...) // a device that is not in it would have the list read once more
	w.publishes(listed...)
	w.juliet.say(w.side, omemo.Legacy, "after it")
	w.heard("after it")
	if got := list(); len(got.IDs) != maxDevices || got.IDs[1] != 5001 {
		t.Errorf("%d devices are kept", len(got.IDs))
	}
}

func TestNewsOfADeviceListOutlivesAnAnswerFromBeforeIt(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	w.juliet.say(w.side, omemo.Legacy, "hello")
	w.heard("hello")
	w.set(func() { w.deafTo = nsPubSub })
	name, answered := listName{"juliet@test", omemo.Legacy}, make(chan error, 1)
	go func() { answered <- w.side.devices.refresh(t.Context(), w.side.currentLink(), []listName{name}) }()
	w.await("a question", func(*node) bool { return len(w.heldBack) > 0 })
	w.publishes(w.juliet.ID, 77)
	w.juliet.say(w.side, omemo.Legacy, "after it")
	w.heard("after it")
	must(t, w.own.Update(t.Context(), func(ctx context.Context) error { // which has the list read once more, later
		return w.side.devices.hear(ctx, omemo.Legacy, omemo.Address{JID: name.jid, Device: 99})
	}))
	w.answerHeldBack()
	must(t, <-answered)
	lists, err := w.side.devices.cached(t.Context(), []string{name.jid})
	must(t, err)
	if got := lists[name.jid].IDs; !slices.Equal(got, []uint32{w.juliet.ID, 77}) {
		t.Errorf("devices %v", got)
	}
}

// publishes has juliet's server tell of her devices.
func (w *world) publishes(ids ...uint32) {
	w.t.Helper()
	list := el(nsEvent, "items", "node", nodeList).add(el(nsEvent, "item", "id", currentItem).add(rawNode(omemo.AppendDeviceList(nil, omemo.Legacy, ids...))))
	w.raw(string(el("", "message", "type", "headline", "from", "juliet@test", "to", fakeSelf).add(el(nsEvent, "event").add(list)).bytes()))
}

func TestAnArchiveThatAnswersNothing(t *testing.T) {
	r := &room{jid: fakeRoom, query: "q"}
	for _, result := range []*node{el(nsMAM, "result", "queryid", "q", "id", "x"), el(nsMAM, "result", "queryid", "q").add(el(nsForward, "forwarded"))} {
		if m := r.archived(&message{node: el(nsClient, "message", "from", fakeRoom).add(result)}); m != nil {
			t.Errorf("it is %s", m.bytes())
		}
	}
}

func TestErrorsDoNotEmptyLists(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	read := func() []uint32 {
		t.Helper()
		lists, err := w.side.devices.lists(t.Context(), w.side.currentLink(), []string{"juliet@test"})
		must(t, err)
		return lists["juliet@test"].IDs
	}
	if got := read(); !slices.Equal(got, []uint32{w.juliet.ID}) {
		t.Fatalf("devices %v", got)
	}
	node := "juliet@test " + nodeList
	for _, c := range []string{"service-unavailable", "feature-not-implemented", "remote-server-timeout", "internal-server-error", "forbidden"} {
		w.clock.move(2 * listAge)
		w.set(func() { w.refusals[node] = c })
		if got := read(); !slices.Equal(got, []uint32{w.juliet.ID}) {
			t.Errorf("%s: devices %v", c, got)
		}
	}
	w.clock.move(2 * listAge)
	w.set(func() { w.refusals[node] = "item-not-found" })
	if got := read(); len(got) != 0 {
		t.Errorf("devices %v of an account without any", got)
	}
}

// failing is a State whose database is down.
type failing struct {
	*sidetest.State
	mu   sync.Mutex
	down bool
}

var errDown = errors.New("the database is down")

func (f *failing) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	f.mu.Lock()
	down := f.down
	f.mu.Unlock()
	if down {
		return errDown
	}
	return f.State.Update(ctx, fn)
}

func (f *failing) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func TestAFailingStoreIsNoErrorForClients(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	state := &failing{State: w.own}
	dev, err := w.side.device(t.Context(), fakeSelf)
	must(t, err)
	w.edit = func(s *Side) { s.deps.State, s.omemo = state, omemo.NewManager(state, omemo.Options{}) }
	w.restart(nil)
	state.set(true)
	name, _ := bundleNode(omemo.Legacy, dev.ID)
	ask := el("", "iq", "type", "get", "id", "b1", "from", "juliet@test/x", "to", fakeSelf).add(el(nsPubSub, "pubsub").add(el(nsPubSub, "items", "node", name)))
	w.raw(string(ask.bytes()))
	w.raw("<iq type='get' id='p1' from='juliet@test/x' to='" + fakeSelf + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	w.await("a ping's answer", func(n *node) bool { return n.get("id") == "p1" })
	state.set(false)
	if n := w.await("the bundle", func(n *node) bool { return n.get("id") == "b1" }); n.get("type") != "result" {
		t.Errorf("the answer is %s", n.bytes())
	}
}

// FuzzStanzas: whatever comes, nothing crosses that was not sealed, and nothing breaks.
func FuzzStanzas(f *testing.F) {
	w := newWorld(f, both, omemo.Legacy)
	dev, err := w.side.device(f.Context(), fakeSelf)
	must(f, err)
	open := "<message type='groupchat' from='" + fakeRoom + "/Juliet' to='" + fakeSelf + "/" + resource + "'>"
	for _, inside := range monsters(dev) {
		if len(inside) < 4096 {
			f.Add([]byte(open + inside + "</message>"))
		}
	}
	f.Add(slices.Concat([]byte(open), w.juliet.seal(w.side, omemo.Legacy, []byte("x"), fakeSelf).raw, []byte("</message>")))
	f.Add(slices.Concat([]byte(open), w.juliet.seal(w.side, omemo.Two, []byte("<envelope xmlns='urn:xmpp:sce:1'/>"), fakeSelf).raw, []byte("</message>")))
	f.Add([]byte("<message from='" + fakeRoom + "' to='" + fakeSelf + "'><x xmlns='" + nsMUCUser + "'><status code='104'/><item jid='a@test' affiliation='owner'/></x></message>"))
	f.Add([]byte("<presence from='" + fakeRoom + "/Romeo' to='" + fakeSelf + "/" + resource + "'><x xmlns='" + nsMUCUser + "'><item jid='romeo@test/x' affiliation='member' role='participant'/><status code='110'/></x></presence>"))
	f.Add([]byte("<message from='" + fakeRoom + "' to='" + fakeSelf + "'><result xmlns='" + nsMAM + "' id='1' queryid='q'><forwarded xmlns='" + nsForward + "'><message type='groupchat' from='" + fakeRoom + "/x'/></forwarded></result></message>"))
	f.Add([]byte("<message type='headline' from='juliet@test' to='" + fakeSelf + "'><event xmlns='" + nsEvent + "'><items node='" + nodeListTwo + "'><item id='current'><devices xmlns='" + nsOMEMOTwo + "'><device id='1'/></devices></item></items></event></message>"))
	f.Add([]byte("<iq type='get' id='1' from='a@test/x' to='" + fakeSelf + "'><pubsub xmlns='" + nsPubSub + "'><items node='" + nodeBundlesTwo + "'><item id='1'/></items></pubsub></iq>"))
	f.Add([]byte("<message type='chat' id='1' from='juliet@test/x' to='" + fakeSelf + "'><body>help</body></message>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		inbox := sidetest.NewInbox(w.own)
		frames := newFramer(io.MultiReader(strings.NewReader("<s>"), bytes.NewReader(data)), maxStanza)
		for {
			fr, err := frames.next()
			if err != nil || fr.kind == frameClose {
				break
			}
			tag, err := parseTag(fr.raw)
			if err != nil || fr.kind != frameChild {
				continue
			}
			switch tag.name {
			case "message", "presence":
			case "iq":
				w.side.replyTo(t.Context(), w.side.currentLink(), fr.raw)
				continue
			default:
				continue
			}
			b := &batch{}
			w.side.read(t.Context(), w.side.currentLink(), item{raw: fr.raw, presence: tag.name == "presence", long: fr.long}, b)
			must(t, inbox.Accept(t.Context(), b.arrivals))
			for _, f := range b.after {
				f()
			}
		}
		for _, ev := range inbox.Heard() {
			if m, ok := ev.Body.(gateway.Message); ok && ev.Sealed.Protection != gateway.OMEMO && !strings.HasPrefix(ev.At.ID, "direct/") {
				t.Errorf("crossed: %+v", m)
			}
		}
	})
}
