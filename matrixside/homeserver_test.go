package matrixside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lockbridge/gateway"
)

// fakeHomeserver answers like a homeserver where a test needs what a real one cannot be made to do. Everything
// succeeds unless the test scripts it.
type fakeHomeserver struct {
	t      *testing.T
	server *httptest.Server
	cfg    Config
	reg    registration

	mu       sync.Mutex
	scripted map[string][]reply // by "METHOD /path/after/v3"; the first one answers next
	calls    []string           // "user METHOD /path"
	sent     []sentEvent
	acts     []act // reactions, redactions, states
	changed  chan struct{}
	ts       string // of the request at hand
	botOut   bool   // the bot was taken out of the room
	txn      int
}

// reply is a scripted answer.
type reply struct {
	code int
	body string
	cut  bool // the connection breaks instead; the request took effect
}

type sentEvent struct {
	User    string
	Txn     string
	Time    string // the ts that was asked for
	Content json.RawMessage
}

// act is something that was done without words.
type act struct {
	User, Kind, Target string
	Key                string // of a reaction
	Content            json.RawMessage
	gone               bool
}

func (a act) String() string { return a.User + " " + a.Kind + " " + a.Target + " " + a.Key }

const testRoom = "!room:example.org"

func newHomeserver(t *testing.T) *fakeHomeserver {
	t.Helper()
	hs := &fakeHomeserver{t: t, scripted: map[string][]reply{}, changed: make(chan struct{})}
	hs.server = httptest.NewServer(http.HandlerFunc(hs.serve))
	t.Cleanup(hs.server.Close)
	hs.cfg = defaults()
	hs.cfg.Homeserver, hs.cfg.Domain, hs.cfg.Listen = hs.server.URL, "example.org", freeAddress(t)
	hs.cfg.URL = "http://" + hs.cfg.Listen
	hs.cfg.Registration = filepath.Join(t.TempDir(), "registration.yaml")
	must(t, WriteRegistration(hs.cfg, hs.cfg.Registration))
	var err error
	hs.reg, err = readRegistration(hs.cfg.Registration)
	must(t, err)
	return hs
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// script makes the next answers to a request.
func (hs *fakeHomeserver) script(request string, replies ...reply) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.scripted[request] = append(hs.scripted[request], replies...)
}

func refusal(code int, errcode string) reply {
	return reply{code: code, body: fmt.Sprintf(`{"errcode":%q,"error":"scripted"}`, errcode)}
}

func (hs *fakeHomeserver) serve(w http.ResponseWriter, r *http.Request) {
	user := r.URL.Query().Get("user_id")
	if user == "" {
		user = "@lockbridge:example.org"
	}
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/_matrix/client/v3"), "/_matrix/client")
	var body json.RawMessage
	_ = json.NewDecoder(r.Body).Decode(&body) // GET has none
	hs.mu.Lock()
	hs.calls, hs.ts = append(hs.calls, user+" "+r.Method+" "+path), r.URL.Query().Get("ts")
	close(hs.changed)
	hs.changed = make(chan struct{})
	key := r.Method + " " + path
	if at := strings.LastIndex(key, "/send/m.room.message/"); at >= 0 {
		key = key[:at] + "/send"
	} else if at := strings.LastIndex(key, "/send/m.reaction/"); at >= 0 {
		key = key[:at] + "/react"
	} else if before, after, ok := strings.Cut(key, "/redact/"); ok {
		event, _, _ := strings.Cut(after, "/")
		key = before + "/redact/" + event
	}
	if r.URL.Query().Get("dir") == "f" {
		key += "?dir=f"
	}
	answer := reply{code: http.StatusOK}
	if queue := hs.scripted[key]; len(queue) > 0 {
		answer, hs.scripted[key] = queue[0], queue[1:]
	} else {
		answer.body = hs.ordinary(user, r.Method, path, body)
	}
	if answer.cut {
		hs.ordinary(user, r.Method, path, body)
	}
	hs.mu.Unlock()
	if answer.cut {
		panic(http.ErrAbortHandler)
	}
	if answer.body == "" {
		answer = refusal(http.StatusNotFound, "M_NOT_FOUND")
	}
	w.WriteHeader(answer.code)
	fmt.Fprint(w, answer.body)
}

// ordinary is what happens when nothing is scripted. The caller holds hs.mu.
func (hs *fakeHomeserver) ordinary(user, method, path string, body json.RawMessage) string {
	switch {
	case path == "/account/whoami":
		return `{"user_id":"@lockbridge:example.org"}`
	case strings.HasPrefix(path, "/directory/room/"):
		return `{"room_id":"` + testRoom + `","servers":["example.org"]}`
	case strings.HasPrefix(path, "/join/"):
		return `{"room_id":"` + strings.TrimPrefix(path, "/join/") + `"}`
	case strings.HasSuffix(path, "/joined_members"):
		return `{"joined":{"@romeo:example.org":{"display_name":"Romeo"},"@lockbridge:example.org":{"display_name":"lockbridge"}}}`
	case strings.Contains(path, "/send/m.room.message/"):
		hs.sent = append(hs.sent, sentEvent{user, path[strings.LastIndex(path, "/")+1:], hs.ts, body})
		return fmt.Sprintf(`{"event_id":"$sent%d"}`, len(hs.sent))
	case strings.HasSuffix(path, "/messages"):
		return hs.history()
	case strings.Contains(path, "/send/m.reaction/"), strings.Contains(path, "/redact/"), method == http.MethodPut && strings.Contains(path, "/state/"):
		return hs.done(user, path, body)
	case strings.Contains(path, "/relations/"):
		return hs.relations(path)
	case strings.HasSuffix(path, "/state/m.room.member/@lockbridge:example.org"):
		if hs.botOut {
			return `{"membership":"leave"}`
		}
		return `{"membership":"join"}`
	case strings.Contains(path, "/state/"):
		return ""
	}
	return `{}`
}

// done notes an act. The caller holds hs.mu.
func (hs *fakeHomeserver) done(user, path string, body json.RawMessage) string {
	var c struct {
		Relates struct {
			Event string `json:"event_id"`
			Key   string `json:"key"`
		} `json:"m.relates_to"`
	}
	_ = json.Unmarshal(body, &c)
	a := act{User: user, Kind: "reaction", Target: c.Relates.Event, Key: c.Relates.Key, Content: body}
	if _, rest, ok := strings.Cut(path, "/redact/"); ok {
		a.Kind = "redaction"
		a.Target, _, _ = strings.Cut(rest, "/")
		for i := range hs.acts {
			hs.acts[i].gone = hs.acts[i].gone || fmt.Sprintf("$act%d", i+1) == a.Target
		}
	} else if _, rest, ok := strings.Cut(path, "/state/"); ok {
		a.Kind, a.Target = "state", rest
	}
	hs.acts = append(hs.acts, a)
	return fmt.Sprintf(`{"event_id":"$act%d"}`, len(hs.acts))
}

// relations are the reactions that are not taken back. The caller holds hs.mu.
func (hs *fakeHomeserver) relations(path string) string {
	_, target, _ := strings.Cut(path, "/relations/")
	target, _, _ = strings.Cut(target, "/")
	var chunk []string
	for i, a := range hs.acts {
		if a.Kind == "reaction" && a.Target == target && !a.gone {
			chunk = append(chunk, fmt.Sprintf(`{"event_id":"$act%d","type":"m.reaction","sender":%q,"content":%s}`, i+1, a.User, a.Content))
		}
	}
	return `{"chunk":[` + strings.Join(chunk, ",") + `]}`
}

// did is what was done so far, in words.
func (hs *fakeHomeserver) did() (out []string) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, a := range hs.acts {
		out = append(out, strings.TrimSpace(a.String()))
	}
	return out
}

func (hs *fakeHomeserver) history() string {
	var chunk []string
	for i, ev := range hs.sent {
		chunk = append(chunk, fmt.Sprintf(`{"event_id":"$sent%d","room_id":%q,"type":"m.room.message","sender":%q,"content":%s}`, i+1, testRoom, ev.User, ev.Content))
	}
	return `{"chunk":[null,7,` + strings.Join(append(chunk, `{}`), ",") + `]}`
}

// takeBotOut has the bot be out of the room, or not.
func (hs *fakeHomeserver) takeBotOut(out bool) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.botOut = out
}

// said is what was sent so far.
func (hs *fakeHomeserver) said() []sentEvent {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return append([]sentEvent(nil), hs.sent...)
}

// count is how often a request was made.
func (hs *fakeHomeserver) count(call string) int {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	n := 0
	for _, c := range hs.calls {
		if c == call {
			n++
		}
	}
	return n
}

// await waits until a request was made n times.
func (hs *fakeHomeserver) await(ctx context.Context, call string, n int) {
	hs.t.Helper()
	for {
		hs.mu.Lock()
		changed := hs.changed
		hs.mu.Unlock()
		if hs.count(call) >= n {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			hs.t.Fatalf("%s was made %d times, want %d", call, hs.count(call), n)
		}
	}
}

// push hands events to the side in a transaction and returns the status of the answer.
func (hs *fakeHomeserver) push(ctx context.Context, events ...string) int {
	hs.t.Helper()
	hs.txn++
	return hs.request(ctx, http.MethodPut, fmt.Sprintf("/_matrix/app/v1/transactions/%d", hs.txn), "Bearer "+hs.reg.HSToken, `{"events":[`+strings.Join(events, ",")+`]}`)
}

func (hs *fakeHomeserver) request(ctx context.Context, method, path, authorization, body string) int {
	hs.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, hs.cfg.URL+path, bytes.NewBufferString(body))
	must(hs.t, err)
	r.Header["Idempotency-Key"] = nil // sent once more where the side has closed the connection, as a homeserver does
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(r)
	must(hs.t, err)
	_, err = io.Copy(io.Discard, resp.Body) // else the connection breaks, which raises doubt
	must(hs.t, errors.Join(err, resp.Body.Close()))
	return resp.StatusCode
}

// quick makes a side try again at once.
func quick(s *Side) { s.pause = func(int) time.Duration { return time.Millisecond } }

// lobby is a room of a bridge with IRC.
func lobby(id string) gateway.Room {
	return gateway.Room{
		Address: gateway.Address{Network: "matrix", ID: id}, Bridge: "lobby",
		Others: []gateway.Address{{Network: "irc", ID: "#lobby"}},
	}
}

// message is a text by romeo as the homeserver pushes it.
func message(id, text string) string {
	body, _ := json.Marshal(text) // a string always has a JSON form
	return fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.message","sender":"@romeo:example.org","origin_server_ts":1700000000000,"content":{"msgtype":"m.text","body":%s}}`, id, testRoom, body)
}

func memberEvent(id, room, sender, member, membership string) string {
	return fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.member","sender":%q,"state_key":%q,"content":{"membership":%q}}`, id, room, sender, member, membership)
}

// deadline is for a whole test, on a busy machine.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// fakeConn is a connection that nothing is done with.
type fakeConn struct {
	net.Conn
	_ byte // so that each has an address of its own
}
