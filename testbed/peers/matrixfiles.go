package peers

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// Upload stores data in the homeserver's media repository and returns its mxc URI.
func (m *Matrix) Upload(ctx context.Context, name, mime string, data []byte) (uri string, err error) {
	request, err := http.NewRequestWithContext(ctx, "POST", m.base+"/_matrix/media/v3/upload?filename="+url.QueryEscape(name), bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+m.token)
	request.Header.Set("Content-Type", mime)
	response, err := m.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("uploading %s: %s: %s: %w", name, response.Status, text, err)
	}
	var answer struct {
		URI string `json:"content_uri"`
	}
	err = json.Unmarshal(text, &answer)
	return answer.URI, err
}

// Download fetches what an mxc URI names, with our access token (Client-Server API 1.11).
func (m *Matrix) Download(ctx context.Context, uri string) (data []byte, mime string, err error) {
	place, ok := strings.CutPrefix(uri, "mxc://")
	if !ok {
		return nil, "", fmt.Errorf("%q is no mxc URI", uri)
	}
	request, err := http.NewRequestWithContext(ctx, "GET", m.base+"/_matrix/client/v1/media/download/"+place, nil)
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Authorization", "Bearer "+m.token)
	response, err := m.client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	data, err = io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("downloading %s: %s", uri, response.Status)
	}
	return data, response.Header.Get("Content-Type"), err
}

// MatrixFile says how a file is sent.
type MatrixFile struct {
	Content
	Encrypted bool           // as clients do in encrypted rooms: the homeserver sees noise
	Kind      string         // msgtype, or m.sticker; "": by the MIME type
	More      map[string]any // further content: a relation, voice
}

// Voice is what clients add to a recording (MSC 3245).
func Voice(milliseconds int, waveform ...int) map[string]any {
	return map[string]any{"org.matrix.msc3245.voice": map[string]any{}, "org.matrix.msc1767.audio": map[string]any{"duration": milliseconds, "waveform": waveform}}
}

// SendFile uploads a file and sends the message with it.
func (m *Matrix) SendFile(ctx context.Context, room string, f MatrixFile) (event string, err error) {
	info := map[string]any{"mimetype": f.MIME, "size": len(f.Data)}
	for name, n := range map[string]int{"w": f.Width, "h": f.Height, "duration": f.Milliseconds} {
		if n > 0 {
			info[name] = n
		}
	}
	if f.Blurhash != "" {
		info["xyz.amorgan.blurhash"] = f.Blurhash
	}
	if f.Thumbnail != "" {
		info["thumbnail_url"], info["thumbnail_info"] = f.Thumbnail, map[string]any{"mimetype": "image/png", "w": 8, "h": 8}
	}
	content := map[string]any{"body": f.Name, "filename": f.Name, "info": info}
	if f.Caption != "" {
		content["body"] = f.Caption
	}
	if f.Encrypted {
		content["file"], err = m.uploadSealed(ctx, f.Data)
	} else {
		content["url"], err = m.Upload(ctx, f.Name, f.MIME, f.Data)
	}
	if err != nil {
		return "", err
	}
	maps.Copy(content, f.More)
	if f.Kind == "m.sticker" {
		return m.Send(ctx, room, "m.sticker", content)
	}
	content["msgtype"] = f.Kind
	if f.Kind == "" {
		major, _, _ := strings.Cut(f.MIME, "/")
		content["msgtype"] = "m.file"
		if major == "image" || major == "audio" || major == "video" {
			content["msgtype"] = "m." + major
		}
	}
	return m.SaySome(ctx, room, content)
}

// uploadSealed uploads an encrypted attachment (Client-Server API, 11.12.1.6) and returns its "file".
func (m *Matrix) uploadSealed(ctx context.Context, data []byte) (map[string]any, error) {
	key, iv := make([]byte, 32), make([]byte, 16)
	rand.Read(key)
	rand.Read(iv[:8])
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, len(data))
	cipher.NewCTR(block, iv).XORKeyStream(sealed, data)
	uri, err := m.Upload(ctx, "", "application/octet-stream", sealed)
	sum := sha256.Sum256(sealed)
	raw := base64.RawStdEncoding.EncodeToString
	return map[string]any{"url": uri, "v": "v2", "iv": raw(iv), "hashes": map[string]string{"sha256": raw(sum[:])},
		"key": map[string]any{"kty": "oct", "alg": "A256CTR", "ext": true, "key_ops": []string{"encrypt", "decrypt"}, "k": base64.RawURLEncoding.EncodeToString(key)}}, err
}

// Open downloads the file of a message.
func (m *Matrix) Open(ctx context.Context, e MatrixEvent) (data []byte, err error) {
	if e.Value("url") == "" {
		return nil, errors.New("the message has no plain file: " + e.String())
	}
	data, _, err = m.Download(ctx, e.Value("url"))
	return data, err
}

// AwaitFile waits for a file of that name by somebody else.
func (m *Matrix) AwaitFile(ctx context.Context, room, name string) (MatrixEvent, error) {
	return m.Await(ctx, "the file "+name, func(e MatrixEvent) bool {
		return e.Room == room && e.Sender != m.UserID && e.Get("info") != nil && (e.Value("filename") == name || e.Value("filename") == "" && e.Text() == name)
	})
}

// SetPicture sets the picture that others see.
func (m *Matrix) SetPicture(ctx context.Context, png []byte) error {
	uri, err := m.Upload(ctx, "me.png", "image/png", png)
	if err != nil {
		return err
	}
	return m.call(ctx, "PUT", "/_matrix/client/v3/profile/"+url.PathEscape(m.UserID)+"/avatar_url", map[string]any{"avatar_url": uri}, nil)
}

// Profile returns a user's name and the URI of their picture.
func (m *Matrix) Profile(ctx context.Context, user string) (name, picture string, err error) {
	var answer struct {
		Name    string `json:"displayname"`
		Picture string `json:"avatar_url"`
	}
	err = m.call(ctx, "GET", "/_matrix/client/v3/profile/"+url.PathEscape(user), nil, &answer)
	return answer.Name, answer.Picture, err
}
