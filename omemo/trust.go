package omemo

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Trust says what a device's identity key is to us. It belongs to the pair of a
// bare JID and a key: a device that shows the key under another id is the same,
// another account's device with it is not.
type Trust uint8

const (
	// Undecided keys get no content; what they send is marked.
	Undecided Trust = iota
	// Blind keys are trusted without anybody having compared them.
	Blind
	// Verified keys were compared by an operator, or are pinned.
	Verified
	// Distrusted keys get no content; what they send is refused by the caller.
	Distrusted
)

// String returns "undecided", "blind", "verified" or "distrusted".
func (t Trust) String() string {
	names := [...]string{"undecided", "blind", "verified", "distrusted"}
	if int(t) < len(names) {
		return names[t]
	}
	return "unknown"
}

// Policy is what holds for keys that nobody has judged.
type Policy uint8

const (
	// BlindBeforeVerification trusts every key of a JID blindly until one of
	// its keys is verified. Keys that come after that are undecided.
	BlindBeforeVerification Policy = iota
	// VerifiedOnly trusts verified keys alone.
	VerifiedOnly
)

// TrustKey is the key under which all decisions of operators are stored. Only
// Decide writes it.
const TrustKey = "omemo/trust"

// judge says which keys are trusted.
type judge struct {
	policy  Policy
	pins    map[string][]IdentityKey
	decided map[string][]decision // by JID
}

type decision struct {
	key   IdentityKey
	trust Trust
}

// judge takes the decisions from what was read.
func (m *Manager) judge(values map[string][]byte) (*judge, error) {
	j := &judge{policy: m.opts.Trust, pins: m.opts.Pins}
	value, ok := values[TrustKey]
	if !ok {
		return j, nil
	}
	j.decided = make(map[string][]decision)
	r := newReader(value)
	for len(r.rest) > 0 && !r.failed {
		jid := r.text()
		for range r.count(33) {
			d := decision{IdentityKey(r.key()), Trust(r.byte())}
			if d.trust > Distrusted {
				r.failed = true
			}
			j.decided[jid] = append(j.decided[jid], d)
		}
	}
	return j, r.end("decisions on trust")
}

// marshal makes the value under TrustKey; nil if there are no decisions.
func (j *judge) marshal() []byte {
	if len(j.decided) == 0 {
		return nil
	}
	dst := []byte{stateVersion}
	for _, jid := range slices.Sorted(maps.Keys(j.decided)) {
		list := j.decided[jid]
		dst = binary.BigEndian.AppendUint16(appendText(dst, jid), uint16(len(list)))
		for i := range list {
			dst = append(append(dst, list[i].key[:]...), byte(list[i].trust))
		}
	}
	return dst
}

// of returns the trust in a JID's key, given in a version's form.
func (j *judge) of(w *wire, jid string, identity *[32]byte) Trust {
	if len(j.decided[jid]) > 0 || len(j.pins[jid]) > 0 {
		return j.ofKey(jid, w.curve(identity))
	}
	return j.byPolicy(false)
}

func (j *judge) ofKey(jid string, key IdentityKey) Trust {
	for _, d := range j.decided[jid] {
		if d.key == key {
			return d.trust
		}
	}
	if slices.Contains(j.pins[jid], key) {
		return Verified
	}
	return j.byPolicy(j.verifies(jid))
}

func (j *judge) byPolicy(verified bool) Trust {
	if j.policy == BlindBeforeVerification && !verified {
		return Blind
	}
	return Undecided
}

// verifies reports whether any key of a JID is verified.
func (j *judge) verifies(jid string) bool {
	return len(j.pins[jid]) > 0 || slices.ContainsFunc(j.decided[jid], func(d decision) bool { return d.trust == Verified })
}

// decide notes a decision; Undecided takes one back.
func (j *judge) decide(jid string, key IdentityKey, trust Trust) {
	list := slices.DeleteFunc(j.decided[jid], func(d decision) bool { return d.key == key })
	if trust != Undecided {
		list = append(list, decision{key, trust})
	}
	if j.decided == nil {
		j.decided = make(map[string][]decision)
	}
	if j.decided[jid] = list; len(list) == 0 {
		delete(j.decided, jid)
	}
}

// trusted reports whether a key gets content.
func (t Trust) trusted() bool { return t == Blind || t == Verified }

// maxDecisions is how many keys of one JID can be judged.
const maxDecisions = 1000

// Decide stores an operator's decision on a key of a bare JID, for all own
// devices; Undecided takes an earlier one back. When the first key of a JID is
// verified, the other keys that are known and trusted at that time stay trusted
// blindly: only later ones are undecided. A verified key is also accepted from a
// device that had another one.
func (m *Manager) Decide(ctx context.Context, jid string, key IdentityKey, trust Trust) error {
	if jid == "" || len(jid) > maxJID || trust > Distrusted {
		return fmt.Errorf("%w: decision on a JID of %d bytes", ErrMalformed, len(jid))
	}
	values, err := m.store.GetMany(ctx, []string{TrustKey})
	if err != nil {
		return fmt.Errorf("omemo: read state: %w", err)
	}
	j, err := m.judge(values)
	if err != nil {
		return err
	}
	if trust == Verified && j.byPolicy(j.verifies(jid)) == Blind {
		known, err := m.known(ctx, j)
		if err != nil {
			return err
		}
		for _, d := range known {
			if d.Address.JID == jid && j.ofKey(jid, d.Identity) == Blind {
				j.decide(jid, d.Identity, Blind)
			}
		}
	}
	j.decide(jid, key, trust)
	if len(j.decided[jid]) > maxDecisions {
		return fmt.Errorf("%w: more than %d keys of one JID are judged", ErrState, maxDecisions)
	}
	if err := m.store.PutMany(ctx, map[string][]byte{TrustKey: j.marshal()}); err != nil {
		return fmt.Errorf("omemo: write state: %w", err)
	}
	return nil
}

// KnownDevice is a remote device that an own device has a session with.
type KnownDevice struct {
	Own      string // bare JID of the own device
	Address  Address
	Identity IdentityKey
	Trust    Trust
	Versions []Version // with a session
}

// Known lists the remote devices of all own devices, sorted by own JID and
// address. It reads all of the state: it is made for operators.
func (m *Manager) Known(ctx context.Context) ([]KnownDevice, error) {
	values, err := m.store.GetMany(ctx, []string{TrustKey})
	if err != nil {
		return nil, fmt.Errorf("omemo: read state: %w", err)
	}
	j, err := m.judge(values)
	if err != nil {
		return nil, err
	}
	return m.known(ctx, j)
}

func (m *Manager) known(ctx context.Context, j *judge) ([]KnownDevice, error) {
	values, err := m.store.List(ctx, "omemo/")
	if err != nil {
		return nil, fmt.Errorf("omemo: list state: %w", err)
	}
	var known []KnownDevice
	for key, value := range values {
		// omemo/OWN/SPACE/record/JID/DEVICE
		parts := strings.Split(key, "/")
		if len(parts) != 6 || parts[3] != "record" || !hasSessions(value) {
			continue
		}
		device, err := strconv.ParseUint(parts[5], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", ErrState, key)
		}
		w := m.wires[Legacy]
		if parts[2] != w.space {
			w = m.wires[Two]
		}
		identity, err := recordIdentity(w, value)
		if err != nil {
			return nil, err
		}
		known = append(known, KnownDevice{
			Own: parts[1], Address: Address{parts[4], uint32(device)}, Identity: identity,
			Trust: j.ofKey(parts[4], identity), Versions: []Version{w.version},
		})
	}
	slices.SortFunc(known, compareKnown)
	return mergeKnown(known), nil
}

func compareKnown(a, b KnownDevice) int {
	return cmp.Or(
		strings.Compare(a.Own, b.Own), strings.Compare(a.Address.JID, b.Address.JID),
		cmp.Compare(a.Address.Device, b.Address.Device), cmp.Compare(a.Versions[0], b.Versions[0]))
}

// mergeKnown makes one entry of those that differ in the version only.
func mergeKnown(sorted []KnownDevice) []KnownDevice {
	out := sorted[:0]
	for _, d := range sorted {
		if n := len(out); n > 0 && out[n-1].Own == d.Own && out[n-1].Address == d.Address {
			out[n-1].Versions = append(out[n-1].Versions, d.Versions...)
			continue
		}
		out = append(out, d)
	}
	return out
}
