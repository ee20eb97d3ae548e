package omemo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// book is the state of one own device that one operation works on: the values
// read, and the pages among them taken apart.
type book struct {
	store  Store
	wire   *wire
	own    string
	root   string // of all keys of the own device
	prefix string // of its keys in the version's space
	device string // the key of the own device itself
	values map[string][]byte
	pages  map[string]*page
	put    map[string][]byte
}

func (b *book) deviceKey(kind string, a Address) string {
	var buf [256]byte
	key := append(append(append(buf[:0], b.prefix...), kind...), '/')
	key = append(append(key, a.JID...), '/')
	return string(strconv.AppendUint(key, uint64(a.Device), 10))
}

// recordKey is the key of a device's record in a version.
func (b *book) recordKey(w *wire, a Address) string {
	return b.root + w.space + "/record/" + a.JID + "/" + strconv.FormatUint(uint64(a.Device), 10)
}

// pinned returns the identity key that a device has shown before, in the book's
// version or the other one. The records must have been read.
func (b *book) pinned(other *wire, a Address) (key IdentityKey, ok bool, err error) {
	if value, ok := b.values[b.deviceKey("record", a)]; ok {
		key, err = recordIdentity(b.wire, value)
		return key, err == nil, err
	}
	if value, ok := b.values[b.recordKey(other, a)]; ok {
		key, err = recordIdentity(other, value)
		return key, err == nil, err
	}
	return key, false, nil
}

// read reads keys, and the pages on paths.
func (b *book) read(ctx context.Context, keys []string, paths []string) error {
	keys = slices.Clip(keys) // the caller's array is not written to
	for _, path := range paths {
		keys = append(keys, b.prefix+"send/"+path, b.prefix+"hot/"+path)
	}
	values, err := b.store.GetMany(ctx, keys)
	if err != nil {
		return fmt.Errorf("omemo: read state: %w", err)
	}
	if b.values == nil {
		b.values = values
	} else {
		maps.Copy(b.values, values)
	}
	if b.pages == nil && len(paths) > 0 {
		b.pages = make(map[string]*page, len(paths))
	}
	for _, path := range paths {
		p := &page{path: path}
		if value, ok := values[b.prefix+"send/"+path]; ok {
			if err := p.unmarshalSend(value); err != nil {
				return err
			}
			if err := p.unmarshalHot(values[b.prefix+"hot/"+path]); err != nil {
				return err
			}
		}
		b.pages[path] = p
	}
	return nil
}

// locate reads keys and finds the devices that want holds; what it returns
// lacks those without a session. One read, but see the comment above.
func (b *book) locate(ctx context.Context, keys []string, want map[Address]struct{}) (map[Address]place, error) {
	paths := []string{""}
	var children [16]bool
	for a := range want {
		children[addressHash(a)>>28] = true
	}
	for digit, wanted := range children {
		if wanted {
			paths = append(paths, hashPath(uint32(digit)<<28, 1))
		}
	}
	found := make(map[Address]place, len(want))
	for depth := 1; ; depth++ {
		if err := b.read(ctx, keys, paths); err != nil {
			return nil, err
		}
		for _, path := range paths {
			p := b.pages[path]
			for i := range p.slots {
				if _, ok := want[p.slots[i].address]; ok && p.slots[i].address.JID != "" {
					found[p.slots[i].address] = place{p, i}
				}
			}
		}
		keys, paths = nil, nil
		if len(found) == len(want) || depth == maxDepth {
			return found, nil
		}
		for a := range want {
			if _, ok := found[a]; ok {
				continue
			}
			path := hashPath(addressHash(a), depth+1)
			if above := b.pages[path[:depth]]; above != nil && above.spilled && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
		if len(paths) == 0 {
			return found, nil
		}
	}
}

// insert gives a device that locate did not find a slot: where there are too
// many of its JID, that of another one, which is forgotten. inUse are not.
func (b *book) insert(a Address, inUse map[Address]place) (place, error) {
	if a.JID == "" || len(a.JID) > maxJID {
		return place{}, fmt.Errorf("%w: JID of %d bytes", ErrMalformed, len(a.JID))
	}
	if err := b.makeRoom(a, inUse); err != nil {
		return place{}, err
	}
	path := hashPath(addressHash(a), maxDepth)
	for depth := 0; depth <= maxDepth; depth++ {
		p := b.pages[path[:depth]]
		if p == nil { // no page spilled to it, so there is none
			p = &page{path: path[:depth]}
			b.pages[p.path] = p
		}
		slot := slices.IndexFunc(p.slots, func(s sendSlot) bool { return s.address.JID == "" })
		if slot < 0 && len(p.slots) < pageSlots {
			slot = len(p.slots)
			p.slots = append(p.slots, sendSlot{})
			p.hot = append(p.hot, make([]byte, hotSlot)...)
		}
		if slot >= 0 {
			p.slots[slot].address = a
			return place{p, slot}, nil
		}
		if !p.spilled {
			p.spilled, p.sendChanged, p.hotChanged = true, true, true
		}
	}
	return place{}, ErrTooManyDevices
}

// makeRoom forgets a device when there are maxOfJID of a's JID on a's way.
func (b *book) makeRoom(a Address, inUse map[Address]place) error {
	path := hashPath(addressHash(a), maxDepth)
	var others []place
	all := 0
	for depth := 0; depth <= maxDepth && b.pages[path[:depth]] != nil; depth++ {
		p := b.pages[path[:depth]]
		for i := range p.slots {
			if p.slots[i].address.JID != a.JID {
				continue
			}
			all++
			if _, used := inUse[p.slots[i].address]; !used {
				others = append(others, place{p, i})
			}
		}
	}
	switch {
	case all < maxOfJID:
		return nil
	case len(others) == 0:
		return ErrTooManyDevices
	}
	b.drop(others[addressHash(a)%uint32(len(others))])
	return nil
}

// drop forgets the device at p.
func (b *book) drop(p place) {
	a := p.send().address
	b.put[b.deviceKey("record", a)], b.put[b.deviceKey("ratchet", a)] = nil, nil
	p.free()
}

// save writes what changed, in one call.
func (b *book) save(ctx context.Context) error {
	for _, p := range b.pages {
		if p.sendChanged {
			b.put[b.prefix+"send/"+p.path] = p.marshalSend()
		}
		if p.hotChanged {
			b.put[b.prefix+"hot/"+p.path] = p.marshalHot()
		}
	}
	if len(b.put) == 0 {
		return nil
	}
	if err := b.store.PutMany(ctx, b.put); err != nil {
		return fmt.Errorf("omemo: write state: %w", err)
	}
	return nil
}

// addressHash decides where an address is stored: FNV-1a, and MurmurHash3's
// finish to spread it to the upper bits. It must never change.
func addressHash(a Address) uint32 {
	h := uint64(14695981039346656037)
	for i := range len(a.JID) {
		h = (h ^ uint64(a.JID[i])) * 1099511628211
	}
	h = (h ^ uint64(a.Device)) * 1099511628211
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	return uint32(h >> 32)
}

// hashPath is the way of a hash through the tree of pages: its hex digits.
func hashPath(hash uint32, depth int) string {
	const digits = "0123456789abcdef"
	var b [maxDepth]byte
	for i := range b {
		b[i] = digits[hash>>28]
		hash <<= 4
	}
	return string(b[:depth])
}
