package omemo

import (
	"encoding/binary"
	"slices"
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
