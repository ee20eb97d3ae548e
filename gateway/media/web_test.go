package media_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
)

// The servers here are fakes: they do what a server of a stranger may do, and what no ordinary one would.

const (
	public  = "127.0.0.2" // stands for the public Internet: it is allowed
	private = "127.0.0.1" // stands for a service of our own: it is not
)

var onlyPublic = []netip.Prefix{netip.MustParsePrefix(public + "/32")}

// web is a stranger's server.
type web struct {
	*httptest.Server
	port string

	mu   sync.Mutex
	hits int
}

// newWeb starts one at an address of this machine. Its certificate is for example.com and 127.0.0.1.
func newWeb(t *testing.T, ip string, secure bool, handler http.HandlerFunc) *web {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	must(t, err)
	w := &web{}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.hits++
		w.mu.Unlock()
		handler(rw, r)
	}))
	w.Listener.Close()
	w.Listener = l
	if secure {
		w.StartTLS()
	} else {
		w.Start()
	}
	_, w.port, err = net.SplitHostPort(l.Addr().String())
	must(t, err)
	t.Cleanup(w.Close)
	return w
}

func (w *web) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hits
}

// at is a URL of the server, under a name that its certificate has and that leads there by names.
func (w *web) at(path string) string { return "https://example.com:" + w.port + path }

func (w *web) trusted() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(w.Certificate())
	return pool
}

// names is a DNS server that answers each question for an A record with the next of its answers, the last one for ever.
func names(t *testing.T, answers ...[]string) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		asked := 0
		buf := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(buf[:n]) != nil || len(q.Questions) != 1 {
				continue
			}
			m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true}, Questions: q.Questions}
			switch {
			case q.Questions[0].Name.String() != "example.com.":
				m.RCode = dnsmessage.RCodeNameError
			case q.Questions[0].Type == dnsmessage.TypeA:
				for _, ip := range answers[min(asked, len(answers)-1)] {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
						Body:   &dnsmessage.AResource{A: netip.MustParseAddr(ip).As4()},
					})
				}
				asked++
			}
			if packed, err := m.Pack(); err == nil {
				_, _ = socket.WriteTo(packed, from)
			}
		}
	}()
	t.Cleanup(func() { socket.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read fetches a file and returns its bytes.
func read(ctx context.Context, m *media.Media, f gateway.File) ([]byte, error) {
	b, err := m.Fetch(ctx, f)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	body, size, err := b.Open(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err == nil && (size != int64(len(got)) || size != b.Size()) {
		err = io.ErrUnexpectedEOF
	}
	return got, err
}

// sealed encrypts with the standard library alone.
func sealed(t testing.TB, plain []byte) (*gateway.Cipher, []byte) {
	t.Helper()
	key, iv := sha256.Sum256([]byte("key")), sha256.Sum256([]byte("iv"))
	block, err := aes.NewCipher(key[:])
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	return &gateway.Cipher{Name: gateway.CipherGCM256, Key: key[:], IV: iv[:12]}, aead.Seal(nil, iv[:12], plain, nil)
}

// source is a network's own way to its files, in memory.
type source func(ctx context.Context, url string) (io.ReadCloser, int64, error)

func (s source) Open(ctx context.Context, url string) (io.ReadCloser, int64, error) {
	return s(ctx, url)
}

func holds(b []byte) source {
	return func(context.Context, string) (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
	}
}

// cut is what a test waits for at most.
const cut = time.Minute
