package ircside

import (
	"strconv"
	"strings"

	"github.com/lrstanley/girc"
)

const (
	capMultiline = "draft/multiline"
	tagConcat    = "draft/multiline-concat" // on a line that goes on where the last one was cut

	multiRef   = "lb"     // names our batch: it is written in one piece, so there is never another one
	multiWire  = 7 << 10  // bytes of a batch on the wire, at most: it must fit into the window
	multiLines = 100      // lines of one message that we read or write
	multiHeld  = 64 << 10 // bytes of one message that we read
)

// multiline is how much a server takes as one message of several lines (IRCv3 draft/multiline).
type multiline struct{ bytes, lines int }

// parseMultiline reads the capability's value, "max-bytes=4096,max-lines=24". The zero value: there is none.
func parseMultiline(value string) multiline {
	m := multiline{lines: multiLines}
	for _, part := range strings.Split(value, ",") {
		key, n, _ := strings.Cut(part, "=")
		switch key {
		case "max-bytes":
			m.bytes, _ = strconv.Atoi(n)
		case "max-lines":
			if n, err := strconv.Atoi(n); err == nil {
				m.lines = min(n, multiLines)
			}
		}
	}
	if m.bytes <= 0 || m.lines < 2 {
		return multiline{}
	}
	return m
}

// message makes one line of several texts: a batch, which leaves in one piece. Each of them begins with who said it,
// since clients without multiline see them one by one, and somebody's second line could pretend to be another's first.
// It returns how many of the texts are in it; nil where not even two fit.
func (m multiline) message(command, target, prefix string, texts []string, more int, link string, budget int) (l *line, n int) {
	const open, end = "@batch=" + multiRef + " ", "BATCH -" + multiRef
	tail := len(cutTail(prefix, 1<<20, link, budget))
	most := len(texts)
	if more > 0 || most > m.lines {
		most = min(most, m.lines-1)
	}
	size, wire := 0, len("BATCH +")+len(multiRef)+len(capMultiline)+len(target)+len(end)+8
	overhead := len(open) + len(command) + len(target) + len(" ") + len(" :\r\n")
	last := 0 // of the texts, behind which there is room to tell of the rest
	for n = 0; n < most; n++ {
		size, wire = size+len(texts[n])+1, wire+len(texts[n])+overhead
		if size > m.bytes || wire > multiWire {
			break
		}
		if size+tail <= m.bytes && wire+tail+overhead <= multiWire && n+1 < m.lines {
			last = n + 1
		}
	}
	said := texts[:n]
	if left := len(texts) - n + more; left > 0 {
		n = last
		said = append(texts[:n:n], cutTail(prefix, len(texts)-n+more, link, budget))
	}
	if n < 2 {
		return nil, 0
	}
	l = &line{text: "BATCH +" + multiRef + " " + capMultiline + " " + target, joined: command + " " + strings.Join(said, "\n")}
	for _, text := range said {
		l.rest = append(l.rest, open+command+" "+target+" :"+text)
	}
	l.rest = append(l.rest, end)
	return l, n
}

// gathered are the lines of a multiline batch that has not ended.
type gathered struct {
	open  *girc.Event // the BATCH, with the message's tags
	first *girc.Event // its first line
	text  strings.Builder
	lines int
	parts int // messages made of it so far: one that is too long is several
}

// gather adds a line to a batch. It returns a message when what is there is as long as one may be.
func (g *gathered) gather(e *girc.Event) (whole *girc.Event) {
	if len(e.Params) < 2 || e.Command != girc.PRIVMSG && e.Command != girc.NOTICE {
		return nil
	}
	if g.first != nil && (g.lines >= multiLines || g.text.Len()+len(e.Last()) > multiHeld) {
		whole = g.message()
	}
	if g.first == nil {
		g.first = e
	} else if _, concat := e.Tags[tagConcat]; !concat {
		g.text.WriteByte('\n')
	}
	g.lines++
	g.text.WriteString(e.Last())
	return whole
}

// message makes one message of what was gathered; nil: nothing was.
func (g *gathered) message() *girc.Event {
	if g.first == nil {
		return nil
	}
	out := g.first.Copy()
	out.Params[len(out.Params)-1] = g.text.String()
	if g.open.Source != nil {
		out.Source = g.open.Source
	}
	out.Tags = girc.Tags{}
	for name, value := range g.open.Tags {
		out.Tags[name] = value
	}
	if id := out.Tags["msgid"]; id != "" && g.parts > 0 {
		out.Tags["msgid"] = id + "/" + strconv.Itoa(g.parts)
	}
	g.parts++
	g.first, g.lines = nil, 0
	g.text.Reset()
	return out
}
