package matrixside

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// Whoever writes to the bot alone is told what it is, and who is on the other sides of a room that they are in. Rooms
// into which somebody invited it for that are kept in State under "host/<room id>".

// host is such a room.
type host struct {
	User id.UserID `json:"user,omitempty"`
}

func hostKey(room id.RoomID) string { return "host/" + string(room) }

const (
	doHost  = "host"  // an invitation of the bot: join, and say what it is
	doReply = "reply" // a command to the bot
)

// maxCommand is how long a command may be, in bytes; anything longer is answered as "help" is.
const maxCommand = 300

// followBot takes note of the bot's coming and going in rooms that are not bridged.
func (s *Side) followBot(ctx context.Context, l *ledger, ev *nativeEvent, membership event.Membership) error {
	known, err := note[host](ctx, l, hostKey(ev.Room))
	if err != nil {
		return err
	}
	todo, err := l.errand(ctx, ev.Room, s.names.bot)
	if err != nil {
		return err
	}
	switch membership {
	case event.MembershipLeave, event.MembershipBan:
		*known, *todo = host{}, errand{}
	case event.MembershipInvite:
		accept, _ := s.invitations.count(s.now(), ev.Sender, ev.ID, s.names.domain)
		if s.names.ours(ev.Sender) || !get[bool](ev.Content, "is_direct") || isOpen(ev) || !accept {
			return nil
		}
		*known = host{User: ev.Sender}
		*todo = newErrand(doHost, ev.Room, s.names.bot, ev.ID)
		todo.User = ev.Sender
	}
	return nil
}

// followHost reads a command to the bot.
func (s *Side) followHost(ctx context.Context, l *ledger, ev *nativeEvent) error {
	known, err := note[host](ctx, l, hostKey(ev.Room))
	if err != nil || known.User == "" || known.User != ev.Sender || s.isStale(ev) {
		return err
	}
	todo, err := l.errand(ctx, ev.Room, s.names.bot)
	if err != nil {
		return err
	}
	what := doReply
	if todo.Do == doHost { // the bot may not be in yet
		what = doHost
	}
	switch {
	case ev.isState(event.StateEncryption.Type) && what != doHost:
		*todo = newErrand(doExplain, ev.Room, s.names.bot, ev.ID)
	case ev.Type == event.EventMessage.Type && get[string](ev.Content, "msgtype") == string(event.MsgText):
		*todo = newErrand(what, ev.Room, s.names.bot, ev.ID)
		if todo.User, todo.Reason = ev.Sender, gateway.Clean(get[string](ev.Content, "body")); len(todo.Reason) > maxCommand {
			todo.Reason = ""
		}
	}
	return nil
}

// receiveGuest joins the room of somebody who wants to talk to the bot.
func (s *Side) receiveGuest(ctx context.Context, e errand) error {
	if s.currentRoom(e.Room) != nil { // bridged meanwhile
		return nil
	}
	_, err := s.bot().JoinRoomByID(ctx, e.Room)
	if isForbidden(err) || errors.Is(err, mautrix.MNotFound) { // taken back
		return nil
	}
	if err != nil {
		return fmt.Errorf("join a room to answer there: %w", err)
	}
	encrypted, err := s.isEncrypted(ctx, s.names.bot, e.Room)
	switch {
	case err != nil && !isForbidden(err):
		return fmt.Errorf("ask whether a room is encrypted: %w", err)
	case encrypted:
		return s.explainEncrypted(ctx, e.Room, s.names.bot)
	}
	return s.reply(ctx, e)
}

// reply answers a command.
func (s *Side) reply(ctx context.Context, e errand) error {
	if s.deps.Answer == nil {
		return nil
	}
	word, named, _ := strings.Cut(strings.TrimSpace(e.Reason), " ")
	text := ""
	if strings.EqualFold(strings.TrimPrefix(word, "!"), "who") {
		text = s.whoText(ctx, e.User, strings.TrimSpace(named))
	}
	if text == "" {
		text = s.deps.Answer(ctx, gateway.Address{}, "help") + ` Write "who" to me to see the people on the other sides of a room that you are in, or "who #ROOM:SERVER".`
	}
	err := s.notice(ctx, s.names.bot, e.Room, text, "reply"+string(e.Event))
	if isForbidden(err) {
		return nil
	}
	return err
}

// whoText says who is on the other sides of a room: of the one that is named, or the only one that somebody is in. Of a
// room that they are not in they learn nothing, not even that we carry it.
func (s *Side) whoText(ctx context.Context, user id.UserID, named string) string {
	var in []gateway.Address
	for _, rm := range s.allRooms() {
		native, joined, _ := rm.standing()
		if joined && rm.nameOf(user) != nil && (named == "" || named == rm.ID || named == string(native)) {
			in = append(in, rm.Address)
		}
	}
	switch {
	case len(in) == 1:
		return s.deps.Answer(ctx, in[0], "who")
	case named != "":
		return "You are in no room of that address that I join with others."
	case len(in) == 0:
		return "You are in none of the rooms that I join with others."
	}
	return `You are in several rooms that I join with others: write "who #ROOM:SERVER".`
}
