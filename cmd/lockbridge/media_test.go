package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// heard is a log whose lines a test waits for.
type heard chan string

func (h heard) Write(p []byte) (int, error) {
	h <- string(p)
	return len(p), nil
}

func (h heard) await(t *testing.T, words string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case line := <-h:
			if strings.Contains(line, words) {
				return
			}
		case <-limit:
			t.Fatalf("%q was never logged", words)
		}
	}
}

// The process that comes first serves the links, the next one when that has ended.
func TestLinksAreServedByOneProcess(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := mediaBlock{Listen: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	run := func(name string) (heard, func()) {
		ctx, cancel := context.WithCancel(t.Context())
		lines, ended := make(heard, 10), make(chan error, 1)
		answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
		go func() {
			ended <- m.serveLinks(ctx, answer, time.Millisecond, slog.New(slog.NewTextHandler(lines, nil)))
		}()
		return lines, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	ask := func() string {
		resp, err := http.Get("http://" + m.Listen)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	first, stopFirst := run("first")
	first.await(t, "links are served")
	second, stopSecond := run("second")
	second.await(t, "standing by")
	if got := ask(); got != "first" {
		t.Errorf("asked while both run: %q", got)
	}
	stopFirst()
	second.await(t, "links are served")
	if got := ask(); got != "second" {
		t.Errorf("asked after the first has ended: %q", got)
	}
	stopSecond()
	if err := (mediaBlock{Listen: "256.0.0.1:1"}).serveLinks(t.Context(), nil, time.Millisecond, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an address that does not exist is waited for")
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]byteSize{"0": 0, "100MB": 100e6, "1GB": 1e9, "5 kB": 5000, "12": 12, "12B": 12, "2TB": 2e12, "1KB": 1000} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MB", "-1MB", "1.5GB", "1mb", "99999999999GB", "ten", "1MiB"} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}
