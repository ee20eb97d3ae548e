package omemo

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"
)

const (
	namespaceSCE = "urn:xmpp:sce:1"
	maxEnvelope  = 256 << 10 // bytes; what is larger fits in no stanza of ours
	maxPadding   = 200       // characters
)

// Envelope is what OMEMO 2 encrypts: elements of a stanza, with what ties them
// to their sender and place (XEP-0420, Stanza Content Encryption).
type Envelope struct {
	// From is the sender's bare JID. An empty one is not written.
	From string
	// To is the recipient's bare JID or the room's; in a room it is required,
	// or a message could be carried from one place to another.
	To   string
	Time time.Time // when it was sealed; zero if unknown
	// Content is the children of <content/>, each with all of its namespaces
	// declared. Those that belong outside of an envelope are left out.
	Content []byte
	// OptOut says that the sender asks for messages that are not encrypted,
	// for OptOutReason; it is never written.
	OptOut       bool
	OptOutReason string
}

// AppendEnvelope appends the <envelope/> element to dst, padded by a random
// length against those who count bytes. Content must be well-formed.
func AppendEnvelope(dst []byte, rand io.Reader, e Envelope) ([]byte, error) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var random [2 + maxPadding]byte
	if _, err := io.ReadFull(rand, random[:]); err != nil {
		return nil, fmt.Errorf("omemo: draw padding: %w", err)
	}
	dst = append(dst, "<envelope xmlns='"+namespaceSCE+"'><content>"...)
	dst = append(dst, e.Content...)
	dst = append(dst, "</content><rpad>"...)
	length := (int(random[0])<<8 | int(random[1])) % (maxPadding + 1)
	for _, b := range random[2 : 2+length] {
		dst = append(dst, letters[int(b)%len(letters)])
	}
	dst = append(dst, "</rpad>"...)
	if !e.Time.IsZero() {
		dst = e.Time.UTC().AppendFormat(append(dst, "<time stamp='"...), "2006-01-02T15:04:05Z")
		dst = append(dst, "'/>"...)
	}
	if e.From != "" {
		dst = append(appendEscaped(append(dst, "<from jid='"...), e.From), "'/>"...)
	}
	if e.To != "" {
		dst = append(appendEscaped(append(dst, "<to jid='"...), e.To), "'/>"...)
	}
	return append(dst, "</envelope>"...), nil
}

// ParseEnvelope reads an <envelope/> element, which whoever sealed it may have
// filled with anything: at most 256 KiB, 32 levels deep, without document type.
// From and To are as written; comparing them with the real sender and place is
// the caller's duty. Errors wrap ErrMalformed.
func ParseEnvelope(xml []byte) (Envelope, error) {
	e, err := parseEnvelope(xml)
	if err != nil {
		return Envelope{}, fmt.Errorf("%w: envelope: %w", ErrMalformed, err)
	}
	return e, nil
}

func parseEnvelope(xml []byte) (e Envelope, err error) {
	if len(xml) > maxEnvelope {
		return e, fmt.Errorf("%w: %d bytes", errXML, len(xml))
	}
	if !legalText(xml) {
		return e, fmt.Errorf("%w: characters that XML forbids", errXML)
	}
	if _, after, ok := bytes.Cut(xml, []byte("?>")); ok && bytes.HasPrefix(xml, []byte("<?xml ")) {
		xml = after // some serialisers begin a document
	}
	s, err := newScanner(xml)
	if err != nil {
		return e, err
	}
	if err := s.next(); err != nil {
		return e, err
	}
	if s.kind != tokenStart || !s.is(namespaceSCE, "envelope") {
		return e, fmt.Errorf("%w: no envelope element", errXML)
	}
	var seen struct{ content, from, to, time, rpad bool }
	for {
		ok, err := s.child(1)
		if err != nil {
			return e, err
		}
		switch {
		case !ok:
			if !seen.content {
				return e, fmt.Errorf("%w: no content", errXML)
			}
			return e, s.finish()
		case s.is(namespaceSCE, "content"):
			if err = s.first(&seen.content); err == nil {
				err = s.sealedContent(&e)
			}
		case s.is(namespaceSCE, "from"):
			e.From, err = s.affixJID(&seen.from)
		case s.is(namespaceSCE, "to"):
			e.To, err = s.affixJID(&seen.to)
		case s.is(namespaceSCE, "time"):
			if err = s.first(&seen.time); err == nil {
				e.Time = s.stamp()
				err = s.skip()
			}
		case s.is(namespaceSCE, "rpad"):
			if err = s.first(&seen.rpad); err == nil {
				err = s.skip()
			}
		default:
			err = s.skip()
		}
		if err != nil {
			return e, err
		}
	}
}

// legalText reports whether text is UTF-8 of characters that XML may contain.
func legalText(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	for _, r := range string(text) {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return false
		}
	}
	return true
}

// first notes that an element is there and refuses a second one.
func (s *scanner) first(seen *bool) error {
	if *seen {
		return fmt.Errorf("%w: %s twice", errXML, s.local)
	}
	*seen = true
	return nil
}

// affixJID reads an element that may occur once and names a JID.
func (s *scanner) affixJID(seen *bool) (string, error) {
	if err := s.first(seen); err != nil {
		return "", err
	}
	value, _ := s.attr("jid")
	jid := string(value)
	if jid == "" {
		return "", fmt.Errorf("%w: %s without jid", errXML, s.local)
	}
	return jid, s.skip()
}

// stamp reads the time in the current element (XEP-0082). A broken one tells
// nothing, and the message matters more.
func (s *scanner) stamp() time.Time {
	value, _ := s.attr("stamp")
	t, err := time.Parse(time.RFC3339, string(value))
	if t = t.UTC(); err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// sealedContent copies the children of the current element that may be in an
// envelope.
func (s *scanner) sealedContent(e *Envelope) error {
	for depth := len(s.open); ; {
		ok, err := s.child(depth)
		if err != nil || !ok {
			return err
		}
		switch {
		case s.is(NamespaceTwo, "opt-out"):
			e.OptOut = true
			e.OptOutReason, err = s.reason()
		case s.outside():
			err = s.skip()
		default:
			e.Content, err = s.appendChild(e.Content)
		}
		if err != nil {
			return err
		}
		if len(e.Content) > 2*maxEnvelope { // by namespaces that are declared again and again
			return fmt.Errorf("%w: content too long", errXML)
		}
	}
}

// outside reports whether the current element is for servers and must be read
// from the stanza itself (XEP-0420).
func (s *scanner) outside() bool {
	switch string(s.space) {
	case "urn:xmpp:hints", "urn:xmpp:sid:0", "http://jabber.org/protocol/address", "urn:xmpp:eme:0",
		"urn:xmpp:delay", "jabber:x:delay", "http://jabber.org/protocol/muc#user",
		NamespaceLegacy, NamespaceTwo, namespaceSCE:
		return true
	case "jabber:client", "jabber:server":
		return string(s.local) == "error"
	}
	return false
}

// reason reads the <reason/> in the current element.
func (s *scanner) reason() (reason string, err error) {
	for depth := len(s.open); ; {
		ok, err := s.child(depth)
		switch {
		case err != nil || !ok:
			return reason, err
		case s.is(NamespaceTwo, "reason"):
			var text []byte
			text, err = s.content()
			reason = string(text)
		default:
			err = s.skip()
		}
		if err != nil {
			return "", err
		}
	}
}

// appendChild copies the current element and adds the declarations that it
// inherits.
func (s *scanner) appendChild(dst []byte) ([]byte, error) {
	top := s.open[len(s.open)-1]
	after := top.at + 1 + len(top.name)
	dst = append(dst, s.data[top.at:after]...)
	if !slices.ContainsFunc(s.bound, func(b binding) bool { return len(b.prefix) == 0 }) {
		dst = append(dst, " xmlns=''"...)
	}
	inherited := s.bound[:top.bound]
	for i := len(inherited) - 1; i >= 0; i-- {
		b := inherited[i]
		same := func(other binding) bool { return bytes.Equal(other.prefix, b.prefix) }
		if slices.ContainsFunc(s.bound[i+1:], same) {
			continue
		}
		dst = append(dst, " xmlns"...)
		if len(b.prefix) > 0 {
			dst = append(append(dst, ':'), b.prefix...)
		}
		dst = append(appendEscaped(append(dst, "='"...), string(b.uri)), '\'')
	}
	for depth := len(s.open); len(s.open) >= depth; {
		if err := s.checkReferences(); err != nil {
			return nil, err
		}
		if err := s.next(); err != nil {
			return nil, err
		}
	}
	return append(dst, s.data[after:s.pos]...), nil
}

// checkReferences refuses references in the current token that have no meaning.
func (s *scanner) checkReferences() error {
	switch s.kind {
	case tokenText:
		if s.cdata {
			return nil
		}
		_, err := decoded(s.text)
		return err
	case tokenStart:
		for i := range s.attrs {
			if _, err := decoded(s.attrs[i].value); err != nil {
				return err
			}
		}
	}
	return nil
}
