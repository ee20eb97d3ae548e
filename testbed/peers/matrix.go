package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Matrix is a Matrix user, logged in over plain HTTP, whose feed is its /sync.
type Matrix struct {
	*Feed[MatrixEvent]
	UserID string

	base, token string
	client      *http.Client
	transcript  *Transcript
	txn         atomic.Int64
	keep        atomic.Bool // see Keep
	cancel      context.CancelFunc
	done        sync.WaitGroup
}

// MatrixEvent is one event of a room as /sync gave it, ephemeral ones too. Invites appear with their stripped state.
type MatrixEvent struct {
	Room     string         `json:"-"`
	Invite   bool           `json:"-"`
	ID       string         `json:"event_id"`
	Sender   string         `json:"sender"`
	Type     string         `json:"type"`
	StateKey *string        `json:"state_key"`
	Top      string         `json:"redacts"` // what a redaction takes back, before room version 11; see Redacts
	Content  map[string]any `json:"content"`
}

// Text is the body of a message event.
func (e MatrixEvent) Text() string {
	s, _ := e.Content["body"].(string)
	return s
}

func (e MatrixEvent) String() string {
	content, _ := json.Marshal(e.Content)
	return fmt.Sprintf("%s %s in %s: %s", e.Type, e.Sender, e.Room, content)
}

// LoginMatrix logs in and starts to sync; Close ends it.
func LoginMatrix(ctx context.Context, b *Bed, name, password string, t *Transcript) (*Matrix, error) {
	m := &Matrix{base: b.HomeserverURL(), client: &http.Client{}, transcript: t}
	m.UserID = "@" + name + ":" + b.Host
	m.Feed = newFeed("Matrix "+name, MatrixEvent.String)
	var login struct {
		Token string `json:"access_token"`
	}
	err := m.call(ctx, "POST", "/_matrix/client/v3/login", map[string]any{"type": "m.login.password",
		"identifier": map[string]string{"type": "m.id.user", "user": name}, "password": password}, &login)
	if err != nil {
		return nil, err
	}
	m.token = login.Token
	run, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.done.Go(func() { m.end(m.sync(run)) })
	return m, nil
}

// Close stops the sync.
func (m *Matrix) Close() {
	m.cancel()
	m.done.Wait()
}

type syncAnswer struct {
	Next  string `json:"next_batch"`
	Rooms struct {
		Join map[string]struct {
			State     eventList `json:"state"`
			Timeline  eventList `json:"timeline"`
			Ephemeral eventList `json:"ephemeral"`
		} `json:"join"`
		Invite map[string]struct {
			State eventList `json:"invite_state"`
		} `json:"invite"`
	} `json:"rooms"`
}

type eventList struct {
	Events []MatrixEvent `json:"events"`
}

func (m *Matrix) sync(ctx context.Context) error {
	since := ""
	for {
		var answer syncAnswer
		query := url.Values{"timeout": {"30000"}, "filter": {`{"room":{"timeline":{"limit":1000}}}`}}
		if since != "" {
			query.Set("since", since)
		}
		if err := m.call(ctx, "GET", "/_matrix/client/v3/sync?"+query.Encode(), nil, &answer); err != nil {
			if m.keep.Load() && rest(ctx, keepPause) {
				continue
			}
			return fmt.Errorf("sync: %w", err)
		}
		since = answer.Next
		for room, r := range answer.Rooms.Invite {
			for _, e := range r.State.Events {
				e.Room, e.Invite = room, true
				m.add(e)
			}
		}
		for room, r := range answer.Rooms.Join {
			for _, e := range slices.Concat(r.State.Events, r.Timeline.Events, r.Ephemeral.Events) {
				e.Room = room
				if e.Type == "m.room.message" && e.Sender != m.UserID {
					m.transcript.add(Entry{Where: m.owner, Who: e.Sender, Text: e.Text()})
				}
				m.add(e)
			}
		}
	}
}

// Keep has the user go on where it was when the homeserver comes back.
func (m *Matrix) Keep() { m.keep.Store(true) }

// keepPause is how long after a failure the homeserver is asked again.
const keepPause = 200 * time.Millisecond

// rest waits; it returns false when ctx ended first.
func rest(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// SayUntilTaken sends a text message and tries again, under the same transaction id, until the homeserver has taken it.
func (m *Matrix) SayUntilTaken(ctx context.Context, room, text string) error {
	m.transcript.add(Entry{Where: m.owner, Who: m.UserID, Text: text, Said: true})
	transaction := m.txn.Add(1)
	for {
		_, err := m.put(ctx, room, "m.room.message", transaction, map[string]any{"msgtype": "m.text", "body": text})
		if err == nil || !rest(ctx, keepPause) {
			return err
		}
	}
}

// CreateRoom makes a room, public unless private, with an alias when one is named (its localpart).
func (m *Matrix) CreateRoom(ctx context.Context, alias string, public bool) (room string, err error) {
	preset := "private_chat"
	if public {
		preset = "public_chat"
	}
	request := map[string]any{"preset": preset, "name": alias}
	if alias != "" {
		request["room_alias_name"] = alias
	}
	var answer struct {
		Room string `json:"room_id"`
	}
	err = m.call(ctx, "POST", "/_matrix/client/v3/createRoom", request, &answer)
	return answer.Room, err
}

// Join enters a room by id or alias.
func (m *Matrix) Join(ctx context.Context, room string) error {
	return m.call(ctx, "POST", "/_matrix/client/v3/join/"+url.PathEscape(room), map[string]any{}, nil)
}

// Invite asks a user into a room.
func (m *Matrix) Invite(ctx context.Context, room, user string) error {
	return m.call(ctx, "POST", "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/invite", map[string]any{"user_id": user}, nil)
}

// Say sends a text message.
func (m *Matrix) Say(ctx context.Context, room, text string) (event string, err error) {
	m.transcript.add(Entry{Where: m.owner, Who: m.UserID, Text: text, Said: true})
	return m.Send(ctx, room, "m.room.message", map[string]any{"msgtype": "m.text", "body": text})
}

// Send sends an event of any type.
func (m *Matrix) Send(ctx context.Context, room, kind string, content map[string]any) (event string, err error) {
	return m.put(ctx, room, kind, m.txn.Add(1), content)
}

func (m *Matrix) put(ctx context.Context, room, kind string, transaction int64, content map[string]any) (event string, err error) {
	var answer struct {
		Event string `json:"event_id"`
	}
	path := fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/%s/%s", url.PathEscape(room), url.PathEscape(kind), strconv.FormatInt(transaction, 10))
	err = m.call(ctx, "PUT", path, content, &answer)
	return answer.Event, err
}

// SetState sends a state event.
func (m *Matrix) SetState(ctx context.Context, room, kind, key string, content map[string]any) error {
	path := fmt.Sprintf("/_matrix/client/v3/rooms/%s/state/%s/%s", url.PathEscape(room), url.PathEscape(kind), url.PathEscape(key))
	return m.call(ctx, "PUT", path, content, nil)
}

// SetDisplayName sets the name that others see.
func (m *Matrix) SetDisplayName(ctx context.Context, name string) error {
	return m.call(ctx, "PUT", "/_matrix/client/v3/profile/"+url.PathEscape(m.UserID)+"/displayname", map[string]any{"displayname": name}, nil)
}

// Members returns the joined users of a room and their display names.
func (m *Matrix) Members(ctx context.Context, room string) (map[string]string, error) {
	var answer struct {
		Joined map[string]struct {
			Name string `json:"display_name"`
		} `json:"joined"`
	}
	err := m.call(ctx, "GET", "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/joined_members", nil, &answer)
	names := map[string]string{}
	for user, j := range answer.Joined {
		names[user] = j.Name
	}
	return names, err
}

// AwaitInvite waits until somebody of the users with that prefix (without @) has invited us somewhere, and returns where.
func (m *Matrix) AwaitInvite(ctx context.Context, prefix string) (room string, err error) {
	e, err := m.Await(ctx, "an invitation by @"+prefix, func(e MatrixEvent) bool {
		return e.Invite && e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == m.UserID && strings.HasPrefix(e.Sender, "@"+prefix)
	})
	return e.Room, err
}

// AwaitText waits for a message in the room that holds the text, by somebody else.
func (m *Matrix) AwaitText(ctx context.Context, room, text string) (MatrixEvent, error) {
	return m.Await(ctx, fmt.Sprintf("the message %q", text), func(e MatrixEvent) bool {
		return e.Room == room && e.Type == "m.room.message" && e.Sender != m.UserID && contains(e.Text(), text)
	})
}

func (m *Matrix) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, m.base+path, body)
	if err != nil {
		return err
	}
	if m.token != "" {
		request.Header.Set("Authorization", "Bearer "+m.token)
	}
	response, err := m.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, request.URL.Path, response.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
