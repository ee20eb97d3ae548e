package media

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	userAgent  = "lockbridge"
	sweepEvery = time.Minute
)

// Config is what a Media is made of.
type Config struct {
	Dir     string        // of the spool
	Spool   int64         // how much lies there at most, in bytes
	MaxSize int64         // of one file, in bytes
	Links   time.Duration // how long a link works
	URL     string        // under which people reach Handler, without a slash at its end; empty: there are no links
	Key     []byte        // the store's; the links' own is derived from it
	// Allow are networks that are not in the public Internet and may be fetched from all the same, without TLS as well.
	Allow []netip.Prefix
	// Authorities are trusted for https; nil: those that the system trusts.
	Authorities *x509.CertPool
	Resolver    *net.Resolver     // nil: the system's
	Sources     map[string]Source // by network
	Shelf       Shelf
	Log         *slog.Logger
	Now         func() time.Time // the clock
	Rand        io.Reader        // cryptographic randomness
}

// Media implements gateway.Media.
type Media struct {
	maxSize     int64
	links       time.Duration
	base        *url.URL // nil: no links
	key         []byte
	sources     map[string]Source
	shelf       Shelf
	log         *slog.Logger
	now         func() time.Time
	rand        io.Reader
	idle, whole time.Duration

	guard  *guard
	gate   *gate
	spool  *spool
	failed failures
}

// New makes the folder of the spool, and empties it.
func New(cfg Config) (*Media, error) {
	key, err := hkdf.Key(sha256.New, cfg.Key, nil, "media link", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key of links: %w", err)
	}
	m := &Media{
		maxSize: cfg.MaxSize, links: cfg.Links, key: key, sources: cfg.Sources, shelf: cfg.Shelf, log: cfg.Log, now: cfg.Now, rand: cfg.Rand,
		idle: idleTime, whole: wholeTime, guard: newGuard(cfg.Allow, cfg.Authorities, cfg.Resolver), gate: newGate(),
		failed: failures{since: map[fileID]time.Time{}},
	}
	if cfg.URL != "" {
		if m.base, err = url.Parse(strings.TrimSuffix(cfg.URL, "/")); err != nil {
			return nil, fmt.Errorf("read the links' URL: %w", err)
		}
	}
	if m.spool, err = newSpool(cfg.Dir, cfg.Spool, cfg.Now); err != nil {
		return nil, err
	}
	return m, nil
}

// Run takes out of the spool what nobody asks for any more, until ctx ends; then all of it.
func (m *Media) Run(ctx context.Context) error {
	defer m.Close()
	ticks := time.NewTicker(sweepEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			m.spool.sweep()
		}
	}
}

// Close empties the spool. Blobs that are open stay readable until they are closed.
func (m *Media) Close() { m.spool.close() }

// describeSize writes a number of bytes for people.
func describeSize(n int64) string {
	switch {
	case n >= 1e9:
		return strconv.FormatFloat(float64(n)/1e9, 'g', 3, 64) + " GB"
	case n >= 1e6:
		return strconv.FormatFloat(float64(n)/1e6, 'g', 3, 64) + " MB"
	case n >= 1e3:
		return strconv.FormatFloat(float64(n)/1e3, 'g', 3, 64) + " kB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
