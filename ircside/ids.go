package ircside

import (
	"strconv"
	"strings"

	"lockbridge/gateway"
)

// A casemap says which nicks and channels are the same: the network's CASEMAPPING (RPL_ISUPPORT).
type casemap string

// The case mappings in use. RFC 1459, section 2.2, takes {}|^ for the lower case of []\~; the strict one leaves ^ and ~
// apart. Anything else (rfc7613, which nobody settled) folds like ascii.
const (
	casemapRFC1459 casemap = "rfc1459"
	casemapStrict  casemap = "rfc1459-strict"
)

// fold returns the form of a nick or channel that decides who or what it is.
func (m casemap) fold(name string) string {
	last := byte('Z')
	switch m {
	case casemapRFC1459:
		last = '^'
	case casemapStrict:
		last = ']'
	}
	return string(mapBytes(name, func(b byte) byte {
		if b >= 'A' && b <= last {
			return b + ('a' - 'A')
		}
		return b
	}))
}

func mapBytes(s string, f func(byte) byte) []byte {
	out := make([]byte, len(s))
	for i := range len(s) {
		out[i] = f(s[i])
	}
	return out
}

// partName names the n-th line of a delivery: the first one is the text part.
func partName(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// makeLabel is the label of a delivery's part (IRCv3 labeled-response). Only the server sees it.
func makeLabel(key, part string) string { return key + "/" + part }

// escapeTag writes a tag's value with the escapes of IRCv3 message-tags.
func escapeTag(value string) string {
	if !strings.ContainsAny(value, "\\; \r\n\x00") {
		return value
	}
	return strings.NewReplacer(`\`, `\\`, ";", `\:`, " ", `\s`, "\r", `\r`, "\n", `\n`, "\x00", "").Replace(value)
}

// The client-only tags (IRCv3) that we write and read. The final names are read as well.
const (
	tagReply   = "draft/reply"
	tagReact   = "draft/react"
	tagUnreact = "draft/unreact"
	tagTyping  = "typing"
)

// tag writes a client-only tag.
func tag(name, value string) string { return "+" + name + "=" + escapeTag(value) }

func isASCIILetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// nickSpecials are the signs that RFC 2812, section 2.3.1, allows in a nick beside letters and digits.
const nickSpecials = "[]\\`_^{|}"

// validNick reports whether nick is one by RFC 2812, section 2.3.1, at any length.
func validNick(nick string) bool {
	for i, r := range nick {
		first := isASCIILetter(r) || strings.ContainsRune(nickSpecials, r)
		if !first && (i == 0 || r != '-' && (r < '0' || r > '9')) {
			return false
		}
	}
	return nick != ""
}

// couldBeNick reports whether name can be somebody's nick on some server, and not a channel, a service at a server or
// a mask: what is for one person must not reach others. Servers allow more than RFC 2812 does, and "~" begins a nick with
// "^" in the case mapping of RFC 1459.
func couldBeNick(name string) bool {
	return validTarget(name) && gateway.CleanName(name) == name && !strings.ContainsAny(name, "!@.*?#&") && !strings.ContainsAny(name[:1], "+%$=")
}

// validTarget reports whether a nick or channel can stand as a middle parameter of a command: nothing in it ends the
// parameter or the line.
func validTarget(name string) bool {
	return name != "" && name[0] != ':' && !strings.ContainsAny(name, " ,\r\n\x00\a")
}
