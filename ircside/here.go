package ircside

import (
	"context"
	"fmt"
	"strings"

	"lockbridge/gateway"
)

// Others show who is in a channel. So State knows of whom they were told, and the list that a JOIN brings tells who left
// while nobody looked: before a restart, or while another process read the network.

// stateHere + channel + " " + id is where State keeps what somebody is called of whom others know that they are there.
const stateHere = "here/"

func hereKey(channel, id string) string { return stateHere + channel + " " + id }

func parseHere(key string) (channel, id string) {
	channel, id, _ = strings.Cut(strings.TrimPrefix(key, stateHere), " ")
	return channel, id
}

// keeping has State follow a change of membership.
func (s *Side) keeping(h heard, r *room, was gateway.Person, m gateway.Membership) heard {
	if s.deps.State == nil {
		return h
	}
	change := map[string][]byte{hereKey(r.ID, m.Who.ID): nil}
	switch m.Change {
	case gateway.Rename:
		change[hereKey(r.ID, was.ID)] = nil
		fallthrough
	case gateway.Join:
		change[hereKey(r.ID, m.Who.ID)] = []byte(m.Who.Name)
	}
	read := h.Read
	h.Read = func(ctx context.Context) (*gateway.Event, error) {
		if err := s.deps.State.PutMany(ctx, change); err != nil {
			return nil, err
		}
		return read(ctx)
	}
	return h
}

// loadHere reads who others know to be in the bridge's channels, by channel and id. Those of other channels are forgotten.
func (s *Side) loadHere(ctx context.Context) (map[string]map[string]gateway.Person, error) {
	here := map[string]map[string]gateway.Person{}
	for _, r := range s.relay.bridged() {
		here[r] = map[string]gateway.Person{}
	}
	if s.deps.State == nil {
		return here, nil
	}
	stored, err := s.deps.State.List(ctx, stateHere)
	if err != nil {
		return nil, fmt.Errorf("read who was in the channels: %w", err)
	}
	for key, name := range stored {
		channel, id := parseHere(key)
		if here[channel] != nil {
			here[channel][id] = gateway.Person{Network: s.deps.Network, ID: id, Name: string(name)}
		}
	}
	return here, s.forgetHere(ctx, stored, func(channel, _ string) bool { return here[channel] == nil })
}

// forgetHere deletes those of what is stored that which names.
func (s *Side) forgetHere(ctx context.Context, stored map[string][]byte, which func(channel, id string) bool) error {
	gone := map[string][]byte{}
	for key := range stored {
		if which(parseHere(key)) {
			gone[key] = nil
		}
	}
	if len(gone) == 0 {
		return nil
	}
	err := s.deps.State.Update(ctx, func(ctx context.Context) error { return s.deps.State.PutMany(ctx, gone) })
	if err != nil {
		return fmt.Errorf("forget who was in a channel: %w", err)
	}
	return nil
}

// bridged lists the channels of the bridges, as the config calls them.
func (c *conn) bridged() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.list {
		out = append(out, r.ID)
	}
	return out
}
