package omemo

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxKeys is how many keys of a message are kept, of all that are wanted.
const maxKeys = 10000

// Message is an <encrypted/> element.
type Message struct {
	Version Version
	SID     uint32 // the sender's device id
	Keys    []Key  // in Two, those of a JID together
	// IV is legacy's: 12 or 16 bytes; always written, may be absent on receipt
	// without payload.
	IV      []byte
	Payload []byte // ciphertext; nil for a message without content
}

// Key is the message key, sealed for one device.
type Key struct {
	JID    string // the recipient's bare JID as written; empty in Legacy
	RID    uint32 // the recipient's device id; in Legacy ids of two accounts may collide
	PreKey bool   // Data is a key exchange
	Data   []byte // nil if it was not base64
}

// IsFor reports whether the key is for a device of ours. Our JID is normalised,
// the one in the key may be written with other capitals.
func (k *Key) IsFor(own Address) bool {
	return k.RID == own.Device && (k.JID == "" || k.JID == own.JID || strings.EqualFold(k.JID, own.JID))
}

// ParseMessage reads xml: an <encrypted/> element of the version, or a stanza
// with one among its children. Every namespace prefix used must be declared
// inside xml. With own devices given, only the keys for these are kept, which
// makes large rooms cheap. Errors: ErrNotEncrypted when there is no such
// element, else ErrMalformed.
func ParseMessage(v Version, xml []byte, own ...Address) (*Message, error) {
	msg, err := parseMessage(v, xml, own)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if msg == nil {
		return nil, ErrNotEncrypted
	}
	return msg, nil
}

func parseMessage(v Version, xml []byte, own []Address) (msg *Message, err error) {
	s, err := newScanner(xml)
	if err != nil {
		return nil, err
	}
	if err := s.next(); err != nil || s.kind != tokenStart {
		return nil, err
	}
	p := messageParser{scanner: s, space: v.Namespace(), own: own}
	if s.is(p.space, "encrypted") {
		if msg, err = p.encrypted(v); err != nil {
			return nil, err
		}
		return msg, s.finish()
	}
	for {
		ok, err := s.child(1)
		if err != nil {
			return nil, err
		}
		if !ok {
			return msg, s.finish()
		}
		if !s.is(p.space, "encrypted") {
			if err := s.skip(); err != nil {
				return nil, err
			}
			continue
		}
		if msg != nil {
			return nil, fmt.Errorf("%w: two encrypted elements", errXML)
		}
		if msg, err = p.encrypted(v); err != nil {
			return nil, err
		}
	}
}

// finish checks that nothing follows the root element.
func (s *scanner) finish() error {
	if err := s.next(); err != nil {
		return err
	}
	if s.kind != tokenEOF {
		return fmt.Errorf("%w: more than one element", errXML)
	}
	return nil
}

// messageParser reads an <encrypted/> element into msg.
type messageParser struct {
	*scanner
	space string
	own   []Address
	msg   *Message
}

// encrypted reads the element whose start is the current token.
func (p *messageParser) encrypted(v Version) (*Message, error) {
	msg := &Message{Version: v}
	p.msg = msg
	header := false
	for depth := len(p.open); ; {
		ok, err := p.child(depth)
		if err != nil {
			return nil, err
		}
		switch {
		case !ok:
			if !header {
				return nil, fmt.Errorf("%w: no header", errXML)
			}
			if v == Legacy && msg.Payload != nil && msg.IV == nil {
				return nil, fmt.Errorf("%w: payload without iv", errXML)
			}
			return msg, nil
		case p.is(p.space, "header"):
			if header {
				return nil, fmt.Errorf("%w: two headers", errXML)
			}
			header = true
			err = p.header()
		case p.is(p.space, "payload"):
			if msg.Payload != nil {
				return nil, fmt.Errorf("%w: two payloads", errXML)
			}
			msg.Payload, err = p.base64()
		default:
			err = p.skip()
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *messageParser) header() error {
	sid, ok := p.id("sid", 1)
	if !ok {
		return fmt.Errorf("%w: header without sid", errXML)
	}
	p.msg.SID = sid
	for depth := len(p.open); ; {
		p.passKeys()
		ok, err := p.child(depth)
		switch {
		case err != nil:
			return err
		case !ok:
			return nil
		case p.msg.Version == Two && p.is(p.space, "keys"):
			err = p.keys()
		case p.msg.Version == Legacy && p.is(p.space, "key"):
			err = p.key("", "prekey")
		case p.msg.Version == Legacy && p.is(p.space, "iv"):
			if p.msg.IV != nil {
				return fmt.Errorf("%w: two ivs", errXML)
			}
			p.msg.IV, err = p.base64()
			if n := len(p.msg.IV); n != payloadIVLen && n != oldIVLen && err == nil {
				err = fmt.Errorf("%w: iv of %d bytes", errXML, n)
			}
		default:
			err = p.skip()
		}
		if err != nil {
			return err
		}
	}
}

// keys reads the keys for one JID, if it is wanted.
func (p *messageParser) keys() error {
	name, _ := p.attr("jid")
	jid := string(name)
	wanted := jid != "" && (len(p.own) == 0 || slices.ContainsFunc(p.own, func(a Address) bool { return strings.EqualFold(a.JID, jid) }))
	if !wanted {
		return p.skip()
	}
	for depth := len(p.open); ; {
		p.passKeys()
		ok, err := p.child(depth)
		switch {
		case err != nil || !ok:
			return err
		case p.is(p.space, "key"):
			err = p.key(jid, "kex")
		default:
			err = p.skip()
		}
		if err != nil {
			return err
		}
	}
}

// passKeys passes over keys for other devices as long as they are written in
// the usual way, "<key rid='7'>text</key>", three times as fast as token by
// token. It stops where the ordinary reading has to decide.
func (p *messageParser) passKeys() {
	if space, _ := p.lookup(nil); len(p.own) == 0 || p.pending || len(p.open) == maxDepthXML || string(space) != p.space {
		return
	}
	const start, end = "<key rid=", "</key>"
	for {
		rest := p.data[p.pos:]
		if len(rest) <= len(start) || string(rest[:len(start)]) != start {
			return
		}
		quote := rest[len(start)]
		i, rid := len(start)+1, uint64(0)
		for ; i < len(rest) && i <= len(start)+10 && rest[i]-'0' <= 9; i++ {
			rid = rid*10 + uint64(rest[i]-'0')
		}
		if quote != '\'' && quote != '"' || i == len(start)+1 || i+2 > len(rest) || rest[i] != quote || rest[i+1] != '>' {
			return
		}
		text := bytes.IndexByte(rest[i+2:], '<')
		if text < 0 || !bytes.HasPrefix(rest[i+2+text:], []byte(end)) {
			return
		}
		if slices.ContainsFunc(p.own, func(a Address) bool { return uint64(a.Device) == rid }) {
			return
		}
		p.pos += i + 2 + text + len(end)
	}
}

// key reads a key that is wanted and passes over others. A broken one must not
// spoil the message for those whose keys are good. The attribute preKey is an
// XML boolean.
func (p *messageParser) key(jid, preKey string) error {
	rid, ok := p.id("rid", 1)
	key := Key{JID: jid, RID: rid}
	if !ok || len(p.own) > 0 && !slices.ContainsFunc(p.own, key.IsFor) {
		return p.skip()
	}
	if len(p.msg.Keys) == maxKeys {
		return fmt.Errorf("%w: more than %d keys", errXML, maxKeys)
	}
	isPreKey, _ := p.attr(preKey)
	key.PreKey = string(isPreKey) == "true" || string(isPreKey) == "1"
	text, err := p.content()
	if err != nil {
		return err
	}
	key.Data, _ = decodeBase64(text)
	p.msg.Keys = append(p.msg.Keys, key)
	return nil
}

// AppendXML appends the <encrypted/> element to dst.
func (msg *Message) AppendXML(dst []byte) []byte {
	size := 256 + base64.StdEncoding.EncodedLen(len(msg.Payload))
	for i := range msg.Keys {
		size += 50 + base64.StdEncoding.EncodedLen(len(msg.Keys[i].Data))
	}
	dst = slices.Grow(dst, size)
	dst = append(append(append(dst, "<encrypted xmlns='"...), msg.Version.Namespace()...), "'><header sid='"...)
	dst = strconv.AppendUint(dst, uint64(msg.SID), 10)
	dst = append(dst, "'>"...)
	preKey := "' prekey='true'>"
	if msg.Version == Two {
		preKey = "' kex='true'>"
	}
	for i := range msg.Keys {
		k := &msg.Keys[i]
		if msg.Version == Two && (i == 0 || k.JID != msg.Keys[i-1].JID) {
			if i > 0 {
				dst = append(dst, "</keys>"...)
			}
			dst = append(appendEscaped(append(dst, "<keys jid='"...), k.JID), "'>"...)
		}
		dst = append(dst, "<key rid='"...)
		dst = strconv.AppendUint(dst, uint64(k.RID), 10)
		if k.PreKey {
			dst = append(dst, preKey...)
		} else {
			dst = append(dst, "'>"...)
		}
		dst = appendBase64(dst, k.Data)
		dst = append(dst, "</key>"...)
	}
	if msg.Version == Two && len(msg.Keys) > 0 {
		dst = append(dst, "</keys>"...)
	}
	if msg.IV != nil {
		dst = appendBase64Element(dst, "iv", msg.IV)
	}
	dst = append(dst, "</header>"...)
	if msg.Payload != nil {
		dst = appendBase64Element(dst, "payload", msg.Payload)
	}
	return append(dst, "</encrypted>"...)
}

func appendBase64Element(dst []byte, name string, data []byte) []byte {
	dst = append(append(append(dst, '<'), name...), '>')
	dst = appendBase64(dst, data)
	return append(append(append(dst, '<', '/'), name...), '>')
}

// appendEscaped appends text as it must stand between single quotes.
func appendEscaped(dst []byte, text string) []byte {
	for i := range len(text) {
		switch c := text[i]; c {
		case '&':
			dst = append(dst, "&amp;"...)
		case '<':
			dst = append(dst, "&lt;"...)
		case '\'':
			dst = append(dst, "&apos;"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// base64 reads the current element's content.
func (s *scanner) base64() ([]byte, error) {
	name := string(s.local)
	text, err := s.content()
	if err != nil {
		return nil, err
	}
	data, err := decodeBase64(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not base64", errXML, name)
	}
	return data, nil
}

// decodeBase64 decodes standard base64 with any white space in it. Padding may
// be missing. What it returns is never nil without an error.
func decodeBase64(text []byte) ([]byte, error) {
	if slices.ContainsFunc(text, isSpace) {
		text = slices.DeleteFunc(slices.Clone(text), isSpace)
	}
	enc := base64.StdEncoding
	if len(text)%4 != 0 {
		enc = base64.RawStdEncoding
	}
	out := make([]byte, enc.DecodedLen(len(text)))
	n, err := enc.Decode(out, text)
	if err != nil {
		return nil, err
	}
	return out[:n], nil
}
