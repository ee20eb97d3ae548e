package xmppside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// The limits of healing. Two peers that repair each other never end without them.
const (
	repairPause = 24 * time.Hour      // between two repairs of one session; doubles while they do not help
	repairLast  = 16 * 24 * time.Hour // the longest such pause
	emptyPause  = time.Minute         // between two empty messages to one device
	emptyDaily  = 20                  // empty messages to one device a day
	repairDaily = 200                 // repairs that one person can cause a day: there is no end to the devices they may name
	changeDaily = 10                  // changed keys of one person that are reported a day
	maxMends    = 1000                // sessions of a room that its history turns out to need something
	directQuiet = 30 * time.Second    // after a late direct message: others of the same absence may follow it
)

// attempt is one try to open a message for one of our addresses, and what came of it.
type attempt struct {
	link    *link
	own     string
	senders []string // whom it may come from
	version omemo.Version
	device  uint32 // the sender's
	room    *room  // nil: a direct message
	nick    string // whose it was in the room
	late    bool   // it is history
	opened  omemo.Opened
	err     error
}

func (a attempt) session() session {
	if a.err == nil {
		return session{a.own, a.opened.Sender, a.version}
	}
	return session{a.own, omemo.Address{JID: a.senders[0], Device: a.device}, a.version}
}

// session names the sessions of an address of ours with a device.
type session struct {
	own     string
	peer    omemo.Address
	version omemo.Version
}

func (ss session) String() string {
	return fmt.Sprintf("%s/%s/%d/%s", ss.own, ss.peer.JID, ss.peer.Device, ss.version)
}

// mend is what a session needs.
type mend int

const (
	mendNothing mend = iota
	mendConfirm      // an empty message: it is new, or the peer's chain has become long
	mendAnew         // a new session in place of a broken one
)

// needs says what follows from an attempt. A changed identity or a spoilt payload would be cured by no new session.
func (a attempt) needs() mend {
	switch {
	case a.err == nil && a.opened.SendEmpty:
		return mendConfirm
	case a.err == nil:
		return mendNothing
	case errors.Is(a.err, omemo.ErrNoSession), errors.Is(a.err, omemo.ErrBadMAC), errors.Is(a.err, omemo.ErrTooManySkipped),
		errors.Is(a.err, omemo.ErrPreKeyUnknown), errors.Is(a.err, errRewound):
		return mendAnew
	}
	return mendNothing
}

// errRewound: a device uses a message key for the second time, for another message than before. Its owner has restored
// an old copy of its state, and goes on losing what it says until it gets a new session.
var errRewound = errors.New("the device uses old keys again: its state seems to be restored from a copy")

// afterOpen says what is due once an attempt to open a message is durable; nil when nothing is.
func (s *Side) afterOpen(a attempt) func() {
	if a.room != nil && s.silent(a.own) {
		return nil // nobody waits for a word of a puppet that never spoke; with many of them it would be a flood
	}
	if a.err != nil && len(a.senders) != 1 {
		return nil // it is not clear whose session it was
	}
	need := a.needs()
	switch {
	case errors.Is(a.err, omemo.ErrIdentityChanged) && !a.late:
		return func() { s.reportIdentity(a) }
	case a.late && a.room != nil:
		return func() { a.room.mendLater(a.session(), need, a.err == nil) }
	case need == mendNothing:
		return nil
	case a.late:
		return func() {
			s.agenda.put("mend/"+a.session().String(), s.now().Add(directQuiet), func(ctx context.Context, l *link) { s.mend(ctx, l, a.session(), need) })
		}
	}
	return func() { a.link.later(func(ctx context.Context) { s.mend(ctx, a.link, a.session(), need) }) }
}

// silent reports whether an address of ours has never said anything. The gateway's counts as speaking.
func (s *Side) silent(own string) bool {
	p, known := s.people.ofJID(own)
	return known && !p.Spoke
}

// mendLater notes what a session was found to need while the history is read. What opens later shows that it is well.
func (r *room) mendLater(ss session, need mend, opened bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case need != mendNothing && len(r.mends) < maxMends:
		r.mends[ss] = need
	case opened && r.mends[ss] == mendAnew:
		delete(r.mends, ss)
	}
}

// mendAll does what the history left to do, once for each session.
func (r *room) mendAll(l *link) {
	r.mu.Lock()
	mends := r.mends
	r.mends = map[session]mend{}
	r.mu.Unlock()
	for ss, need := range mends {
		l.later(func(ctx context.Context) { r.side.mend(ctx, l, ss, need) })
	}
}

func (s *Side) mend(ctx context.Context, l *link, ss session, need mend) {
	if need == mendConfirm {
		s.sendEmpty(ctx, l, ss)
	} else {
		s.repair(ctx, l, ss)
	}
}

// reportIdentity says that a device is refused because it shows another identity key than before: to the log, to its
// owner and to those who run the room, once a day.
func (s *Side) reportIdentity(a attempt) {
	who := a.senders[0]
	var changed *omemo.IdentityError
	if !errors.As(a.err, &changed) || !s.lately.free("identity/"+a.session().String(), s.now(), namePause) || !s.rations.free("identity/"+who, s.now(), changeDaily) {
		return
	}
	remedy := verifyCommand(who, changed.Now)
	s.log.Warn("a device shows another identity key than before; what it says is refused", "of", who, "device", a.device, "to", a.own,
		"key", changed.Now.Fingerprint(), "remedy", "if its owner confirms that the key is theirs, run: "+remedy)
	what := " shows another key than before, so nothing that it says is carried until whoever runs this bridge has verified the new key (" + changed.Now.Fingerprint() + ")"
	yours := fmt.Sprintf("Your device %d%s.", a.device, what)
	var out []*node
	switch {
	case a.room == nil:
		out = append(out, el("", "message", "type", "chat", "from", a.own+"/"+resource, "to", who).add(el("", "body").say(yours)))
	case s.lately.free(fmt.Sprintf("identity/%s/%s/%d", a.room.jid, who, a.device), s.now(), namePause): // each of ours in a room finds the same
		out = append(out, privateMessage(a.room.fullSelf(), a.room.jid+"/"+a.nick, yours))
		for _, nick := range a.room.admins() {
			if nick != a.nick {
				out = append(out, privateMessage(a.room.fullSelf(), a.room.jid+"/"+nick, fmt.Sprintf("Device %d of %s%s, by: %s", a.device, who, what, remedy)))
			}
		}
	default:
		return
	}
	if err := a.link.send(out...); err != nil {
		s.log.Debug("a changed key could not be reported", "of", who, "err", err)
	}
}

// verifyCommand is what an operator runs once a key was compared. It is made to be copied into a shell, and anybody may
// have chosen the address.
func verifyCommand(who string, key omemo.IdentityKey) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@._-", r)
	}
	if strings.ContainsFunc(who, func(r rune) bool { return !plain(r) }) {
		who = "'" + strings.ReplaceAll(who, "'", `'\''`) + "'"
	}
	if strings.HasPrefix(who, "-") { // no option
		who = "-- " + who
	}
	return "lockbridge trust verify " + who + " " + strings.ReplaceAll(key.Fingerprint(), " ", "")
}

// sendEmpty answers a new session, so that the peer stops wrapping its messages as key exchanges, or a long chain.
func (s *Side) sendEmpty(ctx context.Context, l *link, ss session) {
	if !s.lately.free("empty/"+ss.String(), s.now(), emptyPause) || !s.rations.free(ss.String(), s.now(), emptyDaily) {
		return
	}
	err := s.transport(ctx, l, ss, nil, nil)
	if err != nil && ctx.Err() == nil {
		s.log.Info("an empty message could not be sent", "to", ss.peer.JID, "device", ss.peer.Device, "err", err)
	}
}

// knows reports whether somebody is a person whose sessions are worth a repair: a member of a room that we carry, or
// one who may have direct chats. Strangers could have us fetch bundles and write to anybody.
func (s *Side) knows(jid string) bool {
	if s.deps.Direct.Allows(gateway.Person{Network: s.deps.Network, ID: jid}) {
		return true
	}
	for _, r := range s.carried().all {
		if r.shows(jid) {
			return true
		}
	}
	return false
}

// repaired is what State keeps of the repairs of a session.
type repaired struct {
	At    time.Time     `json:"at"`
	Pause time.Duration `json:"pause"` // until the next one
}

// next is what to keep of one more repair now; false: it is too early.
func (p repaired) next(now time.Time) (repaired, bool) {
	switch since := now.Sub(p.At); {
	case since < 0: // by a clock that was wrong
	case since < p.Pause:
		return p, false
	case since < 2*p.Pause: // the last one did not help for long
		return repaired{now, min(2*p.Pause, repairLast)}, true
	}
	return repaired{now, repairPause}, true
}

// errRepaired: somebody else was quicker.
var errRepaired = errors.New("the session was repaired a short time ago")

// repair builds a new session with a device whose messages we cannot open, and sends the key exchange.
func (s *Side) repair(ctx context.Context, l *link, ss session) {
	if !s.knows(ss.peer.JID) {
		return
	}
	key := stateRepair + ss.String()
	due := func(ctx context.Context) (next repaired, err error) {
		found, err := s.deps.State.GetMany(ctx, []string{key})
		if err != nil {
			return next, err
		}
		var last repaired
		_ = json.Unmarshal(found[key], &last) // none, or one that an older program wrote: as if there were none
		next, ok := last.next(s.now())
		if !ok {
			return next, errRepaired
		}
		return next, nil
	}
	if _, err := due(ctx); err != nil || !s.rations.free("repair/"+ss.peer.JID, s.now(), repairDaily) {
		return
	}
	bundles, err := s.devices.bundles(ctx, l, ss.version, []omemo.Address{ss.peer})
	bundle := bundles[ss.peer]
	if err != nil || bundle == nil || !s.rations.free(ss.String(), s.now(), emptyDaily) {
		return
	}
	bundle = s.devices.spent.one(deviceName{ss.peer, ss.version}, bundle)
	err = s.transport(ctx, l, ss, bundle, func(ctx context.Context) error {
		next, err := due(ctx)
		if err != nil {
			return err
		}
		value, err := json.Marshal(next)
		if err != nil {
			return err
		}
		return s.deps.State.PutMany(ctx, map[string][]byte{key: value})
	})
	switch {
	case err == nil:
		s.metrics.rebuilt.Inc()
		s.log.Info("a session was built anew, for what came in the old one could not be opened", "with", ss.peer.JID, "device", ss.peer.Device, "of", ss.own)
	case !errors.Is(err, errRepaired) && ctx.Err() == nil:
		s.log.Warn("a session could not be repaired", "with", ss.peer.JID, "device", ss.peer.Device, "err", err)
	}
}

// transport seals a message without content for one device, makes it durable and sends it. also runs in the same
// transaction.
func (s *Side) transport(ctx context.Context, l *link, ss session, bundle *omemo.Bundle, also func(context.Context) error) error {
	id, err := randomID()
	if err != nil {
		return err
	}
	var raw []byte
	err = s.deps.State.Update(ctx, func(ctx context.Context) error {
		msg, err := s.omemo.SealEmpty(ctx, ss.version, ss.own, ss.peer, bundle)
		if err != nil {
			return err
		}
		raw = el("", "message", "type", "chat", "id", id, "from", ss.own+"/"+resource, "to", ss.peer.JID).
			add(rawNode(msg.AppendXML(nil)), el(nsHints, "store")).bytes()
		if also == nil {
			return nil
		}
		return also(ctx)
	})
	if err != nil {
		return err
	}
	s.epoch.move()
	return l.write(raw)
}
