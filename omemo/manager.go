package omemo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Address is a remote device.
type Address struct {
	JID    string // bare and normalised
	Device uint32
}

// Device is an own device.
type Device struct {
	JID      string // bare
	ID       uint32 // 1..2^31-1
	Identity IdentityKey
}

// Options are the Manager's surroundings. The zero value is good.
type Options struct {
	Rand io.Reader        // default crypto/rand
	Now  func() time.Time // default time.Now; dates signed prekeys
	// Trust says which keys are trusted that nobody has judged.
	Trust Policy
	// Pins are identity keys by bare JID that count as verified, beside those
	// that operators verify by Manager.Decide.
	Pins map[string][]IdentityKey
	// TagInPayload also opens messages of clients from before 2017, which put
	// the authentication tag at the end of the payload and not into the key.
	TagInPayload bool
}

// Manager performs the OMEMO operations of any number of own devices. It holds
// no state, so it may be used from several goroutines as long as their
// transactions do not touch the same own JID.
//
// Own JIDs are bare and normalised, everywhere.
type Manager struct {
	store Store
	opts  Options
	wires [versions]*wire
}

// NewManager returns a Manager on store.
func NewManager(store Store, opts Options) *Manager {
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	m := &Manager{store: store, opts: opts}
	for v := range m.wires {
		m.wires[v] = wireOf(Version(v))
	}
	return m
}

// book opens the state of an own device in a version.
func (m *Manager) book(v Version, own string) *book {
	prefix := "omemo/" + own + "/" + m.wires[v].space + "/"
	return &book{
		store:  m.store,
		wire:   m.wires[v],
		own:    own,
		root:   prefix[:len("omemo/")+len(own)+1],
		prefix: prefix,
		device: "omemo/" + own + "/device",
		put:    make(map[string][]byte),
	}
}

func (b *book) identityKey() string { return b.device }

func (b *book) stockKey() string { return b.prefix + "stock" }

// identity returns the own device, which must have been read.
func (b *book) identity() (*identity, error) {
	value, ok := b.values[b.identityKey()]
	if !ok {
		return nil, ErrNoOwnDevice
	}
	return unmarshalIdentity(value)
}

// stock returns the own prekeys, which must have been read. There are none
// before the bundle was first asked for.
func (b *book) stock() (*stock, error) {
	value, ok := b.values[b.stockKey()]
	if !ok {
		return new(stock), nil
	}
	return unmarshalStock(value)
}

// Device returns the device of own; ErrNoOwnDevice if there is none.
func (m *Manager) Device(ctx context.Context, own string) (Device, error) {
	b := m.book(Legacy, own)
	if err := b.read(ctx, []string{b.identityKey()}, nil); err != nil {
		return Device{}, err
	}
	id, err := b.identity()
	if err != nil {
		return Device{}, err
	}
	return Device{JID: own, ID: id.device, Identity: IdentityKey(id.keys.pub)}, nil
}

// EnsureDevice returns the device of own. The first call creates it: identity
// key and device id. Commit before the device is shown to anybody.
func (m *Manager) EnsureDevice(ctx context.Context, own string) (Device, error) {
	dev, err := m.Device(ctx, own)
	if !errors.Is(err, ErrNoOwnDevice) {
		return dev, err
	}
	id, err := newIdentity(m.opts.Rand)
	if err != nil {
		return Device{}, err
	}
	b := m.book(Legacy, own)
	b.put[b.identityKey()] = id.marshal()
	return Device{JID: own, ID: id.device, Identity: IdentityKey(id.keys.pub)}, b.save(ctx)
}

// Bundle returns what the own device publishes in a version: a bundle of its own
// for each who asks, since two who choose the same prekey lose a message.
// Commit before it is served: the call may have made new prekeys. The first one
// for a version makes all of them.
func (m *Manager) Bundle(ctx context.Context, v Version, own string) (*Bundle, error) {
	b := m.book(v, own)
	if err := b.read(ctx, []string{b.identityKey(), b.stockKey()}, nil); err != nil {
		return nil, err
	}
	id, err := b.identity()
	if err != nil {
		return nil, err
	}
	st, err := b.stock()
	if err != nil {
		return nil, err
	}
	changed, err := st.tend(m.opts.Rand, b.wire, id, m.opts.Now())
	if err != nil {
		return nil, err
	}
	if changed {
		b.put[b.stockKey()] = st.marshal()
	}
	bundle, err := st.bundle(m.opts.Rand, b.wire, id)
	if err != nil {
		return nil, err
	}
	return bundle, b.save(ctx)
}

// Missing returns those devices of to that Seal would need a bundle for.
func (m *Manager) Missing(ctx context.Context, v Version, own string, to []Address) ([]Address, error) {
	b := m.book(v, own)
	want := make(map[Address]struct{}, len(to))
	for _, a := range to {
		want[a] = struct{}{}
	}
	found, err := b.locate(ctx, []string{b.identityKey()}, want)
	if err != nil {
		return nil, err
	}
	id, err := b.identity()
	if err != nil {
		return nil, err
	}
	var missing []Address
	for _, a := range to {
		_, known := found[a]
		_, first := want[a]
		if first && !known && a != (Address{own, id.device}) {
			missing = append(missing, a)
		}
		delete(want, a)
	}
	return missing, nil
}

// Forget drops everything known about a remote device in both versions, its
// pinned identity key included: an operator's answer to ErrIdentityChanged.
func (m *Manager) Forget(ctx context.Context, own string, device Address) error {
	for v := range m.wires {
		b := m.book(Version(v), own)
		if err := b.forget(ctx, device); err != nil {
			return err
		}
		if err := b.save(ctx); err != nil {
			return err
		}
	}
	return nil
}

// PreKeysLeft returns how many one-time prekeys there are in each version of own
// that has ever offered any.
func (m *Manager) PreKeysLeft(ctx context.Context, own string) ([]int, error) {
	var left []int
	for v := range m.wires {
		b := m.book(Version(v), own)
		if err := b.read(ctx, []string{b.stockKey()}, nil); err != nil {
			return nil, err
		}
		if b.values[b.stockKey()] == nil {
			continue
		}
		st, err := b.stock()
		if err != nil {
			return nil, err
		}
		left = append(left, st.preKeys.count())
	}
	return left, nil
}

// ForgetAll is Forget for all devices of a bare JID.
func (m *Manager) ForgetAll(ctx context.Context, own, jid string) error {
	devices := map[uint32]bool{}
	for v := range m.wires {
		prefix := m.book(Version(v), own).prefix + "record/" + jid + "/"
		values, err := m.store.List(ctx, prefix)
		if err != nil {
			return fmt.Errorf("omemo: list state: %w", err)
		}
		for key := range values {
			device, err := strconv.ParseUint(strings.TrimPrefix(key, prefix), 10, 32)
			if err != nil {
				return fmt.Errorf("%w: %s", ErrState, key)
			}
			devices[uint32(device)] = true
		}
	}
	for device := range devices {
		if err := m.Forget(ctx, own, Address{jid, device}); err != nil {
			return err
		}
	}
	return nil
}

// Drop removes the device of own with its identity key and all that it knows of
// others. There is no way back: a later EnsureDevice makes another device.
func (m *Manager) Drop(ctx context.Context, own string) error {
	values, err := m.store.List(ctx, m.book(Legacy, own).root)
	if err != nil {
		return fmt.Errorf("omemo: list state: %w", err)
	}
	gone := make(map[string][]byte, len(values))
	for key := range values {
		gone[key] = nil
	}
	if err := m.store.PutMany(ctx, gone); err != nil {
		return fmt.Errorf("omemo: write state: %w", err)
	}
	return nil
}

// dropOther drops devices in the version that the book is not of: they have a
// new identity key.
func (m *Manager) dropOther(ctx context.Context, b *book, devices ...Address) error {
	other := m.book(b.wire.version.other(), b.own)
	for _, a := range devices {
		if err := other.forget(ctx, a); err != nil {
			return err
		}
	}
	return other.save(ctx)
}

// Renew drops all sessions and prekeys of own in both versions: what to do with
// a database that was restored from a copy, whose ratchets and prekeys may have
// been used beyond it. Identity keys, the own one and those of the peers, stay.
// The next Bundle makes new prekeys under new ids, Seal needs bundles.
func (m *Manager) Renew(ctx context.Context, own string) error {
	b := m.book(Legacy, own)
	values, err := m.store.List(ctx, b.root)
	if err != nil {
		return fmt.Errorf("omemo: list state: %w", err)
	}
	if len(values) == 0 {
		return ErrNoOwnDevice
	}
	for key, value := range values {
		_, kind, _ := strings.Cut(strings.TrimPrefix(key, b.root), "/")
		switch {
		case key == b.identityKey():
		case strings.HasPrefix(kind, "record/"):
			pin, err := pinOnly(value)
			if err != nil {
				return err
			}
			b.put[key] = pin
		default:
			b.put[key] = nil
		}
	}
	return b.save(ctx)
}

// forget drops a remote device in the book's version.
func (b *book) forget(ctx context.Context, device Address) error {
	found, err := b.locate(ctx, nil, map[Address]struct{}{device: {}})
	if err != nil {
		return err
	}
	if p, ok := found[device]; ok {
		p.free()
	}
	b.put[b.deviceKey("record", device)], b.put[b.deviceKey("ratchet", device)] = nil, nil
	return nil
}
