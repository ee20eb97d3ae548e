package gateway

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Side is one network's half of the gateway. Its owner holds the network's lease while Run runs.
type Side interface {
	// Caps says what the room can show. It is cheap and does no I/O; it may change between calls.
	Caps(room Address) Caps

	// Run connects, reads and reconnects until ctx ends, and returns only when everything it started has ended. It
	// returns an error only for what no reconnect can mend; while the network is merely away it keeps trying.
	Run(ctx context.Context, in Inbox) error

	// Deliver says a run of one lane's deliveries, in order, and reports on each in order. It may return fewer
	// outcomes than deliveries: the rest was not attempted. After an outcome with a retryable error no later delivery
	// of the run is started, but what was already written is reported as it ended. Deliver is repeatable with the same
	// run, and it may be called before Run has connected: it then answers Later. Lanes run side by side.
	Deliver(ctx context.Context, run []Delivery) []Outcome

	// SetRooms replaces Deps.Rooms, whether or not the side runs. Rooms that are in both stay as they are, with what
	// was asked for them changed; the others are entered or left. It returns at once.
	SetRooms(rooms []Room)

	// Forget removes what the side's State keeps about a person of any network: names, puppets and ghosts, sessions,
	// direct chats. It may be called while the side runs, and again.
	Forget(ctx context.Context, who Person) error
}

// Passer is a side that can show what expires: who is typing, how far somebody has read.
type Passer interface {
	// Pass shows ev in room as far as it can be done at once: it never waits for a connection, ends with ctx (5 s), and
	// what it cannot do is forgotten. The body is Typing, Presence or a Receipt that something was delivered or displayed;
	// it fits Caps(room), and its Refs carry room's native ids in Parts. Calls for one room come in order, one at a time.
	Pass(ctx context.Context, room Address, ev *Event)
}

// Roster is a side that knows who is in its rooms.
type Roster interface {
	// Here lists the people in room who are there by themselves, without puppets, ghosts and the gateway, at most 200, by
	// name. It does no I/O. Nil: it is not known.
	Here(room Address) []Person
}

// Inbox is where a side puts what it heard.
type Inbox interface {
	// Accept records each arrival once, in order, in one transaction. When it returns nil everything is durable:
	// acknowledge the source then, and only then. On an error nothing was written, and the source must send again.
	// Calls of one network commit in call order; concurrent calls share a commit.
	Accept(ctx context.Context, batch []Arrival) error
}

// Arrival is something that a side heard and has not read yet.
type Arrival struct {
	At Address
	// Native is the seen-key: an arrival whose (At, Native) was accepted before is skipped, without calling Read. It
	// must not be forgeable by a stranger. Empty: never skipped.
	Native string
	// Also holds further ids; see Event.Also.
	Also []string
	// Old: it is history, which may well have been accepted before: Accept then asks the journal before it calls Read.
	// Others may be read and thrown away, where it turns out at the commit that they were accepted before.
	Old bool
	// Passing: what Read returns expires (see Event.Expires), and Read uses no State. It runs outside any transaction, once
	// the rest of the batch is committed; Native and Also are ignored. A Read that has to open something first returns
	// such an event without Passing: it goes the same way then.
	Passing bool
	// Read opens and decodes. It runs inside Accept's transaction, sees the side's State there (its writes apply only
	// if it returns nil), does no network I/O, changes nothing outside State, and may run again. A nil event means:
	// nothing to pass on (a key transport, something told twice). An error or a panic marks the arrival as seen and
	// passes a notice on that something could not be read; the rest of the batch goes on.
	Read func(ctx context.Context) (*Event, error)
}

// Delivery is one event on its way to one room.
type Delivery struct {
	// Key is the same in every attempt, unguessable, and stands in what is sent, so that an echo can be recognised: the
	// XMPP origin-id, a field of the Matrix content, the IRC label.
	Key  string
	Room Address
	// Event fits Caps(Room); its Refs carry Room's native ids in Parts.
	Event *Event
	// Seal: content must be end-to-end encrypted on this leg. A side that cannot do so drops the delivery.
	Seal bool
	// Attempt counts earlier tries; a first try is 0. Above 0 an earlier one may have reached the network.
	Attempt int
	// Known are the parts that an earlier try is known to have brought to the network: their echoes are recorded.
	Known []Part
}

// Part is one native message of a delivery: text with two files may be three of them.
type Part struct {
	Name   string // "" for the text part; the emoji for a reaction that is a native message for each, else ""
	Native string
	Also   []string
}

// Outcome is what became of one delivery: sent with these parts, or an error that is an instruction (see Drop, Later).
type Outcome struct {
	Parts []Part
	// Gone are parts of Reaction.Have that the network shows no more.
	Gone []Part
	Err  error
	// Ended: the delivery arrived whole, and Accept has returned nil for an Echo that says so. Nothing is left to record.
	Ended bool
}

// Sent is the outcome of a delivery that the network has taken. No parts are named where the network gives no ids, or
// where the echo's arrival has linked them already. What a side needs to know of a part later (which voice said it, an
// id that edits must name) it puts into Also: it stands there again in Ref.Parts.
func Sent(parts ...Part) Outcome { return Outcome{Parts: parts} }

// Failed is the outcome of a delivery that did not go through.
func Failed(err error) Outcome { return Outcome{Err: err} }

// Members says which changes of membership a room wants to hear about.
type Members int

const (
	// NoMembers: none.
	NoMembers Members = iota
	// Leavers: only what becomes of those who are there: that they left, were kicked or banned, or have another name.
	Leavers
	// AllMembers: who is there, comes and goes.
	AllMembers
)

// Caps is what a room of a side can show natively. What it cannot show is degraded before Deliver, so a side never
// meets a body that it did not claim. The zero value is a room that shows plain text.
type Caps struct {
	Reply bool // Message.ReplyTo
	// ReplyText: few people see Message.ReplyTo, so the text names whom it answers as well.
	ReplyText bool
	Thread    bool // Message.Thread
	Edit      bool
	Retract   bool
	Reaction  bool
	Marks     bool // Text.Marks; else the text gets signs that anybody can read, and mentions are the only marks
	Files     bool
	MaxFile   int64 // the largest file that it takes, in bytes; 0: not known. A larger one is degraded as if Files were false
	Typing    bool
	Presence  bool
	Room      bool // RoomState
	Receipt   bool // delivered and displayed; a failed receipt is always delivered
	Members   Members

	// Notes: where Retract is false people are told of retractions in a line.
	Notes bool
	// ReactionNotes: where Reaction is false they are told of reactions, once each.
	ReactionNotes bool
	// MemberNotes: what Members asks for comes as a line of text, not as a Membership.
	MemberNotes bool

	// Fold: the room has no edits, so quick ones are said as one: an edit that is the last thing waiting is held back until
	// it is this old, or something follows. 0: edits are not held back, and not joined with what waits.
	Fold time.Duration
	// Hold: messages are held back until they are this old, so that quick edits go into them. 0: they are not.
	Hold time.Duration

	RunLength int // the most deliveries in one run; 0: 64
}

// State is a side's private store of keys and values, namespaced by its network, values sealed at rest. Keys are
// readable on disk: put no content there. A transaction travels in ctx: inside Read and inside Update's fn all calls
// share it, and reads see its own writes.
type State interface {
	// GetMany returns what there is of keys, in one read.
	GetMany(ctx context.Context, keys []string) (map[string][]byte, error)
	// PutMany writes all values, in one write at commit. A nil value deletes its key.
	PutMany(ctx context.Context, values map[string][]byte) error
	// List returns every key that begins with prefix, with its value.
	List(ctx context.Context, prefix string) (map[string][]byte, error)
	// Update runs fn in a transaction of the network. What fn put applies only if fn returns nil and the commit
	// succeeds. Updates and Accepts of one network never overlap, and share commits. fn may run again; it does no
	// network I/O.
	Update(ctx context.Context, fn func(ctx context.Context) error) error
}

// Puppets says who gets a puppet of their own in a room.
type Puppets string

// The values of a bridge's puppets setting.
const (
	PuppetsNone   Puppets = "none"   // the gateway speaks for all
	PuppetsActive Puppets = "active" // those who spoke
	PuppetsAll    Puppets = "all"    // everybody
)

// Room is one room of a bridge as its side needs to know it.
type Room struct {
	Address
	Bridge   string
	Password string
	// Seal: content on this leg is end-to-end encrypted, both ways, or does not cross.
	Seal bool
	// KeepMetadata: what cannot be sealed (reactions, typing) crosses in the clear all the same.
	KeepMetadata bool
	// Topic: the room's topic, name and picture are carried, both ways. Never with a bridge that is encrypted, not even
	// for its legs in the clear.
	Topic bool
	// Moderation says what a retraction by a moderator may do in the room; the gateway sees to it. A side needs power of
	// its own there for ModerationAll alone.
	Moderation Moderation
	Puppets    Puppets
	MaxPuppets int
	// Others are the bridge's other rooms.
	Others []Address
	// Clear are those of Others in which content goes on in the clear, of a room whose own leg is sealed.
	Clear []Address
}

// Deps is what a side gets from its surroundings.
type Deps struct {
	Network string // the name of its [network.NAME] block
	Rooms   []Room
	State   State
	Log     *slog.Logger          // names the network already
	Metrics prometheus.Registerer // labels everything with the network already
	// Direct says who may have direct chats.
	Direct Direct
	// Find asks another network whether a person exists there, and what they are called; see Finder.
	Find func(ctx context.Context, who Person) (Person, error)
	// Ready tells that the network came up (nil) or why it is away. It may be called again with the same news. With nil
	// it also ends the pauses of all lanes: call it whenever something becomes possible for which Deliver answered Later,
	// a connection or a room.
	Ready func(away error)
	// CatchUp is how far back missed messages are read after an absence; what is older is not carried. 0: as far as
	// the network goes.
	CatchUp time.Duration
	// Epoch keeps a number outside the database; nil: nothing does.
	Epoch Epoch
	// Media fetches, uploads and keeps files; nil: files and pictures are switched off, and Caps.Files is false.
	Media Media
	// Privacy says what a side may ask its network about people, and carry of that. The gateway applies it to what is
	// delivered.
	Privacy Privacy
	// Answer is what the gateway says to a command ("help", "who") that somebody writes to it alone: text for them, "" if
	// command is none. at is the room of this network that it is about, which the side has checked they are in; zero: none.
	// It does no I/O.
	Answer func(ctx context.Context, at Address, command string) string
}

// StateRestored is the key under which a restore leaves a mark in the State of each network, the time in milliseconds
// since 1970: what was sent after the backup was made is not in there. A side for which that matters, because keys of
// that time must not be used again, sees to it and removes the mark.
const StateRestored = "restored"

// Epoch is a counter of one network that lies outside the database. A side counts in its State as well: where the
// State has less than the Epoch, an old copy of the database was restored. The State is raised first.
type Epoch interface {
	// Load returns the number saved last; 0: none yet.
	Load() (uint64, error)
	// Save makes n durable before it returns.
	Save(n uint64) error
}

// Block is one table of the config, still undecoded, secrets already in place.
type Block interface {
	// Decode fills the struct that into points to, by its `toml` tags. It reports unknown keys and wrong types, all of
	// them; fields that the block does not name keep their value, so defaults are set before.
	Decode(into any) []Problem
}

// Problem is one thing wrong with the config.
type Problem struct {
	Key    string // dotted, relative to the block: "sasl.user"
	Text   string // what is wrong, in a clause
	Remedy string // what to do about it, in a clause; may be empty
}

func (p Problem) Error() string {
	s := p.Text
	if p.Key != "" {
		s = p.Key + ": " + s
	}
	if p.Remedy != "" {
		s += " (" + p.Remedy + ")"
	}
	return s
}
