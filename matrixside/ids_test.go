package matrixside

import (
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"
	"pgregory.net/rapid"

	"lockbridge/gateway"
)

var ourNames = naming{domain: "example.org", prefix: "lb_", bot: "@lockbridge:example.org"}

func TestGhost(t *testing.T) {
	for person, want := range map[gateway.Person]id.UserID{
		{Network: "xmpp", ID: "juliet@example.org"}: "@lb_xmpp_juliet=40example.org:example.org",
		{Network: "libera", ID: "Nick_[away]"}:      "@lb_libera__nick__=5baway=5d:example.org",
		{Network: "my_net", ID: "a"}:                "@lb_my=5fnet_a:example.org",
		{Network: "my", ID: "net_a"}:                "@lb_my_net__a:example.org",
		{Network: "irc", ID: "ä"}:                   "@lb_irc_=c3=a4:example.org",
	} {
		if got := ourNames.ghost(person); got != want {
			t.Errorf("%v: %s, want %s", person, got, want)
		}
	}
	for _, mxid := range []id.UserID{"@lockbridge:example.org", "@romeo:example.org", "@lb_irc_x:example.com", "@lb_irc:example.org", "@lb_irc_:example.org",
		"@lb_irc_X:example.org", "@lb_irc_a=0d=0aquit:example.org", "@lb_irc_=ff:example.org", "@lb_i=0arc_a:example.org", "@lb_irc_=zz:example.org", "@lb_irc_a=2e:example.org", "lb_irc_x", ""} {
		if p, ok := ourNames.person(mxid); ok {
			t.Errorf("%s stands for %v", mxid, p)
		}
	}
}

func TestEveryPersonHasAGhostOfTheirOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := gateway.Person{Network: rapid.String().Draw(t, "network"), ID: rapid.StringN(1, 40, -1).Draw(t, "id")}
		b := gateway.Person{Network: rapid.String().Draw(t, "other network"), ID: rapid.StringN(1, 400, -1).Draw(t, "other id")}
		ghostA, ghostB := ourNames.ghost(a), ourNames.ghost(b)
		if (ghostA == ghostB) != (a == b) {
			t.Fatalf("%v is %s, %v is %s", a, ghostA, b, ghostB)
		}
		for _, g := range []id.UserID{ghostA, ghostB} {
			if len(g) > id.UserIDMaxLength || id.ValidateUserLocalpart(g.Localpart()) != nil || !ourNames.isGhost(g) {
				t.Fatalf("%s cannot be a ghost", g)
			}
		}
		if back, ok := ourNames.person(ghostA); ok && back != a {
			t.Fatalf("%s stands for %v, not %v", ghostA, back, a)
		} else if isPlain(a.Network+a.ID) != ok && len(ghostA) < id.UserIDMaxLength {
			t.Fatalf("%s stands for somebody: %v", ghostA, ok)
		}
	})
}

func TestSaneID(t *testing.T) {
	for s, want := range map[string]bool{
		"$abc": true, "$": false, "": false, "abc": false, "$a\x00": false, "$a b": false, "$a\xff": false, "$a\u2028": false,
		"$" + strings.Repeat("x", 254): true, "$" + strings.Repeat("x", 255): false,
	} {
		if saneID(s, '$') != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
