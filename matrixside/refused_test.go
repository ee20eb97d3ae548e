package matrixside

import (
	"net/http"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

const (
	otherRoom  = "!other:example.org"
	powerPath  = "GET /rooms/" + testRoom + "/state/m.room.power_levels/"
	memberPath = "GET /rooms/" + testRoom + "/state/m.room.member/@lockbridge:example.org"
)

// A refusal that is about the room makes its lane wait and says why; one about the author gives the message up.
func TestWhatARefusalMeans(t *testing.T) {
	for name, c := range map[string]struct {
		replies map[string][]reply
		fits    func(error) bool
		says    string
	}{
		"all are muted": {map[string][]reply{sendPath: {refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN")},
			powerPath: {{200, `{"events_default":50}`, false}}}, isLater, "it takes a power level of 50"},
		"one is muted": {map[string][]reply{sendPath: {refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN")},
			powerPath: {{200, `{"users":{"` + mercutio + `":-1}}`, false}}}, gateway.IsDrop, "you may not speak"},
		"nobody knows why": {map[string][]reply{sendPath: {refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN")},
			powerPath: {{200, `{}`, false}}}, isLater, "M_FORBIDDEN"},
		"the power levels cannot be read": {map[string][]reply{sendPath: {refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN")},
			powerPath: {refusal(502, "")}}, func(err error) bool { return !gateway.IsDrop(err) }, ""},
		"the room is gone": {map[string][]reply{sendPath: {refusal(404, "M_NOT_FOUND"), refusal(404, "M_NOT_FOUND")},
			memberPath: {refusal(404, "M_NOT_FOUND")}, "POST /join/" + testRoom: {refusal(404, "M_UNKNOWN")}}, isLater, "not in the Matrix room"},
		"the bot is banned, unnoticed": {map[string][]reply{sendPath: {refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN")},
			memberPath: {{200, `{"membership":"ban"}`, false}}, "POST /join/" + testRoom: {refusal(403, "M_FORBIDDEN")}}, isLater, "is banned from the Matrix room"},
		"the ghost is banned": {map[string][]reply{joinPath: {refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN")},
			"POST /rooms/" + testRoom + "/invite":                         {refusal(403, "M_FORBIDDEN")},
			"GET /rooms/" + testRoom + "/state/m.room.member/" + mercutio: {{200, `{"membership":"ban"}`, false}}}, gateway.IsDrop, "banned"},
	} {
		t.Run(name, func(t *testing.T) {
			hs := newHomeserver(t)
			ctx := deadline(t)
			side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom), lobby(otherRoom))
			for request, replies := range c.replies {
				hs.script(request, replies...)
			}
			if err := deliverOne(t, side, delivery(testRoom, "1", "mercutio", "text")); err == nil || !c.fits(err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("outcome: %v", err)
			}
			sendAll(ctx, t, side, delivery(otherRoom, "2", "mercutio", "other lanes go on"))
		})
	}
}

func TestALaneThatWasRefusedTriesWhenThePowerLevelsChange(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	told := make(chan error, 10)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), func(s *Side) {
		ready := s.deps.Ready
		s.deps.Ready = func(away error) { ready(away); told <- away }
	}, lobby(testRoom))
	must(t, <-told)
	hs.script(sendPath, refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN"))
	hs.script(powerPath, reply{200, `{"events_default":50}`, false})
	if err := deliverOne(t, side, delivery(testRoom, "1", "mercutio", "text")); !isLater(err) {
		t.Fatalf("outcome: %v", err)
	}
	hs.push(ctx, `{"event_id":"$p","room_id":"`+testRoom+`","type":"m.room.power_levels","state_key":"","sender":"@romeo:example.org","content":{}}`)
	must(t, <-told) // the lanes' pauses end
	sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "text"))
}

func TestTheBotComesBackAfterItWasRemovedUnnoticed(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), quick, lobby(testRoom))
	hs.script(sendPath, refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN"))
	hs.script(memberPath, reply{200, `{"membership":"leave"}`, false})
	if err := deliverOne(t, side, delivery(testRoom, "1", "mercutio", "text")); !isLater(err) {
		t.Fatalf("outcome: %v", err)
	}
	hs.await(ctx, "@lockbridge:example.org GET /rooms/"+testRoom+"/joined_members", 2)
	deliverUntilSaid(ctx, t, side, delivery(testRoom, "1", "mercutio", "text"))
}

func TestAnUnknownTokenMakesTheNetworkAwayUntilItIsKnown(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	told := make(chan error, 10)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), func(s *Side) {
		quick(s)
		ready := s.deps.Ready
		s.deps.Ready = func(away error) { ready(away); told <- away }
	}, lobby(testRoom))
	must(t, <-told)
	hs.script(sendPath, refusal(http.StatusUnauthorized, "M_UNKNOWN_TOKEN"))
	hs.script("GET /account/whoami", refusal(http.StatusUnauthorized, "M_UNKNOWN_TOKEN"))
	if err := deliverOne(t, side, delivery(testRoom, "1", "mercutio", "text")); !isLater(err) || !strings.Contains(err.Error(), "registration") {
		t.Errorf("outcome: %v", err)
	}
	for away := errStarting; away != nil; away = <-told {
	}
	sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "text"))
}
