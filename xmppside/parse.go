package xmppside

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// parser decodes an element into nodes. It takes what XMPP allows of XML (RFC 6120, section 11.1) and refuses the rest.
// What it returns are parts of the text that it was given, so whatever is kept for long has to be cloned.
type parser struct {
	s     string
	pos   int
	depth int
	count int
	bound bindings // in force, the innermost last
	slab  []node   // for the next nodes
}

var (
	errBreaksOff = errors.New("the element breaks off")
	errEntity    = errors.New("a reference to what XML does not define")
	errCharacter = errors.New("a character that XML cannot carry")
	errEndTag    = errors.New("an end tag that ends something else")
	errPrefix    = errors.New("a prefix that stands for nothing")
)

// parseNode decodes one element that stands for itself. What follows it is not looked at.
func parseNode(raw []byte) (*node, error) {
	p := parser{s: string(raw)}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p.element(nil)
}

// check looks at all characters at once.
func (p *parser) check() error {
	if !utf8.ValidString(p.s) {
		return errCharacter
	}
	for i := range len(p.s) {
		if c := p.s[i]; c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
			return errCharacter
		}
	}
	if strings.Contains(p.s, "\uFFFE") || strings.Contains(p.s, "\uFFFF") {
		return errCharacter
	}
	return nil
}

func (p *parser) new() *node {
	if len(p.slab) == 0 {
		p.slab = make([]node, 8)
	}
	n := &p.slab[0]
	p.slab = p.slab[1:]
	return n
}

// element decodes the element that begins at pos. Its children that are called "encrypted" go to take, undecoded, if that
// is there.
func (p *parser) element(take func(space, raw string) error) (*node, error) {
	if p.count++; p.count > maxNodes || p.depth == maxDepth {
		return nil, errTooComplex
	}
	p.depth++
	defer func() { p.depth-- }()
	outer := len(p.bound)
	defer func() { p.bound = p.bound[:outer] }()
	n := p.new()
	name, empty, err := p.startTag(n)
	if err != nil || empty {
		return n, err
	}
	var joined []byte // where the text stands in several pieces
	for {
		text, err := p.text()
		switch {
		case err != nil:
			return nil, err
		case n.text == "":
			n.text = text
		case text != "":
			if joined == nil {
				joined = append(joined, n.text...)
			}
			joined = append(joined, text...)
		}
		if strings.HasPrefix(p.s[p.pos:], "</") {
			if joined != nil {
				n.text = string(joined)
			}
			return n, p.endTag(name)
		}
		if space, raw, ok := p.sealed(take != nil); ok {
			if err := take(space, raw); err != nil {
				return nil, err
			}
			continue
		}
		kid, err := p.element(nil)
		if err != nil {
			return nil, err
		}
		n.kids = append(n.kids, kid)
	}
}

// sealed passes over the element at pos, if that is wanted and it is called "encrypted".
func (p *parser) sealed(wanted bool) (space, raw string, ok bool) {
	start := p.pos
	if p.pos++; !wanted || !strings.HasSuffix(p.name(), "encrypted") {
		p.pos = start
		return "", "", false
	}
	p.pos = start
	var n node
	outer := len(p.bound)
	_, _, err := p.startTag(&n)
	p.bound = p.bound[:outer]
	if p.pos = start; err != nil || n.name != "encrypted" || p.skip() != nil {
		p.pos = start
		return "", "", false // element finds what is wrong
	}
	return n.space, p.s[start:p.pos], true
}

// inForce are the bindings around the element at pos, each once.
func (p *parser) inForce() bindings {
	var out bindings
	for i := len(p.bound) - 1; i >= 0; i-- {
		if !slices.ContainsFunc(out, func(a attr) bool { return a.name == p.bound[i].name }) {
			out = append(out, p.bound[i])
		}
	}
	return out
}

// startTag takes the start tag at pos apart.
func (p *parser) startTag(n *node) (name string, empty bool, err error) {
	if p.pos >= len(p.s) || p.s[p.pos] != '<' {
		return "", false, errBreaksOff
	}
	p.pos++
	if name = p.name(); name == "" {
		return "", false, errRestricted
	}
	var room [6]attr
	attrs := room[:0]
	for {
		spaced := p.spaces()
		if p.pos >= len(p.s) {
			return "", false, errBreaksOff
		}
		switch c := p.s[p.pos]; {
		case c == '>':
			p.pos++
			return name, false, p.resolve(n, name, attrs)
		case c == '/':
			if !strings.HasPrefix(p.s[p.pos:], "/>") {
				return "", false, errBreaksOff
			}
			p.pos += 2
			return name, true, p.resolve(n, name, attrs)
		case !spaced:
			return "", false, errRestricted // without the name: of a sealed envelope it may be what somebody wrote
		}
		a, err := p.attr()
		if err != nil {
			return "", false, err
		}
		switch prefix, local, prefixed := strings.Cut(a.name, ":"); {
		case a.name == "xmlns" || prefix == "xmlns":
			if p.bound = append(p.bound, a); len(p.bound) > maxBindings {
				return "", false, errTooComplex
			}
		case !prefixed || a.name == "xml:lang":
			if attrs = append(attrs, a); len(attrs) > maxAttrs {
				return "", false, errTooComplex
			}
		case local == "":
			return "", false, errRestricted
		}
	}
}

// resolve fills in what a start tag says of its element.
func (p *parser) resolve(n *node, name string, attrs []attr) error {
	prefix, local, prefixed := strings.Cut(name, ":")
	want := "xmlns"
	if prefixed {
		want = "xmlns:" + prefix
	} else {
		local = name
	}
	n.name = local
	if len(attrs) > 0 {
		n.attrs = append([]attr(nil), attrs...)
	}
	for i := len(p.bound) - 1; i >= 0; i-- {
		if p.bound[i].name == want {
			n.space = p.bound[i].value
			return nil
		}
	}
	if prefixed {
		return errPrefix
	}
	return nil
}

// name reads a name with its prefix.
func (p *parser) name() string {
	start := p.pos
	for p.pos < len(p.s) {
		switch c := p.s[p.pos]; {
		case isSpace(c), c == '/', c == '>', c == '=', c == '<', c == '"', c == '\'', c == '!', c == '?', c == '&':
			return p.s[start:p.pos]
		}
		p.pos++
	}
	return p.s[start:p.pos]
}

func (p *parser) spaces() bool {
	start := p.pos
	for p.pos < len(p.s) && isSpace(p.s[p.pos]) {
		p.pos++
	}
	return p.pos > start
}

func (p *parser) attr() (attr, error) {
	name := p.name()
	p.spaces()
	if name == "" || p.pos >= len(p.s) || p.s[p.pos] != '=' {
		return attr{}, errRestricted
	}
	p.pos++
	p.spaces()
	if p.pos >= len(p.s) || p.s[p.pos] != '"' && p.s[p.pos] != '\'' {
		return attr{}, errRestricted
	}
	quote := p.s[p.pos]
	end := strings.IndexByte(p.s[p.pos+1:], quote)
	if end < 0 {
		return attr{}, errBreaksOff
	}
	value := p.s[p.pos+1 : p.pos+1+end]
	p.pos += end + 2
	if strings.IndexByte(value, '<') >= 0 {
		return attr{}, errRestricted
	}
	value, err := plainText(value)
	return attr{name, value}, err
}

// text reads character data up to the next tag.
func (p *parser) text() (string, error) {
	var joined []byte
	for {
		end := strings.IndexByte(p.s[p.pos:], '<')
		if end < 0 {
			return "", errBreaksOff
		}
		text, err := plainText(p.s[p.pos : p.pos+end])
		if err != nil {
			return "", err
		}
		p.pos += end
		if !strings.HasPrefix(p.s[p.pos:], "<![CDATA[") {
			if joined == nil {
				return text, nil
			}
			return string(append(joined, text...)), nil
		}
		rest := p.s[p.pos+len("<![CDATA["):]
		if end = strings.Index(rest, "]]>"); end < 0 {
			return "", errBreaksOff
		}
		joined = append(append(joined, text...), newlines(rest[:end])...)
		p.pos += len("<![CDATA[") + end + len("]]>")
	}
}

// endTag reads the end tag of name.
func (p *parser) endTag(name string) error {
	p.pos += 2
	if p.name() != name {
		return errEndTag
	}
	p.spaces()
	if p.pos >= len(p.s) || p.s[p.pos] != '>' {
		return errEndTag
	}
	p.pos++
	return nil
}

// skip passes over the element at pos. Whoever decodes it finds what is wrong with it.
func (p *parser) skip() error {
	for depth := 0; ; {
		next := strings.IndexByte(p.s[p.pos:], '<')
		if next < 0 {
			return errBreaksOff
		}
		p.pos += next
		rest := p.s[p.pos:]
		var end, step int
		switch {
		case strings.HasPrefix(rest, "<![CDATA["):
			if end = strings.Index(rest, "]]>"); end >= 0 {
				end += len("]]>")
			}
		case strings.HasPrefix(rest, "<!"), strings.HasPrefix(rest, "<?"):
			return errRestricted
		case strings.HasPrefix(rest, "</"):
			end, step = tagEnd(rest), -1
		default:
			if end = tagEnd(rest); end > 1 && rest[end-2] != '/' {
				step = 1
			}
		}
		if end < 0 {
			return errBreaksOff
		}
		p.pos += end
		if depth += step; depth <= 0 {
			return nil
		}
	}
}

// tagEnd is where the tag ends that s begins with; -1 if it does not.
func tagEnd(s string) int {
	for i := 0; ; {
		next := strings.IndexAny(s[i:], `'">`)
		if next < 0 {
			return -1
		}
		i += next
		if s[i] == '>' {
			return i + 1
		}
		end := strings.IndexByte(s[i+1:], s[i])
		if end < 0 {
			return -1
		}
		i += end + 2
	}
}
