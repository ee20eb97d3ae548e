package matrixside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// A homeserver keeps what it could not push and pushes it again, in order. Two things are wrong with that. It waits
// longer and longer before it does (Synapse up to 8.5 minutes), and what it was about to push when it was killed it may
// never push at all: Synapse counts an event as done when it takes it into memory. So the newest event that was
// accepted of each room is written down, and when there is doubt whether everything since has come, the room is read
// from there before anything newer is taken. What comes by both ways is told apart by its event id.

// busyTime is how soon after a transaction a connection that breaks, or another one, means that something happened to
// the homeserver: connections that it does not need any more it closes after minutes.
const busyTime = time.Minute

// A homeserver that sends again what it had kept may still leave something behind: Synapse forgets a transaction that it
// makes in the moment in which the last of those is answered, until it fails the next time. So for a while nothing is
// taken before the rooms that it concerns were read, and in the end all are read once more.
const (
	settlePause = 5 * time.Second  // after the last transaction that came late
	settleLimit = 30 * time.Second // in all
	lateAge     = 3 * time.Second  // how old an event is that came late
)

// unsettled is the time in which the homeserver may leave something behind.
type unsettled struct {
	mu           sync.Mutex
	until, limit time.Time
}

// begin begins such a time.
func (u *unsettled) begin(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.until, u.limit = now.Add(settlePause), now.Add(settleLimit)
}

// goesOn reports whether it lasts still, and makes it last longer when something came late.
func (u *unsettled) goesOn(now time.Time, late bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	lasts := now.Before(u.until)
	if lasts && late {
		u.until = earlier(u.limit, now.Add(settlePause))
	}
	return lasts
}

// left is how long it lasts still.
func (u *unsettled) left(now time.Time) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.until.Sub(now)
}

// doors are the connections that the homeserver has to us.
type doors struct {
	mu   sync.Mutex
	open map[net.Conn]*door
	last time.Time // of the last transaction
}

// door is one connection.
type door struct{ used bool }

type doorKey struct{}

// opened is the context of a new connection.
func (d *doors) opened(ctx context.Context, c net.Conn) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = map[net.Conn]*door{}
	}
	d.open[c] = &door{}
	return context.WithValue(ctx, doorKey{}, d.open[c])
}

// use notes a transaction. It reports whether it came by another connection than those before it, while these were in
// use, or late.
func (d *doors) use(ctx context.Context, now time.Time, late bool) (odd bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	through, ok := ctx.Value(doorKey{}).(*door)
	odd = ok && !through.used && !d.last.IsZero() && (late || d.busy(now))
	if ok {
		through.used = true
	}
	d.last = now
	return odd
}

// closed notes that a connection is gone, and reports whether it was in use.
func (d *doors) closed(c net.Conn, now time.Time) (odd bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	through := d.open[c]
	delete(d.open, c)
	return through != nil && through.used && d.busy(now)
}

func (d *doors) busy(now time.Time) bool { return !d.last.IsZero() && now.Sub(d.last) < busyTime }

// connState hears what becomes of the homeserver's connections.
func (s *Side) connState(c net.Conn, state http.ConnState) {
	if state == http.StateClosed && s.doors.closed(c, s.now()) && s.isRunning() {
		s.goOn()
	}
}

// doubtAll has every room read from the newest event that was accepted.
func (s *Side) doubtAll() {
	for _, rm := range s.allRooms() {
		rm.mu.Lock()
		rm.doubts++
		rm.mu.Unlock()
		rm.wake()
	}
	s.doubtChats()
}

// lookOut doubts the rooms of a transaction's events while the homeserver may leave something behind.
func (s *Side) lookOut(ctx context.Context, events []*nativeEvent) {
	now := s.now()
	late := slices.ContainsFunc(events, func(ev *nativeEvent) bool { return ev.Age > lateAge })
	if s.doors.use(ctx, now, late) {
		s.goOn()
		return
	}
	if !s.unsettled.goesOn(now, late) {
		return
	}
	doubted := map[*room]bool{}
	for _, ev := range events {
		s.doubtChat(ev.Room)
		if rm := s.currentRoom(ev.Room); rm != nil && !doubted[rm] {
			doubted[rm] = true
			rm.mu.Lock()
			rm.doubts++
			rm.mu.Unlock()
		}
	}
}

// makeSure reads what was missed in a room, if there is doubt. Transactions wait meanwhile.
func (s *Side) makeSure(ctx context.Context, rm *room, in gateway.Inbox) error {
	if rm.isSure() {
		return nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.catchUp(ctx, rm, in)
}

func (rm *room) isSure() bool {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.doubts == 0
}

// catchUp reads a room forwards from the newest event that was accepted. A room of which none ever was begins with what
// comes now. The caller has the turn.
func (s *Side) catchUp(ctx context.Context, rm *room, in gateway.Inbox) error {
	rm.mu.Lock()
	native, last, doubts, joined := rm.native, rm.last, rm.doubts, rm.joined
	rm.mu.Unlock()
	if doubts == 0 || !joined {
		return nil
	}
	if last != "" {
		err := s.readSince(ctx, s.names.bot, native, last, in)
		if isHopeless(err) || isBroken(err) && rm.failed() > maxFailures {
			s.log.Warn("the room's history cannot be read; what was missed comes when the homeserver sends it again", "room", rm.ID, "error", err)
		} else if err != nil {
			return fmt.Errorf("read what was missed in %s: %w", rm.ID, err)
		}
	}
	rm.mu.Lock()
	defer rm.mu.Unlock()
	rm.doubts, rm.failures = rm.doubts-doubts, 0
	return nil
}

// maxFailures is how often a room's history may fail in a row before its transactions wait for it no more: a room that
// the homeserver cannot read must not keep all others silent.
const maxFailures = 5

// failed counts another failure.
func (rm *room) failed() int {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	rm.failures++
	return rm.failures
}

// isBroken reports that the homeserver is there and yet cannot do what it was asked for.
func isBroken(err error) bool {
	var slow interface{ Timeout() bool }
	return status(err) == http.StatusInternalServerError || errors.As(err, &slow) && slow.Timeout() && !neverLeft(err)
}

// isHopeless reports that a history cannot be read, however often it is asked for.
func isHopeless(err error) bool {
	code := status(err)
	return errors.Is(err, errNoToken) || code >= 400 && code < 500 && code != http.StatusTooManyRequests && !isUnknown(err)
}

// readSince accepts what follows an event.
func (s *Side) readSince(ctx context.Context, reader id.UserID, native id.RoomID, after id.EventID, in gateway.Inbox) error {
	done, err := s.readLast(ctx, reader, native, after, in)
	if err != nil || done {
		return err
	}
	return s.readAfter(ctx, reader, native, after, in)
}

// readLast accepts what follows an event, if that is little: mostly it is nothing.
func (s *Side) readLast(ctx context.Context, reader id.UserID, native id.RoomID, after id.EventID, in gateway.Inbox) (done bool, err error) {
	const little = 20
	p, err := s.messages(ctx, reader, native, "b", "", little, nil)
	if err != nil {
		return false, err
	}
	events := s.parseEvents(p.Chunk)
	known := slices.IndexFunc(events, func(ev *nativeEvent) bool { return ev.ID == after })
	if known < 0 {
		return false, nil
	}
	events = events[:known]
	slices.Reverse(events)
	return true, s.acceptEvents(ctx, s.carried(native, events), in)
}

// readAfter accepts what follows an event, however much that is (Client-Server API, "Event Context").
func (s *Side) readAfter(ctx context.Context, reader id.UserID, native id.RoomID, after id.EventID, in gateway.Inbox) error {
	var around struct {
		Start string `json:"start"` // before the event, which so comes again: Dendrite's token for what follows is one too far
	}
	client := s.as(reader)
	url := client.BuildURLWithQuery(mautrix.ClientURLPath{"v3", "rooms", native, "context", after}, map[string]string{"limit": "0"})
	if _, err := client.MakeRequest(ctx, http.MethodGet, url, nil, &around); err != nil {
		return err
	}
	if around.Start == "" {
		return errNoToken
	}
	for from := around.Start; ; {
		p, err := s.messages(ctx, reader, native, "f", from, historyPage, nil)
		if err != nil {
			return err
		}
		if err := s.acceptEvents(ctx, s.carried(native, s.parseEvents(p.Chunk)), in); err != nil {
			return err
		}
		if p.End == "" || p.End == from || len(p.Chunk) == 0 {
			return nil
		}
		from = p.End
	}
}

// carried leaves out what is too old to be carried, but for who came and went.
func (s *Side) carried(native id.RoomID, events []*nativeEvent) []*nativeEvent {
	return slices.DeleteFunc(events, func(ev *nativeEvent) bool { return ev.Room != native || s.isStale(ev) && ev.member() == "" })
}

var errNoToken = errors.New("the homeserver does not say what comes next")

// beginAt notes the newest event of a room that is new to us: what was said before is not carried, what comes is.
func (s *Side) beginAt(ctx context.Context, rm *room, native id.RoomID) error {
	rm.mu.Lock()
	known := rm.last != ""
	rm.mu.Unlock()
	if known {
		return nil
	}
	p, err := s.messages(ctx, s.names.bot, native, "b", "", 1, nil)
	if err != nil && !isHopeless(err) {
		return fmt.Errorf("ask for the newest event of %s: %w", rm.ID, err)
	}
	events := s.parseEvents(p.Chunk)
	if len(events) == 0 {
		return nil
	}
	if err := s.put(ctx, lastKey(native), []byte(events[0].ID)); err != nil {
		return fmt.Errorf("note the newest event of %s: %w", rm.ID, err)
	}
	rm.mu.Lock()
	defer rm.mu.Unlock()
	if rm.last == "" && rm.native == native {
		rm.last = events[0].ID
	}
	return nil
}

// parseEvents reads events one by one, so that a malformed one spoils only itself.
func (s *Side) parseEvents(raws []json.RawMessage) []*nativeEvent {
	events := make([]*nativeEvent, 0, len(raws))
	for _, raw := range raws {
		ev, err := parseEvent(raw)
		if err != nil {
			s.log.Warn("a malformed event was skipped", "bytes", len(raw), "error", err)
			continue
		}
		events = append(events, ev)
	}
	return events
}

// isStale reports whether an event is older than what is carried after an absence. The homeserver knows its age best:
// the clock of whoever wrote it may be wrong.
func (s *Side) isStale(ev *nativeEvent) bool {
	age := ev.Age
	if age == 0 && !ev.Time.IsZero() {
		age = s.now().Sub(ev.Time)
	}
	return s.deps.CatchUp > 0 && age > s.deps.CatchUp && !s.names.ours(ev.Sender)
}

// stale reads nothing of an event that is too old to be carried.
func (s *Side) stale(context.Context) (*gateway.Event, error) {
	s.metrics.stale.Inc()
	if s.toldStale.CompareAndSwap(false, true) {
		s.log.Warn("messages that are older than catch_up are not carried; they are counted", "catch_up", s.deps.CatchUp)
	}
	return nil, nil
}

// membership is what a membership event says.
func (ev *nativeEvent) membership() event.Membership {
	return get[event.Membership](ev.Content, "membership")
}
