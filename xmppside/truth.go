package xmppside

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"lockbridge/gateway"
)

// stateTruth + room is the key of what its members were told.
const stateTruth = "truth/"

// truth is what State keeps of what the gateway has said in a sealed room about who reads along.
type truth struct {
	Sum  string `json:"sum"`            // of the text, so that a change is said again
	Key  string `json:"key"`            // of the message
	Said bool   `json:"said,omitempty"` // the room has reflected it
}

// legs tells the members of a sealed room who else reads along, and how it is protected on the way there.
func legs(room gateway.Room) string {
	var b strings.Builder
	b.WriteString("This room is bridged to other networks.\n")
	fmt.Fprintf(&b, "- Here (%s): end-to-end encrypted by OMEMO, up to the bridge.\n", room.Network)
	for _, other := range room.Others {
		how := "end-to-end encrypted from the bridge on"
		if slices.Contains(room.Clear, other) {
			how = "in the clear; the servers there can read it, and whoever they let in"
		}
		fmt.Fprintf(&b, "- %s, %s: %s.\n", other.Network, gateway.CleanName(other.ID), how)
	}
	b.WriteString("The bridge itself reads everything: the encryption of each network ends there.")
	return b.String()
}

// proclaim says once in a sealed room who reads along, and again when that has changed. It says it on a link at most
// once, and the same bytes until the room has reflected them. Where it fails, for nobody there has a device yet, say, the
// next message tries again.
func (s *Side) proclaim(ctx context.Context, l *link, r *room) error {
	r.truth.Lock()
	defer r.truth.Unlock()
	if !r.conf().Seal || r.truthOn == l || len(r.conf().Others) == 0 {
		return nil
	}
	text := legs(*r.conf())
	mem, err := s.recallTruth(ctx, r, text)
	if err != nil || mem.Said {
		r.truthOn = l
		return err
	}
	j := &job{
		Delivery: &gateway.Delivery{Key: mem.Key, Room: r.conf().Address, Attempt: 1, Event: &gateway.Event{Body: gateway.Message{Text: gateway.Text{Plain: text}, Style: gateway.StyleNotice}}},
		voice:    voice{jid: s.self},
	}
	if err := s.recall(ctx, []*job{j}); err != nil {
		return err
	}
	if j.done { // the room has just reflected it, which State knows
		r.truthOn = l
		return nil
	}
	if reason, known := r.unfit(); reason != "" || !known {
		return nil
	}
	if len(j.parts) == 0 {
		j.say(encodeMessage(j.Event.Body.(gateway.Message), phrasing{}))
		if err := s.seal(ctx, l, r.audience(), []*job{j}); err != nil {
			return err
		}
	}
	if j.err != nil {
		return nil // nobody can read it yet
	}
	r.truthOn = l
	return l.write(j.parts[0].raw)
}

// recallTruth reads what was said about the legs. Of another text nothing was said yet.
func (s *Side) recallTruth(ctx context.Context, r *room, text string) (truth, error) {
	sum := sha256.Sum256([]byte(text))
	want := hex.EncodeToString(sum[:16])
	found, err := s.deps.State.GetMany(ctx, []string{stateTruth + r.jid})
	if err != nil {
		return truth{}, fmt.Errorf("recall what the room was told: %w", err)
	}
	var mem truth
	if v := found[stateTruth+r.jid]; v != nil {
		if err := json.Unmarshal(v, &mem); err != nil {
			return truth{}, fmt.Errorf("recall what the room was told: %w", err)
		}
	}
	if mem.Sum == want {
		r.sayTruth(mem)
		return mem, nil
	}
	id, err := randomID()
	if err != nil {
		return truth{}, err
	}
	mem = truth{Sum: want, Key: id + want[:8]} // as long as a delivery's
	r.sayTruth(mem)
	return mem, s.deps.State.Update(ctx, func(ctx context.Context) error {
		return s.deps.State.PutMany(ctx, map[string][]byte{stateTruth + r.jid: mem.encode()})
	})
}

// sayTruth notes what the room is told about who reads along.
func (r *room) sayTruth(mem truth) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.truthTold = mem
}

// toldBy reports whether a key is that of what the room is told about who reads along, and returns that.
func (r *room) toldBy(key string) (truth, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.truthTold, r.truthTold.Key == key
}

// reflected is what State keeps once the room has reflected it. The bytes that were sealed for it go: they are no
// delivery's, so that nobody else removes them in time.
func (t truth) reflected(r *room) map[string][]byte {
	t.Said = true
	return map[string][]byte{stateTruth + r.jid: t.encode(), stateOut + t.Key: nil}
}

func (t truth) encode() []byte {
	value, err := json.Marshal(t)
	if err != nil {
		panic(err) // two texts and a bool always encode
	}
	return value
}

// proclaimWhenReady does so once it is known what the room has reflected before.
func (s *Side) proclaimWhenReady(ctx context.Context, l *link, r *room) {
	if !r.conf().Seal {
		return
	}
	waiting, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if r.await(waiting, func() bool { return r.ready }) != nil {
		return
	}
	if err := s.proclaim(ctx, l, r); err != nil && ctx.Err() == nil {
		r.log.Warn("the room could not be told who reads along", "err", err)
	}
	r.findVersions(ctx, l)
}

// findVersions finds out which version of OMEMO the room's devices speak, where more may be said if it is the new one
// alone: else that was known only when something has been said.
func (r *room) findVersions(ctx context.Context, l *link) {
	if r.believes() || r.allAreTwo() {
		return
	}
	to, err := r.side.recipients(ctx, l, r.audience())
	if err != nil || len(to) == 0 {
		return
	}
	r.side.allTwo.note(r.jid, to)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changedLocked()
}
