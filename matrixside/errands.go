package matrixside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// What an errand is about.
const (
	doAnswer  = "answer"  // an invitation: join and read what was said since, or decline
	doDecline = "decline" // an invitation that cannot be accepted
	doLeave   = "leave"   // a room that is no direct one any more, saying so
	doExplain = "explain" // that the room is encrypted
)

const (
	// maxTries is how often an errand is tried before it is given up: half an hour of a homeserver that is there but
	// refuses.
	maxTries = 30
	// errandTime bounds one try, so that a slow one does not hold up the others for long.
	errandTime = 30 * time.Second
)

// errand is something that has to be done in a direct room by requests to the homeserver. It is written down with the
// event that asks for it, so that a crash in between loses nothing; each can be done twice.
type errand struct {
	Do     string     `json:"do,omitempty"`
	Room   id.RoomID  `json:"room,omitempty"`
	Ghost  id.UserID  `json:"ghost,omitempty"`
	User   id.UserID  `json:"user,omitempty"` // who invited
	Reason string     `json:"reason,omitempty"`
	Event  id.EventID `json:"event,omitempty"` // what asked for it
	Tries  int        `json:"tries,omitempty"`
	Mark   uint64     `json:"mark,omitempty"` // random: what is asked for again while it is under way is done again
}

// newErrand is one in a room for a ghost, which an event asks for.
func newErrand(what string, room id.RoomID, ghost id.UserID, why id.EventID) errand {
	return errand{Do: what, Room: room, Ghost: ghost, Event: why, Mark: rand.Uint64()}
}

func errandKey(room id.RoomID, ghost id.UserID) string {
	return "errand/" + string(room) + "/" + string(ghost)
}

// decline turns an invitation down. The reason is for whoever invited.
func (e *errand) decline(reason string) { e.Do, e.Reason = doDecline, reason }

func (s *Side) wakeErrands() {
	select {
	case s.errands <- struct{}{}:
	default:
	}
}

// runErrands does what is to be done in direct rooms. Its error is that of the last errand that has to be tried again.
func (s *Side) runErrands(ctx context.Context, in gateway.Inbox) error {
	failed := s.makeChatsSure(ctx, in)
	stored, err := s.deps.State.List(ctx, "errand/")
	if err != nil {
		return fmt.Errorf("list what is to be done in direct rooms: %w", err)
	}
	var todo []errand
	for _, key := range slices.Sorted(maps.Keys(stored)) {
		var e errand
		if err := json.Unmarshal(stored[key], &e); err != nil {
			s.log.Error("something that is to be done in a direct room cannot be read", "key", key, "error", err)
			continue
		}
		todo = append(todo, e)
	}
	// What failed comes last: a server that is slow to answer must not hold up what concerns others.
	slices.SortStableFunc(todo, func(a, b errand) int { return a.Tries - b.Tries })
	for _, e := range todo {
		try, cancel := context.WithTimeout(ctx, errandTime)
		err := s.runErrand(try, e, in)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.ran(ctx, e, err); err != nil {
			failed = err
		}
	}
	return failed
}

func (s *Side) runErrand(ctx context.Context, e errand, in gateway.Inbox) error {
	switch e.Do {
	case doAnswer:
		return s.answerInvite(ctx, e, in)
	case doDecline:
		if s.currentRoom(e.Room) != nil { // bridged again meanwhile
			return nil
		}
		return s.leave(ctx, e.Room, e.Ghost, e.Reason)
	case doLeave:
		return s.farewell(ctx, e)
	case doExplain:
		return s.explainEncrypted(ctx, e.Room, e.Ghost)
	case doHost:
		return s.receiveGuest(ctx, e)
	case doReply:
		return s.reply(ctx, e)
	}
	return nil
}

// ran strikes an errand off, unless another one has taken its place, or notes that it failed once more.
func (s *Side) ran(ctx context.Context, e errand, failed error) error {
	given := failed != nil && e.Tries+1 >= maxTries
	err := s.amend(ctx, func(ctx context.Context, l *ledger) error {
		now, err := l.errand(ctx, e.Room, e.Ghost)
		switch {
		case err != nil || *now != e:
			return err
		case failed != nil && !given:
			now.Tries++
			return nil
		}
		*now = errand{}
		if e.Do == doExplain || e.Do == doHost || e.Do == doReply || e.Do == doAnswer && failed == nil {
			return nil
		}
		if c, err := l.chat(ctx, e.Room); err != nil || c.At == "" || s.ghostOf(c.At) != e.Ghost {
			return err
		}
		return s.forget(ctx, l, e.Room)
	})
	switch {
	case err != nil:
		return err
	case given:
		s.log.Error("something in a direct room is given up", "what", e.Do, "room", e.Room, "ghost", e.Ghost, "error", failed)
		return nil
	}
	return failed
}

// answerInvite joins a room that may be a direct chat, or declines.
func (s *Side) answerInvite(ctx context.Context, e errand, in gateway.Inbox) error {
	remote, _, err := s.whose(ctx, e.Ghost)
	if err != nil {
		return err
	}
	at := s.pairAddress(e.User, remote)
	reason := s.deps.Direct.Refuses(gateway.Person{Network: s.deps.Network, ID: string(e.User)}, remote)
	if reason == "" && max(len(at.ID), len(at.Mirror().ID)) > gateway.MaxRoom {
		reason = "your names are too long for a direct chat"
	}
	if reason == "" {
		err := s.meet(ctx, e.Ghost, remote)
		if errors.Is(err, gateway.ErrNobody) {
			reason = "there is nobody of that name on " + gateway.CleanName(remote.Network)
		} else if err != nil {
			return err
		}
	}
	if reason != "" {
		s.log.Info("an invitation to a direct chat is declined", "room", e.Room, "ghost", e.Ghost, "by", e.User, "reason", reason)
		return s.refuseRoom(ctx, e, reason)
	}
	err = s.registered(ctx, e.Ghost, func() error {
		_, err := s.as(e.Ghost).JoinRoomByID(ctx, e.Room)
		return err
	})
	if isForbidden(err) || errors.Is(err, mautrix.MNotFound) { // taken back, or a door that stays shut
		s.log.Info("an invitation to a direct chat cannot be accepted", "room", e.Room, "ghost", e.Ghost, "error", err)
		return s.forgetRoom(ctx, e.Room, e.Ghost)
	}
	if err != nil {
		return fmt.Errorf("join a direct room as %s: %w", e.Ghost, err)
	}
	seen, err := s.look(ctx, e.Room, e.Ghost, e.User)
	if err != nil {
		return err
	}
	switch {
	case seen.outside:
		return s.forgetRoom(ctx, e.Room, e.Ghost)
	case seen.others:
		return s.refuseRoom(ctx, e, "this is no direct chat, as there are others in the room")
	}
	return s.adopt(ctx, e, at, seen, in)
}

// refuseRoom leaves a room that is not to be a direct one.
func (s *Side) refuseRoom(ctx context.Context, e errand, reason string) error {
	if err := s.leave(ctx, e.Room, e.Ghost, reason); err != nil {
		return err
	}
	return s.forgetRoom(ctx, e.Room, e.Ghost)
}

// forgetRoom is forget in a transaction of its own, if the room is a chat with the ghost's person.
func (s *Side) forgetRoom(ctx context.Context, room id.RoomID, ghost id.UserID) error {
	return s.amend(ctx, func(ctx context.Context, l *ledger) error {
		if c, err := l.chat(ctx, room); err != nil || c.At == "" || s.ghostOf(c.At) != ghost {
			return err
		}
		return s.forget(ctx, l, room)
	})
}

// adopt makes a room that the ghost has joined the current one of its chat, and accepts what the user said there before
// that. Transactions wait meanwhile: so nothing that was said later can come first, and nothing falls in between.
func (s *Side) adopt(ctx context.Context, e errand, at gateway.Address, seen sight, in gateway.Inbox) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	opened := &chat{At: at.ID, Name: seen.name, Picture: seen.picture, Gone: seen.gone, Encrypted: seen.encrypted}
	batch, err := s.saidSince(ctx, e, opened)
	if err != nil {
		return err
	}
	if len(batch) > 0 {
		if err := in.Accept(ctx, batch); err != nil {
			return fmt.Errorf("accept what was said in a direct room so far: %w", err)
		}
	}
	return s.settleIn(ctx, e, at, opened)
}

// settleIn writes down that a ghost has come into a room, and how it found it.
func (s *Side) settleIn(ctx context.Context, e errand, at gateway.Address, opened *chat) error {
	return s.amend(ctx, func(ctx context.Context, l *ledger) error {
		c, err := l.chat(ctx, e.Room)
		if err != nil || c.At != at.ID || !c.Pending || c.Over {
			return err
		}
		// What came while the room was looked at counts as well.
		opened.Encrypted, opened.Gone = opened.Encrypted || c.Encrypted, opened.Gone || c.Gone
		*c = *opened
		now, err := l.current(ctx, at.ID)
		if err != nil {
			return err
		}
		now.move(e.Room)
		todo, err := l.errand(ctx, e.Room, e.Ghost)
		if err != nil || !c.Encrypted {
			return err
		}
		*todo = newErrand(doExplain, e.Room, e.Ghost, e.Event)
		s.wakeErrands()
		return nil
	})
}

// saidSince reads what the user said between the invitation and the ghost's coming, oldest first.
func (s *Side) saidSince(ctx context.Context, e errand, c *chat) ([]gateway.Arrival, error) {
	filter := mautrix.FilterPart{Senders: []id.UserID{e.User}, Types: []event.Type{
		event.EventMessage, event.EventSticker, event.EventReaction, event.EventEncrypted, event.EventRedaction, event.StateMember}}
	var batch []gateway.Arrival
	err := s.history(ctx, e.Ghost, e.Room, filter, introPages, func(events []*nativeEvent) (more bool) {
		for _, ev := range events {
			if ev.ID == e.Event {
				return false
			}
			if ev.member() == "" {
				if a, isEcho := s.directArrival(c, ev); a != nil && !isEcho {
					batch = append(batch, *a)
				}
			}
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read what was said in a direct room so far: %w", err)
	}
	slices.Reverse(batch)
	return batch, nil
}

// sight is what a ghost sees of a room.
type sight struct {
	outside   bool   // the ghost is not in it, and sees nothing else
	name      string // what the user is called
	picture   string // see chat
	gone      bool   // the user is neither in the room nor invited
	others    bool   // somebody else is in the room
	encrypted bool
}

func (s *Side) look(ctx context.Context, room id.RoomID, ghost, user id.UserID) (sight, error) {
	members, err := s.as(ghost).JoinedMembers(ctx, room)
	if isForbidden(err) {
		return sight{outside: true}, nil
	}
	if err != nil {
		return sight{}, fmt.Errorf("list the members of a direct room: %w", err)
	}
	if _, in := members.Joined[ghost]; !in {
		return sight{outside: true}, nil
	}
	var seen sight
	for mxid := range members.Joined {
		seen.others = seen.others || mxid != ghost && mxid != user
	}
	if m, in := members.Joined[user]; in {
		seen.name = gateway.CleanName(m.DisplayName)
		if mxcURL.MatchString(m.AvatarURL) {
			seen.picture = m.AvatarURL
		}
	} else {
		membership, err := s.membership(ctx, ghost, room, user)
		if err != nil {
			return sight{}, fmt.Errorf("ask whether the user is in a direct room: %w", err)
		}
		seen.gone = membership != event.MembershipInvite
	}
	if seen.encrypted, err = s.isEncrypted(ctx, ghost, room); err != nil {
		return sight{}, fmt.Errorf("ask whether a direct room is encrypted: %w", err)
	}
	return seen, nil
}

// farewell leaves a room in which the chat's two people are not alone any more, and says so.
func (s *Side) farewell(ctx context.Context, e errand) error {
	const text = "Somebody else has come into this room, so it is no direct chat any more. I leave it: nothing that is said here goes on from now. Start another chat with me to go on."
	err := s.notice(ctx, e.Ghost, e.Room, text, "farewell"+string(e.Event))
	if err != nil && !isForbidden(err) {
		return fmt.Errorf("say that a room is no direct one any more: %w", err)
	}
	return s.leave(ctx, e.Room, e.Ghost, "this is no direct chat any more")
}

// leave takes a ghost out of a room, or declines its invitation. It is no error if it is not there.
func (s *Side) leave(ctx context.Context, room id.RoomID, ghost id.UserID, reason string) error {
	_, err := s.as(ghost).LeaveRoom(ctx, room, &mautrix.ReqLeave{Reason: reason})
	if err != nil && !isForbidden(err) && !errors.Is(err, mautrix.MNotFound) {
		return fmt.Errorf("leave a room as %s: %w", ghost, err)
	}
	return nil
}
