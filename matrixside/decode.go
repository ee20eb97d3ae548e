package matrixside

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// errEncrypted is why nothing of an encrypted room is read.
var errEncrypted = errors.New("the Matrix room is encrypted, which is not bridged yet")

// fields is a JSON object of which nothing is taken for granted: people's clients write it.
type fields map[string]json.RawMessage

// get decodes one member; what is missing or of another type is the zero value.
func get[T any](f fields, name string) T {
	var v T
	if raw, ok := f[name]; !ok || json.Unmarshal(raw, &v) != nil {
		var zero T
		return zero
	}
	return v
}

// nativeEvent is an event as the homeserver pushes it (Client-Server API, "Room event format").
type nativeEvent struct {
	ID       id.EventID
	Room     id.RoomID
	Type     string
	Sender   id.UserID
	StateKey *string
	Redacts  string
	Time     time.Time     // zero if the origin's clock is absurd
	Age      time.Duration // as the homeserver reckons; zero if it does not tell
	Content  fields
	Previous fields // a state event's former content, where the homeserver tells it

	InviteState []fields // of an invitation: what the room is, in stripped state events

	Standing *nativeEvent // of a redaction of an edit: the event that shows what the message says now
}

// parseEvent reads one event of a room. It refuses what lacks an id, a room, a type or a sender.
func parseEvent(raw json.RawMessage) (*nativeEvent, error) {
	var f fields
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("not an object: %w", err)
	}
	unsigned := get[fields](f, "unsigned")
	ev := &nativeEvent{
		ID:       id.EventID(get[string](f, "event_id")),
		Room:     id.RoomID(get[string](f, "room_id")),
		Type:     get[string](f, "type"),
		Sender:   id.UserID(get[string](f, "sender")),
		StateKey: get[*string](f, "state_key"),
		Redacts:  get[string](f, "redacts"),
		Content:  get[fields](f, "content"),
		Previous: get[fields](unsigned, "prev_content"),

		InviteState: get[[]fields](unsigned, "invite_room_state"),
	}
	switch {
	case !saneID(string(ev.ID), '$'):
		return nil, errors.New("no usable event_id")
	case !saneID(string(ev.Room), '!'):
		return nil, errors.New("no usable room_id")
	case !saneID(string(ev.Sender), '@'):
		return nil, errors.New("no usable sender")
	case ev.Type == "":
		return nil, errors.New("no type")
	}
	if ms := get[int64](f, "origin_server_ts"); ms > 0 && ms < maxTime {
		ev.Time = time.UnixMilli(ms).UTC()
	}
	if ms := get[int64](unsigned, "age"); ms > 0 && ms < maxTime {
		ev.Age = time.Duration(ms) * time.Millisecond
	}
	return ev, nil
}

// maxTime is the end of the year 9999 in milliseconds: the last time that the journal can write.
const maxTime = 253402300800000

// isState reports whether the event sets the room's one state of a type.
func (ev *nativeEvent) isState(kind string) bool {
	return ev.Type == kind && ev.StateKey != nil && *ev.StateKey == ""
}

// member is the user whose membership the event sets; empty if it sets none.
func (ev *nativeEvent) member() id.UserID {
	if ev.Type != event.StateMember.Type || ev.StateKey == nil || !saneID(*ev.StateKey, '@') {
		return ""
	}
	return id.UserID(*ev.StateKey)
}

// scene is what decode must know beside the event.
type scene struct {
	at        gateway.Address
	sender    gateway.Person
	member    gateway.Person                 // of a membership event: who it is about
	former    *string                        // of a membership event: the name of one who was in the room before; nil for others
	moderates bool                           // the room's power levels let the sender take back what others said
	encrypted bool                           // the room is
	topic     bool                           // the room's name and topic are carried
	reply     bool                           // the message answers another, which its HTML may quote
	known     func(id.UserID) gateway.Person // how the room knows a user
	who       func(id.UserID) gateway.Person // whom a user id means, a ghost's, too
}

// decode turns an event of other people into what all networks share; nil means that there is nothing to pass on.
func decode(ev *nativeEvent, sc scene) (*gateway.Event, error) {
	var body gateway.Body
	var err error
	switch ev.Type {
	case event.EventEncrypted.Type:
		return nil, errEncrypted
	case event.EventMessage.Type, event.EventSticker.Type:
		if sc.encrypted {
			return nil, errEncrypted
		}
		body, err = decodeMessage(ev, sc)
	case event.EventRedaction.Type:
		if ev.Standing == nil {
			body = decodeRedaction(ev, sc.moderates)
		} else if !sc.encrypted {
			sc.sender = sc.known(ev.Standing.Sender)
			body, err = decodeStanding(ev.Standing, sc)
		}
	case event.EventReaction.Type:
		body = decodeReaction(ev)
	case event.StateMember.Type:
		body = decodeMember(ev, sc)
	case event.StateTopic.Type, event.StateRoomName.Type:
		if sc.topic {
			body = decodeState(ev)
		}
	}
	if body == nil || err != nil {
		return nil, err
	}
	out := &gateway.Event{At: sc.at, Native: string(ev.ID), Sender: sc.sender, Time: ev.Time, Body: body}
	if m, ok := body.(gateway.Membership); ok && m.Change == gateway.Rename {
		if out.Sender.Name = formerName(ev, sc); out.Sender.Name == "" { // they were called by their user id
			out.Sender.Name = gateway.CleanName(ev.Sender.Localpart())
		}
	}
	return out, nil
}

// decodeEcho reads the delivery key that we wrote into the content of an event.
func decodeEcho(ev *nativeEvent) (gateway.Echo, bool) {
	f := get[fields](ev.Content, keyField)
	echo := gateway.Echo{Key: get[string](f, "key"), Part: get[string](f, "part")}
	return echo, echo.Key != ""
}

func decodeMessage(ev *nativeEvent, sc scene) (gateway.Body, error) {
	relation := get[fields](ev.Content, "m.relates_to")
	target := refTo(get[string](relation, "event_id"))
	kind := get[string](relation, "rel_type")
	if kind == string(event.RelReplace) && !target.IsZero() {
		if content := get[fields](ev.Content, "m.new_content"); content != nil {
			msg, err := decodeContent(ev.Type, content, sc)
			if err != nil || msg.Text.Plain == "" { // a caption that was taken away is left as it is
				return nil, err
			}
			return gateway.Edit{Target: target, Text: msg.Text, Files: msg.Files, Style: msg.Style}, nil
		}
	}
	replyTo := refTo(get[string](get[fields](relation, "m.in_reply_to"), "event_id"))
	content := ev.Content
	sc.reply = !replyTo.IsZero()
	if sc.reply {
		author, quote, rest := splitReply(get[string](content, "body"))
		if rest != "" && author != "" {
			content = withBody(content, rest)
			replyTo.Author = gateway.Person{Network: sc.at.Network, ID: gateway.Clean(author)}
			replyTo.Excerpt = gateway.Shorten(gateway.Clean(quote), gateway.MaxExcerpt)
		}
	}
	msg, err := decodeContent(ev.Type, content, sc)
	if err != nil || isEmpty(msg) {
		return nil, err
	}
	if kind == string(event.RelThread) {
		msg.Thread = target
		if get[bool](relation, "is_falling_back") {
			replyTo = gateway.Ref{}
		}
	}
	msg.ReplyTo = replyTo
	return msg, nil
}

// withBody returns the content with another body.
func withBody(content fields, body string) fields {
	out := make(fields, len(content))
	for name, raw := range content {
		out[name] = raw
	}
	raw, err := json.Marshal(body)
	if err != nil { // a string always has a JSON form
		return content
	}
	out["body"] = raw
	return out
}

// decodeContent reads text, caption and file of one content. A msgtype that nobody here knows is shown by its body, as
// the specification asks of clients.
func decodeContent(kind string, content fields, sc scene) (gateway.Message, error) {
	text, err := cleanText(get[string](content, "body"))
	if err != nil {
		return gateway.Message{}, err
	}
	msg := gateway.Message{Text: gateway.Text{Plain: text}}
	if formatted := get[string](content, "formatted_body"); formatted != "" && get[string](content, "format") == string(event.FormatHTML) {
		if rich, ok := readHTML(formatted, sc.reply, sc.who); ok {
			msg.Text = rich
		}
	}
	msgtype := event.MessageType(get[string](content, "msgtype"))
	if kind == event.EventSticker.Type {
		msgtype = event.MsgImage
	}
	switch msgtype {
	case event.MsgEmote:
		msg.Style = gateway.StyleEmote
	case event.MsgNotice:
		msg.Style = gateway.StyleNotice
	case event.MsgVerificationRequest:
		return gateway.Message{}, nil
	case event.MsgImage, event.MsgVideo, event.MsgAudio, event.MsgFile:
		msg.Files = []gateway.File{decodeFile(kind, sc.at.Network, content)}
		if name := get[string](content, "filename"); name == "" || name == get[string](content, "body") {
			msg.Text = gateway.Text{} // the body is the file's name and no caption
		}
	}
	return msg, nil
}

func isEmpty(msg gateway.Message) bool { return msg.Text.Plain == "" && len(msg.Files) == 0 }

// refTo points at another event of the room; a reference that no event can have is none.
func refTo(native string) gateway.Ref {
	if !saneID(native, '$') {
		return gateway.Ref{}
	}
	return gateway.Ref{Native: native}
}

// redacted is what a redaction takes back: in the content since room version 11, beside it before.
func (ev *nativeEvent) redacted() gateway.Ref {
	if target := refTo(get[string](ev.Content, "redacts")); !target.IsZero() {
		return target
	}
	return refTo(ev.Redacts)
}

// decodeRedaction reads what is taken back.
func decodeRedaction(ev *nativeEvent, moderates bool) gateway.Body {
	target := ev.redacted()
	if target.IsZero() {
		return nil
	}
	return gateway.Retract{Target: target, Reason: cleanReason(ev.Content), Moderated: moderates}
}

// decodeReaction reads one reaction. A picture of the sender's own is shown by its name.
func decodeReaction(ev *nativeEvent) gateway.Body {
	relation := get[fields](ev.Content, "m.relates_to")
	target, key := refTo(get[string](relation, "event_id")), get[string](relation, "key")
	emoji := gateway.CleanName(key)
	if strings.HasPrefix(key, "mxc:") {
		name := strings.Trim(gateway.CleanName(cmp.Or(get[string](ev.Content, "shortcode"), get[string](ev.Content, "com.beeper.reaction.shortcode"))), ":")
		key, emoji = "", ":"+name+":"
		if name == "" {
			emoji = ""
		}
	}
	if target.IsZero() || emoji == "" || max(len(key), len(emoji)) > gateway.MaxEmojiSize || get[string](relation, "rel_type") != string(event.RelAnnotation) {
		return nil
	}
	return gateway.Reaction{Target: target, Emoji: []string{emoji}, Op: gateway.ReactionAdd}
}

func cleanReason(content fields) string {
	return gateway.Shorten(gateway.Clean(get[string](content, "reason")), gateway.MaxReason)
}

// formerName is what somebody was called before a membership event; Dendrite does not tell it.
func formerName(ev *nativeEvent, sc scene) string {
	if ev.Previous == nil && sc.former != nil {
		return *sc.former
	}
	return gateway.CleanName(get[string](ev.Previous, "displayname"))
}

// decodeMember reads a change of membership (Client-Server API, "m.room.member"). What changes nothing for the people
// in the room (a new avatar, a lifted ban, a knock) is nil.
func decodeMember(ev *nativeEvent, sc scene) gateway.Body {
	now, before := get[event.Membership](ev.Content, "membership"), get[event.Membership](ev.Previous, "membership")
	former := formerName(ev, sc)
	if ev.Previous == nil && sc.former != nil {
		before = event.MembershipJoin
	}
	own := sc.member.ID == sc.sender.ID
	out := gateway.Membership{Who: sc.member, Reason: cleanReason(ev.Content)}
	if !own {
		out.By = sc.sender
	}
	switch {
	case sc.member.IsZero():
		return nil
	case now == event.MembershipJoin && before == event.MembershipJoin:
		if gateway.CleanName(get[string](ev.Content, "displayname")) == former {
			return nil
		}
		out.Change = gateway.Rename
	case now == event.MembershipJoin:
		out.Change = gateway.Join
	case now == event.MembershipInvite:
		out.Change = gateway.Invite
	case now == event.MembershipBan:
		out.Change = gateway.Ban
	case now == event.MembershipLeave && before == event.MembershipBan:
		return nil
	case now == event.MembershipLeave && !own && before != event.MembershipInvite:
		out.Change = gateway.Kick
	case now == event.MembershipLeave:
		out.Change = gateway.Leave
	default:
		return nil
	}
	return out
}
