package matrixside

import (
	"context"
	"encoding/json"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

const (
	requestTimeout = time.Minute
	maxResponse    = 64 << 20 // bytes; the members of a very large room
	// staleAge is how old an event is that is sent with its own time.
	staleAge = time.Minute
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

// send says something in a room and returns its event id. What happened a while ago keeps its time (Application Service
// API, "Timestamp massaging").
func (s *Side) send(ctx context.Context, user id.UserID, room id.RoomID, kind event.Type, body json.RawMessage, txn string, at time.Time) (id.EventID, error) {
	req := mautrix.ReqSendEvent{TransactionID: txn, DontEncrypt: true}
	if ms := at.UnixMilli(); ms > 0 && s.now().Sub(at) > staleAge {
		req.Timestamp = ms
	}
	resp, err := s.as(user).SendMessageEvent(ctx, room, kind, body, req)
	if err != nil {
		return "", err
	}
	return resp.EventID, nil
}

// notice is what the gateway itself has to say in a room, once.
func (s *Side) notice(ctx context.Context, user id.UserID, room id.RoomID, text, txn string) error {
	body, err := content{MsgType: event.MsgNotice, Body: text, Mentions: &event.Mentions{}}.encode()
	if err == nil {
		_, err = s.send(ctx, user, room, event.EventMessage, body, txn, time.Time{})
	}
	return err
}
