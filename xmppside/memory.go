package xmppside

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"lockbridge/gateway"
)

// stayPause is how often State notes that we are in a room. The history since then is asked for at the next join.
const stayPause = 30 * time.Second

// overlap is how much more history is asked for, for clocks that differ. What was read already is not read again.
const overlap = time.Minute

// roomMemory is what State keeps of a room.
type roomMemory struct {
	First time.Time `json:"first"` // when it was first entered: nothing older is ever read
	Since time.Time `json:"since"` // when we were last seen in it
}

// noteStay keeps, now and then, that the room was read up to now. It rides on the batch that has just been read.
func (r *room) noteStay(now time.Time, b *batch) {
	r.mu.Lock()
	due := now.Sub(r.stay) >= stayPause && !r.first.IsZero()
	first := r.first
	if due {
		r.stay = now
	}
	r.mu.Unlock()
	if !due {
		return
	}
	b.arrivals = append(b.arrivals, gateway.Arrival{At: r.conf().Address, Read: func(ctx context.Context) (*gateway.Event, error) {
		return nil, r.side.deps.State.PutMany(ctx, map[string][]byte{stateRoom + r.jid: encodeMemory(roomMemory{first, now})})
	}})
}

func encodeMemory(m roomMemory) []byte {
	value, err := json.Marshal(m)
	if err != nil {
		panic(err) // two times always encode
	}
	return value
}

// history is what to ask for at a join: at the first one nothing, later what was said since we were last there.
// since is zero at the first one.
func (r *room) history(ctx context.Context) (ask *node, since time.Time, err error) {
	key := stateRoom + r.jid
	var mem roomMemory
	err = r.side.deps.State.Update(ctx, func(ctx context.Context) error {
		found, err := r.side.deps.State.GetMany(ctx, []string{key})
		if err != nil {
			return err
		}
		mem = roomMemory{}
		if found[key] != nil {
			return json.Unmarshal(found[key], &mem)
		}
		now := r.side.now()
		return r.side.deps.State.PutMany(ctx, map[string][]byte{key: encodeMemory(roomMemory{now, now})})
	})
	if err != nil {
		return nil, since, fmt.Errorf("recall when the room was last read: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.first = mem.First
	if mem.First.IsZero() {
		r.first = r.side.now()
		return el(nsMUC, "history", "maxstanzas", "0"), since, nil
	}
	since = mem.Since.Add(-overlap)
	if since.Before(mem.First) {
		since = mem.First
	}
	return el(nsMUC, "history", "since", since.UTC().Format(time.RFC3339)), since, nil
}
