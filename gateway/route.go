package gateway

import "slices"

// router knows which rooms belong together. It is built from the config and does no I/O.
type router struct {
	bridges map[Address]*Bridge // by each of their rooms
	direct  Direct
	gone    map[Address]bool // rooms that were bridged by the rules before these
	// caps asks the side that shows a room; false where that side runs in another process.
	caps func(Address) (Caps, bool)
}

func newRouter(bridges []Bridge, direct Direct, caps func(Address) (Caps, bool)) *router {
	r := &router{bridges: map[Address]*Bridge{}, direct: direct, caps: caps}
	for i := range bridges {
		for network, room := range bridges[i].Rooms {
			r.bridges[Address{network, room.ID}] = &bridges[i]
		}
	}
	return r
}

// refusal is told to senders whose words came in the clear where the bridge demands encryption.
const refusal = "this room is bridged only end-to-end encrypted, and the message was not"

// route turns an event into its destinations, without keys. A nil result with a reason means that the event must not
// cross and that its sender is to be told.
func (r *router) route(ev *Event) (to []Queue, reason string) {
	if local, remote, ok := ev.At.Direct(); ok {
		return r.direct.route(ev, local, remote)
	}
	b, ok := r.bridges[ev.At]
	if !ok {
		return nil, ""
	}
	if rcpt, ok := ev.Body.(Receipt); ok && rcpt.State == Undeliverable {
		return []Queue{{Room: ev.At, Seal: b.seals(ev.At.Network)}}, ""
	}
	// The side has to see to this itself; that the gateway asks again costs nothing, and a bug there stays harmless.
	if b.seals(ev.At.Network) && carriesContent(ev.Body) && ev.Sealed.Protection == Plain && !ev.own {
		return nil, refusal
	}
	return r.others(b, ev), ""
}

// others are the bridge's rooms but the event's own, in a fixed order, as far as they can show it.
func (r *router) others(b *Bridge, ev *Event) []Queue {
	var out []Queue
	for network, room := range b.Rooms {
		at := Address{network, room.ID}
		if at == ev.At {
			continue
		}
		if caps, known := r.caps(at); known && !worthQueueing(ev, caps) {
			continue
		}
		out = append(out, Queue{Room: at, Seal: b.seals(network)})
	}
	slices.SortFunc(out, func(x, y Queue) int {
		if x.Room.Network < y.Room.Network {
			return -1
		}
		return 1
	})
	return out
}

// worthQueueing saves the journal from what degrade would drop whatever the refs turn out to be.
func worthQueueing(ev *Event, caps Caps) bool {
	switch b := ev.Body.(type) {
	case Membership:
		return caps.wants(b.Change)
	case Retract:
		return caps.Retract
	case Reaction:
		return caps.Reaction
	case RoomState:
		return caps.Room
	case Receipt:
		return caps.Receipt
	}
	return true
}
