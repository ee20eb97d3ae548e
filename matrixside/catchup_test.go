package matrixside

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

const (
	contextPath = "GET /rooms/" + testRoom + "/context/"
	forwardPath = historyPath + "?dir=f"
)

// counted is the value of a counter.
func counted(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

func texts(inbox *sidetest.Inbox) []string {
	var out []string
	for _, ev := range inbox.Heard() {
		if text := textOf(ev); text != "" {
			out = append(out, text)
		}
	}
	return out
}

func TestTheHistoryIsReadFromWhatWasAcceptedLast(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	_, inbox, stop := start(ctx, t, hs.cfg, state, nil, lobby(testRoom))
	hs.push(ctx, message("$1", "one"), message("$2", "two"))
	awaitText(ctx, t, inbox, "two")
	stop()
	hs.script(contextPath+"$2", reply{200, `{"start":"t2"}`, false})
	hs.script(forwardPath, historyOf("t4", message("$3", "three"), message("$4", "four")), historyOf("t5", message("$5", "five")), historyOf("t5"))
	_, inbox, stop = start(ctx, t, hs.cfg, state, nil, lobby(testRoom))
	if got := hs.push(ctx, message("$3", "three"), message("$4", "four"), message("$5", "five"), message("$6", "six")); got != http.StatusOK {
		t.Fatalf("answer %d", got)
	}
	if got := texts(inbox); !slices.Equal(got, []string{"three", "four", "five", "six"}) {
		t.Errorf("heard %q", got)
	}
	stop()
	hs.script(contextPath+"$6", reply{200, `{"start":"t6"}`, false})
	hs.script(forwardPath, historyOf(""))
	start(ctx, t, hs.cfg, state, nil, lobby(testRoom))
	if n := hs.count("@lockbridge:example.org " + contextPath + "$6"); n != 1 {
		t.Errorf("read from $6 %d times", n)
	}
}

func TestATransactionWaitsUntilTheHistoryCanBeRead(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	side, inbox, _ := start(ctx, t, hs.cfg, state, quick, lobby(testRoom))
	hs.push(ctx, message("$1", "one"))
	rm := side.roomOf(testRoom)
	rm.mu.Lock()
	rm.doubts++
	rm.mu.Unlock()
	hs.script(contextPath+"$1", refusal(502, ""), reply{200, `{"start":"t1"}`, false})
	hs.script(forwardPath, historyOf("", message("$2", "two")))
	if got := hs.push(ctx, message("$3", "three")); got != http.StatusServiceUnavailable {
		t.Errorf("answer %d while the history cannot be read", got)
	}
	for hs.push(ctx, message("$3", "three")) != http.StatusOK {
	}
	if got := texts(inbox); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("heard %q", got)
	}
}

func TestAHistoryThatIsClosedIsNotWaitedFor(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	must(t, state.PutMany(ctx, map[string][]byte{lastKey(testRoom): []byte("$gone")}))
	hs.script(contextPath+"$gone", refusal(404, "M_NOT_FOUND"))
	_, inbox, _ := start(ctx, t, hs.cfg, state, nil, lobby(testRoom))
	hs.push(ctx, message("$1", "one"))
	awaitText(ctx, t, inbox, "one")
}

func TestARoomThatTheHomeserverCannotReadHoldsNoOther(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	must(t, state.PutMany(ctx, map[string][]byte{lastKey(testRoom): []byte("$last")}))
	for range maxFailures + 1 {
		hs.script(historyPath, refusal(500, "M_UNKNOWN"))
	}
	_, inbox, _ := start(ctx, t, hs.cfg, state, quick, lobby(testRoom))
	for hs.push(ctx, message("$1", "one")) != http.StatusOK {
	}
	awaitText(ctx, t, inbox, "one")
}

func TestWhatWasRefusedIsReadWhenTheJournalCanBeWritten(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), quick, lobby(testRoom))
	hs.push(ctx, message("$1", "one"))
	for range 5 {
		hs.script(contextPath+"$1", reply{200, `{"start":"t1"}`, false})
		hs.script(forwardPath, historyOf("", message("$2", "two")))
	}
	inbox.Refuse(1)
	pings := hs.count("@lockbridge:example.org POST /v1/appservice/lockbridge/ping")
	if got := hs.push(ctx, message("$2", "two")); got != http.StatusServiceUnavailable {
		t.Fatalf("answer %d", got)
	}
	awaitText(ctx, t, inbox, "two") // although nothing is sent again
	hs.await(ctx, "@lockbridge:example.org POST /v1/appservice/lockbridge/ping", pings+1)
}

func TestNamesAreThoseBeforeAnEventThatWasNotAccepted(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	renamed := `{"event_id":"$r","room_id":"` + testRoom + `","type":"m.room.member","sender":"@romeo:example.org","state_key":"@romeo:example.org","content":{"membership":"join","displayname":"Montague"}}`
	inbox.Refuse(1)
	hs.push(ctx, message("$0", "before"), renamed)
	hs.push(ctx, message("$0", "before"), renamed)
	if ev := awaitText(ctx, t, inbox, "before"); ev.Sender.Name != "Romeo" {
		t.Errorf("said by %+v", ev.Sender)
	}
	_, err := inbox.Await(ctx, "the new name", func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Rename
	})
	must(t, err)
}

func TestAGreatTransactionIsAcceptedInParts(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	var events []string
	for i := range 2000 {
		events = append(events, message(fmt.Sprint("$e", i), fmt.Sprint(i)))
	}
	hs.push(ctx, events[:300]...)
	inbox.Refuse(1)
	for range 2 {
		hs.push(ctx, events...)
	}
	got := texts(inbox)
	if len(got) != len(events) {
		t.Fatalf("heard %d of %d", len(got), len(events))
	}
	for i, text := range got {
		if text != fmt.Sprint(i) {
			t.Fatalf("%s came as number %d", text, i)
		}
	}
}

func TestWhatIsOlderThanCatchUpIsNotCarried(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	registry := prometheus.NewRegistry()
	side, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), func(s *Side) {
		registry.MustRegister(s.metrics.stale)
		s.deps.CatchUp = time.Hour
		var clock testClock
		clock.set(s)
	}, lobby(testRoom))
	at := func(id, text string, age time.Duration, unsigned string) string {
		ms := side.now().Add(-age).UnixMilli()
		return strings.Replace(message(id, text), `"origin_server_ts":1700000000000`, fmt.Sprintf(`"origin_server_ts":%d,"unsigned":{%s}`, ms, unsigned), 1)
	}
	own := strings.Replace(ownEvent("$own", mercutio, "key", side.now().Add(-3*time.Hour)), `"content"`, `"unsigned":{"age":9999999},"content"`, 1)
	if got := hs.push(ctx, at("$1", "old", 2*time.Hour, ""), at("$2", "by a wrong clock", 2*time.Hour, `"age":5000`), at("$3", "old by the server", 0, `"age":7200000`), own, at("$4", "new", time.Minute, "")); got != http.StatusOK {
		t.Fatalf("answer %d", got)
	}
	if got := texts(inbox); !slices.Equal(got, []string{"by a wrong clock", "new"}) {
		t.Errorf("heard %q", got)
	}
	if n := counted(t, registry, "lockbridge_matrix_stale_total"); n != 2 {
		t.Errorf("%v were counted", n)
	}
	hs.push(ctx, at("$1", "old", 2*time.Hour, ""))
	if n := counted(t, registry, "lockbridge_matrix_stale_total"); n != 2 {
		t.Errorf("%v were counted after one came again", n)
	}
	gone := strings.Replace(memberEvent("$5", testRoom, "@romeo:example.org", "@romeo:example.org", "leave"), `"content"`, `"unsigned":{"age":9999999},"content"`, 1)
	if got := hs.push(ctx, gone); got != http.StatusOK {
		t.Fatalf("answer %d", got)
	}
	left := slices.ContainsFunc(inbox.Heard(), func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Leave && m.Quiet && m.Who.ID == "@romeo:example.org"
	})
	if !left || counted(t, registry, "lockbridge_matrix_stale_total") != 2 {
		t.Errorf("whoever left long ago is still there for the others: %+v", inbox.Heard()[len(inbox.Heard())-1].Body)
	}
	echoes := slices.ContainsFunc(inbox.Heard(), func(ev *gateway.Event) bool { _, ok := ev.Body.(gateway.Echo); return ok })
	if !echoes {
		t.Error("our own echo was passed over")
	}
}

func TestAConnectionThatBreaksInUseRaisesDoubt(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var d doors
	one, two := new(fakeConn), new(fakeConn)
	first := d.opened(t.Context(), one)
	if d.use(first, now, true) {
		t.Error("the first transaction is odd")
	}
	second := d.opened(t.Context(), two)
	if !d.use(second, now.Add(time.Second), false) {
		t.Error("another connection beside one in use is not odd")
	}
	if d.use(second, now.Add(2*time.Second), true) {
		t.Error("it is odd again")
	}
	if !d.closed(two, now.Add(3*time.Second)) {
		t.Error("a connection that breaks in use is not odd")
	}
	if d.closed(one, now.Add(time.Hour)) {
		t.Error("one that was idle is odd")
	}
	if third := d.opened(t.Context(), one); d.use(third, now.Add(2*time.Hour), false) {
		t.Error("another one after an idle time is odd")
	}
	if fourth := d.opened(t.Context(), two); !d.use(fourth, now.Add(4*time.Hour), true) {
		t.Error("one that brings what is late is not odd")
	}
	if len(d.open) != 2 {
		t.Errorf("%d are remembered", len(d.open))
	}
}

func TestReconnectsAreCounted(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	registry := prometheus.NewRegistry()
	ready := make(chan error, 16)
	side, err := New(hs.cfg, gateway.Deps{Network: "matrix", Rooms: []gateway.Room{lobby(testRoom)}, State: sidetest.NewState(), Log: logTo(t), Metrics: registry, Ready: func(away error) { ready <- away }})
	must(t, err)
	quick(side)
	inbox := sidetest.NewInbox(sidetest.NewState())
	runUntilEnd(ctx, t, side, inbox)
	must(t, <-ready)
	hs.script(sendPath, reply{cut: true})
	if deliverOne(t, side, delivery(testRoom, "1", "mercutio", "text")) == nil {
		t.Fatal("a broken connection is no error")
	}
	for away := <-ready; away != nil; away = <-ready {
	}
	if n := counted(t, registry, "lockbridge_reconnects_total"); n != 1 {
		t.Errorf("%v reconnects", n)
	}
}

func TestAHomeserverThatIsLateIsWatchedForAWhile(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var u unsettled
	u.begin(now)
	for i := range 10 { // something late every three seconds
		now = now.Add(3 * time.Second)
		if lasts := u.goesOn(now, true); lasts != (i < 9) {
			t.Errorf("after %d s it lasts: %v", 3*i+3, lasts)
		}
	}
	if u.left(now) > 0 {
		t.Errorf("%v are left", u.left(now))
	}
	if u.goesOn(now.Add(time.Minute), true) {
		t.Error("it begins again by itself")
	}
}

// Synapse may forget a transaction that it makes while it sends the last of those that it had kept.
func TestWhatTheHomeserverLeavesBehindIsReadBeforeWhatFollows(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), quick, lobby(testRoom))
	hs.push(ctx, message("$1", "one"))
	hs.script(historyPath, historyOf("", message("$3", "three"), message("$2", "two"), message("$1", "one"), message("$0", "long ago")))
	hs.push(ctx, message("$3", "three"))
	if got := texts(inbox); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("heard %q", got)
	}
}
