package matrixside

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// dress gives a ghost its person's picture. Whoever speaks does so without it if that fails.
func (s *Side) dress(ctx context.Context, ghost id.UserID, p gateway.Person) {
	if p.Avatar == "" || s.deps.Media == nil || !s.deps.Privacy.Avatars {
		return
	}
	u := s.user(ghost)
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.load(ctx, u, ghost) != nil || u.record.Avatar == p.Avatar || u.refused == p.Avatar && s.now().Before(u.until) {
		return
	}
	url, err := s.uploadPicture(ctx, p.Avatar)
	if err == nil {
		err = s.as(ghost).SetAvatarURL(ctx, url)
	}
	if err != nil {
		u.refused, u.until = p.Avatar, s.now().Add(refusedTime)
		s.log.Warn("a picture cannot be shown", "ghost", ghost, "error", plainly(err))
		return
	}
	before := u.record
	u.record.Avatar = p.Avatar
	raw, err := json.Marshal(u.record)
	if err == nil {
		err = s.put(ctx, stateKeyOf(ghost), raw)
	}
	if err != nil {
		u.record = before
		s.log.Warn("it cannot be noted which picture a ghost has", "ghost", ghost, "error", err)
	}
}

// uploadPicture gives a picture that was kept to the homeserver.
func (s *Side) uploadPicture(ctx context.Context, ref string) (id.ContentURI, error) {
	image, mime, err := s.deps.Media.Image(ctx, ref)
	if err != nil {
		return id.ContentURI{}, err
	}
	url, err := s.files.Upload(ctx, bytes.NewReader(image), int64(len(image)), mime, "picture")
	if err != nil {
		return id.ContentURI{}, err
	}
	return id.ParseContentURI(url)
}

const (
	maxPictures  = 10_000           // people whose pictures are known
	maxAsked     = 256              // pictures that wait to be fetched
	pictureTime  = 30 * time.Second // how long one may take
	picturePause = 10 * time.Second // between two of one person's
)

// pictures are people's pictures, as far as they were fetched: only of those who say something. What was fetched is kept
// in State under "picture/<user id>".
type pictures struct {
	mu    sync.Mutex
	known map[string]picture
	asked map[string]request
	now   chan struct{} // something is to be fetched
}

// picture is what an mxc URL leads to.
type picture struct {
	URL string `json:"url"`
	Ref string `json:"ref,omitempty"` // see gateway.Person; "": nothing that can be shown
	at  time.Time
}

// request is a picture to be fetched.
type request struct {
	url string
	at  gateway.Address
	who gateway.Person
}

func pictureKey(of string) string { return "picture/" + of }

// pictureOf is somebody's picture in a room, as far as it is known. If it is another one by now it is fetched, and told.
func (s *Side) pictureOf(of, url string, at gateway.Address, who gateway.Person) string {
	if s.deps.Media == nil || !s.deps.Privacy.Avatars {
		return ""
	}
	p := &s.pictures
	p.mu.Lock()
	defer p.mu.Unlock()
	known, spoke := p.known[of]
	switch {
	case spoke && known.URL == url:
		return known.Ref
	case url == "":
		p.learn(of, picture{})
		return ""
	case mxcURL.MatchString(url) && len(p.asked) < maxAsked && s.now().Sub(known.at) >= picturePause:
		p.asked[of] = request{url, at, who}
		nudge(p.now)
	}
	return ""
}

// recollectPictures takes from State which pictures are known.
func (s *Side) recollectPictures(ctx context.Context) error {
	stored, err := s.deps.State.List(ctx, pictureKey(""))
	if err != nil {
		return fmt.Errorf("read which pictures are known: %w", err)
	}
	s.pictures.mu.Lock()
	defer s.pictures.mu.Unlock()
	clear(s.pictures.known)
	for key, raw := range stored {
		var p picture
		if err := json.Unmarshal(raw, &p); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		s.pictures.learn(key[len(pictureKey("")):], p)
	}
	return nil
}

// isKnown reports whether somebody's picture was asked for before.
func (p *pictures) isKnown(of string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.known[of]
	return known
}

// next takes a request.
func (p *pictures) next() (of string, r request, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for of, r = range p.asked {
		delete(p.asked, of)
		return of, r, true
	}
	return "", r, false
}

// learn notes what is known. The caller holds p.mu.
func (p *pictures) learn(of string, got picture) {
	if _, known := p.known[of]; !known && len(p.known) >= maxPictures {
		clear(p.known)
	}
	p.known[of] = got
}

func (p *pictures) forget(of string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, of)
	delete(p.asked, of)
}

// keepPictures fetches pictures, one after another, until ctx ends.
func (s *Side) keepPictures(ctx context.Context, in gateway.Inbox) {
	for ctx.Err() == nil {
		of, r, ok := s.pictures.next()
		if !ok {
			select {
			case <-s.pictures.now:
			case <-ctx.Done():
			}
			continue
		}
		err := s.fetchPicture(ctx, of, r, in)
		if err != nil && ctx.Err() == nil {
			s.log.Debug("a picture cannot be fetched", "of", of, "error", plainly(err))
		}
	}
}

// fetchPicture fetches one picture, and tells of it.
func (s *Side) fetchPicture(ctx context.Context, of string, r request, in gateway.Inbox) error {
	ctx, cancel := context.WithTimeout(ctx, pictureTime)
	defer cancel()
	got, err := s.download(ctx, r.url)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(got)
	if err == nil {
		err = s.put(ctx, pictureKey(of), raw)
	}
	if err != nil {
		return fmt.Errorf("note which picture is known: %w", err)
	}
	got.at = s.now()
	s.pictures.mu.Lock()
	s.pictures.learn(of, got)
	s.pictures.mu.Unlock()
	if got.Ref == "" {
		return nil
	}
	r.who.Avatar = got.Ref
	if _, _, direct := r.at.Direct(); direct { // it comes with what they say next
		return nil
	}
	ev := &gateway.Event{At: r.at, Sender: r.who, Body: gateway.Membership{Who: r.who, Change: gateway.Rename}}
	return in.Accept(ctx, []gateway.Arrival{{At: r.at, Read: func(context.Context) (*gateway.Event, error) { return ev, nil }}})
}

// download fetches and keeps a picture. What cannot be shown is known, too.
func (s *Side) download(ctx context.Context, url string) (picture, error) {
	image, err := s.files.Avatar(ctx, url)
	if err == nil {
		var ref string
		if ref, err = s.deps.Media.Keep(ctx, image); err == nil {
			return picture{URL: url, Ref: ref}, nil
		}
	}
	if gateway.IsDrop(err) {
		return picture{URL: url}, nil
	}
	return picture{}, err
}
