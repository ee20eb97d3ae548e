package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Encryption says what a bridge asks of its encrypted legs. There is no default: an admin must choose.
type Encryption string

const (
	// EncryptionRequired lets content cross only end-to-end encrypted, on every leg that can encrypt.
	EncryptionRequired Encryption = "required"
	// EncryptionOff makes all legs plain.
	EncryptionOff Encryption = "off"
)

// Metadata says what becomes of that which OMEMO 0.3 cannot seal: reactions, retractions, typing, markers, reference ids.
type Metadata string

// The values of a bridge's metadata setting.
const (
	MetadataClear Metadata = "clear"
	MetadataDrop  Metadata = "drop"
)

// Moderation says what a moderator of one room of a bridge may take back in the others.
type Moderation string

// The values of a bridge's moderation setting.
const (
	// ModerationOff: nothing; retractions by moderators do not cross.
	ModerationOff Moderation = "off"
	// ModerationOwn: what came over the bridge, so what the gateway's own voices said.
	ModerationOwn Moderation = "own"
	// ModerationAll: what was said natively in the other room as well, where the gateway has the power for that.
	ModerationAll Moderation = "all"
)

// DefaultMaxPuppets is how many puppets a room gets where the config names no number.
const DefaultMaxPuppets = 20

// Bridge is one conversation, spread over a room of each of its networks.
type Bridge struct {
	Name       string
	Rooms      map[string]BridgeRoom // by network
	Encryption Encryption
	Clear      []string // networks that carry the room in the clear although Encryption is required
	Metadata   Metadata
	Puppets    Puppets
	MaxPuppets int
	Moderation Moderation
	// Topic: topic, name and picture of the rooms are carried. False for an encrypted bridge, whatever the config says:
	// they are content, and no network here seals them.
	Topic bool
}

// BridgeRoom is a bridge's room on one network.
type BridgeRoom struct {
	ID       string
	Password string
}

// NetworkKind is what the checks of bridges need to know about a network.
type NetworkKind struct {
	Kind     string // "xmpp"
	Encrypts bool   // its side can seal rooms end to end
}

// bridgeBlock is a [[bridge]] table as written.
type bridgeBlock struct {
	Name       string         `toml:"name"`
	Rooms      map[string]any `toml:"rooms"`
	Encryption Encryption     `toml:"encryption"`
	Clear      []string       `toml:"clear"`
	Metadata   Metadata       `toml:"metadata"`
	Puppets    Puppets        `toml:"puppets"`
	MaxPuppets int            `toml:"max_puppets"`
	Moderation Moderation     `toml:"moderation"`
	Topic      bool           `toml:"topic"`
}

// ParseBridges decodes and checks all [[bridge]] tables. The problems of block i stand at index i, so that the
// caller can name their lines.
func ParseBridges(blocks []Block, kinds map[string]NetworkKind) ([]Bridge, [][]Problem) {
	bridges := make([]Bridge, len(blocks))
	problems := make([][]Problem, len(blocks))
	names, rooms := map[string]bool{}, map[Address]string{}
	for i, block := range blocks {
		raw := bridgeBlock{Metadata: MetadataClear, Puppets: PuppetsActive, MaxPuppets: DefaultMaxPuppets, Moderation: ModerationOwn, Topic: true}
		problems[i] = block.Decode(&raw)
		b, bad := parseBridge(raw, kinds)
		bridges[i] = b
		problems[i] = append(problems[i], bad...)
		if b.Name != "" && names[b.Name] {
			problems[i] = append(problems[i], Problem{"name", fmt.Sprintf("another bridge is called %q, too", b.Name), "give each bridge a name of its own"})
		}
		names[b.Name] = true
		for _, network := range slices.Sorted(maps.Keys(b.Rooms)) {
			at := Address{network, strings.ToLower(b.Rooms[network].ID)}
			if other, taken := rooms[at]; taken {
				problems[i] = append(problems[i], Problem{"rooms." + network, fmt.Sprintf("%s is already in bridge %q", b.Rooms[network].ID, other), "a room belongs to one bridge: join the two"})
			}
			rooms[at] = b.Name
		}
	}
	return bridges, problems
}

func parseBridge(raw bridgeBlock, kinds map[string]NetworkKind) (Bridge, []Problem) {
	b := Bridge{
		Name: raw.Name, Rooms: map[string]BridgeRoom{}, Encryption: raw.Encryption, Clear: raw.Clear,
		Metadata: raw.Metadata, Puppets: raw.Puppets, MaxPuppets: raw.MaxPuppets,
		Moderation: raw.Moderation, Topic: raw.Topic && raw.Encryption == EncryptionOff,
	}
	var bad []Problem
	add := func(key, remedy, format string, args ...any) {
		bad = append(bad, Problem{key, fmt.Sprintf(format, args...), remedy})
	}
	if b.Name == "" {
		add("name", `for example name = "lobby"`, "the bridge has no name")
	}
	for _, network := range slices.Sorted(maps.Keys(raw.Rooms)) {
		if _, ok := kinds[network]; !ok {
			add("rooms."+network, knownNetworks(kinds), "there is no network %q", network)
			continue
		}
		room, problem := parseRoom(raw.Rooms[network])
		if problem != "" {
			add("rooms."+network, `write "#room" or { room = "#room", password = "env:NAME" }`, "%s", problem)
			continue
		}
		b.Rooms[network] = room
	}
	if len(raw.Rooms) < 2 {
		add("rooms", "name a room of at least two networks", "a bridge needs two rooms to join")
	}
	if !slices.Contains([]Metadata{MetadataClear, MetadataDrop}, b.Metadata) {
		add("metadata", `"clear" or "drop"`, "%q is no way to treat metadata", b.Metadata)
	}
	if !slices.Contains([]Puppets{PuppetsNone, PuppetsActive, PuppetsAll}, b.Puppets) {
		add("puppets", `"all", "active" or "none"`, "%q is no puppets setting", b.Puppets)
	}
	if !slices.Contains([]Moderation{ModerationOff, ModerationOwn, ModerationAll}, b.Moderation) {
		add("moderation", `"own", "all" or "off"`, "%q is no moderation setting", b.Moderation)
	}
	if b.MaxPuppets < 0 {
		add("max_puppets", "0 or more", "a room cannot have %d puppets", b.MaxPuppets)
	}
	return b, append(bad, checkEncryption(b, kinds)...)
}

// parseRoom takes "#lobby" or { room = "#lobby", password = "..." }.
func parseRoom(v any) (BridgeRoom, string) {
	switch v := v.(type) {
	case string:
		if v == "" {
			return BridgeRoom{}, "the room is empty"
		}
		return BridgeRoom{ID: v}, ""
	case map[string]any:
		var r BridgeRoom
		for key, val := range v {
			s, ok := val.(string)
			switch {
			case !ok:
				return r, key + " must be a string"
			case key == "room":
				r.ID = s
			case key == "password":
				r.Password = s
			default:
				return r, fmt.Sprintf("%q is not a key of a room", key)
			}
		}
		if r.ID == "" {
			return r, "the room is not named"
		}
		return r, ""
	}
	return BridgeRoom{}, "a room is a string or a table"
}

// checkEncryption holds the encryption rule: with "required", each leg is either encrypted or named in clear, so that
// an admin has said in so many words where plain text goes.
func checkEncryption(b Bridge, kinds map[string]NetworkKind) []Problem {
	var bad []Problem
	for _, network := range b.Clear {
		if _, joined := b.Rooms[network]; !joined {
			bad = append(bad, Problem{"clear", fmt.Sprintf("%q has no room in this bridge", network), "take it out"})
		} else if b.Encryption == EncryptionRequired && kinds[network].Encrypts {
			bad = append(bad, Problem{"clear", fmt.Sprintf("%q can encrypt, so it must not carry the room in the clear", network), `take it out, or set encryption = "off" for the whole bridge`})
		}
	}
	switch b.Encryption {
	case EncryptionOff:
	case EncryptionRequired:
		sealed := false
		for _, network := range slices.Sorted(maps.Keys(b.Rooms)) {
			sealed = sealed || kinds[network].Encrypts
			if !kinds[network].Encrypts && !slices.Contains(b.Clear, network) {
				bad = append(bad, Problem{"clear", fmt.Sprintf("%q carries this room in the clear, but is not named in clear", network), fmt.Sprintf("if you mean it, add %q to clear", network)})
			}
		}
		if !sealed && len(b.Rooms) > 0 {
			bad = append(bad, Problem{"encryption", "no network of this bridge can encrypt", `set encryption = "off"`})
		}
	case "":
		bad = append(bad, Problem{"encryption", "is missing, and has no default", `"required" (only end-to-end encrypted content crosses) or "off"`})
	default:
		bad = append(bad, Problem{"encryption", fmt.Sprintf("%q is not known", b.Encryption), `"required" or "off"`})
	}
	return bad
}

func knownNetworks(kinds map[string]NetworkKind) string {
	if len(kinds) == 0 {
		return "add its [network.NAME] block"
	}
	return "known: " + strings.Join(slices.Sorted(maps.Keys(kinds)), ", ")
}

// seals reports whether content on network's leg must be end-to-end encrypted.
func (b Bridge) seals(network string) bool {
	return b.Encryption == EncryptionRequired && !slices.Contains(b.Clear, network)
}

// RoomsOf lists network's rooms over all bridges, as its side needs them.
func RoomsOf(network string, bridges []Bridge) []Room {
	var out []Room
	for _, b := range bridges {
		room, ok := b.Rooms[network]
		if !ok {
			continue
		}
		r := Room{
			Address: Address{network, room.ID}, Bridge: b.Name, Password: room.Password, Seal: b.seals(network),
			KeepMetadata: b.Metadata != MetadataDrop, Topic: b.Topic, Moderation: b.Moderation, Puppets: b.Puppets, MaxPuppets: b.MaxPuppets,
		}
		for _, other := range slices.Sorted(maps.Keys(b.Rooms)) {
			if other != network {
				r.Others = append(r.Others, Address{other, b.Rooms[other].ID})
				if r.Seal && !b.seals(other) {
					r.Clear = append(r.Clear, Address{other, b.Rooms[other].ID})
				}
			}
		}
		out = append(out, r)
	}
	return out
}
