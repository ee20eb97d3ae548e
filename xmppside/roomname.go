package xmppside

import (
	"context"
	"strings"

	"lockbridge/gateway"
)

// What a room is called stands in its answer to the question what it is (XEP-0045, section 6.4), which is asked at each
// start and whenever the room says that its configuration changed.

// stateRoomName + a room's address is the key of what the room was called last, behind a sign, for it may be called nothing.
const stateRoomName = "roomname/"

// nameOfRoom is what the answer of a room calls it.
func nameOfRoom(info *node) string {
	for _, identity := range info.all(nsDiscoInfo, "identity") {
		if identity.get("category") == "conference" {
			return strings.Clone(gateway.CleanName(identity.get("name")))
		}
	}
	return ""
}

// readName tells of a room's name if it is another one than before; the first one of all is only noted.
func (s *Side) readName(r *room, b *batch) {
	if conf := r.conf(); !conf.Topic || conf.Seal {
		return
	}
	r.mu.Lock()
	name := r.name
	r.mu.Unlock()
	key, now := stateRoomName+r.jid, "="+name
	b.arrivals = append(b.arrivals, gateway.Arrival{At: r.conf().Address, Read: func(ctx context.Context) (*gateway.Event, error) {
		stored, err := s.deps.State.GetMany(ctx, []string{key})
		if err != nil || string(stored[key]) == now {
			return nil, err
		}
		if err := s.deps.State.PutMany(ctx, map[string][]byte{key: []byte(now)}); err != nil || stored[key] == nil {
			return nil, err
		}
		return &gateway.Event{Time: s.now(), Body: gateway.RoomState{Name: &name}}, nil
	}})
}
