//go:build e2e

package matrixside

import (
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/testbed/peers"
)

// left waits until somebody is out of a room.
func left(room, user string) func(peers.MatrixEvent) bool {
	return func(e peers.MatrixEvent) bool {
		return e.Room == room && e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == user && e.Content["membership"] == "leave"
	}
}

func TestARoomInWhichNobodyMaySpeakWaitsAlone(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.loginUpgrader(ctx, t)
	id := romeo.makeOld(ctx, t, "")
	levels := func(content map[string]any, mercutio int) {
		content["users"] = map[string]int{romeo.UserID: 100, "@" + b.cfg.UserPrefix + "irc_mercutio:" + b.Host: mercutio}
		must(t, romeo.SetState(ctx, id, "m.room.power_levels", "", content))
	}
	quiet, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	side, _, _ := b.start(ctx, t, sidetest.NewState(), b.room(id), b.room(quiet))
	sendAll(ctx, t, side, delivery(id, "one", "mercutio", "one"))
	levels(map[string]any{"events_default": 50}, 0)
	if err := deliverOne(t, side, delivery(id, "two", "mercutio", "two")); !isLater(err) || !strings.Contains(err.Error(), "power level of 50") {
		t.Errorf("outcome where nobody may speak: %v", err)
	}
	sendAll(ctx, t, side, delivery(quiet, "three", "mercutio", "elsewhere"))
	levels(map[string]any{}, -1)
	if err := deliverOne(t, side, delivery(id, "four", "mercutio", "four")); !gateway.IsDrop(err) {
		t.Errorf("outcome for one who was silenced: %v", err)
	}
	sendAll(ctx, t, side, delivery(id, "five", "benvolio", "others go on"))
	levels(map[string]any{}, 0)
	deliverAll(ctx, t, side, delivery(id, "two", "mercutio", "two"))
	_, err = romeo.AwaitText(ctx, id, "two")
	must(t, err)
}

func TestABotThatIsBannedWaitsAndComesBack(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	side, inbox, _ := b.start(ctx, t, sidetest.NewState(), b.room(id))
	sendAll(ctx, t, side, delivery(id, "one", "mercutio", "one"))
	bot := string(side.names.bot)
	must(t, romeo.SetState(ctx, id, "m.room.member", bot, map[string]any{"membership": "ban"}))
	awaitProblem(ctx, t, side, id, "banned from the Matrix room")
	_, err = romeo.Say(ctx, id, "nobody hears this")
	must(t, err)
	must(t, romeo.SetState(ctx, id, "m.room.member", bot, map[string]any{"membership": "leave"}))
	must(t, romeo.Invite(ctx, id, bot))
	deliverAll(ctx, t, side, delivery(id, "two", "mercutio", "back again"))
	_, err = romeo.AwaitText(ctx, id, "back again")
	must(t, err)
	_, err = romeo.Say(ctx, id, "welcome back")
	must(t, err)
	awaitText(ctx, t, inbox, "welcome back")
}

func TestRoomsChangeAndGhostsAreForgottenWhileTheSideRuns(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	var rooms []string
	for range 3 {
		id, err := romeo.CreateRoom(ctx, "", true)
		must(t, err)
		rooms = append(rooms, id)
	}
	side, inbox, _ := b.start(ctx, t, sidetest.NewState(), b.room(rooms[0]), b.room(rooms[1]))
	sendAll(ctx, t, side, delivery(rooms[0], "one", "mercutio", "one"))
	sendAll(ctx, t, side, delivery(rooms[1], "two", "mercutio", "two"))
	mercutio := gateway.Person{Network: "irc", ID: "mercutio"}
	ghost := string(side.names.ghost(mercutio))
	side.SetRooms([]gateway.Room{b.room(rooms[1]), b.room(rooms[2])})
	for _, user := range []string{ghost, string(side.names.bot)} {
		_, err := romeo.Await(ctx, user+" to leave", left(rooms[0], user))
		must(t, err)
	}
	deliverAll(ctx, t, side, delivery(rooms[2], "three", "mercutio", "three"))
	_, err := romeo.Say(ctx, rooms[2], "hello in the third room")
	must(t, err)
	awaitText(ctx, t, inbox, "hello in the third room")

	must(t, side.Forget(ctx, mercutio))
	for _, room := range rooms[1:] {
		_, err := romeo.Await(ctx, ghost+" to leave", left(room, ghost))
		must(t, err)
	}
	sendAll(ctx, t, side, delivery(rooms[1], "four", "mercutio", "as if for the first time"))
	_, err = romeo.AwaitText(ctx, rooms[1], "as if for the first time")
	must(t, err)
	names, err := romeo.Members(ctx, rooms[1])
	must(t, err)
	if names[ghost] != "mercutio" {
		t.Errorf("the ghost is called %q", names[ghost])
	}
}
