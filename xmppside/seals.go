package xmppside

import (
	"crypto/sha256"
	"sync"

	"lockbridge/omemo"
)

// maxSeals is how many opened messages are remembered.
const maxSeals = 4096

// seals remembers which sealed elements were opened lately by which address of ours, by their hash: a message that comes
// twice is the same bytes.
type seals struct {
	mu   sync.Mutex
	set  map[[32]byte]bool
	ring [][32]byte
	next int
}

func sumOf(own omemo.Address, sealed []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(own.JID + "\x00"))
	h.Write(sealed)
	return [32]byte(h.Sum(nil))
}

func (s *seals) add(own omemo.Address, sealed []byte) {
	sum := sumOf(own, sealed)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set[sum] {
		return
	}
	if s.set == nil {
		s.set = map[[32]byte]bool{}
	}
	if len(s.ring) < maxSeals {
		s.ring = append(s.ring, sum)
	} else {
		delete(s.set, s.ring[s.next])
		s.ring[s.next] = sum
		s.next = (s.next + 1) % maxSeals
	}
	s.set[sum] = true
}

func (s *seals) has(own omemo.Address, sealed []byte) bool {
	sum := sumOf(own, sealed)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set[sum]
}

// maxKeys is how many keys are remembered.
const maxKeys = 4096

// keys remembers the last delivery keys that it was told.
type keys struct {
	mu   sync.Mutex
	set  map[string]bool
	ring []string
	next int
}

func (k *keys) add(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.set[key]:
		return
	case k.set == nil:
		k.set = map[string]bool{}
	}
	if len(k.ring) < maxKeys {
		k.ring = append(k.ring, key)
	} else {
		delete(k.set, k.ring[k.next])
		k.ring[k.next] = key
		k.next = (k.next + 1) % maxKeys
	}
	k.set[key] = true
}

func (k *keys) has(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set[key]
}
