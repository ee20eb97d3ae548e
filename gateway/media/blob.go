package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"sync"

	"lockbridge/gateway"
)

// blob is a file in the spool, as one message has it.
type blob struct {
	*entry

	file    gateway.File
	visitor bool
	close   sync.Once
}

// Size implements gateway.Blob. What the cipher of an XMPP client holds may be longer than the file, which is cut then
// (XEP-0448, section 3); Matrix has no such padding, and its sizes are often wrong.
func (b *blob) Size() int64 {
	padded := b.file.Cipher != nil && b.file.Cipher.Name != gateway.CipherCTR256
	if padded && b.file.Size > 0 && b.file.Size < b.plain {
		return b.file.Size
	}
	return b.plain
}

// MIME implements gateway.Blob.
func (b *blob) MIME() string { return mediaType(b.file.MIME, b.sniffed) }

// Open implements gateway.Blob.
func (b *blob) Open(ctx context.Context, seal *gateway.Cipher) (io.ReadCloser, int64, error) {
	size := b.Size()
	plain := io.Reader(ended{ctx, b.reader(0)})
	if seal == nil {
		return io.NopCloser(plain), size, nil
	}
	if seal.Name != gateway.CipherGCM256 && seal.Name != gateway.CipherGCM128 {
		return nil, 0, fmt.Errorf("seal a file: nothing is sealed with %q", seal.Name)
	}
	g, err := newGCM(seal.Key, seal.IV)
	if err != nil {
		return nil, 0, fmt.Errorf("seal a file: %w", err)
	}
	return io.NopCloser(newSealer(g, plain, size, seal)), size + tagSize, nil
}

// reader reads the file from an offset on.
func (b *blob) reader(offset int64) io.Reader {
	return b.open.from(b.entry.file, b.Size(), offset)
}

// Close implements gateway.Blob.
func (b *blob) Close() error {
	b.close.Do(func() { b.spool.release(b.entry, b.visitor) })
	return nil
}

// ended is a reader that ends with its context.
type ended struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (r ended) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p) //nolint:wrapcheck // io.EOF must stay what it is
}

// seeker reads a file from wherever it is asked to, for http.ServeContent.
type seeker struct {
	blob *blob
	at   int64
	from io.Reader // nil: not opened there yet
}

// Read implements io.Reader.
func (s *seeker) Read(p []byte) (int, error) {
	if s.from == nil {
		s.from = s.blob.reader(s.at)
	}
	n, err := s.from.Read(p)
	s.at += int64(n)
	return n, err //nolint:wrapcheck // io.EOF must stay what it is
}

// Seek implements io.Seeker.
func (s *seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.blob.Size()
	}
	if offset < 0 || offset > s.blob.Size() {
		return 0, errors.New("seek outside the file")
	}
	s.at, s.from = offset, nil
	return offset, nil
}

// octets is the media type of what is nothing in particular.
const octets = "application/octet-stream"

// mediaType is what a file is: what its sender calls it, unless its beginning looks like something else.
func mediaType(said, sniffed string) string {
	seen, _, err := mime.ParseMediaType(sniffed)
	if err != nil {
		seen = octets
	}
	given, parameters, err := mime.ParseMediaType(said)
	if err != nil || !strings.Contains(given, "/") {
		return seen
	}
	if contradicts(given, seen) {
		return seen
	}
	if s := mime.FormatMediaType(given, map[string]string{"codecs": parameters["codecs"]}); parameters["codecs"] != "" && s != "" {
		return s
	}
	return given
}

// contradicts reports whether a file that begins like seen cannot be what it was called.
func contradicts(given, seen string) bool {
	major := func(t string) string {
		m, _, _ := strings.Cut(t, "/")
		if m == "audio" {
			return "video" // they share their containers
		}
		return m
	}
	switch seen {
	case octets, "application/ogg":
		return false
	case "text/plain", "text/xml": // what any text looks like
		return given != "image/svg+xml" && (major(given) == "image" || major(given) == "video")
	}
	return major(given) != major(seen)
}
