package matrixside

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

const (
	directRoom    = "!direct:example.org"
	rosalineGhost = "@lb_xmpp_rosaline=40example.org:example.org"
	romeoUser     = "@romeo:example.org"

	directAnswer  = `{"room_id":"` + directRoom + `"}`
	directMembers = "GET /rooms/" + directRoom + "/joined_members"
	directInvite  = "POST /rooms/" + directRoom + "/invite"
	directJoin    = "POST /rooms/" + directRoom + "/join"
	directLeave   = "POST /rooms/" + directRoom + "/leave"
	directSend    = "PUT /rooms/" + directRoom + "/send"
	createRoom    = "POST /createRoom"
)

// joined is an answer that lists who is in a room.
func joined(users ...string) reply {
	var parts []string
	for _, u := range users {
		parts = append(parts, fmt.Sprintf("%q:{}", u))
	}
	return reply{200, `{"joined":{` + strings.Join(parts, ",") + `}}`, false}
}

// in is an event of another room than the test's.
func in(room, event string) string { return strings.ReplaceAll(event, testRoom, room) }

// ownInvite is the invitation that a room begins with that a ghost made.
func ownInvite(id string) string {
	return strings.Replace(memberEvent(id, directRoom, rosalineGhost, romeoUser, "invite"), `"content":{`, `"content":{"is_direct":true,`, 1)
}

// startDirect starts a side on which rosaline may have direct chats, and what else tweaks say.
func startDirect(ctx context.Context, t *testing.T, hs *fakeHomeserver, state *sidetest.State, tweaks ...func(*Side)) (*Side, *sidetest.Inbox, func()) {
	t.Helper()
	return start(ctx, t, hs.cfg, state, func(s *Side) {
		allowRosaline(s)
		for _, tweak := range tweaks {
			tweak(s)
		}
	})
}

func TestARoomIsMadeOnceAlthoughTheAnswerWasLost(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	hs.script(createRoom, reply{cut: true}, refusal(400, "M_ROOM_IN_USE"))
	d := directDelivery(romeoUser, "1", "text")
	if err := deliverOne(t, side, d); err == nil || gateway.IsDrop(err) {
		t.Fatalf("outcome of a broken connection: %v", err)
	}
	alias := "/directory/room/#" + side.aliasOf(d.Room.ID, 0) + ":example.org"
	hs.script("GET "+alias, reply{200, directAnswer, false})
	hs.script(directMembers, joined(rosalineGhost))
	d.Attempt = 1
	sendAll(ctx, t, side, d)
	if said := hs.said(); len(said) != 1 || said[0].User != rosalineGhost || hs.count(rosalineGhost+" "+directInvite) != 1 {
		t.Errorf("said %v, invited %d times", said, hs.count(rosalineGhost+" "+directInvite))
	}
	side.mu.Lock()
	last := side.heard[directRoom]
	side.mu.Unlock()
	if last == nil || last.Last != "$sent1" || last.Ghost != rosalineGhost {
		t.Errorf("what is known of the room is %+v", last)
	}
	sendAll(ctx, t, side, directDelivery(romeoUser, "2", "more"))
	if n := hs.count(rosalineGhost + " " + createRoom); n != 2 {
		t.Errorf("asked for a room %d times", n)
	}
}

func TestAFormerRoomIsNotUsedAgain(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	d := directDelivery(romeoUser, "1", "text")
	hs.script(createRoom, refusal(400, "M_ROOM_IN_USE"), refusal(400, "M_ROOM_IN_USE"), reply{200, directAnswer, false})
	hs.script("GET /directory/room/#"+side.aliasOf(d.Room.ID, 0)+":example.org", reply{200, `{"room_id":"!left:example.org"}`, false})
	hs.script("GET /rooms/!left:example.org/joined_members", refusal(403, "M_FORBIDDEN"))
	hs.script("GET /directory/room/#"+side.aliasOf(d.Room.ID, 1)+":example.org", reply{200, `{"room_id":"!full:example.org"}`, false})
	hs.script("GET /rooms/!full:example.org/joined_members", joined(rosalineGhost, romeoUser, "@paris:example.org"))
	hs.script(directMembers, joined(rosalineGhost, romeoUser))
	sendAll(ctx, t, side, d, directDelivery(romeoUser, "2", "more"))
	if n := hs.count(rosalineGhost + " " + createRoom); n != 3 {
		t.Errorf("asked for a room %d times", n)
	}
	now, err := side.newLedger().current(ctx, d.Room.ID)
	must(t, err)
	if now.Room != directRoom || now.Made != 2 {
		t.Errorf("the chat's room is %+v", now)
	}
}

func TestTheUserMayAnswerBeforeTheRoomIsWrittenDown(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, inbox, _ := startDirect(ctx, t, hs, sidetest.NewState())
	if got := hs.push(ctx, ownInvite("$i"), in(directRoom, message("$1", "at once"))); got != http.StatusOK {
		t.Fatalf("answer %d", got)
	}
	if ev := awaitText(ctx, t, inbox, "at once"); ev.At != directAt(romeoUser) || ev.Sender.Name != "romeo" {
		t.Errorf("heard at %v by %+v", ev.At, ev.Sender)
	}
	sendAll(ctx, t, side, directDelivery(romeoUser, "1", "there"))
	if n := hs.count(rosalineGhost + " " + createRoom); n != 0 {
		t.Errorf("made %d more rooms", n)
	}
}

func TestAnInvitationOutlivesARestart(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	hs.script(directJoin, refusal(502, ""), refusal(502, ""))
	_, inbox, stop := startDirect(ctx, t, hs, state)
	inbox.Refuse(1)
	first := in(directRoom, message("$1", "first"))
	if got := hs.push(ctx, memberEvent("$i", directRoom, romeoUser, rosalineGhost, "invite"), first); got != http.StatusOK {
		t.Fatalf("answer %d", got)
	}
	hs.await(ctx, rosalineGhost+" "+directJoin, 1)
	stop()
	if n := len(inbox.Heard()); n != 0 {
		t.Errorf("%d events were heard before she was in", n)
	}
	hs.script(directMembers, joined(rosalineGhost, romeoUser))
	hs.script("GET /rooms/"+directRoom+"/messages", reply{200, `{"chunk":[` + strings.Join([]string{
		in(directRoom, message("$2", "second")), first, memberEvent("$i", directRoom, romeoUser, rosalineGhost, "invite"), in(directRoom, message("$0", "before")),
	}, ",") + `]}`, false})
	side, inbox, _ := startDirect(ctx, t, hs, state, quick)
	awaitChat(ctx, t, side, directRoom, func(c chat) bool { return c.At != "" && !c.Pending })
	hs.push(ctx, in(directRoom, message("$2", "second")), in(directRoom, message("$3", "third")))
	awaitText(ctx, t, inbox, "third")
	var texts []string
	for _, ev := range inbox.Heard() {
		texts = append(texts, textOf(ev))
	}
	if got := strings.Join(texts, " "); got != "first second third" {
		t.Errorf("heard %q", got)
	}
}

func TestAnInvitationThatWasTakenBackIsForgotten(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	hs.script(directJoin, refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN"))
	hs.push(ctx, memberEvent("$i", directRoom, romeoUser, rosalineGhost, "invite"))
	hs.await(ctx, rosalineGhost+" "+directJoin, 2) // the second one after registering her
	awaitChat(ctx, t, side, directRoom, func(c chat) bool { return c.At == "" })
}

func TestAnErrandThatNeverSucceedsIsGivenUp(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	for range maxTries {
		hs.script(directJoin, refusal(500, "M_UNKNOWN"))
	}
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState(), quick)
	hs.push(ctx, memberEvent("$i", directRoom, romeoUser, rosalineGhost, "invite"))
	awaitChat(ctx, t, side, directRoom, func(c chat) bool { return c.Pending })
	awaitChat(ctx, t, side, directRoom, func(c chat) bool { return c.At == "" })
	if n := hs.count(rosalineGhost + " " + directJoin); n != maxTries {
		t.Errorf("tried %d times", n)
	}
}

func TestASecondGhostHasNoPlaceInADirectRoom(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	nurse := string(side.names.ghost(gateway.Person{Network: "xmpp", ID: "nurse@friends.example"}))
	hs.push(ctx, ownInvite("$i"), memberEvent("$n", directRoom, romeoUser, nurse, "invite"))
	hs.await(ctx, nurse+" "+directLeave, 1)
	awaitChat(ctx, t, side, directRoom, func(c chat) bool { return c.At == directAt(romeoUser).ID })
}

func TestWhoMayNotOrDoesNotExistDeclines(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState(), onlyNurses)
	for i, p := range []gateway.Person{
		{Network: "xmpp", ID: "tybalt@elsewhere.example"}, // may not
		{Network: "irc", ID: "mercutio"},                  // neither of the two may
		{Network: "other", ID: "x"},                       // no such network
		{Network: "xmpp", ID: "peter@friends.example"},    // does not exist
	} {
		ghost, room := string(side.names.ghost(p)), fmt.Sprintf("!d%d:example.org", i)
		hs.push(ctx, memberEvent("$i"+room, room, romeoUser, ghost, "invite"))
		hs.await(ctx, ghost+" POST /rooms/"+room+"/leave", 1)
		if n := hs.count(ghost + " POST /rooms/" + room + "/join"); n != 0 {
			t.Errorf("%v joined", p)
		}
	}
	if n := hs.count("@lockbridge:example.org POST /register"); n != 1 { // the bot
		t.Errorf("%d registrations", n)
	}
}

// onlyNurses lets a side find nurses on other networks and nobody else.
func onlyNurses(s *Side) {
	s.deps.Find = func(_ context.Context, who gateway.Person) (gateway.Person, error) {
		switch {
		case strings.HasPrefix(who.ID, "nurse"):
			return who, nil
		case strings.HasPrefix(who.ID, "away"):
			return who, errors.New("the network is away")
		case strings.HasPrefix(who.ID, "PETER"):
			who.ID = strings.ToLower(who.ID)
			return who, nil
		}
		return who, gateway.ErrNobody
	}
}

func TestQueriesForUsers(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	var clock testClock
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState(), onlyNurses, clock.set)
	ask := func(network, person string) int {
		ghost := side.names.ghost(gateway.Person{Network: network, ID: person})
		return hs.request(ctx, "GET", "/_matrix/app/v1/users/"+string(ghost), "Bearer "+hs.reg.HSToken, "")
	}
	for _, c := range []struct {
		network, person string
		want            int
	}{
		{"xmpp", "nurse@friends.example", http.StatusOK},
		{"xmpp", "nurse@friends.example", http.StatusOK}, // she is there already
		{"xmpp", "peter@friends.example", http.StatusNotFound},
		{"xmpp", "PETER@friends.example", http.StatusNotFound}, // another way to write him
		{"xmpp", "away@friends.example", http.StatusServiceUnavailable},
		{"xmpp", "nurse@elsewhere.example", http.StatusNotFound},
		{"irc", "nurse", http.StatusNotFound},
		{"other", "nurse", http.StatusNotFound},
	} {
		if got := ask(c.network, c.person); got != c.want {
			t.Errorf("%s on %s: %d, want %d", c.person, c.network, got, c.want)
		}
	}
	for i := range maxMet - 1 {
		if got := ask("xmpp", fmt.Sprintf("nurse%d@friends.example", i)); got != http.StatusOK {
			t.Errorf("nurse %d: %d", i, got)
		}
	}
	if got := ask("xmpp", "nurse0815@friends.example"); got != http.StatusServiceUnavailable {
		t.Errorf("the next one within a minute: %d", got)
	}
	clock.pass(2 * metWindow)
	if got := ask("xmpp", "nurse0815@friends.example"); got != http.StatusOK {
		t.Errorf("a minute later: %d", got)
	}
	if n := hs.count("@lockbridge:example.org POST /register"); n != 1+maxMet+1 {
		t.Errorf("%d registrations", n)
	}
}

func TestAnEarlierAttemptIsFoundInTheRoomBefore(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	hs.push(ctx, ownInvite("$i"))
	hs.script(directSend, reply{cut: true})
	d := directDelivery(romeoUser, "lost", "text")
	if err := deliverOne(t, side, d); err == nil {
		t.Fatal("a broken connection is no error")
	}
	other := "!other:example.org"
	hs.push(ctx, strings.ReplaceAll(ownInvite("$o"), directRoom, other), in(other, message("$1", "over here")))
	hs.script("GET /rooms/"+other+"/messages", reply{200, `{"chunk":[]}`, false})
	d.Attempt = 1
	out := sendAll(ctx, t, side, d)
	if said := hs.said(); len(said) != 1 || out[0].Parts[0].Native != "$sent1" {
		t.Errorf("said %v, outcome %v", said, out)
	}
}

func TestADirectRoomThatRefusesTheGhost(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	hs.push(ctx, ownInvite("$i"))
	hs.script(directSend, refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN"))
	hs.script(directMembers, joined(rosalineGhost, romeoUser), refusal(403, "M_FORBIDDEN"))
	if err := deliverOne(t, side, directDelivery(romeoUser, "1", "muted")); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "let you speak") {
		t.Errorf("outcome for one who may not speak: %v", err)
	}
	hs.script(createRoom, reply{200, `{"room_id":"!other:example.org"}`, false})
	hs.script("GET /rooms/!other:example.org/joined_members", joined(rosalineGhost, romeoUser))
	sendAll(ctx, t, side, directDelivery(romeoUser, "2", "put out, which nobody told us"))
	if n := hs.count(rosalineGhost + " " + createRoom); n != 1 {
		t.Errorf("made %d rooms", n)
	}
}

func TestWhatCannotBeSaidInADirectChat(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, stop := startDirect(ctx, t, hs, sidetest.NewState())
	sealed := directDelivery(romeoUser, "1", "secret")
	sealed.Seal = true
	typing := directDelivery(romeoUser, "2", "")
	typing.Event.Body = gateway.Typing{On: true}
	report := directDelivery(romeoUser, "3", "")
	report.Event.Body = gateway.Receipt{State: gateway.Undeliverable, Reason: "nobody"}
	hs.script("GET /profile/@nobody:example.org", refusal(404, "M_NOT_FOUND"))
	for _, d := range []gateway.Delivery{sealed, typing, report, directDelivery("romeo", "4", "text"), directDelivery(rosalineGhost, "5", "text"),
		directDelivery("@nobody:example.org", "6", "text"), directDelivery(romeoUser, "7", strings.Repeat("x", maxContent))} {
		if err := deliverOne(t, side, d); !gateway.IsDrop(err) {
			t.Errorf("%s: %v, want a Drop", d.Key, err)
		}
	}
	if n := hs.count(rosalineGhost + " " + createRoom); n != 0 || len(hs.said()) != 0 {
		t.Errorf("made %d rooms and said %v", n, hs.said())
	}
	stop()
	if err := deliverOne(t, side, directDelivery(romeoUser, "8", "text")); !isLater(err) {
		t.Errorf("outcome after the end: %v", err)
	}
}

func TestARoomThatIsEncryptedFromTheBeginning(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	hs.script(createRoom, reply{200, directAnswer, false})
	hs.script(directMembers, joined(rosalineGhost, romeoUser))
	hs.script("GET /rooms/"+directRoom+"/state/m.room.encryption/", reply{200, `{"algorithm":"m.megolm.v1.aes-sha2"}`, false})
	for _, key := range []string{"1", "2"} {
		if err := deliverOne(t, side, directDelivery(romeoUser, key, "secret")); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "encrypted") {
			t.Errorf("outcome: %v", err)
		}
	}
	hs.await(ctx, rosalineGhost+" PUT /rooms/"+directRoom+"/send/m.room.message/encrypted", 1)
	if said := hs.said(); len(said) != 1 || !strings.Contains(bodyOf(t, said[0]), "not bridged yet") {
		t.Errorf("said %v", said)
	}
}
