package matrixside

import (
	"sync"
	"time"

	"maunium.net/go/mautrix/id"
)

// Anybody on any homeserver may invite our ghosts, to as many rooms as they like. Each room that a ghost enters costs
// requests and a note that stays, so only so many are entered.
const (
	maxInvites       = 20  // of one user in inviteWindow; as many more are declined, and the rest is not answered
	maxServerInvites = 500 // of another homeserver's users together, whose names cost it nothing; the rest is not answered
	inviteWindow     = time.Hour
	maxInviters      = 4096 // users and servers that are remembered; full of them, all are forgotten
)

// invitations counts who invited ghosts to direct rooms lately, in memory: a restart forgives.
type invitations struct {
	mu sync.Mutex
	by map[string]*inviter
}

// inviter is what a user or a server did since its window began.
type inviter struct {
	until time.Time
	nth   map[id.EventID]int // from 1
}

// count counts an invitation, each event once. It reports whether to accept it, and if not, whether to decline it.
func (a *invitations) count(now time.Time, user id.UserID, invite id.EventID, ourDomain string) (accept, answer bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if server := user.Homeserver(); server != ourDomain && a.nth(now, server, invite, maxServerInvites) > maxServerInvites {
		return false, false
	}
	nth := a.nth(now, string(user), invite, 2*maxInvites)
	return nth <= maxInvites, nth <= 2*maxInvites
}

// forget forgets what one user did.
func (a *invitations) forget(user id.UserID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.by, string(user))
}

// nth is the place of an invitation among those of one inviter. Those beyond most are not remembered.
func (a *invitations) nth(now time.Time, who string, invite id.EventID, most int) int {
	of := a.by[who]
	if of == nil || now.After(of.until) {
		if a.by == nil || of == nil && len(a.by) >= maxInviters {
			a.by = map[string]*inviter{}
		}
		of = &inviter{until: now.Add(inviteWindow), nth: map[id.EventID]int{}}
		a.by[who] = of
	}
	n, known := of.nth[invite]
	if !known {
		if n = len(of.nth) + 1; n <= most {
			of.nth[invite] = n
		}
	}
	return n
}
