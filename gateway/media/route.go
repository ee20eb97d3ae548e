package media

import (
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"lockbridge/gateway"
)

// maxVisitors bounds how many requests are answered at once.
const maxVisitors = 64

// Handler serves the links, under the path of Config.URL. Whatever is wrong with a link, the answer is the same: there
// is nothing here.
func (m *Media) Handler() http.Handler {
	mux := http.NewServeMux()
	if m.base == nil {
		return mux
	}
	visitors := make(chan struct{}, maxVisitors)
	mux.HandleFunc("GET "+m.base.Path+"/m/{token}/{name}", func(w http.ResponseWriter, r *http.Request) {
		select {
		case visitors <- struct{}{}:
			defer func() { <-visitors }()
			m.serve(w, r)
		default:
			busy(w)
		}
	})
	return mux
}

func busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "5")
	http.Error(w, "too much is asked for at once", http.StatusServiceUnavailable)
}

func (m *Media) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	row, good := m.row(r.PathValue("token"))
	if !good {
		http.NotFound(w, r)
		return
	}
	data, _, err := m.shelf.Link(r.Context(), row)
	if err != nil {
		m.log.Warn("a link could not be looked up", "err", err)
		busy(w)
		return
	}
	var what shelved
	if data == nil || json.Unmarshal(data, &what) != nil {
		http.NotFound(w, r)
		return
	}
	h.Set("Cache-Control", "private")
	if what.File == nil {
		m.head(w, what.Name, "text/plain")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(what.Text))
		return
	}
	blob, err := m.fetch(r.Context(), *what.File, true)
	if err != nil {
		m.cannot(w, r, err)
		return
	}
	defer blob.Close()
	m.head(w, what.File.Name, blob.MIME())
	http.ServeContent(w, r, "", time.Time{}, &seeker{blob: blob})
}

// cannot answers where a file cannot be had.
func (m *Media) cannot(w http.ResponseWriter, r *http.Request, err error) {
	_, later := gateway.LaterThan(err)
	switch {
	case r.Context().Err() != nil: // nobody waits for it
	case gateway.IsDrop(err):
		http.NotFound(w, r)
	case later: // others read so much, and could fill the log as well
		busy(w)
	default:
		m.log.Info("a file behind a link could not be fetched", "err", err)
		busy(w)
	}
}

// head says what follows. What a browser could run is no type of its own here, and what it cannot show is saved.
func (m *Media) head(w http.ResponseWriter, name, kind string) {
	bare, _, err := mime.ParseMediaType(kind)
	if err != nil || isActive(bare) {
		kind, bare = octets, octets
	}
	major, _, _ := strings.Cut(bare, "/")
	way := "attachment"
	if slices.Contains([]string{"image", "audio", "video"}, major) || bare == "text/plain" {
		way = "inline"
	}
	if bare == "text/plain" {
		kind = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", mime.FormatMediaType(way, map[string]string{"filename": linkName(name)}))
}

// isActive reports whether browsers may run what a file of that type holds.
func isActive(kind string) bool {
	for _, part := range []string{"html", "xml", "svg", "script", "css"} {
		if strings.Contains(kind, part) {
			return true
		}
	}
	return false
}
