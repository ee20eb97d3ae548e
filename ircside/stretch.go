package ircside

import (
	"maps"
	"time"

	"lockbridge/gateway"
)

// speaker is somebody in a channel.
type speaker struct{ room, network, id string }

// stretch is how much somebody said in a channel at a stretch, in lines. It lasts over many runs, since a run is short
// where what is said leaves at once.
type stretch struct {
	lines float64
	at    time.Time // when that was right
}

const (
	// stretchShare is the part of the pace that anybody may take for as long as they like: a stretch becomes shorter by
	// one line in the time of so many.
	stretchShare = 4
	// maxStretches bounds the stretches that are remembered.
	maxStretches = 1024
)

// exceeds counts what somebody is about to say, unless they have said more than limit lines at a stretch already, which it
// reports. It goes by when they said it: what waited while the network was away comes at once, and makes nobody loud. The
// caller holds the mutex.
func (c *conn) exceeds(d gateway.Delivery, lines, limit int, now time.Time) bool {
	who := speaker{d.Room.ID, d.Event.Sender.Network, d.Event.Sender.ID}
	at := now
	if t := d.Event.Time; !t.IsZero() && t.Before(now) {
		at = t
	}
	if last := c.stretches[who].at; at.Before(last) {
		at = last
	}
	left := func(s stretch) float64 {
		return max(0, s.lines-float64(at.Sub(s.at))/float64(stretchShare*c.pace.Every))
	}
	said := left(c.stretches[who])
	if said > float64(limit) {
		return true
	}
	if len(c.stretches) >= maxStretches {
		maps.DeleteFunc(c.stretches, func(_ speaker, s stretch) bool { return left(s) == 0 })
	}
	if len(c.stretches) >= maxStretches {
		clear(c.stretches)
	}
	c.stretches[who] = stretch{said + float64(lines), at}
	return false
}
