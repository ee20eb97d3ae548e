package xmppside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// fallbackBody is what clients without OMEMO show.
const fallbackBody = "This message is encrypted by OMEMO, which your client does not seem to support."

// namePause is how often the log names members who cannot read along.
const namePause = 24 * time.Hour

// ensureDevice gives a puppet its device, inside a transaction.
func (s *Side) ensureDevice(ctx context.Context, p *puppet) error {
	if _, err := s.omemo.EnsureDevice(ctx, p.JID); err != nil {
		return err
	}
	p.Device = true
	return nil
}

// seal encrypts the jobs for everybody whom they are meant for, and makes the stanzas durable together
// with the ratchets, in one transaction. What has to be fetched is fetched before.
func (s *Side) seal(ctx context.Context, l *link, meant audience, jobs []*job) error {
	to, err := s.recipients(ctx, l, meant)
	if err != nil {
		return err
	}
	if len(to) == 0 {
		for _, j := range jobs {
			j.err = gateway.Dropf("%s has an OMEMO device", meant.nobody())
		}
		return nil
	}
	if err := s.speak(ctx, voicesOf(jobs)); err != nil {
		return err
	}
	bundles, err := s.missingBundles(ctx, l, voicesOf(jobs), to)
	if err != nil {
		return err
	}
	err = s.deps.State.Update(ctx, func(ctx context.Context) error {
		left := make(map[omemo.Address]*omemo.Bundle, len(bundles))
		for a, b := range bundles {
			left[a] = b
		}
		for _, j := range jobs {
			if err := s.sealOne(ctx, meant, j, to, left); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, j := range jobs {
			j.raw = nil
		}
		return fmt.Errorf("seal messages: %w", err)
	}
	return nil
}

// speak notes of puppets that they speak from now on.
func (s *Side) speak(ctx context.Context, voices []string) error {
	for _, own := range voices {
		p, known := s.people.ofJID(own)
		if !known || p.Spoke {
			continue
		}
		if _, err := s.editPuppet(ctx, p.Person, func(_ context.Context, p *puppet) error { p.Spoke = true; return nil }); err != nil {
			return err
		}
	}
	return nil
}

func voicesOf(jobs []*job) []string {
	var out []string
	for _, j := range jobs {
		if !slices.Contains(out, j.voice.jid) {
			out = append(out, j.voice.jid)
		}
	}
	return out
}

// sealOne seals a message and keeps its stanza, inside a transaction.
func (s *Side) sealOne(ctx context.Context, meant audience, j *job, to []omemo.Address, bundles map[omemo.Address]*omemo.Bundle) error {
	j.raw, j.err = nil, nil
	body := encodeBody(j.Event.Body.(gateway.Message), j.voice.prefix)
	msg, report, err := s.omemo.Seal(ctx, omemo.Legacy, j.voice.jid, to, bundles, []byte(body))
	switch {
	case errors.Is(err, omemo.ErrNoDevices):
		j.err = gateway.Dropf("%s has a device that can be sealed for", meant.nobody())
		return nil
	case err != nil:
		return err
	}
	for _, built := range report.Built { // two sessions on one prekey lose the second
		if b := bundles[built.Address]; b != nil {
			bundles[built.Address] = b.Without(built.PreKey)
		}
	}
	for _, skip := range report.Skipped {
		if s.lately.free("skip/"+skip.Address.JID+"/"+strconv.FormatUint(uint64(skip.Address.Device), 10), s.now(), namePause) {
			meant.log.Warn("a device cannot read along", "of", skip.Address.JID, "device", skip.Address.Device, "err", skip.Err)
		}
	}
	j.raw = meant.message(j,
		rawNode(msg.AppendXML(nil)),
		el(nsEME, "encryption", "namespace", nsLegacy, "name", "OMEMO"),
		el("", "body").say(fallbackBody),
		el(nsHints, "store")).bytes()
	if j.checkLength(meant.log); j.err != nil {
		return nil
	}
	return s.deps.State.PutMany(ctx, map[string][]byte{stateOut + j.Key: append([]byte{outStanza}, j.raw...)})
}

// recipients are all devices of those whom messages are meant for, by the lists that their owners publish.
func (s *Side) recipients(ctx context.Context, l *link, meant audience) ([]omemo.Address, error) {
	members := meant.people()
	lists, err := s.devices.lists(ctx, l, members)
	if err != nil {
		return nil, err
	}
	var to []omemo.Address
	var without []string
	for _, j := range members {
		ids := lists[j].usable()
		if len(ids) == 0 {
			without = append(without, j)
		}
		for _, id := range ids {
			to = append(to, omemo.Address{JID: j, Device: id})
		}
	}
	if len(without) > 0 && s.lately.free("without/"+meant.jid, s.now(), namePause) {
		meant.log.Warn("members without an OMEMO device cannot read what the bridge says", "members", strings.Join(without[:min(len(without), 50)], " "), "count", len(without))
	}
	return to, nil
}

// missingBundles fetches the bundles of the devices with which any of the voices has no session.
func (s *Side) missingBundles(ctx context.Context, l *link, voices []string, to []omemo.Address) (map[omemo.Address]*omemo.Bundle, error) {
	var missing []omemo.Address
	err := s.deps.State.Update(ctx, func(ctx context.Context) error {
		missing = nil
		for _, own := range voices {
			if _, err := s.omemo.EnsureDevice(ctx, own); err != nil {
				return err
			}
			lack, err := s.omemo.Missing(ctx, omemo.Legacy, own, to)
			if err != nil {
				return err
			}
			for _, a := range lack {
				if !slices.Contains(missing, a) {
					missing = append(missing, a)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for sessions: %w", err)
	}
	if len(missing) == 0 {
		return nil, nil
	}
	bundles := s.devices.bundles(ctx, l, missing)
	return bundles, ctx.Err()
}

// open decrypts a room's message, inside Accept's transaction. The keys for all of our occupants stand in the one copy
// that the gateway's occupant gets: it opens the message, and the puppets' ratchets move along.
func (in *incoming) open(ctx context.Context) (*gateway.Event, error) {
	s, r := in.side, in.room
	msg, owns, err := s.parseSealed(ctx, in.message.sealed, s.ownersIn(r))
	if err != nil {
		return nil, gateway.Unreadable(in.from.person, err)
	}
	senders := []string{in.from.real}
	if in.from.real == "" {
		senders = r.realMembers()
	}
	all := r.countSealed(msg.SID)
	var best *omemo.Opened
	var last error
	var dues []func()
	for _, own := range owns {
		if best != nil && !all && !hasExchange(msg, own.ID) {
			continue
		}
		opened, err := s.omemo.Open(ctx, own.JID, senders, msg)
		if errors.Is(err, gateway.ErrStore) {
			return nil, err
		}
		err = s.rewound(err, in.content.delayed, in.message.sealed)
		try := attempt{
			link: in.link, own: own.JID, senders: senders, device: msg.SID, room: r, nick: in.from.nick, late: in.content.delayed, opened: opened, err: err,
		}
		if due := s.afterOpen(try); due != nil {
			dues = append(dues, due)
		}
		switch {
		case err != nil:
			last = keepWorst(last, err)
		case best == nil:
			best = &opened
		}
	}
	in.due = func() {
		for _, due := range dues {
			due()
		}
	}
	if best != nil {
		s.opened.add(in.message.sealed) // harmless if this is rolled back: it keeps a session from being mended
		in.dues(func() { s.agenda.drop("remind/" + best.Sender.JID) })
		return in.opened(ctx, msg, best)
	}
	if errors.Is(last, omemo.ErrDuplicate) {
		return nil, nil
	}
	if last == nil {
		last = omemo.ErrNotForUs
	}
	if errors.Is(last, omemo.ErrNotForUs) {
		if in.content.delayed || len(msg.Payload) == 0 {
			return nil, nil
		}
		in.due = in.remindLater
	}
	return nil, gateway.Unreadable(in.from.person, last)
}

// dues adds to what is due once everything is durable.
func (in *incoming) dues(more func()) {
	before := in.due
	in.due = func() {
		before()
		more()
	}
}

// remindPause is how long a client that left our device out has to find it by itself.
const remindPause = 10 * time.Minute

// remindLater sends our device list to somebody whose client left our device out, and tells them, unless it finds the
// device before; once a day.
func (in *incoming) remindLater() {
	s, r, real, nick := in.side, in.room, in.from.real, in.from.nick
	if real == "" || !s.lately.free("remind/"+real, s.now(), namePause) {
		return
	}
	s.agenda.put("remind/"+real, s.now().Add(remindPause), func(ctx context.Context, l *link) {
		out := []*node{privateMessage(r.fullSelf(), r.jid+"/"+nick, "What you say is not encrypted for this bridge's device, so it does not cross. Please have your client read my keys anew.")}
		if ev, err := s.listEvent(ctx, s.self, real); err == nil {
			out = append(out, ev)
		}
		_ = l.send(out...) // a hint, nothing more
	})
}

// rewound tells a device that was reset to an old state from one whose message came twice: by what was opened lately.
func (s *Side) rewound(err error, late bool, sealed []byte) error {
	if errors.Is(err, omemo.ErrDuplicate) && !late && !s.opened.has(sealed) {
		return errRewound
	}
	return err
}

// everyNth says how often plain keys for puppets that need not open a message are worked through all the same, so that
// no chain runs ahead of what it may skip.
const everyNth = 256

// countSealed counts the sealed messages of a device and reports the first one since we started and each everyNth.
func (r *room) countSealed(sid uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sealedBy) >= maxOccupants {
		clear(r.sealedBy)
	}
	r.sealedBy[sid]++
	return r.sealedBy[sid]%everyNth == 1
}

// keepWorst prefers to report a failure that is not benign.
func keepWorst(a, b error) error {
	if a == nil || errors.Is(a, omemo.ErrNotForUs) {
		return b
	}
	return a
}

// opened makes the event of an opened message. Its author is the owner of the session that opened it, whatever the
// nick says.
func (in *incoming) opened(ctx context.Context, msg *omemo.Message, o *omemo.Opened) (*gateway.Event, error) {
	s, r := in.side, in.room
	if err := s.devices.change(ctx, o.Sender.JID, func(list *deviceList) bool { return list.hear(o.Sender.Device) }); err != nil {
		return nil, err
	}
	if o.Plain == nil {
		return nil, nil
	}
	author := in.from.person
	if r.conf.Seal || author.ID == "" {
		author.ID = o.Sender.JID
	}
	stanzaID, due := in.content.stanzaID, in.due
	in.due = func() {
		r.remember(stanzaID, author.ID)
		due()
	}
	sealed := gateway.Sealing{
		Protection: gateway.OMEMO, Version: versionLegacy, Device: strconv.FormatUint(uint64(msg.SID), 10), Trust: "blind",
	}
	return in.content.event(author, string(o.Plain), sealed, r.conf.KeepMetadata || !r.conf.Seal), nil
}

// ownersIn are our addresses that may have a key in a room's message: the gateway first.
func (s *Side) ownersIn(r *room) []string {
	out := []string{s.self}
	for _, p := range s.people.in(r.jid) {
		if p.Device {
			out = append(out, p.JID)
		}
	}
	return out
}

// parseSealed parses a sealed element, with the keys for owns only, and returns which of them have one.
func (s *Side) parseSealed(ctx context.Context, xml []byte, owns []string) (*omemo.Message, []omemo.Device, error) {
	var devices []omemo.Device
	var addresses []omemo.Address
	for _, own := range owns {
		dev, ok := s.devices.ownDevice(own)
		if !ok {
			var err error
			if dev, err = s.omemo.EnsureDevice(ctx, own); err != nil {
				return nil, nil, err
			}
		}
		devices, addresses = append(devices, dev), append(addresses, omemo.Address{JID: own, Device: dev.ID})
	}
	msg, err := omemo.ParseMessage(omemo.Legacy, xml, addresses...)
	if err != nil {
		return nil, nil, err
	}
	devices = slices.DeleteFunc(devices, func(d omemo.Device) bool {
		return !slices.ContainsFunc(msg.Keys, func(k omemo.Key) bool { return k.RID == d.ID })
	})
	return msg, devices, nil
}

func hasExchange(msg *omemo.Message, rid uint32) bool {
	return slices.ContainsFunc(msg.Keys, func(k omemo.Key) bool { return k.RID == rid && k.PreKey })
}

// isTransport reports whether a sealed element carries keys only.
func isTransport(xml []byte) bool {
	msg, err := omemo.ParseMessage(omemo.Legacy, xml, omemo.Address{})
	return err == nil && msg.Payload == nil
}
