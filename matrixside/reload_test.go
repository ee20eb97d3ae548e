package matrixside

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

func TestRoomsAreEnteredAndLeftWhileTheSideRuns(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	side, inbox, _ := start(ctx, t, hs.cfg, state, quick, lobby(testRoom), lobby(otherRoom))
	sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "a"), delivery(testRoom, "2", "tybalt", "b"))
	hs.push(ctx, message("$1", "heard"))
	stays, added := lobby(otherRoom), lobby("!added:example.org")
	stays.Others = []gateway.Address{{Network: "xmpp", ID: "lobby@rooms.example.org"}}
	joins := hs.count("@lockbridge:example.org POST /join/" + otherRoom)
	side.SetRooms([]gateway.Room{stays, added, lobby("nonsense")})
	for _, who := range []string{"@lockbridge:example.org", mercutio, "@lb_irc_tybalt:example.org"} {
		hs.await(ctx, who+" POST /rooms/"+testRoom+"/leave", 1)
	}
	hs.await(ctx, "@lockbridge:example.org GET /rooms/!added:example.org/joined_members", 1)
	deliverUntilSaid(ctx, t, side, delivery("!added:example.org", "3", "mercutio", "c"))
	if err := deliverOne(t, side, delivery(testRoom, "4", "mercutio", "d")); !gateway.IsDrop(err) {
		t.Errorf("outcome in a room that was left: %v", err)
	}
	if rm := side.roomOf(otherRoom); !rm.isBeside("xmpp") || rm.isBeside("irc") {
		t.Error("what is asked for a room that stays did not change")
	}
	if n := hs.count("@lockbridge:example.org POST /join/" + otherRoom); n != joins {
		t.Error("a room that stays was entered again")
	}
	hs.push(ctx, message("$2", "said after we left"), in("!added:example.org", message("$3", "said where we came")))
	awaitText(ctx, t, inbox, "said where we came")
	for _, text := range texts(inbox) {
		if text == "said after we left" {
			t.Error("a room that was left is still heard")
		}
	}
	if got, err := state.GetMany(ctx, []string{lastKey(testRoom)}); err != nil || len(got) != 0 {
		t.Errorf("%d notes are left of the room: %v", len(got), err)
	}
	side.SetRooms([]gateway.Room{lobby(testRoom), stays, added})
	deliverUntilSaidAgain(ctx, t, side, delivery(testRoom, "5", "mercutio", "back"))
}

// deliverUntilSaidAgain tries also while the room is not bridged yet.
func deliverUntilSaidAgain(ctx context.Context, t *testing.T, side *Side, d gateway.Delivery) {
	t.Helper()
	for {
		err := side.Deliver(ctx, []gateway.Delivery{d})[0].Err
		if err == nil {
			return
		}
		if gateway.IsDrop(err) {
			t.Fatalf("a room that was added a moment ago: %v", err)
		}
		if ctx.Err() != nil {
			t.Fatal(context.Cause(ctx))
		}
	}
}

func TestARoomThatWasNotBridgedForAWhileBeginsAnew(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	_, inbox, stop := start(ctx, t, hs.cfg, state, nil, lobby(testRoom), lobby(otherRoom))
	hs.push(ctx, message("$1", "one"), in(otherRoom, message("$2", "two")))
	awaitText(ctx, t, inbox, "two")
	stop()
	start(ctx, t, hs.cfg, state, nil, lobby(otherRoom))
	got, err := state.GetMany(ctx, []string{lastKey(testRoom), lastKey(otherRoom)})
	must(t, err)
	if got[lastKey(testRoom)] != nil || got[lastKey(otherRoom)] == nil {
		t.Errorf("known is %v", got)
	}
}

func TestRoomsMayBeSetBeforeTheSideRuns(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), func(s *Side) { s.SetRooms([]gateway.Room{lobby(testRoom)}) }, lobby(otherRoom))
	sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "text"))
	if n := hs.count("@lockbridge:example.org POST /join/" + otherRoom); n != 0 {
		t.Errorf("joined the former room %d times", n)
	}
}

func TestAGhostIsForgotten(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	side, _, _ := start(ctx, t, hs.cfg, state, nil, lobby(testRoom))
	sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "a"))
	who := gateway.Person{Network: "irc", ID: "mercutio"}
	hs.script("GET /joined_rooms", refusal(502, ""), reply{200, `{"joined_rooms":["` + testRoom + `","` + directRoom + `"]}`, false})
	if side.Forget(ctx, who) == nil {
		t.Error("forgotten although the homeserver did not answer")
	}
	for range 2 { // it may be asked for again
		must(t, side.Forget(ctx, who))
	}
	for _, call := range []string{"POST /rooms/" + testRoom + "/leave", "POST /rooms/" + directRoom + "/leave", "PUT /profile/" + mercutio + "/displayname"} {
		if n := hs.count(mercutio + " " + call); n == 0 {
			t.Errorf("%s was not asked for", call)
		}
	}
	if got, err := state.List(ctx, "user/lb_irc_mercutio"); err != nil || len(got) != 0 {
		t.Errorf("%d records are left: %v", len(got), err)
	}
	deliverUntilSaid(ctx, t, side, delivery(testRoom, "2", "mercutio", "it is me again"))
	if n := hs.count(mercutio + " PUT /profile/" + mercutio + "/displayname"); n != 3 {
		t.Errorf("named %d times, want once, never, and once again", n)
	}
}

func TestAMatrixUserIsForgotten(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	side, _, _ := startDirect(ctx, t, hs, state)
	hs.push(ctx, ownInvite("$i"), in(directRoom, message("$1", "hello")))
	hs.push(ctx, strings.ReplaceAll(strings.ReplaceAll(ownInvite("$j"), directRoom, "!paris:example.org"), romeoUser, "@paris:example.org"))
	invite := strings.Replace(memberEvent("$k", "!talk:example.org", romeoUser, theBot, "invite"), `"content":{`, `"content":{"is_direct":true,`, 1)
	hs.push(ctx, invite, strings.NewReplacer("!talk", "!other", romeoUser, "@paris:example.org").Replace(invite))
	must(t, side.Forget(ctx, gateway.Person{Network: "matrix", ID: romeoUser}))
	hs.await(ctx, rosalineGhost+" "+directLeave, 1)
	hs.await(ctx, theBot+" POST /rooms/!talk:example.org/leave", 1)
	if got, err := state.List(ctx, hostKey("")); err != nil || len(got) != 1 || got[hostKey("!other:example.org")] == nil {
		t.Errorf("talks that are left: %v, %v", got, err)
	}
	l := side.newLedger()
	for room, kept := range map[id.RoomID]bool{directRoom: false, "!paris:example.org": true} {
		c, err := l.chat(ctx, room)
		must(t, err)
		if (c.At != "") != kept {
			t.Errorf("%s: %+v", room, *c)
		}
	}
	if got, err := state.List(ctx, directAt(romeoUser).ID); err != nil || len(got) != 0 {
		t.Errorf("%d notes are left of the chat: %v", len(got), err)
	}
	if got := hs.push(ctx, in(directRoom, message("$2", "nobody there"))); got != http.StatusOK {
		t.Errorf("answer %d", got)
	}
}
