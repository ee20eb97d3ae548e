package matrixside

import (
	"context"
	"slices"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

func TestTheBotAnswersWhoeverWritesToItAlone(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), func(s *Side) {
		s.deps.Answer = func(_ context.Context, at gateway.Address, command string) string {
			return command + " of " + at.ID + "."
		}
	}, lobby(testRoom))
	invite := strings.Replace(memberEvent("$i", directRoom, romeoUser, theBot, "invite"), `"content":{`, `"content":{"is_direct":true,`, 1)
	ask := func(id, sender, text string) {
		hs.push(ctx, strings.NewReplacer(`"room_id":"`+testRoom, `"room_id":"`+directRoom, romeoUser, sender).Replace(message(id, text)))
	}
	const saying = theBot + " PUT /rooms/" + directRoom + "/send/m.room.message/reply"
	hs.push(ctx, memberEvent("$0", "!other:example.org", romeoUser, theBot, "invite"), invite)
	hs.await(ctx, saying+"$i", 1)
	for _, c := range [][3]string{
		{"$1", romeoUser, "!who"}, {"$2", romeoUser, "who " + testRoom}, {"$3", romeoUser, "WHO #else:example.org"}, {"$4", romeoUser, strings.Repeat("x", 1000)},
	} {
		ask(c[0], c[1], c[2])
		hs.await(ctx, saying+c[0], 1)
	}
	ask("$5", "@tybalt:example.org", "help")
	hs.push(ctx, memberEvent("$6", directRoom, romeoUser, theBot, "leave"))
	ask("$7", romeoUser, "help")
	var got []string
	for _, sent := range hs.said() {
		got = append(got, bodyOf(t, sent))
	}
	const about = `help of . Write "who" to me to see the people on the other sides of a room that you are in, or "who #ROOM:SERVER".`
	want := []string{about, "who of " + testRoom + ".", "who of " + testRoom + ".", "You are in no room of that address that I join with others.", about}
	if !slices.Equal(got, want) {
		t.Errorf("said %q", got)
	}
	if n := hs.count(theBot + " POST /rooms/!other:example.org/join"); n != 0 {
		t.Error("the bot came into a room where nobody wants to talk to it alone")
	}
	for _, ev := range inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok {
			t.Errorf("the gateway heard %q", m.Text.Plain)
		}
	}
}
