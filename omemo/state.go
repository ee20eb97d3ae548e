package omemo

import (
	"encoding/binary"
	"fmt"
)

// stateVersion begins every stored value, so that a later program can change
// any of their layouts. Numbers are big-endian, keys bare 32 bytes.
const stateVersion = 1

// reader takes a stored value apart. After the first failure it returns zeros
// and stays failed, so that callers check once.
type reader struct {
	rest   []byte
	failed bool
}

// newReader checks the version byte.
func newReader(value []byte) reader {
	r := reader{rest: value}
	r.failed = r.byte() != stateVersion
	return r
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.failed, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) key() [32]byte  { return [32]byte(r.take(32)) }
func (r *reader) pair() keyPair  { return keyPair{priv: r.key(), pub: r.key()} }
func (r *reader) text() string   { return string(r.take(int(r.uint16()))) }
func (r *reader) count(size int) int { // of entries that take at least size bytes each
	n := int(r.uint16())
	if n*size > len(r.rest) {
		r.failed, n = true, 0
	}
	return n
}

// end checks that the value was understood and nothing is left of it.
func (r *reader) end(what string) error {
	if r.failed || len(r.rest) > 0 {
		return fmt.Errorf("%w: %s", ErrState, what)
	}
	return nil
}

func appendPair(dst []byte, k *keyPair) []byte {
	return append(append(dst, k.priv[:]...), k.pub[:]...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendFlags(dst []byte, flags ...bool) []byte {
	var b byte
	for i, f := range flags {
		if f {
			b |= 1 << i
		}
	}
	return append(dst, b)
}

func (id *identity) marshal() []byte {
	dst := binary.BigEndian.AppendUint32([]byte{stateVersion}, id.device)
	return append(appendPair(dst, &id.keys), id.ed[:]...)
}

func unmarshalIdentity(value []byte) (*identity, error) {
	r := newReader(value)
	id := &identity{device: r.uint32(), keys: r.pair()}
	if len(r.rest) > 0 || r.failed {
		id.ed = r.key()
		return id, r.end("own device")
	}
	// Written before there was a second version.
	var err error
	if id.ed, err = edwardsForm(&id.keys.pub, 0); err != nil {
		err = fmt.Errorf("%w: own identity key: %w", ErrState, err)
	}
	return id, err
}

// receivingSize is how many bytes appendReceiving appends.
func (s *session) receivingSize() int {
	n := 32 + 1 + 2
	for i := range s.chains {
		n += 71 + 36*len(s.chains[i].skipped)
	}
	return n
}

// appendReceiving appends what only receiving needs of a session.
func (s *session) appendReceiving(dst []byte) []byte {
	dst = append(dst, s.base[:]...)
	dst = appendFlags(dst, s.initiator)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.chains)))
	for i := range s.chains {
		c := &s.chains[i]
		dst = append(dst, c.ratchet[:]...)
		dst = append(dst, c.key[:]...)
		dst = binary.BigEndian.AppendUint32(dst, c.n)
		dst = appendFlags(dst, c.beat)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(c.skipped)))
		for j := range c.skipped {
			dst = binary.BigEndian.AppendUint32(dst, c.skipped[j].n)
			dst = append(dst, c.skipped[j].key[:]...)
		}
	}
	return dst
}

func (r *reader) receiving(s *session) {
	s.base = r.key()
	s.initiator = r.byte()&1 != 0
	s.chains = make([]chain, r.count(71))
	for i := range s.chains {
		c := &s.chains[i]
		c.ratchet, c.key, c.n = r.key(), r.key(), r.uint32()
		c.beat = r.byte()&1 != 0
		c.skipped = make([]skippedKey, r.count(36))
		for j := range c.skipped {
			c.skipped[j] = skippedKey{n: r.uint32(), key: r.key()}
		}
	}
}

// appendSession appends a whole session, as archives hold it.
func (s *session) appendSession(dst []byte) []byte {
	dst = s.appendReceiving(dst)
	dst = append(dst, s.root[:]...)
	dst = appendPair(dst, &s.own)
	dst = appendFlags(dst, s.due, s.unconfirmed)
	dst = append(dst, s.send[:]...)
	dst = binary.BigEndian.AppendUint32(dst, s.sent)
	dst = binary.BigEndian.AppendUint32(dst, s.previous)
	dst = binary.BigEndian.AppendUint32(dst, s.preKey)
	return binary.BigEndian.AppendUint32(dst, s.signedPreKey)
}

func (r *reader) session() *session {
	s := new(session)
	r.receiving(s)
	s.root, s.own = r.key(), r.pair()
	flags := r.byte()
	s.due, s.unconfirmed = flags&1 != 0, flags&2 != 0
	s.send, s.sent, s.previous = r.key(), r.uint32(), r.uint32()
	s.preKey, s.signedPreKey = r.uint32(), r.uint32()
	return s
}

// marshalRatchet makes the value under "ratchet": the half of the current
// session's Diffie-Hellman state that sealing writes without having read it.
// While a turn is due there is nothing in it: the hot page has the root key,
// and an old one must not rest beside the chains that it began.
func (s *session) marshalRatchet() []byte {
	dst := appendFlags([]byte{stateVersion}, s.due)
	if s.due {
		return dst
	}
	return appendPair(append(dst, s.root[:]...), &s.own)
}

func (s *session) unmarshalRatchet(value []byte) error {
	r := newReader(value)
	if s.due = r.byte()&1 != 0; !s.due {
		s.root, s.own = r.key(), r.pair()
	}
	return r.end("ratchet of a session")
}
