package matrixside

import (
	"context"
	"time"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// maxUnsure bounds the attempts of a lane whose end is not known. There is one at a time, and those that were given up.
const maxUnsure = 1000

// attempts is what one lane knows of sends whose answer was not seen. Only the lane's own goroutine uses it.
type attempts struct {
	// unsure are those of this process: one is here from before it is sent until the homeserver says what became of it.
	unsure map[string]bool
	// sent is what earlier processes sent since a time, as the history shows it. A time of zero: nobody has looked yet.
	sent  map[string]id.EventID
	since time.Time
}

// begin notes that something is about to be sent.
func (a *attempts) begin(key string) {
	if a.unsure == nil {
		a.unsure = map[string]bool{}
	}
	if len(a.unsure) >= maxUnsure { // so all are looked for anew, with what earlier processes sent
		clear(a.unsure)
		a.since = time.Time{}
	}
	a.unsure[key] = true
}

// end notes what came of it: an error that is no instruction says nothing about that.
func (a *attempts) end(key string, err error) {
	if _, later := gateway.LaterThan(err); err == nil || later || gateway.IsDrop(err) {
		delete(a.unsure, key)
	}
}

// arrived finds deliveries that an earlier attempt sent although its answer was not seen: by their echo, which the
// journal has already, or in the history. What an earlier process sent is looked up once, as it sends nothing any more.
func (b bridged) arrived(ctx context.Context, run []gateway.Delivery) (map[string]id.EventID, error) {
	tried := &b.rm.attempts
	out := map[string]id.EventID{}
	unsure, speakers := map[string]bool{}, map[id.UserID]bool{b.names.bot: true}
	var unsureSince, since time.Time
	var before []string
	for _, d := range run {
		happened := b.searchSince(d.Event.Time)
		switch {
		case d.Attempt == 0:
		case len(d.Known) > 0:
			out[d.Key] = id.EventID(d.Known[0].Native)
		case tried.unsure[d.Key]:
			unsure[d.Key], unsureSince = true, earlier(unsureSince, happened)
			if !d.Event.Sender.IsZero() {
				speakers[b.names.ghost(d.Event.Sender)] = true
			}
		default:
			before, since = append(before, d.Key), earlier(since, happened)
		}
	}
	if len(unsure) > 0 {
		err := b.searchRooms(ctx, keysOf(speakers), unsureSince, func(key string, native id.EventID) bool {
			if unsure[key] {
				out[key] = native
				delete(unsure, key)
			}
			return len(unsure) > 0
		})
		if err != nil {
			return nil, err
		}
	}
	if len(before) > 0 && (tried.since.IsZero() || since.Before(tried.since)) {
		sent := map[string]id.EventID{}
		err := b.searchRooms(ctx, nil, since, func(key string, native id.EventID) bool {
			sent[key] = native
			return true
		})
		if err != nil {
			return nil, err
		}
		tried.sent, tried.since = sent, since
	}
	for _, key := range before {
		if native := tried.sent[key]; native != "" {
			out[key] = native
		}
	}
	return out, nil
}

// searchRooms searches the room, and the one that it replaced.
func (b bridged) searchRooms(ctx context.Context, senders []id.UserID, since time.Time, found func(string, id.EventID) bool) error {
	more := true
	for _, native := range b.rm.natives() {
		if !more {
			break
		}
		err := b.search(ctx, b.names.bot, native, senders, since, func(key string, native id.EventID) bool {
			more = found(key, native)
			return more
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// earlier is the earlier one of two times, of which a may be unset.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func keysOf(set map[id.UserID]bool) []id.UserID {
	out := make([]id.UserID, 0, len(set))
	for mxid := range set {
		out = append(out, mxid)
	}
	return out
}
