package matrixside

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"
	"pgregory.net/rapid"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// Whatever comes from the homeserver, in whatever order and however often: what is known of direct rooms fits together.
func TestNotesOfDirectRoomsFitTogether(t *testing.T) {
	nurse := gateway.Person{Network: "xmpp", ID: "nurse@friends.example"}
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		cfg := defaults()
		cfg.Domain = "example.org"
		s := &Side{names: newNaming(cfg), log: slog.New(slog.DiscardHandler), now: time.Now, errands: make(chan struct{}, 1)}
		s.deps = gateway.Deps{Network: "matrix", State: sidetest.NewState()}
		ghosts := []string{rosalineGhost, string(s.names.ghost(nurse))}
		users := []string{romeoUser, "@paris:example.org"}
		rooms := []string{"!a:example.org", "!b:example.org"}
		pick := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(rt, what) }
		var past []string
		for i := range rapid.IntRange(1, 25).Draw(rt, "steps") {
			room, user, ghost := pick("room", rooms...), pick("user", users...), pick("ghost", ghosts...)
			ev := ""
			nth := fmt.Sprint("$", i)
			switch pick("step", "invite", "own", "ghost leaves", "joins", "leaves", "says", "encrypts", "again", "done", "done") {
			case "invite":
				ev = memberEvent(nth, room, user, ghost, "invite")
			case "own":
				ev = fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.member","sender":%q,"state_key":%q,"content":{"membership":"invite","is_direct":true}}`, nth, room, ghost, user)
			case "ghost leaves":
				ev = memberEvent(nth, room, user, ghost, "leave")
			case "joins":
				ev = memberEvent(nth, room, user, user, "join")
			case "leaves":
				ev = memberEvent(nth, room, user, user, "leave")
			case "says":
				ev = fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.message","sender":%q,"content":{"msgtype":"m.text","body":"x"}}`, nth, room, user)
			case "encrypts":
				ev = fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.encryption","state_key":"","sender":%q,"content":{}}`, nth, room, user)
			case "again":
				if len(past) > 0 {
					ev = pick("past", past...)
				}
			case "done":
				e, err := s.newLedger().errand(ctx, id.RoomID(room), id.UserID(ghost))
				if err != nil {
					rt.Fatal(err)
				}
				if e.Do == "" {
					continue
				}
				old := *e
				if old.Do == doAnswer {
					remote, _, _ := s.whose(ctx, old.Ghost)
					err = s.settleIn(ctx, old, s.pairAddress(old.User, remote), &chat{At: s.pairAddress(old.User, remote).ID})
					if err != nil {
						rt.Fatal(err)
					}
				}
				if len(past) > 0 && rapid.Bool().Draw(rt, "meanwhile") {
					parsed, _ := parseEvent([]byte(pick("past", past...)))
					if _, err := s.directArrivals(ctx, []*nativeEvent{parsed}); err != nil {
						rt.Fatal(err)
					}
				}
				if err := s.ran(ctx, old, nil); err != nil {
					rt.Fatal(err)
				}
			}
			if ev != "" {
				past = append(past, ev)
				parsed, err := parseEvent([]byte(ev))
				if err != nil {
					rt.Fatal(err)
				}
				batch, err := s.directArrivals(ctx, []*nativeEvent{parsed})
				if err != nil {
					rt.Fatal(err)
				}
				for _, a := range batch {
					local, _, _ := a.At.Direct()
					if local.ID != string(parsed.Sender) {
						rt.Fatalf("%s is heard in the chat of %s", parsed.Sender, local.ID)
					}
				}
			}
			fit(ctx, rt, s, rooms)
		}
	})
}

func fit(ctx context.Context, rt *rapid.T, s *Side, rooms []string) {
	l := s.newLedger()
	for _, room := range rooms {
		c, err := l.chat(ctx, id.RoomID(room))
		if err != nil {
			rt.Fatal(err)
		}
		if c.At == "" {
			if *c != (chat{}) {
				rt.Fatalf("%s is nobody's, and yet %+v", room, *c)
			}
			continue
		}
		e, err := l.errand(ctx, id.RoomID(room), s.ghostOf(c.At))
		if err != nil {
			rt.Fatal(err)
		}
		if c.Pending && e.Do == "" {
			rt.Fatalf("%s is pending for ever: %+v", room, *c)
		}
		if c.Over && e.Do != doLeave {
			rt.Fatalf("%s is over, and nobody leaves: %+v", room, *e)
		}
	}
	all, err := s.deps.State.List(ctx, "direct/")
	if err != nil {
		rt.Fatal(err)
	}
	for at := range all {
		now, err := l.current(ctx, at)
		if err != nil {
			rt.Fatal(err)
		}
		if now.Room == "" {
			continue
		}
		c, err := l.chat(ctx, now.Room)
		if err != nil {
			rt.Fatal(err)
		}
		if c.At != at || c.Over || c.Pending {
			rt.Fatalf("the room of %s is %+v", at, *c)
		}
	}
}
