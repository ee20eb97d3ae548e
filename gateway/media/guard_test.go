package media_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
	"lockbridge/gateway/media/mediatest"
)

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// Every way to write or reach an address of our own is refused, and its server hears nothing of it.
func TestNothingOfOursIsFetched(t *testing.T) {
	secure, plain := newWeb(t, private, true, hello), newWeb(t, private, false, hello)
	m := mediatest.New(t, mediatest.Options{Allow: onlyPublic, Authorities: secure.trusted(), Resolver: names(t, []string{private})})
	for _, url := range []string{
		"https://127.0.0.1:" + secure.port, "https://localhost:" + secure.port, "https://[::ffff:127.0.0.1]:" + secure.port,
		"https://[::ffff:7f00:1]:" + secure.port, "https://[::127.0.0.1]:" + secure.port, "https://[::1]:" + secure.port, "https://[::]:" + secure.port, "https://0.0.0.0:" + secure.port,
		"https://[fe80::1%25lo]:" + secure.port, "https://[64:ff9b::7f00:1]:" + secure.port, "https://[2002:7f00:1::]:" + secure.port,
		secure.at("/by-name"), "http://127.0.0.1:" + plain.port, "http://localhost:" + plain.port,
		"https://10.0.0.1/x", "https://172.16.0.1/x", "https://192.168.1.1/x", "https://169.254.169.254/latest/meta-data", "https://[fd00:ec2::254]/latest", "https://100.100.100.200/x",
		"https://" + public + ":22/x", "https://" + public + ":1/x", "https://user:secret@" + public + ":" + secure.port, "http://8.8.8.8/x",
		"file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "https://", "https:///x", "//127.0.0.1/x", "", "data:text/plain,x", "mxc://example.org/x", "https://[bad", "jar:https://x!/",
	} {
		_, err := m.Fetch(t.Context(), gateway.File{URL: url})
		if !gateway.IsDrop(err) {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if at := strings.TrimPrefix(url, "https://"); at != "" && strings.Contains(err.Error(), at) {
			t.Errorf("%s: the error tells where: %v", url, err)
		}
	}
	// Numbers that old libraries read as addresses are names here, which nobody has.
	for _, host := range []string{"LOCALHOST.", "0x7f000001", "2130706433", "0177.0.0.1", "127.1"} {
		if _, err := m.Fetch(t.Context(), gateway.File{URL: "https://" + host + ":" + secure.port}); err == nil {
			t.Errorf("%s is fetched", host)
		}
	}
	if secure.count()+plain.count() > 0 {
		t.Errorf("our own servers heard %d and %d requests", secure.count(), plain.count())
	}
}

func TestWhatIsAllowedIsFetched(t *testing.T) {
	secure, plain := newWeb(t, private, true, hello), newWeb(t, private, false, hello)
	m := mediatest.New(t, mediatest.Options{Authorities: secure.trusted()})
	for _, url := range []string{"https://127.0.0.1:" + secure.port, "https://127.0.0.1:" + secure.port + "/x#fragment", "http://127.0.0.1:" + plain.port} {
		if got, err := read(t.Context(), m, gateway.File{URL: url}); err != nil || string(got) != "hello" {
			t.Errorf("%s: %q, %v", url, got, err)
		}
	}
	stranger := newWeb(t, private, true, hello)
	m = mediatest.New(t, mediatest.Options{Authorities: stranger.trusted()})
	stranger.Config.Handler = nil
	if _, err := m.Fetch(t.Context(), gateway.File{URL: "https://localhost:" + stranger.port}); err == nil {
		t.Error("a certificate for another name is taken")
	}
}

// A name that leads to a stranger first, and to us when it is asked again.
func TestNamesThatChange(t *testing.T) {
	stranger := newWeb(t, public, true, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		hello(w, r)
	})
	own := newWeb(t, private, true, hello)
	m := mediatest.New(t, mediatest.Options{Allow: onlyPublic, Authorities: stranger.trusted(), Resolver: names(t, []string{public}, []string{private})})
	if got, err := read(t.Context(), m, gateway.File{URL: stranger.at("/1")}); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := m.Fetch(t.Context(), gateway.File{URL: stranger.at("/2")}); !gateway.IsDrop(err) {
		t.Errorf("a name that leads to us now: %v", err)
	}
	// Two addresses at once: where the first does not answer, the second is not reached for it.
	m = mediatest.New(t, mediatest.Options{Allow: onlyPublic, Authorities: stranger.trusted(), Resolver: names(t, []string{public, private})})
	if _, err := m.Fetch(t.Context(), gateway.File{URL: own.at("/3")}); err == nil {
		t.Error("the second address was reached")
	}
	if own.count() > 0 {
		t.Errorf("our own server heard %d requests", own.count())
	}
}

func TestRedirects(t *testing.T) {
	own := newWeb(t, private, true, hello)
	plain := newWeb(t, public, false, hello)
	var stranger *web
	to := map[string]string{}
	stranger = newWeb(t, public, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Referer") != "" {
			t.Error("the redirect tells where it came from")
		}
		if where := to[r.URL.Path]; where != "" {
			w.Header().Set("Location", where)
			w.WriteHeader(http.StatusFound)
			return
		}
		hello(w, r)
	})
	to["/file"], to["/passwd"] = "file:///etc/passwd", "file:/etc/passwd"
	to["/plain"] = "http://" + public + ":" + plain.port
	to["/metadata"] = "https://169.254.169.254/latest/meta-data"
	to["/ours"], to["/ours-6"] = "https://127.0.0.1:"+own.port, "https://[::ffff:127.0.0.1]:"+own.port
	to["/loop"] = "/loop"
	to["/user"] = "https://user:pass@example.com:" + stranger.port + "/good"
	to["/port"] = "https://example.com:22/"
	to["/0"], to["/1"], to["/2"], to["/3"] = "/1", "/2", "/3", "/good"
	to["/relative"] = "//127.0.0.1:" + own.port + "/"
	to["/broken"] = "https://[bad"
	m := mediatest.New(t, mediatest.Options{Allow: onlyPublic, Authorities: stranger.trusted(), Resolver: names(t, []string{public})})
	for path := range to {
		got, err := read(t.Context(), m, gateway.File{URL: stranger.at(path)})
		if path == "/1" || path == "/2" || path == "/3" {
			if err != nil || string(got) != "hello" {
				t.Errorf("%s: %q, %v", path, got, err)
			}
			continue
		}
		if !gateway.IsDrop(err) || strings.Contains(err.Error(), "[bad") {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if own.count()+plain.count() > 0 {
		t.Errorf("servers behind redirects heard %d and %d requests", own.count(), plain.count())
	}
}

// raw answers a request with these very bytes, and ends the connection.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, answer)
		conn.Close()
	}
}

func TestWhatServersMayAnswer(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	for _, test := range []struct {
		what, answer, want string
		drop               bool
	}{
		{"compressed content", head + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "", true},
		{"a strange encoding", head + "Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc", "", true},
		{"a compressed transfer", head + "Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "", false},
		{"fewer bytes than promised", head + "Content-Length: 100\r\n\r\nabc", "", false},
		{"more bytes than promised", head + "Content-Length: 3\r\n\r\nabcdef", "abc", false},
		{"a huge promise", head + "Content-Length: 9223372036854775807\r\n\r\nabc", "", true},
		{"a promise that is no number", head + "Content-Length: -1\r\n\r\nabc", "", false},
		{"two promises", head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "", false},
		{"a head without end", head + "X: " + strings.Repeat("x", 200_000), "", false},
		{"nothing", head + "Content-Length: 0\r\n\r\n", "", false},
		{"no answer", "", "", false},
		{"a chunk that is cut off", head + "Transfer-Encoding: chunked\r\n\r\n10\r\nabc", "", false},
		{"gone", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "", true},
		{"forbidden", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "", true},
		{"a part", "HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\na", "", true},
		{"failing", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "", false},
		{"busy", "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", "", false},
	} {
		w := newWeb(t, private, false, raw(test.answer))
		m := mediatest.New(t, mediatest.Options{})
		got, err := read(t.Context(), m, gateway.File{URL: w.URL})
		good := test.want != "" || test.what == "nothing"
		if string(got) != test.want || (err == nil) != good || gateway.IsDrop(err) != test.drop {
			t.Errorf("%s: %q, %v", test.what, got, err)
		}
		if err != nil && strings.Contains(err.Error(), w.URL) {
			t.Errorf("%s: the error holds the URL: %v", test.what, err)
		}
	}
}

func TestABodyWithoutEnd(t *testing.T) {
	chunk := make([]byte, 100_000)
	w := newWeb(t, private, false, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	m := mediatest.New(t, mediatest.Options{MaxSize: 300_000})
	if _, err := m.Fetch(t.Context(), gateway.File{URL: w.URL}); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "larger than 300 kB") {
		t.Errorf("Fetch: %v", err)
	}
	if _, used, err := m.OnDisk(); used != 0 || err != nil {
		t.Errorf("%d bytes stay in the spool, %v", used, err)
	}
}

func TestASilentServerIsLeft(t *testing.T) {
	for what, begin := range map[string]string{"before its answer": "", "after a byte": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na"} {
		gone := make(chan struct{})
		w := newWeb(t, private, false, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, begin)
			_, _ = io.Copy(io.Discard, conn) // until the other side closes it
			conn.Close()
			close(gone)
		})
		m := mediatest.New(t, mediatest.Options{})
		m.SetTimes(50*time.Millisecond, time.Hour)
		_, err := m.Fetch(t.Context(), gateway.File{URL: w.URL})
		if err == nil || gateway.IsDrop(err) || !strings.Contains(err.Error(), "stopped sending") {
			t.Errorf("%s: %v", what, err)
		}
		select {
		case <-gone:
		case <-time.After(cut):
			t.Errorf("%s: the connection stays open", what)
		}
	}
}

func TestASlowServerIsLeft(t *testing.T) {
	w := newWeb(t, private, false, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, "a"); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	})
	m := mediatest.New(t, mediatest.Options{MaxSize: 1 << 40, Spool: 1 << 41})
	m.SetTimes(time.Hour, 100*time.Millisecond)
	if _, err := m.Fetch(t.Context(), gateway.File{URL: w.URL}); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "too long") {
		t.Errorf("Fetch: %v", err)
	}
}

func TestForgedFilesAreRefused(t *testing.T) {
	plain := []byte(strings.Repeat("some text ", 20_000))
	c, good := sealed(t, plain)
	last := append([]byte(nil), good...)
	last[len(last)-1] ^= 1
	serve := map[string][]byte{"/good": good, "/last": last, "/short": good[:len(good)-1], "/empty": nil}
	w := newWeb(t, private, false, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/less" { // the promise is shorter than the file
			raw(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(good)-100, good))(w, r)
			return
		}
		_, _ = w.Write(serve[r.URL.Path])
	})
	m := mediatest.New(t, mediatest.Options{})
	if got, err := read(t.Context(), m, gateway.File{URL: w.URL + "/good", Cipher: c}); err != nil || string(got) != string(plain) {
		t.Fatalf("the good one: %d bytes, %v", len(got), err)
	}
	other := *c
	other.Key = make([]byte, 32)
	hash := *c
	hash.Hash = make([]byte, 32)
	eleven := *c
	eleven.IV = c.IV[:11]
	for what, f := range map[string]gateway.File{
		"the tag's last byte": {URL: w.URL + "/last", Cipher: c}, "cut off": {URL: w.URL + "/short", Cipher: c}, "nothing": {URL: w.URL + "/empty", Cipher: c},
		"less was promised": {URL: w.URL + "/less", Cipher: c}, "another key, after the good one": {URL: w.URL + "/good", Cipher: &other},
		"a wrong hash": {URL: w.URL + "/good", Cipher: &hash}, "an IV of 11 bytes": {URL: w.URL + "/good", Cipher: &eleven},
		"it says that it is too large": {URL: w.URL + "/good", Cipher: c, Size: 1<<63 - 1},
	} {
		if _, err := m.Fetch(t.Context(), f); !gateway.IsDrop(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestUploadsThroughTheGuard(t *testing.T) {
	var code int
	var body string
	w := newWeb(t, private, false, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/else", http.StatusTemporaryRedirect)
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		body = string(b) + " " + r.Header.Get("Authorization")
		w.WriteHeader(code)
	})
	m := mediatest.New(t, mediatest.Options{})
	put := func(url, text string, size int64) error {
		return m.Put(t.Context(), url, http.Header{"Authorization": {"secret"}}, strings.NewReader(text), size)
	}
	for _, good := range []int{200, 201, 204} {
		if code = good; put(w.URL+"/x", "text", 4) != nil || body != "text secret" {
			t.Errorf("%d: %q", good, body)
		}
	}
	for _, bad := range []int{400, 403, 404, 413, 301} {
		if code = bad; !gateway.IsDrop(put(w.URL+"/x", "text", 4)) {
			t.Errorf("%d is not final", bad)
		}
	}
	for _, passing := range []int{429, 500, 503} {
		code = passing
		if err := put(w.URL+"/x", "text", 4); err == nil || gateway.IsDrop(err) {
			t.Errorf("%d: %v", passing, err)
		}
	}
	code, body = 201, ""
	for what, err := range map[string]error{
		"a redirect": put(w.URL+"/moved", "text", 4), "a private address": put("https://10.0.0.1/x", "text", 4), "a mail server": put("http://127.0.0.1:25/x", "text", 4),
		"no address": put("/x", "text", 4), "a file": put("file:///tmp/x", "text", 4),
	} {
		if !gateway.IsDrop(err) || body != "" {
			t.Errorf("%s: %v, %q came", what, err, body)
		}
	}
	if err := put(w.URL+"/x", "te", 4); err == nil || gateway.IsDrop(err) || strings.Contains(err.Error(), w.URL) {
		t.Errorf("a body that ends early: %v", err)
	}
	m.SetTimes(50*time.Millisecond, time.Hour)
	never := make(chan struct{})
	deaf := newWeb(t, private, false, func(http.ResponseWriter, *http.Request) { <-never })
	defer close(never)
	if err := put(deaf.URL, "text", 4); err == nil || gateway.IsDrop(err) {
		t.Errorf("a server that does not answer: %v", err)
	}
}

func TestAllowIsRead(t *testing.T) {
	for _, good := range []string{"10.0.0.5/32", "10.0.0.5", "::1", "fd00::/8", "10.1.2.3/8"} {
		if _, err := media.ParseAllow(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "example.org", "10.0.0.0/33", "fe80::1%eth0", "::ffff:10.0.0.0/104", "10.0.0/8", "/8"} {
		if p, err := media.ParseAllow(bad); err == nil {
			t.Errorf("%q is read as %v", bad, p)
		}
	}
	if p, err := media.ParseAllow("::ffff:10.0.0.5"); err != nil || p.String() != "10.0.0.5/32" {
		t.Errorf("a mapped address: %v, %v", p, err)
	}
}
