package matrixside

import (
	"fmt"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// rejoinTime is how long the bot stays outside before it tries to come back where it was taken out.
const rejoinTime = 30 * time.Second

// observe keeps what the side knows of a room in step with the stream.
func (s *Side) observe(rm *room, ev *nativeEvent, member id.UserID) {
	switch {
	case member != "" && !s.names.ours(member):
		rm.observeMember(ev, member)
	case member == s.names.bot:
		s.observeBot(rm, ev)
	case member != "":
		s.observeGhost(rm, ev, member)
	case ev.isState(event.StateEncryption.Type):
		rm.mu.Lock()
		rm.encrypted = true // for good: encryption cannot be switched off again
		rm.mu.Unlock()
		rm.wake()
	case ev.isState(event.StatePowerLevels.Type):
		rm.observeLevels(ev)
		if rm.isRefusedSpeech() {
			s.possible() // perhaps
		}
	case ev.isState(event.StateTombstone.Type):
		s.observeTombstone(rm, ev)
	}
}

func (rm *room) observeMember(ev *nativeEvent, member id.UserID) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	switch ev.membership() {
	case event.MembershipJoin:
		remember(rm.names, member, gateway.CleanName(get[string](ev.Content, "displayname")))
		rm.setPicture(member, get[string](ev.Content, "avatar_url"))
	case event.MembershipLeave, event.MembershipBan:
		delete(rm.names, member)
		delete(rm.pictures, member)
	}
}

func (s *Side) observeBot(rm *room, ev *nativeEvent) {
	switch membership := ev.membership(); membership {
	case event.MembershipInvite:
		rm.mu.Lock()
		rm.rejoin = time.Time{}
		rm.mu.Unlock()
		rm.wake()
	case event.MembershipLeave, event.MembershipBan:
		if _, joined, _ := rm.standing(); !joined && membership == event.MembershipLeave { // a ban was lifted
			rm.mu.Lock()
			rm.rejoin = time.Time{}
			rm.mu.Unlock()
			rm.wake()
			return
		}
		why := "kicked from"
		if membership == event.MembershipBan {
			why = "banned from"
		}
		rm.out(s.now(), fmt.Errorf("%s was %s the Matrix room; invite it to go on", s.names.bot, why))
		rm.mu.Lock()
		rm.rejoin, rm.kicked = s.now().Add(rejoinTime), true
		rm.mu.Unlock()
		rm.wake()
		s.log.Error("the bot was taken out of the room; invite it to go on", "room", rm.ID, "bot", s.names.bot, "membership", membership)
	}
}

func (s *Side) observeGhost(rm *room, ev *nativeEvent, ghost id.UserID) {
	switch ev.membership() {
	case event.MembershipJoin:
		rm.setGhost(ghost, true)
	case event.MembershipLeave, event.MembershipBan:
		rm.setGhost(ghost, false)
	case event.MembershipInvite:
		if s.names.ours(ev.Sender) {
			return // we are bringing it in ourselves
		}
		rm.mu.Lock()
		remember(rm.invites, ghost, true)
		rm.mu.Unlock()
		rm.wake()
	}
}

// botInvited has another look at the rooms that could not be entered: the invitation may be to one whose alias we could
// not see, or to one that replaced another.
func (s *Side) botInvited(ev *nativeEvent) {
	s.log.Info("the bot was invited to a room that is not known to be bridged", "id", ev.Room, "by", ev.Sender)
	for _, rm := range s.allRooms() {
		if _, problem := rm.obstacle(); problem != nil {
			rm.wake()
		}
	}
}

// restore takes back what a membership event changed.
func (rm *room) restore(member id.UserID, former *string) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	switch {
	case member == "":
	case former == nil:
		delete(rm.names, member)
	default:
		remember(rm.names, member, *former)
	}
}
