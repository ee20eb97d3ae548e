package ircside

import (
	"strings"
	"time"

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
	name    string                           // what the channel is called on the wire, where that is not its address
	now     time.Time
}

// encode turns a delivery into lines. An error says for good that IRC cannot say it.
func encode(d gateway.Delivery, direct gateway.Direct, lim limits) (outgoing, error) {
	if d.Seal {
		return outgoing{}, gateway.Dropf("IRC cannot carry end-to-end encrypted messages")
	}
	to, out := placeOf(d.Room, direct), outgoing{}
	if !to.chat && lim.name != "" {
		to.target = lim.name
	}
	if to.chat && !couldBeNick(to.target) {
		return outgoing{}, gateway.Dropf("%q cannot be a nick", gateway.CleanName(to.target))
	}
	switch body := d.Event.Body.(type) {
	case gateway.Message:
		out = encodeMessage(to, d.Event, body, lim)
	case gateway.Receipt:
		var err error
		if out, err = encodeReceipt(to, d.Room.Network, body, lim); err != nil {
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

// place is where a delivery goes.
type place struct {
	target string // the channel, or the nick
	name   string // the channel, or the address of whom the chat is with: an answer begins with it
	chat   bool
}

func placeOf(room gateway.Address, direct gateway.Direct) place {
	local, remote, chat := room.Direct()
	if !chat {
		return place{target: room.ID, name: room.ID}
	}
	return place{target: local.ID, name: direct.Written(remote, local.Network), chat: true}
}

// encodeMessage says what a person said: "<nick> text", or "* nick text" for an emote. Nobody's name is in front of
// what the gateway itself says. In a chat the address stands for the name, without marks, so that it can be copied.
//
// What is late begins with the time at which it was said.
func encodeMessage(to place, ev *gateway.Event, m gateway.Message, lim limits) outgoing {
	sender := ev.Sender
	out := outgoing{command: "PRIVMSG", target: to.target}
	if m.Style == gateway.StyleNotice {
		out.command = "NOTICE"
	}
	budget := lim.payload(out.command, to.target)
	prefix, late := "", stamp(ev.Time, lim.now)
	if !sender.IsZero() {
		name := to.name
		if !to.chat {
			name = unpingable(nameOf(sender))
		}
		name = gateway.Shorten(name, max((budget-minRoom-len(late))/2, 8)) // at least half of the line is the text's
		prefix = "<" + name + "> "
		if m.Style == gateway.StyleEmote {
			prefix = "* " + name + " "
		}
		prefix = late + prefix
	}
	out.lines = spoken(prefix, m.Text.Plain, budget, lim.lines)
	return out
}

// What a late line begins with: when it was said, in UTC, with the day where that is not today.
const (
	stampToday = "[15:04] "
	stampDay   = "[2006-01-02 15:04] "
	lateAfter  = 10 * time.Minute
)

// stamp is what a line begins with that was said at a time.
func stamp(said, now time.Time) string {
	said, now = said.UTC(), now.UTC()
	switch {
	case said.IsZero() || now.Sub(said) <= lateAfter:
		return ""
	case said.Format(time.DateOnly) == now.Format(time.DateOnly):
		return said.Format(stampToday)
	}
	return said.Format(stampDay)
}

func nameOf(p gateway.Person) string {
	if name := gateway.CleanName(p.Name); name != "" {
		return name
	}
	return gateway.CleanName(p.ID)
}

// encodeReceipt tells a person, and nobody else, that what they said did not arrive. It quotes nothing.
func encodeReceipt(to place, network string, r gateway.Receipt, lim limits) (outgoing, error) {
	author := r.Target.Author
	out := outgoing{command: "NOTICE", target: author.ID}
	switch {
	case r.State != gateway.Undeliverable:
		return outgoing{}, gateway.Dropf("IRC has no form for a receipt")
	case to.chat:
		out.target = to.target
	case author.Network != network || author.ID == "":
		return outgoing{}, gateway.Dropf("its author is not on this network")
	}
	what := "your message in " + to.name
	switch {
	case to.chat && strings.HasPrefix(r.Reason, "not delivered "): // it says to whom
		what = "your message"
	case to.chat:
		what = "your message to " + to.name
	}
	text := gateway.ReportText(what, oneLine(r.Reason))
	out.lines = spoken("", text, lim.payload(out.command, out.target), 2)
	return out, nil
}
