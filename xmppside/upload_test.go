package xmppside

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/media/mediatest"
	"lockbridge/gateway/sidetest"
)

const fakeUpload = "upload.test"

// fakeShare is the upload service's HTTP half.
type fakeShare struct {
	*httptest.Server

	mu   sync.Mutex
	code int
	puts []*http.Request
	body []byte
}

func newFakeShare(t *testing.T) *fakeShare {
	t.Helper()
	share := &fakeShare{code: http.StatusCreated}
	share.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what was cut off shows in the test
		share.mu.Lock()
		defer share.mu.Unlock()
		share.puts, share.body = append(share.puts, r), body
		w.WriteHeader(share.code)
	}))
	t.Cleanup(share.Close)
	return share
}

// answers sets how often the share answers with code from now on.
func (s *fakeShare) answers(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code = code
}

// slotAt is what the service answers; its headers hold what must not be passed on.
func slotAt(put, get string) string {
	return fmt.Sprintf(`<slot xmlns='%s'><put url='%s'><header name='authorization'>Bearer abc&#13;&#10;X-Evil: 1</header><header name='Host'>evil.example</header>`+
		`<header name='Cookie'>c=1</header></put><get url='%s'/></slot>`, nsUpload, put, get)
}

// offerUploads lists an upload service at the component's server.
func (f *fakeServer) offerUploads(limit string, slot string) {
	f.set(func() {
		f.answers["test "+nsDiscoItems] = `<query xmlns='` + nsDiscoItems + `'><item jid='rooms.test'/><item jid='` + fakeDomain + `'/><item jid='` + fakeUpload + `'/></query>`
		form := el(nsForm, "x", "type", "result").add(el(nsForm, "field", "var", "FORM_TYPE").add(el(nsForm, "value").say(nsUpload)), el(nsForm, "field", "var", "max-file-size").add(el(nsForm, "value").say(limit)))
		f.infos = map[string]*node{fakeUpload: el(nsDiscoInfo, "query").add(el(nsDiscoInfo, "feature", "var", nsUpload), form)}
		f.answers[fakeUpload+" "+nsUpload] = slot
	})
}

func startUploads(t *testing.T, f *fakeServer, share *fakeShare, edit func(*Side)) (*Side, *link) {
	t.Helper()
	trusted := x509.NewCertPool()
	trusted.AddCert(share.Certificate())
	deps := gateway.Deps{Rooms: []gateway.Room{fakeBridgeRoom(false, gateway.PuppetsNone)}, Media: mediatest.New(t, mediatest.Options{Authorities: trusted})}
	side, _, _ := startEdited(t.Context(), t, f.config(), sidetest.NewState(), deps, edit)
	return side, side.currentLink()
}

func TestFilesAreUploaded(t *testing.T) {
	f, share := newFakeServer(t), newFakeShare(t)
	f.offerUploads("100", slotAt(share.URL+"/put/a", "https://files.example/a"))
	side, l := startUploads(t, f, share, func(*Side) {})
	for _, n := range []int{100, 0} {
		text := bytes.Repeat([]byte{'x'}, n)
		get, err := side.upload(t.Context(), l, "alice%irc@"+fakeDomain, "cat.png", "image/png", int64(n), bytes.NewReader(text))
		if err != nil || get != "https://files.example/a" {
			t.Fatalf("%d bytes: %q, %v", n, get, err)
		}
		put := share.puts[len(share.puts)-1]
		if put.Method != http.MethodPut || put.URL.Path != "/put/a" || !bytes.Equal(share.body, text) || put.ContentLength != int64(n) {
			t.Errorf("%d bytes: %s %s with %d bytes", n, put.Method, put.URL, len(share.body))
		}
		h := put.Header
		if h.Get("Authorization") != "Bearer abcX-Evil: 1" || h.Get("Cookie") != "c=1" || h.Get("X-Evil") != "" || h.Get("Content-Type") != "image/png" || put.Host == "evil.example" {
			t.Errorf("headers %v for %s", h, put.Host)
		}
	}
	ask := f.await("a question for a place", func(n *node) bool { return n.get("to") == fakeUpload && n.child(nsUpload, "request") != nil })
	request := ask.child(nsUpload, "request")
	if ask.get("from") != "alice%irc@"+fakeDomain || request.get("filename") != "cat.png" || request.get("size") != "100" || request.get("content-type") != "image/png" {
		t.Errorf("asked for %s", ask.bytes())
	}
	if size, ok := side.maxUpload(); size != 100 || !ok {
		t.Errorf("the limit is %d, %v", size, ok)
	}
	if _, err := side.upload(t.Context(), l, fakeSelf, "", "", 101, strings.NewReader("")); !gateway.IsPlainer(err) {
		t.Errorf("a file that is too large: %v", err)
	}
}

func TestWhatTheUploadServiceRefusesIsNamedInstead(t *testing.T) {
	for what, slot := range map[string]string{
		"a file that people would fetch without TLS": slotAt("https://127.0.0.1:1/x", "http://files.example/a"),
		"a place without an address":                 slotAt("", "https://files.example/a"),
		"a place on a port that is nobody's":         slotAt("https://127.0.0.1:25/x", "https://files.example/a"),
		"a place that is in no network we know":      slotAt("https://10.0.0.1/x", "https://files.example/a"),
		"no place":                                   `<slot xmlns='` + nsUpload + `'/>`,
	} {
		f, share := newFakeServer(t), newFakeShare(t)
		f.offerUploads("100", slot)
		side, l := startUploads(t, f, share, func(*Side) {})
		if _, err := side.upload(t.Context(), l, fakeSelf, "x", "", 1, strings.NewReader("x")); !gateway.IsPlainer(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, condition := range []string{"not-acceptable", "forbidden", "not-allowed", "item-not-found"} {
		f, share := newFakeServer(t), newFakeShare(t)
		f.offerUploads("100", "")
		f.set(func() { f.refusals[fakeUpload+" "+nsUpload] = condition })
		side, l := startUploads(t, f, share, func(*Side) {})
		if _, err := side.upload(t.Context(), l, fakeSelf, "x", "", 1, strings.NewReader("x")); !gateway.IsPlainer(err) {
			t.Errorf("%s: %v", condition, err)
		}
	}
}

func TestAServerWithoutUploadsIsNotAskedAgainAtOnce(t *testing.T) {
	f, share := newFakeServer(t), newFakeShare(t)
	side, l := startUploads(t, f, share, func(*Side) {})
	for range 2 {
		if _, err := side.upload(t.Context(), l, fakeSelf, "x", "", 1, strings.NewReader("x")); !gateway.IsPlainer(err) {
			t.Fatal(err)
		}
	}
	if _, ok := side.maxUpload(); ok {
		t.Error("it is said to take files")
	}
}
