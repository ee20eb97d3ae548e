package omemo

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
)

// Namespace is the namespace of the legacy protocol's elements and the name
// to announce by XEP-0380 (Explicit Message Encryption).
const Namespace = "eu.siacs.conversations.axolotl"

// maxDevices is how many entries of a device list are read.
const maxDevices = 256

// Message is an <encrypted/> element.
type Message struct {
	SID     uint32 // the sender's device id
	Keys    []Key
	IV      []byte // 12 or 16 bytes; always written, may be absent on receipt without payload
	Payload []byte // ciphertext; nil for key transport
}

// Key is the message key, sealed for one device.
type Key struct {
	RID    uint32 // the recipient's device id; ids of two accounts may collide
	PreKey bool   // Data is a key exchange
	Data   []byte // nil if it was not base64
}

// ParseMessage reads xml: an <encrypted/> element, or a stanza with one among
// its children. Every namespace prefix used must be declared inside xml. With
// rids, only the keys for these device ids are kept, which makes large rooms
// cheap. Errors: ErrNotEncrypted when there is no such element, else ErrMalformed.
func ParseMessage(xml []byte, rids ...uint32) (*Message, error) {
	msg, err := parseMessage(xml, rids)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if msg == nil {
		return nil, ErrNotEncrypted
	}
	return msg, nil
}

func parseMessage(xml []byte, rids []uint32) (msg *Message, err error) {
	s, err := newScanner(xml)
	if err != nil {
		return nil, err
	}
	if err := s.next(); err != nil || s.kind != tokenStart {
		return nil, err
	}
	if s.is(Namespace, "encrypted") {
		if msg, err = s.encrypted(rids); err != nil {
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
		if !s.is(Namespace, "encrypted") {
			if err := s.skip(); err != nil {
				return nil, err
			}
			continue
		}
		if msg != nil {
			return nil, fmt.Errorf("%w: two encrypted elements", errXML)
		}
		if msg, err = s.encrypted(rids); err != nil {
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

// encrypted reads the element whose start is the current token.
func (s *scanner) encrypted(rids []uint32) (*Message, error) {
	msg := new(Message)
	header := false
	for depth := len(s.open); ; {
		ok, err := s.child(depth)
		if err != nil {
			return nil, err
		}
		switch {
		case !ok:
			if !header {
				return nil, fmt.Errorf("%w: no header", errXML)
			}
			if msg.Payload != nil && msg.IV == nil {
				return nil, fmt.Errorf("%w: payload without iv", errXML)
			}
			return msg, nil
		case s.is(Namespace, "header"):
			if header {
				return nil, fmt.Errorf("%w: two headers", errXML)
			}
			header = true
			err = s.header(msg, rids)
		case s.is(Namespace, "payload"):
			if msg.Payload != nil {
				return nil, fmt.Errorf("%w: two payloads", errXML)
			}
			msg.Payload, err = s.base64()
		default:
			err = s.skip()
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *scanner) header(msg *Message, rids []uint32) error {
	sid, ok := s.id("sid", 1)
	if !ok {
		return fmt.Errorf("%w: header without sid", errXML)
	}
	msg.SID = sid
	for depth := len(s.open); ; {
		ok, err := s.child(depth)
		switch {
		case err != nil:
			return err
		case !ok:
			return nil
		case s.is(Namespace, "key"):
			err = s.key(msg, rids)
		case s.is(Namespace, "iv"):
			if msg.IV != nil {
				return fmt.Errorf("%w: two ivs", errXML)
			}
			msg.IV, err = s.base64()
			if len(msg.IV) != payloadIVLen && len(msg.IV) != oldIVLen && err == nil {
				err = fmt.Errorf("%w: iv of %d bytes", errXML, len(msg.IV))
			}
		default:
			err = s.skip()
		}
		if err != nil {
			return err
		}
	}
}

// key reads a key that is wanted and passes over others. A broken one must not
// spoil the message for those whose keys are good.
func (s *scanner) key(msg *Message, rids []uint32) error {
	rid, ok := s.id("rid", 1)
	if !ok || len(rids) > 0 && !slices.Contains(rids, rid) {
		return s.skip()
	}
	preKey, _ := s.attr("prekey")
	key := Key{RID: rid, PreKey: string(preKey) == "true" || string(preKey) == "1"}
	text, err := s.content()
	if err != nil {
		return err
	}
	key.Data, _ = decodeBase64(text)
	msg.Keys = append(msg.Keys, key)
	return nil
}

// AppendXML appends the <encrypted/> element to dst.
func (msg *Message) AppendXML(dst []byte) []byte {
	size := 256 + base64.StdEncoding.EncodedLen(len(msg.Payload))
	for i := range msg.Keys {
		size += 50 + base64.StdEncoding.EncodedLen(len(msg.Keys[i].Data))
	}
	dst = slices.Grow(dst, size)
	dst = append(dst, "<encrypted xmlns='"+Namespace+"'><header sid='"...)
	dst = strconv.AppendUint(dst, uint64(msg.SID), 10)
	dst = append(dst, "'>"...)
	for i := range msg.Keys {
		k := &msg.Keys[i]
		dst = append(dst, "<key rid='"...)
		dst = strconv.AppendUint(dst, uint64(k.RID), 10)
		if k.PreKey {
			dst = append(dst, "' prekey='true'>"...)
		} else {
			dst = append(dst, "'>"...)
		}
		dst = base64.StdEncoding.AppendEncode(dst, k.Data)
		dst = append(dst, "</key>"...)
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
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(append(append(dst, '<', '/'), name...), '>')
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

// ParseDeviceList reads a <list/> element, or one nested in the pubsub
// elements item, items, pubsub and so on. Entries that are no device id
// (1..2^32-1) and repeated ones are left out, as is what comes after 256
// devices. An empty list is no error.
func ParseDeviceList(xml []byte) ([]uint32, error) {
	ids, err := parseDeviceList(xml)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDeviceList, err)
	}
	return ids, nil
}

// parseDeviceList prefers the item with id current when there are several:
// some servers keep old ones, which come first.
func parseDeviceList(xml []byte) ([]uint32, error) {
	s, err := newScanner(xml)
	if err != nil {
		return nil, err
	}
	var ids []uint32
	found, current := false, false
	for {
		if err := s.next(); err != nil {
			return nil, err
		}
		switch {
		case s.kind == tokenEOF && !found:
			return nil, fmt.Errorf("%w: no list element", errXML)
		case s.kind == tokenEOF:
			return ids, nil
		case s.kind == tokenStart && string(s.local) == "item":
			id, _ := s.attr("id")
			current = string(id) == "current"
		case s.kind == tokenStart && s.is(Namespace, "list"):
			list, err := s.deviceList()
			if err != nil {
				return nil, err
			}
			if !found || current {
				ids = list
			}
			found = true
		}
	}
}

func (s *scanner) deviceList() ([]uint32, error) {
	var ids []uint32
	for depth := len(s.open); ; {
		ok, err := s.child(depth)
		if err != nil || !ok {
			return ids, err
		}
		id, ok := s.id("id", 1)
		if ok && s.is(Namespace, "device") && len(ids) < maxDevices && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		if err := s.skip(); err != nil {
			return nil, err
		}
	}
}

// AppendDeviceList appends a <list/> element to dst.
func AppendDeviceList(dst []byte, ids ...uint32) []byte {
	dst = append(dst, "<list xmlns='"+Namespace+"'>"...)
	for _, id := range ids {
		dst = append(dst, "<device id='"...)
		dst = strconv.AppendUint(dst, uint64(id), 10)
		dst = append(dst, "'/>"...)
	}
	return append(dst, "</list>"...)
}
