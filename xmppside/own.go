package xmppside

import (
	"context"
	"fmt"
	"slices"

	"lockbridge/omemo"
)

// device returns the OMEMO device of one of our addresses, which it makes if there is none. It is durable before
// anybody hears of it.
func (s *Side) device(ctx context.Context, own string) (omemo.Device, error) {
	if dev, ok := s.devices.ownDevice(own); ok {
		return dev, nil
	}
	var dev omemo.Device
	err := s.deps.State.Update(ctx, func(ctx context.Context) (err error) {
		dev, err = s.omemo.EnsureDevice(ctx, own)
		return err
	})
	if err != nil {
		return dev, fmt.Errorf("make the device of %s: %w", own, err)
	}
	s.devices.setOwnDevice(dev)
	return dev, nil
}

// loadDevices recalls the devices of all of our addresses, which each message that comes in asks for. The gateway gets
// its own here where a room is sealed: others seal for it as soon as it is a member.
func (s *Side) loadDevices(ctx context.Context) error {
	var owns []string
	if slices.ContainsFunc(s.carried().all, func(r *room) bool { return r.conf().Seal }) {
		owns = append(owns, s.self)
	}
	for _, p := range s.people.all() {
		if p.Device {
			owns = append(owns, p.JID)
		}
	}
	if len(owns) == 0 {
		return nil
	}
	devices := make([]omemo.Device, len(owns))
	err := s.deps.State.Update(ctx, func(ctx context.Context) (err error) {
		for i, own := range owns {
			if devices[i], err = s.omemo.EnsureDevice(ctx, own); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recall our devices: %w", err)
	}
	for _, dev := range devices {
		s.devices.setOwnDevice(dev)
	}
	return nil
}

// bundle is what an address of ours publishes of its keys.
func (s *Side) bundle(ctx context.Context, v omemo.Version, own string) (*node, error) {
	var b *omemo.Bundle
	err := s.deps.State.Update(ctx, func(ctx context.Context) (err error) {
		b, err = s.omemo.Bundle(ctx, v, own)
		return err
	})
	if err != nil {
		return nil, err
	}
	return rawNode(b.AppendXML(nil)), nil
}
