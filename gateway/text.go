package gateway

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText is the longest text that an event carries, in bytes of UTF-8. It is above every network's own limit for
// one message (Matrix: 64 KiB for the whole event), so that nothing a person writes by hand is refused.
const MaxText = 256 << 10

// MaxExcerpt is how much of a message is kept after its delivery, in bytes: enough for a quote.
const MaxExcerpt = 300

// Text is what a person wrote: the bare text and, beside it, how parts of it are marked up.
type Text struct {
	Plain string `json:"plain"`
	Marks []Mark `json:"marks,omitempty"`
}

// Mark gives the bytes Start to End of Text.Plain a style. Marks may overlap.
type Mark struct {
	Start int    `json:"s"`
	End   int    `json:"e"`
	Style string `json:"k"`
	Href  string `json:"h,omitempty"` // where a link points
}

// Clean makes text sane for any network: valid UTF-8, line ends as \n, no NUL and no control characters but tab and
// newline. Invalid bytes (lone surrogates among them) become U+FFFD, so that nothing vanishes without a trace.
func Clean(s string) string {
	if !needsCleaning(s) {
		return s
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r':
			return '\n'
		case unicode.IsControl(r), r == 0xFFFE, r == 0xFFFF: // the last two are not XML characters
			return -1
		}
		return r
	}, s)
}

func needsCleaning(s string) bool {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f {
				return true
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if (r == utf8.RuneError && n == 1) || unicode.IsControl(r) || r == 0xFFFE || r == 0xFFFF {
			return true
		}
		i += n
	}
	return false
}

// CleanName makes a display name fit for one line: Clean, without line breaks and tabs, without characters that
// change the direction of what follows (the whole line would flip), trimmed, and at most 64 runes long.
func CleanName(s string) string {
	const limit = 64
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x200E, r == 0x200F, r == 0x061C:
			return -1
		}
		return r
	}, Clean(s))
	s = strings.Join(strings.Fields(s), " ")
	n := 0
	for i := range s {
		if n == limit {
			return strings.TrimSpace(s[:i])
		}
		n++
	}
	return s
}

// Shorten cuts s to at most limit bytes at a rune boundary and marks the cut with an ellipsis.
func Shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const mark = "…"
	cut := max(limit-len(mark), 0)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}

// Excerpt is what the journal keeps of a body for quotes and corrections.
func Excerpt(b Body) string {
	var t string
	switch b := b.(type) {
	case Message:
		t = b.Text.Plain
		if t == "" && len(b.Files) > 0 {
			t = b.Files[0].Name
		}
	case Edit:
		t = b.Text.Plain
	}
	return Shorten(t, MaxExcerpt)
}

// File is something attached. URL is where its bytes are; Cipher is set where they are encrypted there.
type File struct {
	Name   string  `json:"name"`
	MIME   string  `json:"mime,omitempty"`
	Size   int64   `json:"size,omitempty"` // bytes; 0: unknown
	Width  int     `json:"width,omitempty"`
	Height int     `json:"height,omitempty"`
	URL    string  `json:"url,omitempty"`
	Cipher *Cipher `json:"cipher,omitempty"`
}

// Cipher opens an encrypted file.
type Cipher struct {
	Name string `json:"name"`
	Key  []byte `json:"key"`
	IV   []byte `json:"iv"`
	Hash []byte `json:"hash,omitempty"` // SHA-256 of the encrypted bytes, where the network gives it
}
