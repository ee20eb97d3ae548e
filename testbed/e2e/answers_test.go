//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

func TestReplies(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		part(t, "xmpp", func(ctx context.Context, t *testing.T) {
			s, words := k.fromM(ctx, t, text("what light is that")), text("it is the east")
			_, nick, _ := strings.Cut(s.x.From, "/")
			quote := "> " + nick + ":\n> " + s.text + "\n"
			must[string](t)(k.sendX(ctx, quote+words, peers.Reply(s.x.From, s.x.StanzaID, len([]rune(quote)))...))
			if e := k.onMatrix(ctx, t, words); e.Text() != words || e.Value("m.relates_to", "m.in_reply_to", "event_id") != s.m.ID {
				t.Errorf("on Matrix it is %s", e)
			}
			k.answeredOnIRC(ctx, t, s, words, "Montague")
		})
		part(t, "matrix", func(ctx context.Context, t *testing.T) {
			s, words := k.fromX(ctx, t, text("who is there")), text("a friend is here")
			must[string](t)(k.Matrix.Reply(ctx, k.MatrixRoom, s.m.ID, words))
			k.answeredOnXMPP(ctx, t, s, words)
			k.answeredOnIRC(ctx, t, s, words, "uliet")
		})
		part(t, "irc", func(ctx context.Context, t *testing.T) {
			s, words := k.fromX(ctx, t, text("to whom do I speak")), text("to the man in the moon")
			ok(t, k.IRC.SayTagged(k.Channel, words, map[string]string{"+draft/reply": s.i.Tag("msgid")}))
			k.answeredOnXMPP(ctx, t, s, words)
			if e := k.onMatrix(ctx, t, words); e.Value("m.relates_to", "m.in_reply_to", "event_id") != s.m.ID {
				t.Errorf("on Matrix it is %s", e)
			}
		})
	})
}

// answeredOnXMPP awaits a reply, with the fallback for clients that know none, which says what it repeats.
func (k *talk) answeredOnXMPP(ctx context.Context, t *testing.T, to said, words string) peers.XMPPEvent {
	t.Helper()
	e := k.onXMPP(ctx, t, words)
	reply, there := e.Element(peers.NSReply, "reply")
	if !there || reply.Attr("id") != to.x.StanzaID {
		t.Errorf("on XMPP it answers %+v, not %s", reply, to.x.StanzaID)
	}
	if !strings.HasPrefix(e.Text(), "> ") || !strings.HasSuffix(e.Text(), words) {
		t.Errorf("on XMPP it reads %q", e.Text())
	}
	return e
}

// answeredOnIRC awaits a reply: with the tag, and in words.
func (k *talk) answeredOnIRC(ctx context.Context, t *testing.T, to said, words, name string) {
	t.Helper()
	l := k.onIRC(ctx, t, words)
	if l.Tag("+draft/reply") != to.i.Tag("msgid") || !strings.Contains(visible(l.Text()), name+": "+words) {
		t.Errorf("on IRC it is %s with the tags %s", l, l.Tags)
	}
}

func TestThreads(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		part(t, "xmpp", func(ctx context.Context, t *testing.T) {
			name := text("thread")
			root := k.fromX(ctx, t, text("it begins"), peers.Thread(name))
			words := text("it goes on")
			must[string](t)(k.sendX(ctx, words, peers.Thread(name)))
			k.threadedOnMatrix(ctx, t, root.m.ID, words)
			if l := k.onIRC(ctx, t, words); l.Tag("+draft/reply") != root.i.Tag("msgid") {
				t.Errorf("on IRC it is %s with the tags %s", l, l.Tags)
			}
			words = text("a user joins in")
			must[string](t)(k.Matrix.Thread(ctx, k.MatrixRoom, root.m.ID, words))
			if got := k.threadOnXMPP(ctx, t, words); got != name {
				t.Errorf("on XMPP it is in the thread %q, not %q", got, name)
			}
		})
		part(t, "matrix", func(ctx context.Context, t *testing.T) {
			root, words := k.fromM(ctx, t, text("it starts here")), text("and carries on")
			must[string](t)(k.Matrix.Thread(ctx, k.MatrixRoom, root.m.ID, words))
			name := k.threadOnXMPP(ctx, t, words)
			if name == "" {
				t.Fatal("on XMPP it is in no thread")
			}
			l := k.onIRC(ctx, t, words)
			if l.Tag("+draft/reply") != root.i.Tag("msgid") {
				t.Errorf("on IRC it is %s with the tags %s", l, l.Tags)
			}
			words = text("a member joins in")
			must[string](t)(k.sendX(ctx, words, peers.Thread(name)))
			k.threadedOnMatrix(ctx, t, root.m.ID, words)
		})
	})
}

func (k *talk) threadedOnMatrix(ctx context.Context, t *testing.T, root, words string) {
	t.Helper()
	if e := k.onMatrix(ctx, t, words); e.Value("m.relates_to", "rel_type") != "m.thread" || e.Value("m.relates_to", "event_id") != root {
		t.Errorf("on Matrix it is %s", e)
	}
}

func (k *talk) threadOnXMPP(ctx context.Context, t *testing.T, words string) string {
	t.Helper()
	thread, _ := k.onXMPP(ctx, t, words).Element(peers.NSClient, "thread")
	return thread.Text
}

func TestReactions(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		part(t, "xmpp", func(ctx context.Context, t *testing.T) {
			s, irc := k.fromM(ctx, t, text("do you like it")), k.IRC.Mark()
			must[string](t)(k.sendX(ctx, "", peers.React(s.x.StanzaID, "👍")))
			up := must[peers.MatrixEvent](t)(k.Matrix.AwaitReaction(ctx, 0, k.MatrixRoom, s.m.ID, "👍"))
			k.reactedOnIRC(ctx, t, irc, "+draft/react", s, "👍")
			must[string](t)(k.sendX(ctx, "", peers.React(s.x.StanzaID, "❤️", "🎉")))
			must[peers.MatrixEvent](t)(k.Matrix.AwaitReaction(ctx, 0, k.MatrixRoom, s.m.ID, "❤️"))
			party := must[peers.MatrixEvent](t)(k.Matrix.AwaitReaction(ctx, 0, k.MatrixRoom, s.m.ID, "🎉"))
			must[peers.MatrixEvent](t)(k.Matrix.AwaitRedaction(ctx, k.MatrixRoom, up.ID))
			k.reactedOnIRC(ctx, t, irc, "+draft/unreact", s, "👍")
			k.reactedOnIRC(ctx, t, irc, "+draft/react", s, "🎉")
			must[string](t)(k.sendX(ctx, "", peers.React(s.x.StanzaID)))
			must[peers.MatrixEvent](t)(k.Matrix.AwaitRedaction(ctx, k.MatrixRoom, party.ID))
			k.reactedOnIRC(ctx, t, irc, "+draft/unreact", s, "🎉")
		})
		part(t, "matrix", func(ctx context.Context, t *testing.T) {
			s, irc, mark := k.fromX(ctx, t, text("and you")), k.IRC.Mark(), k.Owner.Mark()
			up := must[string](t)(k.Matrix.React(ctx, k.MatrixRoom, s.m.ID, "👍"))
			e := k.reactedX(ctx, t, mark, s, "👍")
			if _, beside := e.Beside(peers.NSReactions, "reactions"); beside == (k.kind == two) {
				t.Errorf("it came as %s", e.XML)
			}
			k.reactedOnIRC(ctx, t, irc, "+draft/react", s, "👍")
			must[string](t)(k.Matrix.React(ctx, k.MatrixRoom, s.m.ID, "❤️"))
			k.reactedX(ctx, t, mark, s, "👍", "❤️")
			ok(t, k.Matrix.Redact(ctx, k.MatrixRoom, up, ""))
			k.reactedX(ctx, t, mark, s, "❤️")
			k.reactedOnIRC(ctx, t, irc, "+draft/unreact", s, "👍")
		})
		part(t, "irc", func(ctx context.Context, t *testing.T) {
			s, mark := k.fromX(ctx, t, text("and the third")), k.Owner.Mark()
			ok(t, k.IRC.TagMessage(k.Channel, map[string]string{"+draft/reply": s.i.Tag("msgid"), "+draft/react": "👍"}))
			k.reactedX(ctx, t, mark, s, "👍")
			up := must[peers.MatrixEvent](t)(k.Matrix.AwaitReaction(ctx, 0, k.MatrixRoom, s.m.ID, "👍"))
			ok(t, k.IRC.TagMessage(k.Channel, map[string]string{"+draft/reply": s.i.Tag("msgid"), "+draft/unreact": "👍"}))
			k.reactedX(ctx, t, mark, s)
			must[peers.MatrixEvent](t)(k.Matrix.AwaitRedaction(ctx, k.MatrixRoom, up.ID))
		})
	}, plain, legacy, two, onPostgres)
}

// reactedOnIRC awaits what the relay says of reactions to a message.
func (k *talk) reactedOnIRC(ctx context.Context, t *testing.T, mark int, tag string, to said, emoji string) {
	t.Helper()
	must[peers.IRCLine](t)(k.IRC.AwaitTag(ctx, mark, k.Channel, tag, func(l peers.IRCLine) bool {
		return l.Tag(tag) == emoji && l.Tag("+draft/reply") == to.i.Tag("msgid")
	}))
}

// Where reactions are told in words on IRC, the new ones are, and not before somebody speaks: what is taken back is not.
func TestReactionsInWords(t *testing.T) {
	inScenes(t, peers.SceneOptions{IRC: `reactions = "text"`}, reactInWords, plain, legacy)
}

func reactInWords(ctx context.Context, t *testing.T, k *talk) {
	k.fromM(ctx, t, "Montague is here") // from the second message on with a puppet
	x, m := k.fromX(ctx, t, "What, shall we on"), k.fromM(ctx, t, "Give me a torch")
	irc, mark := k.IRC.Mark(), k.Owner.Mark()
	must[string](t)(k.sendX(ctx, "", peers.React(m.x.StanzaID, "🔥", "👍")))
	must[peers.MatrixEvent](t)(k.Matrix.AwaitReaction(ctx, 0, k.MatrixRoom, m.m.ID, "🔥"))
	up := must[string](t)(k.Matrix.React(ctx, k.MatrixRoom, x.m.ID, "🎶"))
	k.reactedX(ctx, t, mark, x, "🎶")
	k.fromI(ctx, t, "Nay, gentle Romeo") // on IRC nothing follows yet
	k.fromX(ctx, t, "You have dancing shoes")
	k.toldOnIRC(ctx, t, irc, "* Juliet reacted 🔥 👍 to “Give me a torch”")
	k.toldOnIRC(ctx, t, irc, "* Montague reacted 🎶 to “What, shall we on”")
	must[string](t)(k.sendX(ctx, "", peers.React(m.x.StanzaID, "👍")))
	ok(t, k.Matrix.Redact(ctx, k.MatrixRoom, up, ""))
	k.reactedX(ctx, t, mark, x)
	k.later(ctx, t)
	told := 0
	for _, l := range k.IRC.Events()[irc:] {
		if strings.Contains(l.Text(), " reacted ") {
			told++
		}
		if l.Command == "TAGMSG" && (l.HasTag("+draft/react") || l.HasTag("+draft/unreact")) {
			t.Errorf("on IRC it is told in tags: %s %s", l, l.Tags)
		}
	}
	if told != 2 {
		t.Errorf("%d lines tell of reactions", told)
	}
}

// Each of several people has a set of their own, and one who changes it changes nobody else's.
func TestFivePeopleReact(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		s, mark := k.fromX(ctx, t, text("five shall judge")), k.Owner.Mark()
		var people []*peers.Matrix
		for _, name := range []string{"benvolio", "balthasar", "abram", "lawrence", "john"} {
			m := k.user(ctx, t, name)
			for _, words := range []string{text("good day"), text("good day")} { // from the second message on with a puppet
				must[string](t)(m.Say(ctx, k.MatrixRoom, words))
				k.onXMPP(ctx, t, words)
			}
			people = append(people, m)
		}
		byWhom := map[string]bool{}
		for n, m := range people {
			emoji := []string{"👍", "👍", "❤️", "🎉", "👍"}[n]
			must[string](t)(m.React(ctx, k.MatrixRoom, s.m.ID, emoji))
			e := must[peers.XMPPEvent](t)(k.Owner.AwaitElement(ctx, mark, k.Room, peers.NSReactions, "reactions", func(r peers.Element) bool {
				return r.Attr("id") == s.x.StanzaID && len(r.Children) == 1 && r.Children[0].Text == emoji
			}))
			mark = k.Owner.Mark()
			byWhom[e.Real] = true
		}
		if len(byWhom) != len(people) {
			t.Errorf("the reactions came from %v", byWhom)
		}
		k.twoMembersReact(ctx, t)
	}, plain)
}

// twoMembersReact: on Matrix each by their own ghost.
func (k *talk) twoMembersReact(ctx context.Context, t *testing.T) {
	romeo := k.member(ctx, t, "Romeo")
	m, mark := k.fromM(ctx, t, text("and two more")), k.Matrix.Mark()
	his := must[peers.XMPPEvent](t)(romeo.AwaitText(ctx, k.Room, m.text)).StanzaID
	must[string](t)(k.sendX(ctx, "", peers.React(m.x.StanzaID, "👍")))
	first := must[peers.MatrixEvent](t)(k.Matrix.AwaitReaction(ctx, mark, k.MatrixRoom, m.m.ID, "👍"))
	mark = k.Matrix.Mark()
	must[string](t)(k.sendAs(ctx, romeo, "", peers.React(his, "👍")))
	second := must[peers.MatrixEvent](t)(k.Matrix.AwaitReaction(ctx, mark, k.MatrixRoom, m.m.ID, "👍"))
	if first.Sender == second.Sender {
		t.Errorf("both reactions came from %s", first.Sender)
	}
	must[string](t)(k.sendX(ctx, "", peers.React(m.x.StanzaID)))
	must[peers.MatrixEvent](t)(k.Matrix.AwaitRedaction(ctx, k.MatrixRoom, first.ID))
	must[string](t)(k.sendAs(ctx, romeo, "", peers.React(his, "👍", "🎉"))) // his own is still there
	must[peers.MatrixEvent](t)(k.Matrix.AwaitReaction(ctx, mark, k.MatrixRoom, m.m.ID, "🎉"))
	for _, e := range k.Matrix.Events() {
		if e.Type == "m.room.redaction" && e.Redacts() == second.ID {
			t.Errorf("his reaction was taken away: %s", e)
		}
	}
}
