package matrixside

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// Forget implements gateway.Side. Of a Matrix user it forgets the direct chats and the talk with the bot. Of anybody else
// it forgets the ghost: it leaves all rooms, loses its name and its record, and begins anew if its person speaks again.
// What stands in the rooms' history is the homeserver's.
func (s *Side) Forget(ctx context.Context, who gateway.Person) error {
	own := who.Network == s.deps.Network
	ghost := s.names.ghost(who)
	if own {
		s.invitations.forget(id.UserID(who.ID))
		s.pictures.forget(who.ID)
		if err := s.put(ctx, pictureKey(who.ID), nil); err != nil {
			return fmt.Errorf("forget a picture: %w", err)
		}
	} else if err := s.dismiss(ctx, ghost); err != nil {
		return err
	}
	err := s.amend(ctx, func(ctx context.Context, l *ledger) error {
		if own {
			if err := s.forgetGuest(ctx, l, id.UserID(who.ID)); err != nil {
				return err
			}
		}
		return s.forgetChats(ctx, l, who)
	})
	if err != nil {
		return fmt.Errorf("forget direct rooms: %w", err)
	}
	s.wakeErrands()
	return nil
}

// forgetGuest has the bot leave the rooms in which somebody talks to it.
func (s *Side) forgetGuest(ctx context.Context, l *ledger, user id.UserID) error {
	stored, err := s.deps.State.List(ctx, hostKey(""))
	if err != nil {
		return fmt.Errorf("list who talks to the bot: %w", err)
	}
	for key := range stored {
		room := id.RoomID(key[len(hostKey("")):])
		known, err := note[host](ctx, l, key)
		if err != nil {
			return err
		}
		if known.User != user {
			continue
		}
		todo, err := l.errand(ctx, room, s.names.bot)
		if err != nil {
			return err
		}
		*known, *todo = host{}, newErrand(doDecline, room, s.names.bot, "")
	}
	return nil
}

// forgetChats forgets somebody's direct chats. Of a Matrix user's the ghosts leave the rooms.
func (s *Side) forgetChats(ctx context.Context, l *ledger, who gateway.Person) error {
	own := who.Network == s.deps.Network
	stored, err := s.deps.State.List(ctx, chatKey(""))
	if err != nil {
		return fmt.Errorf("list direct chats: %w", err)
	}
	currents, err := s.deps.State.List(ctx, chatPrefix)
	if err != nil {
		return fmt.Errorf("list direct chats: %w", err)
	}
	about := func(at string) bool {
		user, remote := s.pair(at)
		return own && string(user) == who.ID || remote.Network == who.Network && remote.ID == who.ID
	}
	for key := range stored {
		room := id.RoomID(key[len(chatKey("")):])
		c, err := l.chat(ctx, room)
		if err != nil {
			return err
		}
		if c.At == "" || !about(c.At) {
			continue
		}
		todo, err := l.errand(ctx, room, s.ghostOf(c.At))
		if err != nil {
			return err
		}
		*todo = errand{}
		if own {
			*todo = newErrand(doDecline, room, s.ghostOf(c.At), "")
		}
		if err := s.forget(ctx, l, room); err != nil {
			return err
		}
	}
	for at := range currents {
		if !about(at) {
			continue
		}
		now, err := l.current(ctx, at)
		if err != nil {
			return err
		}
		*now = current{}
	}
	return nil
}

// dismiss takes a ghost out of all rooms, takes its name away and deletes its record.
func (s *Side) dismiss(ctx context.Context, ghost id.UserID) error {
	known, err := s.isRegistered(ctx, ghost)
	if err != nil || !known {
		return err
	}
	rooms, err := s.as(ghost).JoinedRooms(ctx)
	if err != nil {
		return fmt.Errorf("list the rooms of %s: %w", ghost, err)
	}
	for _, native := range rooms.JoinedRooms {
		if err := s.leave(ctx, native, ghost, ""); err != nil {
			return err
		}
		if rm := s.roomOf(native); rm != nil {
			rm.setGhost(ghost, false)
		}
	}
	if err := s.as(ghost).SetDisplayName(ctx, ""); err != nil && !isForbidden(err) {
		return fmt.Errorf("take the name of %s away: %w", ghost, err)
	}
	if err := s.as(ghost).SetAvatarURL(ctx, id.ContentURI{}); err != nil && !isForbidden(err) {
		return fmt.Errorf("take the picture of %s away: %w", ghost, err)
	}
	if err := s.put(ctx, stateKeyOf(ghost), nil); err != nil {
		return fmt.Errorf("delete the record of %s: %w", ghost, err)
	}
	s.mu.Lock()
	delete(s.users, ghost)
	s.mu.Unlock()
	return nil
}
