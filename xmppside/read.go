package xmppside

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lockbridge/gateway"
)

const (
	maxBatch    = 256
	oddPause    = time.Hour // between two lines of the log about stanzas of somebody that cannot be read
	retryAccept = time.Second
	// toldPause is how long a member who writes in the clear hears nothing more about it.
	toldPause = 24 * time.Hour
)

// batch is a stretch of the stream on its way to Accept.
type batch struct {
	arrivals []gateway.Arrival
	after    []func() // to be done once everything is durable, in order
}

func (b *batch) then(f func()) { b.after = append(b.after, f) }

// stateArrival is a change of State that keeps its place in the stream.
func (s *Side) stateArrival(from string, change func(context.Context) error) gateway.Arrival {
	return gateway.Arrival{
		At:   gateway.Address{Network: s.deps.Network, ID: from},
		Read: func(ctx context.Context) (*gateway.Event, error) { return nil, change(ctx) },
	}
}

// work turns the queue into arrivals until it is closed and empty. Whatever queued up while the last commit ran goes
// into the next one.
func (s *Side) work(ctx context.Context, l *link, in gateway.Inbox) {
	for {
		items, ok := l.queue.take(ctx, maxBatch)
		if !ok {
			return
		}
		b := &batch{}
		for _, it := range items {
			s.read(ctx, l, it, b)
		}
		for len(b.arrivals) > 0 {
			err := in.Accept(ctx, b.arrivals)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			s.log.Error("what was received cannot be stored; trying again", "err", err)
			wait(ctx, retryAccept)
		}
		for _, f := range b.after {
			f()
		}
	}
}

// read takes one stanza in. A malformed one is logged and left out: whoever sent it, the others go on.
func (s *Side) read(ctx context.Context, l *link, it item, b *batch) {
	if it.release != nil {
		for _, what := range it.release.releaseHeld() {
			s.take(what, b)
			if what.from.ours == "" {
				it.release.visited(what.from.person)
			}
		}
		s.seeOff(it.release, b)
		b.then(func() { it.release.mendAll(l) })
		return
	}
	if it.passed != nil {
		close(it.passed)
		return
	}
	if it.face != "" {
		s.readFace(it.face, b)
		return
	}
	if it.named != nil {
		s.readName(it.named, b)
		return
	}
	if it.met != "" {
		s.readMet(ctx, l, it.met, b)
		return
	}
	m, err := parseMessage(it.raw, it.bound)
	if err == nil && it.long {
		err = errTooLong
	}
	if err != nil {
		s.readBroken(it.raw, err, b)
		return
	}
	r := s.roomOf(m.get("from"))
	switch {
	case it.presence && r != nil:
		s.readPresence(l, r, m.node, b)
	case it.presence:
		s.readContact(ctx, l, it, m.node, b)
	case m.get("type") == "error":
		s.readRefusal(r, m, b)
	case m.get("type") == "groupchat" && r != nil:
		s.readRoom(l, r, m, it.at, b)
	case m.get("type") == "groupchat":
	case r != nil && m.child(nsMAM, "result") != nil:
		if old := r.archived(m); old != nil {
			s.readRoom(l, r, old, it.at, b)
		}
	case m.child(nsEvent, "event") != nil:
		s.readListEvent(m, b)
	default:
		s.readDirect(ctx, l, r, it, m, b)
	}
}

var errTooLong = fmt.Errorf("it is longer than %d KB", maxStanza>>10)

// leaveOut logs that a stanza was left out, now and then for each sender: who sends one may send a million.
func (s *Side) leaveOut(t tag, err error) {
	from := gateway.Shorten(t.get("from"), 200)
	if s.lately.free("odd/"+from, s.now(), oddPause) {
		s.log.Warn("a stanza was left out", "err", err, "stanza", t.name, "from", from, "to", gateway.Shorten(t.get("to"), 200))
	}
}

// readBroken passes a notice on in place of what somebody said in a room that cannot be taken apart.
func (s *Side) readBroken(raw []byte, err error, b *batch) {
	t, bad := parseTag(raw)
	if bad != nil {
		s.leaveOut(t, bad)
		return
	}
	s.leaveOut(t, err)
	r := s.roomOf(t.get("from"))
	if r == nil || t.name != "message" || t.get("type") != "groupchat" || resourceOf(t.get("from")) == "" {
		return
	}
	from := r.senderOf(&message{node: &node{attrs: t.attrs}}, false)
	if from.ours != "" {
		return
	}
	b.arrivals = append(b.arrivals, gateway.Arrival{At: r.conf().Address, Read: func(context.Context) (*gateway.Event, error) {
		return nil, gateway.Unreadable(from.person, err)
	}})
}

// said is a room's message with what was known of its sender when it came.
type said struct {
	room    *room
	link    *link
	message *message
	content content
	from    sender
	at      time.Time // when it was received
	// moderation is set where the room itself says that something was taken back.
	moderation *moderation
}

// readRoom takes in what was said in a room.
func (s *Side) readRoom(l *link, r *room, m *message, at time.Time, b *batch) {
	old := m.archive != ""
	if !old && (!r.enteredOn(l) || r.notice(m)) {
		return
	}
	c := decodeContent(m, r.jid)
	if !old && !r.has(&r.givesStanzaIDs) {
		c.stanzaID = ""
	}
	if !old && !r.has(&r.tellsHistory) { // then whoever wrote this of its time was not the room
		c.delayed, c.time = false, time.Time{}
	}
	what := said{room: r, link: l, message: m, content: c, from: r.senderOf(m, c.delayed), at: at}
	if resourceOf(m.get("from")) == "" && r.knows() != "" {
		what.moderation = decodeModeration(m.node)
	}
	if resourceOf(m.get("from")) == "" && !c.subject && what.moderation == nil || c.subject && old {
		return // the room itself speaks, or a subject of long ago
	}
	if old || !r.hold(what) {
		s.take(what, b)
	}
}

// take turns what was said into an arrival.
func (s *Side) take(what said, b *batch) {
	r, m, c := what.room, what.message, what.content
	if c.subject {
		s.readSubject(what, b)
		return
	}
	if c.delayed && m.archive == "" {
		r.countHistory(c.time)
	}
	if what.moderation != nil {
		s.takeModeration(what, b)
	} else if key, part, ok := parseOriginID(c.origin); ok && s.voiceIn(what) != "" {
		s.readEcho(what, key, part, b)
	} else if what.from.ours == "" && c.says() {
		in := &incoming{side: s, said: what}
		in.unfit, _ = r.unfit()
		b.arrivals = append(b.arrivals, gateway.Arrival{
			At: r.conf().Address, Native: c.native(m), Also: what.aliases(), Old: c.delayed, Read: in.read,
		})
		b.then(in.finish)
		s.saidSo(what, b)
		if c.delayed {
			r.visited(what.from.person)
		}
	} else if what.from.ours == "" {
		s.readPassing(what, b)
	}
	switch {
	case m.archive != "": // in order, like what is said live; a join's history is not, while there is an archive
		r.noteStay(c.time, m.archive, b)
	case !c.delayed:
		r.noteStay(what.at, c.stanzaID, b)
	}
}

// voiceIn is the address of ours that said something; "" if none did. In the history of a room that does not show whose
// words they were, the nick tells.
func (s *Side) voiceIn(what said) string {
	if what.from.ours == "" && what.content.delayed && what.from.real == "" {
		return s.spokeAs(what.room, what.from.nick)
	}
	return what.from.ours
}

// spokeAs is the address of ours that had a nick when we were last in the room; "" if none had.
func (s *Side) spokeAs(r *room, nick string) string {
	if strings.TrimRight(nick, "_") == strings.TrimRight(s.cfg.Nick, "_") {
		return s.self
	}
	for _, p := range s.people.in(r.jid) {
		if p.Rooms[r.jid].Nick == nick {
			return p.JID
		}
	}
	return ""
}

// readEcho takes in the room's reflection of what one of our occupants said, which ends the delivery. Deliver may be about
// to say it again meanwhile, so it is remembered here, too.
func (s *Side) readEcho(what said, key, part string, b *batch) {
	r, id := what.room, what.content.origin
	name, count, ok := parsePart(part)
	if !ok {
		return
	}
	whole := s.reflectedWhole(key, part, count)
	b.arrivals = append(b.arrivals, gateway.Arrival{
		At: r.conf().Address, Native: what.content.native(what.message), Also: what.voiceAlias(s.voiceIn(what)), Old: what.content.delayed,
		Read: func(ctx context.Context) (*gateway.Event, error) {
			if told, ok := r.toldBy(key); ok { // of which the journal knows nothing
				return nil, s.deps.State.PutMany(ctx, told.reflected(r))
			}
			return &gateway.Event{Body: gateway.Echo{Key: key, Part: name, Ends: whole}}, nil
		},
	})
	b.then(func() {
		s.ended.add(id)
		if whole {
			s.ended.add(key)
		}
		s.waits.end(id, r.jid, nil)
	})
}

// incoming is a room's message between its arrival and what has to be done about it afterwards.
type incoming struct {
	said
	side  *Side
	unfit string // what the room was when it was said

	// Read sets it, possibly several times; finish does it once.
	due func()
}

// read opens and decodes. It runs inside Accept's transaction.
func (in *incoming) read(ctx context.Context) (*gateway.Event, error) {
	in.due = nil
	r, c := in.room, in.content
	reason := in.unfit
	if reason == "" {
		reason, _ = r.unfit()
	}
	if reason != "" {
		return in.refuse(ctx, toldUnfit, "nothing is carried from this room for now, for it must be end-to-end encrypted and "+reason)
	}
	switch {
	case in.message.sealed != nil:
		return in.open(ctx)
	case c.sealed:
		return nil, gateway.Unreadable(in.from.person, errors.New("sealed by something else than OMEMO"))
	case c.acts() && !r.believes():
		return nil, nil
	case r.conf().Seal && !c.acts():
		return in.refuse(ctx, toldPlain, "this room is bridged only end-to-end encrypted, and the message was not: turn on OMEMO and send it again")
	}
	return c.event(in.from.person, "", gateway.Sealing{}, r.scene(in.from)), nil
}

// finish does what reading found due. It runs once everything is durable.
func (in *incoming) finish() {
	if in.due != nil {
		in.due()
	}
}

// What people are told of when what they say is refused, each at its own time.
const (
	toldPlain      = ""
	toldUnfit      = "/unfit"
	toldDistrusted = "/distrusted"
)

// refuse answers a message that must not cross with a report to its sender, once a day.
func (in *incoming) refuse(ctx context.Context, what, reason string) (*gateway.Event, error) {
	if in.content.delayed {
		return nil, nil
	}
	s, p := in.side, in.from.person
	key := stateTold + in.room.jid + "/" + p.ID + what
	found, err := s.deps.State.GetMany(ctx, []string{key})
	if err != nil {
		return nil, err
	}
	if !stale(found[key], s.now(), toldPause) {
		return nil, nil
	}
	if err := s.deps.State.PutMany(ctx, map[string][]byte{key: stamp(s.now())}); err != nil {
		return nil, err
	}
	// It stands in the journal for what was said, so it has the same sender: else nobody would be known to be told.
	return &gateway.Event{Sender: p, Body: gateway.Receipt{
		Target: gateway.Ref{Native: in.content.native(in.message), Author: p}, State: gateway.Undeliverable, Reason: reason,
	}}, nil
}

// stamp writes a time for State, stale reads it: whether it is longer ago than pause, or never was.
func stamp(t time.Time) []byte { return []byte(t.UTC().Format(time.RFC3339)) }

func stale(v []byte, now time.Time, pause time.Duration) bool {
	t, err := time.Parse(time.RFC3339, string(v))
	return err != nil || now.Sub(t).Abs() >= pause
}
