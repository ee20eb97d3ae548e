package xmppside

import (
	"context"
	"crypto/sha1" //nolint:gosec // XEP-0153 names pictures by it; nothing is kept secret by it
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
	// statePhoto + a SHA-1 is the key of what is kept of a picture: face.
	statePhoto = "photo/"

	maxFaces     = 20000 // pictures that are remembered
	maxWanted    = 1000  // that are to be fetched, of one room
	facesAMinute = 10    // of one room
	facePause    = time.Minute
	facesADay    = 1000 // of one room
	faceDay      = 24 * time.Hour
	badFacePause = 24 * time.Hour
	faceLasts    = 80 * 24 * time.Hour // less than the journal keeps a picture that nobody uses
	directFaces  = "direct"            // in place of a room
	faceSHA1Size = 2 * sha1.Size
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
	used   map[string]ration                // of rooms
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
		f.wanted, f.busy, f.used = map[string]map[string]wantedFace{}, map[string]bool{}, map[string]ration{}
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

// ration is how many pictures of a room were fetched since, in a minute and in a day.
type ration struct {
	since, day time.Time
	n, today   int
}

// next takes a picture that may be fetched now, facesAMinute and facesADay of a room: each is kept for months.
func (f *faces) next(group string, now time.Time, may func(wantedFace) bool) (wantedFace, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	had := f.used[group]
	if now.Sub(had.since) >= facePause {
		had.since, had.n = now, 0
	}
	if now.Sub(had.day) >= faceDay {
		had.day, had.today = now, 0
	}
	if had.n >= facesAMinute || had.today >= facesADay {
		return wantedFace{}, false
	}
	for ask, w := range f.wanted[group] {
		if f.known[w.hash].Ref != "" {
			delete(f.wanted[group], ask)
		} else if may(w) {
			delete(f.wanted[group], ask)
			had.n, had.today = had.n+1, had.today+1
			f.used[group] = had
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
	for {
		w, ok := s.faces.next(group, s.now(), func(w wantedFace) bool { return s.lately.free("face/"+w.ask, s.now(), facePause) })
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

// readFace tells of those in rooms, and of the rooms, whose picture has just become known.
func (s *Side) readFace(hash string, b *batch) {
	for _, r := range s.carried().all {
		r.mu.Lock()
		var changes []moved
		for _, o := range r.occupants {
			if o.photo == hash && r.staged == nil && r.nativeLocked(o) {
				changes = append(changes, r.cameLocked(o)...)
			}
		}
		own := r.picture == hash
		r.mu.Unlock()
		if own {
			s.tellPicture(r, hash, false, b)
		}
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
