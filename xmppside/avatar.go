package xmppside

import (
	"context"
	"crypto/sha1" //nolint:gosec // XEP-0153 and XEP-0084 name pictures by it; nothing is kept secret by it
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"lockbridge/gateway"
)

const (
	nsPhoto      = "vcard-temp:x:update"
	nsAvatarData = "urn:xmpp:avatar:data"
	nsAvatarMeta = "urn:xmpp:avatar:metadata"

	// maxPhotoShown is how large a picture of ours is at most, in bytes: more is no stanza that servers take.
	maxPhotoShown = 140 << 10
	// wearsADay is how many pictures a person's puppet is given in a day: everybody in its rooms asks for each.
	wearsADay = 24
)

// photo is the picture of a puppet, as it is announced.
type photo struct {
	Ref  string `json:"ref,omitempty"`
	SHA1 string `json:"sha1,omitempty"`
	MIME string `json:"mime,omitempty"`
	Size int    `json:"size,omitempty"`
}

// wear gives a person's puppet the picture that its person has now, if it can be had, and tells where the puppet is. It is
// never worth a failure.
func (s *Side) wear(ctx context.Context, l *link, person gateway.Person) {
	p, known := s.people.of(person)
	pause := "wear/" + person.Avatar
	if person.Avatar == "" || !s.carriesFaces() || known && p.Photo.Ref == person.Avatar || !s.lately.over(pause, s.now()) {
		return
	}
	data, mime, err := s.deps.Media.Image(ctx, person.Avatar)
	if err != nil || len(data) > maxPhotoShown {
		s.lately.free(pause, s.now(), facePause)
		s.log.Debug("a puppet goes without its person's picture", "of", person.ID, "bytes", len(data), "err", err)
		return
	}
	if known && !s.rations.free("wear/"+p.JID, s.now(), wearsADay) {
		return
	}
	sum := sha1.Sum(data) //nolint:gosec // see above
	p, err = s.editPuppet(ctx, person, func(_ context.Context, p *puppet) error {
		p.Photo = photo{Ref: person.Avatar, SHA1: hex.EncodeToString(sum[:]), MIME: mime, Size: len(data)}
		return nil
	})
	if err != nil {
		s.log.Debug("a puppet's picture could not be kept", "of", p.JID, "err", err)
		return
	}
	s.showPhoto(ctx, l, p)
}

// showPhoto announces a puppet's new picture in its rooms and to those who see its presence.
func (s *Side) showPhoto(ctx context.Context, l *link, p puppet) {
	var out []*node
	for room := range p.Rooms {
		if r := s.carried().byJID[room]; r != nil && r.nickIn(p.JID) != "" {
			out = append(out, el("", "presence", "from", p.JID+"/"+resource, "to", room+"/"+r.nickIn(p.JID)).add(s.capsNode(), s.photoNode(p.JID)))
		}
	}
	followed, err := s.deps.State.List(ctx, contactKey(p.JID, ""))
	for key, value := range followed {
		if c, bad := parseContact(value); bad == nil && c.Follows {
			out = append(out, s.available(p.JID, strings.TrimPrefix(key, contactKey(p.JID, ""))))
		}
	}
	if len(out) > 0 && err == nil {
		err = l.send(out...)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Debug("a new picture was not announced", "of", p.JID, "err", err)
	}
}

// photoNode announces the picture of an address of ours (XEP-0153, section 3.1); nil where it has none.
func (s *Side) photoNode(own string) *node {
	p, ok := s.people.ofJID(own)
	if !ok || p.Photo.SHA1 == "" || !s.carriesFaces() {
		return nil
	}
	return el(nsPhoto, "x").add(el(nsPhoto, "photo").say(p.Photo.SHA1))
}

// portrait is the picture of an address of ours; without data where it has none, or no longer.
func (s *Side) portrait(ctx context.Context, own string) (photo, []byte) {
	p, ok := s.people.ofJID(own)
	if !ok || p.Photo.Ref == "" || !s.carriesFaces() {
		return photo{}, nil
	}
	data, _, err := s.deps.Media.Image(ctx, p.Photo.Ref)
	if err != nil {
		if ctx.Err() == nil && !gateway.IsDrop(err) {
			s.log.Warn("a puppet's picture cannot be read", "of", own, "err", err)
		}
		return photo{}, nil
	}
	return p.Photo, data
}

// photoCard is the picture on a card (XEP-0054, section 4); nil without one.
func photoCard(p photo, data []byte) *node {
	if data == nil {
		return nil
	}
	return el(nsVCard, "PHOTO").add(el(nsVCard, "TYPE").say(p.MIME), el(nsVCard, "BINVAL").say(base64.StdEncoding.EncodeToString(data)))
}

// avatarItem is the one item of a node of XEP-0084; nil where there is no picture.
func (s *Side) avatarItem(ctx context.Context, own, name string) (id string, payload *node) {
	if name == nsAvatarMeta { // by far the most asked for, and it needs no picture
		p, ok := s.people.ofJID(own)
		if !ok || p.Photo.SHA1 == "" || !s.carriesFaces() {
			return "", nil
		}
		info := el(nsAvatarMeta, "info", "bytes", fmt.Sprint(p.Photo.Size), "id", p.Photo.SHA1, "type", p.Photo.MIME)
		return p.Photo.SHA1, el(nsAvatarMeta, "metadata").add(info)
	}
	p, data := s.portrait(ctx, own)
	if data == nil {
		return "", nil
	}
	return p.SHA1, el(nsAvatarData, "data").say(base64.StdEncoding.EncodeToString(data))
}
