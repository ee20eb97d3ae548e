package xmppside

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"mellium.im/xmpp/jid"

	"lockbridge/gateway"
)

// puppetMark stands between a puppet's escaped id and its network. An escaped id may contain it, too: the last one counts.
const puppetMark = "%"

// resource is the resource of all our occupants. They need no other: each address is in a room once.
const resource = "lockbridge"

// bare drops the resource.
func bare(j string) string {
	b, _, _ := strings.Cut(j, "/")
	return b
}

// resourceOf is what follows the first slash.
func resourceOf(j string) string {
	_, r, _ := strings.Cut(j, "/")
	return r
}

// domainOf is the domain part.
func domainOf(j string) string {
	b := bare(j)
	if _, d, ok := strings.Cut(b, "@"); ok {
		return d
	}
	return b
}

// normalBare normalises an address that somebody else wrote (RFC 7622) and drops its resource; "" if it is none.
func normalBare(s string) string {
	j, err := jid.Parse(s)
	if err != nil {
		return ""
	}
	return j.Bare().String()
}

// puppetJID makes a person's address in our domain: the id escaped by XEP-0106, "%", the network. Ids that make no
// legal localpart are replaced by a hash of themselves. attempt counts up when another person has the address.
func puppetJID(p gateway.Person, domain string, attempt int) (string, error) {
	id := strings.TrimPrefix(p.ID, "@")
	for range attempt {
		id += "~"
	}
	j, err := jid.New(escapeLocal(id)+puppetMark+escapeLocal(p.Network), domain, "")
	if err == nil && len(j.Localpart()) <= 1000 {
		return j.String(), nil
	}
	sum := sha256.Sum256([]byte(id))
	j, err = jid.New("x-"+hex.EncodeToString(sum[:16])+puppetMark+escapeLocal(p.Network), domain, "")
	return j.String(), err
}

// splitPuppet takes a bare JID of our domain apart, as puppetJID made it: the id without a leading "@", and the network.
func splitPuppet(own, domain string) (id, network string, ok bool) {
	local, at, _ := strings.Cut(own, "@")
	mark := strings.LastIndex(local, puppetMark)
	if at != domain || mark <= 0 {
		return "", "", false
	}
	plain := strings.NewReplacer(escapes(true)...)
	return plain.Replace(local[:mark]), plain.Replace(local[mark+len(puppetMark):]), true
}

// escapes are the pairs of XEP-0106, section 4. The library's own transformers lose bytes of long ids and fail on some
// short ones.
func escapes(back bool) (pairs []string) {
	for _, c := range " \"&'/:<>@\\" {
		plain, escaped := string(c), fmt.Sprintf(`\%02x`, c)
		if back {
			plain, escaped = escaped, plain
		}
		pairs = append(pairs, plain, escaped)
	}
	return pairs
}

// escapeLocal escapes by XEP-0106. A localpart that begins with "#" or "!" is reserved for rooms that we may host one day.
func escapeLocal(s string) string {
	out := strings.NewReplacer(escapes(false)...).Replace(s)
	if strings.HasPrefix(out, "#") || strings.HasPrefix(out, "!") {
		out = "_" + out
	}
	return out
}

// Native ids of messages. The bare form is the room's stanza-id; the others carry their kind.
const (
	kindHash = "hash:" // sender, id and payload, where the room gives no stanza-id
	kindID   = "id:"   // person and an id of their choosing: the id attribute, or the origin-id
	// In a direct chat the bare form is the key of our delivery.
	kindDirect = "direct:" // a hash as above, and where there is room for them the sender's id and resource
	kindBounce = "back:"   // our delivery came back
	// kindSealed is the same of a message that came sealed. A correction finds its target under the kind that it has
	// itself, so that a sealed message is corrected only by what was sealed by the same account.
	kindSealed = "sealed:"
)

// messageAlias names a message by an id that its sender chose. Such ids are unique per sender at most.
func messageAlias(kind, sender, id string) string { return kind + sender + "\x1f" + id }

// hashNative is the seen-key of a stanza to that no room gave an id.
func hashNative(from, id string, payload []byte) string {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(from), []byte(id), payload} {
		var n [8]byte
		for i, l := 0, len(part); l > 0; i, l = i+1, l>>8 {
			n[i] = byte(l)
		}
		h.Write(n[:])
		h.Write(part)
	}
	return kindHash + hex.EncodeToString(h.Sum(nil)[:20])
}

// maxTellable is how long an id and a resource may be together for the seen-key to hold them.
const maxTellable = 500

// directNative is the seen-key of a direct message. Where tell is set it says where an error about it has to go.
func directNative(from, id string, payload []byte, tell bool) string {
	native := kindDirect + strings.TrimPrefix(hashNative(from, id, payload), kindHash)
	if tell && len(id)+len(from) <= maxTellable {
		native += "\x1f" + id + "\x1f" + resourceOf(from)
	}
	return native
}

// parseDirectNative returns the id of a direct message and the resource that sent it.
func parseDirectNative(native string) (id, from string, ok bool) {
	parts := strings.SplitN(native, "\x1f", 3)
	if len(parts) != 3 || !strings.HasPrefix(native, kindDirect) || parts[1] == "" {
		return "", "", false
	}
	return parts[1], parts[2], true
}

// parseOriginID takes an origin-id of ours apart; see originID. A key is 32 hex digits.
func parseOriginID(s string) (key, part string, ok bool) {
	key, part, _ = strings.Cut(s, "/")
	if len(key) != 32 {
		return "", "", false
	}
	if _, err := hex.DecodeString(key); err != nil {
		return "", "", false
	}
	return key, part, true
}

// Keys of our State. They are readable at rest, so they hold addresses and never content.
const (
	stateRoom    = "room/"    // + room: roomState
	statePuppet  = "puppet/"  // + network + "/" + person: puppet
	stateOut     = "out/"     // + delivery key: what was written; the gateway deletes it when the delivery ends
	stateList    = "list/"    // + bare JID: its device list as last read
	stateSub     = "sub/"     // + puppet + "/" + bare JID: an explicit subscriber of its device list
	stateTold    = "told/"    // + room + "/" + person (+ what of): when they were last told that plain text does not cross
	stateRepair  = "repair/"  // + own + "/" + bare JID + "/" + device: when a session was last rebuilt
	stateContact = "contact/" // + own + "/" + bare JID: contact
	stateName    = "name/"    // + bare JID: called
	stateMoved   = "moved/"   // + room, as the config writes it: the address of the room that replaced it
	stateHere    = "here/"    // + room + "/" + person: what somebody is called of whom others know that they are there
)

// puppetKey is where it is kept who speaks for somebody.
func puppetKey(person gateway.Person) string { return statePuppet + person.Network + "/" + person.ID }
