package gateway

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxText is the longest text that an event carries, in bytes of UTF-8. It is above every network's own limit for
// one message (Matrix: 64 KiB for the whole event), so that nothing a person writes by hand is refused.
const MaxText = 256 << 10

// MaxExcerpt is how much of a message is kept after its delivery, in bytes: enough for a quote.
const MaxExcerpt = 300

// MaxMarks is how many marks a text has; one with more loses them all.
const MaxMarks = 256

// MaxQuoteDepth is how deep quotes lie in each other; what is deeper counts as that deep.
const MaxQuoteDepth = 4

// Text is what a person wrote: the bare text and, beside it, how parts of it are marked up. Plain holds none of the
// signs by which a network writes markup (no "*", "> ", fences, bullets, control codes): each side takes them out and
// writes its own.
type Text struct {
	Plain string `json:"plain"`
	Marks []Mark `json:"marks,omitempty"` // at most MaxMarks
}

// Mark gives the bytes Start to End of Text.Plain a style. Both lie on the borders of runes. Marks may overlap; what
// Style none of the constants below is, means nothing.
type Mark struct {
	Start int    `json:"s"`
	End   int    `json:"e"`
	Style string `json:"k"`
	Arg   string `json:"h,omitempty"` // see the constants; stored under the name that it had when only links had one
	Who   Person `json:"w,omitzero"`  // of MarkMention
}

// The values of Mark.Style.
const (
	MarkBold      = "bold"
	MarkItalic    = "italic"
	MarkUnderline = "underline"
	MarkStrike    = "strike"
	MarkCode      = "code" // within a line
	// MarkBlock is preformatted text, whole lines. Arg is its language, or empty.
	MarkBlock = "block"
	// MarkQuote is a quotation, whole lines. One inside another is a quote within that quote, down to MaxQuoteDepth.
	MarkQuote = "quote"
	// MarkItem is one item of a list, whole lines. Arg is empty for a bullet, else its number in decimal ("3").
	MarkItem = "item"
	// MarkLink is text that leads somewhere. Arg is an absolute URL of the scheme http, https, mailto, xmpp, ircs or
	// matrix; with any other the mark means nothing.
	MarkLink = "link"
	// MarkSpoiler is text that readers uncover themselves. Arg is the reason, or empty.
	MarkSpoiler = "spoiler"
	// MarkMention is the name of Who, a person of any network.
	MarkMention = "mention"
)

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

// Excerpt is what the journal keeps of a body for quotes and corrections. What a spoiler hides is not quoted.
func Excerpt(b Body) string {
	var t string
	switch b := b.(type) {
	case Message:
		t = b.Text.uncovered()
		if t == "" && len(b.Files) > 0 {
			t = b.Files[0].Name
		}
	case Edit:
		t = b.Text.uncovered()
	}
	return Shorten(t, MaxExcerpt)
}

// uncovered is the text without what spoilers hide.
func (t Text) uncovered() string {
	if len(t.Marks) == 0 {
		return t.Plain
	}
	var b strings.Builder
	at := 0
	for _, m := range t.Normal().Marks {
		if m.Style == MarkSpoiler {
			b.WriteString(t.Plain[at:m.Start] + "(spoiler)")
			at = m.End
		}
	}
	return b.String() + t.Plain[at:]
}

// Answers returns the native ids of what a message, or the one that an edit is of, answers and of the thread that it is
// in: the journal keeps them beside the excerpt, for edits.
func Answers(b Body) (replyTo, thread string) {
	switch b := b.(type) {
	case Message:
		replyTo, thread = b.ReplyTo.Native, b.Thread.Native
	case Edit:
		replyTo, thread = b.ReplyTo.Native, b.Thread.Native
	}
	if len(replyTo)+len(thread) > maxAnswers {
		return "", ""
	}
	return replyTo, thread
}

// maxAnswers bounds what is kept of the ids that a message refers to, in bytes.
const maxAnswers = 1000

// Limits of what a file says of itself. What is beyond is left out.
const (
	MaxBlurhash = 100 // bytes
	MaxWaveform = 128 // samples
)

// File is something attached. URL is where its bytes are; Cipher is set where they are encrypted there. Everything but
// URL and Cipher is the sender's word, which nobody has checked.
type File struct {
	Name   string  `json:"name"` // fit for one line, no path
	MIME   string  `json:"mime,omitempty"`
	Size   int64   `json:"size,omitempty"` // bytes, before encryption; 0: unknown
	Width  int     `json:"width,omitempty"`
	Height int     `json:"height,omitempty"`
	URL    string  `json:"url,omitempty"` // https, or what only Network understands (mxc)
	Cipher *Cipher `json:"cipher,omitempty"`
	// Network is the network whose URL it is, and whose credentials may fetch it.
	Network string `json:"net,omitempty"`
	// Public: whoever knows URL may fetch it, and it may be shown to anybody in the bridge's rooms. Never set for what
	// came sealed or has a Cipher.
	Public bool `json:"pub,omitempty"`

	// Duration is how long it plays; 0: unknown, or it does not play.
	Duration time.Duration `json:"dur,omitempty"`
	// Voice: it was spoken into the client, as a message.
	Voice bool `json:"voice,omitempty"`
	// Waveform is how loud a voice message is, evenly over Duration, 0 to 1024 each (MSC1767); at most MaxWaveform.
	Waveform []int `json:"wave,omitempty"`
	// Sticker: it stands for words, and is shown small and without a frame.
	Sticker bool `json:"sticker,omitempty"`
	// Blurhash is a blurred preview in the code of that name; at most MaxBlurhash bytes.
	Blurhash string `json:"blur,omitempty"`
	// Thumb is a smaller picture of it, which has no Thumb itself.
	Thumb *File `json:"thumb,omitempty"`

	// Link is, for Deliver only, where people of a room without files find it; empty: nowhere.
	Link string `json:"-"`
}

// The values of Cipher.Name.
const (
	// CipherGCM256 and CipherGCM128 are AES-GCM with a tag of 16 bytes behind the text and an IV of 12 or 16 bytes
	// (XEP-0448, XEP-0454).
	CipherGCM256 = "aes-256-gcm"
	CipherGCM128 = "aes-128-gcm"
	// CipherCBC256 is AES-CBC with PKCS #7 padding (XEP-0448). Hash is required.
	CipherCBC256 = "aes-256-cbc"
	// CipherCTR256 is AES-CTR, the IV of 16 bytes being the first counter (Matrix specification, sending encrypted
	// attachments). Hash is required.
	CipherCTR256 = "aes-256-ctr"
)

// Cipher opens an encrypted file. It is content: it lies in sealed bodies only, and reaches neither keys of State, nor
// links, nor logs.
type Cipher struct {
	Name string `json:"name"`
	Key  []byte `json:"key"`
	IV   []byte `json:"iv"`
	Hash []byte `json:"hash,omitempty"` // SHA-256 of the encrypted bytes, where the network gives it
}
