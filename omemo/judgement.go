package omemo

import (
	"context"
	"fmt"
	"slices"
)

// Judgement is what an operator or a pin says of a key.
type Judgement struct {
	JID      string // bare
	Identity IdentityKey
	Trust    Trust // as it is in force: a decision goes before a pin
	Decided  bool  // by Decide; Blind ones were kept when another key was verified
	Pinned   bool  // by Options.Pins
}

// Judged lists the keys that were decided on and those that are pinned, whether
// or not a device has shown them, in no particular order.
func (m *Manager) Judged(ctx context.Context) ([]Judgement, error) {
	values, err := m.store.GetMany(ctx, []string{TrustKey})
	if err != nil {
		return nil, fmt.Errorf("omemo: read state: %w", err)
	}
	j, err := m.judge(values)
	if err != nil {
		return nil, err
	}
	var all []Judgement
	for jid, list := range j.decided {
		for _, d := range list {
			all = append(all, Judgement{jid, d.key, d.trust, true, slices.Contains(j.pins[jid], d.key)})
		}
	}
	for jid, pins := range j.pins {
		for _, key := range pins {
			if !slices.ContainsFunc(j.decided[jid], func(d decision) bool { return d.key == key }) {
				all = append(all, Judgement{jid, key, Verified, false, true})
			}
		}
	}
	return all, nil
}
