//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

func TestASealedRoomAMatrixRoomAndAChannelTalkToEachOther(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		const first, second, third, fourth = "But soft, what light", "Who is that yonder", "A plague on both", "Through yonder window breaks"
		fromXMPP(ctx, t, s, s.Owner, first)
		fromMatrix(ctx, t, s, second)
		fromIRC(ctx, t, s, third)
		fromXMPP(ctx, t, s, s.Owner, fourth)
		once(t, s, first)
		nothingCrossedInTheClear(t, s, first, second, third, fourth)
		nothingLiesOnDiskInTheClear(t, s, first, second, third, fourth)
	})
}

// nothingLiesOnDiskInTheClear looks for what was said in all of Lockbridge's files.
func nothingLiesOnDiskInTheClear(t *testing.T, s *peers.Scene, texts ...string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Dir(s.Lockbridge.Config), func(file string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err // sockets are where a running gateway is woken
		}
		content, err := os.ReadFile(file)
		for _, text := range texts {
			if strings.Contains(string(content), text) {
				t.Errorf("%s holds the text %q", filepath.Base(file), text)
			}
		}
		return err
	})
	ok(t, err)
}

func TestPeopleAreWhoTheyAreOnTheOtherSide(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		ok(t, s.Owner.SaySealed(ctx, s.Room, "My name is Juliet"))
		if e := arrivesOnMatrix(ctx, t, s, "My name is Juliet"); !strings.HasPrefix(e.Sender, "@"+s.Lockbridge.Slot.UserPrefix) {
			t.Errorf("on Matrix it was %s who said it, not a ghost", e.Sender)
		}
		if l := arrivesOnIRC(ctx, t, s, "My name is Juliet"); l.Nick() != s.Lockbridge.Slot.Nick || !strings.Contains(l.Text(), "uliet") {
			t.Errorf("on IRC it reads %s", l)
		}
		fromMatrix(ctx, t, s, "My name is Montague")
		fromMatrix(ctx, t, s, "I have said it before") // from the second message on, everybody who is active has a puppet
		e := must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.Room, "I have said it before"))
		if e.Real != s.MatrixName(s.Matrix) {
			t.Errorf("in the XMPP room it was %s (%s) who said it, not %s", e.From, e.Real, s.MatrixName(s.Matrix))
		}
		fromIRC(ctx, t, s, "My name is Mercutio")
		fromIRC(ctx, t, s, "Ask for me tomorrow")
		e = must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.Room, "Ask for me tomorrow"))
		if e.Real != s.IRCName(s.IRC) {
			t.Errorf("in the XMPP room it was %s (%s) who said it, not %s", e.From, e.Real, s.IRCName(s.IRC))
		}
	})
}

func TestAMemberWithProfanityTalksAndListens(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		nurse := must[*peers.Profanity](t)(s.ProfanityMember(ctx, "nurse", s.Bed.Host))
		ok(t, s.Owner.Affiliate(ctx, s.Room, nurse.JID, "member"))
		ok(t, s.Start(ctx))
		ok(t, nurse.JoinSealed(ctx, s.Room))
		ok(t, nurse.AwaitSession(ctx, s.Lockbridge.Slot.JID()))
		ok(t, nurse.Say(ctx, "Even or odd, of all days in the year"))
		arrivesOnMatrix(ctx, t, s, "Even or odd")
		arrivesOnIRC(ctx, t, s, "Even or odd")
		fromMatrix(ctx, t, s, "Is it more than thirteen years?")
		ok(t, nurse.AwaitSealed(ctx, s.Room, "Is it more than thirteen years?"))
		fromIRC(ctx, t, s, "A fortnight and odd days")
		ok(t, nurse.AwaitSealed(ctx, s.Room, "A fortnight and odd days"))
		ok(t, nurse.Say(ctx, "Come Lammas Eve at night"))
		arrivesOnMatrix(ctx, t, s, "Come Lammas Eve")
		arrivesOnIRC(ctx, t, s, "Come Lammas Eve")
		nothingCrossedInTheClear(t, s)
	})
}

func TestAMemberWhoseServerHidesHerKeysIsHeardAndThenHears(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		nurse := must[*peers.Profanity](t)(s.ProfanityMember(ctx, "nurse", "stock."+s.Bed.Host))
		ok(t, s.Owner.Affiliate(ctx, s.Room, nurse.JID, "member"))
		ok(t, s.Start(ctx))
		ok(t, nurse.JoinSealed(ctx, s.Room))
		ok(t, nurse.AwaitSession(ctx, s.Lockbridge.Slot.JID()))
		ok(t, nurse.Say(ctx, "Peace, I have done"))
		arrivesOnMatrix(ctx, t, s, "Peace, I have done")
		arrivesOnIRC(ctx, t, s, "Peace, I have done")
		fromMatrix(ctx, t, s, "Peace, fool")
		ok(t, nurse.AwaitStanza(ctx, "a request to see her keys", `RECV: <presence .*type="subscribe"`))
		ok(t, nurse.Type(ctx, "/sub allow "+s.Lockbridge.Slot.JID()))
		device := must[string](t)(nurse.Device(ctx))
		e := sayUntil(ctx, t, s, "her device is sealed for", func(e peers.XMPPEvent) bool { return strings.Contains(e.XML, `rid="`+device+`"`) })
		ok(t, nurse.AwaitSealed(ctx, s.Room, e.Text()))
		nothingCrossedInTheClear(t, s)
	})
}

func TestAPlainRoomIsCarriedInPlain(t *testing.T) {
	onEachStore(t, peers.SceneOptions{}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		romeo := must[*peers.XMPPClient](t)(s.XMPPMember(ctx, "romeo", peers.XMPPOptions{}))
		ok(t, romeo.Join(ctx, s.Room, "Romeo"))
		fromXMPP(ctx, t, s, romeo, "Is the day so young?")
		arrivesOnXMPP(ctx, t, s, "Is the day so young?")
		fromMatrix(ctx, t, s, "But new struck nine", s.Owner, romeo)
		fromIRC(ctx, t, s, "Ay me, sad hours seem long", s.Owner, romeo)
		fromXMPP(ctx, t, s, s.Owner, "Was that my father?")
		once(t, s, "Is the day so young?")
	})
}

func TestTwoMembersWithTwoDevicesEachAndTwoPuppets(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		juliet := s.Owner
		romeo := must[*peers.XMPPClient](t)(s.XMPPMember(ctx, "romeo", peers.XMPPOptions{OMEMO: peers.Legacy}))
		ok(t, juliet.Affiliate(ctx, s.Room, romeo.JID, "member"))
		ok(t, romeo.Join(ctx, s.Room, "Romeo"))
		julietsPhone := must[*peers.XMPPClient](t)(s.SecondDevice(ctx, juliet, "phone"))
		ok(t, julietsPhone.Join(ctx, s.Room, "Juliet"))
		romeosPhone := must[*peers.XMPPClient](t)(s.SecondDevice(ctx, romeo, "phone"))
		ok(t, romeosPhone.Join(ctx, s.Room, "Romeo"))
		ok(t, s.Start(ctx))
		all := []*peers.XMPPClient{juliet, julietsPhone, romeo, romeosPhone}
		for round, n := range []string{"one", "two"} {
			fromMatrix(ctx, t, s, "Montague speaks, round "+n, all...)
			fromIRC(ctx, t, s, "Mercutio speaks, round "+n, all...)
			for i, name := range []string{"Juliet", "Juliet's phone", "Romeo", "Romeo's phone"} {
				fromXMPP(ctx, t, s, all[i], name+" speaks, round "+n)
			}
			for _, person := range []string{s.MatrixName(s.Matrix), s.IRCName(s.IRC)} {
				if round > 0 {
					must[peers.XMPPEvent](t)(romeo.AwaitOccupant(ctx, s.Room, person))
				}
			}
		}
		once(t, s, "Juliet speaks, round one")
		nothingCrossedInTheClear(t, s)
	})
}

func TestTheGatewaySpeaksForEverybodyWherePuppetsAreOff(t *testing.T) {
	onEachStore(t, peers.SceneOptions{Sealed: true, Puppets: "none"}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		fromMatrix(ctx, t, s, "A word with one of you")
		fromMatrix(ctx, t, s, "And but one word")
		e := must[peers.XMPPEvent](t)(s.Owner.AwaitSealed(ctx, s.Room, "And but one word"))
		if e.Real != s.Lockbridge.Slot.JID() || !strings.Contains(e.Text(), "Montague") {
			t.Errorf("it came from %s as %q", e.Real, e.Text())
		}
		fromIRC(ctx, t, s, "Couple it with something")
		nothingCrossedInTheClear(t, s)
	})
}

// Whoever was there before the gateway came appears on the other sides at once.
func TestEverybodyAppearsWherePuppetsAreForAll(t *testing.T) {
	inScenes(t, peers.SceneOptions{Puppets: "all"}, func(ctx context.Context, t *testing.T, k *talk) {
		for _, puppet := range []string{k.MatrixName(k.Matrix), k.IRCName(k.IRC)} {
			must[peers.XMPPEvent](t)(k.Owner.AwaitOccupant(ctx, k.Room, puppet))
		}
		for network, name := range map[string]string{"xmpp": "Juliet", "irc": k.IRC.Nick} {
			must[peers.MatrixEvent](t)(k.Matrix.Await(ctx, "the ghost of "+name, func(e peers.MatrixEvent) bool {
				return e.Room == k.MatrixRoom && e.Type == "m.room.member" && strings.HasPrefix(e.Sender, "@"+k.ghosts(network)) &&
					e.Value("membership") == "join" && strings.HasPrefix(e.Value("displayname"), name)
			}))
		}
		if m := k.fromM(ctx, t, "I was here all the time"); m.x.Real != k.MatrixName(k.Matrix) {
			t.Errorf("it came from %s", m.x.Real)
		}
	}, plain, legacy)
}

func TestTheGatewayLogsInToItsIRCAccountOverTLS(t *testing.T) {
	onEachStore(t, peers.SceneOptions{Sealed: true, SASL: true}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		nick := s.Lockbridge.Slot.Nick
		ok(t, s.IRC.Send("WHOIS "+nick))
		must[peers.IRCLine](t)(s.IRC.Await(ctx, "the gateway's account in WHOIS", func(l peers.IRCLine) bool {
			return l.Command == "330" && l.Params[1] == nick && l.Params[2] == nick
		}))
		fromIRC(ctx, t, s, "He is wise")
		fromXMPP(ctx, t, s, s.Owner, "And on my life hath stolen him home to bed")
	})
}
