package xmppside

import (
	"context"
	"errors"

	"lockbridge/gateway"
)

// stateArrival is a change of State that keeps its place in the stream.
func (s *Side) stateArrival(from string, change func(context.Context) error) gateway.Arrival {
	return gateway.Arrival{
		At:   gateway.Address{Network: s.deps.Network, ID: from},
		Read: func(ctx context.Context) (*gateway.Event, error) { return nil, change(ctx) },
	}
}

// readKeys opens a message that was sealed to one of our addresses alone. Its text is not carried, but its keys matter:
// they are how clients confirm, heal and advance their sessions.
func (s *Side) readKeys(l *link, r *room, m *message, b *batch) {
	own := bare(m.get("to"))
	real := normalBare(m.get("from"))
	if r != nil {
		real = r.senderOf(m, false).real
	}
	if real == "" || domainOf(real) == s.domain {
		return
	}
	var due func()
	b.arrivals = append(b.arrivals, s.stateArrival(real, func(ctx context.Context) error {
		due = nil
		msg, owns, err := s.parseSealed(ctx, m.sealed, []string{own})
		if err != nil || len(owns) == 0 {
			if errors.Is(err, gateway.ErrStore) {
				return err
			}
			return nil
		}
		late := m.child(nsDelay, "delay") != nil
		opened, err := s.omemo.Open(ctx, own, []string{real}, msg)
		if errors.Is(err, gateway.ErrStore) {
			return err
		}
		err = s.rewound(err, late, m.sealed)
		due = s.afterOpen(attempt{link: l, own: own, senders: []string{real}, device: msg.SID, late: late, opened: opened, err: err})
		if err != nil {
			return nil
		}
		s.opened.add(m.sealed)
		return s.devices.change(ctx, real, func(list *deviceList) bool { return list.hear(opened.Sender.Device) })
	}))
	b.then(func() {
		if due != nil {
			due()
		}
	})
}
