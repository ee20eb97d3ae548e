package xmppside

import (
	"context"
	"encoding/base64"
	"encoding/hex"
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

// share brings files where those can fetch them whom they are meant for, by own, the bare JID of the address of ours that
// says them.
func (s *Side) share(_ context.Context, _ *link, _ string, files []gateway.File, _ bool) ([]shared, error) {
	if len(files) > 0 {
		return nil, gateway.Dropf("files are not carried to XMPP")
	}
	return nil, nil
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
