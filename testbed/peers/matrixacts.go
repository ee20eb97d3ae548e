package peers

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// What a client does beyond saying things: Client-Server API, sections 11.4 and 11.6 to 11.14, and rooms' state.

// Message is the content of a text message, formatted where HTML is given.
func Message(text, html string) map[string]any {
	content := map[string]any{"msgtype": "m.text", "body": text}
	if html != "" {
		content["format"], content["formatted_body"] = "org.matrix.custom.html", html
	}
	return content
}

// Pill is a mention as clients write it.
func Pill(user, name string) string {
	return fmt.Sprintf(`<a href="https://matrix.to/#/%s">%s</a>`, user, name)
}

// SaySome sends a message with any content.
func (m *Matrix) SaySome(ctx context.Context, room string, content map[string]any) (event string, err error) {
	body, _ := content["body"].(string)
	m.transcript.add(Entry{Where: m.owner, Who: m.UserID, Text: body, Said: true})
	return m.Send(ctx, room, "m.room.message", content)
}

// Edit replaces the text of a message.
func (m *Matrix) Edit(ctx context.Context, room, event, text string) (edit string, err error) {
	return m.SaySome(ctx, room, map[string]any{"msgtype": "m.text", "body": "* " + text, "m.new_content": Message(text, ""),
		"m.relates_to": map[string]any{"rel_type": "m.replace", "event_id": event}})
}

// Reply answers a message.
func (m *Matrix) Reply(ctx context.Context, room, event, text string) (string, error) {
	content := Message(text, "")
	content["m.relates_to"] = map[string]any{"m.in_reply_to": map[string]string{"event_id": event}}
	return m.SaySome(ctx, room, content)
}

// Thread says something in the thread of a message.
func (m *Matrix) Thread(ctx context.Context, room, root, text string) (string, error) {
	content := Message(text, "")
	content["m.relates_to"] = map[string]any{"rel_type": "m.thread", "event_id": root, "is_falling_back": true, "m.in_reply_to": map[string]string{"event_id": root}}
	return m.SaySome(ctx, room, content)
}

// React adds a reaction to a message; redacting what it returns takes it away.
func (m *Matrix) React(ctx context.Context, room, event, emoji string) (reaction string, err error) {
	return m.Send(ctx, room, "m.reaction", map[string]any{"m.relates_to": map[string]string{"rel_type": "m.annotation", "event_id": event, "key": emoji}})
}

// Redact takes an event back.
func (m *Matrix) Redact(ctx context.Context, room, event, reason string) error {
	path := fmt.Sprintf("/_matrix/client/v3/rooms/%s/redact/%s/%s", url.PathEscape(room), url.PathEscape(event), strconv.FormatInt(m.txn.Add(1), 10))
	return m.call(ctx, "PUT", path, map[string]any{"reason": reason}, nil)
}

// Typing says whether the user is typing.
func (m *Matrix) Typing(ctx context.Context, room string, typing bool) error {
	path := fmt.Sprintf("/_matrix/client/v3/rooms/%s/typing/%s", url.PathEscape(room), url.PathEscape(m.UserID))
	return m.call(ctx, "PUT", path, map[string]any{"typing": typing, "timeout": 30000}, nil)
}

// Read says that the room was read up to an event.
func (m *Matrix) Read(ctx context.Context, room, event string) error {
	return m.call(ctx, "POST", fmt.Sprintf("/_matrix/client/v3/rooms/%s/receipt/m.read/%s", url.PathEscape(room), url.PathEscape(event)), map[string]any{}, nil)
}

// Leave leaves a room.
func (m *Matrix) Leave(ctx context.Context, room string) error {
	return m.call(ctx, "POST", "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/leave", map[string]any{}, nil)
}

// Kick sends a user away.
func (m *Matrix) Kick(ctx context.Context, room, user, reason string) error {
	return m.call(ctx, "POST", "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/kick", map[string]any{"user_id": user, "reason": reason}, nil)
}

// Ban sends a user away for good.
func (m *Matrix) Ban(ctx context.Context, room, user, reason string) error {
	return m.call(ctx, "POST", "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/ban", map[string]any{"user_id": user, "reason": reason}, nil)
}

// State returns the content of a state event.
func (m *Matrix) State(ctx context.Context, room, kind, key string) (content map[string]any, err error) {
	err = m.call(ctx, "GET", fmt.Sprintf("/_matrix/client/v3/rooms/%s/state/%s/%s", url.PathEscape(room), url.PathEscape(kind), url.PathEscape(key)), nil, &content)
	return content, err
}

// SetPower gives a user a power level in a room of ours.
func (m *Matrix) SetPower(ctx context.Context, room, user string, level int) error {
	content, err := m.State(ctx, room, "m.room.power_levels", "")
	if err != nil {
		return err
	}
	users, _ := content["users"].(map[string]any)
	if users == nil {
		users = map[string]any{}
	}
	users[user], content["users"] = level, users
	return m.SetState(ctx, room, "m.room.power_levels", "", content)
}

// Get looks at a value in an event's content: "m.relates_to", "event_id".
func (e MatrixEvent) Get(path ...string) any {
	var at any = e.Content
	for _, name := range path {
		within, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = within[name]
	}
	return at
}

// Value is Get for a text, "" where there is none.
func (e MatrixEvent) Value(path ...string) string {
	s, _ := e.Get(path...).(string)
	return s
}

// Mentions are the users that a message pings.
func (e MatrixEvent) Mentions() (users []string) {
	found, _ := e.Get("m.mentions", "user_ids").([]any)
	for _, u := range found {
		if s, ok := u.(string); ok {
			users = append(users, s)
		}
	}
	return users
}

// Redacts is the event that a redaction takes back.
func (e MatrixEvent) Redacts() string {
	if e.Top != "" {
		return e.Top
	}
	return e.Value("redacts")
}

// AwaitEdit waits for a correction of an event by somebody else.
func (m *Matrix) AwaitEdit(ctx context.Context, room, of, text string) (MatrixEvent, error) {
	return m.Await(ctx, fmt.Sprintf("the correction of %s to %q", of, text), func(e MatrixEvent) bool {
		return e.Room == room && e.Sender != m.UserID && e.Value("m.relates_to", "rel_type") == "m.replace" && e.Value("m.relates_to", "event_id") == of &&
			contains(e.Value("m.new_content", "body"), text)
	})
}

// AwaitRedaction waits until somebody else has taken an event back.
func (m *Matrix) AwaitRedaction(ctx context.Context, room, of string) (MatrixEvent, error) {
	return m.Await(ctx, "the redaction of "+of, func(e MatrixEvent) bool {
		return e.Room == room && e.Sender != m.UserID && e.Type == "m.room.redaction" && e.Redacts() == of
	})
}

// AwaitReaction waits for somebody else's reaction to an event.
func (m *Matrix) AwaitReaction(ctx context.Context, mark int, room, to, emoji string) (MatrixEvent, error) {
	return m.AwaitAfter(ctx, mark, fmt.Sprintf("the reaction %s to %s", emoji, to), func(e MatrixEvent) bool {
		return e.Room == room && e.Sender != m.UserID && e.Type == "m.reaction" && e.Value("m.relates_to", "event_id") == to && e.Value("m.relates_to", "key") == emoji
	})
}

// AwaitTyping waits until a user with that prefix (without @) types, or until nobody with it does.
func (m *Matrix) AwaitTyping(ctx context.Context, mark int, room, prefix string, typing bool) (MatrixEvent, error) {
	return m.AwaitAfter(ctx, mark, fmt.Sprintf("typing of @%s…: %v", prefix, typing), func(e MatrixEvent) bool {
		users, _ := e.Get("user_ids").([]any)
		return e.Room == room && e.Type == "m.typing" && slices.ContainsFunc(users, func(u any) bool {
			s, _ := u.(string)
			return strings.HasPrefix(s, "@"+prefix)
		}) == typing
	})
}

// AwaitRead waits until a user with that prefix (without @) has read up to an event.
func (m *Matrix) AwaitRead(ctx context.Context, room, event, prefix string) (MatrixEvent, error) {
	return m.Await(ctx, fmt.Sprintf("a read marker of @%s… at %s", prefix, event), func(e MatrixEvent) bool {
		if e.Room != room || e.Type != "m.receipt" {
			return false
		}
		readers, _ := e.Get(event, "m.read").(map[string]any)
		for user := range readers {
			if strings.HasPrefix(user, "@"+prefix) {
				return true
			}
		}
		return false
	})
}

// AwaitMember waits until a user's membership is that.
func (m *Matrix) AwaitMember(ctx context.Context, mark int, room, user, membership string) (MatrixEvent, error) {
	return m.AwaitAfter(ctx, mark, user+": "+membership, func(e MatrixEvent) bool {
		return e.Room == room && e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == user && e.Value("membership") == membership
	})
}

// AwaitState waits for a state event of that type whose content fits.
func (m *Matrix) AwaitState(ctx context.Context, mark int, room, kind string, fits func(MatrixEvent) bool) (MatrixEvent, error) {
	return m.AwaitAfter(ctx, mark, "state "+kind, func(e MatrixEvent) bool { return e.Room == room && e.Type == kind && e.StateKey != nil && fits(e) })
}
