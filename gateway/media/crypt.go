package media

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"io"

	"lockbridge/gateway"
)

var errForged = errors.New("the file does not open with the key that came with it, or was changed on its way")

// opener reads a ciphertext that lies in the spool.
type opener interface {
	// verify reads it whole, where the cipher authenticates, and returns the plaintext's size.
	verify(ctx context.Context, text io.ReaderAt, size int64) (plain int64, err error)
	// from returns the plaintext, which has plain bytes, from an offset on.
	from(text io.ReaderAt, plain, offset int64) io.Reader
}

// newOpener checks what a stranger says of a cipher.
func newOpener(c *gateway.Cipher) (opener, error) {
	size := 32
	if c.Name == gateway.CipherGCM128 {
		size = 16
	}
	if len(c.Key) != size {
		return nil, errors.New("the file's key has a wrong length")
	}
	if c.Hash != nil && len(c.Hash) != sha256.Size {
		return nil, errors.New("the file's hash has a wrong length")
	}
	switch c.Name {
	case gateway.CipherGCM256, gateway.CipherGCM128:
		if len(c.IV) != 12 && len(c.IV) != aes.BlockSize {
			return nil, errors.New("the file's IV has a wrong length")
		}
		return newGCM(c.Key, c.IV)
	case gateway.CipherCTR256, gateway.CipherCBC256:
		if len(c.IV) != aes.BlockSize {
			return nil, errors.New("the file's IV has a wrong length")
		}
		if c.Hash == nil {
			return nil, errors.New("the file is encrypted, and nothing says what its hash is")
		}
		block, err := aes.NewCipher(c.Key)
		if err != nil {
			return nil, fmt.Errorf("prepare AES: %w", err)
		}
		if c.Name == gateway.CipherCTR256 {
			return ctr{block, [aes.BlockSize]byte(c.IV)}, nil
		}
		return cbc{block, c.IV}, nil
	}
	return nil, errors.New("the file is encrypted in a way that is not known here")
}

func (g *gcm) verify(ctx context.Context, text io.ReaderAt, size int64) (int64, error) {
	if size < tagSize {
		return 0, errForged
	}
	tags := g.tagger()
	if err := copyAll(ctx, tags, io.NewSectionReader(text, 0, size-tagSize)); err != nil {
		return 0, err
	}
	var want [tagSize]byte
	if _, err := text.ReadAt(want[:], size-tagSize); err != nil {
		return 0, fmt.Errorf("read the spool: %w", err)
	}
	if got := tags.end(); subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return 0, errForged
	}
	return size - tagSize, nil
}

func (g *gcm) from(text io.ReaderAt, plain, offset int64) io.Reader {
	return xorReader{io.NewSectionReader(text, offset, plain-offset), g.stream(offset)}
}

// ctr is AES-CTR with a counter of 128 bits. It does not authenticate: the ciphertext's hash does.
type ctr struct {
	block cipher.Block
	iv    [aes.BlockSize]byte
}

func (ctr) verify(_ context.Context, _ io.ReaderAt, size int64) (int64, error) { return size, nil }

func (c ctr) from(text io.ReaderAt, plain, offset int64) io.Reader {
	return xorReader{io.NewSectionReader(text, offset, plain-offset), c.stream(offset)}
}

func (c ctr) stream(offset int64) cipher.Stream {
	carry := uint64(offset) / aes.BlockSize //nolint:gosec // offsets are not negative
	iv := c.iv
	for i := len(iv) - 1; i >= 0 && carry > 0; i-- {
		carry += uint64(iv[i])
		iv[i] = byte(carry)
		carry >>= 8
	}
	s := cipher.NewCTR(c.block, iv[:])
	skip := make([]byte, offset%aes.BlockSize)
	s.XORKeyStream(skip, skip)
	return s
}

// cbc is AES-CBC with the padding of PKCS #7. The ciphertext's hash was compared before, so that its padding tells
// nobody anything.
type cbc struct {
	block cipher.Block
	iv    []byte
}

func (c cbc) verify(_ context.Context, text io.ReaderAt, size int64) (int64, error) {
	if size < aes.BlockSize || size%aes.BlockSize != 0 {
		return 0, errForged
	}
	last, err := io.ReadAll(c.from(text, size, size-aes.BlockSize))
	if err != nil {
		return 0, fmt.Errorf("read the spool: %w", err)
	}
	pad := last[aes.BlockSize-1]
	if pad == 0 || pad > aes.BlockSize || !bytes.HasSuffix(last, bytes.Repeat([]byte{pad}, int(pad))) {
		return 0, errForged
	}
	return size - int64(pad), nil
}

func (c cbc) from(text io.ReaderAt, plain, offset int64) io.Reader {
	begin := offset - offset%aes.BlockSize
	end := (plain + aes.BlockSize - 1) / aes.BlockSize * aes.BlockSize
	r := &cbcReader{text: io.NewSectionReader(text, begin, end-begin), skip: int(offset - begin), left: plain - offset, buf: make([]byte, chunkSize)}
	iv := bytes.Clone(c.iv)
	if begin > 0 {
		if _, r.err = text.ReadAt(iv, begin-aes.BlockSize); r.err != nil {
			return r
		}
	}
	r.mode = cipher.NewCBCDecrypter(c.block, iv)
	return r
}

type cbcReader struct {
	text io.Reader
	mode cipher.BlockMode
	buf  []byte
	open []byte // in buf: plaintext that was not read yet
	skip int    // bytes of the first block in front of what is wanted
	left int64
	err  error
}

// Read implements io.Reader.
func (r *cbcReader) Read(p []byte) (int, error) {
	if r.left == 0 && r.err == nil {
		r.err = io.EOF
	}
	if r.err != nil {
		return 0, r.err
	}
	if len(r.open) == 0 {
		blocks := (int64(r.skip) + r.left + aes.BlockSize - 1) / aes.BlockSize
		r.open = r.buf[:min(chunkSize, blocks*aes.BlockSize)]
		if _, err := io.ReadFull(r.text, r.open); err != nil {
			r.err = fmt.Errorf("read the spool: %w", err)
			return 0, r.err
		}
		r.mode.CryptBlocks(r.open, r.open)
		r.open, r.skip = r.open[r.skip:], 0
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.open)
	r.open, r.left = r.open[n:], r.left-int64(n)
	return n, nil
}

// xorReader applies a key stream to what it reads.
type xorReader struct {
	from   io.Reader
	stream cipher.Stream
}

// Read implements io.Reader.
func (r xorReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.stream.XORKeyStream(p[:n], p[:n])
	return n, err //nolint:wrapcheck // io.EOF must stay what it is
}

// sealer encrypts what it reads with AES-GCM and ends with the tag. The result's hash stands in seal.Hash then.
type sealer struct {
	plain  io.Reader
	left   int64 // bytes of plain to come
	stream cipher.Stream
	tags   *tagger
	sum    hash.Hash
	tail   []byte // of the tag
	seal   *gateway.Cipher
	ended  bool
}

// newSealer seals size bytes of plain; seal may be nil.
func newSealer(g *gcm, plain io.Reader, size int64, seal *gateway.Cipher) *sealer {
	return &sealer{plain: plain, left: size, stream: g.stream(0), tags: g.tagger(), sum: sha256.New(), seal: seal}
}

// Read implements io.Reader. Fewer bytes than were promised are an error, and leave the file without its tag.
func (s *sealer) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if s.left > 0 {
		n, err := s.plain.Read(p[:min(int64(len(p)), s.left)])
		s.left -= int64(n)
		s.stream.XORKeyStream(p[:n], p[:n])
		s.tags.Write(p[:n]) //nolint:errcheck // it never fails
		s.sum.Write(p[:n])
		if errors.Is(err, io.EOF) {
			err = nil
			if s.left > 0 {
				err = io.ErrUnexpectedEOF
			}
		}
		return n, err //nolint:wrapcheck // of the spool, which says what it did
	}
	if !s.ended {
		tag := s.tags.end()
		s.sum.Write(tag[:])
		s.tail, s.ended = tag[:], true
		if s.seal != nil {
			s.seal.Hash = s.sum.Sum(nil)
		}
	}
	if len(s.tail) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.tail)
	s.tail = s.tail[n:]
	return n, nil
}

// copyAll copies until the end of from or of ctx.
func copyAll(ctx context.Context, to io.Writer, from io.Reader) error {
	buf := make([]byte, chunkSize)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err //nolint:wrapcheck // the writer says what it did
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
}
