package xmppside

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"lockbridge/gateway"
)

// shared is a file that lies where those can fetch it whom it is meant for.
type shared struct {
	file   gateway.File
	at     string          // https
	cipher *gateway.Cipher // nil: it lies there as it is
	sum    []byte          // SHA-256 of the file, nil where it was not seen
	thumb  string          // where its Thumb lies; "" nowhere
}

// body is the text of the message that shares the file, all of it: clients show a file only then. A sealed one is named
// by its URL, with IV and key (XEP-0454).
func (f shared) body() string {
	if f.cipher == nil {
		return f.at
	}
	return schemeSealed + strings.TrimPrefix(f.at, "https://") + "#" + hex.EncodeToString(f.cipher.IV) + hex.EncodeToString(f.cipher.Key)
}

// beside is what stands beside the body in a message that is not sealed.
func (f shared) beside() []*node {
	return append([]*node{el(nsOOB, "x").add(el(nsOOB, "url").say(f.at))}, f.within()...)
}

// within is what stands beside the body in an envelope, or in a message that is not sealed.
func (f shared) within() []*node {
	return []*node{f.sharing(), el(nsFallback, "fallback", "for", nsSharing).add(el(nsFallback, "body"))}
}

// sharing says what the file is, and where (XEP-0446, XEP-0447, XEP-0448).
func (f shared) sharing() *node {
	disposition := "attachment"
	switch major, _, _ := strings.Cut(f.file.MIME, "/"); major {
	case "image", "video", "audio":
		disposition = "inline"
	}
	source := el(nsURLData, "url-data", "target", f.at)
	if c := f.cipher; c != nil {
		source = el(nsSealedFile, "encrypted", "cipher", cipherXEPGCM).add(
			el(nsSealedFile, "key").say(base64.StdEncoding.EncodeToString(c.Key)), el(nsSealedFile, "iv").say(base64.StdEncoding.EncodeToString(c.IV)),
			hashNode(c.Hash), el(nsSharing, "sources").add(source))
	}
	return el(nsSharing, "file-sharing", "disposition", disposition).add(f.data(), el(nsSharing, "sources").add(source))
}

func hashNode(sum []byte) *node {
	if sum == nil {
		return nil
	}
	return el(nsHashes, "hash", "algo", algorithmSHA).say(base64.StdEncoding.EncodeToString(sum))
}

// data says what the file is.
func (f shared) data() *node {
	n := el(nsFileData, "file")
	add := func(name, value string) {
		if value != "" && value != "0" {
			n.add(el(nsFileData, name).say(value))
		}
	}
	add("media-type", f.file.MIME)
	add("name", f.file.Name)
	add("size", strconv.FormatInt(f.file.Size, 10))
	add("width", strconv.Itoa(f.file.Width))
	add("height", strconv.Itoa(f.file.Height))
	add("length", strconv.FormatInt(f.file.Duration.Milliseconds(), 10))
	n.add(hashNode(f.sum))
	size := func(w, h int) []string {
		if w <= 0 || h <= 0 {
			return nil
		}
		return []string{"width", strconv.Itoa(w), "height", strconv.Itoa(h)}
	}
	if f.file.Blurhash != "" {
		n.add(el(nsThumbs, "thumbnail", append([]string{"uri", blurhashURI + escapeBlurhash(f.file.Blurhash), "media-type", blurhashType}, size(f.file.Width, f.file.Height)...)...))
	}
	if t := f.file.Thumb; t != nil && f.thumb != "" {
		n.add(el(nsThumbs, "thumbnail", append([]string{"uri", f.thumb, "media-type", t.MIME}, size(t.Width, t.Height)...)...))
	}
	return n
}

// escapeBlurhash writes a blurhash into a URI (RFC 2397): its alphabet has signs that mean something there.
func escapeBlurhash(s string) string {
	return strings.NewReplacer("%", "%25", "#", "%23", "?", "%3F", "[", "%5B", "]", "%5D", "{", "%7B", "}", "%7D", "^", "%5E", "|", "%7C").Replace(s)
}

// tagSize is how much longer a sealed file is (AES-GCM).
const tagSize = 16

// shares fills in which files can be shown.
func (s *Side) shares(caps *gateway.Caps, sealed bool) {
	caps.MaxFile, caps.Files = s.maxUpload()
	if sealed && caps.MaxFile > tagSize {
		caps.MaxFile -= tagSize
	}
}

var errNoFiles = errors.New("files are switched off")

// maxThumb is the largest thumbnail that is uploaded, in bytes.
const maxThumb = 128 << 10

// share uploads files for own, a bare JID of ours, once for all who are to fetch them. With seal they are encrypted on the
// way. Where they cannot be shared the error is Plainer: text and names still cross.
func (s *Side) share(ctx context.Context, l *link, own string, files []gateway.File, seal bool) ([]shared, error) {
	switch {
	case len(files) == 0:
		return nil, nil
	case s.deps.Media == nil:
		return nil, gateway.Plainer(errNoFiles)
	}
	out := make([]shared, len(files))
	for i, f := range files {
		if f.Public && !seal {
			out[i] = shared{file: f, at: f.URL}
			continue
		}
		var err error
		if out[i], err = s.shareOne(ctx, l, own, f, seal); err != nil {
			return nil, fmt.Errorf("share a file: %w", err)
		}
		if t := f.Thumb; t != nil && !seal && t.Size <= maxThumb { // a sealed one has its blurhash alone
			if thumb, err := s.shareOne(ctx, l, own, *t, false); err == nil {
				out[i].thumb = thumb.at
			}
		}
	}
	return out, nil
}

func (s *Side) shareOne(ctx context.Context, l *link, own string, f gateway.File, seal bool) (shared, error) {
	blob, err := s.deps.Media.Fetch(ctx, f)
	if gateway.IsDrop(err) {
		return shared{}, gateway.Plainer(err)
	} else if err != nil {
		return shared{}, err
	}
	defer blob.Close()
	f.Size, f.MIME = blob.Size(), blob.MIME()
	out := shared{file: f}
	name, mime := tellingName(f.Name, f.MIME), f.MIME
	if seal {
		if out.cipher, err = newCipher(); err != nil {
			return shared{}, err
		}
		if name, err = hiddenName(name); err != nil {
			return shared{}, err
		}
		mime = "application/octet-stream"
	}
	body, size, err := blob.Open(ctx, out.cipher)
	if err != nil {
		return shared{}, err
	}
	defer body.Close()
	sum := sha256.New()
	if out.at, err = s.upload(ctx, l, own, name, mime, size, io.TeeReader(body, sum)); err != nil {
		return shared{}, err
	}
	if seal {
		out.cipher.Hash = sum.Sum(nil)
	} else {
		out.sum = sum.Sum(nil)
	}
	return out, nil
}

// newCipher draws what one file is sealed with.
func newCipher() (*gateway.Cipher, error) {
	c := &gateway.Cipher{Name: gateway.CipherGCM256, Key: make([]byte, sealedKeySize), IV: make([]byte, sealedIVSize)}
	for _, b := range [][]byte{c.Key, c.IV} {
		if _, err := rand.Read(b); err != nil {
			return nil, fmt.Errorf("draw a file's key: %w", err)
		}
	}
	return c, nil
}

// hiddenName is what a sealed file is called where it lies: its name is content. The ending stays, for clients tell by it
// how to show the file.
func hiddenName(name string) (string, error) {
	id, err := randomID()
	ending := strings.ToLower(path.Ext(name))
	if len(ending) > 6 || strings.Trim(ending, ".abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		ending = ""
	}
	return id + ending, err
}
