package peers

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"html"
	"image"
	"image/png"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
)

// Content is a file with what is said about it.
type Content struct {
	Name, MIME    string
	Data          []byte
	Width, Height int
	Blurhash      string
	Thumbnail     string // where a smaller picture of it lies: a link on XMPP, an mxc URI on Matrix
	Milliseconds  int    // of sound and film
	Caption       string // said with it
}

// PNG is a picture of n by n points.
func PNG(n int) []byte {
	picture := image.NewGray(image.Rect(0, 0, n, n))
	for i := range picture.Pix {
		picture.Pix[i] = byte(i * 37)
	}
	var b bytes.Buffer
	png.Encode(&b, picture)
	return b.Bytes()
}

// Web is an HTTP client that trusts the bed's certificate and follows no redirect.
func (b *Bed) Web() (*http.Client, error) {
	certificate, err := os.ReadFile(b.Certificate())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}, nil
}

// Fetch downloads what a link names, opening it if it is an aesgcm one (XEP-0454).
func (b *Bed) Fetch(ctx context.Context, link string) (data []byte, header http.Header, err error) {
	link, fragment, _ := strings.Cut(link, "#")
	web, err := b.Web()
	if err != nil {
		return nil, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, "GET", strings.Replace(link, "aesgcm://", "https://", 1), nil)
	if err != nil {
		return nil, nil, err
	}
	answer, err := web.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	if data, err = io.ReadAll(answer.Body); err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", link, answer.Status)
	}
	if err == nil && strings.HasPrefix(link, "aesgcm:") {
		var secret []byte
		if secret, err = hex.DecodeString(fragment); err == nil && len(secret) != 44 && len(secret) != 48 {
			err = fmt.Errorf("%d bytes of key and nonce in %s", len(secret), link)
		}
		if err == nil {
			data, err = OpenGCM(secret[len(secret)-32:], secret[:len(secret)-32], data)
		}
	}
	return data, answer.Header, err
}

// OpenGCM opens a file that was sealed with AES-256-GCM, its tag at the end.
func OpenGCM(key, nonce, sealed []byte) ([]byte, error) {
	gcm, err := newGCM(key, len(nonce))
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, nonce, sealed, nil)
}

func newGCM(key []byte, nonce int) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithNonceSize(block, nonce)
}

// Upload stores a file at the server's upload service (XEP-0363) and returns its link.
func (c *XMPPClient) Upload(ctx context.Context, b *Bed, f Content) (link string, err error) {
	answer, err := c.IQ(ctx, "upload."+b.Host, "get", fmt.Sprintf("<request xmlns='urn:xmpp:http:upload:0' filename='%s' size='%d' content-type='%s'/>",
		html.EscapeString(f.Name), len(f.Data), html.EscapeString(f.MIME)))
	if err != nil {
		return "", err
	}
	var iq Element
	if err := xml.Unmarshal([]byte(answer), &iq); err != nil {
		return "", err
	}
	slots := iq.All("slot")
	if len(slots) == 0 {
		return "", fmt.Errorf("%s: no slot in %s", c.owner, answer)
	}
	put, _ := slots[0].Child("put")
	get, _ := slots[0].Child("get")
	request, err := http.NewRequestWithContext(ctx, "PUT", put.Attr("url"), bytes.NewReader(f.Data))
	if err != nil {
		return "", err
	}
	for _, header := range put.All("header") {
		request.Header.Set(header.Attr("name"), header.Text)
	}
	request.Header.Set("Content-Type", f.MIME)
	web, err := b.Web()
	if err != nil {
		return "", err
	}
	response, err := web.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("%s: uploading: %s", c.owner, response.Status)
	}
	return get.Attr("url"), nil
}

// UploadSealed is Upload of a file that is sealed with AES-256-GCM first.
func (c *XMPPClient) UploadSealed(ctx context.Context, b *Bed, f Content) (link string, key, nonce []byte, err error) {
	key, nonce = make([]byte, 32), make([]byte, 12)
	rand.Read(key)
	rand.Read(nonce)
	gcm, err := newGCM(key, len(nonce))
	if err != nil {
		return "", nil, nil, err
	}
	f.Data, f.MIME = gcm.Seal(nil, nonce, f.Data, nil), "application/octet-stream"
	link, err = c.Upload(ctx, b, f)
	return link, key, nonce, err
}

// AESGCM is the link to a sealed file as OMEMO clients put it into the body of a sealed message (XEP-0454).
func AESGCM(link string, key, nonce []byte) string {
	return strings.Replace(link, "https://", "aesgcm://", 1) + "#" + hex.EncodeToString(nonce) + hex.EncodeToString(key)
}

// OOB marks a message whose body is a link and nothing else as a file (XEP-0066).
func OOB(link string) string {
	return fmt.Sprintf("<x xmlns='%s'><url>%s</url></x>", NSOOB, html.EscapeString(link))
}

// Sharing offers a file with what is known about it (XEP-0447, XEP-0446); further elements stand in it or beside its file.
func Sharing(f Content, source string, more ...string) string {
	var about strings.Builder
	fmt.Fprintf(&about, "<media-type>%s</media-type><name>%s</name><size>%d</size>", f.MIME, html.EscapeString(f.Name), len(f.Data))
	if f.Width > 0 {
		fmt.Fprintf(&about, "<width>%d</width><height>%d</height>", f.Width, f.Height)
	}
	if f.Milliseconds > 0 {
		fmt.Fprintf(&about, "<length>%d</length>", f.Milliseconds)
	}
	sum := sha256.Sum256(f.Data)
	fmt.Fprintf(&about, "<hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>%s</hash>", base64.StdEncoding.EncodeToString(sum[:]))
	if f.Blurhash != "" {
		fmt.Fprintf(&about, "<thumbnail xmlns='urn:xmpp:thumbs:1' uri='data:image/blurhash,%s' media-type='image/blurhash' width='%d' height='%d'/>",
			html.EscapeString(percent(f.Blurhash)), f.Width, f.Height)
	}
	if f.Thumbnail != "" {
		fmt.Fprintf(&about, "<thumbnail xmlns='urn:xmpp:thumbs:1' uri='%s' media-type='image/png' width='8' height='8'/>", html.EscapeString(f.Thumbnail))
	}
	if f.Caption != "" {
		fmt.Fprintf(&about, "<desc>%s</desc>", html.EscapeString(f.Caption))
	}
	return fmt.Sprintf("<file-sharing xmlns='%s' disposition='inline'><file xmlns='urn:xmpp:file:metadata:0'>%s</file><sources>%s</sources></file-sharing>%s",
		NSSharing, &about, source, strings.Join(more, ""))
}

// percent writes what a data URI may not hold as it is.
func percent(s string) string {
	return regexp.MustCompile(`[^A-Za-z0-9._~-]`).ReplaceAllStringFunc(s, func(c string) string { return fmt.Sprintf("%%%02X", c[0]) })
}

// At is the source of a file that lies in the clear.
func At(link string) string {
	return fmt.Sprintf("<url-data xmlns='http://jabber.org/protocol/url-data' target='%s'/>", html.EscapeString(link))
}

// SealedAt is the source of a sealed file (XEP-0448).
func SealedAt(link string, key, nonce, sealed []byte) string {
	sum := sha256.Sum256(sealed)
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("<encrypted xmlns='%s' cipher='urn:xmpp:ciphers:aes-256-gcm-nopadding:0'><key>%s</key><iv>%s</iv><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>%s</hash><sources xmlns='%s'>%s</sources></encrypted>",
		NSSealed, encode(key), encode(nonce), encode(sum[:]), NSSharing, At(link))
}

// OpenSharing downloads and opens the file of an element of XEP-0447, whose source may be sealed (XEP-0448).
func (b *Bed) OpenSharing(ctx context.Context, sharing Element) ([]byte, error) {
	targets := sharing.All("url-data")
	if len(targets) == 0 {
		return nil, fmt.Errorf("no link in %+v", sharing)
	}
	data, _, err := b.Fetch(ctx, targets[0].Attr("target"))
	if err != nil || len(sharing.All("encrypted")) == 0 {
		return data, err
	}
	encrypted := sharing.All("encrypted")[0]
	secret := map[string][]byte{}
	for _, name := range []string{"key", "iv"} {
		child, _ := encrypted.Child(name)
		if secret[name], err = base64.StdEncoding.DecodeString(strings.TrimSpace(child.Text)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return OpenGCM(secret["key"], secret["iv"], data)
}

// SetPicture publishes a picture as the account's own: in its card (XEP-0054), and in the presence in a room (XEP-0153).
func (c *XMPPClient) SetPicture(ctx context.Context, room, nick string, picture []byte) error {
	_, err := c.IQ(ctx, c.JID, "set", fmt.Sprintf("<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>%s</BINVAL></PHOTO></vCard>", base64.StdEncoding.EncodeToString(picture)))
	if err != nil {
		return err
	}
	sum := sha1.Sum(picture)
	return c.Raw(ctx, fmt.Sprintf("<presence to='%s'><x xmlns='vcard-temp:x:update'><photo>%s</photo></x></presence>",
		html.EscapeString(room+"/"+nick), hex.EncodeToString(sum[:])))
}

// Picture is what somebody's card shows.
func (c *XMPPClient) Picture(ctx context.Context, jid string) ([]byte, error) {
	answer, err := c.IQ(ctx, jid, "get", "<vCard xmlns='vcard-temp'/>")
	if err != nil {
		return nil, err
	}
	var iq Element
	if err := xml.Unmarshal([]byte(answer), &iq); err != nil {
		return nil, err
	}
	values := iq.All("BINVAL")
	if len(values) == 0 {
		return nil, fmt.Errorf("%s: no picture in the card of %s", c.owner, jid)
	}
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(values[0].Text), ""))
}
