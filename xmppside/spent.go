package xmppside

import (
	"math/rand/v2"
	"slices"
	"sync"

	"lockbridge/omemo"
)

// spent remembers which one-time prekeys of others our addresses have used lately. A device takes a used prekey out of
// its bundle only once it has read the message, and of two sessions on one prekey the second is lost: in a room with
// many puppets that happens within days by chance alone.
type spent struct {
	mu sync.Mutex
	by map[deviceName][]uint32 // the oldest first
}

// maxSpent is how many prekeys are remembered of a device: fewer than a bundle must offer would starve nobody.
const maxSpent = 80

// use notes a prekey as used.
func (s *spent) use(a deviceName, id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil || len(s.by) >= maxBroken && s.by[a] == nil {
		s.by = map[deviceName][]uint32{}
	}
	ids := append(s.by[a], id)
	s.by[a] = ids[max(0, len(ids)-maxSpent):]
}

// fresh takes the used prekeys out of a bundle that was just read, as far as others are left in it, and forgets those
// that its device does not offer any more.
func (s *spent) fresh(a deviceName, b *omemo.Bundle) *omemo.Bundle {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := slices.DeleteFunc(s.by[a], func(id uint32) bool {
		return !slices.ContainsFunc(b.PreKeys, func(k omemo.PublicPreKey) bool { return k.ID == id })
	})
	if len(ids) == 0 {
		delete(s.by, a)
	} else {
		s.by[a] = ids
	}
	for _, id := range slices.Backward(ids) {
		if len(b.PreKeys) == 1 {
			break
		}
		b = b.Without(id)
	}
	return b
}

// one leaves a single prekey in a bundle, which counts as used: for a session of which nobody reports what it used.
func (s *spent) one(a deviceName, b *omemo.Bundle) *omemo.Bundle {
	keep := b.PreKeys[rand.IntN(len(b.PreKeys))].ID
	for _, k := range b.PreKeys {
		if k.ID != keep {
			b = b.Without(k.ID)
		}
	}
	s.use(a, keep)
	return b
}
