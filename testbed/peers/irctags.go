package peers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// EnableTags asks for message tags and for echoes of what we say ourselves.
func (c *IRC) EnableTags(ctx context.Context) error {
	const wanted = "message-tags echo-message"
	if err := c.Send("CAP REQ :" + wanted); err != nil {
		return err
	}
	answer, err := c.Await(ctx, "the answer to CAP REQ", func(l IRCLine) bool {
		return l.Command == "CAP" && len(l.Params) > 1 && (l.Params[1] == "ACK" || l.Params[1] == "NAK")
	})
	if err == nil && answer.Params[1] != "ACK" {
		err = fmt.Errorf("%s: the server has no %s", c.owner, wanted)
	}
	return err
}

// Tag is the value of a message tag, unescaped, "" where there is none.
func (l IRCLine) Tag(name string) string {
	for tag := range strings.SplitSeq(l.Tags, ";") {
		if key, value, _ := strings.Cut(tag, "="); key == name {
			return strings.NewReplacer(`\:`, ";", `\s`, " ", `\\`, `\`, `\r`, "\r", `\n`, "\n").Replace(value)
		}
	}
	return ""
}

// HasTag says whether the tag is there, with or without a value.
func (l IRCLine) HasTag(name string) bool {
	return slices.ContainsFunc(strings.Split(l.Tags, ";"), func(tag string) bool { return tag == name || strings.HasPrefix(tag, name+"=") })
}

// SayTagged speaks with client tags, such as +draft/reply.
func (c *IRC) SayTagged(target, text string, tags map[string]string) error {
	c.transcript.add(Entry{Where: c.owner, Who: c.Nick, Text: text, Said: true})
	return c.Send(tagged(tags) + "PRIVMSG " + target + " :" + text)
}

// TagMessage sends tags without a message: reactions, typing.
func (c *IRC) TagMessage(target string, tags map[string]string) error {
	return c.Send(tagged(tags) + "TAGMSG " + target)
}

func tagged(tags map[string]string) string {
	escape := strings.NewReplacer(";", `\:`, " ", `\s`, `\`, `\\`, "\r", `\r`, "\n", `\n`)
	var list []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, name+"="+escape.Replace(tags[name]))
	}
	return "@" + strings.Join(list, ";") + " "
}

// AwaitOwn waits for the echo of what we said, and returns its msgid.
func (c *IRC) AwaitOwn(ctx context.Context, channel, text string) (msgid string, err error) {
	l, err := c.Await(ctx, fmt.Sprintf("the echo of %q", text), func(l IRCLine) bool {
		return l.Command == "PRIVMSG" && l.Nick() == c.Nick && strings.EqualFold(l.Params[0], channel) && l.Text() == text
	})
	return l.Tag("msgid"), err
}

// AwaitTag waits for a message without text of somebody else with that tag; fits may be nil.
func (c *IRC) AwaitTag(ctx context.Context, mark int, channel, tag string, fits func(IRCLine) bool) (IRCLine, error) {
	return c.AwaitAfter(ctx, mark, "a TAGMSG with "+tag, func(l IRCLine) bool {
		return l.Command == "TAGMSG" && l.Nick() != c.Nick && strings.EqualFold(l.Params[0], channel) && l.HasTag(tag) && (fits == nil || fits(l))
	})
}

// SetTopic sets a channel's topic and waits until everybody sees it. InspIRCd takes one in a second.
func (c *IRC) SetTopic(ctx context.Context, channel, topic string) error {
	for {
		mark := c.Mark()
		if err := c.Send("TOPIC " + channel + " :" + topic); err != nil {
			return err
		}
		l, err := c.AwaitAfter(ctx, mark, fmt.Sprintf("the topic %q", topic), func(l IRCLine) bool {
			return l.Command == "TOPIC" && l.Text() == topic || l.Command == "437" || l.Command == "482"
		})
		switch {
		case err != nil:
			return err
		case l.Command == "TOPIC":
			return nil
		case l.Command == "482" || !rest(ctx, keepPause):
			return fmt.Errorf("%s: the topic was refused: %s", c.owner, l.Text())
		}
	}
}

// AwaitTopic waits until a channel's topic is that.
func (c *IRC) AwaitTopic(ctx context.Context, mark int, channel, topic string) (IRCLine, error) {
	return c.AwaitAfter(ctx, mark, fmt.Sprintf("the topic %q", topic), func(l IRCLine) bool {
		return (l.Command == "TOPIC" || l.Command == "332") && len(l.Params) > 1 && strings.EqualFold(l.Params[len(l.Params)-2], channel) && l.Text() == topic
	})
}

// Names asks who is in a channel; modes are cut off.
func (c *IRC) Names(ctx context.Context, channel string) (nicks []string, err error) {
	mark := c.Mark()
	if err := c.Send("NAMES " + channel); err != nil {
		return nil, err
	}
	_, err = c.AwaitAfter(ctx, mark, "the end of NAMES", func(l IRCLine) bool {
		if l.Command == "353" && strings.EqualFold(l.Params[len(l.Params)-2], channel) {
			for _, n := range strings.Fields(l.Text()) {
				nick, _, _ := strings.Cut(strings.TrimLeft(n, "@+%&~"), "!")
				nicks = append(nicks, nick)
			}
		}
		return l.Command == "366" && len(l.Params) > 1 && strings.EqualFold(l.Params[1], channel)
	})
	return nicks, err
}
