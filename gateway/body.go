package gateway

// Body is what happened. The set is closed: a network that knows something else has no body for it.
type Body interface {
	// Kind is the name under which the body is stored; it never changes once released.
	Kind() string
}

// Style is how a message is meant.
type Style string

const (
	// StyleText is plain speech.
	StyleText Style = ""
	// StyleEmote is "/me does something"; the text holds only what follows the name.
	StyleEmote Style = "emote"
	// StyleNotice comes from a machine and expects no answer.
	StyleNotice Style = "notice"
)

// The most of each thing that an event carries. What is beyond is left out, and the event goes on: a side may cut
// sooner, Accept sees to it for all.
const (
	// MaxFiles is how many files one message has.
	MaxFiles = 10
	// MaxEmoji is how many reactions one person has on one message.
	MaxEmoji = 16
	// MaxEmojiSize is how long one reaction is, in bytes: the longest emoji of Unicode are half of that.
	MaxEmojiSize = 64
	// MaxReactors is how many people's reactions on one message are kept.
	MaxReactors = 256
	// MaxReason is how long the reason of a retraction, a kick or a ban is, in bytes.
	MaxReason = 300
)

// Message is text, files, or both; replies and threads are fields of it.
type Message struct {
	Text    Text   `json:"text"`
	Files   []File `json:"files,omitempty"` // at most MaxFiles
	ReplyTo Ref    `json:"reply,omitzero"`
	// Thread points at the message that the thread hangs on, its root. Where a network names threads apart from messages
	// (XEP-0201) its side gives Native as ThreadNative of that name.
	Thread Ref   `json:"thread,omitzero"`
	Style  Style `json:"style,omitempty"`
	// Note: it tells, for Deliver only, of a reaction or of somebody who comes or goes, where that has no form of its own.
	// A side that has to choose says it last, and may drop it if that takes long.
	Note bool `json:"-"`
}

// ThreadPart is the name of the part under which a room knows the thread that hangs on a message, if the thread has a
// name there: its Native is ThreadNative of the name. It stands in Message.Thread.Parts alone, behind the root's own.
const ThreadPart = "thread"

// ThreadNative is the native id of a thread that its network names. The first message of the room that gives the name
// is the thread's root, unless name is the Ref.ID of a message that the room has: so a side names a thread that began
// elsewhere.
func ThreadNative(name string) string { return "thread:" + name }

// Edit replaces the text part of Target, and what it was marked up with; the files of Target stay as they are.
type Edit struct {
	Target Ref   `json:"target"`
	Text   Text  `json:"text"`
	Style  Style `json:"style,omitempty"` // StyleEmote: it was, or becomes, an emote
	// ReplyTo and Thread are Target's own, so that a network whose corrections stand for the whole message can say them
	// again. Accept sets them, whatever the edit itself says.
	ReplyTo Ref `json:"reply,omitzero"`
	Thread  Ref `json:"thread,omitzero"`
	// Files are files that came with the edit, for rooms to which it is a message of its own.
	Files []File `json:"files,omitempty"`
}

// Retract takes Target back, all its parts. Only its author can do so, or, where Moderated is set, whoever sent the
// event; from others it goes nowhere.
type Retract struct {
	Target Ref    `json:"target"`
	Reason string `json:"reason,omitempty"` // at most MaxReason bytes; never on a sealed leg
	// Moderated: the network where it happened let Event.Sender take back somebody else's words. A side sets it where the
	// network itself vouches for that, never because a client says so: XEP-0425 from the room's own address, a Matrix
	// user whose power level reaches redact, an IRC REDACT that the server passed on.
	Moderated bool `json:"mod,omitempty"`
}

// ReactionOp tells how Reaction.Emoji relates to what the person had there before.
type ReactionOp string

const (
	// ReactionSet: Emoji is the whole set.
	ReactionSet ReactionOp = "set"
	// ReactionAdd: Emoji is added.
	ReactionAdd ReactionOp = "add"
	// ReactionRemove: Emoji is taken away.
	ReactionRemove ReactionOp = "remove"
)

// Reaction is what a person thinks of Target. In the journal it is the whole set: differences break when something
// arrives twice. So it is for Deliver, which says the set as it stands by then; a repeated or late delivery does no
// harm.
type Reaction struct {
	Target Ref        `json:"target"`
	Emoji  []string   `json:"emoji"` // at most MaxEmoji of MaxEmojiSize bytes each, no two the same
	Op     ReactionOp `json:"op"`
	// Anchor names the set over all its changes: the event by which this person first reacted to Target. Accept sets it.
	Anchor ID `json:"anchor,omitzero"`
	// Have is, for Deliver only, what the room has of the set already. Where each reaction is a native message, it is the
	// part of that name: what a side adds is Outcome.Parts, what it takes away Outcome.Gone.
	Have []Part `json:"-"`
	// Sets are, for Deliver only, everybody's sets on Target, this one among them: for a voice that speaks for several
	// people and so shows what any of them thinks.
	Sets []Reactions `json:"-"`
}

// Reactions are what one person thinks of one message.
type Reactions struct {
	Anchor ID // see Reaction
	Target ID // the message
	Who    Person
	Emoji  []string
}

// ReceiptState is how far Target came.
type ReceiptState string

const (
	// Delivered reached a device.
	Delivered ReceiptState = "delivered"
	// Displayed was shown to a person.
	Displayed ReceiptState = "displayed"
	// Undeliverable was refused or given up; Reason says why, in a sentence for the sender.
	Undeliverable ReceiptState = "failed"
)

// Receipt tells what became of Target. A failed one travels back to Target's sender and to nobody else: the side
// tells that person privately, without quoting content. What a side reports of a message that came back to it from a
// direct chat names that message by its native id or by its Delivery.Key, and goes nowhere if it was never said there.
// The others expire.
type Receipt struct {
	Target Ref          `json:"target"`
	State  ReceiptState `json:"state"`
	Reason string       `json:"reason,omitempty"`
}

// Typing is whether the person writes just now. It expires.
type Typing struct {
	On bool `json:"on"`
}

// Presence is how available the person is. It expires.
type Presence struct {
	Show   string `json:"show,omitempty"` // "", "away", "offline"
	Status string `json:"status,omitempty"`
}

// Change is what happened to somebody's membership.
type Change string

// The changes that networks know.
const (
	Join   Change = "join"
	Leave  Change = "leave"
	Invite Change = "invite"
	Kick   Change = "kick"
	Ban    Change = "ban"
	Rename Change = "rename"
)

// Membership is a change of who is in the room. It may be told again at any time (after a reconnect, say), so a
// side treats it as a state and not as an event.
type Membership struct {
	Who    Person `json:"who"`
	Change Change `json:"change"`
	By     Person `json:"by,omitzero"`      // who kicked, banned or invited
	Reason string `json:"reason,omitempty"` // at most MaxReason bytes
	// Quiet: it was told from a list (IRC's NAMES, our own join, a netsplit) and not as it happened. It counts as state
	// and is never told to people in words.
	Quiet bool `json:"quiet,omitempty"`
}

// RoomState is what the room is called and about. What is nil is unchanged, what is empty was removed. A side passes
// over what its network has no form for.
type RoomState struct {
	Name   *string `json:"name,omitempty"`
	Topic  *string `json:"topic,omitempty"`
	Avatar *string `json:"avatar,omitempty"` // see Person.Avatar
}

// Echo is our own delivery coming back from the network that carried it. It is no event: Accept only links the
// arrival's native ids to the event that was delivered, in the order of the stream, so that a reply can never
// overtake the link it needs.
type Echo struct {
	Key  string // the Delivery.Key that the network handed back
	Part string // which part of the delivery this is
	// Ends: with this part all of the delivery has arrived. Accept ends it in the journal; see Outcome.Ended.
	Ends bool
}

// Kind implementations; the names are stored.

func (Message) Kind() string    { return "message" }
func (Edit) Kind() string       { return "edit" }
func (Retract) Kind() string    { return "retract" }
func (Reaction) Kind() string   { return "reaction" }
func (Receipt) Kind() string    { return "receipt" }
func (Typing) Kind() string     { return "typing" }
func (Presence) Kind() string   { return "presence" }
func (Membership) Kind() string { return "membership" }
func (RoomState) Kind() string  { return "room" }
func (Echo) Kind() string       { return "echo" }

// carriesContent reports whether the body holds what people said, which an encrypted bridge protects.
func carriesContent(b Body) bool {
	switch b.(type) {
	case Message, Edit, RoomState:
		return true
	}
	return false
}
