package omemo

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
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
	wire  *wire
}

// NewManager returns a Manager on store.
func NewManager(store Store, opts Options) *Manager {
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Manager{store: store, opts: opts, wire: legacyWire()}
}

// book opens the state of an own device.
func (m *Manager) book(own string) *book {
	return &book{
		store:  m.store,
		root:   "omemo/" + own + "/",
		prefix: "omemo/" + own + "/" + m.wire.space + "/",
		values: make(map[string][]byte),
		pages:  make(map[string]*page),
		put:    make(map[string][]byte),
	}
}

func (b *book) identityKey() string { return b.root + "device" }

func (b *book) stockKey() string { return b.prefix + "stock" }

// identity returns the own device, which must have been read.
func (b *book) identity() (*identity, error) {
	value, ok := b.values[b.identityKey()]
	if !ok {
		return nil, ErrNoOwnDevice
	}
	return unmarshalIdentity(value)
}

// stock returns the own prekeys, which must have been read.
func (b *book) stock() (*stock, error) {
	return unmarshalStock(b.values[b.stockKey()])
}

// EnsureDevice returns the device of own. The first call creates it: identity
// key, device id, one signed prekey and 100 one-time prekeys. Commit before
// the device or its bundle is shown to anybody.
func (m *Manager) EnsureDevice(ctx context.Context, own string) (Device, error) {
	b := m.book(own)
	if err := b.read(ctx, []string{b.identityKey()}, nil); err != nil {
		return Device{}, err
	}
	if _, ok := b.values[b.identityKey()]; ok {
		id, err := b.identity()
		if err != nil {
			return Device{}, err
		}
		return Device{JID: own, ID: id.device, Identity: IdentityKey(id.keys.pub)}, nil
	}
	id, err := newIdentity(m.opts.Rand)
	if err != nil {
		return Device{}, err
	}
	st, err := newStock(m.opts.Rand, m.wire, id, m.opts.Now())
	if err != nil {
		return Device{}, err
	}
	b.put[b.identityKey()] = id.marshal()
	b.put[b.stockKey()] = st.marshal()
	if err := b.save(ctx); err != nil {
		return Device{}, err
	}
	return Device{JID: own, ID: id.device, Identity: IdentityKey(id.keys.pub)}, nil
}

// newIdentity makes a device. Clients read device ids as positive signed
// 32-bit numbers.
func newIdentity(rand io.Reader) (*identity, error) {
	var b [4]byte
	for {
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return nil, fmt.Errorf("omemo: draw a device id: %w", err)
		}
		if id := binary.BigEndian.Uint32(b[:]) >> 1; id != 0 {
			keys, err := newKeyPair(rand)
			return &identity{device: id, keys: keys}, err
		}
	}
}

// Bundle returns what the own device publishes. Commit before it is served:
// the call may have refilled the stock of prekeys.
func (m *Manager) Bundle(ctx context.Context, own string) (*Bundle, error) {
	b := m.book(own)
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
	changed, err := st.refill(m.opts.Rand)
	if err != nil {
		return nil, err
	}
	if changed {
		b.put[b.stockKey()] = st.marshal()
	}
	return st.bundle(id), b.save(ctx)
}

// Missing returns those devices of to that Seal would need a bundle for.
func (m *Manager) Missing(ctx context.Context, own string, to []Address) ([]Address, error) {
	b := m.book(own)
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

// Forget drops everything known about a remote device, its pinned identity
// key included: an operator's answer to ErrIdentityChanged.
func (m *Manager) Forget(ctx context.Context, own string, device Address) error {
	b := m.book(own)
	found, err := b.locate(ctx, nil, map[Address]struct{}{device: {}})
	if err != nil {
		return err
	}
	p, ok := found[device]
	if !ok {
		return nil
	}
	p.free()
	b.put[b.deviceKey("record", device)] = nil
	b.put[b.deviceKey("ratchet", device)] = nil
	return b.save(ctx)
}
