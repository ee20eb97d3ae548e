package matrixside

import (
	"context"
	"slices"
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
	sent  map[string][]gateway.Part
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
	if _, later := gateway.LaterThan(err); err == nil || later || gateway.IsDrop(err) || gateway.IsPlainer(err) {
		delete(a.unsure, key)
	}
}

// missing are the parts that may have been sent although they are not known: of a first try none, and none of what may
// be done again.
func missing(d gateway.Delivery) (names map[string]bool) {
	if d.Attempt == 0 {
		return nil
	}
	for _, name := range partNames(d.Event.Body) {
		if !slices.ContainsFunc(d.Known, func(p gateway.Part) bool { return p.Name == name }) {
			if names == nil {
				names = map[string]bool{}
			}
			names[name] = true
		}
	}
	return names
}

// arrived implements lane: it finds parts by their echo, which the journal has already, or in the history. What an
// earlier process sent is looked up once, as it sends nothing any more.
func (b bridged) arrived(ctx context.Context, run []gateway.Delivery) (map[string][]gateway.Part, error) {
	tried := &b.rm.attempts
	out := map[string][]gateway.Part{}
	unsure, speakers := map[string]map[string]bool{}, map[id.UserID]bool{b.names.bot: true}
	var unsureSince, since time.Time
	before := map[string]map[string]bool{}
	for _, d := range run {
		out[d.Key] = d.Known
		happened, names := b.searchSince(d.Event.Time), missing(d)
		switch {
		case len(names) == 0:
		case tried.unsure[d.Key]:
			unsure[d.Key], unsureSince = names, earlier(unsureSince, happened)
			if !d.Event.Sender.IsZero() {
				speakers[b.names.ghost(d.Event.Sender)] = true
			}
		default:
			before[d.Key], since = names, earlier(since, happened)
		}
	}
	if len(unsure) > 0 {
		err := b.searchRooms(ctx, keysOf(speakers), unsureSince, func(key string, p gateway.Part) bool {
			found(unsure, out, key, p)
			return len(unsure) > 0
		})
		if err != nil {
			return nil, err
		}
	}
	if len(before) > 0 && (tried.since.IsZero() || since.Before(tried.since)) {
		sent := map[string][]gateway.Part{}
		err := b.searchRooms(ctx, nil, since, func(key string, p gateway.Part) bool {
			sent[key] = append(sent[key], p)
			return true
		})
		if err != nil {
			return nil, err
		}
		tried.sent, tried.since = sent, since
	}
	for key := range before {
		for _, p := range tried.sent[key] {
			found(before, out, key, p)
		}
	}
	return out, nil
}

// found takes a part that was missing out of wanted, into out.
func found(wanted map[string]map[string]bool, out map[string][]gateway.Part, key string, p gateway.Part) {
	if !wanted[key][p.Name] {
		return
	}
	out[key] = append(slices.Clip(out[key]), p)
	if delete(wanted[key], p.Name); len(wanted[key]) == 0 {
		delete(wanted, key)
	}
}

// searchRooms searches the room, and the one that it replaced.
func (b bridged) searchRooms(ctx context.Context, senders []id.UserID, since time.Time, found func(string, gateway.Part) bool) error {
	more := true
	for _, native := range b.rm.natives() {
		if !more {
			break
		}
		err := b.search(ctx, b.names.bot, native, senders, since, func(key string, p gateway.Part) bool {
			more = found(key, p)
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
