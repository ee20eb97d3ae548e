package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// Transactions stand where the homeserver believes the gateway and pass its requests on, noting when the gateway took one: a
// homeserver that found the gateway away tries again when it likes, and that wait is not the gateway's.
type Transactions struct {
	server *http.Server
	done   sync.WaitGroup

	mu    sync.Mutex
	taken []time.Time // when they were made
}

// passTransactions listens at one address and passes on to another.
func passTransactions(listen, to string) (*Transactions, error) {
	t := &Transactions{}
	target, err := url.Parse("http://" + to)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listening for the homeserver: %w", err)
	}
	pass := httputil.NewSingleHostReverseProxy(target)
	// A connection that was kept would fail the first request after a restart of the gateway, and the homeserver's pause would double.
	pass.Transport = &http.Transport{DisableKeepAlives: true}
	pass.ModifyResponse = func(r *http.Response) error {
		if r.StatusCode == http.StatusOK {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.taken = append(t.taken, r.Request.Context().Value(began{}).(time.Time))
		}
		return nil
	}
	pass.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	t.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pass.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), began{}, time.Now())))
	})}
	t.done.Go(func() {
		if err := t.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	})
	return t, nil
}

// began is the context's key for when a request came.
type began struct{}

// First returns when the first request after a moment was made that the gateway took.
func (t *Transactions) First(after time.Time) (at time.Time, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, when := range t.taken {
		if when.After(after) {
			return when, true
		}
	}
	return time.Time{}, false
}

// Close ends it.
func (t *Transactions) Close() {
	t.server.Close()
	t.done.Wait()
}
