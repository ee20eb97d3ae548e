package matrixside

import (
	"bytes"
	"encoding/json"
	"fmt"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// maxContent is the most bytes of JSON that a content may take: an event may have 65536 (Client-Server API, "Size
// limits"), and the rest of it is the homeserver's.
const maxContent = 60_000

// errTooLarge is why a message cannot be said on Matrix. Its sender reads it.
var errTooLarge = gateway.Dropf("the message is too long for Matrix")

// content is what we say in a room. Mentions is always there: without it, clients search the text for names and ping.
type content struct {
	MsgType  event.MessageType `json:"msgtype"`
	Body     string            `json:"body"`
	Mentions *event.Mentions   `json:"m.mentions"`
	Relates  *event.RelatesTo  `json:"m.relates_to,omitempty"`
	Key      *deliveryKey      `json:"org.lockbridge.key,omitempty"`
}

type deliveryKey struct {
	Key  string `json:"key"`
	Part string `json:"part"`
}

// encodeMessage is what a message looks like. speaker is the name to say it for, where the bot says it instead of the
// person's ghost; else it is empty.
func encodeMessage(msg gateway.Message, speaker string) content {
	c := content{MsgType: event.MsgText, Body: gateway.Clean(msg.Text.Plain), Mentions: &event.Mentions{}}
	switch msg.Style {
	case gateway.StyleEmote:
		c.MsgType = event.MsgEmote
	case gateway.StyleNotice:
		c.MsgType = event.MsgNotice
	}
	switch {
	case speaker == "":
	case msg.Style == gateway.StyleEmote:
		c.MsgType = event.MsgText
		c.Body = "* " + speaker + " " + c.Body
	default:
		c.Body = "<" + speaker + "> " + c.Body
	}
	return c
}

// encodeFailure tells the author of a message that it did not arrive. It never repeats the message.
func encodeFailure(r gateway.Receipt) content {
	text := gateway.ReportText("Your message", gateway.Shorten(gateway.Clean(r.Reason), 500))
	c := content{MsgType: event.MsgNotice, Body: text, Mentions: &event.Mentions{}}
	if saneID(r.Target.Author.ID, '@') {
		c.Mentions.Add(id.UserID(r.Target.Author.ID))
	}
	native := r.Target.Native
	if len(r.Target.Parts) > 0 {
		native = r.Target.Parts[0].Native
	}
	if saneID(native, '$') {
		c.Relates = (&event.RelatesTo{}).SetReplyTo(id.EventID(native))
	}
	return c
}

// withKey marks the content as one part of a delivery.
func (c content) withKey(key, part string) content {
	c.Key = &deliveryKey{Key: key, Part: part}
	return c
}

// encode writes the content as JSON, or says that it is too large.
func (c content) encode() (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // six bytes for each "<" would count against the limit
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("encode content: %w", err)
	}
	if b.Len() > maxContent {
		return nil, errTooLarge
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
