package omemo

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// cutName splits a name, with or without prefix, off the beginning of b.
func cutName(b []byte) (prefix, local, rest []byte, ok bool) {
	end, colon := 0, -1
scan:
	for ; end < len(b); end++ {
		switch c := b[end]; c {
		case ':':
			if colon >= 0 {
				return nil, nil, nil, false
			}
			colon = end
		case '>', '/', '=', '<', '&', '"', '\'':
			break scan
		default:
			if c <= ' ' {
				break scan
			}
		}
	}
	local, rest = b[:end], b[end:]
	if colon < 0 {
		return nil, local, rest, nameBegins(local)
	}
	prefix, local = b[:colon], b[colon+1:end]
	return prefix, local, rest, nameBegins(prefix) && nameBegins(local)
}

func nameBegins(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	c := b[0]
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80
}

// decoded resolves the references in text; without any it copies nothing.
func decoded(text []byte) ([]byte, error) {
	if bytes.IndexByte(text, '&') < 0 {
		return text, nil
	}
	return appendDecoded(nil, text)
}

// appendDecoded appends text with its references resolved.
func appendDecoded(dst, text []byte) ([]byte, error) {
	for {
		amp := bytes.IndexByte(text, '&')
		if amp < 0 {
			return append(dst, text...), nil
		}
		dst = append(dst, text[:amp]...)
		end := bytes.IndexByte(text[amp:], ';')
		if end < 0 {
			return nil, fmt.Errorf("%w: reference is cut off", errXML)
		}
		r, ok := reference(text[amp+1 : amp+end])
		if !ok {
			return nil, fmt.Errorf("%w: unknown reference", errXML)
		}
		dst = utf8.AppendRune(dst, r)
		text = text[amp+end+1:]
	}
}

// reference resolves what stands between & and ;.
func reference(name []byte) (rune, bool) {
	switch string(name) {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	if len(name) < 2 || len(name) > 10 || name[0] != '#' {
		return 0, false
	}
	digits, base := name[1:], 10
	if digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	if len(digits) == 0 || digits[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits), base, 32)
	r := rune(n)
	legal := r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r != 0xFFFE && r != 0xFFFF && utf8.ValidRune(r)
	return r, err == nil && n <= utf8.MaxRune && legal
}
