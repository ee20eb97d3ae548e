//go:build e2e

package xmppside

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/testbed/peers"
)

// awaitMember waits until a change of membership of somebody was told.
func awaitMember(ctx context.Context, t *testing.T, inbox *sidetest.Inbox, change gateway.Change, name string) gateway.Membership {
	t.Helper()
	ev, err := inbox.Await(ctx, string(change)+" of "+name, func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == change && m.Who.Name == name
	})
	must(t, err)
	return ev.Body.(gateway.Membership)
}

// TestPeopleTopicsAndPictures on a real server: who comes and goes, what the room is about, how people look.
func TestPeopleTopicsAndPictures(t *testing.T) {
	for _, whois := range []string{"anyone", "moderators"} {
		t.Run(whois, func(t *testing.T) {
			ctx, b := within(t), openBed(t)
			juliet, romeo := b.login(ctx, t, "juliet"), b.login(ctx, t, "romeo")
			room := b.room(ctx, t, juliet, false, gateway.PuppetsActive)
			room.Topic = true
			must(t, juliet.Configure(ctx, room.ID, map[string]any{"whois": whois, "changesubject": true}))
			media := b.media(t)
			side, inbox, _ := startWith(ctx, t, b.cfg, sidetest.NewState(), gateway.Deps{Rooms: []gateway.Room{room}, Media: media, Privacy: openPrivacy})
			must(t, deliver(t, side, delivered(room, "0", gateway.Message{Text: gateway.Text{Plain: "here I am"}})))
			if m := awaitMember(ctx, t, inbox, gateway.Join, "Juliet"); !m.Quiet {
				t.Errorf("Juliet was there: %+v", m)
			}
			must(t, romeo.Join(ctx, room.ID, "Romeo"))
			romeos := awaitMember(ctx, t, inbox, gateway.Join, "Romeo")
			if romeos.Quiet || (romeos.Who.ID == romeo.JID) != (whois == "anyone") {
				t.Errorf("Romeo came as %+v", romeos)
			}
			picture := peers.PNG(16)
			must(t, romeo.SetPicture(ctx, room.ID, "Romeo", picture))
			ev, err := inbox.Await(ctx, "Romeo's picture", func(ev *gateway.Event) bool {
				m, ok := ev.Body.(gateway.Membership)
				return ok && m.Who.Name == "Romeo" && m.Who.Avatar != ""
			})
			must(t, err)
			data, _, err := media.Image(ctx, ev.Body.(gateway.Membership).Who.Avatar)
			if err != nil || !bytes.Equal(data, picture) {
				t.Errorf("his picture came as %d bytes: %v", len(data), err)
			}
			_, err = romeo.Send(ctx, room.ID, peers.Words{Beside: []string{peers.Subject("roses")}})
			must(t, err)
			ev, err = inbox.Await(ctx, "the topic", func(ev *gateway.Event) bool { _, ok := ev.Body.(gateway.RoomState); return ok })
			must(t, err)
			if topic := ev.Body.(gateway.RoomState).Topic; topic == nil || *topic != "roses" || ev.Sender.ID != romeos.Who.ID {
				t.Errorf("heard %+v of %+v", ev.Body, ev.Sender)
			}
			lilies := "lilies"
			must(t, deliver(t, side, delivered(room, "1", gateway.RoomState{Topic: &lilies})))
			_, err = juliet.Await(ctx, "the subject", func(e peers.XMPPEvent) bool { return e.Subject != nil && *e.Subject == lilies })
			must(t, err)
			must(t, juliet.Kick(ctx, room.ID, "Romeo", "too loud"))
			if m := awaitMember(ctx, t, inbox, gateway.Kick, "Romeo"); m.By.Name != "Juliet" || m.Reason != "too loud" {
				t.Errorf("told of %+v", m)
			}
			if whois == "moderators" && strings.Contains(fmt.Sprintf("%+v", inbox.Heard()), juliet.JID) {
				t.Error("a real address was told")
			}

			wearsPicture(ctx, t, side, media, room, juliet, picture)
			for _, ev := range inbox.Heard() {
				if m, ok := ev.Body.(gateway.Membership); ok && m.Who.Name == "Alice" {
					t.Errorf("our own puppet was told of: %+v", m)
				}
				if s, ok := ev.Body.(gateway.RoomState); ok && *s.Topic == lilies {
					t.Error("our own topic came back")
				}
			}
		})
	}
}

// delivered is a delivery of somebody on Matrix.
func delivered(room gateway.Room, n string, b gateway.Body) gateway.Delivery {
	d := delivery(strings.Repeat(n, 32), "", false)
	d.Room, d.Event.Body = room.Address, b
	return d
}

// wearsPicture shows that a puppet has its person's picture, and that the room passes it on.
func wearsPicture(ctx context.Context, t *testing.T, side *Side, media gateway.Media, room gateway.Room, juliet *peers.XMPPClient, picture []byte) {
	t.Helper()
	ref, err := media.Keep(ctx, picture)
	must(t, err)
	d := delivered(room, "2", gateway.Message{Text: gateway.Text{Plain: "with a picture"}})
	d.Event.Sender.Avatar = ref
	must(t, deliver(t, side, d))
	_, err = juliet.Await(ctx, "a puppet with a picture", func(e peers.XMPPEvent) bool { return e.Kind == "presence" && e.Nick == "Alice" && e.Photo != "" })
	must(t, err)
	if shown, err := juliet.Picture(ctx, room.ID+"/Alice"); err != nil || !bytes.Equal(shown, picture) {
		t.Errorf("the puppet shows %d bytes: %v", len(shown), err)
	}
}
