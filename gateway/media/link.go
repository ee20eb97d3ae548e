package media

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"lockbridge/gateway"
)

const (
	rowSize   = 8
	macSize   = 12
	tokenSize = rowSize + 4 + macSize // 32 characters
	// maxLinkName bounds the name of a file in its link, in bytes.
	maxLinkName = 48
)

// shelved is what lies behind a link: a file, or a text.
type shelved struct {
	File *gateway.File `json:"file,omitempty"`
	Name string        `json:"name,omitempty"`
	Text string        `json:"text,omitempty"`
}

// Link implements gateway.Media.
func (m *Media) Link(ctx context.Context, of gateway.Origin, f gateway.File) (string, error) {
	if u, err := url.Parse(f.URL); err == nil && f.Public && f.Cipher == nil && u.Scheme == "https" && u.User == nil {
		return u.String(), nil
	}
	if f.URL == "" || f.Size > m.maxSize { // nothing could be fetched for who follows it
		return "", nil
	}
	// Only what the route needs lies there.
	row := gateway.File{Name: f.Name, MIME: f.MIME, Size: f.Size, URL: f.URL, Cipher: f.Cipher, Network: f.Network}
	return m.link(ctx, of, f.Name, shelved{File: &row})
}

// Paste implements gateway.Media.
func (m *Media) Paste(ctx context.Context, of gateway.Origin, name, text string) (string, error) {
	return m.link(ctx, of, name, shelved{Name: name, Text: text})
}

func (m *Media) link(ctx context.Context, of gateway.Origin, name string, what shelved) (string, error) {
	if m.base == nil {
		return "", nil
	}
	data, err := json.Marshal(what)
	if err != nil {
		return "", fmt.Errorf("make a link: %w", err)
	}
	row := [rowSize]byte(m.sign("row\x00" + of.Key))
	until, err := m.shelf.PutLink(ctx, row, of.Events, data, m.now().Add(m.links))
	if err != nil {
		return "", fmt.Errorf("make a link: %w", err)
	}
	if until.IsZero() {
		return "", nil
	}
	return m.base.String() + "/m/" + m.token(row, until) + "/" + url.PathEscape(linkName(name)), nil
}

func (m *Media) sign(what string) []byte {
	h := hmac.New(sha256.New, m.key)
	h.Write([]byte(what))
	return h.Sum(nil)
}

// token names a row and says when it ends: what the signature covers is all that a visitor brings.
func (m *Media) token(row [rowSize]byte, until time.Time) string {
	t := binary.BigEndian.AppendUint32(append(make([]byte, 0, tokenSize), row[:]...), uint32(until.Unix())) //nolint:gosec // good until 2106
	t = append(t, m.sign("token\x00" + string(t))[:macSize]...)
	return base64.RawURLEncoding.EncodeToString(t)
}

// row checks a token; false: it is forged, or its time is over.
func (m *Media) row(token string) (row [rowSize]byte, good bool) {
	t, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(t) != tokenSize {
		return row, false
	}
	signed, mac := t[:tokenSize-macSize], t[tokenSize-macSize:]
	if !hmac.Equal(mac, m.sign("token\x00" + string(signed))[:macSize]) {
		return row, false
	}
	until := time.Unix(int64(binary.BigEndian.Uint32(signed[rowSize:])), 0)
	return [rowSize]byte(signed), m.now().Before(until)
}

// linkName is a file's name as links and saved files have it: no path, one line, short, its extension kept. It is there
// for people: the route does not look at it.
func linkName(name string) string {
	extension := path.Ext(name)
	if len(extension) > 8 {
		extension = ""
	}
	name = plainName(strings.TrimSuffix(name, extension))
	extension = plainName(extension)
	if room := maxLinkName - len(extension); len(name) > room {
		name = strings.TrimSuffix(gateway.Shorten(name, room), "…")
	}
	name = strings.TrimLeft(name+extension, ". ")
	if name == "" {
		return "file"
	}
	return name
}

func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\<>:"|?*`, r) {
			return '_'
		}
		return r
	}, gateway.CleanName(s))
}
