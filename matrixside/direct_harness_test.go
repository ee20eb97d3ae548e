package matrixside

import (
	"context"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// rosaline may have direct chats, with people on Matrix and on IRC.
var rosaline = gateway.Person{Network: "xmpp", ID: "rosaline@example.org", Name: "Rosaline"}

// watched is a State that tells when it was updated.
type watched struct {
	gateway.State
	mu      sync.Mutex
	changed chan struct{}
}

func (w *watched) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		close(w.changed)
		w.changed = make(chan struct{})
	}()
	return w.State.Update(ctx, fn)
}

func (w *watched) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// allowRosaline lets rosaline have direct chats on a side, and its State be watched.
func allowRosaline(s *Side) {
	s.deps.Direct = gateway.Direct{Allow: []string{rosaline.ID, "friends.example"}, Encryption: gateway.EncryptionRequired, Clear: []string{"matrix", "irc"}}.
		WithKinds(map[string]gateway.NetworkKind{"xmpp": {Kind: "xmpp", Encrypts: true}, "matrix": {Kind: "matrix"}, "irc": {Kind: "irc"}})
	s.deps.State = &watched{State: s.deps.State, changed: make(chan struct{})}
}

// awaitChat waits until a direct room is as it should be.
func awaitChat(ctx context.Context, t *testing.T, side *Side, room string, fits func(chat) bool) {
	t.Helper()
	for {
		changed := side.deps.State.(*watched).next()
		c, err := side.newLedger().chat(ctx, id.RoomID(room))
		must(t, err)
		if fits(*c) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("the direct room %s is still %+v", room, *c)
		}
	}
}

// directAt is the chat of a Matrix user with rosaline.
func directAt(user string) gateway.Address {
	return gateway.DirectAddress(gateway.Person{Network: "matrix", ID: user}, rosaline)
}

// directDelivery is a message of rosaline's to a Matrix user.
func directDelivery(user, key, text string) gateway.Delivery {
	at := directAt(user)
	return gateway.Delivery{
		Key: key, Room: at,
		Event: &gateway.Event{
			At: at.Mirror(), Sender: rosaline, Time: time.Unix(1_700_000_000, 0),
			Body: gateway.Message{Text: gateway.Text{Plain: text}},
		},
	}
}
