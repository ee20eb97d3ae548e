package matrixside

import (
	"fmt"
	"slices"
	"testing"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway/sidetest"
)

const directHistory = "GET /rooms/" + directRoom + "/messages"

func TestWhatWasMissedInADirectRoomIsRead(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	_, inbox, stop := startDirect(ctx, t, hs, state)
	hs.push(ctx, ownInvite("$i"), in(directRoom, message("$1", "one")))
	awaitText(ctx, t, inbox, "one")
	stop()
	hs.script(directHistory, historyOf("", in(directRoom, message("$3", "three")), in(directRoom, message("$2", "two")), in(directRoom, message("$1", "one"))))
	_, inbox, stop = startDirect(ctx, t, hs, state)
	awaitText(ctx, t, inbox, "three")
	hs.push(ctx, in(directRoom, message("$2", "two")), in(directRoom, message("$4", "four")))
	if got := texts(inbox); !slices.Equal(got, []string{"two", "three", "four"}) {
		t.Errorf("heard %q", got)
	}
	stop()
	hs.script(directHistory, refusal(403, "M_FORBIDDEN"))
	side, inbox, _ := startDirect(ctx, t, hs, state)
	hs.push(ctx, in(directRoom, message("$5", "five")))
	awaitText(ctx, t, inbox, "five")
	hs.push(ctx, memberEvent("$k", directRoom, romeoUser, rosalineGhost, "leave"))
	if got, err := side.deps.State.List(ctx, "heard/"); err != nil || len(got) != 0 {
		t.Errorf("%d notes are left of a room that was left: %v", len(got), err)
	}
}

func TestOnlyTheDirectRoomsHeardLastAreRemembered(t *testing.T) {
	hs := newHomeserver(t)
	side, _, _ := startDirect(deadline(t), t, hs, sidetest.NewState())
	for i := range 2 * maxHeard {
		side.hear(id.RoomID(fmt.Sprintf("!r%d:example.org", i)), heard{Ghost: rosalineGhost, Last: "$1", Time: int64(1 + i)})
	}
	if side.heard["!r0:example.org"] != nil || len(side.heard) != maxHeard || side.heard[id.RoomID(fmt.Sprintf("!r%d:example.org", 2*maxHeard-1))] == nil {
		t.Errorf("%d rooms are remembered", len(side.heard))
	}
}
