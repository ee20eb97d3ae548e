package matrixside

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// blocks are the elements that stand in lines of their own; true: with an empty line behind them.
var blocks = map[string]bool{
	"p": true, "h1": true, "h2": true, "h3": true, "h4": true, "h5": true, "h6": true, "table": true,
	"div": false, "blockquote": false, "pre": false, "ul": false, "ol": false, "li": false, "hr": false, "tr": false,
	"details": false, "summary": false, "caption": false,
}

// inline are the marks of elements within lines.
var inline = map[string]string{
	"b": gateway.MarkBold, "strong": gateway.MarkBold, "i": gateway.MarkItalic, "em": gateway.MarkItalic,
	"u": gateway.MarkUnderline, "del": gateway.MarkStrike, "s": gateway.MarkStrike, "strike": gateway.MarkStrike,
	"code": gateway.MarkCode, "h1": gateway.MarkBold, "h2": gateway.MarkBold, "h3": gateway.MarkBold, "h4": gateway.MarkBold,
	"h5": gateway.MarkBold, "h6": gateway.MarkBold, "th": gateway.MarkBold, "summary": gateway.MarkBold,
}

// silent are elements whose content nobody is shown.
var silent = []string{"script", "style", "title", "head", "iframe", "noembed", "noframes", "noscript", "template", "svg", "math"}

// void are elements that have no end.
var void = []string{"br", "hr", "img", "input", "wbr", "col", "area", "base", "link", "meta", "embed", "source", "track"}

// means gives an element its meaning.
func (r *htmlReader) means(e *element, t html.Token) {
	e.mark.Style = inline[t.Data]
	switch t.Data {
	case "blockquote":
		e.mark.Style = gateway.MarkQuote
	case "pre":
		e.mark.Style = gateway.MarkBlock
	case "code":
		if pre := r.within("pre"); pre != nil {
			e.mark.Style, pre.fresh = "", false
			if language, ok := strings.CutPrefix(attribute(t, "class"), "language-"); ok && pre.mark.Arg == "" {
				pre.mark.Arg, _, _ = strings.Cut(language, " ")
			}
		}
	case "ul", "ol":
		if item := r.within("li"); item != nil { // the items of a list in an item are items like it
			r.finish(item)
		}
		if e.next = 1; attribute(t, "start") != "" {
			if n, err := strconv.Atoi(attribute(t, "start")); err == nil {
				e.next = n
			}
		}
	case "li":
		r.item(e)
	case "td", "th":
		if row := r.within("tr"); row != nil {
			if row.next > 0 {
				r.write(" | ")
			}
			row.next++
		}
	case "span":
		if reason, ok := lookUp(t, "data-mx-spoiler"); ok {
			e.mark.Style, e.mark.Arg = gateway.MarkSpoiler, gateway.Clean(reason)
		}
	case "a":
		r.anchor(e, attribute(t, "href"))
	}
}

// item is one of a list.
func (r *htmlReader) item(e *element) {
	e.mark.Style = gateway.MarkItem
	for i := range slices.Backward(r.stack) {
		switch list := &r.stack[i]; list.tag {
		case "ol":
			if list.next >= 0 {
				e.mark.Arg = strconv.Itoa(list.next)
			}
			list.next++
			return
		case "ul":
			return
		}
	}
}

// anchor is a link or a mention. Of a mention the name is not read: its text may say anything, and the person's name is
// known.
func (r *htmlReader) anchor(e *element, href string) {
	user, ok := userOf(href)
	if !ok {
		e.mark.Style, e.mark.Arg = gateway.MarkLink, href
		return
	}
	if len(r.marks) > gateway.MaxMarks { // none of them will stand
		return
	}
	who := r.who(user)
	if r.within("pre") != nil || gateway.CleanName(who.Label()) == "" {
		return
	}
	r.fallback = false
	r.write("")
	start := r.out.Len()
	r.write(gateway.CleanName(who.Label()))
	r.marks = append(r.marks, gateway.Mark{Start: start, End: r.out.Len(), Style: gateway.MarkMention, Who: who})
	r.skip = "a"
}

func attribute(t html.Token, name string) string {
	value, _ := lookUp(t, name)
	return value
}

func lookUp(t html.Token, name string) (string, bool) {
	for _, a := range t.Attr {
		if a.Key == name && a.Namespace == "" {
			return a.Val, true
		}
	}
	return "", false
}

// userOf reads the user id out of a link to a user (Appendices, "Matrix URI scheme" and "matrix.to navigation").
func userOf(href string) (id.UserID, bool) {
	rest, ok := strings.CutPrefix(href, "https://matrix.to/#/")
	if name, uri := strings.CutPrefix(href, "matrix:u/"); uri {
		rest, ok = "@"+name, true
	}
	if !ok {
		return "", false
	}
	if end := strings.IndexAny(rest, "?/"); end >= 0 {
		rest = rest[:end]
	}
	user, err := url.PathUnescape(rest)
	if err != nil || !saneID(user, '@') || !strings.Contains(user, ":") {
		return "", false
	}
	return id.UserID(user), true
}
