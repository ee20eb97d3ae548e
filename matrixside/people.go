package matrixside

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

const (
	maxGhosts   = 10_000           // ghosts whose records are kept in memory
	refusedTime = 10 * time.Minute // how long the bot speaks for a ghost before it tries the door again
)

// user is one of ours, as the homeserver knows it. The record is kept in State under "user/<localpart>".
type user struct {
	mu      sync.Mutex
	loaded  bool
	record  userRecord
	refused string    // a picture that could not be shown
	until   time.Time // and before when it is not tried again
}

type userRecord struct {
	Registered bool           `json:"registered"`
	Name       string         `json:"name"`
	Person     gateway.Person `json:"person,omitzero"` // the reverse of ids that had to be cut
	Avatar     string         `json:"avatar,omitempty"`
}

// user returns the record of one of our users. Records beyond the bound are read again from State.
func (s *Side) user(mxid id.UserID) *user {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[mxid]; u != nil {
		return u
	}
	if len(s.users) >= maxGhosts {
		clear(s.users)
	}
	u := &user{}
	s.users[mxid] = u
	return u
}

func stateKeyOf(mxid id.UserID) string { return "user/" + mxid.Localpart() }

// load reads the record once. The caller holds u.mu.
func (s *Side) load(ctx context.Context, u *user, mxid id.UserID) error {
	if u.loaded {
		return nil
	}
	key := stateKeyOf(mxid)
	got, err := s.deps.State.GetMany(ctx, []string{key})
	if err != nil {
		return fmt.Errorf("read the record of %s: %w", mxid, err)
	}
	if raw := got[key]; raw != nil {
		if err := json.Unmarshal(raw, &u.record); err != nil {
			return fmt.Errorf("read the record of %s: %w", mxid, err)
		}
	}
	u.loaded = true
	return nil
}

// isRegistered reports whether one of our users was made already.
func (s *Side) isRegistered(ctx context.Context, mxid id.UserID) (bool, error) {
	u := s.user(mxid)
	u.mu.Lock()
	defer u.mu.Unlock()
	err := s.load(ctx, u, mxid)
	return u.record.Registered, err
}

// prepare makes sure that one of our users exists and is called name. Without a name it keeps the one it has.
func (s *Side) prepare(ctx context.Context, mxid id.UserID, p gateway.Person, name string) error {
	u := s.user(mxid)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := s.load(ctx, u, mxid); err != nil {
		return err
	}
	before := u.record
	if !u.record.Registered {
		if err := s.register(ctx, mxid); err != nil {
			return fmt.Errorf("register %s: %w", mxid, err)
		}
		u.record.Registered = true
		u.record.Person = gateway.Person{Network: p.Network, ID: p.ID}
	}
	if name == "" {
		name = cmp.Or(u.record.Name, displayName(p))
	}
	if u.record.Name != name {
		err := s.as(mxid).SetDisplayName(ctx, name)
		if err != nil && !isForbidden(err) {
			u.record = before
			return fmt.Errorf("set the display name of %s: %w", mxid, err)
		}
		if err != nil { // a homeserver may forbid it for all; the user id must do then
			s.log.Warn("the homeserver does not let us set a display name", "user", mxid, "error", err)
		}
		u.record.Name = name
	}
	if u.record == before {
		return nil
	}
	raw, err := json.Marshal(u.record)
	if err == nil {
		err = s.put(ctx, stateKeyOf(mxid), raw)
	}
	if err != nil {
		u.record = before
		return fmt.Errorf("keep the record of %s: %w", mxid, err)
	}
	return nil
}

// register makes a user of our namespace, without a device (Application Service API, "Server admin style permissions").
func (s *Side) register(ctx context.Context, mxid id.UserID) error {
	_, _, err := s.bot().Register(ctx, &mautrix.ReqRegister[any]{
		Type: mautrix.AuthTypeAppservice, Username: mxid.Localpart(), InhibitLogin: true,
	})
	if errors.Is(err, mautrix.MUserInUse) {
		return nil
	}
	return err
}

// registered tries something as a ghost, and once more after registering it, if it was refused: the homeserver's
// database may be younger than our record.
func (s *Side) registered(ctx context.Context, mxid id.UserID, try func() error) error {
	err := try()
	if !isForbidden(err) {
		return err
	}
	if err := s.register(ctx, mxid); err != nil {
		return fmt.Errorf("register %s: %w", mxid, err)
	}
	return try()
}

// put writes one value of the side's State.
func (s *Side) put(ctx context.Context, key string, value []byte) error {
	return s.deps.State.Update(ctx, func(ctx context.Context) error {
		return s.deps.State.PutMany(ctx, map[string][]byte{key: value})
	})
}

// displayName is what a ghost is called.
func displayName(p gateway.Person) string {
	if name := gateway.CleanName(p.Label()); name != "" {
		return name
	}
	return p.ID
}

// voice decides who says something for p in a room: its ghost, or the bot with p's name before the text, where the
// ghost may not enter. Nobody in particular is the gateway itself.
func (s *Side) voice(ctx context.Context, rm *room, p gateway.Person) (speaker id.UserID, prefix string, err error) {
	if p.IsZero() {
		return s.names.bot, "", nil
	}
	mxid, name := s.names.ghost(p), displayName(p)
	if rm.isRefused(mxid, s.now()) {
		return s.names.bot, name, nil
	}
	if err := s.prepare(ctx, mxid, p, name); err != nil {
		return "", "", err
	}
	s.dress(ctx, mxid, p)
	err = s.admit(ctx, rm, mxid)
	if !isForbidden(err) {
		return mxid, "", err
	}
	native, _, _ := rm.standing()
	membership, askErr := s.membership(ctx, s.names.bot, native, mxid)
	if askErr != nil {
		return "", "", askErr
	}
	if membership == event.MembershipBan { // whoever the moderators silenced must not come back through the bot
		return "", "", gateway.Dropf("you are banned from the Matrix room")
	}
	if rm.refuse(mxid, s.now().Add(refusedTime)) {
		s.log.Warn("a ghost can neither join nor be invited; the bot speaks for it", "room", rm.ID, "ghost", mxid, "error", err)
	}
	return s.names.bot, name, nil
}

// invited brings in the ghosts that people invited, as far as we know whom they stand for.
func (s *Side) invited(ctx context.Context, rm *room) error {
	for _, mxid := range rm.takeInvited() {
		p, ok, err := s.personOf(ctx, mxid)
		if err != nil {
			return err
		}
		if !ok || !rm.isBeside(p.Network) {
			s.log.Info("an invited ghost stands for nobody that the room is bridged with", "room", rm.ID, "ghost", mxid)
			continue
		}
		known, err := s.isRegistered(ctx, mxid)
		if err != nil {
			return err
		}
		if !known && !s.mayMeet() {
			s.log.Info("an invited ghost is not made, as many others just were", "room", rm.ID, "ghost", mxid)
			continue
		}
		if _, _, err := s.voice(ctx, rm, p); err != nil {
			s.log.Warn("cannot bring in an invited ghost", "room", rm.ID, "ghost", mxid, "error", err)
		}
	}
	return nil
}

// personOf tells whom a ghost stands for: by its id, or by its record where the id had to be cut.
func (s *Side) personOf(ctx context.Context, mxid id.UserID) (gateway.Person, bool, error) {
	p, known := s.names.person(mxid)
	u := s.user(mxid)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := s.load(ctx, u, mxid); err != nil {
		return p, false, err
	}
	if !u.record.Person.IsZero() {
		p, known = u.record.Person, true
		p.Name = u.record.Name
	}
	return p, known, nil
}
