package xmppside

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxStanza is the longest stanza that is kept, in bytes. A longer one is skipped; the stream goes on. A message sealed
// for 1,000 devices has 170 KB, and servers allow 256 KB to 10 MB.
const maxStanza = 1 << 20

var errRestricted = errors.New("the stream has a declaration, comment or document type, which XMPP forbids (RFC 6120, section 11.1)")

type frameKind int

const (
	frameOpen  frameKind = iota // the start tag of the enclosing element, with all that stands before it
	frameChild                  // a complete child of it
	frameClose                  // its end tag
)

// frame is a piece of a stream: for a framer over a stanza, "stream" is that stanza.
type frame struct {
	kind frameKind
	raw  []byte // the frame's own copy; only the start tag if the frame was too long
	long bool
}

// framer splits an XML stream into the start tag of its root, the root's children, and the end tag. It looks at tags
// only, so it costs a fraction of decoding, and it does not check well-formedness: whoever decodes a frame does. It
// can be applied to a frame again, for the children of a child.
type framer struct {
	r   io.Reader
	max int // longest child kept

	buf   []byte
	pos   int // scanned up to here
	begin int // start of the frame under way; -1 between frames
	depth int // open elements before pos

	// The tag under way. Its first bytes may be gone from buf when an over-long child is skipped.
	state   scanState
	tagLen  int
	closing bool // "</"
	quote   byte
	last    byte // the byte before pos inside the tag

	long  bool
	start []byte // start tag of an over-long child
}

type scanState int

const (
	inText scanState = iota
	inTag
	inCDATA
	inDecl // the XML declaration before the root
)

func newFramer(r io.Reader, limit int) *framer { return &framer{r: r, max: limit, begin: -1} }

// next returns the next frame. It returns the reader's error when the stream breaks off, io.ErrUnexpectedEOF if that
// was inside a frame.
func (f *framer) next() (frame, error) {
	for {
		fr, ok, err := f.scan()
		if ok || err != nil {
			return fr, err
		}
		if err := f.fill(); err != nil {
			if errors.Is(err, io.EOF) && (f.begin >= 0 || f.depth > 1) {
				err = io.ErrUnexpectedEOF
			}
			return frame{}, err
		}
	}
}

// fill reads more, after making room: what was scanned and belongs to no frame is dropped, and so is the body of a
// frame that became too long.
func (f *framer) fill() error {
	if f.begin >= 0 && f.pos-f.begin > f.max {
		if !f.long {
			f.long, f.start = true, startTag(f.buf[f.begin:f.pos])
		}
		f.begin = f.pos
	}
	keep := f.pos
	if f.begin >= 0 {
		keep = f.begin
	}
	if keep > 0 {
		n := copy(f.buf, f.buf[keep:])
		f.buf, f.pos = f.buf[:n], f.pos-keep
		if f.begin >= 0 {
			f.begin = 0
		}
	}
	if cap(f.buf)-len(f.buf) < 4096 {
		grown := make([]byte, len(f.buf), max(2*cap(f.buf), 16<<10))
		copy(grown, f.buf)
		f.buf = grown
	}
	n, err := f.r.Read(f.buf[len(f.buf):cap(f.buf)])
	f.buf = f.buf[:len(f.buf)+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// scan walks over what is buffered and stops after a frame.
func (f *framer) scan() (frame, bool, error) {
	for f.pos < len(f.buf) {
		switch f.state {
		case inText:
			f.scanText()
		case inCDATA:
			f.scanCDATA()
		default:
			done, err := f.scanTag()
			if err != nil {
				return frame{}, false, err
			}
			if done {
				if fr, ok := f.endTag(); ok {
					return fr, true, nil
				}
			}
		}
	}
	return frame{}, false, nil
}

func (f *framer) scanText() {
	i := bytes.IndexByte(f.buf[f.pos:], '<')
	if i < 0 {
		f.pos = len(f.buf)
		return
	}
	f.pos += i
	if f.begin < 0 {
		f.begin = f.pos
	}
	f.pos++
	f.state, f.tagLen, f.closing, f.quote, f.last = inTag, 1, false, 0, '<'
}

// scanTag goes on to the end of the tag; quoted attribute values may contain ">".
func (f *framer) scanTag() (done bool, err error) {
	for f.pos < len(f.buf) {
		c := f.buf[f.pos]
		f.pos++
		f.tagLen++
		switch {
		case f.quote != 0:
			if i := bytes.IndexByte(f.buf[f.pos-1:], f.quote); i < 0 {
				f.pos = len(f.buf)
			} else {
				f.pos += i
				f.quote, f.last = 0, '"'
			}
			continue
		case f.tagLen == 2 && c == '/':
			f.closing = true
		case f.tagLen == 2 && c == '?':
			if f.depth > 0 {
				return false, errRestricted
			}
			f.state = inDecl
		case f.tagLen == 2 && c == '!':
			if f.depth < 2 {
				return false, errRestricted
			}
		case f.tagLen >= 3 && f.tagLen <= len("<![CDATA[") && f.last == '!':
			if c != "<![CDATA["[f.tagLen-1] {
				return false, errRestricted
			}
			if f.tagLen == len("<![CDATA[") {
				f.state, f.last, f.quote = inCDATA, 0, 0
				return false, nil
			}
			continue // last stays '!'
		case c == '"' || c == '\'':
			f.quote = c
			continue
		case c == '>':
			return true, nil
		}
		f.last = c
	}
	return false, nil
}

// scanCDATA looks for "]]>"; quote counts the brackets seen.
func (f *framer) scanCDATA() {
	for f.pos < len(f.buf) {
		c := f.buf[f.pos]
		f.pos++
		switch {
		case c == ']':
			f.quote = min(f.quote+1, 2)
		case c == '>' && f.quote == 2:
			f.quote, f.state = 0, inText
			return
		default:
			f.quote = 0
		}
	}
}

// endTag accounts for a tag that ends at pos and cuts the frame that it completes, if any.
func (f *framer) endTag() (frame, bool) {
	decl := f.state == inDecl
	f.state = inText
	switch {
	case decl:
		return frame{}, false // stays in the buffer, before the root's start tag
	case f.closing:
		f.depth--
		if f.depth == 1 {
			return f.cut(frameChild), true
		}
		if f.depth <= 0 {
			return f.cut(frameClose), true
		}
	case f.depth == 0:
		f.depth = 1
		return f.cut(frameOpen), true
	case f.last == '/':
		if f.depth == 1 {
			return f.cut(frameChild), true
		}
	default:
		f.depth++
	}
	return frame{}, false
}

func (f *framer) cut(kind frameKind) frame {
	fr := frame{kind: kind}
	if f.pos-f.begin > f.max && !f.long {
		f.long, f.start = true, startTag(f.buf[f.begin:f.pos])
	}
	if f.long {
		fr.long, fr.raw = true, f.start
	} else {
		fr.raw = bytes.Clone(f.buf[f.begin:f.pos])
	}
	f.begin, f.long, f.start = -1, false, nil
	return fr
}

// startTag copies the first tag of b, made an empty element; nil if it is longer than 16 KiB.
func startTag(b []byte) []byte {
	f := newFramer(bytes.NewReader(b[:min(len(b), 16<<10)]), len(b))
	fr, err := f.next()
	if err != nil || fr.kind != frameOpen {
		return nil
	}
	tag := fr.raw
	if bytes.HasSuffix(tag, []byte("/>")) {
		return tag
	}
	return append(tag[:len(tag)-1], '/', '>')
}

// tag is a start tag, taken apart.
type tag struct {
	name  string // as written, with its prefix
	attrs []attr // as written, values unescaped
	after int    // where the name ends
}

type attr struct{ name, value string }

// maxAttrs is how many attributes an element of a stream or stanza may have.
const maxAttrs = 256

// get returns an attribute's value, or "".
func (t tag) get(name string) string {
	for _, a := range t.attrs {
		if a.name == name {
			return a.value
		}
	}
	return ""
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// parseTag takes the start tag at the beginning of b apart.
func parseTag(b []byte) (tag, error) {
	var t tag
	if len(b) < 2 || b[0] != '<' {
		return t, errors.New("no start tag")
	}
	i := 1
	for i < len(b) && !isSpace(b[i]) && b[i] != '/' && b[i] != '>' {
		i++
	}
	t.name, t.after = string(b[1:i]), i
	for {
		for i < len(b) && isSpace(b[i]) {
			i++
		}
		if i >= len(b) {
			return t, errors.New("start tag breaks off")
		}
		if b[i] == '>' || b[i] == '/' {
			return t, nil
		}
		eq := bytes.IndexByte(b[i:], '=')
		if eq < 1 {
			return t, fmt.Errorf("attribute of %s without value", t.name)
		}
		name := string(bytes.TrimRight(b[i:i+eq], " \t\r\n"))
		i += eq + 1
		for i < len(b) && isSpace(b[i]) {
			i++
		}
		if i >= len(b) || (b[i] != '"' && b[i] != '\'') {
			return t, fmt.Errorf("attribute %s of %s is not quoted", name, t.name)
		}
		end := bytes.IndexByte(b[i+1:], b[i])
		if end < 0 {
			return t, errors.New("start tag breaks off")
		}
		if len(t.attrs) == maxAttrs {
			return t, fmt.Errorf("%s has too many attributes", t.name)
		}
		t.attrs = append(t.attrs, attr{name, unescape(string(b[i+1 : i+1+end]))})
		i += end + 2
	}
}
