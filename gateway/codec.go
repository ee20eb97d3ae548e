package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// stored is an event as it lies in the journal: it is written with a Body and read with its bytes.
type stored[B any] struct {
	Event
	Kind string `json:"kind"`
	Body B      `json:"body"`
}

// EncodeEvent writes an event for the journal. The caller seals the bytes.
func EncodeEvent(ev *Event) ([]byte, error) {
	out, err := json.Marshal(stored[Body]{Event: *ev, Kind: ev.Body.Kind(), Body: ev.Body})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", ev.Body.Kind(), err)
	}
	return out, nil
}

// messageKind tells most messages, which most events are, before they are decoded.
var messageKind = []byte(`"kind":"message"`)

// DecodeEvent reads what EncodeEvent wrote, by this version or an older one. A kind that this version does not know
// is an error: the delivery is dead-lettered rather than guessed at.
func DecodeEvent(b []byte) (*Event, error) {
	if bytes.Contains(b, messageKind) { // then it can be read in one go
		var m stored[Message]
		if err := json.Unmarshal(b, &m); err == nil && m.Kind == m.Body.Kind() {
			m.Event.Body = m.Body
			return &m.Event, nil
		}
	}
	var s stored[json.RawMessage]
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	body, err := decodeBody(s.Kind, s.Body)
	if err != nil {
		return nil, fmt.Errorf("decode %s body: %w", s.Kind, err)
	}
	ev := s.Event
	ev.Body = body
	return &ev, nil
}

func decodeBody(kind string, b []byte) (Body, error) {
	switch kind {
	case "message":
		return decodeAs[Message](b)
	case "edit":
		return decodeAs[Edit](b)
	case "retract":
		return decodeAs[Retract](b)
	case "reaction":
		return decodeAs[Reaction](b)
	case "receipt":
		return decodeAs[Receipt](b)
	case "typing":
		return decodeAs[Typing](b)
	case "presence":
		return decodeAs[Presence](b)
	case "membership":
		return decodeAs[Membership](b)
	case "room":
		return decodeAs[RoomState](b)
	}
	return nil, fmt.Errorf("unknown kind %q", kind)
}

func decodeAs[B Body](b []byte) (Body, error) {
	var body B
	if err := json.Unmarshal(b, &body); err != nil {
		return nil, err
	}
	return body, nil
}
