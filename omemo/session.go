package omemo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// record is everything about one remote device: its pinned identity and the
// sessions with it, of which there may be none (see Manager.Renew). The first
// one is current: we send in it. The others are the archive, the latest used
// first; what arrives in one of them makes it current, as libsignal does, so
// that two parties who began sessions at the same time, or one of whom began
// anew, end up in the same session.
type record struct {
	identity [32]byte // in the version's form
	page     string   // where the current session's sending chain is
	slot     int
	sessions []*session
}

// marshal makes the value under "record". The current session's sending half
// is not in it.
func (rec *record) marshal() []byte {
	size := 40 + len(rec.page) // all but the sessions
	for i, s := range rec.sessions {
		size += s.receivingSize()
		if i > 0 {
			size += 32 + 64 + 1 + 32 + 4*4 // see appendSession
		}
	}
	dst := append(append(make([]byte, 0, size), stateVersion), rec.identity[:]...)
	if len(rec.sessions) == 0 {
		return dst
	}
	dst = appendText(dst, rec.page)
	dst = binary.BigEndian.AppendUint16(dst, uint16(rec.slot))
	dst = rec.sessions[0].appendReceiving(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(rec.sessions)-1))
	for _, s := range rec.sessions[1:] {
		dst = s.appendSession(dst)
	}
	return dst
}

// unmarshalRecord reads the values under "record" and "ratchet". Of the
// current session send, sent, previous and what an unconfirmed one repeats are
// left out, and the root key while a turn is due: receiving needs none of them.
func unmarshalRecord(value, ratchet []byte) (*record, error) {
	r := newReader(value)
	var usual struct { // allocated as one
		record
		current  session
		sessions [maxSessions + 1]*session
	}
	rec, current := &usual.record, &usual.current
	rec.identity = r.key()
	if len(r.rest) == 0 {
		return rec, r.end("record of a device")
	}
	rec.page, rec.slot = r.text(), int(r.uint16())
	r.receiving(current)
	rec.sessions = append(usual.sessions[:0], current)
	for range r.count(180) {
		rec.sessions = append(rec.sessions, r.session())
	}
	if err := r.end("record of a device"); err != nil {
		return nil, err
	}
	if ratchet == nil { // lost, and with it the record's half of the page
		rec.sessions = nil
		return rec, nil
	}
	return rec, current.unmarshalRatchet(ratchet)
}

// hasSessions reports whether there are sessions in the value of a record.
func hasSessions(value []byte) bool { return len(value) > 1+32 }

// pinOnly makes the value of a record without its sessions.
func pinOnly(value []byte) ([]byte, error) {
	r := newReader(value)
	rec := record{identity: r.key()}
	r.rest = nil
	return rec.marshal(), r.end("record of a device")
}

// recordIdentity returns the pinned identity key in the value of a record.
func recordIdentity(w *wire, value []byte) (IdentityKey, error) {
	r := newReader(value)
	identity := r.key()
	r.rest = nil
	return w.curve(&identity), r.end("record of a device")
}

// outcome is what opening a message did to a record.
type outcome struct {
	received
	session    *session // the one that opened it; now current
	newSession bool
	preKey     uint32 // used up, with newSession
}

// open opens a plain message with the current session or one of the archive.
func (rec *record) open(w *wire, own *identity, data []byte) (outcome, error) {
	m, err := w.parse(data)
	if err != nil {
		return outcome{}, err
	}
	failure := ErrBadMAC
	for i, s := range rec.sessions {
		o, err := rec.openIn(w, own, s, &m)
		if err == nil {
			rec.promote(i)
			return o, nil
		}
		if i == 0 || errors.Is(err, ErrDuplicate) {
			failure = err
		}
		if errors.Is(err, ErrDuplicate) {
			break // the chain is known: no other session has it
		}
	}
	return outcome{}, failure
}

// openExchange opens a key exchange with the record's identity key. The record
// has no session yet when the device is new.
func (rec *record) openExchange(w *wire, own *identity, st *stock, x *exchange) (outcome, error) {
	if !x.hasPreKey {
		return outcome{}, fmt.Errorf("key exchange: %w", ErrNoPreKey)
	}
	m, err := w.parse(x.message)
	if err != nil {
		return outcome{}, err
	}
	for i, s := range rec.sessions {
		if s.initiator || s.base != x.base {
			continue
		}
		// The peer has not heard from us in this session, or this is a replay.
		o, err := rec.openIn(w, own, s, &m)
		if err == nil {
			rec.promote(i)
		}
		return o, err
	}
	s, err := w.respond(own, st, x)
	if errors.Is(err, ErrPreKeyUnknown) {
		return rec.openAltered(w, own, &m, err)
	}
	if err != nil {
		return outcome{}, err
	}
	o, err := rec.openIn(w, own, s, &m)
	if err != nil {
		return outcome{}, err
	}
	o.newSession, o.preKey = true, x.preKey
	rec.add(s)
	return o, nil
}

// openAltered opens the message of a key exchange whose prekey is gone in the
// session that has its chain. A base key has seven others beside it, altered by
// a point of small order, that agree on the same secret: whoever carries the
// messages can name a session by one of them, and must not part it from the
// sender's own messages by that.
func (rec *record) openAltered(w *wire, own *identity, m *sealed, failure error) (outcome, error) {
	for i, s := range rec.sessions {
		if s.initiator || !slices.ContainsFunc(s.chains, func(c chain) bool { return c.ratchet == m.ratchet }) {
			continue
		}
		o, err := rec.openIn(w, own, s, m)
		switch {
		case err == nil:
			rec.promote(i)
			return o, nil
		case errors.Is(err, ErrDuplicate):
			return outcome{}, err
		}
	}
	return outcome{}, failure
}

func (rec *record) openIn(w *wire, own *identity, s *session, m *sealed) (outcome, error) {
	var buf [80]byte
	associated := w.associated(buf[:0], w.own(own), &rec.identity, false, s.initiator)
	r, err := s.receive(w, associated, m)
	return outcome{received: r, session: s}, err
}

// promote makes the i-th session the current one.
func (rec *record) promote(i int) {
	s := rec.sessions[i]
	rec.sessions = slices.Insert(slices.Delete(rec.sessions, i, i+1), 0, s)
}

// add makes a new session the current one and forgets the oldest if there are
// too many.
func (rec *record) add(s *session) {
	rec.sessions = slices.Insert(rec.sessions, 0, s)
	rec.sessions = rec.sessions[:min(len(rec.sessions), maxSessions)]
}
