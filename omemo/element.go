package omemo

// Namespace is the namespace of the legacy protocol's elements and the name
// to announce by XEP-0380 (Explicit Message Encryption).
const Namespace = "eu.siacs.conversations.axolotl"

// Message is an <encrypted/> element.
type Message struct {
	SID     uint32 // the sender's device id
	Keys    []Key
	IV      []byte // 12 or 16 bytes; always written, may be absent on receipt without payload
	Payload []byte // ciphertext; nil for key transport
}

// Key is the message key, sealed for one device.
type Key struct {
	RID    uint32 // the recipient's device id; ids of two accounts may collide
	PreKey bool   // Data is a key exchange
	Data   []byte // nil if it was not base64
}

// ParseMessage reads xml: an <encrypted/> element, or a stanza with one among
// its children. Every namespace prefix used must be declared inside xml. With
// rids, only the keys for these device ids are kept, which makes large rooms
// cheap. Errors: ErrNotEncrypted when there is no such element, else ErrMalformed.
func ParseMessage(xml []byte, rids ...uint32) (*Message, error) { return nil, errUnbuilt }

// AppendXML appends the <encrypted/> element to dst.
func (msg *Message) AppendXML(dst []byte) []byte { return dst }

// ParseDeviceList reads a <list/> element, or one nested in the pubsub
// elements item, items, pubsub and so on. Entries that are no device id
// (1..2^32-1) and repeated ones are left out. An empty list is no error.
func ParseDeviceList(xml []byte) ([]uint32, error) { return nil, errUnbuilt }

// AppendDeviceList appends a <list/> element to dst.
func AppendDeviceList(dst []byte, ids ...uint32) []byte { return dst }
