package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTheAddressOfAPair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringN(1, 20, -1)
		local := Person{Network: "xmpp", ID: id.Draw(t, "local")}
		remote := Person{Network: rapid.StringMatching("[a-z][a-z0-9-]*").Draw(t, "network"), ID: id.Draw(t, "remote")}
		at := DirectAddress(local, remote)
		l, r, ok := at.Direct()
		if !ok || l != local || r != remote {
			t.Fatalf("%q became %v and %v", at, l, r)
		}
		if at.Mirror() != DirectAddress(remote, local) || at.Mirror().Mirror() != at {
			t.Fatalf("the mirror of %q is %q", at, at.Mirror())
		}
	})
	for _, room := range []string{"", "#lobby", "lobby@rooms.example.org", "direct/", "direct/a/b", "direct/a//c", "direct/a/b/c/d", "direct/%zz/b/c", "direct/%61/b/c"} {
		if _, _, ok := (Address{"xmpp", room}).Direct(); ok {
			t.Errorf("%q is taken for a direct chat", room)
		}
	}
}

// fixedDirect is a Block whose table is already decoded.
type fixedDirect Direct

func (f fixedDirect) Decode(into any) []Problem {
	d := into.(*Direct)
	d.Allow, d.Clear = f.Allow, f.Clear
	if f.Encryption != "" {
		d.Encryption = f.Encryption
	}
	if f.Metadata != "" {
		d.Metadata = f.Metadata
	}
	return nil
}

func chats(t *testing.T, block fixedDirect) Direct {
	t.Helper()
	d, bad := ParseDirect(block, kinds)
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	return d
}

func TestWhoMayHaveADirectChat(t *testing.T) {
	person := func(network, id string) Person { return Person{Network: network, ID: id} }
	juliet, alice, nick := person("xmpp", "juliet@Example.org"), person("matrix", "@alice:example.org"), person("irc", "nick")
	open := fixedDirect{Allow: []string{"example.org", "Romeo@montague.lit"}, Clear: []string{"matrix"}}
	for name, c := range map[string]struct {
		block fixedDirect
		a, b  Person
		want  string // part of the refusal; "" for none
	}{
		"nobody by default":                {fixedDirect{}, juliet, alice, "not open to you"},
		"a domain":                         {open, juliet, alice, ""},
		"the other end begins":             {open, alice, juliet, ""},
		"an address in any case":           {open, person("xmpp", "romeo@montague.lit"), alice, ""},
		"another address there":            {open, person("xmpp", "tybalt@montague.lit"), alice, "not open to you"},
		"a subdomain is another domain":    {open, person("xmpp", "x@sub.example.org"), alice, "not open to you"},
		"a look-alike":                     {open, person("xmpp", "example.org@evil.lit"), alice, "not open to you"},
		"a Matrix user of the same domain": {open, alice, nick, "not open to you"},
		"a network that is not clear":      {open, juliet, nick, "end-to-end encrypted"},
		"nothing is encrypted":             {fixedDirect{Allow: []string{"example.org"}, Encryption: "off"}, juliet, nick, ""},
		"an unknown network":               {open, juliet, person("gopher", "x"), "no network gopher"},
		"one network":                      {open, juliet, person("xmpp", "romeo@montague.lit"), "not open"},
	} {
		if got := chats(t, c.block).Refuses(c.a, c.b); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestWrongDirectTables(t *testing.T) {
	for key, block := range map[string]fixedDirect{
		"allow":      {Allow: []string{"*.example.org"}},
		"encryption": {Encryption: "maybe"},
		"clear":      {Clear: []string{"gopher"}},
		"metadata":   {Metadata: "hide"},
	} {
		if _, bad := ParseDirect(block, kinds); len(bad) != 1 || bad[0].Key != key {
			t.Errorf("%s: %v", key, bad)
		}
	}
	if _, bad := ParseDirect(fixedDirect{Clear: []string{"xmpp"}}, kinds); len(bad) != 1 {
		t.Errorf("an encrypted network in clear: %v", bad)
	}
}

func TestRouteOfDirectChats(t *testing.T) {
	d := chats(t, fixedDirect{Allow: []string{"example.org"}, Clear: []string{"matrix"}})
	juliet, alice := Person{Network: "xmpp", ID: "juliet@example.org"}, Person{Network: "matrix", ID: "@alice:hs"}
	here := DirectAddress(juliet, alice)
	text := Message{Text: Text{Plain: "hi"}}
	sealed := Sealing{Protection: OMEMO}
	for name, c := range map[string]struct {
		ev     Event
		to     Address
		seal   bool
		reason string
	}{
		"sealed":            {Event{At: here, Body: text, Sealed: sealed}, here.Mirror(), false, ""},
		"plain":             {Event{At: here, Body: text}, Address{}, false, plainRefusal},
		"the answer":        {Event{At: here.Mirror(), Body: text}, here, true, ""},
		"a bounce crosses":  {Event{At: here, Body: Receipt{State: Undeliverable}}, here.Mirror(), false, ""},
		"a report does not": {Event{At: here, Body: Receipt{State: Undeliverable}, own: true}, here, true, ""},
	} {
		to, reason := newRouter(nil, d, nil).route(&c.ev)
		var want []Queue
		if c.reason == "" {
			want = []Queue{{Room: c.to, Seal: c.seal}}
		}
		if !slices.Equal(to, want) || reason != c.reason {
			t.Errorf("%s: %v %q, want %v %q", name, to, reason, want, c.reason)
		}
	}
}

func TestNewChatsAreCounted(t *testing.T) {
	now := time.Unix(0, 0)
	s := starts{now: func() time.Time { return now }, by: map[personKey]map[Address]time.Time{}}
	who, chat := personKey{"xmpp", "juliet@example.org"}, func(i int) Address { return Address{"xmpp", fmt.Sprint("direct/", i)} }
	begun := map[Address]bool{}
	for i := range maxStarts - 1 {
		begun[chat(i)] = true
	}
	s.mark(map[personKey]map[Address]bool{who: begun})
	last := map[Address]bool{chat(99): true}
	for name, c := range map[string]struct {
		who    personKey
		chat   Address
		others map[Address]bool
		want   bool
	}{
		"the last one":                {who, chat(50), nil, true},
		"one more than that":          {who, chat(50), last, false},
		"one that is under way":       {who, chat(99), last, true},
		"an earlier one":              {who, chat(1), last, true},
		"others that were there once": {who, chat(50), begun, true},
		"somebody else's":             {personKey{"xmpp", "other"}, chat(50), last, true},
	} {
		if got := s.free(c.who, c.chat, c.others); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	now = now.Add(startWindow + 1)
	if !s.free(who, chat(50), begun) || len(s.by) != 0 {
		t.Error("an hour did not forgive")
	}
}

func TestWhoBeginsChatsIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	s := starts{now: func() time.Time { return now }, by: map[personKey]map[Address]time.Time{}}
	for i := range 3 * maxTold {
		s.mark(map[personKey]map[Address]bool{{"matrix", fmt.Sprint("@u", i, ":evil.lit")}: {{"matrix", "direct/x"}: true}})
		if len(s.by) > maxTold {
			t.Fatalf("%d people are remembered", len(s.by))
		}
	}
}
