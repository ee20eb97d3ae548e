package ircside

import (
	"strings"
	"time"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
)

// parseLine reads one line of the server, without its line end. It is nil for what is no message at all.
func parseLine(line string) *girc.Event {
	e := girc.ParseEvent(line)
	if e == nil || e.Command == "" {
		return nil
	}
	return e
}

// param returns the n-th parameter, or "".
func param(e *girc.Event, n int) string {
	if n < len(e.Params) {
		return e.Params[n]
	}
	return ""
}

// nickOf returns the nick that a line comes from: "" for a server, whose name holds a dot where no nick may, and for a
// line without source.
func nickOf(e *girc.Event) string {
	if e.Source == nil || strings.Contains(e.Source.Name, ".") || !validTarget(e.Source.Name) {
		return ""
	}
	return cleanNick(e.Source.Name)
}

// cleanNick makes a nick fit to be kept: no server should allow one that this changes.
func cleanNick(nick string) string { return gateway.Clean(toUTF8(nick)) }

// cleanID returns an id of the server's as it is kept: "" for one that is too long or odd to be trusted.
func cleanID(id string) string {
	const most = 256
	if len(id) > most || gateway.Clean(id) != id {
		return ""
	}
	return id
}

// clientTag returns a client-only tag, by its draft's name or else by its final one.
func clientTag(e *girc.Event, name string) (value string) {
	short := strings.TrimPrefix(name, "draft/")
	for tag, v := range e.Tags {
		switch {
		case tag == "" || tag[0] != '+':
		case tag[1:] == name:
			return v
		case tag[1:] == short:
			value = v
		}
	}
	return value
}

// timeOf is when the server says that something happened just now (IRCv3 server-time), else now. What is a day off says
// more about a clock than about the event.
func timeOf(e *girc.Event, now time.Time) time.Time {
	const most = 24 * time.Hour
	t, err := time.Parse(time.RFC3339Nano, e.Tags["time"])
	if err != nil || t.Sub(now).Abs() > most {
		return now
	}
	return t.UTC()
}

// decodeMessage turns the text of a PRIVMSG or NOTICE into a message. It reports false for what is not speech: CTCP
// queries and answers, and text of which nothing is left without its formatting.
func decodeMessage(e *girc.Event) (gateway.Message, bool) {
	var m gateway.Message
	text := e.Last()
	if e.Command == girc.NOTICE {
		m.Style = gateway.StyleNotice
	}
	if strings.HasPrefix(text, "\x01") {
		// The closing \x01 is missing where a server cut the line.
		action, ok := strings.CutPrefix(strings.TrimSuffix(text[1:], "\x01"), "ACTION ")
		if !ok || e.Command == girc.NOTICE {
			return m, false
		}
		text, m.Style = action, gateway.StyleEmote
	}
	m.Text = readFormat(text)
	m.ReplyTo.Native = cleanID(clientTag(e, tagReply))
	return m, strings.TrimSpace(m.Text.Plain) != ""
}

// refusal is the server's answer to a line that it did not pass on.
type refusal struct {
	target  string // whom the line was for; "" if the answer does not say
	err     error
	absent  bool   // we are not in the channel, or the person is not there
	passing bool   // the same line may pass a little later
	muted   bool   // nothing passes there for now
	colours bool   // it may be for its formatting
	of      string // the command that it refuses; "": one that says something
}

// decodeRefusal reads the numerics and standard replies (IRCv3) that refuse a PRIVMSG or NOTICE. With sure, a label has
// told already that e answers one, so that any error does.
func decodeRefusal(e *girc.Event, sure bool) (refusal, bool) {
	reason := gateway.Shorten(oneLine(toUTF8(stripFormat(e.Last()))), 200)
	if reason == "" {
		reason = "the server refused it"
	}
	r := refusal{target: param(e, 1), err: refusedError{e.Command, reason}}
	switch e.Command {
	case girc.ERR_CANNOTSENDTOCHAN: // +m, +n, a ban, a filter: may pass
		r.muted = true
		words := strings.ToLower(reason)
		r.colours = strings.Contains(words, "color") || strings.Contains(words, "colour") || strings.Contains(words, "format")
	case girc.ERR_CHANOPRIVSNEEDED, girc.ERR_UNAVAILRESOURCE: // we may not change the topic, or not now
		r.of = girc.TOPIC
	case girc.ERR_NOSUCHNICK, girc.ERR_NOSUCHCHANNEL, girc.ERR_NOTONCHANNEL:
		r.absent = true
	case girc.RPL_TRYAGAIN, "439", "707": // try again, targets change too fast
		r.passing = true
	case "477", "486", "531", "716": // to people: only from those who logged in, or not from us
	case girc.ERR_NOTEXTTOSEND, "417", "936": // no text, line too long, a censored word
		r.err = gateway.Drop(r.err)
	case "FAIL":
		switch param(e, 0) {
		case girc.PRIVMSG, girc.NOTICE:
		case "REDACT", "TAGMSG":
			r.of = param(e, 0)
		default:
			return refusal{}, false
		}
		r.target, r.err = param(e, 2), gateway.Drop(r.err)
	default:
		return r, sure && len(e.Command) == 3 && (e.Command[0] == '4' || e.Command[0] == '5')
	}
	return r, true
}

// refusedError is what the server said to a line or a JOIN.
type refusedError struct{ code, reason string }

func (e refusedError) Error() string { return e.reason + " (" + e.code + ")" }

// joinRefusal reads the numerics that refuse a JOIN: which channel, and why.
func joinRefusal(e *girc.Event) (channel string, err error, ok bool) {
	var why string
	switch e.Command {
	case girc.ERR_NOSUCHCHANNEL:
		why = "there is no such channel"
	case girc.ERR_TOOMANYCHANNELS:
		why = "we are in too many channels"
	case girc.ERR_UNAVAILRESOURCE:
		why = "the channel is not available now"
	case girc.ERR_CHANNELISFULL:
		why = "the channel is full"
	case girc.ERR_INVITEONLYCHAN:
		why = "the channel is for invited people only"
	case girc.ERR_BANNEDFROMCHAN:
		why = "we are banned from the channel"
	case girc.ERR_BADCHANNELKEY:
		why = "the channel's password is missing or wrong"
	case girc.ERR_BADCHANMASK, "479":
		why = "the server does not take the channel's name"
	case "477":
		why = "the channel is for registered nicks only"
	case "489", "520":
		why = "the channel is for TLS connections or operators only"
	default:
		return "", nil, false
	}
	return param(e, 1), refusedError{e.Command, why}, true
}
