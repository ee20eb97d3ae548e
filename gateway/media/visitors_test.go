package media_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
	"lockbridge/gateway/media/mediatest"
)

// Links to files that hardly move keep half of the transfers, however many people follow them: what messages carry has the
// others.
func TestVisitorsLeaveTurnsToMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, prompt := newWaiting(), newWaiting()
		sources := map[string]media.Source{"x": prompt}
		for i := range 8 {
			sources[fmt.Sprint(i)] = stuck
		}
		m := mediatest.New(t, mediatest.Options{URL: base, Sources: sources})
		ctx, leave := context.WithCancel(t.Context())
		answers := make(chan int, 8)
		for i := range 8 {
			link, err := m.Link(t.Context(), from(fmt.Sprint(i)), gateway.File{Network: fmt.Sprint(i), URL: "mxc:x"})
			must(t, err)
			go func() {
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, strings.TrimPrefix(link, base), nil)
				w := httptest.NewRecorder()
				m.Handler().ServeHTTP(w, r)
				answers <- w.Code
			}()
		}
		synctest.Wait()
		if n := len(stuck.asked); n != 4 {
			t.Errorf("visitors have %d transfers, want 4", n)
		}
		done := fetch(t.Context(), t, m, "x", "mxc:message")
		synctest.Wait()
		if len(prompt.asked) != 1 {
			t.Error("a message waits behind visitors")
			leave()
		}
		prompt.let <- nil
		if err := <-done; err != nil {
			t.Error(err)
		}
		for range 4 { // those who got no turn do not wait for ever
			if code := <-answers; code != http.StatusServiceUnavailable {
				t.Errorf("a visitor without a turn: %d", code)
			}
		}
		leave()
		for range 4 {
			<-answers
		}
	})
}

// slowly is somebody who reads nothing until a test says so.
type slowly struct {
	*httptest.ResponseRecorder
	began, goOn chan struct{}
}

func (w slowly) Write(p []byte) (int, error) {
	w.began <- struct{}{}
	<-w.goOn
	return w.ResponseRecorder.Write(p)
}

// Who reads slowly keeps half of the spool at the most.
func TestVisitorsLeaveRoomToMessages(t *testing.T) {
	src := source(func(context.Context, string) (io.ReadCloser, int64, error) {
		return io.NopCloser(strings.NewReader(strings.Repeat("x", 300))), -1, nil
	})
	m := mediatest.New(t, mediatest.Options{URL: base, MaxSize: 300, Spool: 1000, Sources: map[string]media.Source{"m": src}})
	file := func(i int) gateway.File { return gateway.File{Network: "m", URL: fmt.Sprintf("mxc:%d", i)} }
	links := make([]string, 4)
	for i := range links {
		var err error
		links[i], err = m.Link(t.Context(), from(fmt.Sprint(i)), file(i))
		must(t, err)
	}
	goOn := make(chan struct{})
	hold := func(i int) chan int {
		w := slowly{httptest.NewRecorder(), make(chan struct{}, 10), goOn}
		code := make(chan int, 1)
		go func() {
			m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, strings.TrimPrefix(links[i], base), nil))
			code <- w.Code
		}()
		<-w.began
		return code
	}
	first, same := hold(0), hold(0) // one file counts once
	for i := 1; i < 4; i++ {
		if r := visit(m, http.MethodGet, links[i]); r.Code != http.StatusServiceUnavailable {
			t.Errorf("another file while one is held: %d", r.Code)
		}
	}
	two, err := m.Fetch(t.Context(), file(4))
	must(t, err)
	b, err := m.Fetch(t.Context(), file(1))
	must(t, err)
	if r := visit(m, http.MethodGet, links[1]); r.Code != http.StatusServiceUnavailable {
		t.Errorf("one that a message carries just now: %d", r.Code)
	}
	must(t, b.Close())
	must(t, two.Close())
	close(goOn)
	if a, b := <-first, <-same; a != http.StatusOK || b != http.StatusOK {
		t.Errorf("those who waited: %d and %d", a, b)
	}
	for i := range links { // what they held is free again
		if r := visit(m, http.MethodGet, links[i]); r.Code != http.StatusOK || r.Body.Len() != 300 {
			t.Errorf("file %d afterwards: %d, %d bytes", i, r.Code, r.Body.Len())
		}
	}
}
