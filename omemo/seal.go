package omemo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Skip says why a device cannot read a sealed message.
type Skip struct {
	Address Address
	// Err wraps ErrNoSession, ErrUntrusted, ErrIdentityChanged, ErrBundle (and
	// ErrNoPreKey), ErrOwnDevice, ErrTooManyDevices or, for no JID, ErrMalformed.
	Err error
}

// Built is a session that sealing has started.
type Built struct {
	Address Address
	PreKey  uint32 // the one-time prekey used: take it out of any cached bundle (Bundle.Without)
}

// Report says what sealing did, device by device.
type Report struct {
	Sealed  []Address // who can read the message
	Skipped []Skip    // who cannot, and why
	Built   []Built   // the sessions started among Sealed
}

// Seal encrypts plain for the devices to: in Legacy a body's UTF-8, in Two an
// envelope from AppendEnvelope. A device without a session gets one from its
// bundle in bundles; a bundle of a device that has a session is not used.
// Devices that cannot be sealed for, among them those whose key is not trusted,
// are left out and reported. When none is left the error is ErrNoDevices,
// nothing is written and the report is valid.
//
// Commit before the message leaves; a message that could not be sent may be
// sent again as it is, but never sealed anew under rolled back state.
func (m *Manager) Seal(ctx context.Context, v Version, own string, to []Address, bundles map[Address]*Bundle, plain []byte) (*Message, Report, error) {
	payload, iv, material, err := m.sealPayload(v, plain)
	if err != nil {
		return nil, Report{}, err
	}
	msg, report, err := m.sealMaterial(ctx, v, own, to, bundles, material, false)
	if err != nil {
		return nil, report, err
	}
	msg.IV, msg.Payload = iv, payload
	return msg, report, nil
}

// SealEmpty makes a message without content for one device: it carries only
// the ratchet's progress, so the device need not be trusted. Without bundle it
// uses the present session (ErrNoSession if there is none), as Opened.SendEmpty
// asks for. With bundle it starts a new session and archives the present one:
// the repair of a broken session; ErrIdentityChanged if the bundle is another
// identity's, unless that one is verified.
func (m *Manager) SealEmpty(ctx context.Context, v Version, own string, to Address, bundle *Bundle) (*Message, error) {
	material, iv, err := m.emptyMaterial(v)
	if err != nil {
		return nil, err
	}
	var msg *Message
	if bundle == nil {
		var report Report
		if msg, report, err = m.sealMaterial(ctx, v, own, []Address{to}, nil, material, true); len(report.Skipped) > 0 {
			err = report.Skipped[0].Err
		}
	} else {
		msg, err = m.sealAnew(ctx, v, own, to, bundle, material)
	}
	if err != nil {
		return nil, err
	}
	msg.IV = iv
	return msg, nil
}

// sealer seals one message for device after device.
type sealer struct {
	*book
	other   *wire
	judge   *judge
	anybody bool // whoever is not trusted gets it as well: there is no content
	rand    io.Reader
	own     *identity
	scratch sealScratch
	inner   []byte // a message on its way into a key exchange
	wires   []byte // the sealed keys, one after the other
	msg     *Message
	report  Report
	changed []Address // devices that have a new identity key, which is verified
}

// newSealer begins a message. The own identity and the decisions on trust must
// have been read.
func (m *Manager) newSealer(b *book, devices int) (*sealer, error) {
	id, err := b.identity()
	if err != nil {
		return nil, err
	}
	j, err := m.judge(b.values)
	if err != nil {
		return nil, err
	}
	const usual = 112 // a sealed key of 32 bytes; a key exchange takes 90 more
	return &sealer{
		book: b, other: m.wires[b.wire.version.other()], judge: j, rand: m.opts.Rand, own: id,
		wires:  make([]byte, 0, devices*usual),
		msg:    &Message{Version: b.wire.version, SID: id.device, Keys: make([]Key, 0, devices)},
		report: Report{Sealed: make([]Address, 0, devices)},
	}, nil
}

// sealMaterial seals key material for devices: one read, one write.
func (m *Manager) sealMaterial(ctx context.Context, v Version, own string, to []Address, bundles map[Address]*Bundle, material []byte, anybody bool) (*Message, Report, error) {
	b := m.book(v, own)
	want := make(map[Address]struct{}, len(to))
	keys := append(make([]string, 0, 2+2*len(bundles)), b.identityKey(), TrustKey)
	for _, a := range to {
		want[a] = struct{}{}
		if bundles[a] != nil { // what the device may have shown before
			keys = append(keys, b.deviceKey("record", a), b.recordKey(m.wires[v.other()], a))
		}
	}
	found, err := b.locate(ctx, keys, want)
	if err != nil {
		return nil, Report{}, err
	}
	s, err := m.newSealer(b, len(want))
	if err != nil {
		return nil, Report{}, err
	}
	s.anybody = anybody
	for _, a := range to {
		if _, first := want[a]; !first {
			continue
		}
		delete(want, a)
		if err := s.sealFor(a, found, bundles[a], material); err != nil {
			return nil, Report{}, err
		}
	}
	if len(s.msg.Keys) == 0 {
		return nil, s.report, ErrNoDevices
	}
	return s.msg, s.report, m.saveSealed(ctx, s)
}

// saveSealed stores what sealing has changed.
func (m *Manager) saveSealed(ctx context.Context, s *sealer) error {
	if s.msg.Version == Two {
		slices.SortStableFunc(s.msg.Keys, func(a, b Key) int { return strings.Compare(a.JID, b.JID) })
	}
	if len(s.changed) > 0 {
		if err := m.dropOther(ctx, s.book, s.changed...); err != nil {
			return err
		}
	}
	return s.save(ctx)
}

// sealFor seals for one device or reports why not. An error ends the whole
// operation: it is not the device's fault.
func (s *sealer) sealFor(a Address, found map[Address]place, bundle *Bundle, material []byte) error {
	if a == (Address{s.book.own, s.own.device}) {
		s.skip(a, ErrOwnDevice)
		return nil
	}
	p, ok := found[a]
	if ok {
		if !s.anybody && !s.judge.of(s.wire, a.JID, &p.send().identity).trusted() {
			s.skip(a, ErrUntrusted)
			return nil
		}
		return s.seal(p, material)
	}
	if bundle == nil {
		s.skip(a, ErrNoSession)
		return nil
	}
	if !s.anybody && !s.judge.ofKey(a.JID, bundle.Identity).trusted() {
		s.skip(a, ErrUntrusted)
		return nil
	}
	changed, err := s.accept(a, bundle)
	if errors.Is(err, ErrIdentityChanged) {
		s.skip(a, err)
		return nil
	}
	if err != nil {
		return err
	}
	built, err := s.build(bundle)
	if errors.Is(err, ErrBundle) {
		s.skip(a, err)
		return nil
	}
	if err != nil {
		return err
	}
	if p, err = s.insert(a, found); err != nil {
		s.skip(a, err)
		return nil
	}
	if changed {
		s.changed = append(s.changed, a)
	}
	s.keep(p, &record{identity: bundle.identity, sessions: []*session{built}})
	s.report.Built = append(s.report.Built, Built{a, built.preKey})
	return s.seal(p, material)
}

func (s *sealer) skip(a Address, err error) {
	s.report.Skipped = append(s.report.Skipped, Skip{a, err})
}

// accept compares a bundle's identity key with what the device has shown
// before. changed says that it is another one, but verified.
func (s *sealer) accept(a Address, bundle *Bundle) (changed bool, err error) {
	pin, pinned, err := s.pinned(s.other, a)
	if err != nil || !pinned || pin == bundle.Identity {
		return false, err
	}
	if s.judge.ofKey(a.JID, bundle.Identity) != Verified {
		return false, &IdentityError{bundle.Identity}
	}
	return true, nil
}

// build starts a session from a bundle on a prekey chosen at random, so that
// two devices which hold the same bundle seldom take the same one.
func (s *sealer) build(bundle *Bundle) (*session, error) {
	if !bundle.verified || bundle.Version != s.wire.version {
		return nil, fmt.Errorf("%w: not verified, or of another version", ErrBundle)
	}
	if len(bundle.PreKeys) == 0 {
		return nil, fmt.Errorf("%w: %w", ErrBundle, ErrNoPreKey)
	}
	chosen := 0
	if n := len(bundle.PreKeys); n > 1 {
		var b [8]byte
		if _, err := io.ReadFull(s.rand, b[:]); err != nil {
			return nil, fmt.Errorf("omemo: choose a prekey: %w", err)
		}
		chosen = int(binary.BigEndian.Uint64(b[:]) % uint64(n))
	}
	built, err := s.wire.initiate(s.rand, s.own, bundle, bundle.PreKeys[chosen])
	if errors.Is(err, ErrMalformed) {
		err = fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return built, err
}

// seal appends the key for the device at p.
func (s *sealer) seal(p place, material []byte) error {
	slot := p.send()
	if d := p.dueTurn(); d != nil {
		if err := s.makeTurn(p, d); err != nil {
			return err
		}
	}
	s.scratch.header = header{ratchet: slot.ratchet, n: binary.BigEndian.Uint32(p.counter()), pn: slot.previous}
	s.scratch.authenticated = s.wire.associated(s.scratch.authenticated[:0], s.wire.own(s.own), &slot.identity, true, slot.initiator)
	s.scratch.associated = len(s.scratch.authenticated)
	start := len(s.wires)
	if slot.unconfirmed {
		s.inner = s.wire.appendSealed(s.inner[:0], &s.scratch, p.chain(), material)
		s.wires = s.wire.appendExchange(s.wires, &exchange{
			preKey: slot.preKey, signedPreKey: slot.signedPreKey, device: s.own.device,
			base: slot.base, identity: *s.wire.own(s.own), message: s.inner,
		})
	} else {
		s.wires = s.wire.appendSealed(s.wires, &s.scratch, p.chain(), material)
	}
	binary.BigEndian.PutUint32(p.counter(), s.scratch.header.n+1)
	p.hotChanged = true
	key := Key{RID: slot.address.Device, PreKey: slot.unconfirmed, Data: s.wires[start:len(s.wires):len(s.wires)]}
	if s.msg.Version == Two {
		key.JID = slot.address.JID
	}
	s.msg.Keys = append(s.msg.Keys, key)
	s.report.Sealed = append(s.report.Sealed, slot.address)
	return nil
}

// makeTurn makes the sending half of a turn that opening a message left due.
// It also ends the wrapping: the peer has answered.
func (s *sealer) makeTurn(p place, d *dueTurn) error {
	next := session{root: d.root}
	var err error
	if next.own, next.send, err = s.wire.turn(s.rand, &next.root, &d.remote); err != nil {
		return err
	}
	slot := p.send()
	slot.previous = binary.BigEndian.Uint32(p.counter())
	slot.ratchet, slot.unconfirmed = next.own.pub, false
	slot.base, slot.preKey, slot.signedPreKey = [32]byte{}, 0, 0
	*p.chain() = next.send
	binary.BigEndian.PutUint32(p.counter(), 0)
	p.clearDue()
	p.sendChanged = true
	s.put[s.deviceKey("ratchet", slot.address)] = next.marshalRatchet()
	return nil
}

// keep writes a record whose current session has become so in this operation.
func (b *book) keep(p place, rec *record) {
	rec.page, rec.slot = p.path, p.slot
	current := rec.sessions[0]
	p.store(rec.identity, current)
	b.put[b.deviceKey("record", p.send().address)] = rec.marshal()
	b.put[b.deviceKey("ratchet", p.send().address)] = current.marshalRatchet()
}

// sealAnew seals in a new session even if there is one.
func (m *Manager) sealAnew(ctx context.Context, v Version, own string, to Address, bundle *Bundle, material []byte) (*Message, error) {
	b := m.book(v, own)
	recordKey, ratchetKey := b.deviceKey("record", to), b.deviceKey("ratchet", to)
	keys := []string{b.identityKey(), TrustKey, recordKey, ratchetKey, b.recordKey(m.wires[v.other()], to)}
	found, err := b.locate(ctx, keys, map[Address]struct{}{to: {}})
	if err != nil {
		return nil, err
	}
	s, err := m.newSealer(b, 1)
	if err != nil {
		return nil, err
	}
	if to == (Address{own, s.own.device}) {
		return nil, ErrOwnDevice
	}
	changed, err := s.accept(to, bundle)
	if err != nil {
		return nil, err
	}
	if changed {
		s.changed = append(s.changed, to)
	}
	rec := &record{identity: bundle.identity}
	p, ok := found[to]
	switch {
	case !ok:
		if p, err = b.insert(to, found); err != nil {
			return nil, err
		}
	case b.values[recordKey] != nil: // a lost one is replaced
		old, err := unmarshalRecord(b.values[recordKey], b.values[ratchetKey])
		if err != nil {
			return nil, err
		}
		if old.identity == rec.identity && len(old.sessions) > 0 { // else its sessions are another key's, or lost
			rec = old
			p.load(rec.sessions[0])
		}
	}
	built, err := s.build(bundle)
	if err != nil {
		return nil, err
	}
	rec.add(built)
	s.keep(p, rec)
	if err := s.seal(p, material); err != nil {
		return nil, err
	}
	return s.msg, m.saveSealed(ctx, s)
}
