package matrixside

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// maxMembers bounds what is remembered of one room: names, ghosts inside, ghosts refused, each. People beyond it are
// called by their user id.
const maxMembers = 20_000

// room is one bridged room while the side runs.
type room struct {
	gateway.Address
	life     context.Context // ends when the room is bridged no more
	leave    context.CancelFunc
	resolved chan struct{} // closed after the first try to find the room's id
	tried    chan struct{} // closed after the first try to enter it
	nudge    chan struct{} // something is to be done here

	attempts attempts // its lane's

	mu        sync.Mutex
	asked     gateway.Room // what the configuration asks for
	native    id.RoomID
	former    id.RoomID // the room that this one replaced
	successor id.RoomID // the room that replaced this one, until it is followed
	stranger  id.RoomID // a successor that does not know of this room
	via       []string  // servers that know the room
	joined    bool      // the bot is in it
	learnt    bool      // and knows what it is and who is there
	kicked    bool      // the bot was taken out since it was in
	encrypted bool
	problem   error     // why nothing can be said there
	since     time.Time // and since when
	rejoin    time.Time // somebody took the bot out: not to come back before this
	refusal   error     // why the homeserver let nobody speak last, and since when; nil: it did
	refusedAt time.Time
	levels    *event.PowerLevelsEventContent // who may do what
	powerless bool                           // it was said that the bot may not set the room's topic
	names     map[id.UserID]string
	pictures  map[id.UserID]string // mxc URLs
	ghosts    map[id.UserID]bool
	refused   map[id.UserID]time.Time
	invites   map[id.UserID]bool

	doubts   int        // how often there was reason to think that something is missing after last
	last     id.EventID // the newest event that was accepted
	failures int        // how often in a row what follows it could not be read
}

func (s *Side) newRoom(r gateway.Room) *room {
	life, leave := context.WithCancel(context.Background())
	return &room{
		Address: r.Address, asked: r, life: life, leave: leave,
		resolved: make(chan struct{}), tried: make(chan struct{}), nudge: make(chan struct{}, 1),
		native: nativeID(r.ID), since: s.now(), doubts: 1,
		levels: &event.PowerLevelsEventContent{},
		names:  map[id.UserID]string{}, pictures: map[id.UserID]string{}, ghosts: map[id.UserID]bool{},
		refused: map[id.UserID]time.Time{}, invites: map[id.UserID]bool{},
	}
}

// nativeID is the room's id, where the configuration names it.
func nativeID(name string) id.RoomID {
	if name[0] == '!' {
		return id.RoomID(name)
	}
	return ""
}

func (rm *room) isAlias() bool { return rm.ID[0] == '#' }

// wake has the room looked after soon.
func (rm *room) wake() { nudge(rm.nudge) }

// awaitTried waits until the room was tried once.
func (rm *room) awaitTried(ctx context.Context) {
	select {
	case <-rm.tried:
	case <-ctx.Done():
	}
}

// standing is the room's id, and why nothing can be said there now.
func (rm *room) standing() (native id.RoomID, joined, encrypted bool) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.native, rm.joined, rm.encrypted
}

// natives are the room's id and that of the room before it, if any.
func (rm *room) natives() []id.RoomID {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if rm.former == "" {
		return []id.RoomID{rm.native}
	}
	return []id.RoomID{rm.native, rm.former}
}

// blocked notes why nothing can be said in the room.
func (rm *room) blocked(problem error) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	rm.problem = problem
}

// out notes that the bot is not in the room, for a reason, and since when.
func (rm *room) out(now time.Time, problem error) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if rm.joined {
		rm.joined, rm.since = false, now
	}
	rm.problem = problem
}

// obstacle is why nothing can be said in the room now, and since when; nil: something can.
func (rm *room) obstacle() (since time.Time, problem error) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	switch {
	case rm.joined && rm.learnt && rm.successor == "":
		return time.Time{}, nil
	case rm.problem != nil:
		return rm.since, rm.problem
	case rm.successor != "":
		return rm.since, fmt.Errorf("the room was replaced by %s", rm.successor)
	}
	return rm.since, errNotIn
}

var errNotIn = errors.New("the gateway is not in the Matrix room yet")

// remember adds to one of the room's bounded sets; a full one loses an arbitrary member.
func remember[V any](set map[id.UserID]V, mxid id.UserID, v V) {
	if _, ok := set[mxid]; !ok && len(set) >= maxMembers {
		for other := range set {
			delete(set, other)
			break
		}
	}
	set[mxid] = v
}

func (rm *room) isRefused(mxid id.UserID, now time.Time) bool {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return now.Before(rm.refused[mxid])
}

// refuse notes that a ghost may not enter before until, and reports whether that is news.
func (rm *room) refuse(mxid id.UserID, until time.Time) bool {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	_, known := rm.refused[mxid]
	remember(rm.refused, mxid, until)
	return !known
}

func (rm *room) hasGhost(mxid id.UserID) bool {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.ghosts[mxid]
}

func (rm *room) setGhost(mxid id.UserID, in bool) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if in {
		remember(rm.ghosts, mxid, true)
		delete(rm.refused, mxid)
	} else {
		delete(rm.ghosts, mxid)
	}
}

func (rm *room) takeInvited() []id.UserID {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	var out []id.UserID
	for mxid := range rm.invites {
		out = append(out, mxid)
	}
	clear(rm.invites)
	return out
}

// isBeside reports whether the bridge also has a room on network.
func (rm *room) isBeside(network string) bool {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	for _, other := range rm.asked.Others {
		if other.Network == network {
			return true
		}
	}
	return false
}

// nameOf is the display name of somebody in the room, possibly empty; nil for one who is not in it.
func (rm *room) nameOf(mxid id.UserID) *string {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if name, ok := rm.names[mxid]; ok {
		return &name
	}
	return nil
}

// person is somebody of the room, as the room knows them.
func (rm *room) person(mxid id.UserID) gateway.Person {
	rm.mu.Lock()
	name := rm.names[mxid]
	rm.mu.Unlock()
	if name == "" {
		name = gateway.CleanName(mxid.Localpart())
	}
	return gateway.Person{Network: rm.Network, ID: string(mxid), Name: name}
}

// setPicture notes the URL of somebody's picture. The caller holds rm.mu.
func (rm *room) setPicture(mxid id.UserID, url string) {
	if mxcURL.MatchString(url) {
		remember(rm.pictures, mxid, url)
	} else {
		delete(rm.pictures, mxid)
	}
}

// pictureOf is the URL of somebody's picture in the room.
func (rm *room) pictureOf(mxid id.UserID) string {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.pictures[mxid]
}

// nativeRooms are the bridged rooms by their ids, and by those of the rooms before them.
type nativeRooms map[id.RoomID]*room

// add adds a room whose id is known, unless another has it.
func (n nativeRooms) add(rm *room) {
	for _, native := range rm.natives() {
		if native != "" && n[native] == nil {
			n[native] = rm
		}
	}
}

// recollect takes from State what is known of rooms: what an alias meant, what replaced it, and the newest event that
// was accepted.
func (s *Side) recollect(ctx context.Context, rooms []*room) error {
	var keys []string
	for _, rm := range rooms {
		keys = append(keys, pinKey(rm.ID), movedKey(rm.ID))
	}
	got, err := s.deps.State.GetMany(ctx, keys)
	if err != nil {
		return fmt.Errorf("read what is known of the rooms: %w", err)
	}
	keys = nil
	for _, rm := range rooms {
		if rm.isAlias() {
			rm.native = id.RoomID(got[pinKey(rm.ID)])
		}
		if moved := id.RoomID(got[movedKey(rm.ID)]); moved != "" {
			rm.former, rm.native = rm.native, moved
		}
		keys = append(keys, lastKey(rm.native))
	}
	if got, err = s.deps.State.GetMany(ctx, keys); err != nil {
		return fmt.Errorf("read what was accepted last: %w", err)
	}
	for _, rm := range rooms {
		rm.last = id.EventID(got[lastKey(rm.native)])
	}
	return nil
}

// dropOthers deletes what was accepted last of rooms that are bridged no more: whoever bridges one again begins anew.
func (s *Side) dropOthers(ctx context.Context, rooms []*room) error {
	stored, err := s.deps.State.List(ctx, lastKey(""))
	if err != nil {
		return fmt.Errorf("read what was accepted last: %w", err)
	}
	for _, rm := range rooms {
		delete(stored, lastKey(rm.native))
	}
	if len(stored) == 0 {
		return nil
	}
	for key := range stored {
		stored[key] = nil
	}
	err = s.deps.State.Update(ctx, func(ctx context.Context) error { return s.deps.State.PutMany(ctx, stored) })
	if err != nil {
		return fmt.Errorf("delete what is known of rooms that are not bridged: %w", err)
	}
	return nil
}

// What is kept in State of a bridged room, by its address and by its id.
func pinKey(alias string) string      { return "pin/" + alias }
func movedKey(room string) string     { return "moved/" + room }
func lastKey(native id.RoomID) string { return "last/" + string(native) }
