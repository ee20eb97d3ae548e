package gateway

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// relayForm is how a text begins that a relay may have written.
type relayForm int

const (
	unnamed   relayForm = iota
	bracketed           // "<nick> text", "[nick] text", "(nick) text", "**nick**: text"
	addressed           // "nick: text", as people also write to each other
)

func (f relayForm) named() bool { return f != unnamed }

// cutRelay takes a name off the front of a text.
func cutRelay(text string) (nick, rest string, form relayForm) {
	text = strings.TrimSpace(text)
	for _, mark := range []struct{ open, end string }{{"<", "> "}, {"[", "] "}, {"(", ") "}, {"**", "**: "}, {"**<", ">** "}} {
		inner, ok := strings.CutPrefix(text, mark.open)
		if !ok {
			continue
		}
		if nick, rest, ok = strings.Cut(inner, mark.end); ok && isNick(nick) && strings.TrimSpace(rest) != "" {
			return nick, rest, bracketed
		}
	}
	if nick, rest, ok := strings.Cut(text, ": "); ok && isNick(nick) && strings.TrimSpace(rest) != "" {
		return nick, rest, addressed
	}
	return "", text, unnamed
}

// isNick reports whether a name may be a relay's word for somebody.
func isNick(s string) bool {
	return s != "" && !strings.Contains(s, "\n") && utf8.RuneCountInString(s) <= 64 && strings.Count(s, " ") <= 4
}

// nameKey makes names comparable: without case, surrounding space, and the invisible characters with which relays keep
// a name from ringing.
func nameKey(name string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, CleanName(bare(name))))
}

// holds reports whether nick is name, or has it in it as a word of its own.
func holds(nick, name string) bool {
	for from := 0; ; {
		i := strings.Index(nick[from:], name)
		if i < 0 || name == "" {
			return false
		}
		begin, end := from+i, from+i+len(name)
		before, _ := utf8.DecodeLastRuneInString(nick[:begin])
		after, _ := utf8.DecodeRuneInString(nick[end:])
		if !isWord(before) && !isWord(after) {
			return true
		}
		from = begin + 1
	}
}

func isWord(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) }

// withoutMark takes away by what bridges mark their puppets; the name must be a nameKey.
func withoutMark(name string) string {
	for range loopDepth {
		was := name
		for _, mark := range []string{
			"[m]", "[matrix]", "[x]", "[xmpp]", "[irc]", "|m", "|matrix", "|x", "|xmpp", "|irc", "-m", "-matrix", "-xmpp", "-irc",
			"(m)", "(matrix)", "(xmpp)", "(irc)", "_",
		} {
			name = strings.TrimSpace(strings.TrimSuffix(name, mark))
		}
		if name == "" {
			return was
		}
		if name == was {
			break
		}
	}
	return name
}

// bare takes IRC's formatting out of a text (modern.ircdocs.horse/formatting).
func bare(text string) string {
	if !strings.ContainsFunc(text, isFormat) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == 0x03:
			i += colorLength(text[i+1:], 2, func(c byte) bool { return c >= '0' && c <= '9' })
		case c == 0x04:
			i += colorLength(text[i+1:], 6, func(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 })
		case !isFormat(rune(c)):
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isFormat(r rune) bool {
	switch r {
	case 0x02, 0x03, 0x04, 0x0f, 0x11, 0x16, 0x1d, 0x1e, 0x1f:
		return true
	}
	return false
}

// colorLength is how many bytes name a color, and maybe a second one behind a comma.
func colorLength(s string, digits int, digit func(byte) bool) int {
	n := 0
	for n < len(s) && n < digits && digit(s[n]) {
		n++
	}
	if n > 0 && n+1 < len(s) && s[n] == ',' && digit(s[n+1]) {
		n++
		for end := n + digits; n < len(s) && n < end && digit(s[n]); n++ {
		}
	}
	return n
}
