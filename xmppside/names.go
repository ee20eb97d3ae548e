package xmppside

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
	"mellium.im/xmpp/jid"

	"lockbridge/gateway"
)

// pickNick makes a nick of a display name that nobody in the room could be mistaken for. taken are the others' nicks;
// attempt counts up when the room refuses the one picked before. plain asks for letters, digits and spaces only.
func pickNick(name string, p gateway.Person, plain bool, taken []string, attempt int) string {
	base := cleanNick(name, plain)
	if base == "" {
		base = cleanNick(strings.TrimPrefix(p.ID, "@"), true)
	}
	if base == "" {
		base = "somebody"
	}
	looks := map[string]bool{}
	for _, t := range taken {
		looks[skeleton(t)] = true
	}
	for i := 0; ; i++ {
		nick := base
		switch {
		case i == 1:
			nick = fmt.Sprintf("%s [%s]", base, p.Network)
		case i > 1:
			nick = fmt.Sprintf("%s [%s %d]", base, p.Network, i)
		}
		if looks[skeleton(nick)] {
			continue
		}
		if attempt == 0 {
			return nick
		}
		attempt--
	}
}

// cleanNick makes s fit for a resourcepart (RFC 7622, section 3.4); "" if nothing fit is left.
func cleanNick(s string, plain bool) string {
	s = gateway.CleanName(s)
	if plain {
		s = strings.TrimSpace(strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" ._-", r) {
				return r
			}
			return -1
		}, s))
	}
	j, err := jid.New("", "example.org", s)
	if err != nil {
		if plain {
			return ""
		}
		return cleanNick(s, true)
	}
	return strings.TrimSpace(j.Resourcepart())
}

// skeleton is what of a nick meets the eye: letters and digits without case, width and decoration. Two nicks with the
// same skeleton would be taken for one another.
func skeleton(nick string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r), !unicode.IsLetter(r) && !unicode.IsDigit(r):
			return -1
		}
		if latin, ok := lookalikes[r]; ok {
			return latin
		}
		return r
	}, strings.ToLower(norm.NFKD.String(nick)))
	if out == "" {
		return nick // only signs: compare them as they are
	}
	return out
}

// lookalikes are the letters most often used to imitate Latin ones (a small part of Unicode's confusables).
var lookalikes = map[rune]rune{
	'а': 'a', 'е': 'e', 'о': 'o', 'р': 'p', 'с': 'c', 'у': 'y', 'х': 'x', 'і': 'i', 'ј': 'j', 'ѕ': 's', 'к': 'k', 'м': 'm', 'т': 't', 'в': 'b', 'н': 'h',
	'α': 'a', 'ε': 'e', 'ο': 'o', 'ρ': 'p', 'ν': 'v', 'ι': 'i', 'κ': 'k', 'υ': 'u', 'ı': 'i', '0': 'o', '1': 'l', 'ł': 'l',
}
