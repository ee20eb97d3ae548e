package xmppside

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"lockbridge/gateway"
)

// stayPause is how often State notes up to where a room was read. What was read after it is read again after a crash, and
// skipped.
const stayPause = 2 * time.Second

// overlap is how much more is asked for by time, for clocks that differ. What was read already is not read again.
const overlap = time.Minute

// roomMemory is what State keeps of a room.
type roomMemory struct {
	First time.Time `json:"first"`          // when it was first entered: nothing older is ever read
	Since time.Time `json:"since"`          // when we were last seen in it, or when what was read of its archive was said
	Last  string    `json:"last,omitempty"` // the last message that was read, by its id in the room's archive
}

// noteStay keeps, now and then, up to where the room was read. It rides on the batch that has just been read.
func (r *room) noteStay(at time.Time, stanzaID string, b *batch) {
	if at.IsZero() {
		return // the archive does not say
	}
	now := r.side.now()
	r.mu.Lock()
	mem := roomMemory{First: r.first, Since: at, Last: stanzaID}
	due := now.Sub(r.stay).Abs() >= stayPause && !mem.First.IsZero()
	if !r.archives {
		mem.Last = ""
	}
	if due {
		r.stay = now
	}
	r.mu.Unlock()
	if !due {
		return
	}
	b.arrivals = append(b.arrivals, gateway.Arrival{At: r.conf().Address, Read: func(ctx context.Context) (*gateway.Event, error) {
		return nil, r.side.deps.State.PutMany(ctx, map[string][]byte{stateRoom + r.jid: mem.encode()})
	}})
}

func (m roomMemory) encode() []byte {
	value, err := json.Marshal(m)
	if err != nil {
		panic(err) // two times and a text always encode
	}
	return value
}

// recall reads up to where the room was read, as far as the config wants what was missed. Since is zero at the first
// join.
func (r *room) recall(ctx context.Context) (mem roomMemory, err error) {
	key := stateRoom + r.jid
	now := r.side.now()
	err = r.side.deps.State.Update(ctx, func(ctx context.Context) error {
		found, err := r.side.deps.State.GetMany(ctx, []string{key, stateTruth + r.jid})
		if err != nil {
			return err
		}
		var said truth
		if json.Unmarshal(found[stateTruth+r.jid], &said) == nil {
			r.sayTruth(said)
		}
		mem = roomMemory{}
		if found[key] != nil {
			return json.Unmarshal(found[key], &mem)
		}
		return r.side.deps.State.PutMany(ctx, map[string][]byte{key: roomMemory{First: now, Since: now}.encode()})
	})
	if err != nil {
		return mem, fmt.Errorf("recall when the room was last read: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Time{}
	if mem.First.IsZero() {
		r.first = now
		return roomMemory{}, nil
	}
	r.first = mem.First
	oldest := mem.First
	if limit := r.side.deps.CatchUp; limit > 0 && now.Add(-limit).After(oldest) {
		oldest = now.Add(-limit)
	}
	if mem.Since.Before(oldest) {
		mem.Since, mem.Last = oldest, "" // after it there would be what is too old
	} else if mem.Since = mem.Since.Add(-overlap); mem.Since.Before(oldest) {
		mem.Since = oldest
	}
	r.since = mem.Since
	return mem, nil
}

// ask is what to ask for of the room's history at a join: at the first one nothing.
func (m roomMemory) ask() *node {
	if m.Since.IsZero() {
		return el(nsMUC, "history", "maxstanzas", "0")
	}
	return el(nsMUC, "history", "since", m.Since.UTC().Format(time.RFC3339))
}

// fullHistory is how many messages a room without an archive hands out at a join, if nobody has changed that (XEP-0045
// names no number; Prosody and ejabberd agree). So many and none of before mean that there were more.
const fullHistory = 20

// countHistory watches what a join brings of the history of a room without archive.
func (r *room) countHistory(said time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() || r.archives || !r.tellsHistory {
		return
	}
	if r.told == 0 || said.Before(r.oldest) {
		r.oldest = said
	}
	r.told++
}

// missed reports from when on it may be that something was missed that nobody hands out any more, once the history of a
// join has been read; zero if nothing speaks for it.
func (r *room) missed() (from, to time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.told
	r.told = 0
	if told < fullHistory || !r.oldest.After(r.since.Add(overlap)) {
		return from, to
	}
	return r.since, r.oldest
}
