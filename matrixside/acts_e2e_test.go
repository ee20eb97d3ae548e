//go:build e2e

package matrixside

import (
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
	"lockbridge/gateway/media/mediatest"
	"lockbridge/gateway/sidetest"
)

// withRealMedia carries everything that people do besides talking, files among it.
func (b *bed) withRealMedia(t *testing.T) func(*Side) {
	files, err := NewFiles(b.cfg)
	must(t, err)
	carried := mediatest.New(t, mediatest.Options{Sources: map[string]media.Source{"matrix": files}})
	return func(s *Side) {
		watchful(s)
		s.deps.Media = carried
	}
}

func TestWhoeverMadeARoomModeratesIt(t *testing.T) {
	ctx, b := within(t), openBed(t)
	if b.Bed.Homeserver != "synapse" { // Dendrite pushes no redactions
		return
	}
	romeo, juliet := b.login(ctx, t, "romeo"), b.login(ctx, t, "juliet")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	must(t, juliet.Join(ctx, id))
	side, inbox, _ := b.start(ctx, t, sidetest.NewState(), b.room(id))
	sendAll(ctx, t, side, delivery(id, "one", "mercutio", "a plague"))
	e, err := romeo.AwaitText(ctx, id, "a plague")
	must(t, err)
	must(t, romeo.Redact(ctx, id, e.ID, "rude"))
	own, err := juliet.Say(ctx, id, "never mind")
	must(t, err)
	must(t, juliet.Redact(ctx, id, own, ""))
	for native, moderated := range map[string]bool{e.ID: true, own: false} {
		ev, err := inbox.Await(ctx, "the redaction of "+native, func(ev *gateway.Event) bool {
			r, ok := ev.Body.(gateway.Retract)
			return ok && r.Target.Native == native
		})
		must(t, err)
		if r := ev.Body.(gateway.Retract); r.Moderated != moderated {
			t.Errorf("%+v, want moderated: %v", r, moderated)
		}
	}
}

func TestTopicsAndPicturesOnARealHomeserver(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	native, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	room := b.room(native)
	room.Topic = true
	side, inbox, _ := start(ctx, t, b.cfg, sidetest.NewState(), b.withRealMedia(t), room)
	must(t, romeo.SetPower(ctx, native, string(side.names.bot), 100))
	must(t, romeo.SetState(ctx, native, "m.room.topic", "", map[string]any{"topic": "swords"}))
	_, err = inbox.Await(ctx, "the topic", func(ev *gateway.Event) bool {
		s, ok := ev.Body.(gateway.RoomState)
		return ok && s.Topic != nil && *s.Topic == "swords"
	})
	must(t, err)
	topic := "roses"
	sendAll(ctx, t, side, doesIn(native, "1", gateway.RoomState{Topic: &topic}))
	state, err := romeo.State(ctx, native, "m.room.topic", "")
	must(t, err)
	if state["topic"] != topic {
		t.Errorf("the topic is %v", state)
	}

	must(t, romeo.SetPicture(ctx, portrait(t, 9)))
	_, err = romeo.Say(ctx, native, "look at me")
	must(t, err)
	picture := awaitPicture(ctx, t, inbox, "")
	d := delivery(native, "2", "mercutio", "and at me")
	d.Event.Sender.Avatar = picture
	sendAll(ctx, t, side, d)
	e, err := romeo.AwaitText(ctx, native, "and at me")
	must(t, err)
	if _, url, err := romeo.Profile(ctx, e.Sender); err != nil || url == "" {
		t.Errorf("the ghost has the picture %q (%v)", url, err)
	}
	sendAll(ctx, t, side, doesIn(native, "3", gateway.RoomState{Avatar: &picture}))
	state, err = romeo.State(ctx, native, "m.room.avatar", "")
	must(t, err)
	if url, _ := state["url"].(string); !mxcURL.MatchString(url) {
		t.Errorf("the room's picture is %v", state)
	}
}

// doesIn is does in a room of one's own.
func doesIn(room, key string, body gateway.Body) gateway.Delivery {
	d := delivery(room, key, "mercutio", "")
	d.Event.Body = body
	return d
}
