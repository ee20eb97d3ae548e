package matrixside

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

func awaitText(ctx context.Context, t *testing.T, inbox *sidetest.Inbox, text string) *gateway.Event {
	t.Helper()
	ev, err := inbox.Await(ctx, text, func(ev *gateway.Event) bool { return textOf(ev) == text })
	must(t, err)
	return ev
}

func TestOnlyTheHomeserverMayPush(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	body := `{"events":[` + message("$1", "forged") + `]}`
	good := "Bearer " + hs.reg.HSToken
	for _, c := range []struct {
		method, path, authorization, body string
		want                              int
	}{
		{"PUT", "/_matrix/app/v1/transactions/1", "", body, http.StatusUnauthorized},
		{"PUT", "/_matrix/app/v1/transactions/1", "Bearer wrong", body, http.StatusForbidden},
		{"PUT", "/_matrix/app/v1/transactions/1", "Bearer " + hs.reg.ASToken, body, http.StatusForbidden},
		{"PUT", "/transactions/1?access_token=wrong", "", body, http.StatusForbidden},
		{"PUT", "/transactions/1?access_token=" + hs.reg.HSToken, "", `{"events":[` + message("$2", "by the old path") + `]}`, http.StatusOK},
		{"PUT", "/_matrix/app/v1/transactions/1", good, `{"events":[`, http.StatusBadRequest},
		{"PUT", "/_matrix/app/v1/transactions/1", good, `[]`, http.StatusBadRequest},
		{"PUT", "/_matrix/app/v1/transactions/1", good, `{}`, http.StatusBadRequest},
		{"PUT", "/_matrix/app/v1/transactions/1", good, `{"events":{}}`, http.StatusBadRequest},
		{"PUT", "/_matrix/app/v1/transactions/1", good, `{"events":[],"ephemeral":7,"to_device":"x"}`, http.StatusOK},
		{"GET", "/_matrix/app/v1/users/@lb_irc_x%2Fy:example.org", good, "", http.StatusNotFound},
		{"GET", "/_matrix/app/v1/users/@lb_irc_x:example.org", "", "", http.StatusUnauthorized},
		{"GET", "/_matrix/app/v1/rooms/%23lb_x:example.org", good, "", http.StatusNotFound},
		{"GET", "/rooms/%23lb_x:example.org", good, "", http.StatusNotFound},
		{"POST", "/_matrix/app/v1/ping", good, `{"transaction_id":"x"}`, http.StatusOK},
		{"GET", "/_matrix/app/v1/thirdparty/protocol/irc", good, "", http.StatusNotFound},
	} {
		if got := hs.request(ctx, c.method, c.path, c.authorization, c.body); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got, c.want)
		}
	}
	awaitText(ctx, t, inbox, "by the old path")
	for _, ev := range inbox.Heard() {
		if textOf(ev) == "forged" {
			t.Error("a stranger's transaction was accepted")
		}
	}
}

func TestATransactionThatIsTooLargeIsRefused(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	r := strings.NewReader(`{"events":["` + strings.Repeat("x", maxTransaction) + `"]}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, hs.cfg.URL+"/_matrix/app/v1/transactions/1", r)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+hs.reg.HSToken)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("answer %d", resp.StatusCode)
	}
}

func TestARepeatedTransactionIDMayBringNewEvents(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	path, token := "/_matrix/app/v1/transactions/same", "Bearer "+hs.reg.HSToken
	hs.request(ctx, http.MethodPut, path, token, `{"events":[`+message("$1", "first")+`]}`)
	hs.request(ctx, http.MethodPut, path, token, `{"events":[`+message("$1", "first")+`,`+message("$2", "second")+`]}`)
	awaitText(ctx, t, inbox, "second")
	n := 0
	for _, ev := range inbox.Heard() {
		if textOf(ev) == "first" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the first event was heard %d times", n)
	}
}

func TestAMalformedEventSpoilsOnlyItself(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	if got := hs.push(ctx, `7`, `null`, `{"event_id":{}}`, message("$1", "sound"), `{"event_id":"$2","room_id":"!room:example.org","sender":"@romeo:example.org"}`); got != http.StatusOK {
		t.Errorf("answer %d", got)
	}
	awaitText(ctx, t, inbox, "sound")
}

func TestWhatWasNotAcceptedIsAskedForAgain(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	inbox.Refuse(1)
	if got := hs.push(ctx, message("$1", "again")); got != http.StatusServiceUnavailable {
		t.Errorf("answer %d while Accept fails", got)
	}
	if got := hs.push(ctx, message("$1", "again")); got != http.StatusOK {
		t.Errorf("answer %d", got)
	}
	awaitText(ctx, t, inbox, "again")
}

func TestMessagesCarryTheNameOfTheirTime(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	rename := `{"event_id":"$r","room_id":"!room:example.org","type":"m.room.member","sender":"@romeo:example.org","state_key":"@romeo:example.org",` +
		`"content":{"membership":"join","displayname":"Montague"},"unsigned":{"prev_content":{"membership":"join","displayname":"Romeo"}}}`
	hs.push(ctx, message("$1", "before"), rename, message("$2", "after"),
		memberEvent("$l", testRoom, "@romeo:example.org", "@romeo:example.org", "leave"))
	if ev := awaitText(ctx, t, inbox, "before"); ev.Sender != (gateway.Person{Network: "matrix", ID: "@romeo:example.org", Name: "Romeo"}) {
		t.Errorf("before: %+v", ev.Sender)
	}
	if ev := awaitText(ctx, t, inbox, "after"); ev.Sender.Name != "Montague" {
		t.Errorf("after: %+v", ev.Sender)
	}
	left, err := inbox.Await(ctx, "the leave", func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Leave
	})
	must(t, err)
	if who := left.Body.(gateway.Membership).Who; who.Name != "Montague" || left.Sender != who {
		t.Errorf("%+v left, said by %+v", who, left.Sender)
	}
}

func TestOwnEventsAreEchoesByTheirKeyAndSender(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	said := func(id, sender, text string) string {
		return fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.message","sender":%q,"content":{"msgtype":"m.text","body":%q,"org.lockbridge.key":{"key":"k","part":"p"}}}`, id, testRoom, sender, text)
	}
	hs.push(ctx, said("$1", mercutio, "by the ghost"), said("$2", "@romeo:example.org", "with a stolen key"),
		fmt.Sprintf(`{"event_id":"$3","room_id":%q,"type":"m.room.message","sender":%q,"content":{"msgtype":"m.text","body":"without a key"}}`, testRoom, mercutio))
	awaitText(ctx, t, inbox, "with a stolen key")
	var echoes []*gateway.Event
	for _, ev := range inbox.Heard() {
		if _, ok := ev.Body.(gateway.Echo); ok {
			echoes = append(echoes, ev)
		}
		if textOf(ev) == "without a key" {
			t.Error("our own event was heard")
		}
	}
	if len(echoes) != 1 || echoes[0].Body != (gateway.Echo{Key: "k", Part: "p"}) || echoes[0].Native != "$1" {
		t.Errorf("echoes: %v", echoes)
	}
}

func TestAnInvitedGhostComesIfItsPersonIsBridged(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	hs.push(ctx,
		memberEvent("$1", testRoom, "@romeo:example.org", "@lb_other_x:example.org", "invite"),
		memberEvent("$2", "!elsewhere:example.org", "@romeo:example.org", "@lb_irc_x:example.org", "invite"),
		memberEvent("$3", testRoom, "@romeo:example.org", mercutio, "invite"))
	hs.await(ctx, mercutio+" "+joinPath, 1)
	for _, stranger := range []string{"@lb_other_x:example.org " + joinPath, "@lb_irc_x:example.org " + joinPath} {
		if hs.count(stranger) != 0 {
			t.Errorf("%s", stranger)
		}
	}
}

func TestTheBotWaitsOutsideAfterItWasRemoved(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), quick, lobby(testRoom))
	hs.push(ctx, memberEvent("$0", testRoom, "@juliet:example.org", "@juliet:example.org", "join"))
	hs.takeBotOut(true)
	hs.push(ctx, memberEvent("$1", testRoom, "@romeo:example.org", "@lockbridge:example.org", "leave"))
	if err := deliverOne(t, side, delivery(testRoom, "1", "mercutio", "text")); !isLater(err) {
		t.Errorf("outcome while we are out: %v", err)
	}
	hs.push(ctx, memberEvent("$2", testRoom, "@romeo:example.org", "@lockbridge:example.org", "invite"))
	hs.await(ctx, "@lockbridge:example.org GET /rooms/"+testRoom+"/joined_members", 2)
	deliverUntilSaid(ctx, t, side, delivery(testRoom, "2", "mercutio", "text"))
	if here := side.Here(lobby(testRoom).Address); len(here) != 1 || here[0].Name != "Romeo" { // Juliet left meanwhile
		t.Errorf("here are %v", here)
	}
}

func TestAnOldRemovalOfTheBotIsNotBelieved(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), quick, lobby(testRoom))
	hs.push(ctx, memberEvent("$1", testRoom, "@romeo:example.org", "@lockbridge:example.org", "leave"))
	deliverUntilSaid(ctx, t, side, delivery(testRoom, "1", "mercutio", "text"))
	if n := hs.count("@lockbridge:example.org POST /join/" + testRoom); n != 1 {
		t.Errorf("joined %d times", n)
	}
}

// slowInbox holds an Accept until it is released, whatever its context says.
type slowInbox struct{ entered, release chan struct{} }

func (in slowInbox) Accept(context.Context, []gateway.Arrival) error {
	close(in.entered)
	<-in.release
	return nil
}

func TestRunEndsOnlyAfterTheLastAccept(t *testing.T) {
	hs := newHomeserver(t)
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	ready := make(chan error, 8)
	side, err := New(hs.cfg, gateway.Deps{
		Network: "matrix", Rooms: []gateway.Room{lobby("#empty:example.org")}, State: sidetest.NewState(),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Ready: func(away error) { ready <- away },
	})
	must(t, err)
	hs.script("GET /rooms/"+testRoom+"/joined_members", reply{200, `{"joined":{}}`, false})
	in := slowInbox{make(chan struct{}), make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- side.Run(ctx, in) }()
	must(t, <-ready)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, hs.cfg.URL+"/_matrix/app/v1/transactions/1", strings.NewReader(`{"events":[`+message("$1", "slow")+`]}`))
		if err != nil {
			return
		}
		r.Header.Set("Authorization", "Bearer "+hs.reg.HSToken)
		if resp, err := http.DefaultClient.Do(r); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-in.entered
	cancel()
	<-answered // cut off
	select {
	case err := <-ended:
		t.Errorf("Run ended during an Accept: %v", err)
	default:
	}
	close(in.release)
	must(t, <-ended)
}

// readAll is an inbox that reads and keeps nothing.
type readAll struct{ t testing.TB }

func (in readAll) Accept(ctx context.Context, batch []gateway.Arrival) error {
	for _, a := range batch {
		ev, err := a.Read(ctx)
		if err != nil || ev == nil {
			continue
		}
		checkSane(in.t, ev)
	}
	return nil
}

func FuzzTransaction(f *testing.F) {
	f.Add(`{"events":[` + message("$1", "text") + `]}`)
	f.Add(`{"events":[` + memberEvent("$1", testRoom, "@a:b", mercutio, "invite") + `],"to_device":[{}]}`)
	f.Add(`{"events":[` + memberEvent("$1", testRoom, "@a:b", "@lockbridge:example.org", "ban") + `,null,{}]}`)
	f.Add(`{"events":[{"event_id":"$1","room_id":"!room:example.org","type":"m.room.encryption","state_key":"","sender":"@a:b","content":null}]}`)
	f.Add(`{"events":[` + memberEvent("$1", directRoom, "@a:b", rosalineGhost, "invite") + `,` + memberEvent("$2", directRoom, "@c:b", "@c:b", "join") + `]}`)
	f.Add(`{"events":[{"event_id":"$1","room_id":"!x:b","type":"m.room.member","state_key":"@lb_xmpp_a:example.org","sender":"@a:b","content":{"membership":"invite"},"unsigned":{"invite_room_state":[7,{"type":"m.room.join_rules","content":[]}]}}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		cfg := defaults()
		cfg.Domain = "example.org"
		s := &Side{names: newNaming(cfg), log: slog.New(slog.NewTextHandler(io.Discard, nil)), now: time.Now, turn: make(chan struct{}, 1)}
		s.heard = map[id.RoomID]*heard{}
		rm := s.newRoom(lobby(testRoom))
		close(rm.tried)
		close(rm.resolved)
		s.deps = gateway.Deps{Network: "matrix", State: sidetest.NewState()}
		must(t, s.put(t.Context(), chatKey(directRoom), []byte(`{"at":"`+directAt("@romeo:example.org").ID+`"}`)))
		s.rooms, s.byNative = map[string]*room{testRoom: rm}, nativeRooms{testRoom: rm}
		txn, err := parseTransaction([]byte(body))
		if err != nil {
			return
		}
		if err := s.accept(t.Context(), txn, readAll{t}); err != nil {
			t.Errorf("accept: %v", err)
		}
	})
}

func BenchmarkTransaction(b *testing.B) {
	events := make([]string, 100)
	for i := range events {
		events[i] = message(fmt.Sprintf("$%d", i), strings.Repeat("word ", 20))
	}
	body := []byte(`{"events":[` + strings.Join(events, ",") + `]}`)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		txn, err := parseTransaction(body)
		if err != nil {
			b.Fatal(err)
		}
		for _, raw := range txn.Events {
			ev, err := parseEvent(raw)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := decode(ev, scene{}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
