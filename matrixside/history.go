package matrixside

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

const (
	historyPage = 100
	// introPages are read at most of what was said before a ghost came into a direct room.
	introPages = 5
	// searchPages are read at most of a room to find what an earlier attempt sent.
	searchPages = 200
	// searchSlack is how far the clocks of two networks may be apart: an event of ours is looked for so much longer ago
	// than what it repeats.
	searchSlack = time.Hour
)

// page is an answer of /messages whose events are still unread, so that a strange one spoils only itself.
type page struct {
	Chunk []json.RawMessage `json:"chunk"`
	End   string            `json:"end"`
}

// messages reads one page of a room, limit events at most, backwards (dir "b") or forwards ("f") from a token; the empty token is the room's
// end or its beginning (Client-Server API, "Getting events for a room").
func (s *Side) messages(ctx context.Context, reader id.UserID, room id.RoomID, dir, from string, limit int, what *mautrix.FilterPart) (page, error) {
	query := map[string]string{"dir": dir, "limit": strconv.Itoa(limit)}
	if from != "" {
		query["from"] = from
	}
	if what != nil {
		filter, err := json.Marshal(what)
		if err != nil {
			return page{}, err
		}
		query["filter"] = string(filter)
	}
	var p page
	client := s.as(reader)
	url := client.BuildURLWithQuery(mautrix.ClientURLPath{"v3", "rooms", room, "messages"}, query)
	_, err := client.MakeRequest(ctx, http.MethodGet, url, nil, &p)
	return p, err
}

// history reads a room backwards as one of our users, so many pages at most, while visit wants more of them. What cannot
// be read is left out.
func (s *Side) history(ctx context.Context, reader id.UserID, room id.RoomID, what mautrix.FilterPart, pages int, visit func([]*nativeEvent) (more bool)) error {
	from := ""
	for range pages {
		p, err := s.messages(ctx, reader, room, "b", from, historyPage, &what)
		if err != nil {
			return err
		}
		events := make([]*nativeEvent, 0, len(p.Chunk))
		for _, raw := range p.Chunk {
			if ev, err := parseEvent(raw); err == nil {
				events = append(events, ev)
			}
		}
		if !visit(events) || p.End == "" || p.End == from || len(p.Chunk) == 0 {
			return nil
		}
		from = p.End
	}
	return nil
}

// search looks for deliveries among what was said in a room since a time. It hands delivery key and part of each
// that it meets to found, which says whether to go on. Senders, where there are few, make it quick.
//
// A page that is older throughout ends it: what was sent with the time of something older (see send) does not.
func (s *Side) search(ctx context.Context, reader id.UserID, room id.RoomID, senders []id.UserID, since time.Time, found func(key string, p gateway.Part) (more bool)) error {
	const fewSenders = 16 // they stand in the URL, which must not grow too long
	what := mautrix.FilterPart{Types: []event.Type{event.EventMessage, event.EventSticker}}
	if len(senders) <= fewSenders {
		what.Senders = senders
	}
	pages := 0
	err := s.history(ctx, reader, room, what, searchPages, func(events []*nativeEvent) (more bool) {
		pages++
		recent := len(events) == 0
		for _, ev := range events {
			recent = recent || ev.Time.IsZero() || ev.Time.After(since)
			if echo, ok := decodeEcho(ev); ok && s.names.ours(ev.Sender) && !found(echo.Key, s.partOf(ev, echo.Part)) {
				return false
			}
		}
		return recent
	})
	if err != nil {
		return fmt.Errorf("look for earlier attempts in %s: %w", room, err)
	}
	if pages == searchPages {
		s.log.Warn("the history of the room is too long to be searched further for what was sent before", "id", room, "events", pages*historyPage)
	}
	return nil
}

// searchSince is how far back a delivery of an event may have been sent: never before the event happened.
func (s *Side) searchSince(happened time.Time) time.Time {
	if now := s.now(); happened.After(now) {
		happened = now
	}
	return happened.Add(-searchSlack)
}
