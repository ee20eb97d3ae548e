package media_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
	"lockbridge/gateway/media/mediatest"
)

const base = "https://media.example.org"

// visit asks a process for a link, with headers as name, value pairs.
func visit(m *media.Media, method, link string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, strings.TrimPrefix(link, "https://media.example.org"), nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	return w
}

func from(key string, events ...gateway.ID) gateway.Origin {
	return gateway.Origin{Key: key, Events: events}
}

func TestLinks(t *testing.T) {
	plain := []byte(strings.Repeat("0123456789", 20_000))
	c, sealedText := sealed(t, plain)
	m := mediatest.New(t, mediatest.Options{URL: base + "/", Sources: map[string]media.Source{"m": holds(sealedText)}})
	link, err := m.Link(t.Context(), from("k/0"), gateway.File{Name: "Grüße aus Mantua.txt", MIME: "text/plain", Network: "m", URL: "mxc:x", Cipher: c})
	must(t, err)
	if !strings.HasPrefix(link, base+"/m/") || !strings.HasSuffix(link, "/Gr%C3%BC%C3%9Fe%20aus%20Mantua.txt") || strings.ContainsAny(link, " \n<>") {
		t.Errorf("the link is %s", link)
	}
	r := visit(m, http.MethodGet, link)
	if got := r.Body.String(); r.Code != http.StatusOK || got != string(plain) {
		t.Errorf("GET: %d, %d bytes", r.Code, len(got))
	}
	for name, want := range map[string]string{
		"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
		"Cache-Control": "private", "Referrer-Policy": "no-referrer", "Content-Length": "200000", "Accept-Ranges": "bytes",
	} {
		if got := r.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if way, p, err := mime.ParseMediaType(r.Header().Get("Content-Disposition")); err != nil || way != "inline" || p["filename"] != "Grüße aus Mantua.txt" {
		t.Errorf("Content-Disposition: %q", r.Header().Get("Content-Disposition"))
	}
	if r := visit(m, http.MethodHead, link); r.Code != http.StatusOK || r.Body.String() != "" || r.Header().Get("Content-Length") != "200000" {
		t.Errorf("HEAD: %d, %v", r.Code, r.Header())
	}
	for _, test := range []struct {
		ask, want string
		code      int
	}{
		{"bytes=3-7", "34567", 206}, {"bytes=-3", "789", 206}, {"bytes=199995-", "56789", 206}, {"bytes=65537-65540", "7890", 206},
		{"bytes=200000-", "", 416}, {"bytes=5-3", "", 416}, {"pages=1-2", "", 416}, {"bytes=99999999999999999999-", "", 416},
	} {
		if r := visit(m, http.MethodGet, link, "Range", test.ask); r.Code != test.code || test.code == 206 && r.Body.String() != test.want {
			t.Errorf("Range %s: %d", test.ask, r.Code)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if r := visit(m, method, link); r.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, r.Code)
		}
	}
	again, err := m.Link(t.Context(), from("k/0"), gateway.File{Name: "Grüße aus Mantua.txt", Network: "m", URL: "mxc:x"})
	if err != nil || again != link {
		t.Errorf("a repetition: %s, %v", again, err)
	}
	if other, err := m.Link(t.Context(), from("k/1"), gateway.File{Name: "Grüße aus Mantua.txt", Network: "m", URL: "mxc:x"}); err != nil || other == link {
		t.Errorf("another file: %s, %v", other, err)
	}
}

func TestLinksThatNeedNoRow(t *testing.T) {
	shelf := mediatest.NewShelf()
	without, with := mediatest.New(t, mediatest.Options{Shelf: shelf}), mediatest.New(t, mediatest.Options{Shelf: shelf, URL: base})
	public := gateway.File{URL: "https://files.example/x.png", Public: true}
	for _, m := range []*media.Media{without, with} {
		if link, err := m.Link(t.Context(), from("k"), public); err != nil || link != public.URL {
			t.Errorf("a public file: %q, %v", link, err)
		}
	}
	odd := gateway.File{URL: "https://files.example/a b\u202e.png", Public: true}
	if link, err := with.Link(t.Context(), from("k"), odd); err != nil || link != "https://files.example/a%20b%E2%80%AE.png" {
		t.Errorf("a public file with an odd name: %q, %v", link, err)
	}
	for _, m := range []*media.Media{without, with} {
		large := gateway.File{URL: "mxc://example.org/x", Size: 2 << 20}
		if link, err := m.Link(t.Context(), from("k"), large); err != nil || link != "" {
			t.Errorf("a file that is too large: %q, %v", link, err)
		}
		large.URL, large.Public = public.URL, true
		if link, err := m.Link(t.Context(), from("k"), large); err != nil || link != public.URL {
			t.Errorf("one that is public: %q, %v", link, err)
		}
	}
	encrypted := public
	encrypted.Cipher = &gateway.Cipher{Name: gateway.CipherGCM256}
	if link, err := with.Link(t.Context(), from("k"), encrypted); err != nil || link == public.URL || link == "" {
		t.Errorf("a file with a key is never public: %q, %v", link, err)
	}
	if link, err := without.Link(t.Context(), from("k"), encrypted); err != nil || link != "" {
		t.Errorf("without a route: %q, %v", link, err)
	}
	if link, err := without.Paste(t.Context(), from("k"), "x", "text"); err != nil || link != "" {
		t.Errorf("a text without a route: %q, %v", link, err)
	}
	if link, err := with.Link(t.Context(), from("k"), gateway.File{Name: "x"}); err != nil || link != "" {
		t.Errorf("a file that is nowhere: %q, %v", link, err)
	}
	if r := visit(without, http.MethodGet, "/m/x/y"); r.Code != http.StatusNotFound {
		t.Errorf("a process without a route answers %d", r.Code)
	}
}

// Two processes with one store make the same links, and serve each other's; one with another key serves none of them.
func TestProcessesShareLinks(t *testing.T) {
	shelf, now := mediatest.NewShelf(), clock{at: time.Unix(1e9, 0)}
	options := mediatest.Options{Shelf: shelf, URL: base, Now: now.now}
	one, two := mediatest.New(t, options), mediatest.New(t, options)
	options.Key = 7
	stranger := mediatest.New(t, options)
	link, err := one.Paste(t.Context(), from("k/0"), "message.txt", "a long text")
	must(t, err)
	now.pass(time.Hour)
	again, err := two.Paste(t.Context(), from("k/0"), "message.txt", "a long text")
	if err != nil || again != link {
		t.Errorf("the other process makes %s, %v; want %s", again, err, link)
	}
	if r := visit(two, http.MethodGet, link); r.Code != http.StatusOK || r.Body.String() != "a long text" {
		t.Errorf("the other process answers %d", r.Code)
	}
	if r := visit(stranger, http.MethodGet, link); r.Code != http.StatusNotFound {
		t.Errorf("a process with another key answers %d", r.Code)
	}
}

func TestLinksEnd(t *testing.T) {
	shelf, now := mediatest.NewShelf(), clock{at: time.Unix(1e9, 0)}
	m := mediatest.New(t, mediatest.Options{Shelf: shelf, URL: base, Now: now.now})
	mine, yours := gateway.ID{1}, gateway.ID{2}
	both, err := m.Paste(t.Context(), from("k/0", mine, yours), "x.txt", "of both")
	must(t, err)
	other, err := m.Paste(t.Context(), from("k/1", mine), "x.txt", "mine")
	must(t, err)
	status := func(link string) int { return visit(m, http.MethodGet, link).Code }
	shelf.Retract(yours)
	if status(both) != http.StatusNotFound || status(other) != http.StatusOK {
		t.Errorf("after a retraction: %d and %d", status(both), status(other))
	}
	if link, err := m.Paste(t.Context(), from("k/2", yours), "x.txt", "again"); err != nil || link != "" {
		t.Errorf("a link to what was retracted: %q, %v", link, err)
	}
	now.pass(7*24*time.Hour - time.Second)
	if status(other) != http.StatusOK {
		t.Error("the link ended early")
	}
	now.pass(2 * time.Second)
	asked := shelf.Asked()
	if status(other) != http.StatusNotFound || shelf.Asked() != asked {
		t.Error("the link did not end, or the store was asked for it")
	}
}

// Whatever a token is, the answer to a wrong one is the same, and the store hears nothing of it.
func TestForgedTokens(t *testing.T) {
	shelf := mediatest.NewShelf()
	m := mediatest.New(t, mediatest.Options{Shelf: shelf, URL: base + "/files"})
	one, err := m.Paste(t.Context(), from("k/0"), "x", "one")
	must(t, err)
	two, err := m.Paste(t.Context(), from("k/1"), "x", "two")
	must(t, err)
	token := strings.Split(one, "/")[5]
	if len(token) != 32 || !strings.HasPrefix(one, base+"/files/m/") {
		t.Fatalf("the link is %s", one)
	}
	forged := []string{"", "x", strings.Repeat("A", 32), token[:31], token + "A", token[:10] + strings.Split(two, "/")[5][10:], strings.ToUpper(token), "../../etc/passwd", "%00", token[:31] + "="}
	for i := range token {
		for _, c := range "AZ_" {
			if b := []byte(token); b[i] != byte(c) {
				b[i] = byte(c)
				forged = append(forged, string(b))
			}
		}
	}
	want := ""
	for i, f := range forged {
		r := visit(m, http.MethodGet, "/files/m/"+f+"/x")
		body := r.Body.String()
		if i == 1 {
			want = body
		}
		if r.Code/100 == 3 && strings.Contains(f, "..") || f == "" { // the path is cleaned, and is no link any more
			continue
		}
		if r.Code != http.StatusNotFound || i > 1 && body != want {
			t.Errorf("%q: %d, %q", f, r.Code, body)
		}
	}
	if shelf.Asked() > 0 {
		t.Errorf("the store was asked %d times", shelf.Asked())
	}
	if r := visit(m, http.MethodGet, strings.Replace(one, "/x", "/another-name", 1)); r.Code != http.StatusOK {
		t.Errorf("the name does not matter: %d", r.Code)
	}
}

// What a browser could run under our name is given out as nothing in particular, to be saved.
func TestNothingRunsUnderOurName(t *testing.T) {
	svg, html := `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`, "<html><script>alert(1)</script>"
	for _, test := range []struct{ said, content, kind, way string }{
		{"image/svg+xml", svg, "application/octet-stream", "attachment"},
		{"text/html", html, "application/octet-stream", "attachment"},
		{"image/png", html, "application/octet-stream", "attachment"},
		{"image/png", "<?xml version='1.0'?>" + svg, "application/octet-stream", "attachment"},
		{"application/xhtml+xml", "\x00\x01", "application/octet-stream", "attachment"},
		{"text/javascript", "alert(1)", "application/octet-stream", "attachment"},
		{"text/xsl", "x", "text/xsl", "attachment"},
		{"application/pdf", "%PDF-1.7", "application/pdf", "attachment"},
		{"text/plain", html, "text/plain; charset=utf-8", "inline"},
		{"text/plain; charset=utf-7", "+ADw-script+AD4-", "text/plain; charset=utf-8", "inline"},
		{"image/png", "\x89PNG\x0D\x0A\x1A\x0A", "image/png", "inline"},
		{"video/mp4\r\nX: y", "\x00\x01", "application/octet-stream", "attachment"},
	} {
		m := mediatest.New(t, mediatest.Options{URL: base, Sources: map[string]media.Source{"m": holds([]byte(test.content))}})
		link, err := m.Link(t.Context(), from("k"), gateway.File{Name: "x", MIME: test.said, Network: "m", URL: "mxc:x"})
		must(t, err)
		r := visit(m, http.MethodGet, link)
		way, _, _ := strings.Cut(r.Header().Get("Content-Disposition"), ";")
		if r.Code != http.StatusOK || r.Header().Get("Content-Type") != test.kind || way != test.way {
			t.Errorf("%q of %q: %d, %q, %q", test.content, test.said, r.Code, r.Header().Get("Content-Type"), way)
		}
	}
}

func TestNamesInLinks(t *testing.T) {
	m := mediatest.New(t, mediatest.Options{URL: base, Sources: map[string]media.Source{"m": holds(nil)}})
	for name, want := range map[string]string{
		"../../x": "_.._x", "": "file", "...": "file", "a/b\\c": "a_b_c", "x\r\nSet-Cookie: y": "x Set-Cookie_ y", "\u202egpj.exe": "gpj.exe",
		strings.Repeat("long", 1000) + ".jpeg": strings.Repeat("long", 10) + ".jpeg", "a b?c#d%.png": "a b_c#d%.png", ".htaccess": "htaccess", strings.Repeat("ü", 4000): strings.Repeat("ü", 22),
	} {
		link, err := m.Link(t.Context(), from(name), gateway.File{Name: name, Network: "m", URL: "mxc:x"})
		must(t, err)
		r := visit(m, http.MethodGet, link)
		_, p, err := mime.ParseMediaType(r.Header().Get("Content-Disposition"))
		if err != nil || r.Code != http.StatusOK || p["filename"] != want || strings.Count(link, "/") != 5 || len(link) > 250 || r.Header().Get("Set-Cookie") != "" {
			t.Errorf("%.20q: %d gives %s, %q, %v", name, r.Code, link, p["filename"], err)
		}
	}
}

func TestFilesBehindLinksThatAreGone(t *testing.T) {
	var fails error
	src := source(func(context.Context, string) (io.ReadCloser, int64, error) { return nil, 0, fails })
	m := mediatest.New(t, mediatest.Options{URL: base, Sources: map[string]media.Source{"m": src}})
	link, err := m.Link(t.Context(), from("k"), gateway.File{Network: "m", URL: "mxc:x"})
	must(t, err)
	for code, why := range map[int]error{http.StatusNotFound: gateway.Dropf("gone"), http.StatusServiceUnavailable: errors.New("away")} {
		fails = why
		if r := visit(m, http.MethodGet, link); r.Code != code || strings.Contains(r.Body.String(), why.Error()) {
			t.Errorf("%v: %d", why, r.Code)
		}
	}
}

func TestPictures(t *testing.T) {
	m := mediatest.New(t, mediatest.Options{})
	for want, image := range map[string]string{"image/png": "\x89PNG\x0D\x0A\x1A\x0Ax", "image/jpeg": "\xFF\xD8\xFFx", "image/gif": "GIF89ax", "image/webp": "RIFFxxxxWEBPVP8 "} {
		ref, err := m.Keep(t.Context(), []byte(image))
		must(t, err)
		got, kind, err := m.Image(t.Context(), ref)
		if err != nil || string(got) != image || kind != want || len(ref) != len("image:")+64 {
			t.Errorf("%s: %q is %q, %s, %v", want, ref, got, kind, err)
		}
	}
	for what, image := range map[string]string{"nothing": "", "a drawing": "<svg/>", "text": "hello", "an icon": "\x00\x00\x01\x00", "too much": "\x89PNG\x0D\x0A\x1A\x0A" + strings.Repeat("x", gateway.MaxImage)} {
		if ref, err := m.Keep(t.Context(), []byte(image)); !gateway.IsDrop(err) {
			t.Errorf("%s is kept as %q, %v", what, ref, err)
		}
	}
	for _, ref := range []string{"", "image:", "image:xx", "image:" + strings.Repeat("0", 64), strings.Repeat("0", 64), "image:" + strings.Repeat("0", 63)} {
		if _, _, err := m.Image(t.Context(), ref); !gateway.IsDrop(err) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	m := mediatest.New(f, mediatest.Options{URL: base, Now: func() time.Time { return time.Unix(1e9, 0) }})
	link, err := m.Paste(f.Context(), from("k"), "x", "the text")
	must(f, err)
	good := strings.Split(link, "/")[4]
	f.Add(good)
	f.Add(strings.Repeat("A", 32))
	f.Add("%2e%2e")
	f.Fuzz(func(t *testing.T, token string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path = "/m/" + token + "/x"
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, r)
		if (w.Code == http.StatusOK) != (token == good) || token != good && bytes.Contains(w.Body.Bytes(), []byte("the text")) {
			t.Errorf("%q: %d", token, w.Code)
		}
	})
}
