package xmppside

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
)

// Where a room gives no occupant-ids (XEP-0421) and hides addresses, all that others know of somebody is the nick, which
// may be somebody else's next. What people change and take back there are words of the same stay: those said by whoever
// has had the nick since. Where the gateway sees their address all the same, that decides, by a hash that nobody can
// make who does not know the component's secret, since such addresses stay in their room.

// kindStay is the kind of an alias that names a message by the stay in which it was said, and its stanza-id.
const kindStay = "stay:"

// stayLocked is what tells one bearer of an occupant's nick from the next.
func (r *room) stayLocked(o *occupant) string {
	if o.real != "" {
		mac := hmac.New(sha256.New, []byte(r.side.cfg.Secret))
		mac.Write([]byte("occupant\x00" + r.jid + "\x00" + o.real))
		return hex.EncodeToString(mac.Sum(nil)[:12])
	}
	if old := r.occupants[o.nick]; old != nil && r.staged == nil {
		return old.stay
	}
	var b [12]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// known is by what the sender's own words are named: the person, and the stay where that is all there is.
func (s sender) known() string {
	if s.weak {
		return s.person.ID + "\x1e" + s.stay
	}
	return s.person.ID
}

// aliases are the ids by which the sender's later messages may name this one.
func (what said) aliases() []string {
	c, from := what.content, what.from
	if from.weak && from.stay == "" {
		return nil
	}
	out := c.aliases(from.known())
	if from.weak && c.stanzaID != "" {
		out = append(out, messageAlias(kindStay, from.known(), c.stanzaID))
	}
	return out
}
