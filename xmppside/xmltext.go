package xmppside

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// newlines makes line ends what XML says they are (XML 1.0, section 2.11).
func newlines(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// plainText resolves the references in character data or in the value of an attribute.
func plainText(s string) (string, error) {
	s = newlines(s)
	next := strings.IndexByte(s, '&')
	if next < 0 {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for next >= 0 {
		out = append(out, s[:next]...)
		s = s[next+1:]
		end := strings.IndexByte(s, ';')
		if end < 0 {
			return "", errEntity
		}
		c, err := entity(s[:end])
		if err != nil {
			return "", err
		}
		out = utf8.AppendRune(out, c)
		s = s[end+1:]
		next = strings.IndexByte(s, '&')
	}
	return string(append(out, s...)), nil
}

func entity(name string) (rune, error) {
	switch name {
	case "lt":
		return '<', nil
	case "gt":
		return '>', nil
	case "amp":
		return '&', nil
	case "apos":
		return '\'', nil
	case "quot":
		return '"', nil
	}
	digits, numeric := strings.CutPrefix(name, "#")
	base := 10
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if !numeric || err != nil {
		return 0, errEntity
	}
	c := rune(n)
	if n > utf8.MaxRune || !utf8.ValidRune(c) || c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c == 0xFFFE || c == 0xFFFF {
		return 0, errCharacter
	}
	return c, nil
}
