package matrixside

import (
	"slices"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

func TestGhostsComeAndGoWithTheirPeople(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	room := lobby(testRoom)
	room.Puppets, room.MaxPuppets = gateway.PuppetsAll, 1
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, room)
	member := func(key, nick, name string, change gateway.Change) gateway.Delivery {
		who := gateway.Person{Network: "irc", ID: nick, Name: name}
		return does(key, nick, gateway.Membership{Who: who, Change: change, By: gateway.Person{Network: "irc", ID: "escalus"}, Reason: "duel"})
	}
	sendAll(ctx, t, side, member("1", "mercutio", "mercutio", gateway.Join), member("2", "tybalt", "tybalt", gateway.Join),
		member("3", "mercutio", "Queen Mab", gateway.Rename), member("4", "tybalt", "Prince", gateway.Rename),
		member("5", "tybalt", "tybalt", gateway.Leave), member("6", "mercutio", "Queen Mab", gateway.Kick), member("7", "mercutio", "Queen Mab", gateway.Leave))
	for call, want := range map[string]int{
		mercutio + " " + joinPath: 1, "@lb_irc_tybalt:example.org " + joinPath: 0,
		mercutio + " PUT /profile/" + mercutio + "/displayname": 2, mercutio + " POST /rooms/" + testRoom + "/leave": 1,
		"@lb_irc_tybalt:example.org POST /rooms/" + testRoom + "/leave": 0,
	} {
		if n := hs.count(call); n != want {
			t.Errorf("%s: %d times, want %d", call, n, want)
		}
	}
	if got := leaving(gateway.Membership{Change: gateway.Kick, By: romeo, Reason: "rude"}); got != "kicked by Romeo: rude" {
		t.Errorf("%q", got)
	}
	if got := leaving(gateway.Membership{Change: gateway.Leave, Reason: "bye"}); got != "bye" {
		t.Errorf("%q", got)
	}
}

// TestAnotherNickIsAnotherGhost: on IRC a nick is all that is known of somebody.
func TestAnotherNickIsAnotherGhost(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	now := gateway.Person{Network: "irc", ID: "queen_mab", Name: "Queen_Mab"}
	rename := func(key, was string) gateway.Delivery {
		return does(key, was, gateway.Membership{Who: now, Change: gateway.Rename})
	}
	sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "hello"), rename("2", "mercutio"), rename("3", "tybalt"))
	for call, want := range map[string]int{
		mercutio + " POST /rooms/" + testRoom + "/leave": 1, "@lb_irc_queen__mab:example.org " + joinPath: 1,
		"@lb_irc_tybalt:example.org POST /rooms/" + testRoom + "/leave": 0,
	} {
		if n := hs.count(call); n != want {
			t.Errorf("%s: %d times, want %d", call, n, want)
		}
	}
}

func TestWhatARoomHearsOfMembers(t *testing.T) {
	for puppets, want := range map[gateway.Puppets]gateway.Members{
		gateway.PuppetsAll: gateway.AllMembers, gateway.PuppetsActive: gateway.Leavers, gateway.PuppetsNone: gateway.NoMembers,
	} {
		rm := &room{asked: gateway.Room{Puppets: puppets}}
		if got := rm.members(); got != want {
			t.Errorf("%s: %v", puppets, got)
		}
	}
}

func TestWhoIsHere(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	hs.push(ctx, memberEvent("$1", testRoom, "@juliet:example.org", "@juliet:example.org", "join"), memberEvent("$2", testRoom, mercutio, mercutio, "join"))
	var got []string
	for _, p := range side.Here(lobby(testRoom).Address) {
		got = append(got, p.Name)
	}
	if !slices.Equal(got, []string{"juliet", "Romeo"}) {
		t.Errorf("here are %q", got)
	}
	if side.Here(gateway.Address{Network: "matrix", ID: "!elsewhere:example.org"}) != nil {
		t.Error("it is known who is in a strange room")
	}
}
