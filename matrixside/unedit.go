package matrixside

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// People take back one edit out of a message's history, and the message says again what it said before. Of a redacted
// event nothing tells that it was an edit, so the latest ones are remembered, and the homeserver is asked what the message
// says now. Without that the other networks would lose all of it: as they do where the edit is of longer ago.

// maxEdits is how many edits are remembered, and standingEdits how many of a message are looked through.
const (
	maxEdits      = 4096
	standingEdits = 20
)

// edits are the latest edits of people, and what they edit. Whoever has the turn uses it.
type edits map[id.EventID]id.EventID

// editOf is what an event edits; empty if nothing.
func (ev *nativeEvent) editOf() id.EventID {
	relation := get[fields](ev.Content, "m.relates_to")
	target := get[string](relation, "event_id")
	if ev.Type != event.EventMessage.Type || get[string](relation, "rel_type") != string(event.RelReplace) || !saneID(target, '$') {
		return ""
	}
	return id.EventID(target)
}

// lookBack looks back to the edits that events take back. direct are the arrivals of direct chats among them.
func (s *Side) lookBack(ctx context.Context, direct []arrival, events []*nativeEvent) error {
	readers := map[id.RoomID]id.UserID{}
	for _, a := range direct {
		readers[a.from.chat] = a.from.ghost
	}
	for _, ev := range events {
		if s.roomOf(ev.Room) != nil {
			readers[ev.Room] = s.names.bot
		}
		if reader := readers[ev.Room]; reader != "" {
			if err := s.lookBackAt(ctx, reader, ev); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookBackAt remembers an edit, and has a redaction of one know what the message says without it.
func (s *Side) lookBackAt(ctx context.Context, reader id.UserID, ev *nativeEvent) error {
	if target := ev.editOf(); target != "" && !s.names.ours(ev.Sender) {
		if len(s.edits) >= maxEdits {
			clear(s.edits)
		}
		s.edits[ev.ID] = target
		return nil
	}
	if ev.Type != event.EventRedaction.Type {
		return nil
	}
	edited, known := s.edits[id.EventID(ev.redacted().Native)]
	if !known || s.isStale(ev) {
		return nil
	}
	now, err := s.standing(ctx, reader, ev.Room, edited)
	if err != nil && !isHopeless(err) {
		return fmt.Errorf("ask what an edited message says now: %w", err)
	}
	ev.Standing = now
	return nil
}

// standing is the event that shows what a message says now: the latest edit of its author, or itself. It is nil if that is
// not to be had.
func (s *Side) standing(ctx context.Context, reader id.UserID, room id.RoomID, message id.EventID) (*nativeEvent, error) {
	client := s.as(reader)
	var raw json.RawMessage
	url := client.BuildClientURL("v3", "rooms", room, "event", message)
	if _, err := client.MakeRequest(ctx, http.MethodGet, url, nil, &raw); err != nil {
		return nil, err
	}
	first, err := parseEvent(raw)
	if err != nil || len(first.Content) == 0 { // it was redacted itself
		return nil, nil
	}
	var found page
	url = client.BuildURLWithQuery(mautrix.ClientURLPath{"v1", "rooms", room, "relations", message, event.RelReplace},
		map[string]string{"dir": "b", "limit": fmt.Sprint(standingEdits)})
	if _, err := client.MakeRequest(ctx, http.MethodGet, url, nil, &found); err != nil {
		return nil, err
	}
	for _, raw := range found.Chunk {
		if ev, err := parseEvent(raw); err == nil && ev.Sender == first.Sender && ev.editOf() == message {
			return ev, nil
		}
	}
	return first, nil
}

// decodeStanding makes an edit of what a message says now.
func decodeStanding(ev *nativeEvent, sc scene) (gateway.Body, error) {
	body, err := decodeMessage(ev, sc)
	if m, ok := body.(gateway.Message); ok {
		if m.Text.Plain == "" {
			return nil, err
		}
		body = gateway.Edit{Target: refTo(string(ev.ID)), Text: m.Text, Files: m.Files, Style: m.Style}
	}
	return body, err
}
