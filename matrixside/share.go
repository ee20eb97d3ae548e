package matrixside

import (
	"cmp"
	"context"
	"strconv"
	"sync"

	"lockbridge/gateway"
)

// maxUploads is how many uploads are remembered, so that a delivery that is tried again uploads nothing again.
const maxUploads = 1000

// uploads are the files that the homeserver got for deliveries: an unused one cannot be taken back.
type uploads struct {
	mu   sync.Mutex
	made map[string]upload
}

// upload is what the homeserver has.
type upload struct {
	url, mime string
	size      int64
}

func (u *uploads) get(key string) (upload, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	got, ok := u.made[key]
	return got, ok
}

func (u *uploads) put(key string, got upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.made == nil || len(u.made) >= maxUploads {
		u.made = map[string]upload{}
	}
	u.made[key] = got
}

// share gives the files of a delivery to the homeserver. One that cannot be had, or that the homeserver does not take, is
// told of in words.
func (s *Side) share(ctx context.Context, key string, files []gateway.File) ([]uploaded, error) {
	out := make([]uploaded, 0, len(files))
	for i, f := range files {
		up, err := s.hand(ctx, key+"/"+strconv.Itoa(i), f)
		switch {
		case gateway.IsDrop(err) || isForbidden(err):
			return nil, gateway.Plainer(err)
		case err != nil:
			return nil, err
		}
		f.MIME, f.Size = up.mime, up.size
		with := uploaded{File: f, url: up.url}
		if f.Thumb != nil { // without one it is shown all the same
			if thumb, err := s.hand(ctx, key+"/t"+strconv.Itoa(i), *f.Thumb); err == nil {
				with.thumb = thumb.url
			}
		}
		out = append(out, with)
	}
	return out, nil
}

// hand uploads one file, once.
func (s *Side) hand(ctx context.Context, key string, f gateway.File) (upload, error) {
	if up, ok := s.uploads.get(key); ok {
		return up, nil
	}
	if s.deps.Media == nil {
		return upload{}, gateway.Dropf("files are not carried")
	}
	blob, err := s.deps.Media.Fetch(ctx, f)
	if err != nil {
		return upload{}, err
	}
	defer blob.Close()
	body, size, err := blob.Open(ctx, nil)
	if err != nil {
		return upload{}, err
	}
	defer body.Close()
	up := upload{mime: blob.MIME(), size: size}
	if up.url, err = s.files.Upload(ctx, body, size, cmp.Or(up.mime, "application/octet-stream"), f.Name); err != nil {
		return upload{}, err
	}
	s.uploads.put(key, up)
	return up, nil
}
