package omemo

import (
	"context"
	"errors"
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
}

// NewManager returns a Manager on store.
func NewManager(store Store, opts Options) *Manager {
	return &Manager{store: store, opts: opts}
}

// EnsureDevice returns the device of own. The first call creates it: identity
// key, device id, one signed prekey and 100 one-time prekeys. Commit before
// the device or its bundle is shown to anybody.
func (m *Manager) EnsureDevice(ctx context.Context, own string) (Device, error) {
	return Device{}, errUnbuilt
}

// Bundle returns what the own device publishes. Commit before it is served:
// the call may have refilled the stock of prekeys.
func (m *Manager) Bundle(ctx context.Context, own string) (*Bundle, error) {
	return nil, errUnbuilt
}

// Missing returns those devices of to that Seal would need a bundle for.
func (m *Manager) Missing(ctx context.Context, own string, to []Address) ([]Address, error) {
	return nil, errUnbuilt
}

// Skip says why a device cannot read a sealed message.
type Skip struct {
	Address Address
	Err     error // wraps ErrNoSession, ErrIdentityChanged, ErrBundle, ErrNoPreKey or ErrOwnDevice
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

// Seal encrypts plain, a body's UTF-8, for the devices to. A device without a
// session gets one from its bundle in bundles; a bundle of a device that has a
// session is not used. Devices that cannot be sealed for are left out and
// reported. When none is left the error is ErrNoDevices, nothing is written
// and the report is valid.
//
// Commit before the message leaves; a message that could not be sent may be
// sent again as it is, but never sealed anew under rolled back state.
func (m *Manager) Seal(ctx context.Context, own string, to []Address, bundles map[Address]*Bundle, plain []byte) (*Message, Report, error) {
	return nil, Report{}, errUnbuilt
}

// SealEmpty makes a key transport message for one device: it carries no
// content, only the ratchet's progress. Without bundle it uses the present
// session (ErrNoSession if there is none), as Opened.SendEmpty asks for. With
// bundle it starts a new session and archives the present one: the repair of
// a broken session.
func (m *Manager) SealEmpty(ctx context.Context, own string, to Address, bundle *Bundle) (*Message, error) {
	return nil, errUnbuilt
}

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
	return Opened{}, errUnbuilt
}

// Forget drops everything known about a remote device, its pinned identity
// key included: an operator's answer to ErrIdentityChanged.
func (m *Manager) Forget(ctx context.Context, own string, device Address) error {
	return errUnbuilt
}

var errUnbuilt = errors.New("omemo: not available")
