package gateway

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// fixed is a Block whose table is already decoded.
type fixed bridgeBlock

func (f fixed) Decode(into any) []Problem {
	b := into.(*bridgeBlock)
	def := *b
	*b = bridgeBlock(f)
	if b.Metadata == "" {
		b.Metadata = def.Metadata
	}
	if b.Puppets == "" {
		b.Puppets = def.Puppets
	}
	if b.Moderation == "" {
		b.Moderation = def.Moderation
	}
	return nil
}

var kinds = map[string]NetworkKind{"xmpp": {"xmpp", true}, "matrix": {"matrix", false}, "irc": {"irc", false}}

func TestParseBridgesAccepts(t *testing.T) {
	bridges, problems := ParseBridges([]Block{
		fixed{Name: "a", Rooms: map[string]any{"xmpp": "a@rooms", "irc": map[string]any{"room": "#a", "password": "pw"}}, Encryption: "required", Clear: []string{"irc"}, Topic: true},
		fixed{Name: "b", Rooms: map[string]any{"matrix": "#b:hs", "irc": "#b"}, Encryption: "off", Topic: true, Moderation: ModerationAll},
	}, kinds)
	for i := range problems {
		if len(problems[i]) > 0 {
			t.Errorf("bridge %d: %v", i, problems[i])
		}
	}
	want := []Room{
		{Address: Address{"irc", "#a"}, Bridge: "a", Password: "pw", KeepMetadata: true, Moderation: ModerationOwn, Puppets: PuppetsActive, Others: []Address{{"xmpp", "a@rooms"}}},
		{Address: Address{"irc", "#b"}, Bridge: "b", KeepMetadata: true, Topic: true, Moderation: ModerationAll, Puppets: PuppetsActive, Others: []Address{{"matrix", "#b:hs"}}},
	}
	if rooms := RoomsOf("irc", bridges); !reflect.DeepEqual(rooms, want) {
		t.Errorf("rooms of irc: %v, want %v", rooms, want)
	}
	if xmpp := RoomsOf("xmpp", bridges); len(xmpp) != 1 || !xmpp[0].Seal {
		t.Errorf("rooms of xmpp: %v, want one that is sealed", xmpp)
	}
}

func TestParseBridgesRefuses(t *testing.T) {
	two := map[string]any{"xmpp": "a@rooms", "irc": "#a"}
	for want, b := range map[string]fixed{
		"encryption: is missing":                      {Name: "x", Rooms: two},
		`encryption: "maybe" is not known`:            {Name: "x", Rooms: two, Encryption: "maybe"},
		`clear: "irc" carries this room in the clear`: {Name: "x", Rooms: two, Encryption: "required"},
		`clear: "xmpp" can encrypt`:                   {Name: "x", Rooms: two, Encryption: "required", Clear: []string{"irc", "xmpp"}},
		`clear: "matrix" has no room in this bridge`:  {Name: "x", Rooms: two, Encryption: "required", Clear: []string{"irc", "matrix"}},
		"encryption: no network of this bridge can":   {Name: "x", Rooms: map[string]any{"matrix": "#a:hs", "irc": "#a"}, Encryption: "required", Clear: []string{"irc", "matrix"}},
		`rooms.libera: there is no network "libera"`:  {Name: "x", Rooms: map[string]any{"xmpp": "a@rooms", "libera": "#a"}, Encryption: "off"},
		"rooms: a bridge needs two rooms":             {Name: "x", Rooms: map[string]any{"xmpp": "a@rooms"}, Encryption: "off"},
		"rooms.irc: the room is empty":                {Name: "x", Rooms: map[string]any{"xmpp": "a@rooms", "irc": ""}, Encryption: "off"},
		`rooms.irc: "pass" is not a key of a room`:    {Name: "x", Rooms: map[string]any{"xmpp": "a@rooms", "irc": map[string]any{"pass": "p"}}, Encryption: "off"},
		"rooms.irc: a room is a string or a table":    {Name: "x", Rooms: map[string]any{"xmpp": "a@rooms", "irc": 7}, Encryption: "off"},
		"name: the bridge has no name":                {Rooms: two, Encryption: "off"},
		`metadata: "hide" is no way`:                  {Name: "x", Rooms: two, Encryption: "off", Metadata: "hide"},
		`puppets: "some" is no puppets setting`:       {Name: "x", Rooms: two, Encryption: "off", Puppets: "some"},
		`moderation: "none" is no moderation setting`: {Name: "x", Rooms: two, Encryption: "off", Moderation: "none"},
		"max_puppets: a room cannot have -1":          {Name: "x", Rooms: two, Encryption: "off", MaxPuppets: -1},
	} {
		_, problems := ParseBridges([]Block{b}, kinds)
		if !strings.Contains(fmt.Sprint(problems[0]), want) {
			t.Errorf("want %q among %v", want, problems[0])
		}
	}
}

func TestParseBridgesRefusesARoomTwice(t *testing.T) {
	_, problems := ParseBridges([]Block{
		fixed{Name: "a", Rooms: map[string]any{"matrix": "#a:hs", "irc": "#Lobby"}, Encryption: "off"},
		fixed{Name: "a", Rooms: map[string]any{"matrix": "#b:hs", "irc": "#lobby"}, Encryption: "off"},
	}, kinds)
	all := fmt.Sprint(problems[1])
	for _, want := range []string{`rooms.irc: #lobby is already in bridge "a"`, `name: another bridge is called "a"`} {
		if !strings.Contains(all, want) {
			t.Errorf("want %q among %s", want, all)
		}
	}
}
