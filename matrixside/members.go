package matrixside

import (
	"context"
	"slices"
	"strings"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// members says which changes of membership a room shows: ghosts come with their people only where everybody gets one, and
// always leave with them.
func (rm *room) members() gateway.Members {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	switch rm.asked.Puppets {
	case gateway.PuppetsAll:
		return gateway.AllMembers
	case gateway.PuppetsActive:
		return gateway.Leavers
	}
	return gateway.NoMembers
}

// follow lets ghosts come, go and change their names with their people. was is whom m.Who was before: another nick on IRC is
// another person.
func (b bridged) follow(ctx context.Context, was gateway.Person, m gateway.Membership) error {
	ghost := b.names.ghost(m.Who)
	there := b.rm.hasGhost(ghost)
	switch m.Change {
	case gateway.Join:
		if there || !b.rm.takesMore() {
			return nil
		}
		_, _, err := b.voice(ctx, b.rm, m.Who)
		return err
	case gateway.Rename:
		if old := b.names.ghost(was); old != ghost && was.Network == m.Who.Network && b.rm.hasGhost(old) {
			if err := b.goAway(ctx, old, "is now known as "+displayName(m.Who)); err != nil {
				return err
			}
			_, _, err := b.voice(ctx, b.rm, m.Who)
			return err
		}
		if !there {
			return nil
		}
		err := b.prepare(ctx, ghost, m.Who, displayName(m.Who))
		b.dress(ctx, ghost, m.Who)
		return err
	case gateway.Leave, gateway.Kick, gateway.Ban:
		if !there {
			return nil
		}
		return b.goAway(ctx, ghost, leaving(m))
	}
	return nil
}

// goAway takes a ghost out of the room.
func (b bridged) goAway(ctx context.Context, ghost id.UserID, reason string) error {
	native, _, _ := b.rm.standing()
	err := b.Side.leave(ctx, native, ghost, reason)
	if err == nil {
		b.rm.setGhost(ghost, false)
	}
	return err
}

// takesMore reports whether people who have not spoken may have a ghost in the room.
func (rm *room) takesMore() bool {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.asked.Puppets == gateway.PuppetsAll && len(rm.ghosts) < rm.asked.MaxPuppets
}

// leaving is why a ghost leaves. A kick elsewhere is none here: the ghost goes by itself, and says who was it.
func leaving(m gateway.Membership) string {
	what := map[gateway.Change]string{gateway.Kick: "kicked", gateway.Ban: "banned"}[m.Change]
	if by := gateway.CleanName(m.By.Label()); what != "" && by != "" {
		what += " by " + by
	}
	why := gateway.Shorten(gateway.Clean(m.Reason), gateway.MaxReason)
	if what != "" && why != "" {
		return what + ": " + why
	}
	return what + why
}

// maxRoster is how many people Here names.
const maxRoster = 200

// Here implements gateway.Roster.
func (s *Side) Here(at gateway.Address) []gateway.Person {
	s.mu.Lock()
	rm := s.rooms[at.ID]
	s.mu.Unlock()
	if rm == nil || at.Network != s.deps.Network {
		return nil
	}
	rm.mu.Lock()
	users := make([]id.UserID, 0, len(rm.names))
	for mxid := range rm.names {
		if !s.names.ours(mxid) {
			users = append(users, mxid)
		}
	}
	rm.mu.Unlock()
	people := make([]gateway.Person, 0, len(users))
	for _, mxid := range users {
		people = append(people, rm.person(mxid))
	}
	slices.SortFunc(people, func(a, b gateway.Person) int {
		if c := strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return people[:min(len(people), maxRoster)]
}
