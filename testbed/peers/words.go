package peers

import (
	"context"
	"encoding/xml"
	"fmt"
	"html"
	"strings"
)

// Words is a message with everything that may stand in one.
type Words struct {
	Text     string   // "": a message without body
	Beside   []string // XML elements beside the body, or beside what is sealed: in the clear
	Inside   []string // XML elements beside the body in the envelope of OMEMO 2
	Versions []string // of OMEMO, for what is sealed; none: all that the client has
}

func (w Words) args(to string) map[string]any {
	args := map[string]any{"to": to, "beside": append([]string{}, w.Beside...)}
	if w.Text != "" {
		args["body"] = w.Text
	}
	return args
}

// Send sends a message in the clear to a room that was joined, else to a person; it returns the message's id.
func (c *XMPPClient) Send(ctx context.Context, to string, w Words) (id string, err error) {
	if w.Text != "" {
		c.transcript.add(Entry{Where: c.owner, Who: c.JID, Text: w.Text, Said: true})
	}
	var sent struct{ ID string }
	err = c.Call(ctx, "send", w.args(to), &sent)
	return sent.ID, err
}

// SendSealed seals a message for all members of a room, or for one person.
func (c *XMPPClient) SendSealed(ctx context.Context, to string, w Words) (id string, err error) {
	args := w.args(to)
	args["inside"] = append([]string{}, w.Inside...)
	if w.Versions != nil {
		args["omemo"], args["skip"] = w.Versions, true
	}
	ids, err := c.saySealed(ctx, to, w.Text, args)
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("%s: nobody in %s to seal %q for", c.owner, to, w.Text)
	}
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// AwaitOwn waits until a room has reflected our message with that id; the event holds its stanza-id.
func (c *XMPPClient) AwaitOwn(ctx context.Context, room, id string) (XMPPEvent, error) {
	return c.Await(ctx, "the reflection of "+id, func(e XMPPEvent) bool {
		return e.Kind == "message" && e.Own && e.ID == id && strings.HasPrefix(e.From, room+"/")
	})
}

// Element is an XML element that somebody sent.
type Element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []Element  `xml:",any"`
}

// Attr is an attribute's value, "" where there is none.
func (e Element) Attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// Child returns the first child of that name, in any namespace.
func (e Element) Child(name string) (Element, bool) {
	for _, c := range e.Children {
		if c.XMLName.Local == name {
			return c, true
		}
	}
	return Element{}, false
}

// All returns the descendants of that name, in any namespace.
func (e Element) All(name string) (found []Element) {
	for _, c := range e.Children {
		if c.XMLName.Local == name {
			found = append(found, c)
		}
		found = append(found, c.All(name)...)
	}
	return found
}

// Element finds an element of a message by namespace and name: in the envelope where it came in one, else beside the body. Of what stands
// beside an envelope it finds nothing.
func (e XMPPEvent) Element(space, name string) (Element, bool) {
	if e.Content != "" {
		return element(e.Content, space, name)
	}
	return e.Beside(space, name)
}

// Beside finds an element that stands in the clear.
func (e XMPPEvent) Beside(space, name string) (Element, bool) { return element(e.XML, space, name) }

func element(text, space, name string) (Element, bool) {
	var root Element
	if xml.Unmarshal([]byte(text), &root) != nil {
		return Element{}, false
	}
	for _, c := range root.Children {
		if c.XMLName.Local == name && c.XMLName.Space == space {
			return c, true
		}
	}
	return Element{}, false
}

// AwaitElement waits for a message of somebody else from the room or person with an element that fits; nil: any.
func (c *XMPPClient) AwaitElement(ctx context.Context, mark int, from, space, name string, fits func(Element) bool) (XMPPEvent, error) {
	return c.AwaitAfter(ctx, mark, fmt.Sprintf("a message of %s with <%s xmlns='%s'/>", from, name, space), func(e XMPPEvent) bool {
		if e.Kind != "message" || e.Own || e.From != from && !strings.HasPrefix(e.From, from+"/") {
			return false
		}
		found, there := e.Element(space, name)
		return there && (fits == nil || fits(found))
	})
}

// Namespaces of what messages can hold.
const (
	NSReplace   = "urn:xmpp:message-correct:0"
	NSRetract   = "urn:xmpp:message-retract:1"
	NSModerate  = "urn:xmpp:message-moderate:0"
	NSFasten    = "urn:xmpp:fasten:0"
	NSReactions = "urn:xmpp:reactions:0"
	NSReply     = "urn:xmpp:reply:0"
	NSFallback  = "urn:xmpp:fallback:0"
	NSStates    = "http://jabber.org/protocol/chatstates"
	NSMarkers   = "urn:xmpp:chat-markers:0"
	NSSpoiler   = "urn:xmpp:spoiler:0"
	NSMarkup    = "urn:xmpp:markup:0"
	NSReference = "urn:xmpp:reference:0"
	NSOOB       = "jabber:x:oob"
	NSSharing   = "urn:xmpp:sfs:0"
	NSSealed    = "urn:xmpp:esfs:0"
	NSClient    = "jabber:client"
	NSStickers  = "urn:xmpp:stickers:0"
)

// Elements of messages (XEP-0308, 0424, 0444, 0461 with 0428, 0201, 0382, 0085, 0333, 0372).

// Replace says which message, by its first id, the one with it corrects.
func Replace(id string) string { return tag("replace", NSReplace, "id", id) }

// Retract takes a message back, by its stanza-id in a room.
func Retract(id string) string { return tag("retract", NSRetract, "id", id) }

// React is the whole set of somebody's reactions to a message; none: no more reactions.
func React(id string, emoji ...string) string {
	var set strings.Builder
	for _, e := range emoji {
		fmt.Fprintf(&set, "<reaction>%s</reaction>", html.EscapeString(e))
	}
	return fmt.Sprintf("<reactions xmlns='%s' id='%s'>%s</reactions>", NSReactions, html.EscapeString(id), &set)
}

// Reply says what a message answers; quoted characters at the beginning of its body repeat it for older clients.
func Reply(to, id string, quoted int) []string {
	reply := []string{tag("reply", NSReply, "to", to, "id", id)}
	if quoted > 0 {
		reply = append(reply, fmt.Sprintf("<fallback xmlns='%s' for='%s'><body start='0' end='%d'/></fallback>", NSFallback, NSReply, quoted))
	}
	return reply
}

// Thread puts a message into a thread.
func Thread(id string) string {
	return fmt.Sprintf("<thread xmlns='%s'>%s</thread>", NSClient, html.EscapeString(id))
}

// Spoiler hides a message behind a reason.
func Spoiler(reason string) string {
	return fmt.Sprintf("<spoiler xmlns='%s'>%s</spoiler>", NSSpoiler, html.EscapeString(reason))
}

// ChatState is active, composing, paused, inactive or gone.
func ChatState(state string) string { return tag(state, NSStates) }

// Displayed says that a message was read.
func Displayed(id string) string { return tag("displayed", NSMarkers, "id", id) }

// Mention says that characters of the body name somebody.
func Mention(begin, end int, jid string) string {
	return tag("reference", NSReference, "type", "mention", "begin", fmt.Sprint(begin), "end", fmt.Sprint(end), "uri", "xmpp:"+jid)
}

// Markup is XEP-0394: what is given stands in the element.
func Markup(spans string) string {
	return fmt.Sprintf("<markup xmlns='%s'>%s</markup>", NSMarkup, spans)
}

// Subject sets a room's topic.
func Subject(topic string) string {
	return fmt.Sprintf("<subject xmlns='%s'>%s</subject>", NSClient, html.EscapeString(topic))
}

func tag(name, space string, attributes ...string) string {
	var t strings.Builder
	fmt.Fprintf(&t, "<%s xmlns='%s'", name, space)
	for i := 0; i < len(attributes); i += 2 {
		fmt.Fprintf(&t, " %s='%s'", attributes[i], html.EscapeString(attributes[i+1]))
	}
	return t.String() + "/>"
}

// Moderate has a room take back somebody's message (XEP-0425 as Prosody's module has it, version 0.2).
func (c *XMPPClient) Moderate(ctx context.Context, room, stanzaID, reason string) error {
	_, err := c.IQ(ctx, room, "set", fmt.Sprintf("<apply-to xmlns='%s' id='%s'><moderate xmlns='%s'><retract xmlns='urn:xmpp:message-retract:0'/><reason>%s</reason></moderate></apply-to>",
		NSFasten, html.EscapeString(stanzaID), NSModerate, html.EscapeString(reason)))
	return err
}

// Kick sends an occupant away.
func (c *XMPPClient) Kick(ctx context.Context, room, nick, reason string) error {
	_, err := c.IQ(ctx, room, "set", fmt.Sprintf("<query xmlns='http://jabber.org/protocol/muc#admin'><item nick='%s' role='none'><reason>%s</reason></item></query>",
		html.EscapeString(nick), html.EscapeString(reason)))
	return err
}
