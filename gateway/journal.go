package gateway

import (
	"context"
	"time"
)

// Journal is the durable store between the halves of the path, as the gateway uses it. Package store implements it.
//
// Methods that take part in a transaction must be called with the ctx that Do handed to fn; the others read what is
// committed. All database errors wrap ErrStore, and after one the transaction never commits.
type Journal interface {
	ReactionStore

	// Do runs fn in a transaction of network and returns when it is committed. Whatever queued up while the last
	// commit ran shares the next one. An error from fn discards what fn staged; an error of the database discards the
	// whole transaction, for all that shared it. fn may run again; only the last run counts. Fails with ErrLeaseLost when this process no longer owns network.
	Do(ctx context.Context, network string, fn func(ctx context.Context) error) error
	// Stage runs fn with a staged view of the network's State: what it puts applies only if it returns nil. A panic in fn
	// is logged, without its value, and returned as an error.
	Stage(ctx context.Context, fn func(ctx context.Context) error) error

	// Seen reports which natives of network are linked already. Where that is not likely it may take them for new at
	// first; if that was wrong nothing is written and fn runs again. Tx.
	Seen(ctx context.Context, natives []Native, likely bool) (map[Native]bool, error)
	// Used reports from which of the rooms anything went, or is to go, to another one. In a transaction or outside; it
	// sees only what is committed.
	Used(ctx context.Context, rooms []Address) (map[Address]bool, error)
	// Append writes events, their links and deliveries, and wakes the lanes after the commit. Tx.
	Append(ctx context.Context, entries []Entry) error
	// Targets resolves native ids to events. Natives that nobody knows, or that are only marked as seen, are absent. In
	// a transaction or outside.
	Targets(ctx context.Context, natives []Native) (map[Native]Target, error)
	// Echoes resolves delivery keys to the events delivered, with the Seq of deliveries that are still pending. Tx.
	Echoes(ctx context.Context, keys []string) (map[string]Target, error)

	// TakeOver ends the pauses that network's lanes are in (a new owner has a connection of its own, and maybe another
	// clock) and returns the greatest Seq that waits there: that delivery and those before it may have been tried.
	TakeOver(ctx context.Context, network string) (last int64, err error)
	// Parts finds the native ids that events have in room, in the order in which they were linked.
	Parts(ctx context.Context, room Address, events []ID) (map[ID][]Part, error)
	// Lanes lists network's lanes whose head is due at now, and when the next of the others is (zero: none waits).
	Lanes(ctx context.Context, network string, now time.Time) (due []Address, next time.Time, err error)
	// Head returns the first pending deliveries of a lane, in order, at most limit.
	Head(ctx context.Context, lane Address, limit int) ([]Queued, error)
	// Beyond returns those that wait behind the first n, in order, at most limit.
	Beyond(ctx context.Context, lane Address, n, limit int) ([]Queued, error)
	// Finish records what became of deliveries, deletes state keys "out/<key>" of those that ended, wipes event bodies
	// after their last delivery. Tx.
	Finish(ctx context.Context, done []Finished) error
	// Wake returns a channel that gets a value whenever network may have new deliveries. Notices may be lost: poll, too.
	Wake(network string) <-chan struct{}

	// Forgets lists the people whom an operator wants network's side to forget; see Side.Forget.
	Forgets(ctx context.Context, network string) ([]Person, error)
	// Forgot notes that it has. In a transaction or outside.
	Forgot(ctx context.Context, network string, who Person) error
}

// ReactionStore is what a Journal keeps of reactions, and of all that stands for another event: an edit for its
// original, a change of somebody's reactions for the first of them.
type ReactionStore interface {
	// Reactions returns everybody's sets on targets, in the order in which they began, at most MaxReactors each; sets that
	// are empty by now are among them. In a transaction, which sees what was appended in it, or outside.
	Reactions(ctx context.Context, targets []ID) (map[ID][]Reactions, error)
	// PartsOf is Parts of all events that stand for one of stands; see Entry.Stands. It takes as long as there are such.
	PartsOf(ctx context.Context, room Address, stands []ID) (map[ID][]Part, error)
}

// Leases hands out the networks, one owner each.
type Leases interface {
	// Acquire waits until this process owns network, or ctx ends.
	Acquire(ctx context.Context, network string) (Lease, error)
}

// Lease is the ownership of one network.
type Lease interface {
	// Keep renews the lease until ctx ends (nil) or it is lost (ErrLeaseLost, at least 2 s before another may take it).
	Keep(ctx context.Context) error
	// Held reports whether its holder may speak in the network just now: it is false while the lease is in doubt.
	Held() bool
	// Release gives the network up at once.
	Release(ctx context.Context) error
}

// Native is a native id in a room.
type Native struct {
	Room Address
	ID   string
}

// Link ties a native id to a part of an event. A link with a zero Event marks an id as seen, nothing more.
type Link struct {
	Native
	Event ID
	Part  string
	// Alias: another name for what a Link without Alias names. The newest one wins where two events claim one.
	Alias bool
}

// Entry is one thing to write: an event with its deliveries, or links alone.
type Entry struct {
	Event      *Event // nil: links alone
	Links      []Link
	Deliveries []Queue
	// Reaction is written over the set that the same person has on the same target. A set that becomes empty is kept,
	// since its anchor must stay the same.
	Reaction *Reactions
	// Stands is the event that Event stands for: of an edit its original, of a reaction its anchor. Zero: none. Whoever
	// asks for Targets by Event's native ids, in whatever room, gets the event that it stands for.
	Stands ID
	// Excerpt replaces the excerpt of Stands: what the author's edit made of it. Empty: it stays.
	Excerpt string
	// Gone are native ids that mean nothing any more: their events do not have them, but they count as seen.
	Gone []Native
}

// Queue is a new delivery.
type Queue struct {
	Key  string
	Room Address
	Seal bool
}

// Target is an event that something points at.
type Target struct {
	Event   ID
	Part    string
	Room    Address // where the event happened
	Native  string  // its id there
	Author  Person
	Excerpt string
	// ReplyTo and Thread are the native ids, in Room, of what it answers and of the thread that it is in; see Answers.
	ReplyTo, Thread string
	// Wiped: it was taken back, or its author was forgotten. Nothing is known of its words any more.
	Wiped bool
	Seq   int64 // of the pending delivery; of Echoes only
	// Of is what was reacted to, where Event is the anchor of a reaction: then Part is the emoji, in rooms that know one
	// native id for each. Of Echoes, which name the very event that was delivered, Event is a change of the reaction.
	Of ID
	// Stands is what Event stands for; of Echoes only.
	Stands ID

	// recalled: it may have been edited, or taken back, since this was read.
	recalled bool
}

// Queued is a pending delivery as it lies in its lane.
type Queued struct {
	Seq int64
	Queue
	Attempt  int
	Due      time.Time
	Accepted time.Time
	Event    *Event
}

// Finished is what became of a delivery.
type Finished struct {
	Seq int64
	Key string
	// Links are the native ids that the network gave; see Outcome.Parts.
	Links []Link
	// Gone are native ids that mean nothing any more; see Outcome.Gone and Entry.Gone.
	Gone []Native
	// Retracted is the event that this one takes back, where that became known only as it was delivered; it is wiped as by
	// Append. Zero: none.
	Retracted ID
	// Retry: not done; try again at Due with Attempt counted up.
	Retry bool
	Due   time.Time
	// Attempt is the new count of tries.
	Attempt int
	// Dead: given up, for Reason. The text is kept for a while, so that an operator can have it tried again.
	Dead   bool
	Reason string
	// Wipe: given up, and its text is not kept.
	Wipe bool
	// Problem is what the side said that went wrong, for operators: never content. "": nothing did.
	Problem string
}
