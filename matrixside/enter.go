package matrixside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// tend does what is to be done in a room: enter it, read what was missed, follow it where it went, explain that it is
// encrypted, bring in invited ghosts.
func (s *Side) tend(ctx context.Context, rm *room, in gateway.Inbox) error {
	if _, joined, _ := rm.standing(); !joined {
		if err := s.enter(ctx, rm); err != nil {
			return err
		}
	}
	if err := s.learn(ctx, rm, in); err != nil {
		return err
	}
	if err := s.makeSure(ctx, rm, in); err != nil {
		return err
	}
	if moved, err := s.moveOn(ctx, rm); err != nil {
		return err
	} else if moved {
		return s.tend(ctx, rm, in)
	}
	if native, _, encrypted := rm.standing(); encrypted {
		return s.explainEncrypted(ctx, native, s.names.bot)
	}
	return s.invited(ctx, rm)
}

// enter brings the bot into a room.
func (s *Side) enter(ctx context.Context, rm *room) error {
	if in, err := s.isStillIn(ctx, rm); err != nil || in {
		return err
	}
	if err := rm.mayRejoin(s.now()); err != nil {
		return err
	}
	native, err := s.resolve(ctx, rm)
	if err != nil {
		return err
	}
	if err := s.join(ctx, native, rm.servers()); err != nil {
		return err
	}
	rm.mu.Lock()
	kicked := rm.kicked
	rm.mu.Unlock()
	if kicked { // what was said meanwhile was not for us
		if err := s.put(ctx, lastKey(native), nil); err != nil {
			return fmt.Errorf("begin anew in %s: %w", rm.ID, err)
		}
	}
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if kicked {
		rm.last, rm.kicked = "", false
	}
	rm.joined, rm.learnt = true, false
	clear(rm.names) // who left while the bot was out
	clear(rm.pictures)
	return nil
}

// isStillIn asks whether the bot, which was taken out of the room, is in it: that may have been long ago, in a
// transaction that comes late or again.
func (s *Side) isStillIn(ctx context.Context, rm *room) (bool, error) {
	rm.mu.Lock()
	native, kicked := rm.native, rm.kicked
	rm.mu.Unlock()
	if !kicked {
		return false, nil
	}
	membership, err := s.membership(ctx, s.names.bot, native, s.names.bot)
	if err != nil && !isRefusal(err) {
		return false, fmt.Errorf("ask whether the bot is still in %s: %w", rm.ID, err)
	}
	if membership != event.MembershipJoin {
		return false, nil
	}
	rm.mu.Lock()
	rm.joined, rm.kicked, rm.problem, rm.rejoin = true, false, nil, time.Time{}
	rm.mu.Unlock()
	s.possible()
	return true, nil
}

// learn finds out what a room is that the bot is in, and who is there.
func (s *Side) learn(ctx context.Context, rm *room, in gateway.Inbox) error {
	rm.mu.Lock()
	native, learnt, was := rm.native, rm.learnt, rm.successor
	rm.mu.Unlock()
	if learnt {
		return nil
	}
	encrypted, err := s.isEncrypted(ctx, s.names.bot, native)
	if err != nil {
		return fmt.Errorf("ask whether %s is encrypted: %w", rm.ID, err)
	}
	levels, err := s.levelsOf(ctx, native)
	if err != nil {
		return fmt.Errorf("ask who may do what in %s: %w", rm.ID, err)
	}
	successor, err := s.successorOf(ctx, native)
	if err != nil {
		return fmt.Errorf("ask whether %s was replaced: %w", rm.ID, err)
	}
	if err := s.beginAt(ctx, rm, native); err != nil {
		return err
	}
	members, err := s.bot().JoinedMembers(ctx, native)
	if err != nil {
		return fmt.Errorf("list the members of %s: %w", rm.ID, err)
	}
	rm.mu.Lock()
	rm.encrypted = rm.encrypted || encrypted
	rm.levels = levels
	if rm.successor == was { // and was not replaced meanwhile
		rm.successor = successor
	}
	for mxid, m := range members.Joined {
		if s.names.isGhost(mxid) {
			remember(rm.ghosts, mxid, true)
		} else {
			remember(rm.names, mxid, gateway.CleanName(m.DisplayName))
			rm.setPicture(mxid, m.AvatarURL)
		}
	}
	rm.mu.Unlock()
	if err := s.tellMembers(ctx, rm, members, in); err != nil {
		return err
	}
	rm.mu.Lock()
	rm.learnt, rm.problem = true, nil
	rm.mu.Unlock()
	s.possible()
	s.log.Info("in the room", "room", rm.ID, "id", native, "members", len(members.Joined), "encrypted", encrypted)
	return nil
}

// join brings the bot into a room.
func (s *Side) join(ctx context.Context, native id.RoomID, via []string) error {
	_, err := s.bot().JoinRoom(ctx, string(native), &mautrix.ReqJoinRoom{Via: via})
	if isForbidden(err) {
		return fmt.Errorf("join %s: %w; invite %s to the room", native, err, s.names.bot)
	}
	if err != nil {
		return fmt.Errorf("join %s: %w", native, err)
	}
	return nil
}

// mayRejoin says whether the bot may come back into the room that it was taken out of.
func (rm *room) mayRejoin(now time.Time) error {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if now.Before(rm.rejoin) {
		return rm.problem
	}
	return nil
}

func (rm *room) servers() []string {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.via
}

// tellMembers passes on who is in the room, for those who show everybody.
func (s *Side) tellMembers(ctx context.Context, rm *room, members *mautrix.RespJoinedMembers, in gateway.Inbox) error {
	const most = 200
	batch := make([]gateway.Arrival, 0, min(most, len(members.Joined)))
	flush := func() error {
		defer func() { batch = batch[:0:0] }()
		if len(batch) == 0 {
			return nil
		}
		return in.Accept(ctx, batch)
	}
	for mxid := range members.Joined {
		if s.names.ours(mxid) || !saneID(string(mxid), '@') {
			continue
		}
		who := rm.person(mxid)
		batch = append(batch, gateway.Arrival{At: rm.Address, Read: func(context.Context) (*gateway.Event, error) {
			return &gateway.Event{At: rm.Address, Sender: who, Body: gateway.Membership{Who: who, Change: gateway.Join, Quiet: true}}, nil
		}})
		if len(batch) == most {
			if err := flush(); err != nil {
				return fmt.Errorf("pass on the members of %s: %w", rm.ID, err)
			}
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("pass on the members of %s: %w", rm.ID, err)
	}
	return nil
}

// resolve finds the room's id. An alias is asked for once and pinned: where it points later decides nothing, or whoever
// may move the alias could move the bridge.
func (s *Side) resolve(ctx context.Context, rm *room) (id.RoomID, error) {
	defer once(rm.resolved)
	pinned, _, _ := rm.standing()
	if !rm.isAlias() {
		return pinned, s.claim(rm, pinned, viaOf(rm.ID))
	}
	resp, err := s.bot().ResolveAlias(ctx, id.RoomAlias(rm.ID))
	switch {
	case err != nil && pinned == "":
		return "", fmt.Errorf("resolve %s: %w", rm.ID, err)
	case err != nil:
		s.log.Warn("the room's alias cannot be resolved; the room found earlier stays", "room", rm.ID, "id", pinned, "error", err)
		return pinned, s.claim(rm, pinned, viaOf(rm.ID))
	case !saneID(string(resp.RoomID), '!'):
		return "", fmt.Errorf("resolve %s: the homeserver names no room id", rm.ID)
	case pinned != "" && pinned != resp.RoomID:
		if !slices.Contains(rm.natives(), resp.RoomID) { // else it stayed with the room that was replaced
			s.log.Error("the room's alias points to another room now; it is followed only if that room replaced the one found earlier", "room", rm.ID, "id", pinned, "other", resp.RoomID)
		}
		return pinned, s.claim(rm, pinned, resp.Servers[:min(len(resp.Servers), maxVia)])
	case pinned == "":
		if err := s.put(ctx, pinKey(rm.ID), []byte(resp.RoomID)); err != nil {
			return "", fmt.Errorf("pin %s: %w", rm.ID, err)
		}
	}
	return resp.RoomID, s.claim(rm, resp.RoomID, resp.Servers[:min(len(resp.Servers), maxVia)])
}

// maxVia is how many servers are named through which a room may be joined.
const maxVia = 5

// once closes a channel that may be closed already; only the room's own loop calls it.
func once(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// viaOf guesses a server that knows a room from the room's own id or alias.
func viaOf(roomOrAlias string) []string {
	if _, _, server := id.ParseCommonIdentifier(roomOrAlias); server != "" {
		return []string{server}
	}
	return nil
}

// claim gives a native room to rm, if no other bridged room has it.
func (s *Side) claim(rm *room, native id.RoomID, via []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms[rm.ID] != rm {
		return fmt.Errorf("%s is not bridged any more", rm.ID)
	}
	if other := s.byNative[native]; other != nil && other != rm {
		return fmt.Errorf("%s and %s are the same room, which can be in one bridge only", rm.ID, other.ID)
	}
	s.byNative[native] = rm
	rm.mu.Lock()
	defer rm.mu.Unlock()
	rm.native, rm.via = native, via
	return nil
}

func (s *Side) isEncrypted(ctx context.Context, reader id.UserID, native id.RoomID) (bool, error) {
	var state map[string]any
	err := s.as(reader).StateEvent(ctx, native, event.StateEncryption, "", &state)
	if errors.Is(err, mautrix.MNotFound) {
		return false, nil
	}
	return err == nil, err
}

// explainEncrypted says once in an encrypted room why it is not bridged.
func (s *Side) explainEncrypted(ctx context.Context, native id.RoomID, speaker id.UserID) error {
	key := "told/" + string(native)
	got, err := s.deps.State.GetMany(ctx, []string{key})
	if err != nil || got[key] != nil {
		return err
	}
	const text = "This room is end-to-end encrypted. Encrypted Matrix rooms are not bridged yet: " +
		"nothing that is said here reaches the other networks, and nothing that is said there arrives here."
	if err := s.notice(ctx, speaker, native, text, "encrypted"); err != nil && !isForbidden(err) {
		return fmt.Errorf("explain in %s that it is encrypted: %w", native, err)
	}
	s.log.Warn("the room is encrypted and not bridged", "room", native)
	return s.put(ctx, key, []byte("1"))
}

// admit brings a ghost into the room: it joins, and where it may not, the bot invites it first.
func (s *Side) admit(ctx context.Context, rm *room, mxid id.UserID) error {
	if rm.hasGhost(mxid) {
		return nil
	}
	native, _, _ := rm.standing()
	_, err := s.as(mxid).JoinRoomByID(ctx, native)
	if isForbidden(err) {
		if err := s.register(ctx, mxid); err != nil { // see registered
			return fmt.Errorf("register %s: %w", mxid, err)
		}
		_, inviteErr := s.bot().InviteUser(ctx, native, &mautrix.ReqInviteUser{UserID: mxid})
		if inviteErr != nil {
			return fmt.Errorf("invite %s: %w", mxid, inviteErr)
		}
		_, err = s.as(mxid).JoinRoomByID(ctx, native)
	}
	if err != nil {
		return fmt.Errorf("join as %s: %w", mxid, err)
	}
	rm.setGhost(mxid, true)
	return nil
}

// membership is how somebody stands to a room; empty for one who never was there.
func (s *Side) membership(ctx context.Context, reader id.UserID, native id.RoomID, mxid id.UserID) (event.Membership, error) {
	var member event.MemberEventContent
	err := s.as(reader).StateEvent(ctx, native, event.StateMember, string(mxid), &member)
	if errors.Is(err, mautrix.MNotFound) {
		return "", nil
	}
	return member.Membership, err
}
