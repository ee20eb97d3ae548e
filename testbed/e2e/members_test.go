//go:build e2e

package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

// People who come, go, are sent away and change their names, in a plain and in a sealed room; told in lines on IRC where it is asked for.
func TestPeopleComeAndGo(t *testing.T) {
	inScenes(t, peers.SceneOptions{IRC: `joins = "on"`}, func(_ context.Context, t *testing.T, k *talk) {
		part(t, "xmpp", k.membersComeAndGo)
		part(t, "matrix", k.usersComeAndGo)
		part(t, "irc", func(ctx context.Context, t *testing.T) {
			k.nicksComeAndGo(ctx, t)
			renamedOnIRC(ctx, t, k)
		})
	}, plain, legacy)
}

// membersComeAndGo: each goes in another way, and comes back. A reason is content: it crosses from a plain room alone.
func (k *talk) membersComeAndGo(ctx context.Context, t *testing.T) {
	romeo := must[*peers.XMPPClient](t)(k.XMPPMember(ctx, "romeo", k.clientOptions()))
	ok(t, k.Owner.Affiliate(ctx, k.Room, romeo.JID, "member"))
	for _, way := range []struct {
		ghost, told string // why the ghost leaves, and what IRC is told
		going       func(nick string) error
	}{
		{"", "left", func(string) error { return romeo.Leave(ctx, k.Room) }},
		{"kicked by Juliet", "was kicked by Juliet", func(nick string) error { return k.Owner.Kick(ctx, k.Room, nick, "enough") }},
		{"banned", "was banned", func(string) error { return k.Owner.Affiliate(ctx, k.Room, romeo.JID, "outcast") }},
	} {
		nick, irc := peers.Unique("Romeo"), k.IRC.Mark()
		ok(t, romeo.Join(ctx, k.Room, nick))
		k.toldOnIRC(ctx, t, irc, nick[1:]+" joined")
		words := text("Romeo speaks")
		must[string](t)(k.sendAs(ctx, romeo, words))
		ghost := k.onMatrix(ctx, t, words).Sender
		k.onXMPP(ctx, t, words)
		if k.kind == legacy { // on ejabberd, which gives no occupant-ids, a new nick in a room that hides addresses is a new person
			renamed := peers.Unique("Montecchi")
			ok(t, romeo.Join(ctx, k.Room, renamed))
			k.toldOnIRC(ctx, t, irc, nick[1:]+" is now known as "+renamed)
			nick = renamed
		}
		mark := k.Matrix.Mark()
		ok(t, way.going(nick))
		e := must[peers.MatrixEvent](t)(k.Matrix.AwaitMember(ctx, mark, k.MatrixRoom, ghost, "leave"))
		reason := e.Value("reason")
		l := k.toldOnIRC(ctx, t, irc, nick[1:]+" "+way.told)
		if told := strings.Contains(reason, "enough") && strings.Contains(l.Text(), "(enough)"); !strings.HasPrefix(reason, way.ghost) || strings.Contains(way.told, "kicked") && told != (k.kind == plain) {
			t.Errorf("the ghost leaves with the reason %q, and IRC is told %q", reason, l.Text())
		}
	}
}

// usersComeAndGo: each goes in another way.
func (k *talk) usersComeAndGo(ctx context.Context, t *testing.T) {
	for name, way := range map[string]struct {
		told  string
		going func(*peers.Matrix) error
	}{
		"benvolio":  {"left", func(m *peers.Matrix) error { return m.Leave(ctx, k.MatrixRoom) }},
		"balthasar": {"was kicked by Montague", func(m *peers.Matrix) error { return k.Matrix.Kick(ctx, k.MatrixRoom, m.UserID, "the prince says so") }},
		"abram":     {"was banned by Montague", func(m *peers.Matrix) error { return k.Matrix.Ban(ctx, k.MatrixRoom, m.UserID, "the prince says so") }},
	} {
		user := k.user(ctx, t, name)
		k.toldOnIRC(ctx, t, 0, name[1:]+" joined")
		for range 2 { // from the second message on with a puppet
			words := text(name + " speaks")
			must[string](t)(user.Say(ctx, k.MatrixRoom, words))
			k.onXMPP(ctx, t, words)
		}
		puppet := must[peers.XMPPEvent](t)(k.Owner.AwaitOccupant(ctx, k.Room, k.MatrixName(user)))
		cousin := "Cousin " + puppet.Nick[len(puppet.Nick)-1:] + "en of " + name
		ok(t, user.SetDisplayName(ctx, cousin))
		must[peers.XMPPEvent](t)(k.Owner.Await(ctx, "his new nick", func(e peers.XMPPEvent) bool {
			return e.Kind == "presence" && e.Type == "" && e.Real == k.MatrixName(user) && strings.HasPrefix(e.Nick, cousin)
		}))
		k.toldOnIRC(ctx, t, 0, name[1:]+" is now known as "+cousin)
		mark := k.Owner.Mark()
		ok(t, way.going(user))
		k.leavesXMPP(ctx, t, mark, k.MatrixName(user))
		k.toldOnIRC(ctx, t, 0, cousin[1:]+" "+way.told)
	}
}

// nicksComeAndGo: each goes in another way.
func (k *talk) nicksComeAndGo(ctx context.Context, t *testing.T) {
	kick := func(c *peers.IRC) error { return k.IRC.Send("KICK " + k.Channel + " " + c.Nick + " :enough") }
	for nick, going := range map[string]func(*peers.IRC) error{
		"abram":  func(c *peers.IRC) error { return c.Send("PART " + k.Channel + " :to the wars") },
		"peter":  kick,
		"potpan": func(c *peers.IRC) error { return c.Send("QUIT :to bed") },
		"gregory": func(c *peers.IRC) error {
			return errors.Join(k.IRC.Send("MODE "+k.Channel+" +b "+c.Nick+"!*@*"), kick(c))
		},
	} {
		c := must[*peers.IRC](t)(k.IRCUser(ctx, nick, false))
		var words string
		for range 2 { // from the second message on with a puppet
			words = text(nick + " speaks")
			ok(t, c.Say(k.Channel, words))
			k.onXMPP(ctx, t, words)
		}
		must[peers.XMPPEvent](t)(k.Owner.AwaitOccupant(ctx, k.Room, k.IRCName(c)))
		ghost, mark, old := k.onMatrix(ctx, t, words).Sender, k.Owner.Mark(), k.Matrix.Mark()
		ok(t, going(c))
		k.leavesXMPP(ctx, t, mark, k.IRCName(c))
		must[peers.MatrixEvent](t)(k.Matrix.AwaitMember(ctx, old, k.MatrixRoom, ghost, "leave"))
	}
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
