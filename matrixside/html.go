package matrixside

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// What is read of the HTML of one message; people's clients write it, and anybody can write a client.
const (
	maxHTML     = 64 << 10
	maxTokens   = 20_000
	maxElements = 64 // how deep elements lie in each other; of what lies deeper the text alone is read
)

// readHTML reads a formatted body (Client-Server API, "m.room.message msgtypes"): what is written, and how it is marked
// up. who tells whom a user id means. A reply may begin with a fallback, which is left out. It reports false where body
// should be shown instead.
func readHTML(source string, reply bool, who func(id.UserID) gateway.Person) (gateway.Text, bool) {
	if len(source) > maxHTML {
		return gateway.Text{}, false
	}
	r := htmlReader{who: who, fallback: reply}
	z := html.NewTokenizer(strings.NewReader(source))
	for range maxTokens {
		switch z.Next() {
		case html.ErrorToken: // the end: nothing else can go wrong in a string
			r.pop(0)
			plain := r.out.String()
			if len(plain) > gateway.MaxText || strings.TrimSpace(plain) == "" {
				return gateway.Text{}, false
			}
			return gateway.Text{Plain: plain, Marks: r.marks}.Normal(), true
		case html.TextToken:
			r.text(gateway.Clean(string(z.Text())))
		case html.StartTagToken, html.SelfClosingTagToken:
			r.start(z.Token())
		case html.EndTagToken:
			name, _ := z.TagName()
			r.end(string(name))
		case html.CommentToken, html.DoctypeToken:
		}
	}
	return gateway.Text{}, false
}

// htmlReader turns tags and texts into lines with marks. A line begins with the first thing in it, and ends with a break
// or at the border of a block.
type htmlReader struct {
	who      func(id.UserID) gateway.Person
	out      strings.Builder
	marks    []gateway.Mark
	stack    []element
	beyond   int    // elements that lie deeper than maxElements
	open     bool   // a line has begun
	begun    bool   // any has
	gap      bool   // an empty line comes before the next
	space    bool   // white space comes before the next thing in the line
	skip     string // nothing is read before the end of this element
	fallback bool   // a reply's fallback may come
}

// element is one that was begun.
type element struct {
	tag   string
	mark  gateway.Mark // what it means; no Style: nothing
	at    int          // where it begins; -1: with the next line
	next  int          // of an ol: the number of its next item; of a tr: how many cells there were
	pre   []byte       // of a pre: its text
	fresh bool         // of a pre: nothing came after its tag
}

// line begins a line, if none has begun.
func (r *htmlReader) line() {
	if r.open {
		return
	}
	if r.begun {
		r.out.WriteByte('\n')
		if r.gap {
			r.out.WriteByte('\n')
		}
	}
	r.open, r.begun, r.gap, r.space = true, true, false, false
	for i := range r.stack {
		if r.stack[i].at < 0 {
			r.stack[i].at = r.out.Len()
		}
	}
}

// border ends the line.
func (r *htmlReader) border() { r.open, r.space = false, false }

// write writes within a line.
func (r *htmlReader) write(s string) {
	r.line()
	if r.space {
		r.out.WriteByte(' ')
		r.space = false
	}
	r.out.WriteString(s)
}

// text reads a text between tags. White space with the end of a line in it counts as one space, and for nothing at
// either end of a line; other white space stands there since somebody wanted it.
func (r *htmlReader) text(s string) {
	if r.skip != "" || s == "" {
		return
	}
	if pre := r.within("pre"); pre != nil {
		if pre.fresh { // directly behind the tag, the end of a line means nothing
			s = strings.TrimPrefix(s, "\n")
		}
		pre.fresh, pre.pre = false, append(pre.pre, s...)
		return
	}
	if strings.TrimSpace(s) == "" && (r.inside("ul", "ol", "table", "tbody", "thead", "tr") || !r.open && r.gap) {
		return
	}
	r.fallback = r.fallback && strings.TrimSpace(s) == ""
	for s != "" {
		word := strings.IndexAny(s, " \t\n")
		if word < 0 {
			r.write(s)
			return
		}
		if word > 0 {
			r.write(s[:word])
			s = s[word:]
		}
		rest := strings.TrimLeft(s, " \t\n")
		if blank := s[:len(s)-len(rest)]; !strings.Contains(blank, "\n") {
			r.write(blank)
		} else if r.open {
			r.space = true
		}
		s = rest
	}
}

// within is the innermost element of that name around what is read; nil: there is none.
func (r *htmlReader) within(tag string) *element {
	for i := range slices.Backward(r.stack) {
		if r.stack[i].tag == tag {
			return &r.stack[i]
		}
	}
	return nil
}

// inside reports whether what is read lies directly in one of these elements.
func (r *htmlReader) inside(tags ...string) bool {
	return len(r.stack) > 0 && slices.Contains(tags, r.stack[len(r.stack)-1].tag)
}

// start reads the beginning of an element.
func (r *htmlReader) start(t html.Token) {
	apart, isBlock := blocks[t.Data]
	if r.skip == "a" && (isBlock || t.Data == "br") { // a name that has no end
		r.skip = ""
	}
	switch {
	case r.skip != "":
		return
	case slices.Contains(silent, t.Data):
		if t.Type == html.StartTagToken {
			r.skip = t.Data
		}
		return
	case t.Data == "mx-reply":
		if r.fallback {
			r.skip, r.fallback = t.Data, false
		}
		return
	}
	if isBlock {
		r.border()
		r.gap = r.gap && apart
	}
	if slices.Contains(void, t.Data) {
		r.single(t)
		return
	}
	r.endBefore(t.Data)
	if len(r.stack) >= maxElements {
		r.beyond++
		return
	}
	e := element{tag: t.Data, at: -1, fresh: t.Data == "pre"}
	r.means(&e, t)
	if r.skip != "" { // a name, which is written already
		return
	}
	if r.open {
		e.at = r.out.Len()
		if r.space {
			e.at++
		}
	}
	r.stack = append(r.stack, e)
}

// single reads an element that has no end.
func (r *htmlReader) single(t html.Token) {
	switch t.Data {
	case "br":
		if pre := r.within("pre"); pre != nil {
			pre.fresh, pre.pre = false, append(pre.pre, '\n')
			return
		}
		r.line()
		r.border()
	case "hr":
		r.write("———")
		r.border()
	case "img":
		if alt := gateway.CleanName(attribute(t, "alt")); alt != "" {
			r.text(alt)
		}
	}
}

// end reads the end of an element, and of those in it that have none.
func (r *htmlReader) end(tag string) {
	_, isBlock := blocks[tag]
	switch {
	case r.skip == tag, r.skip == "a" && isBlock:
		r.skip = ""
		if tag == "a" || !isBlock {
			return
		}
	case r.skip != "":
		return
	}
	at := -1
	for i := range slices.Backward(r.stack) {
		if r.stack[i].tag == tag {
			at = i
			break
		}
	}
	switch {
	case r.beyond > 0:
		r.beyond--
	case at >= 0:
		r.pop(at)
	}
}

// endBefore ends what an element ends by beginning: items, rows and cells may go without an end.
func (r *htmlReader) endBefore(tag string) {
	cell := tag == "td" || tag == "th"
	if tag != "li" && tag != "tr" && !cell {
		return
	}
	for i := range slices.Backward(r.stack) {
		switch at := r.stack[i].tag; {
		case at == tag || cell && (at == "td" || at == "th"):
			r.pop(i)
			return
		case at == "ul" || at == "ol" || at == "table" || cell && at == "tr":
			return
		}
	}
}

// pop ends the elements from the nth on.
func (r *htmlReader) pop(n int) {
	for len(r.stack) > n {
		e := &r.stack[len(r.stack)-1]
		if e.tag == "pre" {
			r.block(e)
		}
		r.finish(e)
		gap, isBlock := blocks[e.tag]
		r.stack = r.stack[:len(r.stack)-1]
		if isBlock {
			r.border()
			r.gap = gap && r.begun
		}
	}
}

// block writes preformatted text, line by line.
func (r *htmlReader) block(e *element) {
	if len(e.pre) == 0 {
		return
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(e.pre), "\n"), "\n") {
		r.line()
		r.out.WriteString(line)
		r.border()
	}
}

// finish marks what an element held.
func (r *htmlReader) finish(e *element) {
	if e.mark.Style != "" && e.at >= 0 && e.at < r.out.Len() && len(r.marks) <= gateway.MaxMarks {
		e.mark.Start, e.mark.End = e.at, r.out.Len()
		r.marks = append(r.marks, e.mark)
	}
	e.mark.Style = ""
}
