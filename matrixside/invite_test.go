package matrixside

import (
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

func TestARefusedInvitationIsAReason(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	d := directDelivery(romeoUser, "1", "text")
	alias := "/directory/room/#" + side.aliasOf(d.Room.ID, 0) + ":example.org"
	hs.script(createRoom, refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN"))
	hs.script("GET "+alias, reply{200, directAnswer, false})
	hs.script(directMembers, joined(rosalineGhost))
	hs.script(directInvite, refusal(403, "M_FORBIDDEN"))
	if err := deliverOne(t, side, d); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "cannot be invited") {
		t.Errorf("outcome: %v", err)
	}
	hs.script(createRoom, refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN"))
	hs.script("GET "+alias, refusal(404, "M_NOT_FOUND"))
	if err := deliverOne(t, side, d); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "does not allow") {
		t.Errorf("outcome where no room can be made: %v", err)
	}
}

func TestAUserWhoseProfileIsNotShownIsInvited(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	hs.script("GET /profile/"+romeoUser, refusal(502, "M_UNKNOWN"))
	hs.script(createRoom, reply{200, directAnswer, false})
	hs.script(directMembers, joined(rosalineGhost))
	sendAll(ctx, t, side, directDelivery(romeoUser, "1", "text"))
}

// userLeft is a user's leaving of a direct room.
func userLeft(id string) string { return memberEvent(id, directRoom, romeoUser, romeoUser, "leave") }

func TestAUserWhoLeftIsInvitedAgainOnce(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	hs.push(ctx, ownInvite("$i"), userLeft("$l"))
	sendAll(ctx, t, side, directDelivery(romeoUser, "1", "text"), directDelivery(romeoUser, "2", "more"))
	if n := hs.count(rosalineGhost + " " + directInvite); n != 1 {
		t.Errorf("invited %d times", n)
	}
	hs.push(ctx, userLeft("$m"))
	hs.script(directInvite, refusal(403, "M_FORBIDDEN"))
	hs.script(directMembers, joined(rosalineGhost))
	if err := deliverOne(t, side, directDelivery(romeoUser, "3", "text")); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "cannot be invited") {
		t.Errorf("outcome of a refused invitation: %v", err)
	}
	if n := len(hs.said()); n != 2 {
		t.Errorf("said %d things", n)
	}
}

func TestAGhostWithoutASayMakesARoomOfItsOwn(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := startDirect(ctx, t, hs, sidetest.NewState())
	hs.script(directMembers, joined(rosalineGhost, romeoUser), joined(rosalineGhost))
	hs.push(ctx, memberEvent("$i", directRoom, romeoUser, rosalineGhost, "invite"))
	awaitChat(ctx, t, side, directRoom, func(c chat) bool { return c.At != "" && !c.Pending })
	hs.push(ctx, userLeft("$l"))
	hs.script(directInvite, refusal(403, "M_FORBIDDEN"))
	hs.script(createRoom, reply{200, `{"room_id":"!other:example.org"}`, false})
	hs.script("GET /rooms/!other:example.org/joined_members", joined(rosalineGhost, romeoUser))
	sendAll(ctx, t, side, directDelivery(romeoUser, "1", "text"))
	if hs.count(rosalineGhost+" "+directLeave) != 1 || hs.count(rosalineGhost+" "+createRoom) != 1 {
		t.Errorf("left %d rooms, made %d", hs.count(rosalineGhost+" "+directLeave), hs.count(rosalineGhost+" "+createRoom))
	}
}

func TestAReplayedInvitationLosesNothing(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, inbox, _ := startDirect(ctx, t, hs, sidetest.NewState())
	invite := memberEvent("$i", directRoom, romeoUser, rosalineGhost, "invite")
	said := in(directRoom, message("$1", "once"))
	for range 2 {
		hs.script(directMembers, joined(rosalineGhost, romeoUser))
		hs.script("GET /rooms/"+directRoom+"/messages", reply{200, `{"chunk":[` + said + `,` + invite + `]}`, false})
		hs.push(ctx, invite, said)
		awaitChat(ctx, t, side, directRoom, func(c chat) bool { return c.At != "" && !c.Pending })
	}
	hs.push(ctx, in(directRoom, message("$2", "at last")))
	awaitText(ctx, t, inbox, "at last")
	if n := len(inbox.Heard()); n != 2 {
		t.Errorf("heard %d things", n)
	}
}
