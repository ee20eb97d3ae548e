// Package mediatest gives tests a real media.Media with a shelf in memory. It fetches from this machine, which the
// program does only where its config says so.
package mediatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
)

// Options is what differs between tests; the zero value is a Media without links and sources, for files up to 1 MB.
type Options struct {
	MaxSize     int64
	Dir         string // "": one of the test's own
	Spool       int64  // 0: ten files of MaxSize
	URL         string
	Authorities *x509.CertPool
	Allow       []netip.Prefix // nil: 127.0.0.0/8
	Resolver    *net.Resolver
	Key         byte // another store's, where it differs
	Sources     map[string]media.Source
	Shelf       media.Shelf      // nil: a new one
	Now         func() time.Time // nil: the clock
	Log         *slog.Logger
}

// New makes a Media that ends with the test.
func New(t testing.TB, o Options) *media.Media {
	t.Helper()
	if o.MaxSize == 0 {
		o.MaxSize = 1 << 20
	}
	if o.Spool == 0 {
		o.Spool = 10 * o.MaxSize
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Shelf == nil {
		o.Shelf = NewShelf()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Allow == nil {
		o.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m, err := media.New(media.Config{
		Dir: o.Dir, Spool: o.Spool, MaxSize: o.MaxSize, Links: 7 * 24 * time.Hour, URL: o.URL, Key: bytes.Repeat([]byte{o.Key}, 32),
		Allow: o.Allow, Authorities: o.Authorities, Resolver: o.Resolver, Sources: o.Sources, Shelf: o.Shelf,
		Log: o.Log, Now: o.Now, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// Shelf is a media.Shelf in memory.
type Shelf struct {
	mu     sync.Mutex
	links  map[[8]byte]link
	images map[[32]byte]image
	gone   map[gateway.ID]bool
	asked  int
}

type link struct {
	data   []byte
	until  time.Time
	events []gateway.ID
}

type image struct {
	mime string
	data []byte
}

// NewShelf returns an empty one.
func NewShelf() *Shelf {
	return &Shelf{links: map[[8]byte]link{}, images: map[[32]byte]image{}, gone: map[gateway.ID]bool{}}
}

// PutLink implements media.Shelf.
func (s *Shelf) PutLink(_ context.Context, id [8]byte, events []gateway.ID, data []byte, until time.Time) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		if s.gone[e] {
			return time.Time{}, nil
		}
	}
	if old, taken := s.links[id]; taken {
		return old.until, nil
	}
	s.links[id] = link{data, until, events}
	return until, nil
}

// Link implements media.Shelf. It knows no clock: what is over is the caller's affair.
func (s *Shelf) Link(_ context.Context, id [8]byte) ([]byte, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	l := s.links[id]
	return l.data, l.until, nil
}

// Asked is how often Link was called.
func (s *Shelf) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// Retract does what the store does when an event is retracted.
func (s *Shelf) Retract(event gateway.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone[event] = true
	for id, l := range s.links {
		for _, e := range l.events {
			if e == event {
				delete(s.links, id)
			}
		}
	}
}

// PutImage implements media.Shelf.
func (s *Shelf) PutImage(_ context.Context, hash [32]byte, mime string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images[hash] = image{mime, data}
	return nil
}

// Image implements media.Shelf.
func (s *Shelf) Image(_ context.Context, hash [32]byte) ([]byte, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[hash]
	return i.data, i.mime, nil
}
