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

// spoken turns the lines of a text into those of a message. Each begins with prefix and has at most budget bytes; most of
// them at most are made, and more tells how many were left out. Lines without anything to see are dropped.
func spoken(prefix string, text []row, budget, most int) (out []string, more int) {
	room := max(budget-len(prefix), minRoom)
	for _, line := range text {
		line = line.first(len(strings.TrimRight(line.plain, " \t")))
		for strings.TrimSpace(line.plain) != "" {
			var head string
			if head, line = line.cut(room); len(out) < most {
				out = append(out, prefix+head)
			} else {
				more++
			}
		}
	}
	return out, more
}

// leftOut tells how many lines were left out, and where they can be read, if anywhere.
func leftOut(more int, link string) string {
	text := fmt.Sprintf("%d more lines", more)
	if more == 1 {
		text = "1 more line"
	}
	if link != "" {
		text += ": " + link
	}
	return "… (" + text + ")"
}

// minRoom is the least number of bytes that a line leaves for text; prefixes are shortened to make it so.
const minRoom = 32

// cutLine splits off what fits into room bytes: at the last white space of the second half, which is dropped, or before a
// link that fits into a line; else between two runes, and not before a mark or joiner that belongs to the rune before it.
func cutLine(s string, room int) (head, rest string) {
	if len(s) <= room {
		return s, ""
	}
	if i := strings.LastIndexAny(s[:room+1], " \t"); i > room/2 || i > 0 && strings.TrimSpace(s[:i]) != "" && isShortLink(s[i+1:], room) {
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

// isShortLink reports whether s begins with a link, and one that fits into room bytes.
func isShortLink(s string, room int) bool {
	end := strings.IndexAny(s, " \t")
	if end < 0 {
		end = len(s)
	}
	return end <= room && strings.Contains(s[:end], "://")
}

const zeroWidthJoiner = '\u200D'

// clings reports whether a rune is shown as part of the one before it.
func clings(r rune) bool {
	return unicode.Is(unicode.M, r) || r == zeroWidthJoiner || r >= 0x1F3FB && r <= 0x1F3FF // skin tones
}
