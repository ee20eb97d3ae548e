package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
)

const (
	// linkTime bounds the answer to a request for a file: to one that reads on, and to one that holds on to it.
	linkTime = 10 * time.Minute
	// doorPause is how long a process waits that found the links' address taken, before it tries again.
	doorPause = 5 * time.Second
)

// mediaBlock is the [media] table: files, and links to them.
type mediaBlock struct {
	Listen  string        `toml:"listen"`
	URL     string        `toml:"url"`
	Links   time.Duration `toml:"links"`
	MaxSize byteSize      `toml:"max_size"` // 0: no files at all
	Dir     string        `toml:"dir"`
	Spool   byteSize      `toml:"spool"`
	TLSCA   string        `toml:"tls_ca"`
	Allow   []string      `toml:"allow"`
}

func defaultMedia() mediaBlock {
	return mediaBlock{Links: 7 * day, MaxSize: 100e6, Dir: "lockbridge-media", Spool: 1e9}
}

// byteSize is a number of bytes, in the file with a unit: "100MB".
type byteSize int64

// UnmarshalText implements encoding.TextUnmarshaler. Units are powers of a thousand; without one it is bytes.
func (b *byteSize) UnmarshalText(text []byte) error {
	number, factor := strings.TrimSpace(string(text)), int64(1)
	for _, unit := range []struct {
		name   string
		factor int64
	}{{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}} {
		if rest, ok := strings.CutSuffix(number, unit.name); ok {
			number, factor = strings.TrimSpace(rest), unit.factor
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is no size: %w", text, err)
	}
	*b = byteSize(int64(n) * factor) //nolint:gosec // below 2^32
	return nil
}

// on reports whether files and pictures are carried.
func (m mediaBlock) on() bool { return m.MaxSize > 0 }

// checkMedia comes after readBridges, for it looks at the bridges.
func (c *config) checkMedia(f *findings) {
	m := c.Media
	wrong := func(key, remedy, format string, args ...any) {
		f.add(finding{key: "media." + key, text: fmt.Sprintf(format, args...), remedy: remedy})
	}
	u, err := url.Parse(m.URL)
	switch {
	case m.URL == "" && m.Listen != "":
		wrong("url", `say how people reach it, as in "https://media.example.org"`, "is missing: links must lead somewhere")
	case m.URL == "":
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		wrong("url", `write it as in "https://media.example.org"`, "is no http or https URL")
	}
	if m.Listen != "" {
		if !isListen(m.Listen) {
			wrong("listen", `HOST:PORT, for example "127.0.0.1:8090"; "" switches links off`, "%q is no address to listen on", m.Listen)
		}
	} else if m.URL != "" {
		wrong("listen", `HOST:PORT, for example "127.0.0.1:8090"`, "is missing: nothing would answer the links")
	}
	if m.on() && m.Spool < 2*m.MaxSize {
		wrong("spool", "make it several times as large as media.max_size", "is less than twice media.max_size: a file on its way would keep all others waiting")
	}
	if m.Links < time.Minute {
		wrong("links", `at least "1m"`, "is less than a minute: nobody could follow a link")
	}
	if m.on() && m.Dir == "" {
		wrong("dir", `for example "lockbridge-media"`, "is missing: files on their way lie there, encrypted")
	}
	for i, one := range m.Allow {
		p, err := media.ParseAllow(one)
		if err != nil {
			wrong("allow."+strconv.Itoa(i), `for example "10.0.0.5/32"`, "%v", err)
			continue
		}
		c.allow = append(c.allow, p)
	}
	if m.TLSCA != "" {
		if c.authorities, err = readAuthorities(m.TLSCA); err != nil {
			wrong("tls_ca", "name a readable file with at least one PEM certificate", "%v", err)
		}
	}
	c.warnOfNoLinks(f)
}

// warnOfNoLinks tells where people would get a file's name and nothing else.
func (c *config) warnOfNoLinks(f *findings) {
	if f.broken() || !c.Media.on() || c.Media.Listen != "" {
		return
	}
	kinds := c.kindsByName()
	for _, b := range c.bridges {
		for _, network := range slices.Sorted(maps.Keys(b.Rooms)) {
			if kinds[network].textOnly {
				f.add(finding{key: "media.listen", text: fmt.Sprintf("nothing makes links: of a file people on %q are told its name", network),
					remedy: "set media.listen and media.url", warning: true})
				return
			}
		}
	}
}

func readAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the file %s cannot be read: %w", file, errors.Unwrap(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return pool, nil
}

// newMedia makes what carries files; nil where that is switched off.
func (c *config) newMedia(shelf media.Shelf, log *slog.Logger) (*media.Media, error) {
	if !c.Media.on() {
		return nil, nil //nolint:nilnil // switched off
	}
	sources := map[string]media.Source{}
	for _, n := range c.networks {
		if n.kind.files == nil {
			continue
		}
		source, err := n.kind.files(n.block)
		if err != nil {
			log.Warn("files of a network cannot be fetched; of them only names are carried", "network", n.name, "err", err)
			continue
		}
		sources[n.name] = source
	}
	m := c.Media
	made, err := media.New(media.Config{
		Dir: m.Dir, Spool: int64(m.Spool), MaxSize: int64(m.MaxSize), Links: m.Links, URL: m.URL, Key: c.key, Allow: slices.Clone(c.allow), Authorities: c.authorities,
		Sources: sources, Shelf: shelf, Log: log, Now: time.Now, Rand: rand.Reader,
	})
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	return made, nil
}

// carrier is m as the gateway knows it; nil where there is none.
func carrier(m *media.Media) gateway.Media {
	if m == nil {
		return nil
	}
	return m
}

// serveLinks answers the links until ctx ends. Where another process does so, at the same address, it stands by and tries
// again after each pause.
func (m mediaBlock) serveLinks(ctx context.Context, handler http.Handler, pause time.Duration, log *slog.Logger) error {
	told := false
	for {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", m.Listen)
		if err == nil {
			log.Info("links are served", "address", l.Addr().String(), "url", m.URL)
			return serve(ctx, l, &http.Server{Handler: handler, ReadTimeout: requestTime, WriteTimeout: linkTime, MaxHeaderBytes: 16 << 10})
		}
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("media: %w", err)
		}
		if !told {
			log.Warn("standing by for the links: something listens at their address, another lockbridge most likely", "address", m.Listen)
			told = true
		}
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
}
