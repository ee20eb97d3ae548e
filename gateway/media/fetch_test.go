package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
	"lockbridge/gateway/media/mediatest"
)

// marker stands in every text that must not be found on disk.
const marker = "a text that is nobody's business"

func TestWhatRestsOnDiskIsEncrypted(t *testing.T) {
	plain := []byte(strings.Repeat(marker, 10_000))
	c, text := sealed(t, plain)
	m := mediatest.New(t, mediatest.Options{Sources: map[string]media.Source{"clear": holds(plain), "sealed": holds(text)}})
	for _, f := range []gateway.File{{Network: "clear", URL: "mxc:1"}, {Network: "sealed", URL: "mxc:2", Cipher: c}} {
		if got, err := read(t.Context(), m, f); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%s: %d bytes, %v", f.Network, len(got), err)
		}
	}
	rests, used, err := m.OnDisk()
	if err != nil || used != int64(len(plain)+len(text)) || len(rests) != int(used) {
		t.Errorf("%d bytes rest, %d are counted, %v", len(rests), used, err)
	}
	if bytes.Contains(rests, []byte(marker)) {
		t.Error("the spool holds a file in the clear")
	}
	if named, err := os.ReadDir(m.Dir()); err != nil || len(named) > 0 {
		t.Errorf("the folder holds %v, %v", named, err)
	}
}

func TestTheSpoolIsEmptiedAndNothingElse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "below", "media")
	m, err := media.New(media.Config{Dir: dir, Now: time.Now})
	must(t, err)
	m.Close()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder's mode is %v, %v", info.Mode(), err)
	}
	for _, name := range []string{"spool-123", "a letter to somebody"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	for range 2 {
		m, err := media.New(media.Config{Dir: dir, Spool: 1, MaxSize: 1, Now: time.Now})
		must(t, err)
		m.Close()
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "a letter to somebody" {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestFilesAreSealedAsTheyAreRead(t *testing.T) {
	plain := []byte(strings.Repeat(marker, 5_000))
	want, text := sealed(t, plain)
	m := mediatest.New(t, mediatest.Options{Sources: map[string]media.Source{"m": holds(plain)}})
	b, err := m.Fetch(t.Context(), gateway.File{Network: "m", URL: "mxc:x"})
	must(t, err)
	defer b.Close()
	for range 2 { // as often as needed
		seal := &gateway.Cipher{Name: gateway.CipherGCM256, Key: want.Key, IV: want.IV}
		body, size, err := b.Open(t.Context(), seal)
		must(t, err)
		if err := iotest.TestReader(body, text); err != nil || size != int64(len(text)) {
			t.Errorf("%d bytes, %v", size, err)
		}
		if sum := sha256.Sum256(text); !bytes.Equal(seal.Hash, sum[:]) {
			t.Errorf("the hash is %x", seal.Hash)
		}
	}
	for _, bad := range []gateway.Cipher{{Name: gateway.CipherCTR256, Key: want.Key, IV: want.IV}, {Name: gateway.CipherGCM256, Key: want.Key}, {Name: gateway.CipherGCM256, IV: want.IV}} {
		if _, _, err := b.Open(t.Context(), &bad); err == nil {
			t.Errorf("sealed with %+v", bad)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	body, _, err := b.Open(ctx, nil)
	must(t, err)
	cancel()
	if _, err := io.ReadAll(body); !errors.Is(err, context.Canceled) {
		t.Errorf("read on after the end of the context: %v", err)
	}
}

// What is behind a padded file is cut where the sender said where it ends; Matrix pads nothing, and its sizes are wrong at
// times.
func TestPaddedFilesAreCut(t *testing.T) {
	c, text := sealed(t, []byte("12345\x00\x00\x00"))
	m := mediatest.New(t, mediatest.Options{Sources: map[string]media.Source{"x": holds(text), "m": holds([]byte("12345678"))}})
	for _, test := range []struct {
		f    gateway.File
		want string
	}{
		{gateway.File{Network: "x", URL: "mxc:1", Cipher: c, Size: 5}, "12345"},
		{gateway.File{Network: "x", URL: "mxc:1", Cipher: c}, "12345\x00\x00\x00"},
		{gateway.File{Network: "x", URL: "mxc:1", Cipher: c, Size: 500}, "12345\x00\x00\x00"},
		{gateway.File{Network: "m", URL: "mxc:1", Size: 5}, "12345678"},
	} {
		if got, err := read(t.Context(), m, test.f); err != nil || string(got) != test.want {
			t.Errorf("size %d on %s: %q, %v", test.f.Size, test.f.Network, got, err)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	png, html, mp4 := "\x89PNG\x0D\x0A\x1A\x0A", "<!DOCTYPE HTML><script>", "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
	for _, test := range []struct{ said, content, want string }{
		{"image/png", png, "image/png"}, {"", png, "image/png"}, {"text/plain", png, "image/png"}, {"image/jpeg", png, "image/jpeg"}, {"nonsense", png, "image/png"},
		{"image/png", html, "text/html"}, {"image/svg+xml", "<svg xmlns=''>", "image/svg+xml"}, {"image/png", "<?xml version='1.0'?><svg/>", "text/xml"}, {"image/png", "just text", "text/plain"},
		{"audio/mp4", mp4, "audio/mp4"}, {"video/mp4", mp4, "video/mp4"}, {"image/png", mp4, "video/mp4"}, {"audio/ogg; codecs=opus", "OggS\x00", "audio/ogg; codecs=opus"}, {"application/json", "{}", "application/json"},
		{"image/heic", "\x00\x01\x02unknown", "image/heic"}, {"application/pdf; evil=1", "%PDF-1.7", "application/pdf"}, {"", "", "text/plain"}, {"application/zip", "PK\x03\x04", "application/zip"},
		{"text/html", "just text", "text/html"}, {"application/vnd.oasis.opendocument.text", "PK\x03\x04", "application/vnd.oasis.opendocument.text"}, {"", "\x00\x01", "application/octet-stream"},
	} {
		m := mediatest.New(t, mediatest.Options{Sources: map[string]media.Source{"m": holds([]byte(test.content))}})
		b, err := m.Fetch(t.Context(), gateway.File{Network: "m", URL: "mxc:x", MIME: test.said})
		must(t, err)
		if got := b.MIME(); got != test.want {
			t.Errorf("%q of %q is %q, want %q", test.content, test.said, got, test.want)
		}
		must(t, errors.Join(b.Close(), b.Close()))
	}
}

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// waiting is a source whose answers a test lets through one by one.
type waiting struct {
	asked chan string
	let   chan error
}

func newWaiting() waiting { return waiting{make(chan string, 100), make(chan error)} }

func (w waiting) Open(ctx context.Context, url string) (io.ReadCloser, int64, error) {
	w.asked <- url
	select {
	case err := <-w.let:
		return io.NopCloser(strings.NewReader("text of " + url)), -1, err
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

func fetch(ctx context.Context, t *testing.T, m *media.Media, network, url string) chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		got, err := read(ctx, m, gateway.File{Network: network, URL: url})
		if err == nil && string(got) != "text of "+url {
			err = fmt.Errorf("got %q", got)
		}
		done <- err
	}()
	return done
}

func TestDeliveriesOfOneFileShareIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, now := newWaiting(), clock{at: time.Unix(1e9, 0)}
		m := mediatest.New(t, mediatest.Options{Sources: map[string]media.Source{"m": w}, Now: now.now})
		ctx, cancel := context.WithCancel(t.Context())
		first := fetch(ctx, t, m, "m", "mxc:x")
		synctest.Wait()
		second, third := fetch(t.Context(), t, m, "m", "mxc:x"), fetch(t.Context(), t, m, "m", "mxc:x")
		synctest.Wait()
		if n := len(w.asked); n != 1 {
			t.Fatalf("it is fetched %d times", n)
		}
		cancel() // whoever fetches it gives up: one of those who wait goes on
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first: %v", err)
		}
		synctest.Wait()
		if n := len(w.asked); n != 2 {
			t.Fatalf("it is fetched %d times after the first gave up", n)
		}
		w.let <- nil
		if err := errors.Join(<-second, <-third); err != nil {
			t.Error(err)
		}
		if err := <-fetch(t.Context(), t, m, "m", "mxc:x"); err != nil || len(w.asked) != 2 {
			t.Errorf("a repetition: %v, fetched %d times", err, len(w.asked))
		}
		now.pass(9 * time.Minute)
		m.Sweep()
		if err := <-fetch(t.Context(), t, m, "m", "mxc:x"); err != nil || len(w.asked) != 2 {
			t.Errorf("nine minutes later: %v, fetched %d times", err, len(w.asked))
		}
		now.pass(10 * time.Minute)
		m.Sweep()
		if _, used, _ := m.OnDisk(); used != 0 {
			t.Errorf("%d bytes stay", used)
		}
	})
}

func TestSoManyTransfersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, sources := newWaiting(), map[string]media.Source{}
		for i := range 10 {
			sources[fmt.Sprint(i)] = w
		}
		m := mediatest.New(t, mediatest.Options{Sources: sources})
		var all []chan error
		for i := range 5 { // of one network
			all = append(all, fetch(t.Context(), t, m, "0", fmt.Sprintf("mxc:%d", i)))
		}
		synctest.Wait()
		if n := len(w.asked); n != 2 {
			t.Errorf("%d at once from one host, want 2", n)
		}
		for i := range 9 { // of as many others
			all = append(all, fetch(t.Context(), t, m, fmt.Sprint(i+1), "mxc:x"))
		}
		synctest.Wait()
		if n := len(w.asked); n != 8 {
			t.Errorf("%d at once, want 8", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		late := fetch(ctx, t, m, "0", "mxc:late")
		synctest.Wait()
		cancel()
		if err := <-late; !errors.Is(err, context.Canceled) {
			t.Errorf("one that waits for its turn: %v", err)
		}
		for range all {
			w.let <- nil
		}
		for _, done := range all {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestTheSpoolMakesRoom(t *testing.T) {
	now := clock{at: time.Unix(1e9, 0)}
	asked := map[string]int{}
	src := source(func(_ context.Context, url string) (io.ReadCloser, int64, error) {
		asked[url]++
		return io.NopCloser(strings.NewReader(strings.Repeat("x", 400))), 400, nil
	})
	m := mediatest.New(t, mediatest.Options{MaxSize: 500, Spool: 1000, Sources: map[string]media.Source{"m": src}, Now: now.now})
	get := func(url string) (gateway.Blob, error) {
		now.pass(time.Second)
		return m.Fetch(t.Context(), gateway.File{Network: "m", URL: url})
	}
	one, err := get("mxc:1")
	must(t, err)
	two, err := get("mxc:2")
	must(t, err)
	if _, err := get("mxc:3"); err == nil {
		t.Error("more than the spool holds is kept")
	} else if _, later := gateway.LaterThan(err); !later {
		t.Errorf("while all of it is being read: %v", err)
	}
	must(t, two.Close())
	now.pass(time.Second)
	must(t, one.Close())
	three, err := get("mxc:3") // the second one gives way: it was read less lately
	must(t, err)
	must(t, three.Close())
	for _, url := range []string{"mxc:1", "mxc:3"} {
		b, err := get(url)
		must(t, err)
		must(t, b.Close())
	}
	if asked["mxc:1"] != 1 || asked["mxc:2"] != 1 || asked["mxc:3"] != 2 {
		t.Errorf("fetched %v", asked)
	}
	_, used, err := m.OnDisk()
	if used != 800 || err != nil {
		t.Errorf("%d bytes are counted, %v", used, err)
	}
	open, err := get("mxc:1")
	must(t, err)
	m.Close()
	body, _, err := open.Open(t.Context(), nil)
	must(t, err)
	if got, err := io.ReadAll(body); err != nil || len(got) != 400 {
		t.Errorf("what was open at the end: %d bytes, %v", len(got), err)
	}
	must(t, open.Close())
	if _, used, _ := m.OnDisk(); used != 0 {
		t.Errorf("%d bytes are counted at the end", used)
	}
	if _, err := get("mxc:4"); err == nil {
		t.Error("something is fetched after the end")
	}
}

func TestWhoReadsManyFilesWaits(t *testing.T) {
	m := mediatest.New(t, mediatest.Options{Sources: map[string]media.Source{"m": holds(nil)}})
	for i := range 256 {
		b, err := m.Fetch(t.Context(), gateway.File{Network: "m", URL: fmt.Sprintf("mxc:%d", i)})
		must(t, err)
		t.Cleanup(func() { _ = b.Close() })
	}
	if _, err := m.Fetch(t.Context(), gateway.File{Network: "m", URL: "mxc:more"}); err == nil {
		t.Error("as many files are open as anybody likes")
	} else if _, later := gateway.LaterThan(err); !later {
		t.Errorf("one too many: %v", err)
	}
}

// noise is text without end.
type noise struct{}

func (noise) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

func TestMemoryDoesNotGrowWithFiles(t *testing.T) {
	const size = 50 << 20
	src := source(func(context.Context, string) (io.ReadCloser, int64, error) {
		return io.NopCloser(io.LimitReader(noise{}, size)), size, nil
	})
	m := mediatest.New(t, mediatest.Options{MaxSize: size, Sources: map[string]media.Source{"m": src}})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b, err := m.Fetch(t.Context(), gateway.File{Network: "m", URL: "mxc:x"})
	must(t, err)
	defer b.Close()
	body, _, err := b.Open(t.Context(), &gateway.Cipher{Name: gateway.CipherGCM256, Key: make([]byte, 32), IV: make([]byte, 12)})
	must(t, err)
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{body}, make([]byte, 64<<10))
	runtime.ReadMemStats(&after)
	if err != nil || n != size+16 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 2<<20 {
		t.Errorf("%d kB were allocated in all for a file of 50 MB", grown>>10)
	}
}
