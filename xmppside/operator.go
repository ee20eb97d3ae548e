package xmppside

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mellium.im/xmpp/jid"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// Operator is what an admin's commands see of a network of kind xmpp: its keys and those of the people it talks to, and
// whom it trusts. It works on State alone, whether or not a Side runs on the same State at that time.
type Operator struct {
	state  gateway.State
	self   string
	domain string
	omemo  *omemo.Manager
}

// NewOperator returns an Operator on a network's State, of which it writes OperatorKey and nothing else.
func NewOperator(cfg Config, state gateway.State) (*Operator, error) {
	self, err := jid.New(cfg.Nick, cfg.Component, "")
	if err != nil {
		return nil, fmt.Errorf("address of the gateway: %w", err)
	}
	return &Operator{state: state, self: self.String(), domain: self.Domainpart(), omemo: omemo.NewManager(state, cfg.OMEMO.options())}, nil
}

// Own is an address of ours.
type Own struct {
	JID    string         // bare
	Person gateway.Person // for whom it speaks; zero: the gateway itself
}

// Addresses lists all addresses of ours, the gateway's first.
func (o *Operator) Addresses(ctx context.Context) ([]Own, error) {
	stored, err := o.state.List(ctx, statePuppet)
	if err != nil {
		return nil, fmt.Errorf("read the puppets: %w", err)
	}
	all := []Own{{JID: o.self}}
	for key, value := range stored {
		var p puppet
		if err := json.Unmarshal(value, &p); err != nil {
			return nil, fmt.Errorf("read puppet %s: %w", key, err)
		}
		all = append(all, Own{JID: p.JID, Person: p.Person})
	}
	slices.SortFunc(all[1:], func(a, b Own) int { return cmpString(a.JID, b.JID) })
	return all, nil
}

// ErrNoDevice means that the address has no OMEMO device.
var ErrNoDevice = errors.New("has no OMEMO device yet")

// OwnDevice is the device of an address of ours, as others verify it.
type OwnDevice struct {
	ID          uint32
	Fingerprint string // 64 hex digits in 8 groups
	URI         string // the xmpp: URI that clients scan
}

// Device returns the device of an address of ours. It makes none: that is the running gateway's.
func (o *Operator) Device(ctx context.Context, own string) (OwnDevice, error) {
	d, err := o.omemo.Device(ctx, own)
	if errors.Is(err, omemo.ErrNoOwnDevice) {
		return OwnDevice{}, ErrNoDevice
	}
	if err != nil {
		return OwnDevice{}, fmt.Errorf("read the device of %s: %w", own, err)
	}
	return OwnDevice{d.ID, d.Identity.Fingerprint(), omemo.URI(omemo.Address{JID: own, Device: d.ID}, d.Identity)}, nil
}

// OperatorKey is the key of State that holds what operators decided about trust. A Side reads it with every message and
// never writes it.
const OperatorKey = omemo.TrustKey

// Decision is what an operator says about somebody's key.
type Decision = omemo.Trust

// The decisions.
const (
	Verify   = omemo.Verified
	Distrust = omemo.Distrusted
	Undo     = omemo.Undecided // takes an earlier one back
)

// KnownKey is an identity key of somebody's, on one of their devices.
type KnownKey struct {
	JID         string // bare
	Device      uint32 // 0: no device has shown it yet
	Fingerprint string // 64 hex digits in 8 groups
	Versions    []string
	Trust       omemo.Trust
	// Decided: an operator's decision about this key is kept. Pinned: the configuration names it.
	Decided, Pinned bool
	Own             []string // our addresses that talk to the device
}

// Keys lists everybody's keys by address and device, those first that a device has shown.
func (o *Operator) Keys(ctx context.Context) ([]KnownKey, error) {
	known, err := o.omemo.Known(ctx)
	if err != nil {
		return nil, err
	}
	judged, err := o.omemo.Judged(ctx)
	if err != nil {
		return nil, err
	}
	type owner struct {
		jid string
		key omemo.IdentityKey
	}
	type device struct {
		omemo.Address
		key omemo.IdentityKey
	}
	said, shown := map[owner]omemo.Judgement{}, map[owner]bool{}
	for _, j := range judged {
		said[owner{j.JID, j.Identity}] = j
	}
	all := map[device]KnownKey{}
	for _, d := range known {
		by := owner{d.Address.JID, d.Identity}
		k := all[device{d.Address, d.Identity}]
		k.JID, k.Device, k.Fingerprint, k.Trust = d.Address.JID, d.Address.Device, d.Identity.Fingerprint(), d.Trust
		k.Decided, k.Pinned = said[by].Decided, said[by].Pinned
		k.Own = append(k.Own, d.Own)
		for _, v := range d.Versions {
			if !slices.Contains(k.Versions, v.String()) {
				k.Versions = append(k.Versions, v.String())
			}
		}
		slices.Sort(k.Versions)
		shown[by], all[device{d.Address, d.Identity}] = true, k
	}
	for by, j := range said {
		if !shown[by] {
			all[device{omemo.Address{JID: by.jid}, by.key}] = KnownKey{JID: by.jid, Fingerprint: by.key.Fingerprint(), Trust: j.Trust, Decided: j.Decided, Pinned: j.Pinned}
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b KnownKey) int {
		return cmp.Or(
			strings.Compare(a.JID, b.JID),
			cmp.Compare(a.Device-1, b.Device-1), // 0 comes last
			strings.Compare(a.Fingerprint, b.Fingerprint))
	}), nil
}

// Decide keeps a decision. The running gateway follows it from its next message on.
func (o *Operator) Decide(ctx context.Context, who Claim, d Decision) error {
	err := o.state.Update(ctx, func(ctx context.Context) error {
		return o.omemo.Decide(ctx, who.JID, who.key, d)
	})
	if err != nil {
		return fmt.Errorf("keep the decision: %w", err)
	}
	return nil
}

// Claim is a key that is said to be somebody's.
type Claim struct {
	JID         string // bare
	Fingerprint string // 64 hex digits in 8 groups
	key         omemo.IdentityKey
}

// ParseClaims reads whose key an operator means: an address and a fingerprint in any grouping, or, without a
// fingerprint, an xmpp: URI with keys as clients show it.
func (o *Operator) ParseClaims(who, fingerprint string) ([]Claim, error) {
	keys := map[uint32]omemo.IdentityKey{}
	address := who
	var err error
	if scheme, _, ok := strings.Cut(who, ":"); ok && strings.EqualFold(scheme, "xmpp") && fingerprint == "" {
		if address, keys, err = omemo.ParseURI(who); err != nil {
			return nil, fmt.Errorf("%s is no xmpp: URI with OMEMO keys, such as xmpp:juliet@example.org?omemo-sid-1234=...: %w", who, err)
		}
	} else if keys[0], err = omemo.ParseFingerprint(fingerprint); err != nil {
		return nil, fmt.Errorf("%q is no fingerprint (64 hexadecimal digits): %w", fingerprint, err)
	}
	j := normalBare(address)
	switch {
	case j == "" || !strings.Contains(j, "@"):
		return nil, fmt.Errorf("%q is no XMPP address, such as juliet@example.org", address)
	case domainOf(j) == o.domain:
		return nil, fmt.Errorf("%s is an address of this gateway itself, whose key needs no trust: `lockbridge fingerprint` shows it", j)
	}
	var claims []Claim
	for _, device := range slices.Sorted(maps.Keys(keys)) {
		claims = append(claims, Claim{j, keys[device].Fingerprint(), keys[device]})
	}
	return claims, nil
}
