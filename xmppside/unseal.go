package xmppside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// unsealing is a sealed message, with who may have sealed it and whom it may be for.
type unsealing struct {
	link    *link
	message *message
	content content  // what stands outside of the sealed elements
	owns    []string // addresses of ours that it may be for, the one that matters first
	// all says of a device whether all of them are to open it, not only the first and those that a session begins with.
	// nil: they are.
	all     func(omemo.Version, uint32) bool
	senders []string // real bare JIDs
	to      string   // where it was said, as its envelope must name it: the room, or the one of ours that it was sent to
	room    *room    // nil: directly
	believe bool     // what stands beside a sealed text counts
	nick    string   // of the sender in the room
}

// unsealed is an opened message.
type unsealed struct {
	omemo.Opened
	version omemo.Version
	// content is what the message says: of OMEMO 2 only what was sealed counts, of the legacy version the text was
	// sealed and the rest was not.
	content content
	proven  bool // all of content was sealed
	optOut  bool // the sender asks for messages in the clear
}

func (u *unsealed) sealing() gateway.Sealing {
	return gateway.Sealing{
		Protection: gateway.OMEMO, Version: u.version.String(), Device: strconv.FormatUint(uint64(u.Sender.Device), 10), Trust: u.Trust.String(),
	}
}

// unseal opens a message, inside Accept's transaction, with the keys of all of our addresses that it is for: the first
// that succeeds tells what it says, and the ratchets of the others move along. then is what is due once all of that is
// durable. Without an error and without a result there is nothing to tell: it was opened before, or carries keys for
// others only. An error of the database must be returned to Accept as it is.
//
// Nothing in a legacy message says where it was meant to be said, so its keys must: in a room only the gateway's own key
// opens it, and what has that key was not said to a puppet alone.
func (s *Side) unseal(ctx context.Context, u unsealing) (got *unsealed, then func(), err error) {
	var dues []func()
	then = func() {
		for _, due := range dues {
			due()
		}
	}
	payload, failed := false, 0
	err = errVersionOff
	for _, v := range s.versions {
		sealed := u.message.sealedIn(v)
		if sealed == nil {
			continue
		}
		if errors.Is(err, errVersionOff) {
			err = omemo.ErrNotForUs
		}
		msg, owns, bad := s.parseSealed(ctx, v, sealed, u.owns)
		if bad == nil && u.room == nil && v == omemo.Legacy {
			bad = s.sealedElsewhere(ctx, u, sealed)
		}
		if errors.Is(bad, gateway.ErrStore) {
			return nil, nil, bad
		}
		if bad != nil {
			err = keepWorst(err, bad)
			continue
		}
		payload = payload || msg.Payload != nil
		all := u.all == nil || u.all(v, msg.SID)
		for _, own := range owns {
			tells := got == nil && failed < maxFailed && (own.JID == u.owns[0] || v != omemo.Legacy)
			if !tells && !all && !hasExchange(msg, own) {
				continue
			}
			opened, due, bad := s.try(ctx, u, msg, own, sealed)
			if errors.Is(bad, gateway.ErrStore) {
				return nil, nil, bad
			}
			if due != nil {
				dues = append(dues, due)
			}
			switch {
			case !tells:
			case bad != nil:
				err, failed = keepWorst(err, bad), failed+1
			default:
				got = &unsealed{Opened: opened, version: v}
			}
		}
	}
	s.epoch.move()
	if got != nil {
		return got, then, s.enclosed(ctx, u, got)
	}
	switch {
	case errors.Is(err, omemo.ErrDuplicate), errors.Is(err, omemo.ErrNotForUs) && (u.content.delayed || !payload):
		return nil, then, nil
	}
	return nil, then, err
}

// maxFailed is how many of our addresses fail to open a message before no further one tries: whoever makes such messages
// has us work for each.
const maxFailed = 8

// try opens a message for one of our addresses.
func (s *Side) try(ctx context.Context, u unsealing, msg *omemo.Message, own omemo.Address, sealed []byte) (opened omemo.Opened, due func(), err error) {
	opened, err = s.omemo.Open(ctx, own.JID, u.senders, msg)
	if errors.Is(err, gateway.ErrStore) {
		return opened, nil, err
	}
	err = s.rewound(err, u.content.delayed, own, sealed)
	if err == nil {
		s.opened.add(own, sealed) // harmless if this is rolled back: it keeps a session from being mended
	}
	return opened, s.afterOpen(attempt{
		link: u.link, own: own.JID, senders: u.senders, version: msg.Version, device: msg.SID, room: u.room, nick: u.nick, late: u.content.delayed, opened: opened, err: err,
	}), err
}

// sealedElsewhere says whether a direct message for a puppet holds a key for the gateway, as each one does that is said
// in a room.
func (s *Side) sealedElsewhere(ctx context.Context, u unsealing, sealed []byte) error {
	if slices.Contains(u.owns, s.self) {
		return nil
	}
	_, found, err := s.parseSealed(ctx, omemo.Legacy, sealed, []string{s.self})
	if err == nil && len(found) > 0 {
		return fmt.Errorf("%w: it has a key for the gateway", errEnvelope)
	}
	return err
}

// errVersionOff: a message was sealed in a version of OMEMO that the config leaves out.
var errVersionOff = errors.New("it is sealed in a version of OMEMO that is not spoken here")

// keepWorst prefers to report a failure that is not benign.
func keepWorst(a, b error) error {
	if a == nil || errors.Is(a, omemo.ErrNotForUs) {
		return b
	}
	return a
}

// rewound tells a device that was reset to an old state from one whose message came twice: by what was opened lately.
func (s *Side) rewound(err error, late bool, own omemo.Address, sealed []byte) error {
	if errors.Is(err, omemo.ErrDuplicate) && !late && !s.opened.has(own, sealed) {
		return errRewound
	}
	return err
}

// clockSkew is how far an envelope's time may be from ours before the log says so.
const clockSkew = 10 * time.Minute

// enclosed finds what an opened message says, and checks that it was meant for where it was said.
func (s *Side) enclosed(ctx context.Context, u unsealing, got *unsealed) error {
	if err := s.devices.hear(ctx, got.version, got.Sender); err != nil {
		return err
	}
	got.content = u.content
	got.content.body, got.content.hasBody = string(got.Plain), got.Plain != nil
	if got.version == omemo.Legacy || got.Plain == nil {
		got.content.relations = u.content.beside(u.believe)
		return nil
	}
	e, err := omemo.ParseEnvelope(got.Plain)
	if err != nil {
		return err
	}
	if e.From != "" && normalBare(e.From) != got.Sender.JID {
		return fmt.Errorf("%w: its envelope names another sender", errEnvelope)
	}
	if e.To == "" && u.room != nil && u.to == u.room.jid || e.To != "" && normalBare(e.To) != u.to {
		return fmt.Errorf("%w: its envelope names another place", errEnvelope)
	}
	if off := s.now().Sub(e.Time).Abs(); !e.Time.IsZero() && !u.content.delayed && off > clockSkew && s.lately.free("clock/"+got.Sender.JID, s.now(), namePause) {
		s.log.Info("a device's clock is off", "of", got.Sender.JID, "device", got.Sender.Device, "by", off.Round(time.Second))
	}
	inner, err := parseNode(slices.Concat([]byte("<content>"), e.Content, []byte("</content>")))
	if err != nil {
		return fmt.Errorf("%w: %w", errEnvelope, err)
	}
	got.content, got.proven, got.optOut = u.content.within(inner), true, e.OptOut
	return nil
}

// errEnvelope: a message was sealed for another place than where it was said, or by another person than it says.
var errEnvelope = errors.New("the sealed message does not belong here")

// parseSealed parses a sealed element, with the keys for owns only, and returns which of them have one.
func (s *Side) parseSealed(ctx context.Context, v omemo.Version, xml []byte, owns []string) (*omemo.Message, []omemo.Address, error) {
	var addresses []omemo.Address
	for _, own := range owns {
		dev, ok := s.devices.ownDevice(own)
		if !ok {
			var err error
			if dev, err = s.omemo.EnsureDevice(ctx, own); err != nil {
				return nil, nil, err
			}
		}
		addresses = append(addresses, omemo.Address{JID: own, Device: dev.ID})
	}
	msg, err := omemo.ParseMessage(v, xml, addresses...)
	if err != nil {
		return nil, nil, err
	}
	addresses = slices.DeleteFunc(addresses, func(a omemo.Address) bool {
		return !slices.ContainsFunc(msg.Keys, func(k omemo.Key) bool { return k.IsFor(a) })
	})
	return msg, addresses, nil
}

func hasExchange(msg *omemo.Message, own omemo.Address) bool {
	return slices.ContainsFunc(msg.Keys, func(k omemo.Key) bool { return k.PreKey && k.IsFor(own) })
}

// open decrypts a room's message, inside Accept's transaction. The keys for all of our occupants stand in the one copy
// that the gateway's occupant gets.
func (in *incoming) open(ctx context.Context) (*gateway.Event, error) {
	s, r := in.side, in.room
	u := unsealing{
		link: in.link, message: in.message, content: in.content, owns: s.ownersIn(r), all: func(v omemo.Version, sid uint32) bool { return r.countSealed(sealer{in.from.real, v, sid}) },
		senders: []string{in.from.real}, to: r.jid, room: r, nick: in.from.nick, believe: r.believes(),
	}
	if in.from.real == "" {
		u.senders = r.realMembers()
	}
	got, then, err := s.unseal(ctx, u)
	if errors.Is(err, gateway.ErrStore) {
		return nil, err
	}
	in.due = then
	switch {
	case errors.Is(err, omemo.ErrNotForUs):
		in.dues(in.remindLater)
		return nil, gateway.Unreadable(in.from.person, err)
	case err != nil:
		return nil, gateway.Unreadable(in.from.person, err)
	case got == nil:
		return nil, nil
	}
	in.dues(func() { s.agenda.drop("remind/" + got.Sender.JID) })
	return in.opened(ctx, got)
}

// dues adds to what is due once everything is durable.
func (in *incoming) dues(more func()) {
	before := in.due
	in.due = func() {
		before()
		more()
	}
}

// undecidedMark stands before what a device said whose key nobody has judged yet.
const undecidedMark = "[unverified device] "

// opened makes the event of an opened message. Its author is the owner of the session that opened it, whatever the
// nick says.
func (in *incoming) opened(ctx context.Context, got *unsealed) (*gateway.Event, error) {
	r, c := in.room, got.content
	by, author := in.from, in.from.person
	if r.conf().Seal || author.ID == "" {
		author.ID = got.Sender.JID
		by = sender{person: author}
	}
	switch {
	case got.Trust == omemo.Distrusted && got.Plain != nil:
		return in.refuse(ctx, toldDistrusted, "the key of the device that sealed it is distrusted by whoever runs this bridge")
	case !c.hasBody && !got.proven:
		return nil, nil
	case c.isMute():
		return in.side.enclosedPassing(c.tells, r.conf().Address, author, got.sealing()), nil
	}
	return c.event(author, got.lead(), got.sealing(), r.scene(by)), nil
}

// lead marks what a device said whose key is undecided.
func (u *unsealed) lead() string {
	if u.Trust == omemo.Undecided {
		return undecidedMark
	}
	return ""
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

// everyNth says how often plain keys for puppets that need not open a message are worked through all the same, so that
// no chain runs ahead of what it may skip.
const everyNth = 256

// sealer is a device, by what it calls itself.
type sealer struct {
	jid     string // "" where the room hides it
	version omemo.Version
	device  uint32
}

// sealedCounts counts the sealed messages of devices, over all rooms: a puppet's chain runs on in each of them.
type sealedCounts struct {
	mu sync.Mutex
	of map[sealer]int
}

func (c *sealedCounts) next(by sealer) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil || len(c.of) >= maxOccupants {
		c.of = map[sealer]int{}
	}
	c.of[by]++
	return c.of[by]
}

// countSealed counts the sealed messages of a device and reports the first one in the room since we started, and each
// that comes everyNth messages after the last one reported, wherever they were said.
func (r *room) countSealed(by sealer) bool {
	n := r.side.sealed.next(by)
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, known := r.sealedBy[by]; known && n > last && n-last < everyNth {
		return false
	}
	if len(r.sealedBy) >= maxOccupants {
		clear(r.sealedBy)
	}
	r.sealedBy[by] = n
	return true
}

// remindPause is how long a client that left our device out has to find it by itself.
const remindPause = 10 * time.Minute

// remindLater sends our device lists to somebody whose client left our device out, and tells them, unless it finds the
// device before; once a day.
func (in *incoming) remindLater() {
	s, r, real, nick := in.side, in.room, in.from.real, in.from.nick
	if real == "" || !s.lately.free("remind/"+real, s.now(), namePause) {
		return
	}
	s.agenda.put("remind/"+real, s.now().Add(remindPause), func(ctx context.Context, l *link) {
		text := "What you say is not encrypted for this bridge's device, so it does not cross. Please have your client read my keys anew."
		out := append([]*node{privateMessage(r.fullSelf(), r.jid+"/"+nick, text)}, s.listEvents(ctx, s.self, real)...)
		_ = l.send(out...) // a hint, nothing more
	})
}
