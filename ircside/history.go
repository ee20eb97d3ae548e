package ircside

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
)

// What was said while we were away is read from the server's history (IRCv3 draft/chathistory): for each channel what
// came after the last line that the journal took, page by page and oldest first; for direct chats the server is asked who
// wrote (CHATHISTORY TARGETS), and then for each of them. What is said meanwhile is held back until then, so that order
// is kept.

const (
	capHistory = "draft/chathistory"

	pageMost   = 500     // lines in one page
	pageLeast  = 100     // where the server names no limit
	heldMost   = 2048    // lines held back in one channel; what is beyond is read from the history, too
	replayMost = 100_000 // lines of one channel; a history that is longer, or never ends, is cut
	peersMost  = 100     // nicks whose direct chats are read
)

// mark is a place in a channel's history: the last line that the journal took.
type mark struct {
	id string // msgid; may be empty
	at time.Time
}

// replay is the reading of one history.
type replay struct {
	target string // the channel or nick
	room   *room  // nil: a direct chat
	from   mark   // the next page begins behind it
	lines  int
	gained bool                      // this page told something newer than from
	byTime bool                      // the server does not know the msgid any more
	spoke  map[string]gateway.Person // who said something in a channel, by folded nick
	held   []heard
	more   bool // something held was left to the history: it must be asked once more
	due    time.Time
}

// queries is the reading of the direct chats' history.
type queries struct {
	from   mark
	latest time.Time // the newest line told of
	nicks  []string  // still to be read
	now    *replay   // nil: the server is asked who wrote
	asked  bool
	held   []heard
	due    time.Time
}

// keepsHistory reports whether the server has a history that we can read.
func (s *session) keepsHistory() bool {
	return s.caps[capHistory] && s.caps["batch"] && s.caps["server-time"] && s.caps["message-tags"]
}

// markKey is where State keeps the mark of a channel, or with "" of the direct chats.
func markKey(channel string) string { return "seen/" + channel }

func (m mark) String() string { return m.at.UTC().Format(time.RFC3339Nano) + " " + m.id }

func parseMark(text string) (mark, bool) {
	at, id, _ := strings.Cut(text, " ")
	t, err := time.Parse(time.RFC3339Nano, at)
	return mark{id: id, at: t}, err == nil
}

// loadMarks reads how far the journal has what was said.
func (s *Side) loadMarks(ctx context.Context) (map[string]mark, error) {
	marks := map[string]mark{}
	if s.deps.State == nil {
		return marks, nil
	}
	stored, err := s.deps.State.List(ctx, markKey(""))
	if err != nil {
		return nil, fmt.Errorf("read how far the history was read: %w", err)
	}
	for key, value := range stored {
		if m, ok := parseMark(string(value)); ok {
			marks[strings.TrimPrefix(key, markKey(""))] = m
		}
	}
	return marks, nil
}

// abandon ends a reading before its end. What was held back goes to the journal, but no mark moves: the history is read
// again from where it was.
func (s *session) abandon(p *replay) {
	if p == nil {
		return
	}
	if p.room != nil {
		p.room.replay = nil
	}
	for _, h := range p.held {
		h.mark = mark{}
		s.take(h)
	}
}

// letGo abandons all readings when their session ends.
func (s *session) letGo() {
	for _, r := range s.c.list {
		s.abandon(r.replay)
	}
	if q := s.queries; q != nil {
		s.queries = nil
		s.abandon(&replay{held: q.held})
	}
	s.flush()
}

// floor is the oldest time that is carried; zero: all.
func (s *session) floor() time.Time {
	if most := s.c.side.deps.CatchUp; most > 0 {
		return s.c.side.clock.now().Add(-most)
	}
	return time.Time{}
}

// catchUp begins to read what was said in a channel since the last line that was recorded. A channel without a mark is
// new to us: what was said in it before is none of ours.
func (s *session) catchUp(r *room, now time.Time) {
	if !s.keepsHistory() || r.replay != nil {
		return
	}
	from, known := s.c.marks[r.ID]
	if !known {
		s.take(heard{mark: mark{at: now}, marks: r.ID, Arrival: gateway.Arrival{At: r.Address}})
		return
	}
	r.replay = &replay{target: r.name, room: r, from: from}
	s.askPage(r.replay)
}

// catchUpChats begins to read what was written to us: first it is held back what is written now. The question itself
// follows with the end of the server's greeting, when we know what it can answer; see askTargets.
func (s *session) catchUpChats(now time.Time) {
	if !s.keepsHistory() || !s.c.side.deps.Direct.Enabled() {
		return
	}
	from, known := s.c.marks[""]
	if !known {
		s.markChats(now)
		return
	}
	if f := s.floor(); from.at.Before(f) {
		from.at = f
	}
	s.queries = &queries{from: from, latest: from.at, due: now.Add(s.c.side.timings.answer)}
}

// askTargets asks who wrote to us.
func (s *session) askTargets() {
	if q := s.queries; q != nil && !q.asked {
		q.asked = true
		from, to := stampOf(q.from.at.Add(-time.Millisecond)), stampOf(s.lastHeard.Add(time.Hour))
		s.pace.pushFirst(&line{text: "CHATHISTORY TARGETS timestamp=" + from + " timestamp=" + to + " " + strconv.Itoa(peersMost)})
	}
}

// markChats notes that what was written until a time is read. Any address will do for the arrival, as it is a mark only.
func (s *session) markChats(until time.Time) {
	if len(s.c.list) > 0 {
		s.take(heard{mark: mark{at: until}, Arrival: gateway.Arrival{At: s.c.list[0].Address}})
	}
}

// stampOf writes a time as CHATHISTORY takes it.
func stampOf(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// askPage asks for the next page. Where lines are told by time, it begins a little before: ids tell what was had already.
func (s *session) askPage(p *replay) {
	p.gained, p.due = false, s.c.side.clock.now().Add(s.pace.ahead()+s.c.side.timings.answer)
	if f := s.floor(); p.from.at.Before(f) {
		p.from = mark{at: f}
	}
	from := "msgid=" + p.from.id
	if !s.byMsgid(p) {
		from = "timestamp=" + stampOf(p.from.at.Add(-time.Millisecond))
	}
	s.pace.pushFirst(&line{text: "CHATHISTORY AFTER " + p.target + " " + from + " " + strconv.Itoa(s.pageLen)})
}

// byMsgid reports whether pages begin behind a msgid rather than a time.
func (s *session) byMsgid(p *replay) bool {
	return !p.byTime && !s.noMsgids && validTarget(p.from.id)
}

// replayOf finds the reading that a batch belongs to.
func (s *session) replayOf(target string) *replay {
	if r := s.room(target); r != nil {
		return r.replay
	}
	if q := s.queries; q != nil && q.now != nil && s.c.casemap.fold(q.now.target) == s.c.casemap.fold(target) {
		return q.now
	}
	return nil
}

// replayed handles one line of a history. Without a msgid it could not be told from what was had already.
func (s *session) replayed(p *replay, e *girc.Event) {
	at, err := time.Parse(time.RFC3339Nano, e.Tags["time"])
	if err != nil {
		return
	}
	id, nick := cleanID(e.Tags["msgid"]), nickOf(e)
	if at.After(p.from.at) || s.byMsgid(p) && id != p.from.id {
		p.gained = true
	}
	p.lines++
	p.from = mark{id: id, at: at.UTC()}
	if q := s.queries; p.room == nil && q != nil && at.After(q.latest) {
		q.latest = at.UTC()
	}
	if id == "" || nick == "" || len(e.Params) < 2 || at.Before(s.floor()) {
		return
	}
	if s.isMe(nick) || s.haunts(nick) {
		s.c.keepReturned(p.target, e.Command, e.Last(), id, at.UTC())
		return
	}
	if p.room == nil {
		if h, ok := s.written(e, nick, p.from.at, false); ok {
			s.take(h)
		}
		return
	}
	if h, ok := s.spoken(p.room, e, nick, p.from); ok {
		s.take(h)
		p.visited(s.person(nick))
	}
}

// visited notes who spoke in a channel. p may be nil: nothing is read there.
func (p *replay) visited(who gateway.Person) {
	if p == nil {
		return
	}
	if p.spoke == nil {
		p.spoke = map[string]gateway.Person{}
	}
	if len(p.spoke) < maxMembers {
		p.spoke[who.ID] = who
	}
}

// pageEnds goes on after a page: with the next one, or with what was held back. The last page is one that tells nothing
// new, as a server may send fewer lines than it was asked for.
func (s *session) pageEnds(p *replay) {
	if p.gained && p.lines < replayMost {
		s.askPage(p)
		return
	}
	if p.lines >= replayMost {
		s.c.side.deps.Log.Warn("the history is too long; the rest of it is not carried", "target", p.target, "lines", p.lines)
	}
	if p.more {
		p.more = false
		s.askPage(p)
		return
	}
	s.endReplay(p)
}

// endReplay lets go on what was held back.
func (s *session) endReplay(p *replay) {
	if p.lines > 0 {
		s.c.side.deps.Log.Info("read what was said meanwhile", "target", p.target, "lines", p.lines)
	}
	if p.room == nil {
		s.nextQuery()
		return
	}
	p.room.replay = nil
	for _, h := range p.held {
		s.take(h)
	}
	s.seeOff(p)
	s.c.signal()
}

// seeOff tells that those are gone again who came, spoke and went while nobody looked.
func (s *session) seeOff(p *replay) {
	r := p.room
	if len(r.members) >= maxMembers || r.listed != nil { // not all of them are known
		return
	}
	for _, id := range slices.Sorted(maps.Keys(p.spoke)) {
		if _, here := r.members[id]; !here {
			s.tell(r, nil, p.spoke[id], gateway.Membership{Who: p.spoke[id], Change: gateway.Leave})
		}
	}
}

// refusedHistory handles "FAIL CHATHISTORY CODE COMMAND [TARGET ...] :reason". A msgid that the server has forgotten is
// replaced by its time.
func (s *session) refusedHistory(e *girc.Event) {
	reason := cleanReason(e.Last())
	if param(e, 2) == "TARGETS" && s.queries != nil && s.queries.now == nil {
		s.c.side.deps.Log.Warn("the server does not tell who wrote to us meanwhile", "reason", reason)
		s.nextQuery()
		return
	}
	p := s.replayOf(param(e, 3))
	if p == nil {
		return
	}
	if s.byMsgid(p) {
		p.byTime = true
		s.askPage(p)
		return
	}
	s.c.side.deps.Log.Warn("the history cannot be read; what was said meanwhile is missing", "target", p.target, "reason", reason)
	s.endReplay(p)
}

// lateHistory gives up what the server does not answer, and returns when the next answer is due.
func (s *session) lateHistory(now time.Time) (next time.Time) {
	late := func(due time.Time) bool {
		if now.Before(due) {
			next = earliest(next, due)
			return false
		}
		return true
	}
	for _, r := range s.c.list {
		if p := r.replay; p != nil && late(p.due) {
			s.c.side.deps.Log.Warn("the server does not answer with its history; what was said meanwhile is missing", "target", p.target)
			s.endReplay(p)
		}
	}
	if q := s.queries; q != nil {
		due := q.due
		if q.now != nil {
			due = q.now.due
		}
		if late(due) {
			s.c.side.deps.Log.Warn("the server does not answer with its history; what was written to us meanwhile is missing")
			s.nextQuery()
		}
	}
	return next
}

// historyTarget handles "CHATHISTORY TARGETS nick time" inside of the answer to it.
func (s *session) historyTarget(e *girc.Event) {
	q, nick := s.queries, param(e, 1)
	if q != nil && q.now == nil && param(e, 0) == "TARGETS" && couldBeNick(nick) && !s.isMe(nick) && len(q.nicks) < peersMost {
		q.nicks = append(q.nicks, nick)
	}
}

// nextQuery reads the next direct chat, or ends with what was held back.
func (s *session) nextQuery() {
	q := s.queries
	if q == nil {
		return
	}
	if len(q.nicks) > 0 {
		q.now = &replay{target: q.nicks[0], from: mark{at: q.from.at}}
		q.nicks = q.nicks[1:]
		s.askPage(q.now)
		return
	}
	s.queries = nil
	s.markChats(q.latest)
	for _, h := range q.held {
		s.take(h)
	}
	s.c.signal()
}

// hold keeps what was heard back while p is being read. Of too many lines the oldest are left to the history.
func (p *replay) hold(h heard) {
	if len(p.held) >= heldMost {
		for i, old := range p.held {
			if old.line == nil && old.Native != "" {
				p.held, p.more = append(p.held[:i:i], p.held[i+1:]...), true
				break
			}
		}
	}
	p.held = append(p.held, h)
}
