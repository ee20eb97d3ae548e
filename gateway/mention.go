package gateway

import (
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Sides mark the mentions that their networks know (pills, references, the nicks of puppets). People also just write
// "alice: hello". The gateway takes that for a mention at the beginning of a text alone, and if one person alone bears the
// name among those who spoke in the bridge lately: names that stand somewhere in a text are ordinary words far too often,
// and nobody is to be called by accident.

// maxSpeakers is how many people of a bridge are remembered, the latest.
const maxSpeakers = 256

// speakers remembers, in memory and for each bridge, who spoke lately.
type speakers struct {
	mu sync.Mutex
	by map[string][]*remembered // by the bridge's name, the latest last
}

// remembered is a person, and their name as a text may begin with it.
type remembered struct {
	Person
	name string
}

func newSpeakers() *speakers { return &speakers{by: map[string][]*remembered{}} }

// keep forgets bridges that are gone.
func (s *speakers) keep(bridges []Bridge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[string][]*remembered{}
	for _, b := range bridges {
		if was, ok := s.by[b.Name]; ok {
			kept[b.Name] = was
		}
	}
	s.by = kept
}

// name marks the person whom a message or an edit in a bridge addresses by name, unless a side has marked somebody in it
// already, and remembers who wrote it. It may be called again for the same event.
func (s *speakers) name(bridge string, ev *Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch b := ev.Body.(type) {
	case Message:
		if m, ok := s.address(bridge, b.Text); ok && b.Style == StyleText {
			b.Text.Marks = append(slices.Clone(b.Text.Marks), m)
			ev.Body = b
		}
	case Edit:
		if m, ok := s.address(bridge, b.Text); ok && b.Style == StyleText {
			b.Text.Marks = append(slices.Clone(b.Text.Marks), m)
			ev.Body = b
		}
	default:
		return
	}
	who := &remembered{ev.Sender, CleanName(ev.Sender.Label())}
	if who.IsZero() || who.name == "" {
		return
	}
	was := slices.DeleteFunc(s.by[bridge], func(p *remembered) bool { return p.Network == who.Network && p.ID == who.ID })
	if len(was) >= maxSpeakers {
		was = slices.Delete(was, 0, 1)
	}
	who.Avatar = ""
	s.by[bridge] = append(was, who)
}

// address is the mark of the name at the beginning of a text; false: it addresses nobody.
func (s *speakers) address(bridge string, t Text) (m Mark, ok bool) {
	if t.Plain == "" || len(t.Marks) >= MaxMarks || slices.ContainsFunc(t.Marks, func(m Mark) bool {
		quoted := m.Style == MarkQuote || m.Style == MarkBlock || m.Style == MarkCode
		return m.Style == MarkMention || quoted && m.Start <= 0
	}) {
		return m, false
	}
	found := 0
	for _, who := range s.by[bridge] {
		if end, ok := calls(t.Plain, who); ok {
			m = Mark{End: end, Style: MarkMention, Who: who.Person}
			found++
		}
	}
	return m, found == 1
}

// calls reports whether a text begins by addressing somebody: "name:", "name,", "@name", maybe with what a bridge
// puts behind its puppets' names. A comma follows ordinary words as well, so that the name must be written with the same
// capitals there.
func calls(text string, who *remembered) (end int, ok bool) {
	rest, at := strings.CutPrefix(text, "@")
	n, same, ok := namePrefix(rest, who.name)
	if !ok {
		return 0, false
	}
	end = len(text) - len(rest) + n
	if n, ok := puppetMark(text[end:], who.Network); ok {
		end += n
	}
	next, size := utf8.DecodeRuneInString(text[end:])
	after, _ := utf8.DecodeRuneInString(text[min(end+size, len(text)):])
	begins := size == 0 || end+size == len(text) || unicode.IsSpace(after)
	switch {
	case next == ':':
		return end, begins
	case next == ',':
		return end, begins && (at || same && utf8.RuneCountInString(who.name) > 1)
	}
	return end, at && (size == 0 || unicode.IsSpace(next) || unicode.IsPunct(next) && begins)
}

// namePrefix reports whether s begins with a name, whatever the case and with invisible characters in it by which other
// bridges keep names from ringing; same: in the same case.
func namePrefix(s, name string) (n int, same, ok bool) {
	same = true
	for _, want := range name {
		if unicode.Is(unicode.Cf, want) {
			continue
		}
		r, size := visible(s[n:])
		if n += size; size == 0 || r != want && !foldsTo(r, want) {
			return 0, false, false
		}
		same = same && r == want
	}
	return n, same, n > 0
}

// visible is the first rune of s that shows, and the bytes up to its end; 0: there is none.
func visible(s string) (r rune, n int) {
	for i, r := range s {
		if !unicode.Is(unicode.Cf, r) {
			return r, i + utf8.RuneLen(r)
		}
	}
	return 0, 0
}

func foldsTo(a, b rune) bool {
	if a < utf8.RuneSelf && b < utf8.RuneSelf && a|0x20 != b|0x20 { // all that fold to each other there
		return false
	}
	for r := unicode.SimpleFold(a); r != a; r = unicode.SimpleFold(r) {
		if r == b {
			return true
		}
	}
	return false
}

// puppetMark is what follows a name where bridges tell their puppets from others: " [network]" as ours do, " [network 2]",
// "[m]".
func puppetMark(s, network string) (n int, ok bool) {
	inner, found := strings.CutPrefix(strings.TrimPrefix(s, " "), "[")
	if !found {
		return 0, false
	}
	inner, _, found = strings.Cut(inner, "]")
	if !found || len(inner) > 100 {
		return 0, false
	}
	n = strings.IndexByte(s, ']') + 1
	mark, number, numbered := strings.Cut(inner, " ")
	if numbered && strings.Trim(number, "0123456789") != "" {
		return 0, false
	}
	switch mark = strings.ToLower(mark); mark {
	case "m", "matrix", "x", "xmpp", "irc":
		return n, true
	}
	return n, mark == strings.ToLower(network)
}
