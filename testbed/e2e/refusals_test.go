//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

func TestPlainTextInASealedRoomIsNotCarriedAndItsSenderIsToldOnce(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, s.Owner, "This is sealed")
		private := func(e peers.XMPPEvent) bool {
			return e.Kind == "message" && e.Type != "groupchat" && e.Type != "error" && e.Text() != "" &&
				(e.From == s.Room+"/"+s.Lockbridge.Slot.Nick || strings.HasPrefix(e.From, s.Lockbridge.Slot.JID()))
		}
		ok(t, s.Owner.Say(ctx, s.Room, "This is not"))
		must[peers.XMPPEvent](t)(s.Owner.Await(ctx, "a private word about it", private))
		ok(t, s.Owner.Say(ctx, s.Room, "Nor is this"))
		fromXMPP(ctx, t, s, s.Owner, "This is sealed again")
		fromMatrix(ctx, t, s, "What are you saying?")
		told := 0
		for _, e := range s.Owner.Events() {
			if private(e) {
				told++
			}
			if e.Kind == "message" && e.Type == "error" {
				t.Errorf("an error came: %s", e)
			}
		}
		if told != 1 {
			t.Errorf("she was told %d times", told)
		}
		for _, secret := range []string{"This is not", "Nor is this"} {
			neverCarried(t, s, secret)
		}
		nothingCrossedInTheClear(t, s, "This is not", "Nor is this")
	})
}

// neverCarried checks that a text reached neither Matrix nor IRC; something said later must have arrived by then.
func neverCarried(t *testing.T, s *peers.Scene, text string) {
	t.Helper()
	for _, e := range s.Matrix.Events() {
		if e.Sender != s.Matrix.UserID && strings.Contains(e.Text(), text) {
			t.Errorf("%q reached Matrix: %s", text, e)
		}
	}
	for _, l := range s.IRC.Events() {
		if l.Command == "PRIVMSG" && strings.Contains(l.Text(), text) {
			t.Errorf("%q reached IRC: %s", text, l)
		}
	}
}

func TestAnEncryptedMatrixRoomIsLeftAloneAndToldWhy(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Matrix.SetState(ctx, s.MatrixRoom, "m.room.encryption", "", map[string]any{"algorithm": "m.megolm.v1.aes-sha2"}))
		ok(t, s.Start(ctx))
		must[peers.MatrixEvent](t)(s.Matrix.Await(ctx, "a word about encryption", func(e peers.MatrixEvent) bool {
			return e.Room == s.MatrixRoom && e.Type == "m.room.message" && e.Sender != s.Matrix.UserID && strings.Contains(strings.ToLower(e.Text()), "encrypt")
		}))
		for _, text := range []string{"Only for the channel", "And this, too"} {
			ok(t, s.Owner.SaySealed(ctx, s.Room, text))
			arrivesOnIRC(ctx, t, s, text)
		}
		ok(t, s.IRC.Say(s.Channel, "From the channel"))
		arrivesOnXMPP(ctx, t, s, "From the channel")
		words := 0
		for _, e := range s.Matrix.Events() {
			if e.Type == "m.room.message" && e.Room == s.MatrixRoom && e.Sender != s.Matrix.UserID {
				words++
			}
			for _, text := range []string{"Only for the channel", "And this, too", "From the channel"} {
				if strings.Contains(e.Text(), text) {
					t.Errorf("%q reached the encrypted room", text)
				}
			}
		}
		if words != 1 {
			t.Errorf("the gateway spoke %d times in the encrypted room", words)
		}
	})
}

func TestBrokenSealsDoNotStopTheConversation(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		romeo := must[*peers.XMPPClient](t)(s.XMPPMember(ctx, "romeo", peers.XMPPOptions{OMEMO: peers.Legacy}))
		ok(t, s.Owner.Affiliate(ctx, s.Room, romeo.JID, "member"))
		ok(t, romeo.Join(ctx, s.Room, "Romeo"))
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, s.Owner, "All is well")
		const head = `<message xmlns='jabber:client' type='groupchat' to='%s' id='broken%d'><body>fallback, never to be carried</body>` +
			`<encrypted xmlns='eu.siacs.conversations.axolotl'>%s</encrypted></message>`
		for i, inside := range []string{
			``,
			`<header/>`,
			`<header sid='x'><key rid='1'>AAAA</key><iv>AAAA</iv></header><payload>AAAA</payload>`,
			`<header sid='4294967296'><key rid='1'>%%%</key><iv></iv></header><payload></payload>`,
			fmt.Sprintf(`<header sid='%d'><key rid='1' prekey='true'>MwgB</key><iv>AAAAAAAAAAAAAAAA</iv></header><payload>AAAA</payload>`, s.Owner.Device),
			`<header sid='1'>` + strings.Repeat(`<key rid='1'>AAAA</key>`, 500) + `<iv>AAAAAAAAAAAAAAAA</iv></header><payload>AAAA</payload>`,
		} {
			ok(t, s.Owner.Raw(ctx, fmt.Sprintf(head, s.Room, i, inside)))
		}
		// A message that was sealed for everybody but Lockbridge.
		ok(t, s.Owner.Call(ctx, "send_omemo", map[string]any{"to": s.Room, "body": "For Romeo alone", "recipients": []string{romeo.JID}}, nil))
		must[peers.XMPPEvent](t)(romeo.AwaitSealed(ctx, s.Room, "For Romeo alone"))
		fromXMPP(ctx, t, s, s.Owner, "All is well again")
		fromXMPP(ctx, t, s, romeo, "So it is")
		fromMatrix(ctx, t, s, "Good to hear", s.Owner, romeo)
		neverCarried(t, s, "never to be carried")
		neverCarried(t, s, "For Romeo alone")
		nothingCrossedInTheClear(t, s)
	})
}

func TestCiphertextsThatAreSentOnceMoreAreNotCarriedAgain(t *testing.T) {
	onEachStore(t, direct, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		var people []*peers.XMPPClient
		for i, nick := range []string{"Romeo", "Tybalt", "Benvolio", "Paris"} {
			o := peers.XMPPOptions{OMEMO: [][]string{peers.Legacy, peers.Two}[i/2]}
			people = append(people, must[*peers.XMPPClient](t)(s.RoomMember(ctx, nick, o)))
		}
		ok(t, s.Start(ctx))
		puppet := s.MatrixName(s.Matrix)
		for i, versions := range [][]string{peers.Legacy, peers.Two} {
			romeo, tybalt := people[2*i], people[2*i+1]
			inRoom, alone := romeo.JID+" to all of you", romeo.JID+" to you alone"
			ids := must[[]string](t)(romeo.Seal(ctx, s.Room, inRoom))
			ok(t, romeo.Release(ctx, ids...))
			arrivesOnMatrix(ctx, t, s, inRoom)
			fromMatrix(ctx, t, s, "Montague is here, "+tybalt.JID, tybalt)
			private := must[[]string](t)(romeo.Seal(ctx, puppet, alone))
			ok(t, romeo.Release(ctx, private...))
			chat := must[string](t)(s.Matrix.AwaitInvite(ctx, s.Lockbridge.Slot.UserPrefix+"xmpp_"+strings.Split(romeo.JID, "-")[0]))
			ok(t, s.Matrix.Join(ctx, chat))
			must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, chat, alone))

			// By himself, and by somebody who saw it in the room.
			seen := must[peers.XMPPEvent](t)(tybalt.AwaitSealed(ctx, s.Room, inRoom))
			for _, again := range []struct {
				by       *peers.XMPPClient
				id       string
				to, kind string
			}{
				{romeo, ids[0], s.Room, "groupchat"}, {romeo, ids[0], puppet, "chat"}, {romeo, ids[0], s.Lockbridge.Slot.JID(), "chat"},
				{romeo, private[0], s.Room, "groupchat"}, {romeo, private[0], puppet, "chat"},
				{tybalt, seen.ID, s.Room, "groupchat"}, {tybalt, seen.ID, puppet, "chat"},
			} {
				ok(t, again.by.Replay(ctx, again.id, again.to, again.kind))
			}
			for _, c := range []*peers.XMPPClient{romeo, tybalt} {
				text := c.JID + " goes on"
				ok(t, c.SaySealedIn(ctx, s.Room, text, versions...))
				arrivesOnMatrix(ctx, t, s, text)
				arrivesOnIRC(ctx, t, s, text)
				ok(t, c.SaySealedIn(ctx, puppet, text+" in private", versions...))
			}
			must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, chat, romeo.JID+" goes on in private"))
			once(t, s, inRoom)
			copies := 0
			for _, e := range s.Matrix.Events() {
				if strings.Contains(e.Text(), alone) {
					copies++
				}
			}
			if copies != 1 {
				t.Errorf("what was said in private came %d times", copies)
			}
		}
		nothingCrossedInTheClear(t, s)
	})
}

func TestStrangeTextArrivesSane(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		strange := func(mark string) string {
			return mark + " <b>&amp;</b> \u202eright to left\u202c 🗡️ e\u0301 \ufffe\u0001\u001b[31m end" + mark
		}
		ok(t, s.Owner.SaySealed(ctx, s.Room, "first line X1\r\nQUIT :injected\r\n\u0000PRIVMSG nobody :injected\nlast line X1"))
		arrivesOnIRC(ctx, t, s, "first line X1")
		arrivesOnIRC(ctx, t, s, "last line X1")
		arrivesOnMatrix(ctx, t, s, "last line X1")
		ok(t, s.Owner.SaySealed(ctx, s.Room, strange("X2")))
		arrivesOnIRC(ctx, t, s, "endX2")
		arrivesOnMatrix(ctx, t, s, "endX2")
		must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, strange("M1")))
		arrivesOnXMPP(ctx, t, s, "endM1")
		arrivesOnIRC(ctx, t, s, "<b>&amp;</b>")
		ok(t, s.IRC.Say(s.Channel, "I1 \x02bold\x02 \x0304,08red\x03 \x1ditalic\x0f \xff\xfe broken \x01 endI1"))
		arrivesOnXMPP(ctx, t, s, "endI1")
		if e := arrivesOnMatrix(ctx, t, s, "endI1"); !strings.Contains(e.Text(), "bold") || strings.ContainsAny(e.Text(), "\x02\x03\x0f\x1d") {
			t.Errorf("on Matrix it reads %q", e.Text())
		}
		fromXMPP(ctx, t, s, s.Owner, "and all goes on")
		fromMatrix(ctx, t, s, "and on")
	})
}

func TestALongTextArrivesAsFarAsEachNetworkBears(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		long := "begin " + strings.Repeat("Ærgerlig 界 ", 2000) + "finish"
		ok(t, s.Owner.SaySealed(ctx, s.Room, long))
		arrivesOnMatrix(ctx, t, s, long)
		arrivesOnIRC(ctx, t, s, "begin")
		must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, strings.ToUpper(long)))
		arrivesOnXMPP(ctx, t, s, strings.ToUpper(long))
		arrivesOnIRC(ctx, t, s, "BEGIN")
		fromIRC(ctx, t, s, "Brevity is the soul of wit")
		for _, l := range s.IRC.Events() {
			if strings.ContainsRune(l.Text(), '\ufffd') {
				t.Errorf("a rune was cut in two: %s", l)
			}
		}
	})
}

func TestWhatSomebodyDoesArrivesAsDoing(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		ok(t, s.Owner.SaySealed(ctx, s.Room, "/me drinks the potion"))
		if e := arrivesOnMatrix(ctx, t, s, "drinks the potion"); e.Content["msgtype"] != "m.emote" {
			t.Errorf("on Matrix it is %s", e)
		}
		arrivesOnIRC(ctx, t, s, "drinks the potion")
		ok(t, s.IRC.Say(s.Channel, "\x01ACTION draws his sword\x01"))
		arrivesOnXMPP(ctx, t, s, "/me draws his sword")
		if e := arrivesOnMatrix(ctx, t, s, "draws his sword"); e.Content["msgtype"] != "m.emote" {
			t.Errorf("on Matrix it is %s", e)
		}
	})
}
