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

// Message is text, files, or both; replies and threads are fields of it.
type Message struct {
	Text    Text   `json:"text"`
	Files   []File `json:"files,omitempty"`
	ReplyTo Ref    `json:"reply,omitzero"`
	Thread  Ref    `json:"thread,omitzero"`
	Style   Style  `json:"style,omitempty"`
}

// Edit replaces the text part of Target.
type Edit struct {
	Target Ref    `json:"target"`
	Text   Text   `json:"text"`
	Files  []File `json:"files,omitempty"`
}

// Retract takes Target back, all its parts.
type Retract struct {
	Target Ref    `json:"target"`
	Reason string `json:"reason,omitempty"`
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
// arrives twice.
type Reaction struct {
	Target Ref        `json:"target"`
	Emoji  []string   `json:"emoji"`
	Op     ReactionOp `json:"op"`
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
	By     Person `json:"by,omitzero"`
	Reason string `json:"reason,omitempty"`
}

// RoomState is what the room is called and about.
type RoomState struct {
	Name   string `json:"name,omitempty"`
	Topic  string `json:"topic,omitempty"`
	Avatar string `json:"avatar,omitempty"`
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
