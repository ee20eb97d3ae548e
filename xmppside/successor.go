package xmppside

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// noteSuccessor remembers the room that is said to replace this one, by the error with which the room refused us.
func (r *room) noteSuccessor(err error) {
	var e *stanzaError
	if !errors.As(err, &e) || e.Condition != "gone" {
		return
	}
	address, _, _ := strings.Cut(strings.TrimPrefix(e.Elsewhere, "xmpp:"), "?")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.destroyed = true
	if next := normalBare(address); next != "" {
		r.successor = next
	}
}

// follow moves on to the room that is said to replace this one, if that one names it as its predecessor: else anybody who
// may destroy the room could lead us anywhere. Where it moved, the keeper is ended. A nil error: there is nothing to
// follow.
func (r *room) follow(ctx context.Context, l *link) error {
	s := r.side
	r.mu.Lock()
	next := r.successor
	r.mu.Unlock()
	if next == "" {
		return nil
	}
	names, err := r.isNamedBy(ctx, l, next)
	switch {
	case err != nil:
		return fmt.Errorf("the room was replaced by %s, which does not answer: %w", next, err)
	case !names:
		return fmt.Errorf("the room was replaced by %s, which does not name it as its predecessor: change the configuration", next)
	case s.carried().byJID[next] != nil:
		return fmt.Errorf("the room was replaced by %s, which is in a bridge already: change the configuration", next)
	}
	err = s.deps.State.Update(ctx, func(ctx context.Context) error {
		return s.deps.State.PutMany(ctx, map[string][]byte{stateMoved + r.conf().ID: []byte(next)})
	})
	if err != nil {
		return fmt.Errorf("note that the room moved: %w", err)
	}
	r.log.Warn("the room was replaced and is followed; change the configuration", "by", next)
	s.carry(func(w *wanted) { w.moved[r.conf().ID] = next })
	<-ctx.Done()
	return ctx.Err()
}

// isBack reports whether the room is there, though it was said to be replaced.
func (r *room) isBack(ctx context.Context, l *link) bool {
	_, err := l.ask(ctx, "get", r.fullSelf(), r.jid, el(nsDiscoInfo, "query"))
	return err == nil
}

// isNamedBy reports whether another room's subject or description holds the address of this one.
func (r *room) isNamedBy(ctx context.Context, l *link, other string) (bool, error) {
	iq, err := l.ask(ctx, "get", r.fullSelf(), other, el(nsDiscoInfo, "query"))
	if err != nil {
		return false, err
	}
	for _, form := range iq.child(nsDiscoInfo, "query").all(nsForm, "x") {
		for _, field := range form.all(nsForm, "field") {
			switch field.get("var") {
			case "muc#roominfo_description", "muc#roominfo_subject", "muc#roomconfig_roomdesc":
			default:
				continue
			}
			for _, value := range field.all(nsForm, "value") {
				if holdsAddress(value.text, r.jid) {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// holdsAddress reports whether an address stands in a text by itself, and not as a part of a longer one.
func holdsAddress(text, address string) bool {
	for _, word := range strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" \t\r\n,;()<>[]\"'", c) }) {
		word, _, _ = strings.Cut(strings.TrimPrefix(word, "xmpp:"), "?")
		if normalBare(strings.TrimRight(word, ".:!")) == address {
			return true
		}
	}
	return false
}

// explainPutOut says why the gateway is not in the room any more.
func (r *room) explainPutOut(codes []string) error {
	r.mu.Lock()
	destroyed := r.destroyed
	r.mu.Unlock()
	if destroyed {
		return errDestroyed
	}
	for _, c := range codes {
		switch c {
		case "301":
			return fmt.Errorf("%s was banned from the room: lift the ban", r.side.self)
		case "307":
			return errors.New("the gateway was kicked out of the room")
		case "321", "322":
			return fmt.Errorf("the room is for members only now: make %s a member, better an admin", r.side.self)
		case "332":
			return errors.New("the room's server is being shut down")
		}
	}
	return fmt.Errorf("the gateway was put out of the room (status %v)", codes)
}

var errDestroyed = errors.New("the room was destroyed: create it again, or take it out of the config")

// loadMoved recalls where rooms have moved to.
func (s *Side) loadMoved(ctx context.Context) error {
	moved, err := s.deps.State.List(ctx, stateMoved)
	if err != nil {
		return fmt.Errorf("read where rooms have moved: %w", err)
	}
	for _, err := range s.carry(func(w *wanted) {
		w.moved = map[string]string{}
		for key, next := range moved {
			w.moved[strings.TrimPrefix(key, stateMoved)] = string(next)
		}
	}) {
		s.log.Error("a room is not carried", "err", err)
	}
	return nil
}
