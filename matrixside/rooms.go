package matrixside

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// maxMembers bounds what is remembered of one room: names, ghosts inside, ghosts refused, each. People beyond it are
// called by their user id.
const maxMembers = 20_000

// room is one bridged room while the side runs.
type room struct {
	gateway.Room
	resolved chan struct{} // closed after the first try to find the room's id
	tried    chan struct{} // closed after the first try to enter it
	nudge    chan struct{} // something is to be done here

	mu        sync.Mutex
	native    id.RoomID
	via       []string // servers that know the room
	joined    bool     // the bot is in it
	encrypted bool
	searched  bool // its history was searched for what an earlier process may have sent
	names     map[id.UserID]string
	ghosts    map[id.UserID]bool
	refused   map[id.UserID]time.Time
	invites   map[id.UserID]bool
}

func newRoom(r gateway.Room) *room {
	return &room{
		Room:     r,
		resolved: make(chan struct{}), tried: make(chan struct{}), nudge: make(chan struct{}, 1),
		names: map[id.UserID]string{}, ghosts: map[id.UserID]bool{},
		refused: map[id.UserID]time.Time{}, invites: map[id.UserID]bool{},
	}
}

func (rm *room) isAlias() bool { return rm.ID[0] == '#' }

// wake has the room looked after soon.
func (rm *room) wake() {
	select {
	case rm.nudge <- struct{}{}:
	default:
	}
}

// standing is the room's id, and why nothing can be said there now.
func (rm *room) standing() (native id.RoomID, joined, encrypted bool) {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.native, rm.joined, rm.encrypted
}

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
	for _, other := range rm.Others {
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

// tend does what is to be done in a room: enter it, explain that it is encrypted, bring in invited ghosts.
func (s *Side) tend(ctx context.Context, rm *room, in gateway.Inbox) error {
	if _, joined, _ := rm.standing(); !joined {
		if err := s.enter(ctx, rm, in); err != nil {
			return err
		}
	}
	if _, _, encrypted := rm.standing(); encrypted {
		native, _, _ := rm.standing()
		return s.explainEncrypted(ctx, native, s.names.bot)
	}
	return s.invited(ctx, rm)
}

// enter brings the bot into a room and learns what the room is and who is there.
func (s *Side) enter(ctx context.Context, rm *room, in gateway.Inbox) error {
	native, err := s.resolve(ctx, rm)
	if err != nil {
		return err
	}
	_, err = s.bot().JoinRoom(ctx, string(native), &mautrix.ReqJoinRoom{Via: rm.via})
	if isForbidden(err) {
		return fmt.Errorf("join %s: %w; invite %s to the room", rm.ID, err, s.names.bot)
	}
	if err != nil {
		return fmt.Errorf("join %s: %w", rm.ID, err)
	}
	encrypted, err := s.isEncrypted(ctx, s.names.bot, native)
	if err != nil {
		return fmt.Errorf("ask whether %s is encrypted: %w", rm.ID, err)
	}
	members, err := s.bot().JoinedMembers(ctx, native)
	if err != nil {
		return fmt.Errorf("list the members of %s: %w", rm.ID, err)
	}
	rm.mu.Lock()
	rm.encrypted = rm.encrypted || encrypted
	for mxid, m := range members.Joined {
		if s.names.isGhost(mxid) {
			remember(rm.ghosts, mxid, true)
		} else {
			remember(rm.names, mxid, gateway.CleanName(m.DisplayName))
		}
	}
	rm.mu.Unlock()
	if err := s.tellMembers(ctx, rm, members, in); err != nil {
		return err
	}
	rm.mu.Lock()
	rm.joined = true
	rm.mu.Unlock()
	s.log.Info("in the room", "room", rm.ID, "members", len(members.Joined), "encrypted", encrypted)
	return nil
}

// tellMembers passes on who is in the room, for those who show everybody.
func (s *Side) tellMembers(ctx context.Context, rm *room, members *mautrix.RespJoinedMembers, in gateway.Inbox) error {
	const most = 200
	batch := make([]gateway.Arrival, 0, min(most, len(members.Joined)))
	flush := func() error {
		defer func() { batch = batch[:0:0] }()
		if len(batch) == 0 {
			return nil
		}
		return in.Accept(ctx, batch)
	}
	for mxid := range members.Joined {
		if s.names.ours(mxid) || !saneID(string(mxid), '@') {
			continue
		}
		who := rm.person(mxid)
		batch = append(batch, gateway.Arrival{At: rm.Address, Read: func(context.Context) (*gateway.Event, error) {
			return &gateway.Event{At: rm.Address, Sender: who, Body: gateway.Membership{Who: who, Change: gateway.Join}}, nil
		}})
		if len(batch) == most {
			if err := flush(); err != nil {
				return fmt.Errorf("pass on the members of %s: %w", rm.ID, err)
			}
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("pass on the members of %s: %w", rm.ID, err)
	}
	return nil
}

// resolve finds the room's id. An alias is asked for once and pinned: where it points later decides nothing, or whoever
// may move the alias could move the bridge.
func (s *Side) resolve(ctx context.Context, rm *room) (id.RoomID, error) {
	defer once(rm.resolved)
	pinned, _, _ := rm.standing()
	if !rm.isAlias() {
		return pinned, s.claim(rm, id.RoomID(rm.ID), viaOf(rm.ID))
	}
	resp, err := s.bot().ResolveAlias(ctx, id.RoomAlias(rm.ID))
	switch {
	case err != nil && pinned == "":
		return "", fmt.Errorf("resolve %s: %w", rm.ID, err)
	case err != nil:
		s.log.Warn("the room's alias cannot be resolved; the room found earlier stays", "room", rm.ID, "id", pinned, "error", err)
		return pinned, s.claim(rm, pinned, viaOf(rm.ID))
	case !saneID(string(resp.RoomID), '!'):
		return "", fmt.Errorf("resolve %s: the homeserver names no room id", rm.ID)
	case pinned != "" && pinned != resp.RoomID:
		s.log.Error("the room's alias points to another room now, which is not followed", "room", rm.ID, "id", pinned, "other", resp.RoomID)
		return pinned, s.claim(rm, pinned, viaOf(rm.ID))
	case pinned == "":
		if err := s.put(ctx, pinKey(rm.ID), []byte(resp.RoomID)); err != nil {
			return "", fmt.Errorf("pin %s: %w", rm.ID, err)
		}
	}
	return resp.RoomID, s.claim(rm, resp.RoomID, resp.Servers[:min(len(resp.Servers), 5)])
}

// once closes a channel that may be closed already; only the room's own loop calls it.
func once(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

func pinKey(alias string) string { return "pin/" + alias }

// viaOf guesses a server that knows a room from the room's own id or alias.
func viaOf(roomOrAlias string) []string {
	if _, _, server := id.ParseCommonIdentifier(roomOrAlias); server != "" {
		return []string{server}
	}
	return nil
}

// claim gives a native room to rm, if no other bridged room has it.
func (s *Side) claim(rm *room, native id.RoomID, via []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.byNative[native]; other != nil && other != rm {
		return fmt.Errorf("%s and %s are the same room, which can be in one bridge only", rm.ID, other.ID)
	}
	s.byNative[native] = rm
	rm.mu.Lock()
	defer rm.mu.Unlock()
	rm.native, rm.via = native, via
	return nil
}

func (s *Side) isEncrypted(ctx context.Context, reader id.UserID, native id.RoomID) (bool, error) {
	var state map[string]any
	err := s.as(reader).StateEvent(ctx, native, event.StateEncryption, "", &state)
	if errors.Is(err, mautrix.MNotFound) {
		return false, nil
	}
	return err == nil, err
}

// explainEncrypted says once in an encrypted room why it is not bridged.
func (s *Side) explainEncrypted(ctx context.Context, native id.RoomID, speaker id.UserID) error {
	key := "told/" + string(native)
	got, err := s.deps.State.GetMany(ctx, []string{key})
	if err != nil || got[key] != nil {
		return err
	}
	c := content{MsgType: event.MsgNotice, Mentions: &event.Mentions{}, Body: "This room is end-to-end encrypted. Encrypted Matrix rooms are not bridged yet: " +
		"nothing that is said here reaches the other networks, and nothing that is said there arrives here."}
	if _, err := s.send(ctx, speaker, native, c, "encrypted"); err != nil && !isForbidden(err) {
		return fmt.Errorf("explain in %s that it is encrypted: %w", native, err)
	}
	s.log.Warn("the room is encrypted and not bridged", "room", native)
	return s.put(ctx, key, []byte("1"))
}

// admit brings a ghost into the room: it joins, and where it may not, the bot invites it first.
func (s *Side) admit(ctx context.Context, rm *room, mxid id.UserID) error {
	if rm.hasGhost(mxid) {
		return nil
	}
	native, _, _ := rm.standing()
	_, err := s.as(mxid).JoinRoomByID(ctx, native)
	if isForbidden(err) {
		if err := s.register(ctx, mxid); err != nil { // see registered
			return fmt.Errorf("register %s: %w", mxid, err)
		}
		_, inviteErr := s.bot().InviteUser(ctx, native, &mautrix.ReqInviteUser{UserID: mxid})
		if inviteErr != nil {
			return fmt.Errorf("invite %s: %w", mxid, inviteErr)
		}
		_, err = s.as(mxid).JoinRoomByID(ctx, native)
	}
	if err != nil {
		return fmt.Errorf("join as %s: %w", mxid, err)
	}
	rm.setGhost(mxid, true)
	return nil
}

// membership is how somebody stands to a room; empty for one who never was there.
func (s *Side) membership(ctx context.Context, reader id.UserID, native id.RoomID, mxid id.UserID) (event.Membership, error) {
	var member event.MemberEventContent
	err := s.as(reader).StateEvent(ctx, native, event.StateMember, string(mxid), &member)
	if errors.Is(err, mautrix.MNotFound) {
		return "", nil
	}
	return member.Membership, err
}
