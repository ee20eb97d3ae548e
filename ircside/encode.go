package ircside

import (
	"strings"
	"time"

	"lockbridge/gateway"
)

// outgoing is a delivery as IRC says it.
type outgoing struct {
	target string  // a channel, or a nick
	lines  []*line // with text, tags and part
	more   int     // lines of the text that were left out
	// silent: nobody can refer to what it says, so its echoes are nothing for the journal.
	silent bool
	// gives and gone are parts of a reaction for which the room needs no line.
	gives, gone []gateway.Part
}

// limits are what the connection and the room decide about how a delivery is said.
type limits struct {
	payload func(command, target string) int // the bytes that a line to target has for its text
	lines   int                              // the most lines of text
	name    string                           // what the channel is called on the wire, where that is not its address
	now     time.Time
	called  func(who gateway.Person, text string) string // how a person is named; nil: so that it pings nobody
	tags    func(tag string) bool                        // whether the server takes a client-only tag; nil: none
	redact  bool                                         // it takes back what was said
	multi   multiline                                    // how much it takes as one message of several lines
	topic   int                                          // the longest topic, in bytes; 0: not known
	about   *string                                      // the topic as it is; nil: not known
	shown   func(target, emoji string) bool              // whether we have that reaction there already; nil: not known
	link    string                                       // where people find the whole of a text that is cut; may be empty
}

func (lim limits) takes(tag string) bool { return lim.tags != nil && lim.tags(tag) }

// encode turns a delivery into lines. An error says that IRC cannot say it (so).
func encode(d gateway.Delivery, direct gateway.Direct, lim limits) (outgoing, error) {
	if d.Seal {
		return outgoing{}, gateway.Dropf("IRC cannot carry end-to-end encrypted messages")
	}
	to := placeOf(d.Room, direct)
	if !to.chat && lim.name != "" {
		to.target = lim.name
	}
	if to.chat && !couldBeNick(to.target) {
		return outgoing{}, gateway.Dropf("%q cannot be a nick", gateway.CleanName(to.target))
	}
	if lim.called == nil {
		lim.called = func(_ gateway.Person, text string) string { return unpingable(text) }
	}
	var out outgoing
	var err error
	switch body := d.Event.Body.(type) {
	case gateway.Message:
		if out = encodeMessage(to, d.Event, body, lim); len(out.lines) == 0 {
			err = gateway.Dropf("there is no text in it")
		}
	case gateway.Receipt:
		out, err = encodeReceipt(to, d.Room.Network, body, lim)
	case gateway.Reaction:
		out, err = encodeReaction(to, d, body, lim)
	case gateway.Retract:
		out, err = encodeRetract(to, d.Room, body, lim)
	case gateway.RoomState:
		out = encodeTopic(to, body, lim)
	default:
		err = gateway.Dropf("IRC has no form for a %s", d.Event.Body.Kind())
	}
	if err == nil && !validTarget(out.target) {
		err = gateway.Dropf("%q cannot be addressed on IRC", out.target)
	}
	if err != nil {
		return outgoing{}, err
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
	out, command := outgoing{target: to.target}, "PRIVMSG"
	if m.Style == gateway.StyleNotice {
		command = "NOTICE"
	}
	budget := lim.payload(command, to.target)
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
	tags, text := "", rows(m.Text, lim.called)
	if len(m.ReplyTo.Parts) > 0 && lim.takes(tagReply) {
		tags = tag(tagReply, m.ReplyTo.Parts[0].Native)
	}
	most := max(lim.lines+1, lim.multi.lines-1)
	lines, more := spoken(prefix, text, budget, most)
	if len(lines) > 1 && lim.multi.lines > 0 {
		if l, all := lim.multi.message(command, to.target, prefix, lines, more, lim.link, budget); l != nil {
			l.tags, out.lines, out.more = tags, []*line{l}, len(lines)+more-all
			return out
		}
	}
	if all := len(lines) + more; all > lim.lines+1 { // one more is said itself, where a line would tell of it
		lines, more = lines[:lim.lines], all-lim.lines
	}
	if out.more = more; more > 0 {
		lines = append(lines, cutTail(prefix, more, lim.link, budget))
	}
	out.lines = say(command, to.target, lines)
	if len(out.lines) > 0 {
		out.lines[0].tags = tags
	}
	return out
}

// cutTail is the line that tells of those that were left out. A link is left out as well if it does not fit in.
func cutTail(prefix string, more int, link string, budget int) string {
	if text := prefix + leftOut(more, link); len(text) <= budget {
		return text
	}
	return prefix + leftOut(more, "")
}

// say makes a line of each text.
func say(command, target string, texts []string) []*line {
	var out []*line
	for i, text := range texts {
		out = append(out, &line{text: command + " " + target + " :" + text, part: partName(i)})
	}
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
	out := outgoing{target: author.ID, silent: true}
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
	const most = 2
	lines, more := spoken("", plainRows(gateway.Clean(text)), lim.payload("NOTICE", out.target), most)
	if more > 0 {
		lines = append(lines, leftOut(more, ""))
	}
	out.lines = say("NOTICE", out.target, lines)
	return out, nil
}
