package xmppside

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lockbridge/gateway"
)

const (
	firstMuted = 5 * time.Second
	lastMuted  = 5 * time.Minute
)

// judge turns the room's refusal of a message into what is to be done about it. What somebody who runs the room can mend
// holds up the lane: the message itself is in order.
func (s *Side) judge(ctx context.Context, l *link, r *room, j *job, err error) error {
	var e *stanzaError
	switch {
	case err == nil:
		r.refused.Store(0)
		return nil
	case !errors.As(err, &e):
		return err
	}
	switch e.Condition {
	case "not-acceptable", "item-not-found", "recipient-unavailable":
		r.lost(j.voice.jid) // not an occupant any more: enter again, then say it again
		r.doubt()           // the others may be gone as well
		return fmt.Errorf("speak in the room: %w", e)
	case "forbidden":
		if r.giveVoice(ctx, l, j.voice.jid) {
			return fmt.Errorf("speak in the room: %w", e)
		}
		return gateway.Later(r.refuse(), fmt.Errorf("the room is moderated, and %s has no voice in it", j.voice.jid))
	case "remote-server-not-found", "remote-server-timeout", "service-unavailable", "internal-server-error", "gone":
		r.doubt()
		return gateway.Later(r.refuse(), fmt.Errorf("the room cannot be reached (%s)", e.Condition))
	case "resource-constraint":
		return gateway.Later(r.refuse(), errors.New("the room is busy"))
	}
	if e.Type == "wait" {
		return gateway.Later(r.refuse(), fmt.Errorf("the room does not take it now (%s)", e.Condition))
	}
	return gateway.Dropf("the room refused the message: %s", e.Condition)
}

// refuse counts a refusal in a row, and returns the pause after it.
func (r *room) refuse() time.Duration {
	n := min(r.refused.Add(1)-1, 10)
	return min(firstMuted<<n, lastMuted)
}

// giveVoice makes an occupant of ours a participant of a moderated room, where the gateway may do that.
func (r *room) giveVoice(ctx context.Context, l *link, who string) bool {
	r.mu.Lock()
	nick, self := r.mine[who], r.occupants[r.nick]
	may := self != nil && self.role == "moderator" && who != r.side.self && nick != ""
	r.mu.Unlock()
	if !may || !r.side.lately.free("voice/"+r.jid+"/"+who, r.side.now(), time.Minute) {
		return false
	}
	item := el(nsMUCAdmin, "item", "nick", nick, "role", "participant")
	_, err := l.ask(ctx, "set", r.fullSelf(), r.jid, el(nsMUCAdmin, "query").add(item))
	return err == nil
}
