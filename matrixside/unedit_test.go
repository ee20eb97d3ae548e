package matrixside

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// edited is an edit of an event of Romeo's.
func edited(id, target, sender, text string) string {
	return fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.message","sender":%q,"content":{"msgtype":"m.text","body":"* x","m.new_content":{"msgtype":"m.text","body":%q},"m.relates_to":{"rel_type":"m.replace","event_id":%q}}}`, id, testRoom, sender, text, target)
}

func redactionOf(id, target string) string {
	return fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.redaction","sender":"@moderator:example.org","redacts":%q,"content":{}}`, id, testRoom, target)
}

// TestAnEditThatIsTakenBackLeavesTheMessage as it was before, in its author's name.
func TestAnEditThatIsTakenBackLeavesTheMessage(t *testing.T) {
	const romeo = "@romeo:example.org"
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	get := "GET /rooms/" + testRoom + "/event/$m"
	related := "GET /v1/rooms/" + testRoom + "/relations/$m/m.replace"
	push := func(want int, events ...string) *gateway.Event {
		t.Helper()
		if got := hs.push(ctx, events...); got != want {
			t.Fatalf("answer %d, want %d", got, want)
		}
		all := inbox.Heard()
		return all[len(all)-1]
	}
	is := func(ev *gateway.Event, text string) {
		t.Helper()
		e, ok := ev.Body.(gateway.Edit)
		if !ok || e.Text.Plain != text || e.Target.Native != "$m" || ev.Sender.ID != romeo {
			t.Errorf("heard %+v", ev)
		}
	}
	push(http.StatusOK, message("$m", "first"), edited("$e1", "$m", romeo, "second"), edited("$e2", "$m", romeo, "third"))

	// The homeserver may fail for a while; nothing is taken before it answers.
	hs.script(get, refusal(http.StatusInternalServerError, "M_UNKNOWN"), reply{code: http.StatusOK, body: message("$m", "first")})
	hs.script(related, reply{code: http.StatusOK, body: `{"chunk":[7,` + edited("$x", "$m", "@eve:example.org", "forged") + `,` + edited("$e1", "$m", romeo, "second") + `]}`})
	push(http.StatusServiceUnavailable, redactionOf("$r2", "$e2"))
	is(push(http.StatusOK, redactionOf("$r2", "$e2")), "second")

	hs.script(get, reply{code: http.StatusOK, body: message("$m", "first")})
	hs.script(related, reply{code: http.StatusOK, body: `{"chunk":[]}`})
	is(push(http.StatusOK, redactionOf("$r1", "$e1")), "first")

	// The message itself, what nothing is known of, and one that is gone with its edit.
	hs.script(get, refusal(http.StatusNotFound, "M_NOT_FOUND"))
	for _, target := range []string{"$m", "$e9", "$e1"} {
		ev := push(http.StatusOK, redactionOf("$gone"+target[1:], target))
		if r, ok := ev.Body.(gateway.Retract); !ok || r.Target.Native != target {
			t.Errorf("heard %+v", ev)
		}
	}
	if slices.Contains(texts(inbox), "forged") {
		t.Error("an edit by somebody else counts")
	}
}
