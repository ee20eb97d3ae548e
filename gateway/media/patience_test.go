package media_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
	"lockbridge/gateway/media/mediatest"
)

// The messages of a room wait behind a file: what does not come is given up soon where a stranger has it, and not much
// later where our own server has it.
func TestPatienceEnds(t *testing.T) {
	now := clock{at: time.Unix(1e9, 0)}
	broken := errors.New("broken")
	fails := source(func(context.Context, string) (io.ReadCloser, int64, error) { return nil, 0, broken })
	m := mediatest.New(t, mediatest.Options{Sources: map[string]media.Source{"m": fails}, Now: now.now})
	w := newWeb(t, private, false, raw("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"))
	for _, step := range []struct {
		pass           time.Duration
		stranger, ours bool // given up
	}{{0, false, false}, {59 * time.Second, false, false}, {time.Second, true, false}, {8 * time.Minute, true, false}, {time.Minute, true, true}, {2 * time.Hour, false, false}} {
		now.pass(step.pass)
		_, stranger := m.Fetch(t.Context(), gateway.File{URL: w.URL})
		_, ours := m.Fetch(t.Context(), gateway.File{Network: "m", URL: "mxc:x"})
		if stranger == nil || ours == nil || gateway.IsDrop(stranger) != step.stranger || gateway.IsDrop(ours) != step.ours {
			t.Errorf("after another %v: %v and %v", step.pass, stranger, ours)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Fetch(ctx, gateway.File{URL: w.URL}); gateway.IsDrop(err) {
		t.Errorf("a stop counts as a failure: %v", err)
	}
}

// What our own disk does not take is nobody else's fault.
func TestPatienceWithTheDisk(t *testing.T) {
	now, dir := clock{at: time.Unix(1e9, 0)}, t.TempDir()
	m := mediatest.New(t, mediatest.Options{Dir: dir, Now: now.now})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, pass := range []time.Duration{0, time.Minute, 8 * time.Minute} {
		now.pass(pass)
		if _, err := m.Fetch(t.Context(), gateway.File{URL: "https://127.0.0.1/"}); err == nil || gateway.IsDrop(err) {
			t.Errorf("after another %v: %v", pass, err)
		}
	}
	now.pass(time.Minute)
	if _, err := m.Fetch(t.Context(), gateway.File{URL: "https://127.0.0.1/"}); !gateway.IsDrop(err) || err.Error() != "the gateway has no room for the file" {
		t.Errorf("in the end: %v", err)
	}
}

func TestPatienceBeginsAnewAfterASuccess(t *testing.T) {
	now, broken := clock{at: time.Unix(1e9, 0)}, true
	source := source(func(context.Context, string) (io.ReadCloser, int64, error) {
		if broken {
			return nil, 0, errors.New("broken")
		}
		return io.NopCloser(strings.NewReader("text")), -1, nil
	})
	m := mediatest.New(t, mediatest.Options{Sources: map[string]media.Source{"m": source}, Now: now.now})
	for _, fails := range []bool{true, false, true} {
		broken = fails
		if _, err := read(t.Context(), m, gateway.File{Network: "m", URL: "mxc:x"}); (err != nil) != fails || gateway.IsDrop(err) {
			t.Errorf("fails: %v, got %v", fails, err)
		}
		now.pass(20 * time.Minute)
		m.Sweep()
	}
}
