package gateway

import (
	"slices"
	"testing"
)

var lobby = Bridge{
	Name: "lobby", Encryption: EncryptionRequired, Clear: []string{"matrix", "irc"},
	Rooms: map[string]BridgeRoom{"xmpp": {ID: "lobby@rooms"}, "matrix": {ID: "#lobby:hs"}, "irc": {ID: "#lobby"}},
}

func TestRoute(t *testing.T) {
	at := func(network string) Address { return Address{network, lobby.Rooms[network].ID} }
	alice := Person{Network: "xmpp", ID: "alice@here"}
	text := Message{Text: Text{Plain: "hi"}}
	for name, c := range map[string]struct {
		ev     Event
		want   []string // network, with a lock where it is to be sealed
		reason string
	}{
		"sealed on XMPP":                {Event{At: at("xmpp"), Sender: alice, Body: text, Sealed: Sealing{Protection: OMEMO}}, []string{"irc", "matrix"}, ""},
		"plain on XMPP":                 {Event{At: at("xmpp"), Sender: alice, Body: text}, nil, refusal},
		"a plain edit on XMPP":          {Event{At: at("xmpp"), Sender: alice, Body: Edit{}}, nil, refusal},
		"the gateway's own words":       {Event{At: at("xmpp"), Body: text, own: true}, []string{"irc", "matrix"}, ""},
		"nobody's words are not own":    {Event{At: at("xmpp"), Body: text}, nil, refusal},
		"from Matrix":                   {Event{At: at("matrix"), Sender: alice, Body: text}, []string{"irc", "xmpp🔒"}, ""},
		"from IRC":                      {Event{At: at("irc"), Sender: alice, Body: text}, []string{"matrix", "xmpp🔒"}, ""},
		"a failure goes back":           {Event{At: at("xmpp"), Body: Receipt{State: Undeliverable}}, []string{"xmpp🔒"}, ""},
		"a reading mark that none show": {Event{At: at("irc"), Body: Receipt{State: Displayed}}, nil, ""},
		"who joined, where none asks":   {Event{At: at("irc"), Body: Membership{Change: Join}}, nil, ""},
		"who left, where one asks":      {Event{At: at("irc"), Body: Membership{Change: Leave}}, []string{"xmpp🔒"}, ""},
		"a room of no bridge":           {Event{At: Address{"irc", "#else"}, Body: text}, nil, ""},
		"a room of the wrong network":   {Event{At: Address{"matrix", "#lobby"}, Body: text}, nil, ""},
	} {
		r := newRouter([]Bridge{lobby}, Direct{}, func(room Address) (Caps, bool) {
			if room.Network == "xmpp" {
				return Caps{Members: Leavers}, true
			}
			return Caps{}, true
		})
		to, reason := r.route(&c.ev)
		var got []string
		for _, q := range to {
			s := q.Room.Network
			if q.Seal {
				s += "🔒"
			}
			got = append(got, s)
		}
		if !slices.Equal(got, c.want) || reason != c.reason {
			t.Errorf("%s: %v %q, want %v %q", name, got, reason, c.want, c.reason)
		}
	}
}

// A network that another process runs says nothing about its caps here; the journal gets everything then.
func TestRouteToANetworkOfAnotherProcess(t *testing.T) {
	r := newRouter([]Bridge{lobby}, Direct{}, func(Address) (Caps, bool) { return Caps{}, false })
	to, _ := r.route(&Event{At: Address{"irc", "#lobby"}, Body: Reaction{}})
	if len(to) != 2 {
		t.Errorf("%v, want both other rooms", to)
	}
}
