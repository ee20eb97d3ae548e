package matrixside

import (
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

func TestARoomThatWasReplacedByABridgedOneIsNotMerged(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	state := sidetest.NewState()
	side, _, _ := start(ctx, t, hs.cfg, state, quick, lobby(testRoom), lobby(otherRoom))
	hs.push(ctx, `{"event_id":"$t","room_id":"`+testRoom+`","type":"m.room.tombstone","state_key":"","sender":"@romeo:example.org","content":{"replacement_room":"`+otherRoom+`"}}`)
	for ctx.Err() == nil {
		out := side.Deliver(ctx, []gateway.Delivery{delivery(testRoom, "1", "mercutio", "text")})
		if isLater(out[0].Err) && strings.Contains(out[0].Err.Error(), "is bridged as "+otherRoom) {
			break
		}
	}
	must(t, ctx.Err())
	sendAll(ctx, t, side, delivery(otherRoom, "2", "mercutio", "other lanes go on"))
	if got, err := state.List(ctx, "moved/"); err != nil || len(got) != 0 {
		t.Errorf("%d rooms moved: %v", len(got), err)
	}
}
