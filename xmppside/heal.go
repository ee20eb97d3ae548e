package xmppside

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

const (
	repairPause = 24 * time.Hour // between two repairs of one session
	emptyPause  = time.Minute    // between two empty messages to one device
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
		opened, err := s.omemo.Open(ctx, own, []string{real}, msg)
		if errors.Is(err, gateway.ErrStore) {
			return err
		}
		due = s.afterOpen(l, own, msg.SID, []string{real}, opened, err, m.child(nsDelay, "delay") != nil)
		if err != nil {
			return nil
		}
		return s.devices.change(ctx, real, func(list *deviceList) bool { return list.hear(opened.Sender.Device) })
	}))
	b.then(func() {
		if due != nil {
			due()
		}
	})
}

// afterOpen says what is due once an attempt to open a message is durable: an empty message that confirms a new
// session, or a new session in place of a broken one. It returns nil when nothing is.
func (s *Side) afterOpen(l *link, own string, sid uint32, senders []string, o omemo.Opened, err error, delayed bool) func() {
	switch {
	case err == nil && o.SendEmpty && !delayed:
		return func() { l.later(func(ctx context.Context) { s.sendEmpty(ctx, l, own, o.Sender) }) }
	case err == nil || len(senders) != 1 || delayed:
		return nil
	case errors.Is(err, omemo.ErrNoSession), errors.Is(err, omemo.ErrBadMAC), errors.Is(err, omemo.ErrTooManySkipped), errors.Is(err, omemo.ErrPreKeyUnknown):
		peer := omemo.Address{JID: senders[0], Device: sid}
		return func() { l.later(func(ctx context.Context) { s.repair(ctx, l, own, peer) }) }
	case errors.Is(err, omemo.ErrIdentityChanged):
		if s.lately.free(fmt.Sprintf("identity/%s/%s/%d", own, senders[0], sid), s.now(), namePause) {
			s.log.Warn("a device shows another identity key than before; what it says is refused", "of", senders[0], "device", sid, "to", own)
		}
	}
	return nil
}

// sendEmpty answers a new session, so that the peer stops wrapping its messages as key exchanges.
func (s *Side) sendEmpty(ctx context.Context, l *link, own string, peer omemo.Address) {
	if !s.lately.free("empty/"+own+"/"+peer.JID+"/"+strconv.FormatUint(uint64(peer.Device), 10), s.now(), emptyPause) {
		return
	}
	err := s.transport(ctx, l, own, peer, nil, nil)
	if err != nil && ctx.Err() == nil {
		s.log.Info("an empty message could not be sent", "to", peer.JID, "device", peer.Device, "err", err)
	}
}

// errRepaired: somebody else was quicker.
var errRepaired = errors.New("the session was repaired a short time ago")

// repair builds a new session with a device whose messages we cannot open, and sends the key exchange. Once a day at
// most: two peers that repair each other never end.
func (s *Side) repair(ctx context.Context, l *link, own string, peer omemo.Address) {
	key := stateRepair + own + "/" + peer.JID + "/" + strconv.FormatUint(uint64(peer.Device), 10)
	due := func(ctx context.Context) error {
		found, err := s.deps.State.GetMany(ctx, []string{key})
		if err == nil && !stale(found[key], s.now(), repairPause) {
			err = errRepaired
		}
		return err
	}
	if due(ctx) != nil {
		return
	}
	bundle := s.devices.bundles(ctx, l, []omemo.Address{peer})[peer]
	if bundle == nil {
		return
	}
	err := s.transport(ctx, l, own, peer, bundle, func(ctx context.Context) error {
		if err := due(ctx); err != nil {
			return err
		}
		return s.deps.State.PutMany(ctx, map[string][]byte{key: stamp(s.now())})
	})
	switch {
	case err == nil:
		s.log.Info("a session was built anew, for what came in the old one could not be opened", "with", peer.JID, "device", peer.Device, "of", own)
	case !errors.Is(err, errRepaired) && ctx.Err() == nil:
		s.log.Warn("a session could not be repaired", "with", peer.JID, "device", peer.Device, "err", err)
	}
}

// transport seals a message without content for one device, makes it durable and sends it. also runs in the same
// transaction.
func (s *Side) transport(ctx context.Context, l *link, own string, peer omemo.Address, bundle *omemo.Bundle, also func(context.Context) error) error {
	id, err := randomID()
	if err != nil {
		return err
	}
	var raw []byte
	err = s.deps.State.Update(ctx, func(ctx context.Context) error {
		msg, err := s.omemo.SealEmpty(ctx, own, peer, bundle)
		if err != nil {
			return err
		}
		raw = el("", "message", "type", "chat", "id", id, "from", own+"/"+resource, "to", peer.JID).
			add(rawNode(msg.AppendXML(nil)), el(nsHints, "store")).bytes()
		if also == nil {
			return nil
		}
		return also(ctx)
	})
	if err != nil {
		return err
	}
	return l.write(raw)
}
