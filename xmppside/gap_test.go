package xmppside

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

// texts are the messages that were heard, in order.
func texts(inbox *sidetest.Inbox) []string {
	var out []string
	for _, ev := range inbox.Heard() {
		if text := textOf(ev); text != "" {
			out = append(out, text)
		}
	}
	return out
}

func wantTexts(t *testing.T, inbox *sidetest.Inbox, want ...string) {
	t.Helper()
	if got := texts(inbox); !slices.Equal(got, want) {
		t.Errorf("heard %d: %.300q, want %d: %.300q", len(got), got, len(want), want)
	}
}

// newArchive is a server whose room has an archive and a short history.
func newArchive(t *testing.T) *fakeServer {
	f := newFakeServer(t)
	f.features, f.history = append(f.features, nsMAM), 5
	return f
}

// TestALongGapIsReadPageByPage: after the last message that was read, in order, each with the time when it was said.
func TestALongGapIsReadPageByPage(t *testing.T) {
	f, state := newArchive(t), sidetest.NewState()
	_, inbox, stop := start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsNone))
	f.juliet(body("before"))
	heard(t, inbox, "before")
	stop()
	want := []string{}
	for i := range 250 {
		f.juliet(body(fmt.Sprint(i)))
		want = append(want, fmt.Sprint(i))
	}
	said := time.Now().Add(-time.Hour).Round(time.Second)
	f.set(func() { f.archive[100].at = said })
	side, inbox, _ := start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsNone))
	f.juliet(body("live"))
	heard(t, inbox, "live")
	wantTexts(t, inbox, append(want, "live")...)
	if at := heard(t, inbox, "99").Time; !at.Equal(said) {
		t.Errorf("said at %v, heard as of %v", said, at)
	}
	must(t, side.room0().await(t.Context(), func() bool { return side.room0().ready }))
	f.set(func() {
		if first := f.pages[0].child(nsRSM, "set").child(nsRSM, "after"); first == nil || first.text != "s1" {
			t.Errorf("the first page was asked for by %s", f.pages[0].bytes())
		}
	})
}

// TestAnArchiveThatForgotIsReadByTime: the last message that was read is not in it any more.
func TestAnArchiveThatForgotIsReadByTime(t *testing.T) {
	f, state := newArchive(t), sidetest.NewState()
	_, inbox, stop := start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsNone))
	f.juliet(body("before"))
	heard(t, inbox, "before")
	stop()
	f.set(func() { f.archive = nil })
	for i := range 10 {
		f.juliet(body(fmt.Sprint(i)))
	}
	_, inbox, _ = start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsNone))
	heard(t, inbox, "9")
	wantTexts(t, inbox, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
}

func TestWhatIsTooOldIsNotCaughtUp(t *testing.T) {
	f, state := newArchive(t), sidetest.NewState()
	_, inbox, stop := start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsNone))
	f.juliet(body("before"))
	heard(t, inbox, "before")
	stop()
	for i := range 10 {
		f.juliet(body(fmt.Sprint(i)))
	}
	later := &clock{by: 3 * time.Hour}
	f.set(func() {
		for i := range f.archive {
			f.archive[i].at = later.now().Add(-time.Duration(11-i) * 20 * time.Minute)
		}
	})
	deps := gateway.Deps{Rooms: []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsNone)}, CatchUp: 70 * time.Minute}
	_, inbox, _ = startEdited(t.Context(), t, f.config(), state, deps, func(s *Side) { s.now = later.now })
	f.juliet(body("live"))
	heard(t, inbox, "live")
	wantTexts(t, inbox, "7", "8", "9", "live")
}

// TestWhatWasSealedMeanwhileIsOpenedFromTheArchive: duplicates are silent.
func TestWhatWasSealedMeanwhileIsOpenedFromTheArchive(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	w.set(func() { w.features = append(w.features, nsMAM) })
	w.restart(nil)
	w.juliet.say(w.side, omemo.Legacy, "before")
	w.heard("before")
	old := w.side
	w.stop()
	for i := range 120 {
		w.juliet.say(old, omemo.Legacy, fmt.Sprint(i))
	}
	w.start(nil)
	w.juliet.say(w.side, omemo.Legacy, "after")
	w.heard("after")
	if n := len(texts(w.inbox)); n != 121 && n != 122 {
		t.Errorf("heard %d: %q", n, texts(w.inbox))
	}
	if bad := w.inbox.Unread(); len(bad) > 0 {
		t.Errorf("unreadable: %v", bad)
	}
}

// TestOurOwnWordsInTheGapAreFoundThere: what the room took while we did not see it is not said again.
func TestOurOwnWordsInTheGapAreFoundThere(t *testing.T) {
	f, state := newArchive(t), sidetest.NewState()
	side, _, stop := start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsNone))
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.ready }))
	f.set(func() { f.mute = true })
	ctx, done := side.currentLink(), make(chan error, 1)
	go func() { done <- side.Deliver(t.Context(), []gateway.Delivery{delivery(keyA, "once", false)})[0].Err }()
	f.await("the message", func(n *node) bool { return n.name == "message" })
	ctx.close()
	if err := <-done; err == nil || gateway.IsDrop(err) {
		t.Fatalf("Deliver across a cut: %v", err)
	}
	stop()
	f.set(func() { f.mute, f.history = false, 1 })
	for i := range 150 { // more than the history holds, and more than a page
		f.juliet(body(fmt.Sprint(i)))
	}
	side, inbox, _ := start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsNone))
	d := delivery(keyA, "once", false)
	d.Attempt = 1
	until(t, side, d)
	if n := len(f.said()); n != 1 {
		t.Errorf("said %d times", n)
	}
	echoes := 0
	for _, ev := range inbox.Heard() {
		if e, ok := ev.Body.(gateway.Echo); ok && e.Key == keyA {
			echoes++
		}
	}
	if echoes != 1 {
		t.Errorf("%d echoes", echoes)
	}
}

// TestWhatIsToldToAnOccupantOfOldWaitsForTheHistory: the server has not noticed yet that the connection before is gone.
func TestWhatIsToldToAnOccupantOfOldWaitsForTheHistory(t *testing.T) {
	f, state := newArchive(t), sidetest.NewState()
	_, inbox, stop := start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsNone))
	f.juliet(body("before"))
	heard(t, inbox, "before")
	stop()
	f.juliet(body("first"))
	f.set(func() { f.deafTo = nsDiscoInfo; f.room[fakeSelf+"/"+resource] = "lockbridge" })
	side, err := New(f.config(), gateway.Deps{Network: "xmpp", State: state, Rooms: []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsNone)}, Log: testLog(t)})
	must(t, err)
	run(t, side, inbox)
	f.await("a question", func(n *node) bool {
		return f.links == 2 && n.child(nsDiscoInfo, "query") != nil && n.get("to") == fakeRoom
	})
	f.juliet(body("second")) // live, to the occupant of old
	f.answerHeldBack()
	f.juliet(body("third"))
	heard(t, inbox, "third")
	wantTexts(t, inbox, "before", "first", "second", "third")
}

// TestAMissedStretchIsCounted: a room without archive hands out its last messages only.
func TestAMissedStretchIsCounted(t *testing.T) {
	f, state := newFakeServer(t), sidetest.NewState()
	_, inbox, stop := start(t.Context(), t, f.config(), state, fakeBridgeRoom(false, gateway.PuppetsNone))
	f.juliet(body("before"))
	heard(t, inbox, "before")
	stop()
	later := &clock{by: time.Hour}
	for i := range 40 {
		f.juliet(body(fmt.Sprint(i)))
	}
	f.set(func() {
		f.history = 20
		for i := range f.archive[1:] {
			f.archive[i+1].at = later.now().Add(-time.Duration(40-i) * time.Second)
		}
	})
	reg := prometheus.NewRegistry()
	deps := gateway.Deps{Rooms: []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsNone)}, Metrics: reg}
	side, inbox, _ := startEdited(t.Context(), t, f.config(), state, deps, func(s *Side) { s.now = later.now })
	heard(t, inbox, "39")
	must(t, side.room0().await(t.Context(), func() bool { return side.room0().ready }))
	if n := counted(t, reg, "lockbridge_gaps_total"); n != 1 {
		t.Errorf("%v gaps", n)
	}
}
