package xmppside

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

const keyA = "0123456789abcdef0123456789abcdef"

func delivery(key, text string, sealed bool) gateway.Delivery {
	return gateway.Delivery{
		Key: key, Room: gateway.Address{Network: "xmpp", ID: fakeRoom}, Seal: sealed,
		Event: &gateway.Event{Sender: gateway.Person{Network: "matrix", ID: "@alice:test", Name: "Alice"}, Body: gateway.Message{Text: gateway.Text{Plain: text}}},
	}
}

func body(text string) *node { return el("", "body").say(text) }

func startFake(t *testing.T, f *fakeServer, room gateway.Room) (*Side, *sidetest.Inbox) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	side, inbox, _ := start(ctx, t, f.config(), sidetest.NewState(), room)
	return side, inbox
}

func heard(t testing.TB, inbox *sidetest.Inbox, text string) *gateway.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ev, err := inbox.Await(ctx, text, func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Message)
		return ok && m.Text.Plain == text
	})
	must(t, err)
	return ev
}

func deliver(t testing.TB, side *Side, d gateway.Delivery) error {
	t.Helper()
	out := side.Deliver(t.Context(), []gateway.Delivery{d})
	if len(out) != 1 {
		t.Fatalf("%d outcomes", len(out))
	}
	return out[0].Err
}

// until delivers again and again, as the gateway does.
func until(t *testing.T, side *Side, d gateway.Delivery) {
	t.Helper()
	r := side.room0()
	for {
		must(t, r.await(t.Context(), func() bool { return r.ready }))
		err := deliver(t, side, d)
		if err == nil {
			return
		}
		if gateway.IsDrop(err) {
			t.Fatalf("Deliver: %v", err)
		}
		d.Attempt++
	}
}

func TestAGapIsReadFromTheHistoryAfterReconnecting(t *testing.T) {
	f := newFakeServer(t)
	_, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	f.juliet(body("before"))
	heard(t, inbox, "before")
	f.drop()
	f.juliet(body("meanwhile"))
	heard(t, inbox, "meanwhile")
	f.await("a join with history", func(n *node) bool {
		return n.name == "presence" && n.child(nsMUC, "x").child(nsMUC, "history").get("since") != ""
	})
	f.juliet(body("after"))
	heard(t, inbox, "after")
	var texts []string
	for _, ev := range inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok {
			texts = append(texts, m.Text.Plain)
		}
	}
	if got := strings.Join(texts, ", "); got != "before, meanwhile, after" {
		t.Errorf("heard %s", got)
	}
}

func TestWhatArrivedBeforeACutIsNotSaidAgain(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	f.set(func() { f.mute = true })
	done := make(chan error, 1)
	go func() { done <- side.Deliver(t.Context(), []gateway.Delivery{delivery(keyA, "once", false)})[0].Err }()
	f.await("the message", func(n *node) bool { return n.name == "message" })
	f.drop()
	if err := <-done; err == nil || gateway.IsDrop(err) {
		t.Fatalf("Deliver across a cut: %v, want an error that is tried again", err)
	}
	f.set(func() { f.mute = false })
	d := delivery(keyA, "once", false)
	d.Attempt = 1
	until(t, side, d)
	if n := len(f.said()); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestAnOccupantThatTheRoomLostComesBackToSayIt(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	must(t, deliver(t, side, delivery(keyA, "first", false)))
	f.set(func() { clear(f.room) }) // without a word to anybody
	second := delivery(strings.Repeat("b", 32), "second", false)
	if err := deliver(t, side, second); err == nil || gateway.IsDrop(err) {
		t.Fatalf("Deliver: %v, want an error that is tried again", err)
	}
	f.set(func() { f.room[fakeSelf+"/"+resource] = "lockbridge" })
	until(t, side, second)
}

func TestTheServersRefusalsAreExplained(t *testing.T) {
	for refusal, want := range map[string]string{
		"not-authorized": "set the same one in both configs", "conflict": "another program", "host-unknown": "add it to the server's config",
	} {
		t.Run(refusal, func(t *testing.T) {
			f := newFakeServer(t)
			f.refusal = refusal
			away := make(chan error, 8)
			side, err := New(f.config(), gateway.Deps{
				Network: "xmpp", State: sidetest.NewState(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Ready: func(err error) { away <- err },
			})
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- side.Run(ctx, sidetest.NewInbox(sidetest.NewState())) }()
			why := <-away
			cancel()
			must(t, <-ended)
			if why == nil || !strings.Contains(why.Error(), want) {
				t.Errorf("Ready(%v), want something with %q", why, want)
			}
			if d := linkPause(why, 0, 0); d > time.Second {
				t.Errorf("first attempt after %v", d)
			}
			if d := linkPause(why, 100, time.Hour); d < refusedPause/2 || d > refusedPause {
				t.Errorf("later attempts after %v", d)
			}
		})
	}
	if d := linkPause(errLinkDown, 0, 0); d > time.Second {
		t.Errorf("first reconnect after %v", d)
	}
}

func TestASilentServerIsLeft(t *testing.T) {
	f := newFakeServer(t)
	away := make(chan error, 8)
	side, err := New(f.config(), gateway.Deps{
		Network: "xmpp", State: sidetest.NewState(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Ready: func(err error) { away <- err },
	})
	must(t, err)
	side.pingAfter, side.askTimeout = 20*time.Millisecond, time.Second
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- side.Run(ctx, sidetest.NewInbox(sidetest.NewState())) }()
	if err := <-away; err != nil {
		t.Fatal(err)
	}
	f.await("a ping", func(n *node) bool { return n.child(nsPing, "ping") != nil })
	f.set(func() { f.deaf = true })
	if err := <-away; err == nil {
		t.Error("a silent server counts as alive")
	}
	f.set(func() { f.deaf = false })
	if err := <-away; err != nil {
		t.Error(err)
	}
	cancel()
	must(t, <-ended)
}

func TestAForeignFromIsNeverWritten(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	for _, from := range []string{"juliet@test", "bridge.test.evil", "x@bridge.test@evil", "", "evil/@bridge.test"} {
		if err := side.currentLink().send(el("", "message", "from", from, "to", fakeRoom)); !errors.Is(err, errForeignFrom) {
			t.Errorf("from %q: %v", from, err)
		}
	}
}

func TestQueriesAreAnsweredWhileTheDatabaseIsSlow(t *testing.T) {
	f := newFakeServer(t)
	_, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	inbox.Refuse(3)
	f.juliet(body("patience"))
	f.raw("<iq type='get' id='q1' from='juliet@test/x' to='" + fakeSelf + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	f.raw("<iq type='get' id='q2' from='juliet@test/x' to='" + fakeSelf + "'><nonsense xmlns='urn:nothing'/></iq>")
	f.raw("<iq type='get' id='q3' from='juliet@test/x' to='" + fakeSelf + "'>" + strings.Repeat("<a>", maxDepth+1) + strings.Repeat("</a>", maxDepth+1) + "</iq>")
	for id, want := range map[string]string{"q1": "result", "q2": "error", "q3": "error"} {
		n := f.await(id, func(n *node) bool { return n.name == "iq" && n.get("id") == id })
		if n.get("type") != want || n.get("from") != fakeSelf {
			t.Errorf("%s: %s from %s, want %s", id, n.get("type"), n.get("from"), want)
		}
	}
	heard(t, inbox, "patience")
}

func TestIdsThatTheRoomDoesNotGiveAreForged(t *testing.T) {
	f := newFakeServer(t)
	f.features = []string{"muc_open"}
	_, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	forged := []*node{el(nsSID, "stanza-id", "by", fakeRoom, "id", "chosen"), el(nsOccupantID, "occupant-id", "id", "Romeo")}
	f.juliet(append(forged, body("believe me"))...)
	ev := heard(t, inbox, "believe me")
	if !strings.HasPrefix(ev.Native, kindHash) || ev.Sender.ID != "Juliet@"+fakeRoom {
		t.Errorf("heard %q from %q", ev.Native, ev.Sender.ID)
	}
}

// TestRetractionsNameWhoTakesBack: the id that one names is the room's, and anybody can write it down. The gateway judges
// by the sender whose words they are.
func TestRetractionsNameWhoTakesBack(t *testing.T) {
	f := newFakeServer(t)
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	f.enter("Juliet", "juliet@test/x", "none")
	f.enter("Romeo", "romeo@test/x", "none")
	must(t, side.room0().await(t.Context(), func() bool { return side.room0().occupants["Romeo"] != nil }))
	f.juliet(body("a word"))
	id := heard(t, inbox, "a word").Native
	retract := el(nsRetract, "retract", "id", id)
	f.set(func() { f.say("Romeo", "r1", retract) })
	f.juliet(retract, body("which nobody is shown"))
	f.juliet(body("after"))
	heard(t, inbox, "after")
	var by []string
	for _, ev := range inbox.Heard() {
		if r, ok := ev.Body.(gateway.Retract); ok && r.Target.Native == id && !r.Moderated {
			by = append(by, ev.Sender.Name)
		}
	}
	if fmt.Sprint(by) != "[Romeo Juliet]" {
		t.Errorf("retracted by %q", by)
	}
}

// gate is an inbox that lets nothing through until it is opened.
type gate struct {
	*sidetest.Inbox
	open chan struct{}
}

func (g gate) Accept(ctx context.Context, batch []gateway.Arrival) error {
	select {
	case <-g.open:
	case <-ctx.Done():
		return ctx.Err()
	}
	return g.Inbox.Accept(ctx, batch)
}

func TestWhatDoesNotFitTheQueueComesFromTheHistory(t *testing.T) {
	f := newFakeServer(t)
	f.history = 600 // as rooms do, it hands out what fits the queue, and what will be missed
	state := sidetest.NewState()
	side, err := New(f.config(), gateway.Deps{
		Network: "xmpp", State: state, Rooms: []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsNone)}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	must(t, err)
	in := gate{sidetest.NewInbox(state), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- side.Run(ctx, in) }()
	f.await("the join", func(n *node) bool { return n.name == "presence" })
	const n = maxQueued + 500
	for i := range n {
		f.juliet(body(fmt.Sprint(i)))
	}
	r := side.room0()
	must(t, r.await(t.Context(), r.gapped.Load))
	close(in.open)
	heard(t, in.Inbox, fmt.Sprint(n-1))
	cancel()
	must(t, <-ended)
	next := 0
	for _, ev := range in.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok {
			if m.Text.Plain != fmt.Sprint(next) {
				t.Fatalf("heard %s, want %d", m.Text.Plain, next)
			}
			next++
		}
	}
	if next != n {
		t.Errorf("heard %d of %d", next, n)
	}
}

func TestMalformedStanzasAreLeftOut(t *testing.T) {
	f := newFakeServer(t)
	_, inbox := startFake(t, f, fakeBridgeRoom(true, gateway.PuppetsNone))
	room := "<message type='groupchat' from='" + fakeRoom + "/Juliet' to='" + fakeSelf + "/lockbridge'>"
	for _, xml := range []string{
		"<message/>", "<presence/>", "<iq/>", "<presence from='" + fakeRoom + "' to='" + fakeSelf + "/lockbridge'/>",
		"<presence from='" + fakeRoom + "/x' to='" + fakeSelf + "/lockbridge'><x xmlns='" + nsMUCUser + "'/></presence>",
		room + strings.Repeat("<a>", 1000) + strings.Repeat("</a>", 1000) + "</message>",
		room + "<body>" + strings.Repeat("x", 2*maxStanza) + "</body></message>",
		room + "<encrypted xmlns='" + nsLegacy + "'><header sid='99999999999999'><key rid='99999999999999'>!!!</key></header></encrypted></message>",
		room + "<encrypted xmlns='" + nsLegacy + "'/><encrypted xmlns='" + nsLegacy + "'/></message>",
		room + "<encrypted xmlns='" + nsOMEMOTwo + "'/><body>fallback</body></message>",
		room + "<encryption xmlns='" + nsEME + "' namespace='urn:x'/><body>fallback</body></message>",
		room + "<body>&undefined;</body></message>", room + "<undeclared:body>x</undeclared:body></message>",
		"<message type='error' id='" + keyA + "' from='" + fakeRoom + "' to='" + fakeSelf + "'/>",
		"<message type='headline' from='j@test' to='" + fakeSelf + "'><event xmlns='" + nsEvent + "'><items node='" + nodeList + "'><item><list/></item></items></event></message>",
		"<iq type='result' id='nobody' from='j@test' to='" + fakeSelf + "'/>", "<unknown/>", "<message type='chat' from='j@test' to='nobody@bridge.test'><body>x</body></message>",
	} {
		f.raw(xml)
	}
	f.raw("<iq type='get' id='alive' from='j@test' to='" + fakeSelf + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	f.await("an answer after all that", func(n *node) bool { return n.get("id") == "alive" })
	for _, ev := range inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok {
			t.Errorf("carried: %+v", m)
		}
	}
}
