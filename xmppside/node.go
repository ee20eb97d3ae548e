package xmppside

import (
	"encoding/xml"
	"errors"
	"html"
	"io"
	"strings"

	"lockbridge/omemo"
)

// Namespaces.
const (
	nsComponent  = "jabber:component:accept"
	nsStanzas    = "urn:ietf:params:xml:ns:xmpp-stanzas"
	nsMUC        = "http://jabber.org/protocol/muc"
	nsMUCUser    = nsMUC + "#user"
	nsMUCAdmin   = nsMUC + "#admin"
	nsDiscoInfo  = "http://jabber.org/protocol/disco#info"
	nsDiscoItems = "http://jabber.org/protocol/disco#items"
	nsPubSub     = "http://jabber.org/protocol/pubsub"
	nsPubSubOwn  = nsPubSub + "#owner"
	nsPubSubErr  = nsPubSub + "#errors"
	nsEvent      = nsPubSub + "#event"
	nsCaps       = "http://jabber.org/protocol/caps"
	nsPing       = "urn:xmpp:ping"
	nsVersion    = "jabber:iq:version"
	nsVCard      = "vcard-temp"
	nsNick       = "http://jabber.org/protocol/nick"
	nsSID        = "urn:xmpp:sid:0"
	nsOccupantID = "urn:xmpp:occupant-id:0"
	nsDelay      = "urn:xmpp:delay"
	nsHints      = "urn:xmpp:hints"
	nsEME        = "urn:xmpp:eme:0"
	nsCorrect    = "urn:xmpp:message-correct:0"
	nsReply      = "urn:xmpp:reply:0"
	nsFallback   = "urn:xmpp:fallback:0"
	nsRetract    = "urn:xmpp:message-retract:1"
	nsRetractOld = "urn:xmpp:message-retract:0"
	nsFasten     = "urn:xmpp:fasten:0"
	nsModerate   = "urn:xmpp:message-moderate:1"
	nsModerated0 = "urn:xmpp:message-moderate:0"
	nsReactions  = "urn:xmpp:reactions:0"
	nsMarkup     = "urn:xmpp:markup:0"
	nsStyling    = "urn:xmpp:styling:0"
	nsSpoiler    = "urn:xmpp:spoiler:0"
	nsReference  = "urn:xmpp:reference:0"
	nsOpenPGP    = "urn:xmpp:openpgp:0"
	nsPGPLegacy  = "jabber:x:encrypted"
	nsClient     = "jabber:client"
	nsLegacy     = omemo.NamespaceLegacy
	nsOMEMOTwo   = omemo.NamespaceTwo
)

// Limits of what is decoded into nodes.
const (
	maxDepth = 40
	maxNodes = 20000
	maxKids  = 256 // of a message
	// maxBindings is how many namespaces are bound at a place, twice of the same name counting twice.
	maxBindings = 256
)

// node is an XML element. Namespaces are resolved; text is the character data of the element itself, joined.
type node struct {
	space, name string
	attrs       []attr
	kids        []*node
	text        string
	raw         []byte // set instead of the above for an element that is written as it is
}

// el makes an element. Attributes are given as name, value pairs.
func el(space, name string, attrs ...string) *node {
	n := &node{space: space, name: name}
	for i := 0; i+1 < len(attrs); i += 2 {
		n.attrs = append(n.attrs, attr{attrs[i], attrs[i+1]})
	}
	return n
}

func (n *node) add(kids ...*node) *node {
	for _, k := range kids {
		if k != nil {
			n.kids = append(n.kids, k)
		}
	}
	return n
}

func (n *node) say(text string) *node {
	n.text = text
	return n
}

func rawNode(xml []byte) *node { return &node{raw: xml} }

// get returns an attribute's value; "" on a nil node.
func (n *node) get(name string) string {
	if n == nil {
		return ""
	}
	for _, a := range n.attrs {
		if a.name == name {
			return a.value
		}
	}
	return ""
}

// child returns the first child of that name, or nil; nil on a nil node.
func (n *node) child(space, name string) *node {
	if n == nil {
		return nil
	}
	for _, k := range n.kids {
		if k.name == name && k.space == space {
			return k
		}
	}
	return nil
}

// all returns the children of that name.
func (n *node) all(space, name string) []*node {
	if n == nil {
		return nil
	}
	var out []*node
	for _, k := range n.kids {
		if k.name == name && k.space == space {
			out = append(out, k)
		}
	}
	return out
}

// append writes the element to dst; outer is the default namespace around it.
func (n *node) append(dst []byte, outer string) []byte {
	if n.raw != nil {
		return append(dst, n.raw...)
	}
	dst = append(append(dst, '<'), n.name...)
	if n.space != outer && n.space != "" {
		dst = appendAttr(dst, "xmlns", n.space)
	}
	for _, a := range n.attrs {
		dst = appendAttr(dst, a.name, a.value)
	}
	if len(n.kids) == 0 && n.text == "" {
		return append(dst, "/>"...)
	}
	dst = appendEscaped(append(dst, '>'), n.text)
	inner := n.space
	if inner == "" {
		inner = outer
	}
	for _, k := range n.kids {
		dst = k.append(dst, inner)
	}
	dst = append(append(dst, "</"...), n.name...)
	return append(dst, '>')
}

// bytes writes a stanza. Its namespace is that of the stream, so it is not declared.
func (n *node) bytes() []byte { return n.append(nil, n.space) }

func appendAttr(dst []byte, name, value string) []byte {
	dst = append(append(append(dst, ' '), name...), "='"...)
	return append(appendEscaped(dst, value), '\'')
}

// appendEscaped writes character data. Characters that XML cannot carry become U+FFFD: one of them would end the
// stream for everybody.
func appendEscaped(dst []byte, s string) []byte {
	if plain(s) {
		return append(dst, s...)
	}
	for _, r := range s {
		switch {
		case r == '<':
			dst = append(dst, "&lt;"...)
		case r == '>':
			dst = append(dst, "&gt;"...)
		case r == '&':
			dst = append(dst, "&amp;"...)
		case r == '\'':
			dst = append(dst, "&#39;"...)
		case r == '"':
			dst = append(dst, "&#34;"...)
		case r == '\r':
			dst = append(dst, "&#13;"...)
		case r < 0x20 && r != '\n' && r != '\t', r == 0xFFFE, r == 0xFFFF:
			dst = append(dst, "\uFFFD"...)
		default:
			dst = append(dst, string(r)...)
		}
	}
	return dst
}

// plain reports whether nothing in s has to be escaped.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20 && c != '\n' && c != '\t', c >= 0x7F, c == '<', c == '>', c == '&', c == '\'', c == '"':
			return false
		}
	}
	return true
}

// unescape resolves the references of an attribute's value.
func unescape(s string) string {
	if !strings.Contains(s, "&") {
		return s
	}
	return html.UnescapeString(s)
}

var errTooComplex = errors.New("the stanza is nested too deeply or has too many elements")

// decodeNode reads one element from a token stream and stops after its end tag.
func decodeNode(r xml.TokenReader) (*node, error) {
	type open struct {
		*node
		text []byte
	}
	var stack []open
	count := 0
	for {
		tok, err := r.Token()
		switch t := tok.(type) {
		case xml.StartElement:
			if count++; count > maxNodes || len(stack) == maxDepth {
				return nil, errTooComplex
			}
			n := &node{space: t.Name.Space, name: t.Name.Local, attrs: plainAttrs(t.Attr)}
			if len(stack) > 0 {
				parent := stack[len(stack)-1]
				parent.kids = append(parent.kids, n)
			}
			stack = append(stack, open{node: n})
		case xml.CharData:
			if len(stack) > 0 {
				top := &stack[len(stack)-1]
				top.text = append(top.text, t...)
			}
		case xml.EndElement:
			if len(stack) == 0 {
				return nil, errors.New("end tag without start tag")
			}
			top := stack[len(stack)-1]
			top.node.text = string(top.text)
			if len(stack) == 1 {
				return top.node, nil
			}
			stack = stack[:len(stack)-1]
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// plainAttrs keeps the attributes without a namespace, and xml:lang.
func plainAttrs(in []xml.Attr) []attr {
	var out []attr
	for _, a := range in {
		switch {
		case a.Name.Space == "" && a.Name.Local != "xmlns":
			out = append(out, attr{a.Name.Local, a.Value})
		case a.Name.Local == "lang" && a.Name.Space != "xmlns":
			out = append(out, attr{"xml:lang", a.Value})
		}
	}
	return out
}
