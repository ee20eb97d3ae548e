package xmppside

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lockbridge/gateway"
)

const (
	nsOOB        = "jabber:x:oob"
	nsSharing    = "urn:xmpp:sfs:0"
	nsSealedFile = "urn:xmpp:esfs:0"
	nsFileData   = "urn:xmpp:file:metadata:0"
	nsURLData    = "http://jabber.org/protocol/url-data"
	nsHashes     = "urn:xmpp:hashes:2"
	nsThumbs     = "urn:xmpp:thumbs:1"
	nsStickers   = "urn:xmpp:stickers:0"

	schemeSealed   = "aesgcm://"
	blurhashURI    = "data:image/blurhash,"
	blurhashType   = "image/blurhash"
	algorithmSHA   = "sha-256"
	maxFileName    = 64      // runes, as gateway.CleanName cuts
	maxURL         = 4 << 10 // bytes
	maxSide        = 1 << 20 // pixels
	maxPlayed      = 1000 * time.Hour
	maxThumbnails  = 8 // of a file, that are looked at
	cipherPrefix   = "urn:xmpp:ciphers:"
	cipherXEPGCM   = cipherPrefix + "aes-256-gcm-nopadding:0"
	cipherXEPGCM8  = cipherPrefix + "aes-128-gcm-nopadding:0"
	cipherXEPCBC   = cipherPrefix + "aes-256-cbc-pkcs7:0"
	sealedKeySize  = 32
	sealedIVSize   = 12
	sealedIVLonger = 16 // as old clients draw it
)

// decodeFiles reads the files that a message shares, and returns what of its body is not there for them alone: a caption.
// n is the stanza of a message that was not sealed, or what its envelope holds; nil where nothing but the body was sealed,
// for anybody may have written the rest. public: it came in the clear, in a room where content may.
func decodeFiles(n *node, body string, public bool) (files []gateway.File, rest string) {
	rest = body
	var captions, urls []string
	for _, sharing := range n.all(nsSharing, "file-sharing") {
		f, sources, caption, ok := decodeSharing(sharing)
		if urls = append(urls, sources...); ok && len(files) < gateway.MaxFiles {
			files, captions = append(files, f), append(captions, caption)
		}
	}
	if len(files) > 0 {
		rest = withoutSharing(n, rest)
		files[0].Sticker = n.child(nsStickers, "sticker") != nil
	}
	for _, x := range n.all(nsOOB, "x") {
		at := strings.TrimSpace(x.child(nsOOB, "url").said())
		if f, ok := fileAt(at); ok && !slices.Contains(urls, at) && len(urls) == 0 && len(files) < gateway.MaxFiles {
			files, captions = append(files, f), append(captions, x.child(nsOOB, "desc").said())
			if strings.TrimSpace(rest) == at {
				rest = ""
			}
		}
	}
	if f, ok := decodeAESGCM(rest); ok {
		if rest = ""; len(files) == 0 {
			files, captions = append(files, f), append(captions, "")
		}
	}
	if slices.Contains(urls, strings.TrimSpace(rest)) {
		rest = ""
	}
	for i := range files {
		files[i].Public = public && files[i].Cipher == nil && strings.HasPrefix(files[i].URL, "https://")
		if rest == "" {
			rest = gateway.Shorten(gateway.Clean(captions[i]), gateway.MaxText)
		}
	}
	return files, rest
}

// withoutSharing takes out of a body what stands there for clients that do not know XEP-0447, as XEP-0428 marks it.
func withoutSharing(n *node, body string) string {
	for _, f := range fallbacksOf(n) {
		if f.get("for") != nsSharing {
			continue
		}
		ranges := f.all(nsFallback, "body")
		if len(ranges) == 0 || ranges[0].get("start") == "" && ranges[0].get("end") == "" {
			return ""
		}
		if start, end, ok := fallbackRange(ranges[0], pointsOf(body)); ok {
			return body[:start] + body[end:]
		}
	}
	return body
}

// said is the element's text; "" of none.
func (n *node) said() string {
	if n == nil {
		return ""
	}
	return n.text
}

// fileAt is the file at a URL of which nothing else is known.
func fileAt(at string) (gateway.File, bool) {
	u, err := url.Parse(at)
	if err != nil || len(at) > maxURL || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || !isASCII(u.Host) || u.User != nil {
		return gateway.File{}, false
	}
	if at = u.String(); !isASCII(at) { // what is shown of it must be what it is
		return gateway.File{}, false
	}
	name := fileName(path.Base(u.Path))
	return gateway.File{Name: name, MIME: typeOf(name), URL: at}, true
}

// decodeAESGCM reads the text of a message that is nothing but an encrypted file (XEP-0454): its URL, with IV and key
// behind the number sign, and perhaps a line with a thumbnail, which is not read.
func decodeAESGCM(text string) (gateway.File, bool) {
	line, more, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if len(line) < len(schemeSealed) || !strings.EqualFold(line[:len(schemeSealed)], schemeSealed) ||
		more != "" && (!strings.HasPrefix(more, "data:") || strings.ContainsAny(more, " \n")) {
		return gateway.File{}, false
	}
	at, secret, _ := strings.Cut(strings.TrimSpace(line), "#")
	raw, err := hex.DecodeString(secret)
	ivSize := len(raw) - sealedKeySize
	if err != nil || ivSize != sealedIVSize && ivSize != sealedIVLonger || strings.ContainsAny(at, " \t") {
		return gateway.File{}, false
	}
	f, ok := fileAt("https://" + at[len(schemeSealed):])
	f.Cipher = &gateway.Cipher{Name: gateway.CipherGCM256, IV: raw[:ivSize:ivSize], Key: raw[ivSize:]}
	return f, ok
}

// decodeSharing reads a shared file (XEP-0447), sealed (XEP-0448) or not. sources are the URLs that it names; ok is false
// if none of them can be fetched.
func decodeSharing(sharing *node) (f gateway.File, sources []string, caption string, ok bool) {
	f, caption = decodeFileData(sharing.child(nsFileData, "file"))
	from := sharing.child(nsSharing, "sources")
	if sealed := from.child(nsSealedFile, "encrypted"); sealed != nil {
		if f.Cipher = decodeCipher(sealed); f.Cipher == nil {
			return f, nil, caption, false
		}
		from = sealed.child(nsSharing, "sources")
	}
	for _, data := range from.all(nsURLData, "url-data") {
		at := strings.TrimSpace(data.get("target"))
		g, fetchable := fileAt(at)
		sources = append(sources, at)
		if ok || !fetchable {
			continue
		}
		f.URL, ok = g.URL, true
		if f.Name == "" {
			f.Name = g.Name
		}
		if f.MIME == "" {
			f.MIME = typeOf(f.Name)
		}
	}
	return f, sources, caption, ok
}

// decodeCipher reads how a file is sealed; nil where it cannot be opened.
func decodeCipher(sealed *node) *gateway.Cipher {
	c := &gateway.Cipher{Key: decodeBase64(sealed.child(nsSealedFile, "key")), IV: decodeBase64(sealed.child(nsSealedFile, "iv"))}
	for _, h := range sealed.all(nsHashes, "hash") {
		if sum := decodeBase64(h); h.get("algo") == algorithmSHA && len(sum) == sha256.Size {
			c.Hash = sum
		}
	}
	keySize, ivFits := sealedKeySize, len(c.IV) == sealedIVSize || len(c.IV) == sealedIVLonger
	switch sealed.get("cipher") {
	case cipherXEPGCM:
		c.Name = gateway.CipherGCM256
	case cipherXEPGCM8:
		c.Name, keySize = gateway.CipherGCM128, sealedKeySize/2
	case cipherXEPCBC:
		c.Name, ivFits = gateway.CipherCBC256, len(c.IV) == sealedIVLonger && c.Hash != nil
	default:
		return nil
	}
	if len(c.Key) != keySize || !ivFits {
		return nil
	}
	return c
}

func decodeBase64(n *node) []byte {
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.said()), ""))
	if err != nil {
		return nil
	}
	return b
}

// decodeFileData reads what a file is said to be (XEP-0446); caption is its description.
func decodeFileData(n *node) (f gateway.File, caption string) {
	number := func(name string, most int64) int64 {
		v, err := strconv.ParseInt(strings.TrimSpace(n.child(nsFileData, name).said()), 10, 64)
		if err != nil || v < 0 || v > most {
			return 0
		}
		return v
	}
	f.MIME = cleanType(n.child(nsFileData, "media-type").said())
	if name := n.child(nsFileData, "name").said(); name != "" {
		f.Name = fileName(name)
	}
	f.Size = number("size", 1<<62)
	f.Width, f.Height = int(number("width", maxSide)), int(number("height", maxSide))
	if w, h, ok := strings.Cut(n.child(nsFileData, "dimensions").said(), "x"); ok && f.Width == 0 && f.Height == 0 {
		f.Width, f.Height = pixels(w), pixels(h)
	}
	f.Duration = time.Duration(number("length", maxPlayed.Milliseconds())) * time.Millisecond
	for i, thumb := range n.all(nsThumbs, "thumbnail") {
		if i < maxThumbnails {
			decodeThumbnail(&f, thumb)
		}
	}
	return f, n.child(nsFileData, "desc").said()
}

func pixels(s string) int {
	v, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || v < 0 || v > maxSide {
		return 0
	}
	return v
}

// decodeThumbnail reads a thumbnail (XEP-0264): a blurhash, or a picture to be fetched.
func decodeThumbnail(f *gateway.File, n *node) {
	at := n.get("uri")
	if hash, ok := strings.CutPrefix(at, blurhashURI); ok {
		if plain, err := url.PathUnescape(hash); err == nil && len(plain) <= gateway.MaxBlurhash && isASCII(plain) {
			f.Blurhash = plain
		}
		return
	}
	thumb, ok := fileAt(at)
	if !ok || f.Thumb != nil {
		return
	}
	thumb.MIME = cleanType(n.get("media-type"))
	thumb.Width, thumb.Height = pixels(n.get("width")), pixels(n.get("height"))
	f.Thumb = &thumb
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7F }) < 0
}

// tellingName gives a name the ending by which clients see that it is a picture, sound or film, where it has none that says so:
// stickers are called "thumbs up".
func tellingName(name, mime string) string {
	major, _, _ := strings.Cut(mime, "/")
	usual, _, _ := strings.Cut(endings()[mime], " ")
	if usual == "" || major != "image" && major != "audio" && major != "video" || typeOf(name) != "" {
		return name
	}
	return cmp.Or(name, "file") + "." + usual
}

// cleanType is a media type without parameters, or "" if it is none.
func cleanType(s string) string {
	s, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(s)), ";")
	major, minor, ok := strings.Cut(strings.TrimSpace(s), "/")
	legal := func(r rune) bool { return r < 'a' || r > 'z' } // of what is no letter
	if !ok || len(s) > 100 || major == "" || minor == "" || strings.IndexFunc(major, legal) >= 0 ||
		strings.IndexFunc(minor, func(r rune) bool { return legal(r) && (r < '0' || r > '9') && !strings.ContainsRune("+-._", r) }) >= 0 {
		return ""
	}
	return major + "/" + minor
}

// fileName makes a name fit for one line, without a path. One that is too long keeps its ending.
func fileName(s string) string {
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	ending := gateway.CleanName(path.Ext(s))
	if utf8.RuneCountInString(ending) > 10 {
		ending = ""
	}
	s = gateway.CleanName(s)
	if long := []rune(strings.TrimSuffix(s, ending)); len(long)+utf8.RuneCountInString(ending) >= maxFileName {
		s = strings.TrimSpace(string(long[:min(len(long), maxFileName-utf8.RuneCountInString(ending))])) + ending
	}
	if strings.Trim(s, ".") == "" {
		return "file"
	}
	return s
}

// endings are the endings of names by what they promise, the usual one first.
func endings() map[string]string {
	return map[string]string{
		"image/png": "png", "image/jpeg": "jpg jpeg jpe", "image/gif": "gif", "image/webp": "webp", "image/avif": "avif", "image/heic": "heic",
		"audio/mp4": "m4a", "audio/ogg": "ogg oga opus", "audio/mpeg": "mp3", "audio/aac": "aac", "audio/flac": "flac", "audio/wav": "wav", "audio/amr": "amr",
		"video/mp4": "mp4 m4v", "video/webm": "webm", "video/quicktime": "mov", "video/x-matroska": "mkv", "video/3gpp": "3gp",
		"application/pdf": "pdf", "text/plain": "txt", "application/zip": "zip",
	}
}

// typeOf is the media type that a name's ending promises; "" where it promises none.
func typeOf(name string) string {
	ending := strings.ToLower(strings.TrimPrefix(path.Ext(name), "."))
	for kind, endings := range endings() {
		if ending != "" && slices.Contains(strings.Fields(endings), ending) {
			return kind
		}
	}
	return ""
}
