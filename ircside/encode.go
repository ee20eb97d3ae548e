package ircside

import (
	"fmt"

	"lockbridge/gateway"
)

// outgoing is a delivery as IRC says it.
type outgoing struct {
	command string // PRIVMSG or NOTICE
	target  string // a channel, or a nick
	lines   []string
}

// limits are what decides how a text is split.
type limits struct {
	payload func(command, target string) int // the bytes that a line to target has for its text
	lines   int                              // the most lines of text
}

// encode turns a delivery into lines. An error says for good that IRC cannot say it.
func encode(d gateway.Delivery, lim limits) (outgoing, error) {
	if d.Seal {
		return outgoing{}, gateway.Dropf("IRC cannot carry end-to-end encrypted messages")
	}
	var out outgoing
	switch body := d.Event.Body.(type) {
	case gateway.Message:
		out = encodeMessage(d.Room.ID, d.Event.Sender, body, lim)
	case gateway.Receipt:
		var err error
		if out, err = encodeReceipt(d.Room, body, lim); err != nil {
			return outgoing{}, err
		}
	default:
		return outgoing{}, gateway.Dropf("IRC has no form for a %s", d.Event.Body.Kind())
	}
	if !validTarget(out.target) {
		return outgoing{}, gateway.Dropf("%q cannot be addressed on IRC", out.target)
	}
	if len(out.lines) == 0 {
		return outgoing{}, gateway.Dropf("there is no text in it")
	}
	return out, nil
}

// encodeMessage says what a person said: "<nick> text", or "* nick text" for an emote. Nobody's name is in front of
// what the gateway itself says.
func encodeMessage(channel string, sender gateway.Person, m gateway.Message, lim limits) outgoing {
	out := outgoing{command: "PRIVMSG", target: channel}
	if m.Style == gateway.StyleNotice {
		out.command = "NOTICE"
	}
	budget := lim.payload(out.command, channel)
	prefix := ""
	if !sender.IsZero() {
		name := gateway.CleanName(sender.Name)
		if name == "" {
			name = gateway.CleanName(sender.ID)
		}
		name = gateway.Shorten(unpingable(name), max((budget-minRoom)/2, 8)) // at least half of the line is the text's
		prefix = "<" + name + "> "
		if m.Style == gateway.StyleEmote {
			prefix = "* " + name + " "
		}
	}
	out.lines = spoken(prefix, m.Text.Plain, budget, lim.lines)
	return out
}

// encodeReceipt tells a person, and nobody else, that what they said did not arrive. It quotes nothing.
func encodeReceipt(room gateway.Address, r gateway.Receipt, lim limits) (outgoing, error) {
	author := r.Target.Author
	switch {
	case r.State != gateway.Undeliverable:
		return outgoing{}, gateway.Dropf("IRC has no form for a receipt")
	case author.Network != room.Network || author.ID == "":
		return outgoing{}, gateway.Dropf("its author is not on this network")
	}
	out := outgoing{command: "NOTICE", target: author.ID}
	text := fmt.Sprintf("your message to %s was not delivered: %s", room.ID, gateway.CleanName(r.Reason))
	if r.Reason == "" {
		text = fmt.Sprintf("your message to %s was not delivered", room.ID)
	}
	out.lines = spoken("", text, lim.payload(out.command, out.target), 1)
	return out, nil
}
