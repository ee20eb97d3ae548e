package matrixside

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

const (
	// maxTransaction bounds the body of a transaction, in bytes. Synapse sends 100 events of 64 KiB at most.
	maxTransaction = 32 << 20
	// settleTime is how long a transaction waits for rooms that are being entered just after a start.
	settleTime = 20 * time.Second
)

// transaction is what the homeserver pushes (Application Service API, "Pushing events"). Each part stays unread until
// its turn, so that one malformed event spoils only itself. To-device messages come before events: they bring keys.
type transaction struct {
	ToDevice  []json.RawMessage `json:"to_device"`
	Events    []json.RawMessage `json:"events"`
	Ephemeral []json.RawMessage `json:"ephemeral"`
}

func parseTransaction(body []byte) (transaction, error) {
	var f fields
	if err := json.Unmarshal(body, &f); err != nil {
		return transaction{}, fmt.Errorf("the transaction is no JSON object: %w", err)
	}
	events, ok := f["events"]
	if !ok {
		return transaction{}, errors.New("the transaction has no events")
	}
	t := transaction{ToDevice: get[[]json.RawMessage](f, "to_device"), Ephemeral: get[[]json.RawMessage](f, "ephemeral")}
	if t.Ephemeral == nil {
		t.Ephemeral = get[[]json.RawMessage](f, "de.sorunome.msc2409.ephemeral")
	}
	if err := json.Unmarshal(events, &t.Events); err != nil {
		return transaction{}, fmt.Errorf("the transaction's events are no list: %w", err)
	}
	return t, nil
}

// handler answers the homeserver, on today's paths and on those before Matrix 1.0.
func (s *Side) handler(in gateway.Inbox) http.Handler {
	mux := http.NewServeMux()
	for _, base := range []string{"/_matrix/app/v1", ""} {
		mux.HandleFunc("PUT "+base+"/transactions/{txn}", func(w http.ResponseWriter, r *http.Request) { s.receive(w, r, in) })
		mux.HandleFunc("GET "+base+"/users/{user}", s.answerUser)
		mux.HandleFunc("GET "+base+"/rooms/{alias}", unknownName)
	}
	mux.HandleFunc("POST /_matrix/app/v1/ping", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "", "") })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, "M_UNRECOGNIZED", "no such endpoint")
	})
	return s.authorized(mux)
}

// unknownName answers queries for aliases, since the rooms that we make have theirs from the beginning, and for users
// who are nobody.
func unknownName(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusNotFound, "M_NOT_FOUND", "nobody here by that name")
}

// answer writes a JSON answer; an empty errcode is an empty object.
func answer(w http.ResponseWriter, code int, errcode, text string) {
	body := map[string]string{}
	if errcode != "" {
		body["errcode"], body["error"] = errcode, text
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // whoever asked has gone; it will ask again
}

// authorized lets only the homeserver through: hs_token in the Authorization header, or in the query before Matrix 1.4.
func (s *Side) authorized(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.reg.HSToken))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			token = r.URL.Query().Get("access_token")
		}
		got := sha256.Sum256([]byte(token))
		switch {
		case token == "":
			answer(w, http.StatusUnauthorized, "M_MISSING_TOKEN", "the homeserver's token is missing")
		case subtle.ConstantTimeCompare(got[:], want[:]) != 1:
			s.log.Debug("a request with a wrong homeserver token", "from", r.RemoteAddr)
			answer(w, http.StatusForbidden, "M_FORBIDDEN", "the homeserver's token is wrong")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// receive takes one transaction: 200 means that everything in it is durable. Its id decides nothing.
func (s *Side) receive(w http.ResponseWriter, r *http.Request, in gateway.Inbox) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTransaction))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			s.log.Error("a transaction of the homeserver is too large", "limit", maxTransaction)
			answer(w, http.StatusRequestEntityTooLarge, "M_TOO_LARGE", "the transaction is too large")
			return
		}
		answer(w, http.StatusBadRequest, "M_NOT_JSON", "the transaction could not be read")
		return
	}
	txn, err := parseTransaction(body)
	if err != nil {
		s.log.Error("a transaction of the homeserver cannot be read", "error", err)
		answer(w, http.StatusBadRequest, "M_NOT_JSON", err.Error())
		return
	}
	if err := s.accept(r.Context(), txn, in); err != nil {
		nudge(s.refused)
		s.log.Error("a transaction of the homeserver was not accepted; it will be sent again", "events", len(txn.Events), "error", err)
		answer(w, http.StatusServiceUnavailable, "M_UNKNOWN", "the events could not be stored; send them again")
		return
	}
	answer(w, http.StatusOK, "", "")
}

// accept makes one transaction durable. Transactions are read one at a time: a homeserver that gave up waiting and sends
// again must not overtake itself.
func (s *Side) accept(ctx context.Context, txn transaction, in gateway.Inbox) error {
	events := s.parseEvents(txn.Events)
	if err := s.settle(ctx, events); err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s.lookOut(ctx, events)
	for _, ev := range events {
		err := s.catchUpChat(ctx, ev.Room, in)
		if rm := s.roomOf(ev.Room); rm != nil {
			err = s.catchUp(ctx, rm, in)
		}
		if err != nil {
			return err
		}
	}
	if err := s.acceptEvents(ctx, events, in); err != nil {
		return err
	}
	s.acceptPassing(ctx, txn.Ephemeral, in)
	return nil
}

// maxBatch is how many events are accepted at once. A transaction that fails in between is sent again, and what it
// brought before is known then.
const maxBatch = 200

// acceptEvents makes events durable, in order. The caller has the turn.
func (s *Side) acceptEvents(ctx context.Context, events []*nativeEvent, in gateway.Inbox) error {
	for some := range slices.Chunk(events, maxBatch) {
		if err := s.acceptBatch(ctx, some, in); err != nil {
			return err
		}
	}
	return nil
}

func (s *Side) acceptBatch(ctx context.Context, events []*nativeEvent, in gateway.Inbox) error {
	var elsewhere []*nativeEvent // in rooms that are not bridged
	for _, ev := range events {
		if s.roomOf(ev.Room) == nil {
			elsewhere = append(elsewhere, ev)
		}
	}
	batch, err := s.directArrivals(ctx, elsewhere)
	if err != nil {
		return err
	}
	if err := s.lookBack(ctx, batch, events); err != nil {
		return err
	}
	var undo []func()
	for _, ev := range events {
		a, back, ok := s.arrival(ev)
		undo = append(undo, back)
		if ok {
			batch = append(batch, arrival{a, source{rm: s.currentRoom(ev.Room)}})
		}
	}
	if len(batch) == 0 {
		return nil
	}
	out, accepted := s.note(batch)
	if err := in.Accept(ctx, out); err != nil {
		for _, back := range slices.Backward(undo) {
			back()
		}
		return err
	}
	accepted()
	return nil
}

// settle waits, just after a start, until the rooms of the events are known by name and by their members, and what was
// missed there was read.
func (s *Side) settle(ctx context.Context, events []*nativeEvent) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for _, ev := range events {
		if rm := s.roomOf(ev.Room); rm != nil {
			select {
			case <-rm.tried:
			case <-ctx.Done():
				return fmt.Errorf("the bridged room %s is not known yet", rm.ID)
			}
			continue
		}
		for _, rm := range s.allRooms() {
			select {
			case <-rm.resolved:
			case <-ctx.Done():
				return errors.New("the bridged rooms are not known yet")
			}
		}
	}
	return nil
}

// roomOf finds the bridged room with a native id; nil if it is none.
func (s *Side) roomOf(native id.RoomID) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byNative[native]
}

// currentRoom is roomOf, without the rooms that were replaced.
func (s *Side) currentRoom(native id.RoomID) *room {
	rm := s.roomOf(native)
	if rm == nil {
		return nil
	}
	if now, _, _ := rm.standing(); now != native {
		return nil
	}
	return rm
}

func (s *Side) allRooms() []*room {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*room, 0, len(s.rooms))
	for _, rm := range s.rooms {
		out = append(out, rm)
	}
	return out
}

// arrival takes note of an event and says what is to be accepted of it, if anything. What Read will need of the room is
// taken along now, in stream order: a message carries the name that its sender had when it was said. What was noted can
// be taken back, for an event that comes again because it was not accepted.
func (s *Side) arrival(ev *nativeEvent) (a gateway.Arrival, undo func(), ok bool) {
	undo = func() {}
	member := ev.member()
	rm := s.roomOf(ev.Room)
	if rm == nil {
		if member == s.names.bot && ev.membership() == event.MembershipInvite {
			s.botInvited(ev)
		}
		return a, undo, false
	}
	sc := scene{at: rm.Address, member: rm.memberOf(ev, member), former: rm.nameOf(member)}
	if s.currentRoom(ev.Room) == rm { // and not the one before it
		s.observe(rm, ev, member)
		undo = func() { rm.restore(member, sc.former) }
	}
	if sc.sender = rm.person(ev.Sender); ev.Sender == member {
		sc.sender = sc.member // who leaves is forgotten by now
	}
	_, _, sc.encrypted = rm.standing()
	sc.known, sc.topic = rm.person, rm.carriesTopic()
	sc.moderates = ev.Type == event.EventRedaction.Type && rm.may(ev.Sender, (*event.PowerLevelsEventContent).Redact)
	a = gateway.Arrival{At: rm.Address, Native: string(ev.ID)}
	if s.names.ours(ev.Sender) {
		echo, ok := decodeEcho(ev)
		a.Also = s.partOf(ev, echo.Part).Also
		a.Read = func(context.Context) (*gateway.Event, error) {
			return &gateway.Event{At: rm.Address, Native: string(ev.ID), Time: ev.Time, Body: echo}, nil
		}
		return a, undo, ok
	}
	if member != "" && s.names.ours(member) {
		return a, undo, false
	}
	s.lookAt(rm, ev, &sc)
	a.Read = s.reader(ev, sc)
	return a, undo, isRead(ev.Type)
}

// lookAt adds people's pictures to an event, as far as they are known, and has those fetched that are not: of people who
// say something, and of whom that did before.
func (s *Side) lookAt(rm *room, ev *nativeEvent, sc *scene) {
	switch {
	case ev.Type == event.EventMessage.Type || ev.Type == event.EventSticker.Type:
		sc.sender.Avatar = s.pictureOf(string(ev.Sender), rm.pictureOf(ev.Sender), rm.Address, sc.sender)
	case ev.Type == event.StateMember.Type && s.pictures.isKnown(sc.member.ID):
		sc.member.Avatar = s.pictureOf(sc.member.ID, rm.pictureOf(id.UserID(sc.member.ID)), rm.Address, sc.member)
	}
}

// reader decodes an event when it is accepted. Who is in the room counts however long ago they came or went, as state.
func (s *Side) reader(ev *nativeEvent, sc scene) func(context.Context) (*gateway.Event, error) {
	stale := s.isStale(ev)
	if stale && ev.member() == "" {
		return s.stale
	}
	if !stale {
		s.toldStale.Store(false)
	}
	return func(ctx context.Context) (*gateway.Event, error) {
		sc.who = func(mxid id.UserID) gateway.Person { return s.meant(ctx, sc, mxid) }
		out, err := decode(ev, sc)
		if err != nil {
			return nil, gateway.Unreadable(sc.sender, err)
		}
		if out != nil && stale {
			m, _ := out.Body.(gateway.Membership)
			m.Quiet = true
			out.Body = m
		}
		return out, nil
	}
}

// isRead reports whether decode may make something of a type of event.
func isRead(kind string) bool {
	switch kind {
	case event.EventMessage.Type, event.EventSticker.Type, event.EventReaction.Type, event.EventRedaction.Type, event.EventEncrypted.Type,
		event.StateMember.Type, event.StateTopic.Type, event.StateRoomName.Type:
		return true
	}
	return false
}

// memberOf is who a membership event is about: called as the event says, else as they were called before it.
func (rm *room) memberOf(ev *nativeEvent, member id.UserID) gateway.Person {
	if member == "" {
		return gateway.Person{}
	}
	p := rm.person(member)
	if name := gateway.CleanName(get[string](ev.Content, "displayname")); name != "" {
		p.Name = name
	}
	return p
}
