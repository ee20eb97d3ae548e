package matrixside

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"lockbridge/gateway"
)

// fakeContent is a content repository that does what a test says.
type fakeContent struct {
	mu       sync.Mutex
	requests []*http.Request
	bodies   [][]byte
	answer   func(w http.ResponseWriter, r *http.Request)
}

func (c *fakeContent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what was cut off shows in the test
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests, c.bodies = append(c.requests, r), append(c.bodies, body)
	c.answer(w, r)
}

func newContent(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) (*fakeContent, *Files) {
	t.Helper()
	c := &fakeContent{answer: answer}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	must(t, err)
	return c, newFiles(base, registration{ASToken: "secret"})
}

func TestContentIsFetchedWithOurToken(t *testing.T) {
	c, files := newContent(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the bytes") })
	body, size, err := files.Open(t.Context(), "mxc://example.org:8448/aB_-9")
	must(t, err)
	defer body.Close()
	got, err := io.ReadAll(body)
	must(t, err)
	r := c.requests[0]
	if string(got) != "the bytes" || size != 9 || r.URL.Path != "/_matrix/client/v1/media/download/example.org:8448/aB_-9" || r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("Accept-Encoding") != "" {
		t.Errorf("got %q of %d bytes from %s with %v", got, size, r.URL, r.Header)
	}
}

func TestAnOldHomeserverIsAskedInItsOwnWay(t *testing.T) {
	c, files := newContent(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_matrix/client/v1/") {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"errcode":"M_UNRECOGNIZED"}`)
			return
		}
		_, _ = io.WriteString(w, "old")
	})
	image, err := files.Avatar(t.Context(), "mxc://example.org/x")
	must(t, err)
	r := c.requests[1]
	if string(image) != "old" || r.URL.Path != "/_matrix/media/v3/thumbnail/example.org/x" || r.URL.Query().Get("allow_redirect") != "false" || r.URL.Query().Get("method") != "crop" {
		t.Errorf("got %q from %s", image, r.URL)
	}
}

func TestOnlyContentIsAskedFor(t *testing.T) {
	c, files := newContent(t, func(http.ResponseWriter, *http.Request) {})
	for _, mxc := range []string{"", "mxc://", "mxc://example.org", "mxc://example.org/", "mxc://example.org/a/b", "mxc://example.org/../admin", "mxc://../config", "mxc://./config", "mxc://a/b?c", "mxc://a/b#c", "mxc://a%2Fb/c", "https://example.org/x", "mxc://example.org/" + strings.Repeat("a", 300)} {
		if _, _, err := files.Open(t.Context(), mxc); !gateway.IsDrop(err) {
			t.Errorf("%q: %v", mxc, err)
		}
	}
	if len(c.requests) > 0 {
		t.Errorf("%s was asked for", c.requests[0].URL)
	}
}

func TestWhatFailedContentMeans(t *testing.T) {
	for _, test := range []struct {
		code        int
		body        string
		drop, later bool
	}{
		{http.StatusNotFound, `{"errcode":"M_NOT_FOUND"}`, true, false},
		{http.StatusForbidden, `{"errcode":"M_FORBIDDEN"}`, true, false},
		{http.StatusTemporaryRedirect, ``, true, false},
		{http.StatusUnauthorized, `{"errcode":"M_UNKNOWN_TOKEN"}`, false, true},
		{http.StatusTooManyRequests, `{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":2000}`, false, true},
		{http.StatusBadGateway, `nginx`, false, false},
		{http.StatusGatewayTimeout, `{"errcode":"M_NOT_YET_UPLOADED"}`, false, false},
	} {
		_, files := newContent(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			w.WriteHeader(test.code)
			_, _ = io.WriteString(w, test.body)
		})
		_, _, err := files.Open(t.Context(), "mxc://example.org/secretname")
		_, later := gateway.LaterThan(err)
		if err == nil || gateway.IsDrop(err) != test.drop || later != test.later || strings.Contains(err.Error(), "secretname") {
			t.Errorf("%d %s: %v", test.code, test.body, err)
		}
	}
}

func TestFilesAreUploadedAsTheyCome(t *testing.T) {
	c, files := newContent(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `{"m.upload.size":1000}`)
			return
		}
		_, _ = io.WriteString(w, `{"content_uri":"mxc://example.org/new"}`)
	})
	for _, n := range []int{999, 0} {
		text := bytes.Repeat([]byte{'x'}, n)
		mxc, err := files.Upload(t.Context(), bytes.NewReader(text), int64(n), "image/png", "a cat & more.png")
		must(t, err)
		r, body := c.requests[len(c.requests)-1], c.bodies[len(c.bodies)-1]
		if mxc != "mxc://example.org/new" || !bytes.Equal(body, text) || r.ContentLength != int64(n) || r.Header.Get("Content-Type") != "image/png" || r.URL.Query().Get("filename") != "a cat & more.png" {
			t.Errorf("%d bytes: %s, %d bytes came, %v", n, mxc, len(body), r)
		}
	}
	if len(c.requests) != 3 {
		t.Errorf("%d requests, want one for the limit and two uploads", len(c.requests))
	}
	if _, err := files.Upload(t.Context(), strings.NewReader(""), 1001, "", ""); !gateway.IsPlainer(err) {
		t.Errorf("a file that is too large: %v", err)
	}
	if len(c.requests) != 3 {
		t.Error("a file that is too large was sent all the same")
	}
}

func TestUploadsThatFail(t *testing.T) {
	for _, test := range []struct {
		code    int
		body    string
		plainer bool
	}{{http.StatusRequestEntityTooLarge, `{"errcode":"M_TOO_LARGE"}`, true}, {http.StatusBadGateway, "", false}, {http.StatusOK, `{"content_uri":"https://example.org/x"}`, false}} {
		_, files := newContent(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.WriteHeader(test.code)
				_, _ = io.WriteString(w, test.body)
				return
			}
			w.WriteHeader(http.StatusNotFound) // it does not say how large files may be
		})
		if _, err := files.Upload(t.Context(), strings.NewReader("x"), 1, "", ""); err == nil || gateway.IsPlainer(err) != test.plainer {
			t.Errorf("%d %s: %v", test.code, test.body, err)
		}
	}
}

func TestTheLimitIsAskedOnceAnHour(t *testing.T) {
	c, files := newContent(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"m.upload.size":77}`) })
	now := time.Unix(1e9, 0)
	files.now = func() time.Time { return now }
	for _, want := range []int{1, 1, 2} {
		if limit, err := files.Limit(t.Context()); err != nil || limit != 77 || len(c.requests) != want {
			t.Errorf("limit %d, %v after %d requests, want %d", limit, err, len(c.requests), want)
		}
		now = now.Add(31 * time.Minute)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	now = now.Add(time.Hour)
	if limit, err := files.Limit(ctx); !errors.Is(err, context.Canceled) || limit != 77 {
		t.Errorf("while it does not answer: %d, %v", limit, err)
	}
}
