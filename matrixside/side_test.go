package matrixside

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), // the tests' own client keeps connections
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const (
	sendPath = "PUT /rooms/" + testRoom + "/send"
	joinPath = "POST /rooms/" + testRoom + "/join"
	mercutio = "@lb_irc_mercutio:example.org"
)

func deliverOne(t *testing.T, side *Side, d gateway.Delivery) error {
	t.Helper()
	out := side.Deliver(deadline(t), []gateway.Delivery{d})
	if len(out) != 1 {
		t.Fatalf("%d outcomes for one delivery", len(out))
	}
	return out[0].Err
}

func isLater(err error) bool {
	_, ok := gateway.LaterThan(err)
	return ok
}

func waits(want time.Duration) func(error) bool {
	return func(err error) bool {
		wait, ok := gateway.LaterThan(err)
		return ok && wait == want
	}
}

func TestWhatAFailedSendMeans(t *testing.T) {
	hs := newHomeserver(t)
	side, _, _ := start(deadline(t), t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	for name, c := range map[string]struct {
		reply reply
		fits  func(error) bool
	}{
		"a rate limit":            {reply{429, `{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1500}`, false}, waits(1500 * time.Millisecond)},
		"an absurd rate limit":    {reply{429, `{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1e300}`, false}, waits(limitPause)},
		"a limit without a time":  {refusal(429, "M_LIMIT_EXCEEDED"), waits(limitPause)},
		"a server that is full":   {refusal(403, "M_RESOURCE_LIMIT_EXCEEDED"), waits(fullPause)},
		"a user who is shut out":  {refusal(403, "M_USER_SUSPENDED"), func(err error) bool { return gateway.IsDrop(err) && strings.Contains(err.Error(), "shut out") }},
		"a proxy that refuses":    {reply{403, `no`, false}, func(err error) bool { return !gateway.IsDrop(err) && !isLater(err) }},
		"a server that is down":   {reply{502, `<html>`, false}, func(err error) bool { return !gateway.IsDrop(err) && !isLater(err) }},
		"an internal error":       {refusal(500, "M_UNKNOWN"), func(err error) bool { return !gateway.IsDrop(err) && !isLater(err) }},
		"an event that is big":    {refusal(413, "M_TOO_LARGE"), func(err error) bool { return gateway.IsDrop(err) && strings.Contains(err.Error(), "too long") }},
		"a refused content":       {refusal(400, "M_BAD_JSON"), gateway.IsDrop},
		"an unprocessable event":  {refusal(422, "M_UNKNOWN"), gateway.IsDrop},
		"a proxy's bad request":   {reply{400, `<html>`, false}, func(err error) bool { return !gateway.IsDrop(err) && !isLater(err) }},
		"an unknown token":        {refusal(401, "M_UNKNOWN_TOKEN"), waits(unknownPause)},
		"a proxy without a route": {reply{404, `not found`, false}, func(err error) bool { return !gateway.IsDrop(err) }},
	} {
		t.Run(name, func(t *testing.T) {
			hs.script(sendPath, c.reply)
			if err := deliverOne(t, side, delivery(testRoom, name, "mercutio", "text")); err == nil || !c.fits(err) {
				t.Errorf("outcome: %v", err)
			}
		})
	}
}

func TestARunEndsAtARetryableErrorButNotAtADrop(t *testing.T) {
	hs := newHomeserver(t)
	side, _, _ := start(deadline(t), t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	hs.script(sendPath, refusal(400, "M_BAD_JSON"), refusal(500, "M_UNKNOWN"))
	run := []gateway.Delivery{delivery(testRoom, "1", "mercutio", "a"), delivery(testRoom, "2", "mercutio", "b"), delivery(testRoom, "3", "mercutio", "c")}
	out := side.Deliver(deadline(t), run)
	if len(out) != 2 || !gateway.IsDrop(out[0].Err) || out[1].Err == nil || gateway.IsDrop(out[1].Err) {
		t.Errorf("outcomes %v, want a Drop, then an error, then nothing", out)
	}
}

func TestALostAnswerIsLookedUpAndNotSentAgain(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	hs.script(sendPath, reply{cut: true})
	d := delivery(testRoom, "lost", "mercutio", "text")
	if err := deliverOne(t, side, d); err == nil || gateway.IsDrop(err) {
		t.Fatalf("outcome of a broken connection: %v", err)
	}
	d.Attempt = 1
	out := sendAll(ctx, t, side, d, delivery(testRoom, "next", "mercutio", "more"))
	said := hs.said()
	if len(said) != 2 || out[0].Parts[0].Native != "$sent1" || out[1].Parts[0].Native != "$sent2" {
		t.Errorf("said %d times, outcomes %v", len(said), out)
	}
	if said[0].Txn != "lost.0" || !json.Valid(said[0].Content) || !strings.Contains(string(said[0].Content), `"org.lockbridge.key":{"key":"lost","part":""}`) {
		t.Errorf("sent as %+v", said[0])
	}
}

func TestAHistoryThatCannotBeReadDropsNothing(t *testing.T) {
	hs := newHomeserver(t)
	side, _, _ := start(deadline(t), t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	for _, r := range []reply{refusal(403, "M_FORBIDDEN"), refusal(400, "M_UNKNOWN"), refusal(429, "M_LIMIT_EXCEEDED")} {
		hs.script("GET /rooms/"+testRoom+"/messages", r)
		if err := deliverOne(t, side, again(delivery(testRoom, "1", "mercutio", "text"))); err == nil || gateway.IsDrop(err) {
			t.Errorf("outcome after %d: %v", r.code, err)
		}
	}
	sendAll(deadline(t), t, side, again(delivery(testRoom, "1", "mercutio", "text")))
}

func TestAGhostThatWasRemovedComesBackOnce(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "here"))
	hs.script(sendPath, refusal(403, "M_FORBIDDEN"))
	sendAll(ctx, t, side, delivery(testRoom, "2", "mercutio", "here again"))
	if n := hs.count(mercutio + " " + joinPath); n != 2 {
		t.Errorf("joined %d times, want 2", n)
	}
	if n := hs.count("@lockbridge:example.org POST /register"); n != 2 { // the bot, and the ghost once
		t.Errorf("%d registrations, want 2", n)
	}
}

func TestTheBotSpeaksForAGhostThatMayNotEnter(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	hs.script(joinPath, refusal(403, "M_FORBIDDEN"))
	hs.script("POST /rooms/"+testRoom+"/invite", refusal(403, "M_FORBIDDEN"))
	emote := delivery(testRoom, "2", "mercutio", "dies")
	emote.Event.Body = gateway.Message{Text: gateway.Text{Plain: "dies"}, Style: gateway.StyleEmote}
	sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "a plague"), emote)
	for i, want := range []string{"<mercutio> a plague", "* mercutio dies"} {
		if got := hs.said()[i]; got.User != "@lockbridge:example.org" || bodyOf(t, got) != want {
			t.Errorf("%s said %q, want the bot and %q", got.User, bodyOf(t, got), want)
		}
	}
}

func bodyOf(t *testing.T, ev sentEvent) string {
	t.Helper()
	var c content
	must(t, json.Unmarshal(ev.Content, &c))
	return c.Body
}

func TestAGhostIsRegisteredAndNamedOnce(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	side, _, stop := start(ctx, t, hs.cfg, state, nil, lobby(testRoom))
	hs.script("POST /register", refusal(400, "M_USER_IN_USE"))
	sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "a"), delivery(testRoom, "2", "mercutio", "b"))
	stop()
	side, _, _ = start(ctx, t, hs.cfg, state, nil, lobby(testRoom))
	renamed := delivery(testRoom, "4", "mercutio", "d")
	renamed.Event.Sender.Name = "Queen\u202e\nMab"
	sendAll(ctx, t, side, delivery(testRoom, "3", "mercutio", "c"), renamed)
	if n := hs.count(mercutio + " PUT /profile/" + mercutio + "/displayname"); n != 2 {
		t.Errorf("named %d times, want 2", n)
	}
	if n := hs.count("@lockbridge:example.org POST /register"); n != 2 {
		t.Errorf("%d registrations, want the bot's and the ghost's", n)
	}
}

func TestATextThatIsTooLongIsRefusedBeforeAnybodyEnters(t *testing.T) {
	hs := newHomeserver(t)
	side, _, _ := start(deadline(t), t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	if err := deliverOne(t, side, delivery(testRoom, "1", "mercutio", strings.Repeat("x", maxContent))); !gateway.IsDrop(err) {
		t.Errorf("outcome: %v", err)
	}
	if n := hs.count(mercutio + " " + joinPath); n != 0 {
		t.Errorf("joined %d times for it", n)
	}
}

func TestAMovedAliasIsNotFollowed(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	_, _, stop := start(ctx, t, hs.cfg, state, nil, lobby("#lobby:example.org"))
	stop()
	hs.script("GET /directory/room/#lobby:example.org", reply{200, `{"room_id":"!other:example.org","servers":["example.org"]}`, false})
	side, _, _ := start(ctx, t, hs.cfg, state, nil, lobby("#lobby:example.org"))
	sendAll(ctx, t, side, delivery("#lobby:example.org", "1", "mercutio", "here"))
	if n := hs.count("@lockbridge:example.org POST /join/!other:example.org"); n != 0 {
		t.Error("the bot followed the alias")
	}
}

func TestARoomThatCannotBeEnteredHoldsNoOther(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	hs.script("POST /join/!shut:example.org", refusal(403, "M_FORBIDDEN"))
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom), lobby("!shut:example.org"))
	if err := deliverOne(t, side, delivery("!shut:example.org", "1", "mercutio", "text")); !isLater(err) {
		t.Errorf("outcome for a room that we are not in: %v", err)
	}
	sendAll(ctx, t, side, delivery(testRoom, "2", "mercutio", "text"))
	if got := hs.push(ctx, memberEvent("$i", "!shut:example.org", "@romeo:example.org", "@lockbridge:example.org", "invite")); got != http.StatusOK {
		t.Fatalf("answer %d", got)
	}
	hs.await(ctx, "@lockbridge:example.org GET /rooms/!shut:example.org/joined_members", 1)
}

func TestTwoNamesOfOneRoomAreBridgedOnce(t *testing.T) {
	hs := newHomeserver(t)
	side, _, _ := start(deadline(t), t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom), lobby("#lobby:example.org"))
	if err := deliverOne(t, side, delivery("#lobby:example.org", "1", "mercutio", "text")); !isLater(err) {
		t.Errorf("outcome for the second name: %v", err)
	}
	sendAll(deadline(t), t, side, delivery(testRoom, "2", "mercutio", "text"))
}

func TestAnUnusableHomeserverIsAskedAgain(t *testing.T) {
	hs := newHomeserver(t)
	hs.script("GET /account/whoami", reply{cut: true}, refusal(401, "M_UNKNOWN_TOKEN"), reply{200, `{"user_id":"@else:example.org"}`, false})
	start(deadline(t), t, hs.cfg, sidetest.NewState(), quick, lobby(testRoom))
	if n := hs.count("@lockbridge:example.org GET /account/whoami"); n != 4 {
		t.Errorf("asked %d times, want 4", n)
	}
}

func TestReadyHearsWhenTheHomeserverGoesAndComes(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	told := make(chan error, 10)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), func(s *Side) {
		ready := s.deps.Ready
		s.deps.Ready = func(away error) { told <- away; ready(away) }
	}, lobby(testRoom))
	hs.script(sendPath, reply{cut: true})
	if deliverOne(t, side, delivery(testRoom, "1", "mercutio", "text")) == nil {
		t.Fatal("a broken connection is no error")
	}
	sendAll(ctx, t, side, delivery(testRoom, "2", "mercutio", "text"))
	if up, away, again := <-told, <-told, <-told; up != nil || away == nil || again != nil {
		t.Errorf("Ready was told %v, %v, %v, want up, away, up", up, away, again)
	}
}

func TestDeliverRefusesWhatItCannotCarry(t *testing.T) {
	hs := newHomeserver(t)
	side, _, _ := start(deadline(t), t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	sealed := delivery(testRoom, "1", "mercutio", "secret")
	sealed.Seal = true
	typing := delivery(testRoom, "2", "mercutio", "")
	typing.Event.Body = gateway.Typing{On: true}
	for _, d := range []gateway.Delivery{sealed, typing, delivery("!elsewhere:example.org", "3", "mercutio", "text")} {
		if err := deliverOne(t, side, d); !gateway.IsDrop(err) {
			t.Errorf("%s: %v, want a Drop", d.Key, err)
		}
	}
	if said := hs.said(); len(said) != 0 {
		t.Errorf("sent %v", said)
	}
}
