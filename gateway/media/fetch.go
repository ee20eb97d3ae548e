package media

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"lockbridge/gateway"
)

const (
	// idleTime is how long a transfer may bring nothing, wholeTime how long it may take.
	idleTime  = 30 * time.Second
	wholeTime = 10 * time.Minute
	// patience is how long a stranger's server is tried again that fails, ownPatience one of our networks, or our own disk.
	patience    = time.Minute
	ownPatience = 10 * time.Minute
	maxFailures = 1024
	// sniffSize is what http.DetectContentType looks at.
	sniffSize = 512
	// maxURL bounds a URL, in bytes.
	maxURL = 8 << 10
)

var (
	errIdle       = errors.New("the file's server stopped sending")
	errSlow       = gateway.Dropf("the file takes too long to fetch")
	errGone       = gateway.Dropf("the file is not there any more")
	errNotGiven   = gateway.Dropf("the file's server does not give it out")
	errNoRoom     = gateway.Dropf("the gateway has no room for the file")
	errCompressed = gateway.Dropf("the file's server sends something else than the file")
	errNoWay      = gateway.Dropf("nothing here can fetch the file")
)

// Fetch implements gateway.Media.
func (m *Media) Fetch(ctx context.Context, f gateway.File) (gateway.Blob, error) {
	b, err := m.fetch(ctx, f, false)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// fetch gets a file for a message, or for a visitor: for who follows a link to it.
func (m *Media) fetch(ctx context.Context, f gateway.File, visitor bool) (*blob, error) {
	if f.Size > m.maxSize {
		return nil, m.errTooLarge()
	}
	var open opener
	if f.Cipher != nil {
		var err error
		if open, err = newOpener(f.Cipher); err != nil {
			return nil, gateway.Drop(err)
		}
	}
	id := identify(f)
	e, err := m.spool.get(ctx, id, visitor, func(e *entry) error {
		if visitor {
			leave, err := m.gate.visit(ctx, m.idle)
			if err != nil {
				return err
			}
			defer leave()
		}
		return m.fill(ctx, e, f, open)
	})
	if err != nil {
		return nil, m.patient(ctx, id, f, err)
	}
	m.failed.forget(id)
	return &blob{entry: e, file: f, visitor: visitor}, nil
}

// identify hashes what makes two files the same. The key is in it: whoever does not know it gets nothing that somebody
// else's opened.
func identify(f gateway.File) fileID {
	c := gateway.Cipher{}
	if f.Cipher != nil {
		c = *f.Cipher
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(f.Network), []byte(f.URL), []byte(c.Name), c.Key, c.IV, c.Hash} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return fileID(h.Sum(nil))
}

// fill brings a file into the spool and verifies it.
func (m *Media) fill(ctx context.Context, e *entry, f gateway.File, open opener) error {
	var to io.Writer = e
	sum := sha256.New()
	if open == nil {
		// The bytes rest encrypted like any other's, with a key that nobody else has.
		own, err := m.newKey()
		if err != nil {
			return err
		}
		open, to = own, &encrypted{to: e, stream: own.stream(0)}
	} else if f.Cipher.Hash != nil {
		to = io.MultiWriter(e, sum)
	}
	if err := m.download(ctx, to, f); err != nil {
		return err
	}
	if f.Cipher != nil && f.Cipher.Hash != nil && !bytes.Equal(sum.Sum(nil), f.Cipher.Hash) {
		return gateway.Drop(errForged)
	}
	plain, err := open.verify(ctx, e.file, e.size)
	if errors.Is(err, errForged) {
		return gateway.Drop(err)
	}
	if err != nil {
		return err
	}
	if plain > m.maxSize {
		return m.errTooLarge()
	}
	head := make([]byte, min(plain, sniffSize))
	if _, err := io.ReadFull(open.from(e.file, plain, 0), head); err != nil {
		return fmt.Errorf("read the spool: %w", err)
	}
	e.open, e.plain, e.sniffed = open, plain, http.DetectContentType(head)
	return nil
}

// newKey draws what a file is encrypted with that comes in the clear.
func (m *Media) newKey() (ctr, error) {
	var drawn [32 + aes.BlockSize]byte
	if _, err := io.ReadFull(m.rand, drawn[:]); err != nil {
		return ctr{}, fmt.Errorf("draw a key for the spool: %w", err)
	}
	block, err := aes.NewCipher(drawn[:32])
	if err != nil {
		return ctr{}, fmt.Errorf("prepare AES: %w", err)
	}
	return ctr{block, [aes.BlockSize]byte(drawn[32:])}, nil
}

// encrypted encrypts what is written to it.
type encrypted struct {
	to     io.Writer
	stream cipher.Stream
	buf    []byte
}

// Write implements io.Writer.
func (w *encrypted) Write(p []byte) (int, error) {
	if len(w.buf) < len(p) {
		w.buf = make([]byte, len(p))
	}
	w.stream.XORKeyStream(w.buf, p)
	return w.to.Write(w.buf[:len(p)]) //nolint:wrapcheck // the spool says what it did
}

// download copies a file's bytes, within all limits.
func (m *Media) download(ctx context.Context, to io.Writer, f gateway.File) error {
	u, source, err := m.origin(f)
	if err != nil {
		return err
	}
	leave, err := m.gate.enter(ctx, u.Host+"\x00"+f.Network)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(m.whole, func() { cancel(errSlow) }).Stop()
	idle := time.AfterFunc(m.idle, func() { cancel(errIdle) })
	defer idle.Stop()
	why := func(err error) error { // what ended it, rather than how that showed
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return withoutURL(err)
	}
	var body io.ReadCloser
	var size int64
	if source != nil {
		body, size, err = source.Open(ctx, f.URL)
	} else {
		body, size, err = m.get(ctx, u)
	}
	if err != nil {
		return why(err)
	}
	defer body.Close()
	// An encrypted file may be longer than what it holds, by a tag or a padding.
	limit := m.maxSize + tagSize
	if size > limit {
		return m.errTooLarge()
	}
	limited := &io.LimitedReader{R: watched{body, idle, m.idle}, N: limit + 1}
	if err := copyAll(ctx, to, limited); err != nil {
		return why(err)
	}
	if limited.N == 0 {
		return m.errTooLarge()
	}
	return nil
}

// origin tells where a file comes from: from a URL in the Web, or from a source.
func (m *Media) origin(f gateway.File) (*url.URL, Source, error) {
	u, err := url.Parse(f.URL)
	if err != nil || len(f.URL) > maxURL {
		return nil, nil, errNoWay
	}
	switch u.Scheme {
	case "https", "http":
		if u.Host == "" {
			return nil, nil, errNoWay
		}
		u.Fragment = "" // keys stand there, in some URLs
		return u, nil, nil
	}
	source := m.sources[f.Network]
	if source == nil {
		return nil, nil, errNoWay
	}
	return u, source, nil
}

// get asks the Web, through the guard.
func (m *Media) get(ctx context.Context, u *url.URL) (io.ReadCloser, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, 0, errNoWay
	}
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", userAgent)
	resp, err := m.guard.client(true).Do(req)
	if err != nil {
		return nil, 0, refusal(err)
	}
	if err := judge(resp); err != nil {
		resp.Body.Close()
		return nil, 0, err
	}
	return resp.Body, resp.ContentLength, nil
}

// refusal makes a Drop of what the guard refused.
func refusal(err error) error {
	for _, refused := range []error{errRefused, errRedirected} {
		if errors.Is(err, refused) {
			return gateway.Dropf("the file is not fetched: %w", refused)
		}
	}
	return err
}

// judge tells what an answer's head means.
func judge(resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests || code >= 500:
		return fmt.Errorf("the file's server answers with status %d", code)
	case code == http.StatusNotFound || code == http.StatusGone:
		return errGone
	case code != http.StatusOK:
		return errNotGiven
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return errCompressed
	}
	return nil
}

// withoutURL is err as logs may hold it: whoever knows the URL may fetch the file.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("the file's server does not answer: %w", u.Err)
	}
	return err
}

// watched is a body that may not stay silent for long.
type watched struct {
	io.Reader
	timer *time.Timer
	idle  time.Duration
}

// Read implements io.Reader.
func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.timer.Reset(w.idle)
	}
	return n, err //nolint:wrapcheck // io.EOF must stay what it is
}

// failures remembers since when files could not be fetched.
type failures struct {
	mu    sync.Mutex
	since map[fileID]time.Time
}

func (f *failures) forget(id fileID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.since, id)
}

// patient makes a Drop of an error that has lasted too long: the messages of a room wait behind it.
func (m *Media) patient(ctx context.Context, id fileID, f gateway.File, err error) error {
	if _, later := gateway.LaterThan(err); later || gateway.IsDrop(err) || ctx.Err() != nil {
		return err
	}
	wait, end := patience, errNotGiven
	if m.sources[f.Network] != nil {
		wait = ownPatience
	}
	if errors.Is(err, errDisk) {
		wait, end = ownPatience, errNoRoom
	}
	now := m.now()
	m.failed.mu.Lock()
	defer m.failed.mu.Unlock()
	since, known := m.failed.since[id]
	if !known || now.Sub(since) > time.Hour {
		if len(m.failed.since) >= maxFailures {
			clear(m.failed.since) // then some are tried for longer
		}
		m.failed.since[id] = now
		return err
	}
	if now.Sub(since) < wait {
		return err
	}
	return end
}

func (m *Media) errTooLarge() error {
	return gateway.Dropf("the file is larger than %s", describeSize(m.maxSize))
}
