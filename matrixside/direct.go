package matrixside

import (
	"context"
	"errors"
	"fmt"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// direct is the lane of one direct chat. Its room is looked up for each delivery, since the user decides which it is.
type direct struct {
	s      *Side
	at     gateway.Address
	user   id.UserID
	remote gateway.Person
	ghost  id.UserID
	last   id.RoomID // where something was said last
}

// openDirect finds the lane of a direct chat, or says why nothing can be said there.
func (s *Side) openDirect(at gateway.Address, local, remote gateway.Person) (*direct, error) {
	user := id.UserID(local.ID)
	if _, _, err := user.Parse(); err != nil || !saneID(local.ID, '@') || s.names.ours(user) {
		return nil, gateway.Dropf("there is no Matrix user of that name")
	}
	return &direct{s: s, at: at, user: user, remote: remote, ghost: s.names.ghost(remote)}, nil
}

// rooms returns the room that stands for the chat now, if any, and the one that did before.
func (d *direct) rooms(ctx context.Context) (current, chat, error) {
	l := d.s.newLedger()
	now, err := l.current(ctx, d.at.ID)
	if err != nil {
		return current{}, chat{}, err
	}
	if now.Room == "" {
		return *now, chat{}, nil
	}
	c, err := l.chat(ctx, now.Room)
	if err != nil {
		return current{}, chat{}, err
	}
	if c.At != d.at.ID || c.Over {
		now.Room = ""
		return *now, chat{}, nil
	}
	return *now, *c, nil
}

// arrived implements lane.
func (d *direct) arrived(ctx context.Context, run []gateway.Delivery) (map[string][]gateway.Part, error) {
	wanted, out := map[string]map[string]bool{}, map[string][]gateway.Part{}
	var since time.Time
	for _, one := range run {
		out[one.Key] = one.Known
		if names := missing(one); len(names) > 0 {
			wanted[one.Key], since = names, earlier(since, d.s.searchSince(one.Event.Time))
		}
	}
	if len(wanted) == 0 {
		return out, nil
	}
	now, _, err := d.rooms(ctx)
	if err != nil {
		return nil, err
	}
	for _, room := range []id.RoomID{now.Room, now.Before} {
		if room == "" || len(wanted) == 0 {
			continue
		}
		err := d.s.search(ctx, d.ghost, room, []id.UserID{d.ghost}, since, func(key string, p gateway.Part) (more bool) {
			found(wanted, out, key, p)
			return len(wanted) > 0
		})
		if err != nil && !isForbidden(err) { // a room that the ghost was taken out of is closed to it
			return nil, err
		}
	}
	return out, nil
}

// encoder implements lane.
func (d *direct) encoder() encoder {
	return encoder{network: d.at.Network, pill: func(p gateway.Person) id.UserID {
		if p.Network != d.at.Network && d.s.mxid(p) != d.ghost {
			return "" // nobody made a ghost for them here
		}
		return d.s.mxid(p)
	}}
}

// deliver implements lane.
func (d *direct) deliver(ctx context.Context, one gateway.Delivery, have []gateway.Part) gateway.Outcome {
	parts, gone, err := d.s.act(ctx, d, one, have)
	if err != nil {
		return d.s.failed(err)
	}
	if n := len(parts); n > 0 && partNames(one.Event.Body) != nil && d.last != "" {
		d.s.spoke(d.last, d.ghost, id.EventID(parts[n-1].Native))
	}
	return gateway.Outcome{Parts: parts, Gone: gone}
}

// speak implements lane. All is said by the ghost.
func (d *direct) speak(ctx context.Context, v voice, do func(mouth) error) error {
	name := "" // as the ghost is called
	if v.person.Network == d.remote.Network && v.person.ID == d.remote.ID {
		name = gateway.CleanName(v.person.Name)
	}
	for again := false; ; again = true {
		room, err := d.room(ctx, name, v.fresh)
		if err != nil {
			return err
		}
		if name != "" {
			d.s.dress(ctx, d.ghost, v.person)
		}
		d.last = room
		err = do(mouth{user: d.ghost, room: room})
		if !isForbidden(err) || again || !v.fresh {
			return err
		}
		seen, lookErr := d.s.look(ctx, room, d.ghost, d.user)
		if lookErr != nil {
			return lookErr
		}
		if !seen.outside { // it may not speak
			return err
		}
		if err := d.s.forgetRoom(ctx, room, d.ghost); err != nil {
			return err
		}
	}
}

// room is where to say something now: the chat's room, with the user in it or invited, or a new one if fresh. The
// ghost is called name, or what it was called before.
func (d *direct) room(ctx context.Context, name string, fresh bool) (id.RoomID, error) {
	now, c, err := d.rooms(ctx)
	if err == nil && c.Unseen {
		c, err = d.inspect(ctx, now.Room)
	}
	if err != nil {
		return "", err
	}
	switch {
	case now.Room == "" && !fresh:
		return "", gateway.Dropf("there is no direct room any more")
	case now.Room != "" && !c.Encrypted:
		if err := d.s.prepare(ctx, d.ghost, d.remote, name); err != nil {
			return "", err
		}
		if !c.Gone || !fresh {
			return now.Room, nil
		}
		if !now.mayAsk(d.s.now()) {
			return "", d.tired()
		}
		err := d.invite(ctx, now.Room)
		if !isForbidden(err) {
			return now.Room, d.refused(err)
		}
		// In a room that the user made the ghost may have no say, and it may have been taken out of any.
		seen, lookErr := d.s.look(ctx, now.Room, d.ghost, d.user)
		if lookErr != nil {
			return "", lookErr
		}
		if c.Own && !seen.outside {
			return "", d.refused(err)
		}
		if err := d.s.refuseRoom(ctx, errand{Room: now.Room, Ghost: d.ghost}, "nobody is left here to talk to"); err != nil {
			return "", err
		}
	}
	if !c.Encrypted {
		if !now.mayAsk(d.s.now()) {
			return "", d.tired()
		}
		now.Room, c, err = d.open(ctx, name, now.Made)
	}
	if err == nil && c.Encrypted {
		err = gateway.Dropf("the direct Matrix room is end-to-end encrypted, and such rooms are not bridged yet")
	}
	return now.Room, err
}

// tired is why nobody is invited any more who left again and again.
func (d *direct) tired() error {
	return gateway.Dropf("%s has left the direct chat again and again, and is not invited for now", d.user)
}

// inspect finds out of a room that was learnt from its invitation alone whether it is encrypted: a homeserver may do so
// on its own account, before anybody is invited.
func (d *direct) inspect(ctx context.Context, room id.RoomID) (chat, error) {
	encrypted, err := d.s.isEncrypted(ctx, d.ghost, room)
	if err != nil && !isForbidden(err) { // put out meanwhile: so nothing can be said there either
		return chat{}, fmt.Errorf("ask whether a direct room is encrypted: %w", err)
	}
	var c chat
	err = d.s.amend(ctx, func(ctx context.Context, l *ledger) error {
		known, err := l.chat(ctx, room)
		if err != nil || known.At != d.at.ID {
			return err
		}
		known.Unseen, known.Encrypted = false, known.Encrypted || encrypted
		c = *known
		if !c.Encrypted {
			return nil
		}
		return d.s.mustExplain(ctx, l, known, room, "")
	})
	d.s.wakeErrands()
	return c, err
}

// open makes a room for the chat, its nth or the next, and writes it down. It is safe to repeat.
func (d *direct) open(ctx context.Context, name string, n int) (id.RoomID, chat, error) {
	_, err := d.s.Find(ctx, gateway.Person{Network: d.at.Network, ID: string(d.user)})
	if errors.Is(err, gateway.ErrNobody) { // another error may mean that their server keeps profiles to itself
		return "", chat{}, gateway.Dropf("there is no Matrix user %s", d.user)
	}
	if err := d.s.prepare(ctx, d.ghost, d.remote, name); err != nil {
		return "", chat{}, err
	}
	room, seen, n, err := d.make(ctx, n)
	if err != nil {
		return "", chat{}, err
	}
	if seen.gone {
		if err := d.refused(d.invite(ctx, room)); err != nil {
			return "", chat{}, err
		}
	}
	var c chat
	err = d.s.amend(ctx, func(ctx context.Context, l *ledger) error {
		known, err := l.chat(ctx, room)
		if err != nil {
			return err
		}
		if known.At == "" {
			*known = chat{At: d.at.ID, Name: seen.name, Picture: seen.picture}
		}
		known.Own, known.Unseen, known.Encrypted = true, false, known.Encrypted || seen.encrypted
		c = *known
		now, err := l.current(ctx, d.at.ID)
		if err != nil {
			return err
		}
		now.move(room)
		now.ask(d.s.now())
		now.Made = n
		if !c.Encrypted {
			return nil
		}
		return d.s.mustExplain(ctx, l, known, room, "")
	})
	d.s.wakeErrands()
	return room, c, err
}

// maxMade is how many rooms in a row may be found that were the chat's once.
const maxMade = 50

// make returns a room of the chat's two people: the nth one if it is still theirs, else the next.
func (d *direct) make(ctx context.Context, n int) (id.RoomID, sight, int, error) {
	for last := n + maxMade; n < last; n++ {
		room, err := d.create(ctx, n)
		if err != nil {
			return "", sight{}, n, err
		}
		seen, err := d.s.look(ctx, room, d.ghost, d.user)
		if err != nil {
			return "", sight{}, n, err
		}
		if !seen.outside && !seen.others {
			return room, seen, n, d.hideAlias(ctx, room)
		}
	}
	return "", sight{}, n, errors.New("make a direct room: all were left again")
}

// create makes a room with an alias that only this one has, or finds it where it was made before.
func (d *direct) create(ctx context.Context, n int) (id.RoomID, error) {
	name, none := d.s.aliasOf(d.at.ID, n), ""
	request := &mautrix.ReqCreateRoom{
		Preset: "trusted_private_chat", IsDirect: true, Invite: []id.UserID{d.user}, RoomAliasName: name,
		InitialState: []*event.Event{{Type: event.StateCanonicalAlias, StateKey: &none, Content: event.Content{Raw: map[string]any{}}}},
	}
	var made *mautrix.RespCreateRoom
	err := d.s.registered(ctx, d.ghost, func() (err error) {
		made, err = d.s.as(d.ghost).CreateRoom(ctx, request)
		return err
	})
	switch {
	case err == nil && saneID(string(made.RoomID), '!'):
		return made.RoomID, nil
	case err == nil:
		return "", errors.New("make a direct room: the homeserver names no room id")
	case !errors.Is(err, mautrix.MRoomInUse) && !isForbidden(err):
		return "", fmt.Errorf("make a direct room: %w", err)
	}
	// Where the invitation is refused, the room is there all the same.
	found, findErr := d.s.as(d.ghost).ResolveAlias(ctx, id.NewRoomAlias(name, d.s.cfg.Domain))
	switch {
	case findErr == nil && saneID(string(found.RoomID), '!'):
		return found.RoomID, nil
	case isForbidden(err):
		return "", gateway.Dropf("the Matrix server does not allow a direct room with %s", d.user)
	}
	return "", fmt.Errorf("make a direct room: %w", errors.Join(err, findErr))
}

// hideAlias takes the alias out of the room's state, if it is there although we asked for a state without: clients are
// to call the room by the ghost's name.
func (d *direct) hideAlias(ctx context.Context, room id.RoomID) error {
	var shown event.CanonicalAliasEventContent
	client := d.s.as(d.ghost)
	err := client.StateEvent(ctx, room, event.StateCanonicalAlias, "", &shown)
	if err == nil && shown.Alias != "" {
		_, err = client.SendStateEvent(ctx, room, event.StateCanonicalAlias, "", struct{}{})
	}
	if err != nil && !errors.Is(err, mautrix.MNotFound) {
		return fmt.Errorf("hide the alias of a direct room: %w", err)
	}
	return nil
}

// invite asks the user into the chat's room again.
func (d *direct) invite(ctx context.Context, room id.RoomID) error {
	_, err := d.s.as(d.ghost).InviteUser(ctx, room, &mautrix.ReqInviteUser{UserID: d.user})
	if isForbidden(err) { // also the answer for one who is there
		membership, askErr := d.s.membership(ctx, d.ghost, room, d.user)
		if askErr != nil || membership != event.MembershipJoin && membership != event.MembershipInvite {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("invite %s: %w", d.user, err)
	}
	return d.s.amend(ctx, func(ctx context.Context, l *ledger) error {
		c, err := l.chat(ctx, room)
		if err != nil {
			return err
		}
		c.Gone = false
		now, err := l.current(ctx, d.at.ID)
		if err == nil {
			now.ask(d.s.now())
		}
		return err
	})
}

// refused makes the refusal of an invitation a reason for the sender.
func (d *direct) refused(err error) error {
	switch {
	case isForbidden(err):
		return gateway.Dropf("%s cannot be invited to a direct chat", d.user)
	case errors.Is(err, mautrix.MNotFound):
		return gateway.Dropf("there is no Matrix user %s", d.user)
	}
	return err
}
