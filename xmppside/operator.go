package xmppside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"mellium.im/xmpp/jid"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// Operator is what an admin's commands see of a network of kind xmpp: its keys and those of the people it talks to. It
// works on State alone, whether or not a Side runs on the same State at that time.
type Operator struct {
	state gateway.State
	self  string
	omemo *omemo.Manager
}

// NewOperator returns an Operator on a network's State.
func NewOperator(cfg Config, state gateway.State) (*Operator, error) {
	self, err := jid.New(cfg.Nick, cfg.Component, "")
	if err != nil {
		return nil, fmt.Errorf("address of the gateway: %w", err)
	}
	return &Operator{state: state, self: self.String(), omemo: omemo.NewManager(state, omemo.Options{})}, nil
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
	_, err := o.omemo.Missing(ctx, omemo.Legacy, own, nil)
	if errors.Is(err, omemo.ErrNoOwnDevice) {
		return OwnDevice{}, ErrNoDevice
	}
	var d omemo.Device
	if err == nil {
		d, err = o.omemo.EnsureDevice(ctx, own) // there is one, so this reads it
	}
	if err != nil {
		return OwnDevice{}, fmt.Errorf("read the device of %s: %w", own, err)
	}
	return OwnDevice{d.ID, d.Identity.Fingerprint(), omemo.URI(omemo.Address{JID: own, Device: d.ID}, d.Identity)}, nil
}
