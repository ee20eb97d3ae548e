package xmppside

import (
	"context"

	"lockbridge/gateway"
)

// A room has a picture of its own on its card, which its service announces in presences of the room's bare address
// (XEP-0486). It is fetched as people's are.

const (
	// stateRoomPhoto + a room's address is the key of the SHA-1 of its picture as it was told last, or of noPicture.
	stateRoomPhoto = "roomphoto/"
	noPicture      = "none"
)

// seePicture takes note of the picture that a room announces. That of the first join is no news.
func (s *Side) seePicture(r *room, p *node, b *batch) {
	shown := p.child(nsPhoto, "x").child(nsPhoto, "photo")
	if shown == nil || resourceOf(p.get("from")) != "" || bare(p.get("to")) != s.self || p.get("type") != "" || !r.conf().Topic || r.conf().Seal || !s.carriesFaces() {
		return
	}
	hash := photoOf(p)
	if hash == "" && shown.said() != "" { // which is no picture
		return
	}
	if hash == "" {
		hash = noPicture
	}
	r.mu.Lock()
	joining := r.tellsHistory && !r.toldSubject
	r.picture = hash
	r.mu.Unlock()
	if joining {
		s.tellPicture(r, hash, true, b)
	}
	if hash == noPicture || s.faces.of(hash) != "" {
		s.tellPicture(r, hash, false, b)
	} else {
		s.wantFace(r.jid, r.fullSelf(), r.jid, hash)
	}
}

// tellPicture tells of a room's picture if it is another one than before; the first one of all is only noted.
func (s *Side) tellPicture(r *room, hash string, first bool, b *batch) {
	at, key, ref := r.conf().Address, stateRoomPhoto+r.jid, s.faces.of(hash)
	b.arrivals = append(b.arrivals, gateway.Arrival{At: at, Read: func(ctx context.Context) (*gateway.Event, error) {
		stored, err := s.deps.State.GetMany(ctx, []string{key})
		if err != nil || string(stored[key]) == hash || first && stored[key] != nil {
			return nil, err
		}
		if err := s.deps.State.PutMany(ctx, map[string][]byte{key: []byte(hash)}); err != nil {
			return nil, err
		}
		if first || hash == noPicture && stored[key] == nil {
			return nil, nil
		}
		return &gateway.Event{Time: s.now(), Body: gateway.RoomState{Avatar: &ref}}, nil
	}})
}
