package matrixside

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

const (
	requestTimeout = time.Minute
	maxResponse    = 64 << 20 // bytes; the members of a very large room
	maxRetryAfter  = 10 * time.Minute
	historyPage    = 100
	historyPages   = 5
)

// as returns a client that speaks as one of our users (Application Service API, "Identity assertion"). It never
// retries by itself: an answer that was not seen must lead to a look into the history first.
func (s *Side) as(user id.UserID) *mautrix.Client {
	return &mautrix.Client{
		HomeserverURL:       s.homeserver,
		UserID:              user,
		AccessToken:         s.reg.ASToken,
		UserAgent:           "lockbridge",
		Client:              s.http,
		SetAppServiceUserID: user != s.names.bot,
		IgnoreRateLimit:     true,
		ResponseSizeLimit:   maxResponse,
		Log:                 zerolog.Nop(),
	}
}

func (s *Side) bot() *mautrix.Client { return s.as(s.names.bot) }

// send says something in a room and returns its event id.
func (s *Side) send(ctx context.Context, user id.UserID, room id.RoomID, c content, txn string) (id.EventID, error) {
	body, err := c.encode()
	if err != nil {
		return "", err
	}
	resp, err := s.as(user).SendMessageEvent(ctx, room, event.EventMessage, body, mautrix.ReqSendEvent{TransactionID: txn, DontEncrypt: true})
	if err != nil {
		return "", err
	}
	return resp.EventID, nil
}

// page is an answer of /messages whose events are still unread, so that a strange one spoils only itself.
type page struct {
	Chunk []json.RawMessage `json:"chunk"`
	End   string            `json:"end"`
}

// history reads a room backwards as one of our users, historyPages × historyPage events at most, while visit wants
// more. What cannot be read is left out.
func (s *Side) history(ctx context.Context, reader id.UserID, room id.RoomID, what mautrix.FilterPart, visit func(*nativeEvent) (more bool)) error {
	filter, err := json.Marshal(what)
	if err != nil {
		return err
	}
	query := map[string]string{"dir": "b", "limit": strconv.Itoa(historyPage), "filter": string(filter)}
	client := s.as(reader)
	for range historyPages {
		var p page
		url := client.BuildURLWithQuery(mautrix.ClientURLPath{"v3", "rooms", room, "messages"}, query)
		if _, err := client.MakeRequest(ctx, http.MethodGet, url, nil, &p); err != nil {
			return err
		}
		for _, raw := range p.Chunk {
			if ev, err := parseEvent(raw); err == nil && !visit(ev) {
				return nil
			}
		}
		if p.End == "" || len(p.Chunk) == 0 {
			break
		}
		query["from"] = p.End
	}
	return nil
}

// findSent looks for deliveries among what users of ours said lately in a room. It adds delivery key → event id to
// found.
func (s *Side) findSent(ctx context.Context, reader id.UserID, room id.RoomID, users []id.UserID, keys map[string]bool, found map[string]id.EventID) error {
	what := mautrix.FilterPart{Senders: users, Types: []event.Type{event.EventMessage}}
	return s.history(ctx, reader, room, what, func(ev *nativeEvent) (more bool) {
		if echo, ok := decodeEcho(ev); ok && s.names.ours(ev.Sender) && keys[echo.Key] {
			found[echo.Key] = ev.ID
		}
		return len(found) < len(keys)
	})
}

// status is the HTTP status that an error carries; 0 means that no answer came.
func status(err error) int {
	var httpErr mautrix.HTTPError
	if errors.As(err, &httpErr) && httpErr.Response != nil {
		return httpErr.Response.StatusCode
	}
	return 0
}

// isForbidden reports a refusal, whatever its errcode: Synapse answers M_BAD_STATE to one who is banned.
func isForbidden(err error) bool { return status(err) == http.StatusForbidden }

// instruction turns a failed request into what the gateway should do about its delivery.
func instruction(err error) error {
	var known mautrix.RespError
	errors.As(err, &known)
	code := status(err)
	switch {
	case gateway.IsDrop(err):
		return err
	case code == http.StatusTooManyRequests || errors.Is(err, mautrix.MLimitExceeded):
		return gateway.Later(retryAfter(err, known), err)
	case code == http.StatusRequestEntityTooLarge || errors.Is(err, mautrix.MTooLarge):
		return errTooLarge
	case isForbidden(err):
		return gateway.Dropf("the Matrix room does not let you speak")
	case code == http.StatusBadRequest:
		return gateway.Dropf("the Matrix server refuses the message (%s)", gateway.CleanName(known.ErrCode))
	}
	return err
}

// retryAfter is how long a rate limit asks us to wait: in the body, or in the header since Matrix 1.10.
func retryAfter(err error, known mautrix.RespError) time.Duration {
	wait := time.Second
	var httpErr mautrix.HTTPError
	if ms, ok := known.ExtraData["retry_after_ms"].(float64); ok && ms > 0 && ms < float64(maxRetryAfter.Milliseconds()) {
		wait = time.Duration(ms) * time.Millisecond
	} else if errors.As(err, &httpErr) && httpErr.Response != nil {
		if n, err := strconv.Atoi(httpErr.Response.Header.Get("Retry-After")); err == nil && n > 0 {
			wait = time.Duration(min(n, int(maxRetryAfter.Seconds()))) * time.Second
		}
	}
	return wait
}
