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

// admits reports whether anything may come of an event: what cannot be sealed is ignored where the config says so, and
// what a room is about where it is not carried. A side sees to this itself; that the gateway asks again costs nothing,
// and a bug there stays harmless.
func (r *router) admits(ev *Event) bool {
	b, bridged := r.bridges[ev.At]
	_, _, direct := ev.At.Direct()
	metadata := false
	switch body := ev.Body.(type) {
	case RoomState:
		return bridged && b.Topic
	case Reaction, Typing, Presence:
		metadata = true
	case Retract:
		metadata = !body.Moderated // a moderator's comes from the room itself
	case Receipt:
		metadata = body.State != Undeliverable
	}
	if !metadata || ev.own || ev.Sealed.Protection != Plain {
		return true
	}
	return !r.drops(ev.At) || !bridged && !direct
}

// drops reports whether a room is sealed and what cannot be sealed does not cross.
func (r *router) drops(room Address) bool {
	if b, bridged := r.bridges[room]; bridged {
		return b.seals(room.Network) && b.Metadata == MetadataDrop
	}
	_, _, direct := room.Direct()
	return direct && r.direct.Seals(room.Network) && !r.direct.KeepsMetadata()
}

// bare takes the reason away from what came in the clear where content is sealed: XEP-0425 has no other form.
func (r *router) bare(ev *Event) {
	if b, bridged := r.bridges[ev.At]; bridged && b.seals(ev.At.Network) && ev.Sealed.Protection == Plain {
		ev.Body = withoutReason(ev.Body)
	}
}

// moderated reports whether what a moderator does in a room matters anywhere else.
func (r *router) moderated(room Address) bool {
	b, bridged := r.bridges[room]
	return bridged && b.Moderation != ModerationOff
}

// moderates reports whether what a moderator took back elsewhere is taken back in room, where it was said at home.
func (r *router) moderates(room, home Address) bool {
	b, bridged := r.bridges[room]
	if !bridged {
		return false
	}
	switch b.Moderation {
	case ModerationAll:
		return true
	case ModerationOwn:
		return room != home
	case ModerationOff:
	}
	return false
}

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
	_, isReaction := ev.Body.(Reaction)
	for network, room := range b.Rooms {
		at := Address{network, room.ID}
		if at == ev.At || isReaction && network == ev.Sender.Network { // who reacts at home, and was moderated elsewhere, changes that at home
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
		return caps.wants(b.Change) && !(b.Quiet && caps.MemberNotes)
	case Retract:
		return caps.Retract || caps.Notes || caps.Fold > 0 // what waits still is not said at all
	case Reaction:
		return caps.Reaction || caps.ReactionNotes
	case RoomState:
		return caps.Room
	case Receipt:
		return caps.Receipt
	case Typing:
		return caps.Typing
	case Presence:
		return caps.Presence
	}
	return true
}
