package xmppside

import (
	"strconv"
	"strings"

	"lockbridge/gateway"
)

// decodeText turns a body into text and its style. "/me " makes an emote (XEP-0245).
func decodeText(body string) (gateway.Text, gateway.Style) {
	body = gateway.Clean(body)
	if rest, ok := strings.CutPrefix(body, "/me "); ok {
		return gateway.Text{Plain: rest}, gateway.StyleEmote
	}
	return gateway.Text{Plain: body}, gateway.StyleText
}

// stripFallback takes out of a reply's body what stands there only for clients that do not know replies (XEP-0461 with
// XEP-0428): ranges counted in code points. In a sealed message the ranges are outside of the ciphertext, where a
// server may have written them, so only leading lines that quote may go.
func stripFallback(body string, fallbacks []*node, sealed bool) string {
	for _, f := range fallbacks {
		if f.get("for") != nsReply {
			continue
		}
		for _, b := range f.all(nsFallback, "body") {
			start, end, ok := fallbackRange(b, body)
			if !ok || (sealed && (start != 0 || !quotes(body[:end]))) {
				continue
			}
			return body[:start] + body[end:]
		}
	}
	return body
}

// fallbackRange returns a range in bytes. Without numbers it is the whole body.
func fallbackRange(b *node, body string) (start, end int, ok bool) {
	from, err1 := strconv.Atoi(b.get("start"))
	to, err2 := strconv.Atoi(b.get("end"))
	if err1 != nil || err2 != nil || from < 0 || to < from {
		return 0, 0, false
	}
	start, end = -1, -1
	n := 0
	for i := range body {
		if n == from {
			start = i
		}
		if n == to {
			end = i
			break
		}
		n++
	}
	if start < 0 && n == from {
		start = len(body)
	}
	if end < 0 && n <= to {
		end = len(body)
	}
	return start, end, start >= 0 && end >= start
}

// quotes reports whether every line of s quotes.
func quotes(s string) bool {
	for line := range strings.Lines(s) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, ">") {
			return false
		}
	}
	return true
}
