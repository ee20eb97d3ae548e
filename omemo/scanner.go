package omemo

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

const (
	maxElement    = 4 << 20 // bytes
	maxDepthXML   = 32
	maxAttributes = 32 // of one element
)

var errXML = errors.New("malformed XML")

// scanner walks over one XML element without building a tree: a stanza with
// 1000 keys takes 50 times as long through encoding/xml. It knows the XML that
// XMPP allows (RFC 6120 section 11.1): no comments, no processing
// instructions, no document type, no entities beyond the predefined ones.
// Namespaces are resolved; a prefix must be declared inside the element.
type scanner struct {
	data []byte
	pos  int

	open    []openElement
	bound   []binding
	pending bool // an empty-element tag owes its end

	// The current token. Slices point into data.
	kind  tokenKind
	space []byte // namespace of a start tag
	local []byte // local name of a start tag
	attrs []attribute
	text  []byte // undecoded, unless cdata
	cdata bool
}

type tokenKind uint8

const (
	tokenEOF tokenKind = iota
	tokenStart
	tokenEnd
	tokenText
)

type openElement struct {
	name  []byte // with prefix
	at    int    // where its start tag begins
	bound int    // bindings before it
}

type binding struct{ prefix, uri []byte }

type attribute struct{ prefix, local, value []byte }

func newScanner(data []byte) (*scanner, error) {
	if len(data) > maxElement {
		return nil, fmt.Errorf("%w: %d bytes", errXML, len(data))
	}
	return &scanner{data: data}, nil
}

// next moves to the next token. After the root element has ended there is only
// white space and tokenEOF.
func (s *scanner) next() error {
	if s.pending {
		s.pending = false
		s.kind = tokenEnd
		s.pop()
		return nil
	}
	rest := s.data[s.pos:]
	if len(s.open) == 0 {
		rest = trimSpace(rest)
		s.pos = len(s.data) - len(rest)
		if len(rest) == 0 {
			s.kind = tokenEOF
			return nil
		}
	}
	if len(rest) == 0 {
		return fmt.Errorf("%w: element is cut off", errXML)
	}
	if rest[0] != '<' {
		if len(s.open) == 0 {
			return fmt.Errorf("%w: text outside the element", errXML)
		}
		end := bytes.IndexByte(rest, '<')
		if end < 0 {
			return fmt.Errorf("%w: element is cut off", errXML)
		}
		s.kind, s.text, s.cdata = tokenText, rest[:end], false
		s.pos += end
		return nil
	}
	if len(rest) < 3 {
		return fmt.Errorf("%w: tag is cut off", errXML)
	}
	switch rest[1] {
	case '/':
		return s.endTag(rest)
	case '!':
		const begin, end = "<![CDATA[", "]]>"
		i := bytes.Index(rest, []byte(end))
		if !bytes.HasPrefix(rest, []byte(begin)) || i < 0 || len(s.open) == 0 {
			return fmt.Errorf("%w: markup that XMPP forbids", errXML)
		}
		s.kind, s.text, s.cdata = tokenText, rest[len(begin):i], true
		s.pos += i + len(end)
		return nil
	}
	return s.startTag(rest)
}

func (s *scanner) endTag(rest []byte) error {
	if len(s.open) == 0 {
		return fmt.Errorf("%w: end tag without start", errXML)
	}
	name := s.open[len(s.open)-1].name
	after := rest[2:]
	if !bytes.HasPrefix(after, name) {
		return fmt.Errorf("%w: end tag of another element", errXML)
	}
	after = after[len(name):]
	if len(after) == 0 || after[0] != '>' {
		after = trimSpace(after)
		if len(after) == 0 || after[0] != '>' {
			return fmt.Errorf("%w: end tag", errXML)
		}
	}
	s.pos = len(s.data) - len(after) + 1
	s.kind = tokenEnd
	s.pop()
	return nil
}

func (s *scanner) pop() {
	last := len(s.open) - 1
	s.bound = s.bound[:s.open[last].bound]
	s.open = s.open[:last]
}

func (s *scanner) startTag(rest []byte) error {
	if len(s.open) == 0 && s.kind != tokenEOF {
		return fmt.Errorf("%w: second root element", errXML)
	}
	if len(s.open) == maxDepthXML {
		return fmt.Errorf("%w: nested too deeply", errXML)
	}
	prefix, local, rest, ok := cutName(rest[1:])
	if !ok {
		return fmt.Errorf("%w: element name", errXML)
	}
	name := s.data[s.pos+1 : len(s.data)-len(rest)]
	s.open = append(s.open, openElement{name, s.pos, len(s.bound)})
	s.attrs = s.attrs[:0]
	for {
		trimmed := trimSpace(rest)
		if len(trimmed) < 2 && (len(trimmed) == 0 || trimmed[0] != '>') {
			return fmt.Errorf("%w: tag is cut off", errXML)
		}
		if trimmed[0] == '>' {
			rest = trimmed[1:]
			break
		}
		if trimmed[0] == '/' && trimmed[1] == '>' {
			rest = trimmed[2:]
			s.pending = true
			break
		}
		if len(trimmed) == len(rest) {
			return fmt.Errorf("%w: no space before an attribute", errXML)
		}
		var err error
		if rest, err = s.attribute(trimmed); err != nil {
			return err
		}
	}
	s.pos = len(s.data) - len(rest)
	s.kind, s.local = tokenStart, local
	s.space, ok = s.lookup(prefix)
	if !ok {
		return fmt.Errorf("%w: prefix is not declared", errXML)
	}
	return nil
}

// attribute takes one attribute off rest and notes what it declares.
func (s *scanner) attribute(rest []byte) ([]byte, error) {
	prefix, local, rest, ok := cutName(rest)
	rest = trimSpace(rest)
	if !ok || len(rest) == 0 || rest[0] != '=' {
		return nil, fmt.Errorf("%w: attribute name", errXML)
	}
	rest = trimSpace(rest[1:])
	if len(rest) == 0 || rest[0] != '\'' && rest[0] != '"' {
		return nil, fmt.Errorf("%w: attribute without quotes", errXML)
	}
	end := bytes.IndexByte(rest[1:], rest[0])
	if end < 0 {
		return nil, fmt.Errorf("%w: attribute is cut off", errXML)
	}
	value, rest := rest[1:1+end], rest[2+end:]
	if bytes.IndexByte(value, '<') >= 0 {
		return nil, fmt.Errorf("%w: attribute with a tag in it", errXML)
	}
	for _, a := range s.attrs {
		if bytes.Equal(a.local, local) && bytes.Equal(a.prefix, prefix) {
			return nil, fmt.Errorf("%w: attribute twice", errXML)
		}
	}
	if len(s.attrs) == maxAttributes {
		return nil, fmt.Errorf("%w: too many attributes", errXML)
	}
	s.attrs = append(s.attrs, attribute{prefix, local, value})
	if string(prefix) == "xmlns" || len(prefix) == 0 && string(local) == "xmlns" {
		uri, err := appendDecoded(nil, value)
		if err != nil {
			return nil, err
		}
		if len(prefix) == 0 {
			local = nil
		}
		s.bound = append(s.bound, binding{local, uri})
	}
	return rest, nil
}

func (s *scanner) lookup(prefix []byte) (uri []byte, ok bool) {
	for i := len(s.bound) - 1; i >= 0; i-- {
		if bytes.Equal(s.bound[i].prefix, prefix) {
			return s.bound[i].uri, true
		}
	}
	return nil, len(prefix) == 0 || string(prefix) == "xml"
}

// is reports whether the current start tag has a name in a namespace.
func (s *scanner) is(space, local string) bool {
	return string(s.local) == local && string(s.space) == space
}

// attr returns an attribute of the current start tag that is in no namespace.
func (s *scanner) attr(local string) (value []byte, ok bool) {
	for i := range s.attrs {
		if len(s.attrs[i].prefix) == 0 && string(s.attrs[i].local) == local {
			value, err := decoded(s.attrs[i].value)
			return value, err == nil
		}
	}
	return nil, false
}

// id returns an attribute that holds a decimal number in least..2^32-1.
func (s *scanner) id(local string, least uint64) (uint32, bool) {
	value, ok := s.attr(local)
	if !ok || len(value) == 0 || len(value) > 10 {
		return 0, false
	}
	n := uint64(0)
	for _, digit := range value {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		n = n*10 + uint64(digit-'0')
	}
	return uint32(n), n >= least && n <= math.MaxUint32
}

// skip moves to the end of the element whose start is the current token.
func (s *scanner) skip() error {
	for depth := len(s.open); len(s.open) >= depth; {
		if err := s.next(); err != nil {
			return err
		}
	}
	return nil
}

// content moves to the end of the current element and returns its text; the
// element must have no children.
func (s *scanner) content() ([]byte, error) {
	var text []byte
	first := true
	for {
		if err := s.next(); err != nil {
			return nil, err
		}
		switch s.kind {
		case tokenEnd:
			return text, nil
		case tokenText:
			if first && (s.cdata || bytes.IndexByte(s.text, '&') < 0) {
				text, first = s.text[:len(s.text):len(s.text)], false
				continue
			}
			first = false
			if s.cdata {
				text = append(text, s.text...)
				continue
			}
			var err error
			if text, err = appendDecoded(text, s.text); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%w: element among text", errXML)
		}
	}
}

// child moves to the next child of the element that is open at depth, over
// text; ok is false when that element ends instead.
func (s *scanner) child(depth int) (ok bool, err error) {
	for {
		if err := s.next(); err != nil {
			return false, err
		}
		switch {
		case s.kind == tokenStart:
			return true, nil
		case len(s.open) < depth:
			return false, nil
		}
	}
}

// find moves to the first start tag with a name in a namespace.
func (s *scanner) find(space, local string) error {
	for {
		if err := s.next(); err != nil {
			return err
		}
		switch {
		case s.kind == tokenStart && s.is(space, local):
			return nil
		case s.kind == tokenEOF:
			return fmt.Errorf("%w: no %s element", errXML, local)
		}
	}
}
