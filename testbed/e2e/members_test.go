//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

// People who come, go, are sent away and change their names, in a plain and in a sealed room; told in lines on IRC where it is asked for.
func TestPeopleComeAndGo(t *testing.T) {
	for kind, isSealed := range map[string]bool{plain: false, legacy: true} {
		t.Run(kind, func(t *testing.T) {
			o := peers.SceneOptions{Sealed: isSealed, IRC: `joins = "on"`}
			onOneStore(t, o, func(ctx context.Context, t *testing.T, s *peers.Scene) {
				comeAndGo(ctx, t, &talk{Scene: s, kind: kind})
			})
		})
	}
}

func comeAndGo(ctx context.Context, t *testing.T, k *talk) {
	ok(t, k.IRC.EnableTags(ctx))
	ok(t, k.Start(ctx))
	romeo := k.member(ctx, t, "Romeo")
	k.toldOnIRC(ctx, t, 0, " joined")
	words := text("Romeo speaks")
	must[string](t)(k.sendAs(ctx, romeo, words))
	ghost := k.onMatrix(ctx, t, words).Sender
	k.onXMPP(ctx, t, words)
	mark := k.Matrix.Mark()
	ok(t, romeo.Leave(ctx, k.Room))
	must[peers.MatrixEvent](t)(k.Matrix.AwaitMember(ctx, mark, k.MatrixRoom, ghost, "leave"))
	k.toldOnIRC(ctx, t, 0, " left")

	benvolio := k.user(ctx, t, "benvolio")
	k.toldOnIRC(ctx, t, 0, "envolio joined")
	for range 2 {
		words = text("Benvolio speaks")
		must[string](t)(benvolio.Say(ctx, k.MatrixRoom, words))
		k.onXMPP(ctx, t, words)
	}
	puppet := must[peers.XMPPEvent](t)(k.Owner.AwaitOccupant(ctx, k.Room, k.MatrixName(benvolio)))
	ok(t, benvolio.SetDisplayName(ctx, "Cousin "+puppet.Nick[len(puppet.Nick)-1:]+"en"))
	must[peers.XMPPEvent](t)(k.Owner.Await(ctx, "his new nick", func(e peers.XMPPEvent) bool {
		return e.Kind == "presence" && e.Type == "" && e.Real == k.MatrixName(benvolio) && strings.HasPrefix(e.Nick, "Cousin ")
	}))
	k.toldOnIRC(ctx, t, 0, "is now known as")
	mark = k.Owner.Mark()
	ok(t, k.Matrix.Kick(ctx, k.MatrixRoom, benvolio.UserID, "the prince says so"))
	k.leavesXMPP(ctx, t, mark, k.MatrixName(benvolio))
	k.toldOnIRC(ctx, t, 0, "was kicked by")

	for nick, going := range map[string]func(*peers.IRC) error{
		"abram": func(c *peers.IRC) error { return c.Send("PART " + k.Channel + " :to the wars") },
		"peter": func(c *peers.IRC) error { return k.IRC.Send("KICK " + k.Channel + " " + c.Nick + " :enough") },
	} {
		c := must[*peers.IRC](t)(k.IRCUser(ctx, nick, false))
		for range 2 {
			words = text(nick + " speaks")
			ok(t, c.Say(k.Channel, words))
			k.onXMPP(ctx, t, words)
		}
		ghost, mark, old := k.onMatrix(ctx, t, words).Sender, k.Owner.Mark(), k.Matrix.Mark()
		ok(t, going(c))
		k.leavesXMPP(ctx, t, mark, k.IRCName(c))
		must[peers.MatrixEvent](t)(k.Matrix.AwaitMember(ctx, old, k.MatrixRoom, ghost, "leave"))
	}
	renamedOnIRC(ctx, t, k)
}

// renamedOnIRC: by another nick somebody is another person, and nobody stays behind by the old one.
func renamedOnIRC(ctx context.Context, t *testing.T, k *talk) {
	c := must[*peers.IRC](t)(k.IRCUser(ctx, "gregory", false))
	words := text("Gregory speaks")
	ok(t, c.Say(k.Channel, words))
	was := k.onMatrix(ctx, t, words).Sender
	k.onXMPP(ctx, t, words)
	must[peers.XMPPEvent](t)(k.Owner.AwaitOccupant(ctx, k.Room, k.IRCName(c)))
	mark, old, nick := k.Owner.Mark(), k.Matrix.Mark(), peers.Unique("sampson")
	ok(t, c.Send("NICK "+nick))
	k.leavesXMPP(ctx, t, mark, k.IRCName(c))
	must[peers.XMPPEvent](t)(k.Owner.AwaitOccupant(ctx, k.Room, strings.Replace(k.IRCName(c), c.Nick, nick, 1)))
	must[peers.MatrixEvent](t)(k.Matrix.AwaitMember(ctx, old, k.MatrixRoom, was, "leave"))
	is := must[peers.MatrixEvent](t)(k.Matrix.AwaitMember(ctx, old, k.MatrixRoom, strings.Replace(was, c.Nick, nick, 1), "join")).StateKey
	words = text("Sampson speaks")
	ok(t, c.Say(k.Channel, words))
	if by := k.onMatrix(ctx, t, words).Sender; by != *is {
		t.Errorf("after %s became %s, %s speaks", c.Nick, nick, by)
	}
	if by := k.onXMPP(ctx, t, words).From; !strings.HasPrefix(by, k.Room+"/"+nick) {
		t.Errorf("after %s became %s, %s speaks", c.Nick, nick, by)
	}
}

// leavesXMPP waits until a puppet has left.
func (k *talk) leavesXMPP(ctx context.Context, t *testing.T, mark int, jid string) {
	t.Helper()
	must[peers.XMPPEvent](t)(k.Owner.AwaitAfter(ctx, mark, jid+" gone", func(e peers.XMPPEvent) bool {
		return e.Kind == "presence" && e.Type == "unavailable" && e.Real == jid
	}))
}
