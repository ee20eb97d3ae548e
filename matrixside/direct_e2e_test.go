//go:build e2e

package matrixside

import (
	"context"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/testbed/peers"
)

// startDirect runs a side on the slot on which rosaline may have direct chats.
func (b *bed) startDirect(ctx context.Context, t *testing.T, state *sidetest.State) (*Side, *sidetest.Inbox, func()) {
	t.Helper()
	return start(ctx, t, b.cfg, state, allowRosaline)
}

// invited waits until a ghost invites somebody to a room that is not in known.
func invited(ctx context.Context, t *testing.T, m *peers.Matrix, ghost string, known ...string) (room string) {
	t.Helper()
	e, err := m.Await(ctx, "an invitation by "+ghost, func(e peers.MatrixEvent) bool {
		return e.Invite && e.Type == "m.room.member" && *e.StateKey == m.UserID && e.Sender == ghost && !strings.Contains(strings.Join(known, " "), e.Room)
	})
	must(t, err)
	return e.Room
}

func (b *bed) rosaline() string {
	return string(newNaming(b.cfg).ghost(rosaline))
}

func TestADirectChatBegunElsewhere(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	must(t, romeo.SetDisplayName(ctx, "Romeo"))
	state := sidetest.NewState()
	side, inbox, stop := b.startDirect(ctx, t, state)
	first := sendAll(ctx, t, side, directDelivery(romeo.UserID, "one", "wherefore art thou"), directDelivery(romeo.UserID, "two", "deny thy father"))
	room := invited(ctx, t, romeo, b.rosaline())
	must(t, romeo.Join(ctx, room))
	for _, text := range []string{"wherefore art thou", "deny thy father"} {
		e, err := romeo.AwaitText(ctx, room, text)
		must(t, err)
		if e.Sender != b.rosaline() {
			t.Errorf("%q was said by %s", text, e.Sender)
		}
	}
	var name string
	for _, e := range romeo.Events() {
		if alias, _ := e.Content["alias"].(string); e.Room == room && (e.Type == "m.room.name" || e.Type == "m.room.canonical_alias") {
			name = e.Type + alias
		}
	}
	if name != "" && name != "m.room.canonical_alias" {
		t.Errorf("the room has a name: %v", name)
	}
	names, err := romeo.Members(ctx, room)
	must(t, err)
	if len(names) != 2 || names[b.rosaline()] != "Rosaline" {
		t.Errorf("in the room: %v", names)
	}
	_, err = inbox.Await(ctx, "the echo", func(ev *gateway.Event) bool {
		echo, ok := ev.Body.(gateway.Echo)
		return ok && echo.Key == "one" && ev.Native == first[0].Parts[0].Native && ev.At == directAt(romeo.UserID)
	})
	must(t, err)
	_, err = romeo.Send(ctx, room, "m.room.message", map[string]any{"msgtype": "m.text", "body": "shall I hear more",
		"m.relates_to": map[string]any{"m.in_reply_to": map[string]any{"event_id": first[1].Parts[0].Native}}})
	must(t, err)
	ev := awaitText(ctx, t, inbox, "shall I hear more")
	if want := directAt(romeo.UserID); ev.At != want || ev.Sender.ID != romeo.UserID || ev.Sender.Name != "Romeo" {
		t.Errorf("heard %+v at %v", ev.Sender, ev.At)
	}
	if m, _ := ev.Body.(gateway.Message); m.ReplyTo.Native != first[1].Parts[0].Native {
		t.Errorf("answers %q, want %q", m.ReplyTo.Native, first[1].Parts[0].Native)
	}
	said := ev.Native
	_, err = romeo.Send(ctx, room, "m.room.message", map[string]any{"msgtype": "m.text", "body": "* or speak", "m.new_content": map[string]any{"msgtype": "m.text", "body": "or speak"},
		"m.relates_to": map[string]any{"rel_type": "m.replace", "event_id": said}})
	must(t, err)
	_, err = inbox.Await(ctx, "the edit", func(ev *gateway.Event) bool {
		e, ok := ev.Body.(gateway.Edit)
		return ok && e.Target.Native == said && e.Text.Plain == "or speak"
	})
	must(t, err)

	stop()
	side, _, _ = b.startDirect(ctx, t, state)
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "three", "in the second life"))
	_, err = romeo.AwaitText(ctx, room, "in the second life")
	must(t, err)
	receipt := directDelivery(romeo.UserID, "four", "")
	receipt.Event.Sender = gateway.Person{Network: "matrix", ID: romeo.UserID, Name: "Romeo"} // it comes back to him
	receipt.Event.Body = gateway.Receipt{State: gateway.Undeliverable, Reason: "nobody is at home", Target: gateway.Ref{Native: said, Author: gateway.Person{Network: "matrix", ID: romeo.UserID}}}
	sendAll(ctx, t, side, receipt)
	e, err := romeo.AwaitText(ctx, room, "nobody is at home")
	must(t, err)
	if e.Sender != b.rosaline() || e.Content["msgtype"] != "m.notice" {
		t.Errorf("the report is %v", e)
	}
	names, err = romeo.Members(ctx, room)
	must(t, err)
	if names[b.rosaline()] != "Rosaline" {
		t.Errorf("in the room: %v", names)
	}
}

func TestARedactionInADirectChat(t *testing.T) {
	ctx, b := within(t), openBed(t)
	if b.Bed.Homeserver != "synapse" { // Dendrite pushes no redactions
		return
	}
	romeo := b.login(ctx, t, "romeo")
	side, inbox, _ := b.startDirect(ctx, t, sidetest.NewState())
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "one", "speak"))
	room := invited(ctx, t, romeo, b.rosaline())
	must(t, romeo.Join(ctx, room))
	id, err := romeo.Say(ctx, room, "I take thee at thy word")
	must(t, err)
	_, err = romeo.Send(ctx, room, "m.room.redaction", map[string]any{"redacts": id})
	must(t, err)
	_, err = inbox.Await(ctx, "the redaction", func(ev *gateway.Event) bool {
		r, ok := ev.Body.(gateway.Retract)
		return ok && r.Target.Native == id && ev.At == directAt(romeo.UserID)
	})
	must(t, err)
}

func TestARoomThatWasMadeBeforeACrashIsFoundAgain(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	side, _, stop := b.startDirect(ctx, t, sidetest.NewState())
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "one", "in the first life"))
	room := invited(ctx, t, romeo, b.rosaline())
	stop()
	state := sidetest.NewState() // nothing was written down
	side, _, _ = b.startDirect(ctx, t, state)
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "two", "in the second life"))
	must(t, romeo.Join(ctx, room))
	_, err := romeo.AwaitText(ctx, room, "in the second life")
	must(t, err)
}

func TestAUserWhoLeftIsInvitedAgain(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	state := sidetest.NewState()
	side, inbox, _ := b.startDirect(ctx, t, state)
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "one", "stay but a little"))
	room := invited(ctx, t, romeo, b.rosaline())
	must(t, romeo.Join(ctx, room))
	_, err := romeo.Say(ctx, room, "good night")
	must(t, err)
	awaitText(ctx, t, inbox, "good night")
	must(t, romeo.SetState(ctx, room, "m.room.member", romeo.UserID, map[string]any{"membership": "leave"}))
	awaitChat(ctx, t, side, room, func(c chat) bool { return c.Gone })
	n := romeo.Mark()
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "two", "I will come again"))
	_, err = romeo.AwaitAfter(ctx, n, "another invitation", func(e peers.MatrixEvent) bool {
		return e.Invite && e.Room == room && e.Sender == b.rosaline()
	})
	must(t, err)
	must(t, romeo.Join(ctx, room))
	_, err = romeo.AwaitText(ctx, room, "I will come again")
	must(t, err)
}

func TestAGhostThatWasPutOutMakesAnotherRoom(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	side, _, _ := b.startDirect(ctx, t, sidetest.NewState())
	id, err := romeo.CreateRoom(ctx, "", false)
	must(t, err)
	must(t, romeo.SetState(ctx, id, "m.room.member", b.rosaline(), map[string]any{"membership": "invite", "is_direct": true}))
	awaitChat(ctx, t, side, id, func(c chat) bool { return c.At != "" && !c.Pending })
	must(t, romeo.SetState(ctx, id, "m.room.member", b.rosaline(), map[string]any{"membership": "leave"}))
	awaitChat(ctx, t, side, id, func(c chat) bool { return c.At == "" })
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "two", "by another window"))
	other := invited(ctx, t, romeo, b.rosaline(), id)
	must(t, romeo.Join(ctx, other))
	_, err = romeo.AwaitText(ctx, other, "by another window")
	must(t, err)
}

func TestAnInvitedGhostComesAndHearsWhatWasSaidBefore(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	state := sidetest.NewState()
	side, inbox, _ := b.startDirect(ctx, t, state)
	id, err := romeo.CreateRoom(ctx, "", false)
	must(t, err)
	_, err = romeo.Say(ctx, id, "before she was asked")
	must(t, err)
	must(t, romeo.Invite(ctx, id, b.rosaline()))
	for _, text := range []string{"first", "second", "third"} {
		_, err = romeo.Say(ctx, id, text)
		must(t, err)
	}
	awaitText(ctx, t, inbox, "third")
	var texts []string
	for _, ev := range inbox.Heard() {
		texts = append(texts, textOf(ev))
		if ev.At != directAt(romeo.UserID) {
			t.Errorf("%q was heard at %v", textOf(ev), ev.At)
		}
	}
	if got := strings.Join(texts, " "); got != "first second third" {
		t.Errorf("heard %q", got)
	}
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "one", "at thy service"))
	_, err = romeo.AwaitText(ctx, id, "at thy service")
	must(t, err)

	// The newest room is where the answers go.
	other, err := romeo.CreateRoom(ctx, "", false)
	must(t, err)
	must(t, romeo.Invite(ctx, other, b.rosaline()))
	_, err = romeo.Say(ctx, other, "over here")
	must(t, err)
	awaitText(ctx, t, inbox, "over here")
	awaitChat(ctx, t, side, other, func(c chat) bool { return !c.Pending })
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "two", "there, too"))
	_, err = romeo.AwaitText(ctx, other, "there, too")
	must(t, err)
	_, err = romeo.Say(ctx, id, "back again")
	must(t, err)
	awaitText(ctx, t, inbox, "back again")
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "three", "as thou wilt"))
	_, err = romeo.AwaitText(ctx, id, "as thou wilt")
	must(t, err)
}

func TestInvitationsThatAreDeclined(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo, paris := b.login(ctx, t, "romeo"), b.login(ctx, t, "paris")
	side, _, _ := b.startDirect(ctx, t, sidetest.NewState())
	names := newNaming(b.cfg)
	full, err := romeo.CreateRoom(ctx, "", false)
	must(t, err)
	must(t, romeo.Invite(ctx, full, paris.UserID))
	must(t, paris.Join(ctx, full))
	private, err := romeo.CreateRoom(ctx, "", false)
	must(t, err)
	public, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	stranger := gateway.Person{Network: "xmpp", ID: "tybalt@elsewhere.example", Name: "Tybalt"}
	must(t, side.prepare(ctx, names.ghost(stranger), stranger, "Tybalt"))
	for _, c := range []struct{ room, ghost, reason string }{
		{full, b.rosaline(), "others in the room"},
		{public, b.rosaline(), "only the two of you"},
		{private, string(names.ghost(stranger)), "not open to you"},
	} {
		must(t, romeo.Invite(ctx, c.room, c.ghost))
		_, err := romeo.Await(ctx, "that "+c.ghost+" declines", func(e peers.MatrixEvent) bool {
			reason, _ := e.Content["reason"].(string)
			return e.Room == c.room && e.Type == "m.room.member" && *e.StateKey == c.ghost && e.Content["membership"] == "leave" &&
				(strings.Contains(reason, c.reason) || b.Bed.Homeserver != "synapse") // Dendrite drops reasons
		})
		must(t, err)
	}
}

func TestADirectRoomThatSomebodyElseEntersIsNoneAnyMore(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo, paris := b.login(ctx, t, "romeo"), b.login(ctx, t, "paris")
	state := sidetest.NewState()
	side, inbox, _ := b.startDirect(ctx, t, state)
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "one", "are we alone"))
	room := invited(ctx, t, romeo, b.rosaline())
	must(t, romeo.Join(ctx, room))
	must(t, romeo.Invite(ctx, room, paris.UserID))
	must(t, paris.Join(ctx, room))
	_, err := romeo.AwaitText(ctx, room, "no direct chat any more")
	must(t, err)
	_, err = romeo.Await(ctx, "that she leaves", func(e peers.MatrixEvent) bool {
		return e.Room == room && e.Type == "m.room.member" && *e.StateKey == b.rosaline() && e.Content["membership"] == "leave"
	})
	must(t, err)
	awaitChat(ctx, t, side, room, func(c chat) bool { return c.At == "" })
	sendAll(ctx, t, side, directDelivery(romeo.UserID, "two", "for thee alone"))
	other := invited(ctx, t, romeo, b.rosaline(), room)
	must(t, romeo.Join(ctx, other))
	_, err = romeo.AwaitText(ctx, other, "for thee alone")
	must(t, err)
	if n := (member{Matrix: romeo, room: room}).Count("no direct chat any more"); n != 1 {
		t.Errorf("said %d times", n)
	}
	if n := len(inbox.Unread()); n != 0 {
		t.Errorf("%d arrivals were unreadable", n)
	}
}

func TestAnEncryptedDirectRoomIsNotBridgedAndSaysSoOnce(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	state := sidetest.NewState()
	side, _, stop := b.startDirect(ctx, t, state)
	id, err := romeo.CreateRoom(ctx, "", false)
	must(t, err)
	must(t, romeo.SetState(ctx, id, "m.room.encryption", "", map[string]any{"algorithm": "m.megolm.v1.aes-sha2"}))
	must(t, romeo.Invite(ctx, id, b.rosaline()))
	_, err = romeo.AwaitText(ctx, id, "Encrypted Matrix rooms are not bridged yet")
	must(t, err)
	if err := deliverOne(t, side, directDelivery(romeo.UserID, "one", "not to be seen")); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "encrypted") {
		t.Errorf("said in an encrypted room: %v", err)
	}
	_, err = romeo.Send(ctx, id, "m.room.encrypted", map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"})
	must(t, err)
	stop()
	side, inbox, _ := b.startDirect(ctx, t, state)
	_, err = romeo.Say(ctx, id, "in the clear")
	must(t, err)
	must(t, romeo.SetState(ctx, id, "m.room.member", romeo.UserID, map[string]any{"membership": "join", "displayname": "Montague"}))
	awaitChat(ctx, t, side, id, func(c chat) bool { return c.Encrypted && c.Name == "Montague" })
	if err := deliverOne(t, side, directDelivery(romeo.UserID, "two", "not to be seen")); !gateway.IsDrop(err) {
		t.Errorf("said in an encrypted room: %v", err)
	}
	for _, ev := range inbox.Heard() {
		t.Errorf("heard %+v", ev)
	}
	if n := (member{Matrix: romeo, room: id}).Count("Encrypted Matrix rooms"); n != 1 {
		t.Errorf("explained %d times", n)
	}
	if n := (member{Matrix: romeo, room: id}).Count("not to be seen"); n != 0 {
		t.Error("it was said all the same")
	}
}

func TestWhoExistsOnMatrix(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	must(t, romeo.SetDisplayName(ctx, "Romeo"))
	side, _, _ := b.startDirect(ctx, t, sidetest.NewState())
	who, err := side.Find(ctx, gateway.Person{Network: "matrix", ID: romeo.UserID})
	must(t, err)
	if who.ID != romeo.UserID || who.Name != "Romeo" {
		t.Errorf("found %+v", who)
	}
	nobody := "@" + peers.Unique("nobody") + ":" + b.Host
	for _, id := range []string{nobody, "romeo", "@:", "@" + strings.Repeat("x", 300) + ":" + b.Host, b.rosaline()} {
		if _, err := side.Find(ctx, gateway.Person{Network: "matrix", ID: id}); err != gateway.ErrNobody {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := deliverOne(t, side, directDelivery(nobody, "one", "is anybody there")); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "no Matrix user") {
		t.Errorf("outcome: %v", err)
	}
}

func TestAGhostThatNobodyHasMetIsMadeForWhoAsks(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	_, inbox, _ := start(ctx, t, b.cfg, sidetest.NewState(), func(s *Side) {
		allowRosaline(s)
		s.deps.Find = func(_ context.Context, who gateway.Person) (gateway.Person, error) {
			if strings.HasPrefix(who.ID, "nurse") {
				who.Name = "The Nurse"
				return who, nil
			}
			return who, gateway.ErrNobody
		}
	})
	names := newNaming(b.cfg)
	nurse := gateway.Person{Network: "xmpp", ID: peers.Unique("nurse") + "@friends.example"}
	id, err := romeo.CreateRoom(ctx, "", false)
	must(t, err)
	must(t, romeo.Invite(ctx, id, string(names.ghost(nurse))))
	_, err = romeo.Say(ctx, id, "commend me to thy lady")
	must(t, err)
	ev := awaitText(ctx, t, inbox, "commend me to thy lady")
	if _, remote, _ := ev.At.Direct(); remote.ID != nurse.ID {
		t.Errorf("heard at %v", ev.At)
	}
	in, err := romeo.Members(ctx, id)
	must(t, err)
	if in[string(names.ghost(nurse))] != "The Nurse" {
		t.Errorf("in the room: %v", in)
	}
}
