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
	// fullStock is how many one-time prekeys a device offers. The protocol asks
	// for at least 20, OMEMO 2 for 25; clients offer 100.
	fullStock = 100
	// signedLife is how long a signed prekey is offered, and signedGrace how
	// long it is kept after that for exchanges made with an older bundle.
	signedLife  = 7 * 24 * time.Hour
	signedGrace = 30 * 24 * time.Hour
)

// stock is the private side of an own device's bundle.
type stock struct {
	next    uint32 // id of the next prekey; an id is never used again
	signed  []signedPreKey
	preKeys []preKey
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
	if n := len(s.signed); n == 0 || now.Sub(s.signed[n-1].created) >= signedLife {
		if err := s.rotate(rand, w, id, now); err != nil {
			return false, err
		}
		changed = true
	}
	for len(s.signed) > 1 && now.Sub(s.signed[1].created) >= signedGrace {
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
	for len(s.preKeys) < fullStock {
		keys, err := newKeyPair(rand)
		if err != nil {
			return changed, err
		}
		s.preKeys = append(s.preKeys, preKey{id: s.next, keys: keys})
		s.next = s.next%math.MaxInt32 + 1
		changed = true
	}
	return changed, nil
}

func (s *stock) preKey(id uint32) (*preKey, bool) {
	for i := range s.preKeys {
		if s.preKeys[i].id == id {
			return &s.preKeys[i], true
		}
	}
	return nil, false
}

// take removes a used prekey.
func (s *stock) take(id uint32) {
	s.preKeys = slices.DeleteFunc(s.preKeys, func(k preKey) bool { return k.id == id })
}

func (s *stock) signedPreKey(id uint32) (*signedPreKey, bool) {
	for i := range s.signed {
		if s.signed[i].id == id {
			return &s.signed[i], true
		}
	}
	return nil, false
}

// bundle is the public side.
func (s *stock) bundle(w *wire, id *identity) *Bundle {
	current := &s.signed[len(s.signed)-1]
	b := &Bundle{
		Version:      w.version,
		Identity:     IdentityKey(id.keys.pub),
		SignedPreKey: PublicPreKey{current.id, current.keys.pub},
		Signature:    current.signature,
		PreKeys:      make([]PublicPreKey, len(s.preKeys)),
		identity:     *w.own(id),
		verified:     true,
	}
	for i := range s.preKeys {
		b.PreKeys[i] = PublicPreKey{s.preKeys[i].id, s.preKeys[i].keys.pub}
	}
	return b
}

func (s *stock) marshal() []byte {
	dst := make([]byte, 0, 64+len(s.signed)*140+len(s.preKeys)*68)
	dst = binary.BigEndian.AppendUint32(append(dst, stateVersion), s.next)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.signed)))
	for i := range s.signed {
		k := &s.signed[i]
		dst = binary.BigEndian.AppendUint32(dst, k.id)
		dst = append(appendPair(dst, &k.keys), k.signature[:]...)
		dst = binary.BigEndian.AppendUint64(dst, uint64(k.created.Unix()))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.preKeys)))
	for i := range s.preKeys {
		dst = binary.BigEndian.AppendUint32(dst, s.preKeys[i].id)
		dst = appendPair(dst, &s.preKeys[i].keys)
	}
	return dst
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
	s.preKeys = make([]preKey, r.count(68))
	for i := range s.preKeys {
		s.preKeys[i] = preKey{id: r.uint32(), keys: r.pair()}
	}
	if len(s.signed) == 0 {
		r.failed = true
	}
	return s, r.end("stock of prekeys")
}
