package omemo

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// A page holds the sending side of up to 256 remote devices in two values: the
// hot one (chain keys and counters) is rewritten with every message, the other
// one only when a session turns or begins. Rewriting a few pages is many times
// cheaper than rewriting a row for each device.
//
// Pages form a tree by a hash of the address. A device goes to the first page
// with room on the way from the root along its hash, and stays there. The root
// and its 16 children are read together, so that all is found at once up to
// about 4000 devices; a page that has ever let a device pass it by is marked,
// and only behind such pages is a further read needed. Nothing has to be known
// before the read, and small devices have a single page.
const (
	pageSlots = 256
	hotSlot   = 36
	maxDepth  = 8    // hex digits of a path; what hashes alike beyond it is refused
	maxJID    = 3071 // bytes (RFC 6122 section 2.1)
	// maxOfJID is how many devices of a JID may be on a device's way through the
	// tree: there is no end to those that somebody can make up.
	maxOfJID = 128
)

// sendSlot is what sealing needs to know of a device and seldom changes. A slot
// without JID is free.
type sendSlot struct {
	address   Address
	identity  [32]byte
	ratchet   [32]byte // own ratchet key
	previous  uint32
	initiator bool // of the session
	// While unconfirmed, these are repeated in each message.
	unconfirmed          bool
	base                 [32]byte
	preKey, signedPreKey uint32
}

// dueTurn is the receiving half of a turn that waits for our next send. It is
// kept in the hot page: opening a message then need not touch the send page.
type dueTurn struct {
	slot         int
	root, remote [32]byte
}

type page struct {
	path    string
	spilled bool // devices were passed on to the pages below
	slots   []sendSlot
	hot     []byte // hotSlot bytes for each slot: chain key, messages sent
	due     []dueTurn

	sendChanged, hotChanged bool
}

// place is where a device's sending side is.
type place struct {
	*page
	slot int
}

func (p place) send() *sendSlot { return &p.slots[p.slot] }

func (p place) chain() *[32]byte { return (*[32]byte)(p.hot[p.slot*hotSlot:]) }

func (p place) counter() []byte { return p.hot[p.slot*hotSlot+32 : (p.slot+1)*hotSlot] }

// dueTurn returns the turn to make before the next send, or nil.
func (p place) dueTurn() *dueTurn {
	for i := range p.due {
		if p.due[i].slot == p.slot {
			return &p.due[i]
		}
	}
	return nil
}

func (p place) clearDue() {
	p.due = slices.DeleteFunc(p.due, func(d dueTurn) bool { return d.slot == p.slot })
	p.hotChanged = true
}

// setDue notes that the session at p has received a turn.
func (p place) setDue(s *session) {
	p.clearDue()
	p.due = append(p.due, dueTurn{p.slot, s.root, s.chains[len(s.chains)-1].ratchet})
}

// load completes a session from a record with its sending half.
func (p place) load(s *session) {
	slot := p.send()
	s.send, s.sent = *p.chain(), binary.BigEndian.Uint32(p.counter())
	s.previous = slot.previous
	s.unconfirmed, s.preKey, s.signedPreKey = slot.unconfirmed, slot.preKey, slot.signedPreKey
	if d := p.dueTurn(); d != nil {
		s.root, s.own, s.unconfirmed = d.root, keyPair{}, false
	}
}

// store writes the sending half of a session that has become current.
func (p place) store(identity [32]byte, s *session) {
	*p.send() = sendSlot{
		address: p.send().address, identity: identity, ratchet: s.own.pub, previous: s.previous,
		initiator: s.initiator, unconfirmed: s.unconfirmed,
		base: s.base, preKey: s.preKey, signedPreKey: s.signedPreKey,
	}
	*p.chain() = s.send
	binary.BigEndian.PutUint32(p.counter(), s.sent)
	p.sendChanged = true
	p.clearDue()
	if s.due {
		p.setDue(s)
	}
}

// free empties the slot.
func (p place) free() {
	*p.send() = sendSlot{}
	clear(p.hot[p.slot*hotSlot : (p.slot+1)*hotSlot])
	p.sendChanged = true
	p.clearDue()
}

func (p *page) marshalHot() []byte {
	dst := make([]byte, 0, 5+len(p.hot)+len(p.due)*66)
	dst = binary.BigEndian.AppendUint16(append(dst, stateVersion), uint16(len(p.hot)/hotSlot))
	dst = append(dst, p.hot...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.due)))
	for i := range p.due {
		dst = binary.BigEndian.AppendUint16(dst, uint16(p.due[i].slot))
		dst = append(dst, p.due[i].root[:]...)
		dst = append(dst, p.due[i].remote[:]...)
	}
	return dst
}

func (p *page) unmarshalHot(value []byte) error {
	r := newReader(value)
	p.hot = slices.Clone(r.take(r.count(hotSlot) * hotSlot))
	p.due = make([]dueTurn, r.count(66))
	for i := range p.due {
		p.due[i] = dueTurn{slot: int(r.uint16()), root: r.key(), remote: r.key()}
	}
	if len(p.hot) != len(p.slots)*hotSlot {
		r.failed = true
	}
	return r.end("hot page")
}

func (p *page) marshalSend() []byte {
	dst := make([]byte, 0, 4+len(p.slots)*128)
	dst = appendFlags(append(dst, stateVersion), p.spilled)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.slots)))
	for i := range p.slots {
		s := &p.slots[i]
		dst = appendText(dst, s.address.JID)
		if s.address.JID == "" {
			continue
		}
		dst = binary.BigEndian.AppendUint32(dst, s.address.Device)
		dst = append(dst, s.identity[:]...)
		dst = append(dst, s.ratchet[:]...)
		dst = binary.BigEndian.AppendUint32(dst, s.previous)
		dst = appendFlags(dst, s.unconfirmed, s.initiator)
		if s.unconfirmed {
			dst = append(dst, s.base[:]...)
			dst = binary.BigEndian.AppendUint32(dst, s.preKey)
			dst = binary.BigEndian.AppendUint32(dst, s.signedPreKey)
		}
	}
	return dst
}

func (p *page) unmarshalSend(value []byte) error {
	r := newReader(value)
	text := string(value) // all JIDs share one allocation
	p.spilled = r.byte()&1 != 0
	p.slots = make([]sendSlot, r.count(2))
	for i := range p.slots {
		s := &p.slots[i]
		length := int(r.uint16())
		start := len(value) - len(r.rest)
		if r.take(length); r.failed || length == 0 {
			continue
		}
		s.address.JID = text[start : start+length]
		s.address.Device = r.uint32()
		s.identity, s.ratchet, s.previous = r.key(), r.key(), r.uint32()
		flags := r.byte()
		s.initiator = flags&2 != 0
		if s.unconfirmed = flags&1 != 0; s.unconfirmed {
			s.base, s.preKey, s.signedPreKey = r.key(), r.uint32(), r.uint32()
		}
	}
	return r.end("send page")
}

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
