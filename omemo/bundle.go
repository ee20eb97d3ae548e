package omemo

// PublicPreKey is the public half of a prekey.
type PublicPreKey struct {
	ID  uint32
	Key [32]byte // Curve25519
}

// Bundle is what a device publishes for others to start a session with it.
// A value from ParseBundle or Manager.Bundle has a verified signature; one
// made by hand is refused by Seal.
type Bundle struct {
	Identity     IdentityKey
	SignedPreKey PublicPreKey
	Signature    [64]byte
	PreKeys      []PublicPreKey

	verified bool
}

// ParseBundle reads a <bundle/> element, or one nested in pubsub elements, and
// verifies its signature. Broken prekeys are left out; the error is ErrBundle,
// with ErrNoPreKey when no prekey remains.
func ParseBundle(xml []byte) (*Bundle, error) { return nil, errUnbuilt }

// AppendXML appends the <bundle/> element to dst.
func (b *Bundle) AppendXML(dst []byte) []byte { return dst }

// Without returns a copy that does not offer the prekey id. Use it on a cached
// bundle after Report.Built: two sessions on one prekey lose the second.
func (b *Bundle) Without(id uint32) *Bundle { return b }
