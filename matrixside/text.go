package matrixside

import (
	"errors"
	"regexp"
	"strings"

	"lockbridge/gateway"
)

// errTooLong refuses text that is longer than any event carries.
var errTooLong = errors.New("the text is too long")

// cleanText makes a body fit for any network, or refuses it.
func cleanText(s string) (string, error) {
	s = gateway.Clean(s)
	if len(s) > gateway.MaxText {
		return "", errTooLong
	}
	return s, nil
}

// quoteHead begins the first line of a reply fallback: the author, perhaps after the star of an emote.
var quoteHead = regexp.MustCompile(`^> (?:\* )?<(@[^<>\s]{1,254})> ?`)

// splitReply takes the plain reply fallback off a body (Client-Server API up to v1.12, "Fallbacks for rich replies"):
// lines that begin with "> ", the first of which names the author, and an empty line. It returns whom and what the
// fallback quotes, and the text behind it; a body without a fallback comes back as it is.
func splitReply(body string) (author, quote, rest string) {
	head := quoteHead.FindStringSubmatch(body)
	if head == nil {
		return "", "", body
	}
	var quoted []string
	for line, left := "", body[len(head[0]):]; ; left = strings.TrimPrefix(strings.TrimPrefix(left, ">"), " ") {
		line, left, _ = strings.Cut(left, "\n")
		quoted = append(quoted, line)
		if !strings.HasPrefix(left, ">") {
			return head[1], strings.TrimSpace(strings.Join(quoted, "\n")), strings.TrimPrefix(left, "\n")
		}
	}
}
