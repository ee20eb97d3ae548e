package omemo

// IdentityKey is a device's identity key in Curve25519 form: what is pinned,
// shown and compared.
type IdentityKey [32]byte

// Fingerprint formats the key for people: 64 hex digits in 8 groups of 8.
func (k IdentityKey) Fingerprint() string { return "" }

// ParseFingerprint reads a fingerprint as any client shows it: hex digits in
// either case, any grouping, with or without the leading key type 05.
func ParseFingerprint(s string) (IdentityKey, error) { return IdentityKey{}, errUnbuilt }

// URI formats the xmpp: URI by which clients verify a device's key.
func URI(device Address, key IdentityKey) string { return "" }

// ParseURI reads an xmpp: URI with any number of keys, those of unnamed
// devices under device id 0.
func ParseURI(s string) (jid string, keys map[uint32]IdentityKey, err error) { return "", nil, errUnbuilt }
