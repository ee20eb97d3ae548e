package ircside

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"lockbridge/gateway"
)

// toUTF8 reads bytes of unknown charset: what is not valid UTF-8 is read as Windows-1252, the superset of Latin-1 that
// older clients send.
func toUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(windows1252(s[i]))
	}
	return b.String()
}

// windows1252 decodes one byte. The five bytes that the code page leaves open become U+FFFD.
func windows1252(c byte) rune {
	const high = "€\uFFFD‚ƒ„…†‡ˆ‰Š‹Œ\uFFFDŽ\uFFFD\uFFFD‘’“”•–—˜™š›œ\uFFFDžŸ" // 0x80 to 0x9F
	if c < 0x80 || c > 0x9F {
		return rune(c)
	}
	return []rune(high)[c-0x80]
}

// oneLine makes a text fit for one line.
func oneLine(s string) string { return strings.Join(strings.Fields(gateway.Clean(s)), " ") }

// The formatting codes of IRC clients (modern.ircdocs.horse/formatting).
const (
	codeColor    = 0x03 // with up to two digits, and again after a comma
	codeHexColor = 0x04 // with six hex digits, and again after a comma
)

// stripFormat takes formatting codes out of a line.
func stripFormat(s string) string {
	if !strings.ContainsAny(s, "\x02\x03\x04\x0f\x11\x16\x1d\x1e\x1f") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		switch s[i] {
		case 0x02, 0x0f, 0x11, 0x16, 0x1d, 0x1e, 0x1f: // bold, reset, monospace, reverse, italics, strike, underline
			i++
		case codeColor:
			i += 1 + colorLen(s[i+1:], 1, 2, isDigit)
		case codeHexColor:
			i += 1 + colorLen(s[i+1:], 6, 6, isHex)
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String()
}

// colorLen returns how many bytes of s are a colour code's arguments: a foreground, and a background after a comma. A
// comma that no colour follows is text.
func colorLen(s string, least, most int, is func(byte) bool) int {
	run := func(s string) int {
		n := 0
		for n < len(s) && n < most && is(s[n]) {
			n++
		}
		if n < least {
			return 0
		}
		return n
	}
	n := run(s)
	if n > 0 && n < len(s) && s[n] == ',' {
		if back := run(s[n+1:]); back > 0 {
			n += 1 + back
		}
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

// unpingable marks a name so that it highlights nobody who has it, or one of its words, as nick: a zero-width
// non-joiner (U+200C) follows the first letter of each word. It shows nowhere, allows no line break inside the name
// (unlike U+200B), and every font has it (unlike U+2060). A word of one letter has no inside, and stays as it is.
func unpingable(name string) string {
	const mark = '\u200C'
	inNick := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(nickSpecials, r)
	}
	var b strings.Builder
	before, first := false, false // whether the last rune was part of a word, and the first one of it
	for _, r := range name {
		in := inNick(r)
		if in && first {
			b.WriteRune(mark)
		}
		b.WriteRune(r)
		first = in && !before
		before = in
	}
	return b.String()
}

// spoken turns a text into the lines of a message. Each begins with prefix and has at most budget bytes; at most most
// lines hold text, and one more tells how many were left out. Lines without anything to see are dropped.
func spoken(prefix, text string, budget, most int) []string {
	room := max(budget-len(prefix), minRoom)
	var out []string
	more := 0
	for line := range strings.SplitSeq(gateway.Clean(text), "\n") {
		for rest := strings.TrimRight(line, " \t"); strings.TrimSpace(rest) != ""; {
			var head string
			head, rest = cutLine(rest, room)
			if len(out) < most {
				out = append(out, prefix+head)
			} else {
				more++
			}
		}
	}
	switch {
	case more == 1:
		out = append(out, prefix+"… (1 more line)")
	case more > 1:
		out = append(out, fmt.Sprintf("%s… (%d more lines)", prefix, more))
	}
	return out
}

// minRoom is the least number of bytes that a line leaves for text; prefixes are shortened to make it so.
const minRoom = 32

// cutLine splits off what fits into room bytes: at the last white space of the second half, which is dropped, else
// between two runes, and not before a mark or joiner that belongs to the rune before it.
func cutLine(s string, room int) (head, rest string) {
	if len(s) <= room {
		return s, ""
	}
	if i := strings.LastIndexAny(s[:room+1], " \t"); i > room/2 {
		return strings.TrimRight(s[:i], " \t"), strings.TrimLeft(s[i:], " \t")
	}
	cut := room
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	for at := cut; at > room/2; {
		next, _ := utf8.DecodeRuneInString(s[at:])
		last, size := utf8.DecodeLastRuneInString(s[:at])
		if !clings(next) && last != zeroWidthJoiner {
			return s[:at], s[at:]
		}
		at -= size
	}
	return s[:cut], s[cut:]
}

const zeroWidthJoiner = '\u200D'

// clings reports whether a rune is shown as part of the one before it.
func clings(r rune) bool {
	return unicode.Is(unicode.M, r) || r == zeroWidthJoiner || r >= 0x1F3FB && r <= 0x1F3FF // skin tones
}
