package matrixside

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// Encrypted state of a direct room, as it is asked for and pushed.
const (
	directEncryption  = "GET /rooms/" + directRoom + "/state/m.room.encryption/"
	encryptionContent = `{"algorithm":"m.megolm.v1.aes-sha2"}`
	encryptionEvent   = `{"event_id":"$e","room_id":"` + directRoom + `","type":"m.room.encryption","sender":"` + romeoUser + `","state_key":"","content":` + encryptionContent + `}`
)

// A homeserver may encrypt each room that is made on it: the event comes before the invitation that makes the room known.
func TestARoomLearntFromItsInvitationIsNotTakenForUnencrypted(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	hs.script(createRoom, reply{200, directAnswer, false})
	hs.script(directMembers, refusal(502, ""))
	d := directDelivery(romeoUser, "1", "secret")
	if err := deliverOne(t, side, d); err == nil || gateway.IsDrop(err) {
		t.Fatalf("outcome: %v", err)
	}
	hs.push(ctx, ownInvite("$i"))
	hs.script(directEncryption, refusal(502, ""), reply{200, encryptionContent, false})
	d.Attempt = 1
	if err := deliverOne(t, side, d); err == nil || gateway.IsDrop(err) {
		t.Errorf("outcome while it cannot be told: %v", err)
	}
	for range 2 {
		if err := deliverOne(t, side, d); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "encrypted") {
			t.Errorf("outcome: %v", err)
		}
	}
	hs.await(ctx, rosalineGhost+" PUT /rooms/"+directRoom+"/send/m.room.message/encrypted", 1)
	if said := hs.said(); len(said) != 1 || strings.Contains(bodyOf(t, said[0]), "secret") {
		t.Errorf("said %v", said)
	}
}

func TestWhatHappensWhileAGhostComesInIsKept(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	asked, found := make(chan struct{}, 1), make(chan struct{})
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState(), func(s *Side) {
		s.deps.Find = func(_ context.Context, who gateway.Person) (gateway.Person, error) {
			asked <- struct{}{}
			<-found
			return who, nil
		}
	})
	hs.script(directMembers, joined(rosalineGhost, romeoUser))
	hs.push(ctx, memberEvent("$i", directRoom, romeoUser, rosalineGhost, "invite"))
	<-asked
	side.turn <- struct{}{} // a transaction is being accepted
	close(found)
	hs.await(ctx, rosalineGhost+" "+directEncryption, 1)
	var events []*nativeEvent
	for _, raw := range []string{encryptionEvent, userLeft("$l")} {
		ev, err := parseEvent([]byte(raw))
		must(t, err)
		events = append(events, ev)
	}
	_, err := side.directArrivals(ctx, events)
	must(t, err)
	<-side.turn
	awaitChat(ctx, t, side, directRoom, func(c chat) bool { return !c.Pending })
	c, err := side.newLedger().chat(ctx, id.RoomID(directRoom))
	must(t, err)
	if !c.Encrypted || !c.Gone {
		t.Errorf("the room is taken for %+v", *c)
	}
}

func TestManyInvitationsOfOneUserAreNotAccepted(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	side, _, _ := startDirect(ctx, t, hs, state)
	invite := func(i int, by string) {
		room := fmt.Sprintf("!r%d:evil.example", i)
		if got := hs.push(ctx, memberEvent(fmt.Sprint("$i", i), room, by, rosalineGhost, "invite")); got != http.StatusOK {
			t.Fatalf("answer %d", got)
		}
	}
	settled := func(i int) {
		awaitChat(ctx, t, side, fmt.Sprintf("!r%d:evil.example", i), func(c chat) bool { return c.At == "" })
	}
	for i := range 3 * maxInvites {
		invite(i, romeoUser)
		invite(i, romeoUser) // a transaction that comes twice counts once
		settled(i)
	}
	invite(1000, "@paris:example.org")
	hs.await(ctx, rosalineGhost+" POST /rooms/!r1000:evil.example/join", 1)
	for i := maxInvites; i < 2*maxInvites; i++ { // a refusal leaves no chat to wait for
		hs.await(ctx, fmt.Sprintf("%s POST /rooms/!r%d:evil.example/leave", rosalineGhost, i), 1)
	}
	joins, refusals := 0, 0
	for i := range 3 * maxInvites {
		joins += min(hs.count(fmt.Sprintf("%s POST /rooms/!r%d:evil.example/join", rosalineGhost, i)), 1)
		refusals += min(hs.count(fmt.Sprintf("%s POST /rooms/!r%d:evil.example/leave", rosalineGhost, i)), 1)
	}
	if joins != maxInvites || refusals != maxInvites {
		t.Errorf("joined %d rooms and declined %d", joins, refusals)
	}
}

func TestManyInvitationsOfOneServerAreIgnored(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var a invitations
	take, heed := 0, 0
	for i := range 10 * maxServerInvites {
		accept, answer := a.count(now, id.UserID(fmt.Sprintf("@u%d:evil.example", i)), id.EventID(fmt.Sprint("$", i)), "example.org")
		if accept {
			take++
		}
		if answer {
			heed++
		}
	}
	if take != maxServerInvites || heed != maxServerInvites {
		t.Errorf("%d accepted, %d answered", take, heed)
	}
	for i := range 2 * maxServerInvites {
		if accept, _ := a.count(now, id.UserID(fmt.Sprintf("@u%d:example.org", i)), id.EventID(fmt.Sprint("$own", i)), "example.org"); !accept {
			t.Fatal("the users of our own server count as one")
		}
	}
	for i := range 3 * maxInviters {
		a.count(now, id.UserID(fmt.Sprintf("@u:s%d.example", i)), id.EventID(fmt.Sprint("$s", i)), "example.org")
		if len(a.by) > maxInviters {
			t.Fatalf("%d inviters are remembered", len(a.by))
		}
	}
	now = now.Add(inviteWindow + 1)
	if accept, _ := a.count(now, "@u:evil.example", "$late", "example.org"); !accept {
		t.Error("an hour did not forgive")
	}
}

// A slow errand for one server must not keep those of others waiting again and again.
func TestErrandsThatFailedComeLast(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	for range 3 {
		hs.script("POST /rooms/!a:example.org/join", refusal(502, ""))
	}
	pause := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(pause) })
	defer goOn()
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState(), func(s *Side) {
		s.pause = func(int) time.Duration {
			<-pause
			return time.Millisecond
		}
	})
	hs.push(ctx, memberEvent("$i", "!a:example.org", romeoUser, rosalineGhost, "invite"))
	hs.await(ctx, rosalineGhost+" POST /rooms/!a:example.org/join", 1)
	awaitTries(ctx, t, side, "!a:example.org", 1)
	hs.push(ctx, memberEvent("$j", "!b:example.org", romeoUser, rosalineGhost, "invite"))
	goOn()
	hs.await(ctx, rosalineGhost+" POST /rooms/!a:example.org/join", 2)
	if hs.count(rosalineGhost+" POST /rooms/!b:example.org/join") == 0 {
		t.Error("the one that failed came first again")
	}
}

func awaitTries(ctx context.Context, t *testing.T, side *Side, room string, n int) {
	t.Helper()
	for {
		changed := side.deps.State.(*watched).next()
		e, err := side.newLedger().errand(ctx, id.RoomID(room), rosalineGhost)
		must(t, err)
		if e.Tries >= n {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("the errand is still %+v", *e)
		}
	}
}

func TestWhoKeepsLeavingIsNotInvitedForEver(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	var clock testClock
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState(), clock.set)
	room := func(i int) string { return fmt.Sprintf("!d%d:example.org", i) }
	for i := range 20 {
		hs.script(createRoom, reply{200, `{"room_id":"` + room(i) + `"}`, false})
		hs.script("GET /rooms/"+room(i)+"/joined_members", joined(rosalineGhost, romeoUser))
	}
	dropped := 0
	for i := range 10 {
		err := deliverOne(t, side, directDelivery(romeoUser, fmt.Sprint(i), "text"))
		if gateway.IsDrop(err) && strings.Contains(err.Error(), "left") {
			dropped++
		} else {
			must(t, err)
		}
		if i%2 == 0 { // leaves, or puts her out
			hs.push(ctx, strings.ReplaceAll(userLeft(fmt.Sprint("$l", i)), directRoom, room(i/2)))
		} else {
			hs.push(ctx, memberEvent(fmt.Sprint("$k", i), room(i/2), romeoUser, rosalineGhost, "leave"))
		}
	}
	asked := hs.count(rosalineGhost + " " + createRoom)
	for i := range 20 {
		asked += hs.count(rosalineGhost + " POST /rooms/" + room(i) + "/invite")
	}
	if asked != maxAsks || dropped != 10-maxAsks {
		t.Errorf("asked %d times, gave %d messages up", asked, dropped)
	}
	clock.pass(askWindow + time.Second)
	must(t, deliverOne(t, side, directDelivery(romeoUser, "later", "text")))
}

func TestMadeUpGhostsInABridgedRoomAreFew(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	rm := side.roomOf(testRoom)
	rm.mu.Lock()
	for i := range 5 * maxMet {
		rm.invites[side.names.ghost(gateway.Person{Network: "irc", ID: fmt.Sprint("nobody", i)})] = true
	}
	rm.mu.Unlock()
	must(t, side.invited(ctx, rm))
	if n := hs.count("@lockbridge:example.org POST /register"); n != 1+maxMet {
		t.Errorf("%d registrations", n)
	}
}

// meddler is a State after whose updates something else happens.
type meddler struct {
	gateway.State
	after func()
}

func (m *meddler) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	defer m.after()
	return m.State.Update(ctx, fn)
}

func TestAnInvitationThatComesAgainWhileItsErrandEndsIsNotLost(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	raw := memberEvent("$i", directRoom, romeoUser, rosalineGhost, "invite")
	invite, err := parseEvent([]byte(raw))
	must(t, err)
	var once sync.Once
	side, inbox, _ := startDirect(ctx, t, hs, sidetest.NewState(), func(s *Side) {
		s.deps.State.(*watched).State = &meddler{s.deps.State.(*watched).State, func() {
			c, err := s.newLedger().chat(ctx, id.RoomID(directRoom))
			if err != nil || c.At == "" || c.Pending {
				return
			}
			once.Do(func() { // the ghost is in, and its errand not struck off yet
				if _, err := s.directArrivals(ctx, []*nativeEvent{invite}); err != nil {
					t.Error(err)
				}
			})
		}}
	})
	hs.script(directMembers, joined(rosalineGhost, romeoUser), joined(rosalineGhost, romeoUser))
	hs.push(ctx, raw)
	hs.await(ctx, rosalineGhost+" "+directJoin, 2)
	awaitChat(ctx, t, side, directRoom, func(c chat) bool { return c.At != "" && !c.Pending })
	hs.push(ctx, in(directRoom, message("$1", "hello")))
	awaitText(ctx, t, inbox, "hello")
}
