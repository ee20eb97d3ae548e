// Package omemo seals and opens end-to-end encrypted messages for devices that
// this process owns, by XEP-0384 (OMEMO Encryption) in two versions: Legacy is
// version 0.3.0, which nearly every client speaks, Two is version 0.8.0 and
// later. An own device has one id and one identity key for both; sessions and
// prekeys are apart.
//
// # Policy
//
// The package does no network I/O and keeps nothing in memory between calls.
// Every byte of state goes through Store, whose transaction travels in the
// context: the caller opens one transaction, calls one method of Manager (or
// several), commits, and only then lets a sealed message leave the process.
// Rolling the transaction back undoes the call completely.
//
// A remote device has one identity key over both versions: the first one seen
// is pinned, another one is refused with ErrIdentityChanged until an operator
// has the device forgotten or has verified the new key. Which keys get content
// is another question; Policy answers it where no operator has.
//
// In Two what is sealed is an envelope. It is the caller who knows the real
// sender and place and compares them with those in the envelope, and who
// believes nothing outside of it.
//
// # Guarantees
//
//   - A message key is used once. The chain position that a sealed message
//     consumed is in the same transaction as the message itself.
//   - A message that cannot be opened changes nothing: neither a session nor a
//     prekey, whatever it contains.
//   - Messages may arrive late, twice and in any order: up to 1000 missing
//     messages in a row, the last 5 chains of a session, and 8 earlier sessions
//     of a device are kept for them. The number of messages in the previous
//     chain that a peer announces is never relied on, since libsignal sends one
//     too few.
//   - Bundles may be old: a signed prekey is offered for 7 days and kept for 30
//     more. A one-time prekey serves once, and no id is offered twice.
//   - Remote input never panics, and what it can make the package store is
//     bounded: 1000 skipped keys a session, 9 sessions a device, some 2000
//     devices of a JID at the very worst. What parsing costs is in proportion
//     to the input, of which there are 4 MiB at most.
//   - Sealing for any number of devices is one read and one write of the
//     store as long as the own device knows at most some 4000 remote devices,
//     and one read more for each sixteenfold of that.
//
// # Layout of the state
//
// The decisions of operators are under "omemo/trust". All other keys begin with
// "omemo/" and the own bare JID; SPACE is "l" for Legacy and "2" for Two:
//
//	device                     device id and identity key
//	SPACE/stock                signed prekeys, one-time prekeys
//	SPACE/hot/PAGE             sending chain key and counter of up to 256 devices
//	SPACE/send/PAGE            address, identity and message header of the same devices
//	SPACE/ratchet/JID/DEVICE   root key and own ratchet key of the current session
//	SPACE/record/JID/DEVICE    pinned identity key, receiving chains, skipped keys, archived sessions
//
// A message to n devices reads hot and send pages and rewrites the hot pages
// only; the other values change when a session turns. See pages.go and book.go
// for how a device finds its page.
package omemo

import "errors"

// Errors that a caller may tell apart with errors.Is. Those that concern one
// device are found in a Report, wrapped.
var (
	// ErrDuplicate: the message was opened before. Benign; archives and
	// carbons cause it daily.
	ErrDuplicate = errors.New("omemo: message already opened")
	// ErrNotForUs: no key in the message is for the own device. Benign in
	// history and for key transport.
	ErrNotForUs = errors.New("omemo: no key for this device")
	// ErrNoSession: there is no session with that device. On Seal: fetch its
	// bundle. On Open: the peer believes in a session that we do not have.
	ErrNoSession = errors.New("omemo: no session with the device")
	// ErrBadMAC: no session of the device authenticates the message.
	ErrBadMAC = errors.New("omemo: message does not authenticate")
	// ErrTooManySkipped: more than 1000 messages before this one are missing.
	ErrTooManySkipped = errors.New("omemo: too many skipped messages")
	// ErrPreKeyUnknown: a key exchange names a prekey that we no longer or
	// never had: a replay, a stale bundle, or a prekey used twice.
	ErrPreKeyUnknown = errors.New("omemo: key exchange names an unknown prekey")
	// ErrNoPreKey: a key exchange or a bundle comes without one-time prekey.
	ErrNoPreKey = errors.New("omemo: no one-time prekey")
	// ErrIdentityChanged: the device shows another identity key than the one
	// pinned. Only an operator can settle it, by Manager.Forget or Manager.Decide.
	// It comes as an *IdentityError.
	ErrIdentityChanged = errors.New("omemo: identity key of the device changed")
	// ErrUntrusted: the device's key is undecided or distrusted, so it gets no
	// content.
	ErrUntrusted = errors.New("omemo: identity key of the device is not trusted")
	// ErrSenderUnknown: a key exchange fits none of several possible senders.
	ErrSenderUnknown = errors.New("omemo: sender cannot be determined")
	// ErrMalformed: the element, a key in it or its key material breaks the format.
	ErrMalformed = errors.New("omemo: malformed message")
	// ErrNotEncrypted: the stanza has no element of our namespace.
	ErrNotEncrypted = errors.New("omemo: not an encrypted stanza")
	// ErrBadPayload: the key is ours, the payload does not belong to it.
	ErrBadPayload = errors.New("omemo: payload does not authenticate")
	// ErrBundle: a bundle is malformed or its signature is wrong.
	ErrBundle = errors.New("omemo: unusable bundle")
	// ErrDeviceList: a device list is malformed.
	ErrDeviceList = errors.New("omemo: malformed device list")
	// ErrFingerprint: a fingerprint or key URI cannot be read.
	ErrFingerprint = errors.New("omemo: malformed fingerprint")
	// ErrNoDevices: none of the wanted devices can be sealed for.
	ErrNoDevices = errors.New("omemo: no device to seal for")
	// ErrOwnDevice: the own device is among the wanted ones; it is left out.
	ErrOwnDevice = errors.New("omemo: own device")
	// ErrNoOwnDevice: EnsureDevice was never called for this JID.
	ErrNoOwnDevice = errors.New("omemo: no own device for this JID")
	// ErrVersion: a name is no version's.
	ErrVersion = errors.New("omemo: unknown version")
	// ErrTooManyDevices: there is no room for the device.
	ErrTooManyDevices = errors.New("omemo: too many devices")
	// ErrState: a stored value is damaged or was written by a newer program.
	ErrState = errors.New("omemo: damaged state")
)

// IdentityError is ErrIdentityChanged with the key that is shown now, for which
// nothing speaks but the device's own word or its server's.
type IdentityError struct{ Now IdentityKey }

func (e *IdentityError) Error() string {
	return ErrIdentityChanged.Error() + " to " + e.Now.Fingerprint()
}

// Unwrap returns ErrIdentityChanged.
func (e *IdentityError) Unwrap() error { return ErrIdentityChanged }
