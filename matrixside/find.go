package matrixside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

const (
	findTime  = 10 * time.Second // how long another network may take to say whether somebody exists
	maxMet    = 10               // ghosts made in metWindow for people who never spoke: anybody may ask for those
	metWindow = time.Minute
)

// Find implements gateway.Finder by the user's profile (Client-Server API, "Profiles"). A homeserver that keeps
// profiles to itself cannot be asked; its users are taken for real.
func (s *Side) Find(ctx context.Context, who gateway.Person) (gateway.Person, error) {
	mxid := id.UserID(who.ID)
	if _, _, err := mxid.Parse(); err != nil || !saneID(who.ID, '@') || s.names.ours(mxid) {
		return gateway.Person{}, gateway.ErrNobody
	}
	profile, err := s.bot().GetProfile(ctx, mxid)
	switch {
	case err == nil:
		if name := gateway.CleanName(profile.DisplayName); name != "" {
			who.Name = name
		}
		return who, nil
	case isForbidden(err):
		return who, nil
	case isNobody(err):
		return gateway.Person{}, gateway.ErrNobody
	}
	return gateway.Person{}, fmt.Errorf("ask for the profile of %s: %w", mxid, err)
}

// isNobody reads the answer for a user who does not exist: M_NOT_FOUND, or M_UNKNOWN with Synapse; 400 for an id that
// no user can have. A proxy's 404 means nothing.
func isNobody(err error) bool {
	var known mautrix.RespError
	if !errors.As(err, &known) {
		return false
	}
	switch code := status(err); known.ErrCode {
	case mautrix.MNotFound.ErrCode, mautrix.MUnknown.ErrCode:
		return code == http.StatusNotFound
	case mautrix.MInvalidParam.ErrCode:
		return code == http.StatusBadRequest
	}
	return false
}

// whose tells whom a ghost stands for: by its id, or by its record where the id had to be cut. Unlike personOf it may
// be called inside a transaction.
func (s *Side) whose(ctx context.Context, ghost id.UserID) (gateway.Person, bool, error) {
	if p, known := s.names.person(ghost); known {
		return p, true, nil
	}
	key := stateKeyOf(ghost)
	got, err := s.deps.State.GetMany(ctx, []string{key})
	if err != nil {
		return gateway.Person{}, false, fmt.Errorf("read the record of %s: %w", ghost, err)
	}
	var record userRecord
	if raw := got[key]; raw != nil {
		if err := json.Unmarshal(raw, &record); err != nil {
			return gateway.Person{}, false, fmt.Errorf("read the record of %s: %w", ghost, err)
		}
	}
	return record.Person, !record.Person.IsZero(), nil
}

// meant is whom a pill names. It may be called inside a transaction.
func (s *Side) meant(ctx context.Context, sc scene, mxid id.UserID) gateway.Person {
	switch {
	case mxid == s.names.bot:
		return gateway.Person{}
	case !s.names.isGhost(mxid):
		return sc.known(mxid)
	}
	p, known, err := s.whose(ctx, mxid)
	if err != nil || !known {
		return gateway.Person{}
	}
	if got, err := s.deps.State.GetMany(ctx, []string{stateKeyOf(mxid)}); err == nil {
		var record userRecord
		if json.Unmarshal(got[stateKeyOf(mxid)], &record) == nil {
			p.Name = record.Name
		}
	}
	return p
}

// meet makes the ghost of somebody who is asked for, if that person exists. The error is gateway.ErrNobody if not.
func (s *Side) meet(ctx context.Context, ghost id.UserID, p gateway.Person) error {
	known, err := s.isRegistered(ctx, ghost)
	if err != nil {
		return err
	}
	found := p
	if s.deps.Find != nil {
		ask, cancel := context.WithTimeout(ctx, findTime)
		defer cancel()
		found, err = s.deps.Find(ask, p)
	}
	switch {
	case errors.Is(err, gateway.ErrNobody), err == nil && (found.Network != p.Network || found.ID != p.ID):
		return gateway.ErrNobody // or written in another way, which would be a second ghost
	case err != nil && !known:
		return fmt.Errorf("ask whether somebody exists on %s: %w", p.Network, err)
	case !known && !s.mayMeet():
		return errors.New("too many people are asked for who have never spoken")
	}
	return s.prepare(ctx, ghost, p, gateway.CleanName(found.Name))
}

// mayMeet counts one more ghost of somebody who never spoke.
func (s *Side) mayMeet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.now().Add(-metWindow)
	s.met = slices.DeleteFunc(s.met, func(at time.Time) bool { return at.Before(since) })
	if len(s.met) >= maxMet {
		return false
	}
	s.met = append(s.met, s.now())
	return true
}

// answerUser answers the homeserver that wants to know whether a user of our namespace exists (Application Service API,
// "Querying users"): one who may be written to is made for it.
func (s *Side) answerUser(w http.ResponseWriter, r *http.Request) {
	ghost := id.UserID(r.PathValue("user"))
	p, known := s.names.person(ghost)
	if !known || !saneID(string(ghost), '@') || !s.isRunning() {
		unknownName(w, r)
		return
	}
	if registered, err := s.isRegistered(r.Context(), ghost); err == nil && registered {
		answer(w, http.StatusOK, "", "")
		return
	}
	if s.deps.Direct.Refuses(gateway.Person{Network: s.deps.Network}, p) != "" {
		unknownName(w, r)
		return
	}
	switch err := s.meet(r.Context(), ghost, p); {
	case errors.Is(err, gateway.ErrNobody):
		unknownName(w, r)
	case err != nil:
		s.log.Warn("cannot say whether somebody exists whom the homeserver asks for", "ghost", ghost, "error", err)
		answer(w, http.StatusServiceUnavailable, "M_UNKNOWN", "it cannot be said now")
	default:
		answer(w, http.StatusOK, "", "")
	}
}
