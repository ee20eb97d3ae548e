package xmppside

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lockbridge/gateway"
)

const (
	nsUpload = "urn:xmpp:http:upload:0"

	// maxItems bounds how many of a server's services are asked what they are.
	maxItems = 32
	// lookPause is how long a server that had no upload service is not asked again.
	lookPause = 10 * time.Minute
	// quotaPause is how long a file waits whose sender has used up a quota, troubleTime how long a delivery bears failures: then
	// the room's other messages go on, and the file is named instead.
	quotaPause  = time.Minute
	troubleTime = 5 * time.Minute
	maxTroubles = 1024
)

// Why a file is not shown on XMPP. The operator reads it.
var (
	errNoUpload    = errors.New("the XMPP server has no upload service")
	errUploadSize  = errors.New("the file is larger than the XMPP server's upload service takes")
	errUploadPlain = errors.New("the XMPP server's upload service gives files out without TLS")
)

// uploads is what is known of the server's upload service.
type uploads struct {
	mu      sync.Mutex
	service string               // its address
	limit   int64                // of one file, in bytes; 0: it names none
	looked  time.Time            // when it was looked for last, without success
	trouble map[string]time.Time // since when files of a delivery could not be shared, by its key
}

// maxUpload is the largest file that the server takes, as far as it is known (0: not known), and whether it takes any.
// Before anybody looked it is said to take some.
func (s *Side) maxUpload() (size int64, ok bool) {
	u := &s.uploads
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.limit, s.deps.Media != nil && (u.service != "" || u.looked.IsZero())
}

// upload puts a file of size bytes on the server's upload service (XEP-0363), in the name of one of our own addresses, and
// returns the https URL under which everybody finds it. Errors are instructions: Plainer where the server takes no such
// file, Later where it may in a while.
func (s *Side) upload(ctx context.Context, l *link, own, name, mime string, size int64, body io.Reader) (get string, err error) {
	if s.deps.Media == nil {
		return "", gateway.Plainer(errNoUpload)
	}
	service, limit, err := s.uploadService(ctx, l)
	if err != nil {
		return "", err
	}
	if limit > 0 && size > limit {
		return "", gateway.Plainer(errUploadSize)
	}
	mime = cmp.Or(mime, "application/octet-stream")
	place, err := s.slot(ctx, l, own, service, cmp.Or(name, "file"), mime, size)
	if err != nil {
		return "", err
	}
	place.header.Set("Content-Type", mime)
	if err := s.deps.Media.Put(ctx, place.put, place.header, body, size); err != nil {
		if gateway.IsDrop(err) {
			return "", gateway.Plainer(err)
		}
		return "", err
	}
	return place.get, nil
}

// bear makes Plainer of failures to share a delivery's files that have lasted for some time, unless they are about the
// connection or about us. Without an error it forgets the delivery.
func (s *Side) bear(ctx context.Context, key string, err error) error {
	u := &s.uploads
	u.mu.Lock()
	defer u.mu.Unlock()
	since, known := u.trouble[key]
	switch {
	case err == nil:
		delete(u.trouble, key)
		return nil
	case gateway.IsPlainer(err) || gateway.IsDrop(err) || errors.Is(err, errLinkDown) || ctx.Err() != nil:
		return err
	case known && s.now().Sub(since) > troubleTime:
		delete(u.trouble, key)
		return gateway.Plainer(err)
	case !known:
		if u.trouble == nil || len(u.trouble) >= maxTroubles {
			u.trouble = map[string]time.Time{}
		}
		u.trouble[key] = s.now()
	}
	return err
}

// place is where a file goes and where it is found.
type place struct {
	put, get string
	header   http.Header
}

// slot asks for a place (XEP-0363, section 5).
func (s *Side) slot(ctx context.Context, l *link, own, service, name, mime string, size int64) (place, error) {
	iq, err := l.ask(ctx, "get", own, service, el(nsUpload, "request", "filename", name, "size", strconv.FormatInt(size, 10), "content-type", mime))
	var refused *stanzaError
	switch {
	case errors.As(err, &refused) && refused.Condition == "resource-constraint":
		return place{}, gateway.Later(quotaPause, err)
	case errors.As(err, &refused) && refused.Condition == "not-acceptable":
		return place{}, gateway.Plainer(errUploadSize)
	case errors.As(err, &refused) && refused.Type != "wait":
		return place{}, gateway.Plainer(err)
	case err != nil:
		return place{}, err
	}
	given := iq.child(nsUpload, "slot")
	put := given.child(nsUpload, "put")
	p := place{put: put.get("url"), get: given.child(nsUpload, "get").get("url"), header: http.Header{}}
	if p.put == "" || !strings.HasPrefix(p.get, "https://") {
		return place{}, gateway.Plainer(errUploadPlain)
	}
	for _, h := range put.all(nsUpload, "header") {
		switch key := http.CanonicalHeaderKey(h.get("name")); key { // any other could speak in our name
		case "Authorization", "Cookie", "Expires":
			p.header.Add(key, strings.NewReplacer("\r", "", "\n", "").Replace(h.text))
		}
	}
	return p, nil
}

// uploadService returns the server's upload service and its limit, and looks for it where that was not done yet.
func (s *Side) uploadService(ctx context.Context, l *link) (service string, limit int64, err error) {
	u := &s.uploads
	u.mu.Lock()
	service, limit = u.service, u.limit
	waits := !u.looked.IsZero() && s.now().Sub(u.looked) < lookPause
	u.mu.Unlock()
	switch {
	case service != "":
		return service, limit, nil
	case waits:
		return "", 0, gateway.Plainer(errNoUpload)
	}
	return s.findUploads(ctx, l)
}

// findUploads looks for the upload service: the one that the config names, or the first that the domains around us list
// (XEP-0030). A component's server has no address of its own; it is found under what the component's domain ends in, and
// where the rooms are.
func (s *Side) findUploads(ctx context.Context, l *link) (service string, limit int64, err error) {
	candidates, err := s.uploadCandidates(ctx, l)
	if err != nil {
		return "", 0, err
	}
	for _, at := range candidates {
		info, err := l.ask(ctx, "get", s.self, at, el(nsDiscoInfo, "query"))
		if errors.Is(err, errLinkDown) || ctx.Err() != nil {
			return "", 0, fmt.Errorf("look for the upload service: %w", err)
		}
		query := info.child(nsDiscoInfo, "query")
		offers := slices.ContainsFunc(query.all(nsDiscoInfo, "feature"), func(f *node) bool { return f.get("var") == nsUpload })
		if err == nil && offers || s.cfg.Upload != "" {
			service, limit = at, uploadLimit(query)
			break
		}
	}
	u := &s.uploads
	u.mu.Lock()
	defer u.mu.Unlock()
	u.service, u.limit, u.looked = service, limit, time.Time{}
	if service == "" {
		u.looked = s.now()
		return "", 0, gateway.Plainer(errNoUpload)
	}
	return service, limit, nil
}

func (s *Side) uploadCandidates(ctx context.Context, l *link) ([]string, error) {
	if s.cfg.Upload != "" {
		return []string{s.cfg.Upload}, nil
	}
	domains := []string{}
	around := func(domain string) {
		if _, parent, ok := strings.Cut(domain, "."); ok && !slices.Contains(domains, parent) {
			domains = append(domains, parent)
		}
	}
	around(s.domain)
	for _, r := range s.carried().all {
		around(domainOf(r.jid))
	}
	found := domains[:min(len(domains), maxItems)]
	for _, domain := range found {
		items, err := l.ask(ctx, "get", s.self, domain, el(nsDiscoItems, "query"))
		if errors.Is(err, errLinkDown) || ctx.Err() != nil {
			return nil, fmt.Errorf("look for the upload service: %w", err)
		}
		for _, item := range items.child(nsDiscoItems, "query").all(nsDiscoItems, "item") {
			at := item.get("jid")
			if domainOf(at) == at && at != s.domain && !slices.Contains(found, at) && len(found) < maxItems {
				found = append(found, at)
			}
		}
	}
	return found, nil
}

// uploadLimit reads the largest size from a service's disco#info (XEP-0363, section 4); 0: it names none.
func uploadLimit(query *node) int64 {
	for _, form := range query.all(nsForm, "x") {
		for _, field := range form.all(nsForm, "field") {
			if field.get("var") != "max-file-size" {
				continue
			}
			if n, err := strconv.ParseInt(strings.TrimSpace(field.child(nsForm, "value").said()), 10, 64); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}
