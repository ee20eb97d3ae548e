//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

// Joins and parts make no noise on IRC unless it is asked for.
func TestIRCIsQuietAboutJoins(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		romeo, benvolio := k.member(ctx, t, "Romeo"), k.user(ctx, t, "benvolio")
		ok(t, romeo.Leave(ctx, k.Room))
		ok(t, benvolio.Leave(ctx, k.MatrixRoom))
		k.later(ctx, t)
		for _, l := range k.IRC.Events() {
			if l.Command == "PRIVMSG" && (strings.HasSuffix(l.Text(), " joined") || strings.HasSuffix(l.Text(), " left")) {
				t.Errorf("IRC is told: %s", l)
			}
		}
	}, plain)
}

func TestTopics(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		topic, name := text("the feud"), text("Verona")
		ok(t, k.Matrix.SetState(ctx, k.MatrixRoom, "m.room.topic", "", map[string]any{"topic": topic}))
		if k.sealed() { // it is content, and cannot be sealed
			must[string](t)(k.Owner.Send(ctx, k.Room, peers.Words{Beside: []string{peers.Subject(text("the subject"))}}))
			ok(t, k.Owner.Configure(ctx, k.Room, map[string]any{"roomname": name}))
			ok(t, k.IRC.SetTopic(ctx, k.Channel, text("the topic")))
			k.later(ctx, t)
			for _, e := range k.Owner.Events() {
				if e.Subject != nil && strings.HasPrefix(*e.Subject, "the feud") || e.Subject != nil && strings.HasPrefix(*e.Subject, "the topic") {
					t.Errorf("on XMPP it crossed: %s", e.XML)
				}
			}
			if content, err := k.Matrix.State(ctx, k.MatrixRoom, "m.room.topic", ""); err != nil || content["topic"] != topic {
				t.Errorf("on Matrix it is %v: %v", content, err)
			}
			if content, err := k.Matrix.State(ctx, k.MatrixRoom, "m.room.name", ""); err == nil && content["name"] == name {
				t.Errorf("on Matrix the room is called as on XMPP: %v", content)
			}
			return
		}
		k.subject(ctx, t, topic)
		must[peers.IRCLine](t)(k.IRC.AwaitTopic(ctx, 0, k.Channel, topic))
		topic = text("the orchard")
		must[string](t)(k.Owner.Send(ctx, k.Room, peers.Words{Beside: []string{peers.Subject(topic)}}))
		k.topicOnMatrix(ctx, t, topic)
		must[peers.IRCLine](t)(k.IRC.AwaitTopic(ctx, 0, k.Channel, topic))
		topic = text("the street")
		ok(t, k.IRC.SetTopic(ctx, k.Channel, topic))
		k.topicOnMatrix(ctx, t, topic)
		k.subject(ctx, t, topic)
		ok(t, k.Owner.Configure(ctx, k.Room, map[string]any{"roomname": name}))
		must[peers.MatrixEvent](t)(k.Matrix.AwaitState(ctx, 0, k.MatrixRoom, "m.room.name", func(e peers.MatrixEvent) bool { return e.Value("name") == name }))
	})
}

func (k *talk) subject(ctx context.Context, t *testing.T, topic string) {
	t.Helper()
	must[peers.XMPPEvent](t)(k.Owner.Await(ctx, "the subject "+topic, func(e peers.XMPPEvent) bool { return e.Kind == "message" && e.Subject != nil && *e.Subject == topic }))
}

func (k *talk) topicOnMatrix(ctx context.Context, t *testing.T, topic string) {
	t.Helper()
	must[peers.MatrixEvent](t)(k.Matrix.AwaitState(ctx, 0, k.MatrixRoom, "m.room.topic", func(e peers.MatrixEvent) bool { return e.Value("topic") == topic }))
}
