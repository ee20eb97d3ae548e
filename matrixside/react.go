package matrixside

import (
	"context"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// reactionContent is one reaction (Client-Server API, "Event annotations and reactions").
type reactionContent struct {
	Relates *event.RelatesTo `json:"m.relates_to"`
	Key     *deliveryKey     `json:"org.lockbridge.key"`
}

// react makes the reactions on a message what they are to be. A ghost shows its person's; the bot, which speaks for
// several, shows what any of them thinks.
func (s *Side) react(ctx context.Context, l lane, d gateway.Delivery, r gateway.Reaction) (parts, gone []gateway.Part, err error) {
	target := nativeOf(r.Target)
	if target == "" {
		return nil, nil, nil
	}
	err = l.speak(ctx, voice{person: d.Event.Sender, refusal: "you may not react in the Matrix room"}, func(m mouth) error {
		parts, gone = nil, nil
		byBot := m.user == s.names.bot
		want, have := r.Emoji, r.Have
		var shown map[id.UserID][]gateway.Part
		if byBot || d.Attempt > 0 {
			var err error
			if shown, err = s.reactionsOf(ctx, m, target); err != nil {
				return err
			}
			have, parts, gone = s.compare(m, r.Have, shown[m.user])
		}
		others := union(l, r, shown)
		if byBot {
			want = others
		}
		for _, h := range have {
			if slices.Contains(want, h.Name) && is(h, saidByBot) == byBot {
				continue
			}
			if byBot || !is(h, saidByBot) || !slices.Contains(others, h.Name) {
				if err := s.unreact(ctx, m, d, h); err != nil {
					return err
				}
			}
			gone = append(gone, h)
			parts = slices.DeleteFunc(parts, func(p gateway.Part) bool { return p.Native == h.Native })
		}
		for _, emoji := range want {
			if slices.ContainsFunc(have, func(h gateway.Part) bool { return h.Name == emoji && is(h, saidByBot) == byBot }) {
				continue
			}
			p, err := s.annotate(ctx, m, target, emoji, d)
			if err != nil {
				return err
			}
			parts = append(parts, p)
		}
		return nil
	})
	return parts, gone, err
}

// compare says what there is of a person's reactions, given what the journal knows of and what stands there: of that, what
// the journal does not know yet, and of what it knows, what is gone. What the bot shows may be of others, too, and what
// was shown for the person by the other one, the bot or the ghost, is not seen.
func (s *Side) compare(m mouth, known, standing []gateway.Part) (have, news, gone []gateway.Part) {
	among := func(parts []gateway.Part, p gateway.Part) bool {
		return slices.ContainsFunc(parts, func(q gateway.Part) bool { return q.Native == p.Native })
	}
	have = slices.Clone(standing)
	for _, p := range known {
		switch {
		case is(p, saidByBot) != (m.user == s.names.bot):
			have = append(have, p)
		case !among(standing, p):
			gone = append(gone, p)
		}
	}
	for _, p := range standing {
		if m.user != s.names.bot && !among(known, p) {
			news = append(news, p)
		}
	}
	return have, news, gone
}

// union is what those think of a message for whom the bot speaks: people of other networks whose ghost is not in the room
// and does not show it from a time when it was.
func union(l lane, r gateway.Reaction, shown map[id.UserID][]gateway.Part) (emoji []string) {
	b, ok := l.(bridged)
	if !ok {
		return nil
	}
	for _, set := range r.Sets {
		ghost := b.names.ghost(set.Who)
		if set.Who.Network == b.deps.Network || b.rm.hasGhost(ghost) {
			continue
		}
		for _, e := range set.Emoji {
			if !slices.Contains(emoji, e) && !slices.ContainsFunc(shown[ghost], func(p gateway.Part) bool { return p.Name == e }) {
				emoji = append(emoji, e)
			}
		}
	}
	return emoji
}

// annotate adds a reaction and returns it, even if it is there already. Each attempt is a transaction of its own: what an
// earlier one sent may have been taken back since, and one whose answer got lost is seen to by reactionsOf.
func (s *Side) annotate(ctx context.Context, m mouth, target id.EventID, emoji string, d gateway.Delivery) (gateway.Part, error) {
	body, err := encodeJSON(reactionContent{
		Relates: (&event.RelatesTo{}).SetAnnotation(target, emoji), Key: &deliveryKey{Key: d.Key, Part: emoji},
	})
	if err != nil {
		return gateway.Part{}, err
	}
	resp, err := s.as(m.user).SendMessageEvent(ctx, m.room, event.EventReaction, body, mautrix.ReqSendEvent{
		TransactionID: transactionID(d.Key, d.Attempt) + "." + shortHash(emoji), DontEncrypt: true,
	})
	if errcode(err) != "M_DUPLICATE_ANNOTATION" {
		if err != nil {
			return gateway.Part{}, err
		}
		return gateway.Part{Name: emoji, Native: string(resp.EventID), Also: marksOf(resp.EventID, m.user == s.names.bot, false)}, nil
	}
	shown, err := s.reactionsOf(ctx, m, target)
	if err != nil {
		return gateway.Part{}, err
	}
	at := slices.IndexFunc(shown[m.user], func(p gateway.Part) bool { return p.Name == emoji })
	if at < 0 { // among more than are looked through; it is there, and that is all that was asked for
		return gateway.Part{}, gateway.Dropf("there are too many reactions on the message")
	}
	return shown[m.user][at], nil
}

// unreact takes a reaction away, in the voice that added it.
func (s *Side) unreact(ctx context.Context, m mouth, d gateway.Delivery, h gateway.Part) error {
	switch {
	case is(h, saidByBot):
		m.user = s.names.bot
	case m.user == s.names.bot:
		m.user = s.names.ghost(d.Event.Sender)
	}
	return s.redact(ctx, m, id.EventID(h.Native), d.Key, "")
}

const (
	relationPage  = 100
	relationPages = 5
)

// reactionsOf asks the homeserver which reactions each of ours has on a message: what an earlier attempt changed may be
// known to it alone (Client-Server API, "Relationships API").
func (s *Side) reactionsOf(ctx context.Context, m mouth, target id.EventID) (map[id.UserID][]gateway.Part, error) {
	shown, from := map[id.UserID][]gateway.Part{}, ""
	for range relationPages {
		resp, err := s.as(m.user).GetRelations(ctx, m.room, target, &mautrix.ReqGetRelations{
			RelationType: event.RelAnnotation, EventType: event.EventReaction, From: from, Limit: relationPage,
		})
		if err != nil {
			return nil, fmt.Errorf("ask for the reactions on a message: %w", err)
		}
		for _, ev := range resp.Chunk {
			relates, ok := ev.Content.Raw["m.relates_to"].(map[string]any)
			if !ok || !s.names.ours(ev.Sender) {
				continue
			}
			if emoji, ok := relates["key"].(string); ok && emoji != "" {
				shown[ev.Sender] = append(shown[ev.Sender], gateway.Part{Name: emoji, Native: string(ev.ID), Also: marksOf(ev.ID, ev.Sender == s.names.bot, false)})
			}
		}
		if from = resp.NextBatch; from == "" {
			break
		}
	}
	return shown, nil
}
