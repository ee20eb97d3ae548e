package xmppside

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lockbridge/gateway"
)

// SetRooms implements gateway.Side. The keepers of the connection under way follow; one that begins later takes what is
// wanted then.
func (s *Side) SetRooms(rooms []gateway.Room) {
	for _, err := range s.carry(func(w *wanted) { w.rooms = slices.Clone(rooms) }) {
		s.log.Error("a room is not carried", "err", err)
	}
}

// adjust follows a change of what is asked for of a room that we are in.
func (r *room) adjust(ctx context.Context, l *link) {
	s, conf := r.side, r.conf()
	if conf.Seal {
		if _, err := s.device(ctx, s.self); err != nil && ctx.Err() == nil {
			r.log.Error("the room is to be sealed, and the gateway has no device", "err", err)
		}
	}
	if conf.Puppets == gateway.PuppetsNone {
		s.dismissAll(ctx, l, r)
	}
	l.later(func(ctx context.Context) { s.proclaimWhenReady(ctx, l, r) })
}

// dismissAll takes all puppets out of a room.
func (s *Side) dismissAll(ctx context.Context, l *link, r *room) {
	for _, p := range s.people.in(r.jid) {
		if err := s.dismiss(ctx, l, r, gateway.Membership{Who: p.Person}); err != nil {
			if ctx.Err() == nil {
				r.log.Warn("a puppet could not leave", "of", p.Person.ID, "err", err)
			}
			return
		}
	}
}

// leave takes all our occupants out of a room that is not carried any more, and forgets what was kept of it: should it be
// carried again, nothing of what was said until then is read.
func (s *Side) leave(ctx context.Context, l *link, r *room) {
	s.dismissAll(ctx, l, r)
	if nick := r.nickIn(s.self); nick != "" {
		if err := l.send(r.leaving(s.self, nick)); err != nil {
			return
		}
	}
	r.linkLost()
	r.mu.Lock()
	r.first = time.Time{} // nothing more is noted of it
	r.mu.Unlock()
	if err := s.forgetRoom(ctx, r); err != nil {
		if ctx.Err() == nil {
			r.log.Warn("what was kept of a room is not forgotten", "err", err)
		}
		return
	}
	r.log.Info("the room was left")
}

// forgetRoom drops what State keeps of a room.
func (s *Side) forgetRoom(ctx context.Context, r *room) error {
	jid, name := r.jid, r.conf().ID
	removed := s.carried().byName[name] == nil
	err := s.deps.State.Update(ctx, func(ctx context.Context) error {
		gone := map[string][]byte{stateRoom + jid: nil, stateTruth + jid: nil}
		for _, prefix := range []string{stateTold + jid + "/", hereKey(jid, "")} {
			stored, err := s.deps.State.List(ctx, prefix)
			if err != nil {
				return err
			}
			maps.Copy(gone, deleted(stored))
		}
		if removed { // else it has moved
			gone[stateMoved+name] = nil
		}
		return s.deps.State.PutMany(ctx, gone)
	})
	if err != nil {
		return fmt.Errorf("forget a room: %w", err)
	}
	if removed {
		s.carrying.Lock()
		defer s.carrying.Unlock()
		delete(s.wanted.moved, name)
	}
	return nil
}

// leaveOthers leaves the rooms that were taken out of the config while the side did not run.
func (s *Side) leaveOthers(ctx context.Context, l *link) {
	known, err := s.deps.State.List(ctx, stateRoom)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("rooms that are not carried any more are not left", "err", err)
		}
		return
	}
	rooms := s.people.rooms()
	for key := range known {
		rooms = append(rooms, strings.TrimPrefix(key, stateRoom))
	}
	slices.Sort(rooms)
	for _, jid := range slices.Compact(rooms) {
		if s.carried().byJID[jid] != nil {
			continue
		}
		r := newRoom(s, gateway.Room{Address: gateway.Address{Network: s.deps.Network, ID: jid}}, jid)
		for _, p := range s.people.in(jid) {
			r.mine[p.JID] = p.Rooms[jid].Nick // where it may still stand
		}
		r.mine[s.self] = s.cfg.Nick
		s.leave(ctx, l, r)
	}
}
