package xmppside

import (
	"context"
	"crypto/sha1" //nolint:gosec // XEP-0153 and XEP-0084 name pictures by it; nothing is kept secret by it
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"lockbridge/gateway"
)

const (
	nsPhoto      = "vcard-temp:x:update"
	nsAvatarData = "urn:xmpp:avatar:data"
	nsAvatarMeta = "urn:xmpp:avatar:metadata"

	// statePhoto + a SHA-1 is the key of what is kept of a picture: face.
	statePhoto = "photo/"

	maxFaces      = 20000 // pictures that are remembered
	maxWanted     = 1000  // that are to be fetched, of one room
	facesAMinute  = 10    // of one room
	facePause     = time.Minute
	badFacePause  = 24 * time.Hour
	faceLasts     = 80 * 24 * time.Hour // less than the journal keeps a picture that nobody uses
	directFaces   = "direct"            // in place of a room
	faceSHA1Size  = 2 * sha1.Size
	maxPhotoShown = 140 << 10 // bytes; more is no stanza that servers take
)

// face is what is remembered of a picture.
type face struct {
	Ref string    `json:"ref"` // as gateway.Media knows it
	At  time.Time `json:"at"`
}

// wantedFace is a picture that is to be fetched.
type wantedFace struct{ from, ask, hash string }

// faces are the pictures of people, by the SHA-1 that they announce (XEP-0153). Each is fetched once, in a room one after
// the other.
type faces struct {
	mu     sync.Mutex
	known  map[string]face
	wanted map[string]map[string]wantedFace // by room, and by whom to ask: the newest counts
	busy   map[string]bool                  // rooms
	owners map[string]string                // real bare JID to SHA-1, of those who have direct chats
}

// of is the reference of a picture; "" while it is not known.
func (f *faces) of(hash string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[hash].Ref
}

func (f *faces) set(hash string, x face) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil || len(f.known) >= maxFaces {
		f.known = map[string]face{}
	}
	f.known[hash] = x
}

// want notes that a picture is to be fetched.
func (f *faces) want(group string, w wantedFace, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.known[w.hash].At) < faceLasts {
		return
	}
	if f.wanted == nil {
		f.wanted, f.busy = map[string]map[string]wantedFace{}, map[string]bool{}
	}
	if f.wanted[group] == nil {
		f.wanted[group] = map[string]wantedFace{}
	}
	if len(f.wanted[group]) < maxWanted {
		f.wanted[group][w.ask] = w
	}
}

// begin reports whether somebody has to fetch pictures of a room, which nobody does.
func (f *faces) begin(group string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.wanted[group]) == 0 || f.busy[group] {
		return false
	}
	f.busy[group] = true
	return true
}

// next takes a picture that may be fetched now.
func (f *faces) next(group string, may func(wantedFace) bool) (wantedFace, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ask, w := range f.wanted[group] {
		if f.known[w.hash].Ref != "" {
			delete(f.wanted[group], ask)
		} else if may(w) {
			delete(f.wanted[group], ask)
			return w, true
		}
	}
	return wantedFace{}, false
}

// end reports whether some are left for later.
func (f *faces) end(group string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.busy, group)
	return len(f.wanted[group]) > 0
}

// setOwner notes the picture of somebody who has direct chats, ofOwner returns it.
func (f *faces) setOwner(who, hash string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.owners == nil || len(f.owners) >= maxFaces {
		f.owners = map[string]string{}
	}
	f.owners[strings.Clone(who)] = hash
}

func (f *faces) ofOwner(who string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[f.owners[who]].Ref
}

// photoOf is the SHA-1 of the picture that a presence announces; "" if it names none.
func photoOf(presence *node) string {
	hash := strings.ToLower(strings.TrimSpace(presence.child(nsPhoto, "x").child(nsPhoto, "photo").said()))
	if _, err := hex.DecodeString(hash); err != nil || len(hash) != faceSHA1Size {
		return ""
	}
	return strings.Clone(hash)
}

// carriesFaces reports whether pictures cross.
func (s *Side) carriesFaces() bool { return s.deps.Media != nil && s.deps.Privacy.Avatars }

// wantFace notes that somebody announced a picture. group is the room where it was, or directFaces.
func (s *Side) wantFace(group, from, ask, hash string) {
	if hash == "" || !s.carriesFaces() || !s.lately.over("face/"+ask+"/"+hash, s.now()) {
		return
	}
	s.faces.want(group, wantedFace{from, ask, hash}, s.now())
}

// seekFaces has the pictures of a room fetched that are wanted.
func (s *Side) seekFaces(l *link, group string) {
	if !s.faces.begin(group) {
		return
	}
	if !l.later(func(ctx context.Context) { s.fetchFaces(ctx, l, group) }) {
		s.faces.end(group)
	}
}

func (s *Side) fetchFaces(ctx context.Context, l *link, group string) {
	for range facesAMinute {
		w, ok := s.faces.next(group, func(w wantedFace) bool { return s.lately.free("face/"+w.ask, s.now(), facePause) })
		if !ok || ctx.Err() != nil {
			break
		}
		err := s.fetchFace(ctx, l, w)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.log.Debug("a picture could not be had", "of", w.ask, "err", err)
		if condition(err) != "" || gateway.IsDrop(err) || errors.Is(err, errNoFace) || errors.Is(err, errWrongFace) {
			s.lately.free("face/"+w.ask+"/"+w.hash, s.now(), badFacePause)
		}
	}
	if s.faces.end(group) {
		s.agenda.put("faces/"+group, s.now().Add(facePause), func(_ context.Context, l *link) { s.seekFaces(l, group) })
	}
}

var (
	errNoFace    = errors.New("there is no picture on the card")
	errWrongFace = errors.New("the picture on the card is not the one that was announced")
)

// fetchFace reads a picture from somebody's card. Nothing else on the card is looked at: in a room that hides addresses it
// may name one.
func (s *Side) fetchFace(ctx context.Context, l *link, w wantedFace) error {
	iq, err := l.ask(ctx, "get", w.from, w.ask, el(nsVCard, "vCard"))
	if err != nil {
		return err
	}
	coded := iq.child(nsVCard, "vCard").child(nsVCard, "PHOTO").child(nsVCard, "BINVAL")
	data := decodeBase64(coded)
	switch sum := sha1.Sum(data); { //nolint:gosec // see above
	case len(data) == 0:
		return errNoFace
	case len(data) > gateway.MaxImage:
		return gateway.Dropf("the picture has %d KB; %d are possible", len(data)>>10, gateway.MaxImage>>10)
	case hex.EncodeToString(sum[:]) != w.hash:
		return errWrongFace
	}
	ref, err := s.deps.Media.Keep(ctx, data)
	if err != nil {
		return err
	}
	x := face{ref, s.now()}
	value, err := json.Marshal(x)
	if err != nil {
		return err
	}
	err = s.deps.State.Update(ctx, func(ctx context.Context) error {
		return s.deps.State.PutMany(ctx, map[string][]byte{statePhoto + w.hash: value})
	})
	if err != nil {
		return fmt.Errorf("remember a picture: %w", err)
	}
	s.faces.set(w.hash, x)
	l.queue.push(item{face: w.hash})
	return nil
}

// readFace tells of those in rooms whose picture has just become known.
func (s *Side) readFace(hash string, b *batch) {
	for _, r := range s.carried().all {
		r.mu.Lock()
		var changes []moved
		for _, o := range r.occupants {
			if o.photo == hash && r.staged == nil && r.nativeLocked(o) {
				changes = append(changes, r.cameLocked(o)...)
			}
		}
		r.mu.Unlock()
		for _, m := range changes {
			s.tellMoved(r, m, b)
		}
	}
}

// loadFaces reads what is remembered of pictures, and forgets what is too old.
func (s *Side) loadFaces(ctx context.Context) error {
	stored, err := s.deps.State.List(ctx, statePhoto)
	if err != nil {
		return fmt.Errorf("read the pictures: %w", err)
	}
	old := map[string][]byte{}
	for key, value := range stored {
		var x face
		if err := json.Unmarshal(value, &x); err != nil || s.now().Sub(x.At) >= faceLasts {
			old[key] = nil
			continue
		}
		s.faces.set(strings.TrimPrefix(key, statePhoto), x)
	}
	if len(old) == 0 {
		return nil
	}
	err = s.deps.State.Update(ctx, func(ctx context.Context) error { return s.deps.State.PutMany(ctx, old) })
	if err != nil {
		return fmt.Errorf("forget old pictures: %w", err)
	}
	return nil
}

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
