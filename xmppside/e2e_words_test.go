//go:build e2e

package xmppside

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"lockbridge/testbed/peers"
)

// talker is a member that changes, answers and takes back what was said, and reacts to it.
type talker struct {
	member
	sent *sync.Map // ids of what it said, by text
}

func newTalker(m member) talker { return talker{m, &sync.Map{}} }

// send says words in the room, sealed where that is due. name is what they are known by later.
func (m talker) send(ctx context.Context, name string, w peers.Words) error {
	say := m.Send
	if m.seal && w.Text != "" {
		say = m.SendSealed
	}
	id, err := say(ctx, m.room, w)
	if err == nil && name != "" {
		m.sent.Store(name, id)
	}
	return err
}

// Say implements sidetest.Peer.
func (m talker) Say(ctx context.Context, text string) error {
	return m.send(ctx, text, peers.Words{Text: text})
}

// own is the room's reflection of the member's own message that holds text.
func (m talker) own(ctx context.Context, text string) (peers.XMPPEvent, error) {
	id := ""
	m.sent.Range(func(said, value any) bool {
		if strings.Contains(said.(string), text) {
			id = value.(string)
		}
		return id == ""
	})
	return m.AwaitOwn(ctx, m.room, id)
}

// stanza is the stanza-id of the message that holds text, whoever said it.
func (m talker) stanza(ctx context.Context, text string) (string, error) {
	if e, err := m.AwaitText(ctx, m.room, text); err == nil {
		return e.StanzaID, nil
	}
	return "", ctx.Err()
}

// Edit implements sidetest.Editor.
func (m talker) Edit(ctx context.Context, old, text string) error {
	e, err := m.own(ctx, old)
	if err != nil {
		return err
	}
	return m.send(ctx, text, peers.Words{Text: text, Beside: []string{peers.Replace(e.ID)}})
}

// SeeEdit implements sidetest.Editor.
func (m talker) SeeEdit(ctx context.Context, old, text string) error {
	first, err := m.AwaitText(ctx, m.room, old)
	if err != nil {
		return err
	}
	_, err = m.AwaitElement(ctx, 0, m.room, peers.NSReplace, "replace", func(e peers.Element) bool { return e.Attr("id") == first.ID })
	if err != nil {
		return err
	}
	second, err := m.AwaitText(ctx, m.room, text)
	if err == nil && (second.From != first.From || second.Replace != first.ID || second.Encrypted != m.seal) {
		err = fmt.Errorf("%s corrects %q by %s", second, second.Replace, first)
	}
	return err
}

// Retract implements sidetest.Retractor.
func (m talker) Retract(ctx context.Context, text string) error {
	e, err := m.own(ctx, text)
	if err != nil {
		return err
	}
	return m.send(ctx, "", peers.Words{Beside: []string{peers.Retract(e.StanzaID)}})
}

// SeeRetraction implements sidetest.Retractor.
func (m talker) SeeRetraction(ctx context.Context, text string) error {
	said, err := m.AwaitText(ctx, m.room, text)
	if err != nil {
		return err
	}
	e, err := m.AwaitElement(ctx, 0, m.room, peers.NSRetract, "retract", func(e peers.Element) bool { return e.Attr("id") == said.StanzaID })
	if err == nil && e.From != said.From {
		err = fmt.Errorf("%s takes back %s", e, said)
	}
	return err
}

// Reply implements sidetest.Replier.
func (m talker) Reply(ctx context.Context, to, text string) error {
	e, err := m.own(ctx, to)
	if err != nil {
		return err
	}
	quote := "> " + to + "\n"
	return m.send(ctx, text, peers.Words{Text: quote + text, Beside: peers.Reply(e.From, e.StanzaID, utf8.RuneCountInString(quote))})
}

// SeeReply implements sidetest.Replier.
func (m talker) SeeReply(ctx context.Context, to, text string) error {
	e, err := m.own(ctx, to)
	if err != nil {
		return err
	}
	said, err := m.AwaitText(ctx, m.room, text)
	if err != nil {
		return err
	}
	reply, _ := said.Element(peers.NSReply, "reply")
	fallback, _ := said.Element(peers.NSFallback, "fallback")
	cut, _ := fallback.Child("body")
	var end int
	if _, err := fmt.Sscan(cut.Attr("end"), &end); err != nil {
		return fmt.Errorf("the reply %s has no range: %w", said.XML, err)
	}
	if reply.Attr("id") != e.StanzaID || reply.Attr("to") != e.From {
		return fmt.Errorf("%s answers %q of %q, want %q of %q", said, reply.Attr("id"), reply.Attr("to"), e.StanzaID, e.From)
	}
	if left := string([]rune(said.Text())[end:]); strings.Contains(left, to) || !strings.Contains(left, text) {
		return fmt.Errorf("of %q its range leaves %q", said.Text(), left)
	}
	return nil
}

// React implements sidetest.Reactor.
func (m talker) React(ctx context.Context, to string, emoji ...string) error {
	e, err := m.own(ctx, to)
	if err != nil {
		return err
	}
	return m.send(ctx, "", peers.Words{Beside: []string{peers.React(e.StanzaID, emoji...)}})
}

// SeeReactions implements sidetest.Reactor.
func (m talker) SeeReactions(ctx context.Context, to string, emoji ...string) error {
	id, err := m.stanza(ctx, to)
	if err != nil {
		return err
	}
	slices.Sort(emoji)
	sets := map[string][]string{} // by occupant
	_, err = m.Await(ctx, fmt.Sprintf("the reactions %v", emoji), func(e peers.XMPPEvent) bool {
		set, there := e.Element(peers.NSReactions, "reactions")
		if e.Own || !there || set.Attr("id") != id {
			return false
		}
		var of []string
		for _, r := range set.All("reaction") {
			of = append(of, r.Text)
		}
		sets[e.From] = of
		var all []string
		for _, some := range sets {
			all = append(all, some...)
		}
		slices.Sort(all)
		return slices.Equal(slices.Compact(all), emoji)
	})
	return err
}
