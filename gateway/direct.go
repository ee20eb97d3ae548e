package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A direct chat is a pair of people on two networks. Each of the two networks knows it by an address of its own, which
// names the pair and no room: the chat exists before there is a room for it, and which native room or query stands for
// it is its side's own matter.

const directMark = "direct/"

// DirectAddress is the chat between local and remote as local's network knows it.
func DirectAddress(local, remote Person) Address {
	id := directMark + url.PathEscape(local.ID) + "/" + url.PathEscape(remote.Network) + "/" + url.PathEscape(remote.ID)
	return Address{Network: local.Network, ID: id}
}

// Direct returns the two people of a direct chat, without their names; false for a room.
func (a Address) Direct() (local, remote Person, ok bool) {
	rest, found := strings.CutPrefix(a.ID, directMark)
	parts := strings.Split(rest, "/")
	if !found || len(parts) != 3 {
		return local, remote, false
	}
	for i, part := range parts {
		plain, err := url.PathUnescape(part)
		if err != nil || plain == "" {
			return local, remote, false
		}
		parts[i] = plain
	}
	local, remote = Person{Network: a.Network, ID: parts[0]}, Person{Network: parts[1], ID: parts[2]}
	return local, remote, DirectAddress(local, remote) == a // one address per pair
}

// label is what to call a room, or whom a direct chat is with, in text.
func (a Address) label() string {
	if local, _, ok := a.Direct(); ok {
		return local.ID
	}
	return a.ID
}

// Mirror is a direct chat as the other person's network knows it. A room has none.
func (a Address) Mirror() Address {
	local, remote, ok := a.Direct()
	if !ok {
		return Address{}
	}
	return DirectAddress(remote, local)
}

// ErrNobody means that a person does not exist.
var ErrNobody = errors.New("there is nobody of that name")

// Finder is a side that can tell whether somebody exists on its network.
type Finder interface {
	// Find returns the person with the name they go by, or ErrNobody. Any other error means that it cannot be said now.
	Find(ctx context.Context, who Person) (Person, error)
}

// FindIn asks the side of the person's network. A side that cannot tell takes everybody's word.
func FindIn(ctx context.Context, sides map[string]Side, who Person) (Person, error) {
	side, here := sides[who.Network]
	if !here {
		return Person{}, ErrNobody
	}
	if f, ok := side.(Finder); ok {
		return f.Find(ctx, who)
	}
	return who, nil
}

// Direct is the [direct] table: who may have direct chats over the gateway, and how they are protected. The zero value
// allows nobody.
type Direct struct {
	// Allow holds domains and bare addresses: one of a chat's two people must be on a Home network and match.
	Allow      []string   `toml:"allow"`
	Encryption Encryption `toml:"encryption"`
	// Clear names the networks that carry chats in the clear although Encryption is required.
	Clear []string `toml:"clear"`
	// Metadata is for direct chats what Bridge.Metadata is for rooms.
	Metadata Metadata `toml:"metadata"`

	kinds map[string]NetworkKind
}

// homeKind is the kind of network whose people Allow is about.
const homeKind = "xmpp"

// ParseDirect decodes and checks the [direct] table.
func ParseDirect(block Block, kinds map[string]NetworkKind) (Direct, []Problem) {
	d := Direct{Encryption: EncryptionRequired, Metadata: MetadataClear}.WithKinds(kinds)
	bad := block.Decode(&d)
	for i, entry := range d.Allow {
		d.Allow[i] = strings.ToLower(entry)
		if entry == "" || strings.ContainsAny(entry, "/ \t*") || strings.Count(entry, "@") > 1 || strings.HasPrefix(entry, "@") || strings.HasSuffix(entry, "@") {
			bad = append(bad, Problem{"allow", fmt.Sprintf("%q is neither a domain nor an address", entry), `for example "example.org" or "juliet@example.org"`})
		}
	}
	switch d.Encryption {
	case EncryptionRequired, EncryptionOff:
	default:
		bad = append(bad, Problem{"encryption", fmt.Sprintf("%q is not known", d.Encryption), `"required" or "off"`})
	}
	if d.Metadata != MetadataClear && d.Metadata != MetadataDrop {
		bad = append(bad, Problem{"metadata", fmt.Sprintf("%q is no way to treat metadata", d.Metadata), `"clear" or "drop"`})
	}
	for _, network := range d.Clear {
		switch kind, ok := kinds[network]; {
		case !ok:
			bad = append(bad, Problem{"clear", fmt.Sprintf("there is no network %q", network), knownNetworks(kinds)})
		case kind.Encrypts && d.Encryption == EncryptionRequired:
			bad = append(bad, Problem{"clear", fmt.Sprintf("%q can encrypt, so it must not carry chats in the clear", network), `take it out, or set encryption = "off"`})
		}
	}
	return d, bad
}

// WithKinds tells which networks there are.
func (d Direct) WithKinds(kinds map[string]NetworkKind) Direct {
	d.kinds = kinds
	return d
}

// Enabled reports whether anybody may have direct chats at all.
func (d Direct) Enabled() bool { return len(d.Allow) > 0 }

// KeepsMetadata reports whether what cannot be sealed crosses in the clear all the same.
func (d Direct) KeepsMetadata() bool { return d.Metadata != MetadataDrop }

// Seals reports whether content on network's leg of a chat must be end-to-end encrypted.
func (d Direct) Seals(network string) bool {
	return d.Encryption == EncryptionRequired && d.kinds[network].Encrypts
}

// Refuses says why two people may not have a direct chat; "" if they may.
func (d Direct) Refuses(a, b Person) string {
	if !d.Allows(a) && !d.Allows(b) || a.Network == b.Network {
		return "direct chats are not open to you here; ask whoever runs this gateway"
	}
	for _, p := range []Person{a, b} {
		if _, known := d.kinds[p.Network]; !known {
			return fmt.Sprintf("there is no network %s here", CleanName(p.Network))
		}
		if d.Encryption == EncryptionRequired && !d.Seals(p.Network) && !slices.Contains(d.Clear, p.Network) {
			return fmt.Sprintf("direct chats must be end-to-end encrypted here, which those with %s cannot be", p.Network)
		}
	}
	return ""
}

// Allows reports whether Allow names the person.
func (d Direct) Allows(p Person) bool {
	if d.kinds[p.Network].Kind != homeKind {
		return false
	}
	id := strings.ToLower(p.ID)
	return slices.Contains(d.Allow, id) || slices.Contains(d.Allow, id[strings.LastIndex(id, "@")+1:])
}

// route is what router.route does with events of direct chats.
func (d Direct) route(ev *Event, local, remote Person) (to []Queue, reason string) {
	back, there := Queue{Room: ev.At, Seal: d.Seals(local.Network)}, Queue{Room: ev.At.Mirror(), Seal: d.Seals(remote.Network)}
	if rcpt, ok := ev.Body.(Receipt); ok && rcpt.State == Undeliverable && ev.own {
		return []Queue{back}, ""
	}
	if reason := d.Refuses(local, remote); reason != "" {
		if !carriesContent(ev.Body) || ev.own {
			return nil, ""
		}
		return nil, reason
	}
	if back.Seal && carriesContent(ev.Body) && ev.Sealed.Protection == Plain && !ev.own {
		return nil, plainRefusal
	}
	return []Queue{there}, ""
}

// bounce is the id of what came back to its sender from a direct chat; "" if the event tells of nothing that did.
func (ev *Event) bounce() string {
	rcpt, ok := ev.Body.(Receipt)
	if _, _, direct := ev.At.Direct(); !ok || !direct || ev.own || rcpt.State != Undeliverable {
		return ""
	}
	return rcpt.Target.Native
}

// ours calls f for each delivery of ours that the event of a direct chat refers to by its key, with the native id that it
// has there.
func (ev *Event) ours(f func(native, key string)) {
	if key := ev.bounce(); key != "" {
		f(key, key)
	}
	if ev.At.Mirror().ID == "" {
		return
	}
	refs(ev.Body, func(r Ref) Ref {
		if r.Key != "" && r.ID.IsZero() {
			f(r.Native, r.Key)
		}
		return r
	})
}

// plainRefusal is told to those who write in the clear where direct chats must be encrypted.
const plainRefusal = "direct chats are bridged only end-to-end encrypted, and the message was not"

const (
	maxStarts   = 20 // new direct chats of one person in startWindow
	startWindow = time.Hour
	tooMany     = "you have begun many new chats lately; try again later"
)

// starts remembers the new chats that people begin, in memory: a restart forgives. It is bounded: full of people it
// forgets them all, since anybody may have as many names as they like on a server of their own.
type starts struct {
	now func() time.Time

	mu sync.Mutex
	by map[personKey]map[Address]time.Time
}

type personKey struct{ network, id string }

// free reports whether who may begin chat, with others of theirs under way.
func (s *starts) free(who personKey, chat Address, others map[Address]bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	recent := s.recent(who)
	n := len(recent)
	for other := range others {
		if _, known := recent[other]; !known {
			n++
		}
	}
	_, known := recent[chat]
	return known || others[chat] || n < maxStarts
}

func (s *starts) recent(who personKey) map[Address]time.Time {
	since := s.now().Add(-startWindow)
	maps.DeleteFunc(s.by[who], func(_ Address, at time.Time) bool { return at.Before(since) })
	if len(s.by[who]) == 0 {
		delete(s.by, who)
	}
	return s.by[who]
}

// mark notes chats that were begun.
func (s *starts) mark(begun map[personKey]map[Address]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for who, chats := range begun {
		recent := s.recent(who)
		if recent == nil {
			s.makeRoom()
			recent = map[Address]time.Time{}
			s.by[who] = recent
		}
		for chat := range chats {
			if _, known := recent[chat]; !known {
				recent[chat] = s.now()
			}
		}
	}
}

func (s *starts) makeRoom() {
	if len(s.by) < maxTold {
		return
	}
	for _, who := range slices.Collect(maps.Keys(s.by)) {
		s.recent(who)
	}
	if len(s.by) >= maxTold {
		clear(s.by)
	}
}
