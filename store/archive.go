package store

import (
	"bufio"
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// A backup is a stream of bytes in sealed chunks:
//
//	"lockbridge backup 1\n"  salt (32)  check (16)  chunk …  chunk
//
// Each chunk is archiveChunk bytes, the last one that or less, under XChaCha20-Poly1305 with 16 bytes of tag. The key is
// HKDF-SHA256 of the store's key with the salt, so that each backup has one of its own, and the nonce is the chunk's
// number and whether it is the last one: chunks cannot be changed, taken out, put in another order or cut off. The check
// tells another key from damage. The head is every chunk's additional data.
const (
	archiveMagic = "lockbridge backup 1\n"
	archiveChunk = 64 << 10
	archiveSalt  = 32
	archiveCheck = 16
	archiveHead  = len(archiveMagic) + archiveSalt + archiveCheck
)

var (
	errNoArchive  = errors.New("this is no backup of lockbridge, or one of a version that this program does not know")
	errDamaged    = errors.New("the backup is damaged or cut off")
	errArchiveKey = errors.New("the backup was made with another key: put the key file of that time in place")
)

// archiveKey derives a backup's cipher and its check from the head up to the salt.
func archiveKey(key, head []byte) (aead cipher.AEAD, check []byte, err error) {
	if len(key) != KeySize {
		return nil, nil, fmt.Errorf("the key must be %d bytes long, not %d", KeySize, len(key))
	}
	out, err := hkdf.Key(sha256.New, key, head[len(archiveMagic):], "lockbridge backup 1", chacha20poly1305.KeySize+archiveCheck)
	if err != nil {
		return nil, nil, fmt.Errorf("derive the backup's key: %w", err)
	}
	aead, err = chacha20poly1305.NewX(out[:chacha20poly1305.KeySize])
	return aead, out[chacha20poly1305.KeySize:], err
}

// archive is what writer and reader share.
type archive struct {
	aead cipher.AEAD
	head []byte
	n    uint64 // of the next chunk
}

func (a *archive) nonce(last bool) []byte {
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	binary.BigEndian.PutUint64(nonce, a.n)
	if last {
		nonce[8] = 1
	}
	a.n++
	return nonce
}

// archiveWriter seals what is written to it. Without a Close the backup counts as cut off.
type archiveWriter struct {
	archive
	w      io.Writer
	plain  []byte
	sealed []byte
}

func newArchiveWriter(w io.Writer, key []byte, rand io.Reader) (*archiveWriter, error) {
	head := append(make([]byte, 0, archiveHead), archiveMagic...)
	head = head[:len(archiveMagic)+archiveSalt]
	if _, err := io.ReadFull(rand, head[len(archiveMagic):]); err != nil {
		return nil, fmt.Errorf("draw salt: %w", err)
	}
	aead, check, err := archiveKey(key, head)
	if err != nil {
		return nil, err
	}
	head = append(head, check...)
	_, err = w.Write(head)
	return &archiveWriter{archive: archive{aead: aead, head: head}, w: w, plain: make([]byte, 0, archiveChunk)}, err
}

// Write implements io.Writer.
func (a *archiveWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if len(a.plain) == archiveChunk { // not before: the last chunk is sealed by Close
			if err := a.flush(false); err != nil {
				return 0, err
			}
		}
		n := min(len(rest), archiveChunk-len(a.plain))
		a.plain, rest = append(a.plain, rest[:n]...), rest[n:]
	}
	return len(p), nil
}

// Close seals the last chunk. It does not close what is written to.
func (a *archiveWriter) Close() error { return a.flush(true) }

func (a *archiveWriter) flush(last bool) error {
	a.sealed = a.aead.Seal(a.sealed[:0], a.nonce(last), a.plain, a.head)
	a.plain = a.plain[:0]
	_, err := a.w.Write(a.sealed)
	return err
}

// archiveReader opens what an archiveWriter sealed. It returns nothing of a chunk that does not open, and io.EOF only
// after the last one.
type archiveReader struct {
	archive
	r     *bufio.Reader
	plain []byte // what is left of the chunk
	box   []byte
	last  bool
	err   error
}

func newArchiveReader(r io.Reader, key []byte) (*archiveReader, error) {
	a := &archiveReader{r: bufio.NewReaderSize(r, archiveChunk), box: make([]byte, archiveChunk+chacha20poly1305.Overhead)}
	a.head = make([]byte, archiveHead)
	n, err := io.ReadFull(a.r, a.head)
	switch {
	case !bytes.HasPrefix(a.head[:n], []byte(archiveMagic)):
		return nil, errNoArchive
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errDamaged
	case err != nil:
		return nil, err
	}
	aead, check, err := archiveKey(key, a.head[:archiveHead-archiveCheck])
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(check, a.head[archiveHead-archiveCheck:]) != 1 {
		return nil, errArchiveKey
	}
	a.aead = aead
	return a, nil
}

// Read implements io.Reader.
func (a *archiveReader) Read(p []byte) (int, error) {
	for len(a.plain) == 0 && a.err == nil {
		if a.last {
			a.err = io.EOF
		} else {
			a.err = a.fill()
		}
	}
	if a.err != nil {
		return 0, a.err
	}
	n := copy(p, a.plain)
	a.plain = a.plain[n:]
	return n, nil
}

func (a *archiveReader) fill() error {
	n, err := io.ReadFull(a.r, a.box)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		a.last = true
	case err != nil:
		return err
	default:
		if _, err := a.r.Peek(1); errors.Is(err, io.EOF) {
			a.last = true
		} else if err != nil {
			return err
		}
	}
	a.plain, err = a.aead.Open(a.box[:0], a.nonce(a.last), a.box[:n], a.head)
	if err != nil {
		a.plain = nil
		return errDamaged
	}
	return nil
}
