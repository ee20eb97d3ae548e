package matrixside

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// watchful carries all of what people do besides talking.
func watchful(s *Side) {
	s.deps.Privacy = gateway.Privacy{Typing: true, Receipts: gateway.ReceiptsAll, Avatars: true}
}

// pass hands ephemeral events to the side in a transaction.
func (hs *fakeHomeserver) pass(ctx context.Context, field string, events ...string) {
	hs.t.Helper()
	hs.txn++
	got := hs.request(ctx, http.MethodPut, fmt.Sprintf("/_matrix/app/v1/transactions/%d", hs.txn), "Bearer "+hs.reg.HSToken,
		`{"events":[],"`+field+`":[`+strings.Join(events, ",")+`]}`)
	if got != http.StatusOK {
		hs.t.Fatalf("answer %d", got)
	}
}

func typingIn(room string, users ...string) string {
	return fmt.Sprintf(`{"type":"m.typing","room_id":%q,"content":{"user_ids":["%s"]}}`, room, strings.Join(users, `","`))
}

// passed are the typing and receipts that were heard, in words.
func passed(inbox *sidetest.Inbox) (out []string) {
	for _, ev := range inbox.Heard() {
		switch b := ev.Body.(type) {
		case gateway.Typing:
			out = append(out, fmt.Sprintf("%s %v", ev.Sender.Name, b.On))
		case gateway.Receipt:
			out = append(out, fmt.Sprintf("%s %s %s", ev.Sender.Name, b.State, b.Target.Native))
		default:
			continue
		}
		if ev.Expires.IsZero() {
			out = append(out, "for ever")
		}
	}
	return out
}

func TestTypingIsTheDifferenceToBefore(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), watchful, lobby(testRoom))
	const field, old = "ephemeral", "de.sorunome.msc2409.ephemeral"
	hs.pass(ctx, field, typingIn(testRoom, "@romeo:example.org", mercutio, "@lockbridge:example.org", "no user"))
	hs.pass(ctx, old, typingIn(testRoom, "@romeo:example.org", "@juliet:example.org"))
	hs.pass(ctx, field, `7`, `{"type":"m.typing"}`, typingIn("!elsewhere:example.org", "@romeo:example.org"), typingIn(testRoom, mercutio))
	hs.pass(ctx, field, typingIn(testRoom, mercutio))
	want := []string{"Romeo true", "juliet true", "Romeo false", "juliet false"}
	if got := passed(inbox); !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
}

func TestOnlyTheNewestReceiptOfEachIsTold(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), watchful, lobby(testRoom))
	receipts := `{"type":"m.receipt","room_id":"` + testRoom + `","content":{"$old":{"m.read":{"@romeo:example.org":{"ts":1}}},` +
		`"$new":{"m.read":{"@romeo:example.org":{"ts":2},"` + mercutio + `":{"ts":3}},"m.read.private":{"@juliet:example.org":{"ts":9}}},"nothing":{"m.read":{"@romeo:example.org":{"ts":9}}}}}`
	hs.pass(ctx, "ephemeral", receipts)
	if got := passed(inbox); !slices.Equal(got, []string{"Romeo displayed $new"}) {
		t.Errorf("heard %q", got)
	}
}

func TestPrivacyKeepsTypingAndReceiptsHere(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), func(s *Side) { s.deps.Privacy.Receipts = gateway.ReceiptsDirect }, lobby(testRoom))
	hs.pass(ctx, "ephemeral", typingIn(testRoom, "@romeo:example.org"), `{"type":"m.receipt","room_id":"`+testRoom+`","content":{"$new":{"m.read":{"@romeo:example.org":{"ts":2}}}}}`)
	if got := passed(inbox); len(got) != 0 {
		t.Errorf("heard %q", got)
	}
}

func TestWhoTypesIsRememberedForSoManyRoomsOnly(t *testing.T) {
	var ty typists
	for i := range 2 * maxTypingRooms {
		ty.change(id.RoomID(fmt.Sprint(i)), []id.UserID{"@romeo:example.org"})
	}
	if n := len(ty.in); n > maxTypingRooms {
		t.Errorf("%d rooms are remembered", n)
	}
}

func TestOnlyGhostsThatAreThereTypeAndRead(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), watchful, lobby(testRoom))
	d := delivery(testRoom, "1", "mercutio", "here")
	types := &gateway.Event{Sender: d.Event.Sender, Body: gateway.Typing{On: true}, Expires: time.Now().Add(time.Minute)}
	read := &gateway.Event{Sender: d.Event.Sender, Body: gateway.Receipt{Target: gateway.Ref{Parts: []gateway.Part{{Native: "$said"}}}, State: gateway.Displayed}}
	delivered := &gateway.Event{Sender: d.Event.Sender, Body: gateway.Receipt{Target: gateway.Ref{Parts: []gateway.Part{{Native: "$other"}}}, State: gateway.Delivered}}
	typingCall := mercutio + " PUT /rooms/" + testRoom + "/typing/" + mercutio
	side.Pass(ctx, d.Room, types)
	if n := hs.count(typingCall); n != 0 {
		t.Error("somebody types who is not there")
	}
	sendAll(ctx, t, side, d)
	for _, ev := range []*gateway.Event{types, read, delivered} {
		side.Pass(ctx, d.Room, ev)
	}
	if hs.count(typingCall) != 1 || hs.count(mercutio+" POST /rooms/"+testRoom+"/receipt/m.read/$said") != 1 || hs.count(mercutio+" POST /rooms/"+testRoom+"/receipt/m.read/$other") != 0 {
		t.Error("the ghost is not seen typing and reading, or too often")
	}
}

func TestTypingAndReadingInADirectChat(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, inbox, _ := startDirect(ctx, t, hs, sidetest.NewState(), func(s *Side) {
		s.deps.Privacy = gateway.Privacy{Typing: true, Receipts: gateway.ReceiptsDirect}
	})
	hs.push(ctx, ownInvite("$i"), in(directRoom, message("$1", "at once")))
	awaitText(ctx, t, inbox, "at once")
	hs.pass(ctx, "ephemeral", typingIn(directRoom, romeoUser, rosalineGhost), `{"type":"m.receipt","room_id":"`+directRoom+`","content":{"$s":{"m.read":{"`+romeoUser+`":{"ts":2}}}}}`)
	if got := passed(inbox); !slices.Equal(got, []string{"romeo true", "romeo displayed $s"}) {
		t.Errorf("heard %q", got)
	}
	side.Pass(ctx, directAt(romeoUser), &gateway.Event{Sender: rosaline, Body: gateway.Typing{On: true}})
	if hs.count(rosalineGhost+" PUT /rooms/"+directRoom+"/typing/"+rosalineGhost) != 1 {
		t.Error("her ghost is not seen typing")
	}
}
