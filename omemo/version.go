package omemo

import "fmt"

// Version is a version of the protocol. Both share an own device's id and
// identity key; sessions, prekeys and device lists are apart.
type Version uint8

const (
	// Legacy is XEP-0384 version 0.3.0: what nearly every client speaks. It
	// encrypts the text of a message only.
	Legacy Version = iota
	// Two is XEP-0384 version 0.8.0 and later, "OMEMO 2". It encrypts elements
	// in an envelope, see Envelope.
	Two

	versions = iota
)

// The namespaces of the versions' elements, also to be announced by XEP-0380
// (Explicit Message Encryption).
const (
	NamespaceLegacy = "eu.siacs.conversations.axolotl"
	NamespaceTwo    = "urn:xmpp:omemo:2"
)

// Namespace returns the namespace of the version's elements.
func (v Version) Namespace() string {
	if v == Two {
		return NamespaceTwo
	}
	return NamespaceLegacy
}

// String returns the version's name in a configuration: "legacy" or "omemo:2".
func (v Version) String() string {
	if v == Two {
		return "omemo:2"
	}
	return "legacy"
}

// ParseVersion reverses String.
func ParseVersion(name string) (Version, error) {
	for v := range Version(versions) {
		if v.String() == name {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: %q", ErrVersion, name)
}

// other returns the version that v is not.
func (v Version) other() Version { return versions - 1 - v }
