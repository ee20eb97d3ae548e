package xmppside

import (
	"context"
	"slices"
	"sync"

	"lockbridge/gateway"
)

// readRefusal takes in a message that came back. In a room its delivery is waiting for it; so does a direct one at first,
// but it may count as sent by then: its sender is told.
func (s *Side) readRefusal(r *room, m *message, b *batch) {
	key, part, ok := parseOriginID(m.get("id"))
	if !ok {
		return
	}
	refused := errorOf(m.node)
	if s.waits.end(m.get("id"), m.get("from"), refused) {
		return
	}
	p, ours := s.people.ofJID(bare(m.get("to")))
	if _, _, known := parsePart(part); !ours || !known {
		return
	}
	from, _ := s.writer(r, m)
	if r != nil {
		from = gateway.Person{Network: s.deps.Network, ID: s.whispers.of(key)}
	}
	if from.ID == "" {
		return
	}
	at := gateway.DirectAddress(gateway.Person{Network: from.Network, ID: from.ID}, p.Person)
	b.arrivals = append(b.arrivals, gateway.Arrival{At: at, Native: kindBounce + key, Read: func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Sender: from, Body: gateway.Receipt{
			Target: gateway.Ref{Native: key}, State: gateway.Undeliverable, Reason: explainBounce(from.ID, refused),
		}}, nil
	}})
}

// readReceipt takes in the word of somebody's client that a message of ours has arrived (XEP-0184).
func (s *Side) readReceipt(m *message) {
	id := m.child(nsReceipts, "received").get("id")
	if _, _, ok := parseOriginID(id); ok {
		s.waits.end(id, m.get("from"), nil)
	}
}

// explainBounce says why a message came back, for whoever wrote it. What the other server wrote about it is not for their
// eyes.
func explainBounce(who string, e *stanzaError) string {
	switch {
	case slices.Contains([]string{"remote-server-not-found", "remote-server-timeout"}, e.Condition):
		return "the server " + gateway.CleanName(domainOf(who)) + " cannot be reached"
	case slices.Contains([]string{"service-unavailable", "item-not-found", "recipient-unavailable", "gone"}, e.Condition):
		return gateway.CleanName(who) + " does not exist or cannot be reached"
	case slices.Contains([]string{"forbidden", "not-allowed", "not-authorized", "policy-violation", "not-acceptable", "subscription-required"}, e.Condition):
		return gateway.CleanName(who) + " does not accept messages from you"
	}
	return "the server " + gateway.CleanName(domainOf(who)) + " refused it (" + gateway.CleanName(e.Condition) + ")"
}

// maxWhispers is how many private messages are remembered.
const maxWhispers = 1024

// whispers remembers to whom the last private messages in rooms went, by their keys: when one comes back, its recipient
// may have left, and the room names only a nick.
type whispers struct {
	mu sync.Mutex
	to map[string]string
}

func (w *whispers) note(key, who string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.to == nil || len(w.to) >= maxWhispers {
		w.to = map[string]string{}
	}
	w.to[key] = who
}

func (w *whispers) of(key string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to[key]
}
