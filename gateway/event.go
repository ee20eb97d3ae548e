package gateway

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
)

// ID names an event on all networks at once. It is a UUIDv7 (RFC 9562, section 5.7), minted by Accept.
// It says roughly when an event was accepted but never orders anything: lanes order by the store's sequence.
type ID [16]byte

// NewID mints an ID from the given randomness.
func NewID(rand io.Reader) (ID, error) {
	u, err := uuid.NewV7FromReader(rand)
	if err != nil {
		return ID{}, fmt.Errorf("mint event id: %w", err)
	}
	return ID(u), nil
}

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return ID{}, fmt.Errorf("parse event id: %w", err)
	}
	return ID(u), nil
}

func (id ID) String() string { return uuid.UUID(id).String() }

// IsZero reports whether the ID is unset.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText makes an ID readable in JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) error {
	p, err := ParseID(string(b))
	*id = p
	return err
}

// MaxRoom bounds the ID of an Address, in bytes, so that databases can index it. XMPP's longest JID is longer, but no
// server makes rooms of such names.
const MaxRoom = 1000

// Address is a room (or, in a direct chat, a person) of one network. ID is the network's own form: a bare JID, a
// Matrix room id or alias as the config names it, an IRC channel. It is opaque outside its side.
type Address struct {
	Network string `json:"n,omitempty"`
	ID      string `json:"i,omitempty"`
}

func (a Address) String() string { return a.Network + ":" + a.ID }

// Person is somebody on one network. ID is stable and decides who is who: a bare JID, an MXID, an IRC nick in the
// network's case mapping. Name is for display only and may repeat, change or be empty. Avatar is what Media.Keep
// returned for their picture ("image:" and its SHA-256), or empty: it is not known, or they have none.
//
// On XMPP, ID is the real bare JID only in a non-anonymous room or a direct chat; else it is "occupant-id@room", so
// that the JIDs of semi-anonymous rooms reach neither the journal nor a log.
type Person struct {
	Network string `json:"n,omitempty"`
	ID      string `json:"i,omitempty"`
	Name    string `json:"d,omitempty"`
	Avatar  string `json:"a,omitempty"`
}

// Label is what to call the person in text: the name, else the id.
func (p Person) Label() string {
	if p.Name != "" {
		return p.Name
	}
	return p.ID
}

// IsZero reports whether nobody is named: the gateway itself speaks.
func (p Person) IsZero() bool { return p.ID == "" }

// Ref points at an earlier event. A side fills Native (an id of its own room, possibly an alias) and what the stanza
// itself told about the target; Accept resolves ID, and Deliver's refs turn ID into the destination's Native.
type Ref struct {
	ID      ID     `json:"id,omitzero"`
	Native  string `json:"t,omitempty"`
	Author  Person `json:"a,omitzero"`
	Excerpt string `json:"x,omitempty"`
	// Key is the delivery's in a direct chat, where a side made Native of it: the other one may answer before the journal
	// has Native. For Accept only.
	Key string `json:"-"`
	// Parts are the target's native ids in the destination room, with what Outcome.Parts and echoes gave as Also, filled
	// in for Deliver only. The first one is what a reply or a reaction refers to; an edit replaces the one named "". For a
	// retraction they are all, those of its edits and notes among them.
	Parts []Part `json:"-"`
}

// IsZero reports whether the reference points nowhere.
func (r Ref) IsZero() bool { return r.ID.IsZero() && r.Native == "" && r.Excerpt == "" }

// Protection says how content travelled.
type Protection string

const (
	// Plain is text that every server on the way could read.
	Plain Protection = ""
	// OMEMO is XEP-0384 in either namespace.
	OMEMO Protection = "omemo"
	// Megolm is Matrix room encryption.
	Megolm Protection = "megolm"
)

// Sealing is how an event came in.
type Sealing struct {
	Protection Protection `json:"p,omitempty"`
	// Version is the namespace, where the protection has several.
	Version string `json:"v,omitempty"`
	// Device is the sender's device, as its network writes it.
	Device string `json:"d,omitempty"`
	// Trust is the trust that the side had in that device when it opened the message.
	Trust string `json:"t,omitempty"`
}

// Event is one thing that happened in one room, in a form that all networks share.
type Event struct {
	ID     ID      `json:"id"`
	At     Address `json:"at"`               // where it happened
	Native string  `json:"native,omitempty"` // its id there: opaque outside its side; "" where the network gives none
	// Also holds the other ids that its network may use for it (XMPP: occupant + id attribute, origin-id). Each
	// carries its kind, so that two kinds never collide.
	Also    []string  `json:"also,omitempty"`
	Sender  Person    `json:"sender,omitzero"`
	Time    time.Time `json:"time,omitzero"`    // the origin's clock: for display, never for ordering
	Expires time.Time `json:"expires,omitzero"` // zero: durable; else it is kept in memory only, until then: a minute at most, two for Typing
	Sealed  Sealing   `json:"sealed,omitzero"`
	Body    Body      `json:"-"` // see codec.go

	// own: made by the gateway itself, so it holds nobody's words and needs no protection.
	own bool
}

// randomKey draws a delivery key: 128 random bits in lower-case hex. It must not be guessable, since an echo is
// recognised by it.
func randomKey(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("draw delivery key: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}
