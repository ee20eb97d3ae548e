package xmppside

import (
	"slices"
	"unicode"
)

// isEmoji reports whether a reaction is made of pictographs, as clients show them (Unicode Technical Standard 51), and of
// nothing else.
func isEmoji(s string) bool {
	runes, pictured := []rune(s), false
	for i, r := range runes {
		switch {
		case isPictograph(r):
			pictured = true
		case r >= '0' && r <= '9' || r == '#' || r == '*': // the base of a keycap
			rest := runes[i+1:]
			if len(rest) > 0 && rest[0] == variationSelector {
				rest = rest[1:]
			}
			if len(rest) == 0 || rest[0] != keycap {
				return false
			}
			pictured = true
		case r == zeroWidthJoiner, r == variationSelector, r == keycap, r >= 0xE0020 && r <= 0xE007F: // the last ones name flags
		default:
			return false
		}
	}
	return pictured
}

const (
	zeroWidthJoiner   = 0x200D
	variationSelector = 0xFE0F
	keycap            = 0x20E3
)

func isPictograph(r rune) bool {
	return r >= 0x1F000 && r < 0x20000 || r >= 0x2190 && r < 0x3300 && (unicode.Is(unicode.So, r) || unicode.Is(unicode.Sm, r)) ||
		slices.Contains([]rune{0xA9, 0xAE, 0x203C, 0x2049, 0x2122, 0x2139, 0x3030}, r)
}
