package xmppside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lockbridge/gateway"
)

// namePeriod is how long what somebody calls themself counts before it is read again.
const namePeriod = 24 * time.Hour

// called is what State keeps of what somebody who has direct chats calls themself. It is a claim, like a nick in a room,
// and never tells who they are.
type called struct {
	Name string    `json:"name,omitempty"` // "" if they say nothing
	Read time.Time `json:"read"`
}

// parseCalled reads it; what an older program wrote, or nobody, counts as never read.
func parseCalled(value []byte) (c called) {
	_ = json.Unmarshal(value, &c)
	return c
}

// name is what to call the sender, inside a transaction: their nick in a room of ours, for that is what other networks
// see already; else what they put into this message or published (XEP-0172).
func (in *incomingDirect) name(ctx context.Context) (string, error) {
	s, who := in.side, in.from
	if who.Name != "" {
		return who.Name, nil
	}
	for _, r := range s.carried().all {
		if nick, there := r.nickOf(who); there {
			return gateway.CleanName(nick), nil
		}
	}
	key := stateName + who.ID
	found, err := s.deps.State.GetMany(ctx, []string{key})
	if err != nil {
		return "", fmt.Errorf("recall a name: %w", err)
	}
	known := parseCalled(found[key])
	said := ""
	if nick := in.message.child(nsNick, "nick"); nick != nil {
		said = gateway.CleanName(nick.text)
	}
	switch {
	case said != "" && said != known.Name:
		return said, s.keepName(ctx, who.ID, said)
	case said == "" && s.now().Sub(known.Read) >= namePeriod:
		in.then(func() { s.learnName(in.link, who.ID) })
	}
	return known.Name, nil
}

func (s *Side) keepName(ctx context.Context, jid, name string) error {
	value, err := json.Marshal(called{name, s.now()})
	if err != nil {
		return err
	}
	return s.deps.State.PutMany(ctx, map[string][]byte{stateName + jid: value})
}

// learnName reads what somebody calls themself, once a day.
func (s *Side) learnName(l *link, jid string) {
	if !s.lately.free("name/"+jid, s.now(), namePeriod) {
		return
	}
	l.later(func(ctx context.Context) {
		name, err := s.publishedName(ctx, l, jid)
		if err == nil {
			err = s.deps.State.Update(ctx, func(ctx context.Context) error { return s.keepName(ctx, jid, name) })
		}
		if err != nil && ctx.Err() == nil {
			s.log.Debug("it was not learnt what somebody calls themself", "of", jid, "err", err)
		}
	})
}

// publishedName is the nick that somebody publishes (XEP-0172, section 4.4), or the one on their card (XEP-0054); "" if
// they show none.
func (s *Side) publishedName(ctx context.Context, l *link, jid string) (string, error) {
	xml, err := s.devices.fetch(ctx, l, jid, nsNick, "")
	if err == nil {
		if nick, err := parseNode(xml); err == nil && nick.name == "nick" && gateway.CleanName(nick.text) != "" {
			return gateway.CleanName(nick.text), nil
		}
	} else if condition(err) == "" {
		return "", err
	}
	iq, err := l.ask(ctx, "get", s.self+"/"+resource, jid, el(nsVCard, "vCard"))
	var refused *stanzaError
	if errors.As(err, &refused) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	card := iq.child(nsVCard, "vCard")
	for _, field := range []string{"NICKNAME", "FN"} {
		if n := card.child(nsVCard, field); n != nil && gateway.CleanName(n.text) != "" {
			return gateway.CleanName(n.text), nil
		}
	}
	return "", nil
}
