package ircside

import (
	"context"
	"fmt"
	"maps"

	"lockbridge/gateway"
)

// SetRooms implements gateway.Side. A room that cannot be a channel is logged and left out.
func (s *Side) SetRooms(rooms []gateway.Room) {
	var good []gateway.Room
	for _, r := range rooms {
		if err := checkRoom(r); err != nil {
			s.deps.Log.Error("the room is not taken", "error", err)
			continue
		}
		good = append(good, r)
	}
	s.relay.setRooms(good)
}

func (c *conn) setRooms(rooms []gateway.Room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := maps.Clone(c.byID)
	list := make([]*room, 0, len(rooms))
	for _, want := range rooms {
		r := before[want.ID]
		delete(before, want.ID)
		if r == nil {
			r = newRoom(want)
		} else if r.Password != want.Password && r.state == roomOut {
			r.due, r.pause = c.side.clock.now(), 0 // the new one may let us in
		}
		r.Room = want
		list = append(list, r)
	}
	c.list = list
	for _, r := range before {
		c.dropRoom(r)
	}
	c.index()
	if c.sess != nil {
		c.sess.ready()
		c.sess.nudge()
	}
	c.signal()
}

// dropRoom leaves a channel that is not bridged any more. What still waits for it fails.
func (c *conn) dropRoom(r *room) {
	s := c.sess
	if s == nil {
		return
	}
	s.abandon(r.replay)
	if r.state != roomOut {
		s.part(r.name)
	}
	r.state, r.reason = roomOut, errNotBridged
	c.forgetQueued(r)
}

// Forget implements gateway.Side. Of people, State keeps in which channels they are: marks are of channels. Who wrote to
// whom lately is forgotten in memory.
func (s *Side) Forget(ctx context.Context, who gateway.Person) error {
	if who.Network == s.deps.Network && s.deps.State != nil {
		stored, err := s.deps.State.List(ctx, stateHere)
		if err == nil {
			err = s.forgetHere(ctx, stored, func(_, id string) bool { return id == who.ID })
		}
		if err != nil {
			return fmt.Errorf("forget %s on %s: %w", who.ID, who.Network, err)
		}
	}
	c := s.relay
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.told) // it costs some repetitions and nothing else
	for _, of := range c.sources {
		maps.DeleteFunc(of.chats, func(at gateway.Address, _ bool) bool {
			local, remote, _ := at.Direct()
			return local.Network == who.Network && local.ID == who.ID || remote.Network == who.Network && remote.ID == who.ID
		})
	}
	return nil
}
