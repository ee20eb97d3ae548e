package omemo

import (
	"encoding/binary"
	"fmt"
	"math"
)

// wire is a protocol version: everything in which versions differ below the
// XML. The ratchet itself is the same in all of them.
type wire struct {
	version     Version
	space       string // part of the state's keys: sessions of versions are apart
	x3dhInfo    string
	rootInfo    string
	messageInfo string
	macLen      int

	// own returns an own identity key in the version's form.
	own func(*identity) *[32]byte
	// sound checks a remote identity key in the version's form: it must be the
	// one encoding of a usable key. curve converts a sound one to Curve25519.
	sound func(*[32]byte) error
	curve func(*[32]byte) [32]byte
	// associated appends the associated data of a message. Identities are in
	// the version's own form.
	associated func(dst []byte, own, remote *[32]byte, sending, initiator bool) []byte
	// appendKey appends a public key as it is published and signed.
	appendKey func(dst []byte, key *[32]byte) []byte
	// parseKey reads such a key.
	parseKey func(data []byte) ([32]byte, error)
	// verify checks the signature of a published key by an identity key.
	verify func(identity *[32]byte, message, signature []byte) bool

	// appendBody appends the part of a message that its MAC covers;
	// appendMAC completes the message whose body begins at dst[body:].
	appendBody func(dst []byte, h *header, ciphertext []byte) []byte
	appendMAC  func(dst []byte, body int, mac []byte) []byte
	parse      func(data []byte) (sealed, error)
	// A key exchange wraps a message while its session is unconfirmed.
	appendExchange func(dst []byte, x *exchange) []byte
	parseExchange  func(data []byte) (exchange, error)
}

// wireOf returns the wire of a version.
func wireOf(v Version) *wire {
	if v == Two {
		return twoWire()
	}
	return legacyWire()
}

// header is what a message tells about its place in the ratchet.
type header struct {
	ratchet [32]byte // the sender's ratchet key
	n, pn   uint32   // number in its chain; length of the sender's chain before
}

// sealed is a parsed message. Its slices point into the received bytes, since
// the MAC covers those and not a new encoding of them.
type sealed struct {
	header
	ciphertext []byte
	body       []byte // what the MAC covers, after the associated data
	mac        []byte
}

// exchange is a parsed key exchange.
type exchange struct {
	preKey       uint32
	hasPreKey    bool
	signedPreKey uint32
	device       uint32   // the sender's device id; written, not read
	base         [32]byte // the ephemeral key of X3DH: names the session
	identity     [32]byte // in the version's form
	message      []byte
}

// protoField is one protobuf field: a number or bytes, by its wire type.
type protoField struct {
	number int
	bytes  []byte // nil for numbers
	value  uint64
}

const (
	protoVarint  = 0
	protoFixed64 = 1
	protoBytes   = 2
	protoFixed32 = 5
)

// nextField splits the first field off a protobuf message. Varints may be
// longer than needed, up to 10 bytes. Groups are refused.
func nextField(b []byte) (f protoField, rest []byte, err error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return f, nil, fmt.Errorf("%w: protobuf field tag", ErrMalformed)
	}
	b = b[n:]
	f.number = int(tag >> 3)
	size := uint64(0)
	switch tag & 7 {
	case protoVarint:
		if f.value, n = binary.Uvarint(b); n <= 0 {
			return f, nil, fmt.Errorf("%w: protobuf number", ErrMalformed)
		}
		return f, b[n:], nil
	case protoBytes:
		if size, n = binary.Uvarint(b); n <= 0 {
			return f, nil, fmt.Errorf("%w: protobuf length", ErrMalformed)
		}
		b = b[n:]
	case protoFixed64:
		size = 8
	case protoFixed32:
		size = 4
	default:
		return f, nil, fmt.Errorf("%w: protobuf wire type %d", ErrMalformed, tag&7)
	}
	if size > uint64(len(b)) {
		return f, nil, fmt.Errorf("%w: protobuf field is cut off", ErrMalformed)
	}
	f.bytes = b[:size:size]
	return f, b[size:], nil
}

// eachField hands all fields of a protobuf message to read. It returns a bit
// for each field number below 32 that occurred.
func eachField(data []byte, read func(protoField) error) (seen uint32, err error) {
	for len(data) > 0 {
		var f protoField
		if f, data, err = nextField(data); err != nil {
			return seen, err
		}
		if err := read(f); err != nil {
			return seen, err
		}
		if f.number < 32 {
			seen |= 1 << f.number
		}
	}
	return seen, nil
}

// uint32 returns a number field's value.
func (f *protoField) uint32() (uint32, error) {
	if f.bytes != nil || f.value > math.MaxUint32 {
		return 0, fmt.Errorf("%w: protobuf field %d is no 32-bit number", ErrMalformed, f.number)
	}
	return uint32(f.value), nil
}

// appendBytesField appends a field of bytes with a number below 16.
func appendBytesField(dst []byte, number byte, data []byte) []byte {
	return append(appendBytesHead(dst, number, len(data)), data...)
}

// appendBytesHead appends what stands before a field's bytes.
func appendBytesHead(dst []byte, number byte, length int) []byte {
	return binary.AppendUvarint(append(dst, number<<3|protoBytes), uint64(length))
}

// appendUintField appends a number field with a number below 16, zero included:
// the peers' schema calls these fields required.
func appendUintField(dst []byte, number byte, value uint32) []byte {
	dst = append(dst, number<<3|protoVarint)
	return binary.AppendUvarint(dst, uint64(value))
}
