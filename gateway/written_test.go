package gateway

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func networks(kinds ...string) Direct {
	d := Direct{kinds: map[string]NetworkKind{}}
	for _, k := range kinds {
		name, kind, _ := strings.Cut(k, "=")
		d.kinds[name] = NetworkKind{Kind: kind}
	}
	return d
}

func TestWhomAnAddressMeans(t *testing.T) {
	one := networks("x=xmpp", "m=matrix", "libera=irc", "oftc=irc")
	two := networks("x=xmpp", "y=xmpp", "libera=irc")
	for _, c := range []struct {
		among   Direct
		written string
		network string
		id      string
		reason  string // part of it
	}{
		{one, "juliet@example.org", "x", "juliet@example.org", ""},
		{one, "Juliet@Example.ORG", "x", "juliet@example.org", ""},
		{one, "100%sure@example.org", "x", "100%sure@example.org", ""},
		{one, "juliet%x@example.org", "x", "juliet%x@example.org", ""},
		{one, "juliet@example.org%x", "x", "juliet@example.org", ""},
		{one, "@Alice:example.org", "m", "@Alice:example.org", ""},
		{one, "@alice:[::1]:8448", "m", "@alice:[::1]:8448", ""},
		{one, "bob[x]%oftc", "oftc", "bob[x]", ""},
		{one, "bob%libera", "", "", "within reach"}, // the writer's own network
		{one, "bob", "", "", "within reach"},
		{one, "", "", "", "within reach"},
		{one, "%x", "", "", "within reach"},
		{one, "@alice", "", "", "within reach"},
		{one, "@:example.org", "", "", "within reach"},
		{one, "juliet@", "", "", "within reach"},
		{one, "@example.org", "", "", "within reach"},
		{one, "a@b@c", "", "", "within reach"},
		{one, "juliet@example.org/home", "", "", "within reach"},
		{one, "jul\u202eiet@example.org", "", "", "within reach"},
		{one, "jul\xffiet@example.org", "", "", "within reach"},
		{one, "jul iet@example.org", "", "", "within reach"},
		{one, "@alice:example.org%x", "", "", "within reach"},
		{two, "@alice:example.org", "", "", "within reach"},
		{two, "juliet@example.org", "", "", "juliet@example.org%x or juliet@example.org%y"},
		{two, "juliet@example.org%y", "y", "juliet@example.org", ""},
	} {
		who, reason := c.among.Named(c.written, "libera")
		if who != (Person{Network: c.network, ID: c.id}) || (reason == "") != (c.reason == "") || !strings.Contains(reason, c.reason) {
			t.Errorf("%q means %+v (%q)", c.written, who, reason)
		}
	}
}

// TestAnAddressThatIsShownCanBeWritten: whoever copies what stands before a message reaches its author.
func TestAnAddressThatIsShownCanBeWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := networks(append(rapid.SliceOfN(rapid.SampledFrom([]string{"y=xmpp", "n=matrix", "o=irc"}), 0, 3).Draw(t, "more"), "x=xmpp", "m=matrix", "i=irc")...)
		part := rapid.StringMatching(`[a-z0-9%._=-]{1,8}`)
		a, b := part.Draw(t, "a"), part.Draw(t, "b")
		p := rapid.SampledFrom([]Person{{Network: "x", ID: a + "@" + b}, {Network: "m", ID: "@" + a + ":" + b}, {Network: "i", ID: a}}).Draw(t, "person")
		if who, reason := d.Named(d.Written(p, "home"), "home"); who != p {
			t.Fatalf("%+v is written %q, which means %+v (%s)", p, d.Written(p, "home"), who, reason)
		}
	})
	if got := networks("x=xmpp").Written(Person{Network: "x", ID: "a\nb@c"}, "i"); got != "a b@c" {
		t.Errorf("shown as %q", got)
	}
}

func FuzzNamed(f *testing.F) {
	for _, written := range []string{"juliet@example.org", "Juliet@Example.org%x", "@alice:[::1]:8448", "bob%i", "a%x@b%m%y", "İ@ẞ%"} {
		f.Add(written)
	}
	d := networks("x=xmpp", "y=xmpp", "m=matrix", "i=irc")
	f.Fuzz(func(t *testing.T, written string) {
		who, reason := d.Named(written, "home")
		if (reason == "") != (who != Person{}) {
			t.Fatalf("%+v, %q", who, reason)
		}
		if again, _ := d.Named(d.Written(who, "home"), "home"); again != who {
			t.Fatalf("%+v is written %q, which means %+v", who, d.Written(who, "home"), again)
		}
	})
}
