package matrixside

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// keyField is the field of an event's content that holds the delivery it came from, {"key": …, "part": …}.
const keyField = "org.lockbridge.key"

// naming knows which user ids are ours and whom they stand for.
type naming struct {
	domain string
	prefix string // of every ghost's localpart
	bot    id.UserID
}

func newNaming(cfg Config) naming {
	return naming{domain: cfg.Domain, prefix: cfg.UserPrefix, bot: id.NewUserID(cfg.Nick, cfg.Domain)}
}

// ghost is the user id that stands for p: prefix, network and p's id in the encoding of the Matrix specification
// ("Mapping from other character sets"), so that it is reversible and two people never share one. An id that would be
// longer than Matrix allows (255 bytes) is cut and ends with a hash of the whole.
func (n naming) ghost(p gateway.Person) id.UserID {
	localpart := n.prefix + encodeNetwork(p.Network) + "_" + id.EncodeUserLocalpart(p.ID)
	if limit := id.UserIDMaxLength - len("@:") - len(n.domain); len(localpart) > limit {
		sum := sha256.Sum256([]byte(localpart))
		mark := "=-" + hex.EncodeToString(sum[:16]) // no encoded id has "=-" in it, so that nobody else can be called so
		localpart = localpart[:max(limit-len(mark), 0)] + mark
	}
	return id.NewUserID(localpart, n.domain)
}

// person is the reverse of ghost. It fails for user ids that are not ghosts, for those that were cut, and for those that
// stand for what nobody is called: anybody can write a user id, with the end of a line in it, say.
func (n naming) person(mxid id.UserID) (gateway.Person, bool) {
	if !n.isGhost(mxid) {
		return gateway.Person{}, false
	}
	network, user, _ := strings.Cut(strings.TrimPrefix(mxid.Localpart(), n.prefix), "_")
	network, err := id.DecodeUserLocalpart(network)
	if err != nil {
		return gateway.Person{}, false
	}
	user, err = id.DecodeUserLocalpart(user)
	p := gateway.Person{Network: network, ID: user}
	return p, err == nil && user != "" && isPlain(network+user) && n.ghost(p) == mxid
}

// isPlain reports whether there is nothing in an id that a database, a line or a log would stumble over.
func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
}

// isGhost reports whether the user id lies in our exclusive namespace.
func (n naming) isGhost(mxid id.UserID) bool {
	localpart, domain, err := mxid.Parse()
	return err == nil && domain == n.domain && strings.HasPrefix(localpart, n.prefix) && mxid != n.bot
}

// ours reports whether the gateway speaks through the user id.
func (n naming) ours(mxid id.UserID) bool { return mxid == n.bot || n.isGhost(mxid) }

// encodeNetwork writes a network's name without "_", which ends it in a ghost's localpart.
func encodeNetwork(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' {
			b.WriteByte(c)
			continue
		}
		b.WriteString("=" + hex.EncodeToString([]byte{c}))
	}
	return b.String()
}

// transactionID is the client's transaction id for one part of a delivery, the same in every attempt (Client-Server
// API, "Transaction identifiers").
func transactionID(key string, part int) string { return key + "." + strconv.Itoa(part) }

// saneID reports whether an id that the network handed us may be kept: the specification's 255 bytes at most, and
// nothing in it that a database or a log would stumble over. A reference is written by its sender and may hold
// anything.
func saneID(s string, sigil byte) bool {
	return len(s) >= 2 && len(s) <= 255 && s[0] == sigil && isPlain(s) && !strings.ContainsFunc(s, unicode.IsSpace)
}
