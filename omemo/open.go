package omemo

import (
	"context"
	"errors"
	"fmt"
)

// maxKeysTried bounds the work that one message can cause: ids of devices
// collide now and then, not eight times.
const maxKeysTried = 8

// Opened is an opened message.
type Opened struct {
	Sender        Address // the owner of the session that opened it: the author
	Identity      IdentityKey
	Plain         []byte // as sent, unchecked; nil for key transport, empty but not nil for an empty text
	NewSession    bool   // the message was a key exchange that built a session
	SendEmpty     bool   // answer with SealEmpty to the sender, once committed
	BundleChanged bool   // a prekey was used up and replaced: publish Bundle again
}

// Open decrypts msg for own. The senders are the bare JIDs that it may come
// from: the sender's real JID alone where it is known, else those of all
// members of the room; the session that opens the message tells the author. A
// key exchange opens without anything fetched before, if there is one
// possible sender or the identity key in it is known already.
//
// Any error leaves the state as it was.
func (m *Manager) Open(ctx context.Context, own string, senders []string, msg *Message) (Opened, error) {
	o, err := m.openKey(ctx, own, senders, msg)
	if err != nil {
		return Opened{}, err
	}
	opened := Opened{
		Sender: o.peer.address, Identity: IdentityKey(o.peer.identity),
		NewSession: o.newSession, BundleChanged: o.newSession,
	}
	if msg.Payload != nil {
		opened.Plain, err = openPayload(msg.Payload, msg.IV, o.plain, m.opts.TagInPayload)
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
	known   bool // there is a record of it
}

// opening is an opened key whose effects are not stored yet.
type opening struct {
	outcome
	book     *book
	peer     *peer
	previous *session // what was current before
	stock    *stock   // read for key exchanges
}

// openKey finds the key that is for own and the sender who can have made it.
func (m *Manager) openKey(ctx context.Context, own string, senders []string, msg *Message) (*opening, error) {
	b := m.book(own)
	keys := []string{b.identityKey()}
	for i := range msg.Keys {
		if msg.Keys[i].PreKey {
			keys = append(keys, b.stockKey())
			break
		}
	}
	for _, jid := range senders {
		a := Address{jid, msg.SID}
		keys = append(keys, b.deviceKey("record", a), b.deviceKey("ratchet", a))
	}
	if err := b.read(ctx, keys, nil); err != nil {
		return nil, err
	}
	id, err := b.identity()
	if err != nil {
		return nil, err
	}
	peers, err := b.peers(senders, msg.SID)
	if err != nil {
		return nil, err
	}
	failure, tried := ErrNotForUs, 0
	for i := range msg.Keys {
		key := &msg.Keys[i]
		if key.RID != id.device || tried == maxKeysTried {
			continue
		}
		tried++
		o, err := b.try(m.wire, id, peers, key)
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

// peers loads the records of the possible senders.
func (b *book) peers(senders []string, device uint32) ([]*peer, error) {
	peers := make([]*peer, 0, len(senders))
	seen := make(map[string]bool, len(senders))
	for _, jid := range senders {
		if seen[jid] {
			continue
		}
		seen[jid] = true
		p := &peer{address: Address{jid, device}, record: &record{}}
		value, ok := b.values[b.deviceKey("record", p.address)]
		if ok {
			rec, err := unmarshalRecord(value, b.values[b.deviceKey("ratchet", p.address)])
			if err != nil {
				return nil, err
			}
			p.record, p.known = rec, true
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// try opens one key with the sessions of each peer.
func (b *book) try(w *wire, own *identity, peers []*peer, key *Key) (*opening, error) {
	if key.PreKey {
		return b.tryExchange(w, own, peers, key.Data)
	}
	failure := ErrNoSession
	for _, p := range peers {
		if !p.known {
			continue
		}
		o := &opening{book: b, peer: p, previous: p.sessions[0]}
		var err error
		if o.outcome, err = p.open(w, own, key.Data); err == nil {
			return o, nil
		}
		if !errors.Is(failure, ErrDuplicate) {
			failure = err
		}
	}
	return nil, failure
}

// tryExchange opens a key exchange. The identity key in it tells which of
// several peers it comes from; a single one needs not be known before.
func (b *book) tryExchange(w *wire, own *identity, peers []*peer, data []byte) (*opening, error) {
	x, err := w.parseExchange(data)
	if err != nil {
		return nil, err
	}
	st, err := b.stock()
	if err != nil {
		return nil, err
	}
	if len(peers) == 1 && !peers[0].known {
		peers[0].identity = x.identity
	}
	failure := ErrSenderUnknown
	if len(peers) == 1 {
		failure = ErrIdentityChanged
	}
	for _, p := range peers {
		if p.identity != x.identity {
			continue
		}
		o := &opening{book: b, peer: p, stock: st}
		if p.known {
			o.previous = p.sessions[0]
		}
		if o.outcome, err = p.openExchange(w, own, st, &x); err == nil {
			return o, nil
		}
		if !errors.Is(failure, ErrDuplicate) {
			failure = err
		}
	}
	return nil, failure
}

// commit stores what the message has changed.
func (o *opening) commit(ctx context.Context, m *Manager) error {
	b := o.book
	if o.newSession {
		if err := o.stock.take(m.opts.Rand, o.preKey); err != nil {
			return err
		}
		b.put[b.stockKey()] = o.stock.marshal()
	}
	if o.session == o.previous {
		return o.commitCurrent(ctx)
	}
	// Another session has become current: the sending halves change places.
	found, err := b.locate(ctx, nil, map[Address]struct{}{o.peer.address: {}})
	if err != nil {
		return err
	}
	p, ok := found[o.peer.address]
	switch {
	case ok && o.previous != nil:
		p.load(o.previous)
	case !ok && o.previous == nil:
		if p, err = b.insert(o.peer.address); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: record and page of a device disagree", ErrState)
	}
	b.keep(p, o.peer.record)
	return b.save(ctx)
}

// commitCurrent stores a message in the session that was current already: in
// the usual case one value.
func (o *opening) commitCurrent(ctx context.Context) error {
	b, rec := o.book, o.peer.record
	b.put[b.deviceKey("record", o.peer.address)] = rec.marshal()
	if o.turned {
		b.put[b.deviceKey("ratchet", o.peer.address)] = o.session.marshalRatchet()
		if err := b.read(ctx, nil, []string{rec.page}); err != nil {
			return err
		}
		p := b.pages[rec.page]
		if rec.slot >= len(p.slots) || p.slots[rec.slot].address != o.peer.address {
			return fmt.Errorf("%w: record of a device names a wrong page", ErrState)
		}
		place{p, rec.slot}.setDue(o.session)
	}
	return b.save(ctx)
}
