package matrixside

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// A direct chat is a pair of people, and any number of rooms may have stood for it. What is known of them is kept in
// State only, so that every transaction, delivery and errand sees the same:
//
//	<the chat's address id>    which room answers go to (current)
//	chat/<room id>             whose chat a room is, and how it is (chat)
//	heard/<room id>            the newest event that was accepted of it (heard)
//	host/<room id>             who talks there to the bot alone (host)
//	errand/<room id>/<ghost>   what is still to be done there by requests to the homeserver (errand)

// chat is what is known of one direct room. The zero value is a room that is none.
type chat struct {
	At        string `json:"at,omitempty"`        // the ID of the chat's address, which names its two people
	Name      string `json:"name,omitempty"`      // what the user is called
	Picture   string `json:"picture,omitempty"`   // the mxc URL of the user's picture
	Pending   bool   `json:"pending,omitempty"`   // the ghost was invited; what was said since is read when it has joined
	Own       bool   `json:"own,omitempty"`       // the ghost made the room
	Gone      bool   `json:"gone,omitempty"`      // the user is neither in the room nor invited
	Encrypted bool   `json:"encrypted,omitempty"` // nothing but one explanation is ever sent there
	Over      bool   `json:"over,omitempty"`      // somebody else came in; the ghost is about to leave
	Unseen    bool   `json:"unseen,omitempty"`    // it is not known whether the room was encrypted from the beginning
}

// current is the room that stands for a chat now. Before is the one that did until then: a delivery whose answer got
// lost may be there. Made is the number of the last room that the ghost made, from 0. Asked are the times (Unix, in
// seconds) when the user was last invited.
type current struct {
	Room   id.RoomID `json:"room,omitempty"`
	Before id.RoomID `json:"before,omitempty"`
	Made   int       `json:"made,omitempty"`
	Asked  []int64   `json:"asked,omitempty"`
}

const (
	maxAsks   = 3 // invitations to one chat in askWindow: who keeps leaving does not want it
	askWindow = time.Hour
)

// mayAsk reports whether the user may be invited once more.
func (c *current) mayAsk(now time.Time) bool {
	return len(c.Asked) < maxAsks || now.Unix()-c.Asked[len(c.Asked)-maxAsks] > int64(askWindow/time.Second)
}

// ask notes an invitation.
func (c *current) ask(now time.Time) {
	c.Asked = append(c.Asked, now.Unix())
	c.Asked = c.Asked[max(len(c.Asked)-maxAsks, 0):]
}

// move makes room the chat's current one.
func (c *current) move(room id.RoomID) {
	if c.Room != room {
		c.Room, c.Before = room, c.Room
	}
}

// drop makes room the chat's no more.
func (c *current) drop(room id.RoomID) {
	if c.Room == room {
		c.Room = ""
	}
	if c.Before == room {
		c.Before = ""
	}
}

// chatPrefix is what the addresses of direct chats begin with; see gateway.DirectAddress.
const chatPrefix = "direct/"

func chatKey(room id.RoomID) string { return "chat/" + string(room) }

// pair names the two people of a chat: the Matrix user and whom the ghost stands for.
func (s *Side) pair(at string) (user id.UserID, remote gateway.Person) {
	local, remote, _ := gateway.Address{Network: s.deps.Network, ID: at}.Direct()
	return id.UserID(local.ID), remote
}

// pairAddress is the chat of a Matrix user with somebody else.
func (s *Side) pairAddress(user id.UserID, remote gateway.Person) gateway.Address {
	return gateway.DirectAddress(gateway.Person{Network: s.deps.Network, ID: string(user)}, remote)
}

// ghostOf is who speaks for the other person in the chat's rooms.
func (s *Side) ghostOf(at string) id.UserID {
	_, remote := s.pair(at)
	return s.names.ghost(remote)
}

// aliasMark follows the prefix in the aliases of direct rooms.
const aliasMark = "direct_"

// aliasOf is the localpart of the alias that a chat's nth room gets while the ghost makes it, so that making it again
// after a crash finds it. Nobody can tell from it who talks to whom.
func (s *Side) aliasOf(at string, n int) string {
	mac := hmac.New(sha256.New, []byte(s.reg.ASToken))
	fmt.Fprintf(mac, "%s/%d", at, n)
	return s.cfg.UserPrefix + aliasMark + hex.EncodeToString(mac.Sum(nil)[:16])
}

// ledger is one look at the notes above. What is taken from it may be changed in place, and amend writes the changes.
type ledger struct {
	state gateway.State
	was   map[string][]byte
	notes map[string]any
}

func (s *Side) newLedger() *ledger {
	return &ledger{state: s.deps.State, was: map[string][]byte{}, notes: map[string]any{}}
}

// read takes notes along that will be asked for, in one read.
func (l *ledger) read(ctx context.Context, keys ...string) error {
	got, err := l.state.GetMany(ctx, keys)
	if err != nil {
		return fmt.Errorf("read direct chats: %w", err)
	}
	for _, key := range keys {
		l.was[key] = got[key]
	}
	return nil
}

// note is one note, always the same one for a key. A note that is not there is zero, and a zero one is deleted.
func note[T any](ctx context.Context, l *ledger, key string) (*T, error) {
	if n, ok := l.notes[key].(*T); ok {
		return n, nil
	}
	if _, known := l.was[key]; !known {
		if err := l.read(ctx, key); err != nil {
			return nil, err
		}
	}
	n := new(T)
	if raw := l.was[key]; raw != nil {
		if err := json.Unmarshal(raw, n); err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
	}
	l.notes[key] = n
	return n, nil
}

func (l *ledger) chat(ctx context.Context, room id.RoomID) (*chat, error) {
	return note[chat](ctx, l, chatKey(room))
}

func (l *ledger) current(ctx context.Context, at string) (*current, error) {
	return note[current](ctx, l, at)
}

func (l *ledger) errand(ctx context.Context, room id.RoomID, ghost id.UserID) (*errand, error) {
	return note[errand](ctx, l, errandKey(room, ghost))
}

// changes are the notes that are to be written.
func (l *ledger) changes() (map[string][]byte, error) {
	out := map[string][]byte{}
	for key, n := range l.notes {
		raw, err := json.Marshal(n)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", key, err)
		}
		if string(raw) == "{}" {
			raw = nil
		}
		if !bytes.Equal(raw, l.was[key]) {
			out[key] = raw
		}
	}
	return out, nil
}

// amend changes notes in a transaction. fn may run again.
func (s *Side) amend(ctx context.Context, fn func(ctx context.Context, l *ledger) error) error {
	return s.deps.State.Update(ctx, func(ctx context.Context) error {
		l := s.newLedger()
		if err := fn(ctx, l); err != nil {
			return err
		}
		changes, err := l.changes()
		if err != nil || len(changes) == 0 {
			return err
		}
		return s.deps.State.PutMany(ctx, changes)
	})
}

// forget makes a room no direct room, whatever else is known of the chat.
func (s *Side) forget(ctx context.Context, l *ledger, room id.RoomID) error {
	c, err := l.chat(ctx, room)
	if err != nil || c.At == "" {
		return err
	}
	now, err := l.current(ctx, c.At)
	if err != nil {
		return err
	}
	now.drop(room)
	*c = chat{}
	last, err := note[heard](ctx, l, heardKey(room))
	if err != nil {
		return err
	}
	*last = heard{}
	return nil
}
