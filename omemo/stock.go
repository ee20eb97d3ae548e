package omemo

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

const (
	// offered is how many one-time prekeys are in a bundle, chosen from the stock
	// at random for each who asks. The protocol asks for at least 20, OMEMO 2 for
	// 25; clients offer 100.
	offered = 100
	// fullStock is how many there are. Clients choose a prekey long before they
	// use it: the more there are, the seldomer two choose the same, of whom the
	// second loses its first message.
	fullStock = 300
	// signedLife is how long a signed prekey is offered, and signedGrace how
	// long it is kept after that for exchanges made with an older bundle.
	signedLife  = 7 * 24 * time.Hour
	signedGrace = 30 * 24 * time.Hour
	// maxSigned is how many are kept, whatever the clock says: more than become
	// of age in that time.
	maxSigned = 8
)

// stock is the private side of an own device's bundle.
type stock struct {
	next    uint32 // id of the next prekey; an id is never used again
	signed  []signedPreKey
	preKeys preKeys
}

// preKeys are one-time prekeys as they are stored, since an operation needs one
// of them at most: id, private key, public key of each.
type preKeys []byte

const preKeySize = 4 + 32 + 32

func (p preKeys) count() int { return len(p) / preKeySize }

func (p preKeys) at(i int) preKey {
	r := reader{rest: p[i*preKeySize:]}
	return preKey{id: r.uint32(), keys: r.pair()}
}

// find returns the index of a prekey, or -1.
func (p preKeys) find(id uint32) int {
	for i := range p.count() {
		if binary.BigEndian.Uint32(p[i*preKeySize:]) == id {
			return i
		}
	}
	return -1
}

func (p preKeys) appendKey(k *preKey) preKeys {
	return appendPair(binary.BigEndian.AppendUint32(p, k.id), &k.keys)
}

// without returns a copy that lacks the i-th, with room for another one.
func (p preKeys) without(i int) preKeys {
	out := append(make(preKeys, 0, len(p)), p[:i*preKeySize]...)
	return append(out, p[(i+1)*preKeySize:]...)
}

// preKey is an own one-time prekey.
type preKey struct {
	id   uint32
	keys keyPair
}

// signedPreKey is an own signed prekey. The last one of the stock is current;
// those before it still open key exchanges made with an older bundle.
type signedPreKey struct {
	preKey
	signature [64]byte
	created   time.Time
}

// tend makes a new signed prekey when it is time, forgets those whose grace is
// over, and makes one-time prekeys until the stock is full.
func (s *stock) tend(rand io.Reader, w *wire, id *identity, now time.Time) (changed bool, err error) {
	// One from the future was made while the clock was wrong.
	if n := len(s.signed); n == 0 || now.Sub(s.signed[n-1].created).Abs() >= signedLife {
		if err := s.rotate(rand, w, id, now); err != nil {
			return false, err
		}
		changed = true
	}
	for len(s.signed) > 1 && (now.Sub(s.signed[1].created) >= signedGrace || len(s.signed) > maxSigned) {
		s.signed = s.signed[1:]
		changed = true
	}
	refilled, err := s.refill(rand)
	return changed || refilled, err
}

// rotate makes the next signed prekey. The ids of the first keys begin
// anywhere, so that a device which lost its state is unlikely to offer an old
// id again.
func (s *stock) rotate(rand io.Reader, w *wire, id *identity, now time.Time) error {
	var next uint32
	if n := len(s.signed); n > 0 {
		next = s.signed[n-1].id%math.MaxInt32 + 1
	} else {
		var start [8]byte
		if _, err := io.ReadFull(rand, start[:]); err != nil {
			return fmt.Errorf("omemo: draw a prekey id: %w", err)
		}
		const space = 1 << 30 // leaves as many ids to count through
		s.next = binary.BigEndian.Uint32(start[:])%space + 1
		next = binary.BigEndian.Uint32(start[4:])%space + 1
	}
	keys, err := newKeyPair(rand)
	if err != nil {
		return err
	}
	signature, err := id.sign(rand, w.appendKey(nil, &keys.pub))
	if err != nil {
		return err
	}
	s.signed = append(s.signed, signedPreKey{
		preKey: preKey{id: next, keys: keys}, signature: signature, created: now,
	})
	return nil
}

// refill makes prekeys until the stock is full.
func (s *stock) refill(rand io.Reader) (changed bool, err error) {
	for s.preKeys.count() < fullStock {
		keys, err := newKeyPair(rand)
		if err != nil {
			return changed, err
		}
		s.preKeys = s.preKeys.appendKey(&preKey{id: s.next, keys: keys})
		s.next = s.next%math.MaxInt32 + 1
		changed = true
	}
	return changed, nil
}

func (s *stock) preKey(id uint32) (k preKey, ok bool) {
	i := s.preKeys.find(id)
	if i < 0 {
		return k, false
	}
	return s.preKeys.at(i), true
}

// take removes a used prekey.
func (s *stock) take(id uint32) {
	if i := s.preKeys.find(id); i >= 0 {
		s.preKeys = s.preKeys.without(i)
	}
}

func (s *stock) signedPreKey(id uint32) (*signedPreKey, bool) {
	for i := range s.signed {
		if s.signed[i].id == id {
			return &s.signed[i], true
		}
	}
	return nil, false
}

// bundle is the public side. Bundles differ in the prekeys that they offer.
func (s *stock) bundle(rand io.Reader, w *wire, id *identity) (*Bundle, error) {
	chosen, err := s.choose(rand)
	if err != nil {
		return nil, err
	}
	current := &s.signed[len(s.signed)-1]
	return &Bundle{
		Version:      w.version,
		Identity:     IdentityKey(id.keys.pub),
		SignedPreKey: PublicPreKey{current.id, current.keys.pub},
		Signature:    current.signature,
		PreKeys:      chosen,
		identity:     *w.own(id),
		verified:     true,
	}, nil
}

// choose takes some of the prekeys at random, in a random order.
func (s *stock) choose(rand io.Reader) ([]PublicPreKey, error) {
	var random [4 * offered]byte
	if _, err := io.ReadFull(rand, random[:]); err != nil {
		return nil, fmt.Errorf("omemo: choose prekeys: %w", err)
	}
	left := make([]int, s.preKeys.count())
	for i := range left {
		left[i] = i
	}
	chosen := make([]PublicPreKey, min(offered, len(left)))
	for i := range chosen {
		at := int(binary.BigEndian.Uint32(random[4*i:]) % uint32(len(left)))
		k := s.preKeys.at(left[at])
		chosen[i] = PublicPreKey{k.id, k.keys.pub}
		left[at] = left[len(left)-1]
		left = left[:len(left)-1]
	}
	return chosen, nil
}

func (s *stock) marshal() []byte {
	dst := make([]byte, 0, 64+len(s.signed)*140+len(s.preKeys))
	dst = binary.BigEndian.AppendUint32(append(dst, stateVersion), s.next)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.signed)))
	for i := range s.signed {
		k := &s.signed[i]
		dst = binary.BigEndian.AppendUint32(dst, k.id)
		dst = append(appendPair(dst, &k.keys), k.signature[:]...)
		dst = binary.BigEndian.AppendUint64(dst, uint64(k.created.Unix()))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(s.preKeys.count()))
	return append(dst, s.preKeys...)
}

func unmarshalStock(value []byte) (*stock, error) {
	r := newReader(value)
	s := &stock{next: r.uint32()}
	s.signed = make([]signedPreKey, r.count(140))
	for i := range s.signed {
		s.signed[i] = signedPreKey{
			preKey:    preKey{id: r.uint32(), keys: r.pair()},
			signature: [64]byte(r.take(64)),
			created:   time.Unix(int64(r.uint64()), 0),
		}
	}
	s.preKeys = slices.Clip(r.take(r.count(preKeySize) * preKeySize))
	if len(s.signed) == 0 {
		r.failed = true
	}
	return s, r.end("stock of prekeys")
}
