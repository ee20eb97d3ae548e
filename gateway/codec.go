package gateway

import (
	"encoding/json"
	"fmt"
)

// stored is an event as it lies in the journal.
type stored struct {
	Event
	Kind string          `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// EncodeEvent writes an event for the journal. The caller seals the bytes.
func EncodeEvent(ev *Event) ([]byte, error) {
	body, err := json.Marshal(ev.Body)
	if err != nil {
		return nil, fmt.Errorf("encode %s body: %w", ev.Body.Kind(), err)
	}
	out, err := json.Marshal(stored{Event: *ev, Kind: ev.Body.Kind(), Body: body})
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return out, nil
}

// DecodeEvent reads what EncodeEvent wrote, by this version or an older one. A kind that this version does not know
// is an error: the delivery is dead-lettered rather than guessed at.
func DecodeEvent(b []byte) (*Event, error) {
	var s stored
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
