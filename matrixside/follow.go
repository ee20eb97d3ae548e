package matrixside

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// directArrivals keeps the direct chats in step with what happens in rooms that are not bridged, and returns what is to
// be accepted of it. Most transactions change nothing in them, and cost one read.
func (s *Side) directArrivals(ctx context.Context, events []*nativeEvent) ([]arrival, error) {
	if len(events) == 0 {
		return nil, nil
	}
	l := s.newLedger()
	batch, err := s.follow(ctx, l, events)
	if err != nil {
		return nil, err
	}
	if changes, err := l.changes(); err != nil || len(changes) == 0 {
		return batch, err
	}
	err = s.amend(ctx, func(ctx context.Context, l *ledger) (err error) {
		batch, err = s.follow(ctx, l, events)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("keep what changed in direct rooms: %w", err)
	}
	s.wakeErrands()
	return batch, nil
}

// follow reads events of rooms that are not bridged, in stream order.
func (s *Side) follow(ctx context.Context, l *ledger, events []*nativeEvent) ([]arrival, error) {
	keys := make([]string, 0, len(events))
	for _, ev := range events {
		keys = append(keys, chatKey(ev.Room), hostKey(ev.Room))
	}
	if err := l.read(ctx, keys...); err != nil {
		return nil, err
	}
	var batch []arrival
	for _, ev := range events {
		c, err := l.chat(ctx, ev.Room)
		if err != nil {
			return nil, err
		}
		if member := ev.member(); member != "" {
			err = s.followMember(ctx, l, c, ev, member)
		} else if c.At != "" && !c.Over {
			var a *gateway.Arrival
			if a, err = s.followOther(ctx, l, c, ev); a != nil {
				batch = append(batch, arrival{*a, source{chat: ev.Room, ghost: s.ghostOf(c.At)}})
			}
		} else if c.At == "" {
			err = s.followHost(ctx, l, ev)
		}
		if err != nil {
			return nil, err
		}
	}
	return batch, nil
}

// followMember takes note of who comes and goes.
func (s *Side) followMember(ctx context.Context, l *ledger, c *chat, ev *nativeEvent, member id.UserID) error {
	membership := ev.membership()
	switch {
	case s.names.isGhost(member):
		return s.followGhost(ctx, l, c, ev, member, membership)
	case member == s.names.bot:
		return s.followBot(ctx, l, ev, membership)
	case c.At == "":
		if membership == event.MembershipInvite && s.names.isGhost(ev.Sender) && get[bool](ev.Content, "is_direct") {
			return s.followOwn(ctx, l, c, ev, member)
		}
		return nil
	}
	switch user, _ := s.pair(c.At); {
	case member != user && membership == event.MembershipJoin && !c.Over:
		return s.disband(ctx, l, c, ev)
	case member != user:
		return nil
	}
	switch membership {
	case event.MembershipJoin:
		c.Gone = false
		c.Name, c.Picture = gateway.CleanName(get[string](ev.Content, "displayname")), ""
		if url := get[string](ev.Content, "avatar_url"); mxcURL.MatchString(url) {
			c.Picture = url
		}
	case event.MembershipInvite:
		c.Gone = false
	case event.MembershipLeave, event.MembershipBan:
		c.Gone = true
	}
	return nil
}

// followOwn learns of a room that a ghost made, from its invitation of the user. Deliver writes that down as well, but
// the user may be faster.
func (s *Side) followOwn(ctx context.Context, l *ledger, c *chat, ev *nativeEvent, user id.UserID) error {
	remote, known, err := s.whose(ctx, ev.Sender)
	if err != nil || !known {
		return err
	}
	at := s.pairAddress(user, remote).ID
	now, err := l.current(ctx, at)
	if err != nil {
		return err
	}
	*c = chat{At: at, Own: true, Unseen: true}
	now.move(ev.Room)
	return nil
}

// followGhost takes note of a ghost that is invited or taken out.
func (s *Side) followGhost(ctx context.Context, l *ledger, c *chat, ev *nativeEvent, ghost id.UserID, membership event.Membership) error {
	todo, err := l.errand(ctx, ev.Room, ghost)
	if err != nil {
		return err
	}
	mine := c.At != "" && s.ghostOf(c.At) == ghost
	switch membership {
	case event.MembershipLeave, event.MembershipBan:
		*todo = errand{}
		if mine {
			return s.forget(ctx, l, ev.Room)
		}
	case event.MembershipInvite:
		if s.names.ours(ev.Sender) {
			return nil
		}
		accept, answer := s.invitations.count(s.now(), ev.Sender, ev.ID, s.names.domain)
		if !answer {
			return nil
		}
		*todo = newErrand(doAnswer, ev.Room, ghost, ev.ID)
		todo.User = ev.Sender
		remote, known, err := s.whose(ctx, ghost)
		switch {
		case err != nil:
			return err
		case !accept:
			todo.decline("you have invited many people lately; try again later")
		case !known:
			todo.decline("this user stands for nobody")
		case c.At != "" && !mine:
			todo.decline("this room is the direct chat of somebody else")
		case isOpen(ev):
			todo.decline("a direct chat needs a room that only the two of you can enter")
		default:
			if err := s.forget(ctx, l, ev.Room); err != nil {
				return err
			}
			*c = chat{At: s.pairAddress(ev.Sender, remote).ID, Pending: true}
		}
	}
	return nil
}

// isOpen reports whether an invitation is to a room that anybody may enter (Client-Server API, "Stripped state").
func isOpen(ev *nativeEvent) bool {
	for _, state := range ev.InviteState {
		if get[string](state, "type") == event.StateJoinRules.Type {
			return get[string](get[fields](state, "content"), "join_rule") == string(event.JoinRulePublic)
		}
	}
	return false
}

// disband makes a room no direct one any more: somebody else came in.
func (s *Side) disband(ctx context.Context, l *ledger, c *chat, ev *nativeEvent) error {
	ghost := s.ghostOf(c.At)
	todo, err := l.errand(ctx, ev.Room, ghost)
	if err != nil {
		return err
	}
	now, err := l.current(ctx, c.At)
	if err != nil {
		return err
	}
	now.drop(ev.Room)
	c.Over = true
	*todo = newErrand(doLeave, ev.Room, ghost, ev.ID)
	return nil
}

// followOther reads what is said in a direct room.
func (s *Side) followOther(ctx context.Context, l *ledger, c *chat, ev *nativeEvent) (*gateway.Arrival, error) {
	if ev.isState(event.StateEncryption.Type) {
		c.Encrypted = true
		return nil, s.mustExplain(ctx, l, c, ev.Room, ev.ID)
	}
	a, isEcho := s.directArrival(c, ev)
	if a == nil || isEcho {
		return a, nil
	}
	if c.Pending { // read from the history, in order, when the ghost is in
		return nil, nil
	}
	now, err := l.current(ctx, c.At)
	if err != nil {
		return nil, err
	}
	now.move(ev.Room)
	return a, nil
}

// mustExplain has the ghost say that the room is encrypted, unless it has to do something else there first.
func (s *Side) mustExplain(ctx context.Context, l *ledger, c *chat, room id.RoomID, why id.EventID) error {
	ghost := s.ghostOf(c.At)
	todo, err := l.errand(ctx, room, ghost)
	if err == nil && todo.Do == "" && !c.Pending {
		*todo = newErrand(doExplain, room, ghost, why)
	}
	return err
}

// inChat is somebody as a direct chat knows them.
func (s *Side) inChat(c *chat, mxid id.UserID) gateway.Person {
	p := gateway.Person{Network: s.deps.Network, ID: string(mxid), Name: gateway.CleanName(mxid.Localpart())}
	if user, _ := s.pair(c.At); mxid == user && c.Name != "" {
		p.Name = c.Name
	}
	return p
}

// directArrival is what is to be accepted of a direct room's event, if anything: our own echo, or what the user said.
func (s *Side) directArrival(c *chat, ev *nativeEvent) (a *gateway.Arrival, isEcho bool) {
	at := gateway.Address{Network: s.deps.Network, ID: c.At}
	a = &gateway.Arrival{At: at, Native: string(ev.ID)}
	if s.names.ours(ev.Sender) {
		echo, ok := decodeEcho(ev)
		if !ok {
			return nil, true
		}
		a.Also = s.partOf(ev, echo.Part).Also
		a.Read = func(context.Context) (*gateway.Event, error) {
			return &gateway.Event{At: at, Native: string(ev.ID), Time: ev.Time, Body: echo}, nil
		}
		return a, true
	}
	user, _ := s.pair(c.At)
	if ev.Sender != user || !isRead(ev.Type) {
		return nil, false
	}
	sc := scene{at: at, sender: s.inChat(c, user), encrypted: c.Encrypted}
	sc.known = func(mxid id.UserID) gateway.Person { return s.inChat(c, mxid) }
	if ev.Type == event.EventMessage.Type || ev.Type == event.EventSticker.Type {
		sc.sender.Avatar = s.pictureOf(string(user), c.Picture, at, sc.sender)
	}
	a.Read = s.reader(ev, sc)
	return a, false
}
