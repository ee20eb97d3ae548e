package omemo

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// maxKeysTried bounds the work that one message can cause: ids of devices
// collide hardly ever, and a key may cost 1000 steps of a chain in each of nine
// sessions before it is found wrong.
const maxKeysTried = 4

// Opened is an opened message.
type Opened struct {
	Sender        Address // the owner of the session that opened it: the author
	Identity      IdentityKey
	Trust         Trust  // in Identity; what a Distrusted key says is to be refused
	Plain         []byte // as sent, unchecked; nil for a message without content, empty but not nil for an empty text
	NewSession    bool   // the message was a key exchange that built a session
	SendEmpty     bool   // answer with SealEmpty to the sender, once committed
	BundleChanged bool   // a prekey was used up and replaced: publish Bundle again
}

// Open decrypts msg for own. The senders are the bare JIDs that it may come
// from: the sender's real JID alone where it is known, else those of all
// members of the room; the session that opens the message tells the author. A
// key exchange opens without anything fetched before, if there is one
// possible sender or the identity key in it is known already. In Two, Plain is
// an envelope, see ParseEnvelope.
//
// Any error leaves the state as it was.
func (m *Manager) Open(ctx context.Context, own string, senders []string, msg *Message) (Opened, error) {
	o, err := m.openKey(ctx, own, senders, msg)
	if err != nil {
		return Opened{}, err
	}
	opened := Opened{
		Sender: o.peer.address, Identity: o.peer.pin, Trust: o.judge.ofKey(o.peer.address.JID, o.peer.pin),
		NewSession: o.newSession, BundleChanged: o.newSession,
	}
	if msg.Payload != nil {
		opened.Plain, err = m.openPayload(msg, o.plain)
		if err != nil {
			return Opened{}, err
		}
	}
	// An empty message is never answered for its number, or two devices would
	// answer each other for ever.
	opened.SendEmpty = o.newSession || msg.Payload != nil && o.session.heartbeatDue(&o.received)
	return opened, o.commit(ctx, m)
}

// peer is a device that a message may come from.
type peer struct {
	*record
	address Address
	pinned  bool        // the device has shown pin before, in any version
	pin     IdentityKey // of the peer that opened a message, its identity key

	recordKey, ratchetKey string // of its values
}

// opening is an opened key whose effects are not stored yet.
type opening struct {
	outcome
	book     *book
	judge    *judge
	own      *identity
	peer     *peer
	previous *session // what was current before; nil if there was no session
	changed  bool     // the device has a new identity key, which is verified
	stock    *stock   // read for key exchanges
}

// openKey finds the key that is for own and the sender who can have made it.
func (m *Manager) openKey(ctx context.Context, own string, senders []string, msg *Message) (*opening, error) {
	b := m.book(msg.Version, own)
	peers := b.peers(senders, msg.SID)
	if err := b.readPeers(ctx, m.wires[msg.Version.other()], peers, msg); err != nil {
		return nil, err
	}
	id, err := b.identity()
	if err != nil {
		return nil, err
	}
	j, err := m.judge(b.values)
	if err != nil {
		return nil, err
	}
	if err := b.loadPeers(m.wires[msg.Version.other()], peers); err != nil {
		return nil, err
	}
	failure, tried := ErrNotForUs, 0
	for i := range msg.Keys {
		key := &msg.Keys[i]
		if !key.IsFor(Address{own, id.device}) || tried == maxKeysTried {
			continue
		}
		tried++
		o := &opening{book: b, judge: j, own: id}
		err := o.try(peers, key)
		if err == nil {
			return o, nil
		}
		if errors.Is(err, ErrState) {
			return nil, err
		}
		if !errors.Is(failure, ErrDuplicate) {
			failure = err
		}
	}
	return nil, failure
}

// peers lists the possible senders, each once.
func (b *book) peers(senders []string, device uint32) []peer {
	peers := make([]peer, 0, len(senders))
	var seen map[string]bool
	if len(senders) > 1 {
		seen = make(map[string]bool, len(senders))
	}
	for _, jid := range senders {
		if seen[jid] {
			continue
		}
		if seen != nil {
			seen[jid] = true
		}
		a := Address{jid, device}
		peers = append(peers, peer{address: a, recordKey: b.deviceKey("record", a), ratchetKey: b.deviceKey("ratchet", a)})
	}
	return peers
}

// readPeers reads what opening needs, at once. Only key exchanges need the
// prekeys, and what the other version has pinned.
func (b *book) readPeers(ctx context.Context, other *wire, peers []peer, msg *Message) error {
	keys := append(make([]string, 0, 3+3*len(peers)), b.identityKey(), TrustKey)
	exchange := slices.ContainsFunc(msg.Keys, func(k Key) bool { return k.PreKey })
	if exchange {
		keys = append(keys, b.stockKey())
	}
	for i := range peers {
		keys = append(keys, peers[i].recordKey, peers[i].ratchetKey)
		if exchange {
			keys = append(keys, b.recordKey(other, peers[i].address))
		}
	}
	return b.read(ctx, keys, nil)
}

// loadPeers takes the records of the possible senders apart.
func (b *book) loadPeers(other *wire, peers []peer) error {
	for i := range peers {
		p := &peers[i]
		var err error
		if value, ok := b.values[p.recordKey]; ok {
			if p.record, err = unmarshalRecord(value, b.values[p.ratchetKey]); err != nil {
				return err
			}
			p.pin, p.pinned = IdentityKey(b.wire.curve(&p.identity)), true
			continue
		}
		p.record = &record{}
		if p.pin, p.pinned, err = b.pinned(other, p.address); err != nil {
			return err
		}
	}
	return nil
}

// try opens one key with the sessions of each peer.
func (o *opening) try(peers []peer, key *Key) error {
	if key.PreKey {
		return o.tryExchange(peers, key.Data)
	}
	failure := ErrNoSession
	for i := range peers {
		p := &peers[i]
		if len(p.sessions) == 0 {
			continue
		}
		o.peer, o.previous = p, p.sessions[0]
		var err error
		if o.outcome, err = p.open(o.book.wire, o.own, key.Data); err == nil {
			return nil
		}
		if !errors.Is(failure, ErrDuplicate) {
			failure = err
		}
	}
	return failure
}

// tryExchange opens a key exchange. The identity key in it tells which of
// several peers it comes from; a single one needs not be known before.
func (o *opening) tryExchange(peers []peer, data []byte) error {
	w := o.book.wire
	x, err := w.parseExchange(data)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(peers, func(p peer) bool { return p.identity == x.identity && p.pinned }) {
		if err := w.sound(&x.identity); err != nil {
			return fmt.Errorf("%w: identity key: %w", ErrMalformed, err)
		}
	}
	if o.stock, err = o.book.stock(); err != nil {
		return err
	}
	identity := IdentityKey(w.curve(&x.identity))
	var failure error
	for i := range peers {
		p := &peers[i]
		known := p.pinned && p.pin == identity
		fresh := !p.pinned && len(peers) == 1
		if !known && !fresh && o.judge.ofKey(p.address.JID, identity) != Verified {
			continue
		}
		o.peer, o.previous, o.changed = p, nil, p.pinned && !known
		if len(p.sessions) > 0 {
			o.previous = p.sessions[0]
		}
		if p.identity != x.identity {
			// The device is new, or its new key is verified, or it shows the
			// same key with another sign bit: none of its old sessions is
			// meant, for the key is part of what they authenticate.
			begun := *p
			begun.record, begun.pin = &record{identity: x.identity}, identity
			o.peer = &begun
		}
		if o.outcome, err = o.peer.openExchange(w, o.own, o.stock, &x); err == nil {
			return nil
		}
		if !errors.Is(failure, ErrDuplicate) {
			failure = err
		}
	}
	switch {
	case failure != nil:
		return failure
	case len(peers) == 1:
		return &IdentityError{identity}
	}
	return ErrSenderUnknown
}

// commit stores what the message has changed.
func (o *opening) commit(ctx context.Context, m *Manager) error {
	b := o.book
	if o.newSession {
		o.stock.take(o.preKey)
		if _, err := o.stock.tend(m.opts.Rand, b.wire, o.own, m.opts.Now()); err != nil {
			return err
		}
		b.put[b.stockKey()] = o.stock.marshal()
	}
	if err := o.keep(ctx); err != nil {
		return err
	}
	if o.changed {
		if err := m.dropOther(ctx, b, o.peer.address); err != nil {
			return err
		}
	}
	return b.save(ctx)
}

// keep puts down what has become of the device's sessions: in the usual case one
// value.
func (o *opening) keep(ctx context.Context) error {
	b, rec := o.book, o.peer.record
	if o.session == o.previous && !o.turned {
		b.put[o.peer.recordKey] = rec.marshal()
		return nil
	}
	if o.session == o.previous {
		if err := b.read(ctx, nil, []string{rec.page}); err != nil {
			return err
		}
		if p := b.pages[rec.page]; rec.slot < len(p.slots) && p.slots[rec.slot].address == o.peer.address {
			b.put[o.peer.recordKey], b.put[o.peer.ratchetKey] = rec.marshal(), o.session.marshalRatchet()
			place{p, rec.slot}.setDue(o.session)
			return nil
		}
	}
	// Another session has become current: the sending halves change places. Or
	// one of record and page was lost.
	found, err := b.locate(ctx, nil, map[Address]struct{}{o.peer.address: {}})
	if err != nil {
		return err
	}
	p, ok := found[o.peer.address]
	switch {
	case ok && o.previous != nil && o.previous != o.session:
		p.load(o.previous)
	case ok:
	default:
		// Without its sending half a session must not become current again, or
		// it would send with a key of zeros. One that is due to turn makes a new one.
		rec.sessions = slices.DeleteFunc(rec.sessions, func(s *session) bool { return s == o.previous && s != o.session })
		if p, err = b.insert(o.peer.address, nil); err != nil {
			return err
		}
	}
	b.keep(p, rec)
	return nil
}
