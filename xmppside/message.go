package xmppside

import (
	"errors"
	"slices"
	"strings"

	"lockbridge/omemo"
)

// bindings are the namespace declarations in force around a frame.
type bindings []attr

// with returns the bindings inside the element t.
func (b bindings) with(t tag) bindings {
	out := make(bindings, 0, len(b)+len(t.attrs))
	for _, a := range t.attrs {
		if a.name == "xmlns" || strings.HasPrefix(a.name, "xmlns:") {
			out = append(out, a)
		}
	}
	for _, a := range b {
		if t.get(a.name) == "" {
			out = append(out, a)
		}
	}
	return out
}

// bind declares in raw, an element with start tag t, what it inherits, so that it stands for itself.
func (b bindings) bind(raw []byte, t tag) []byte {
	var decl []byte
	for _, a := range b {
		if t.get(a.name) == "" {
			decl = appendAttr(decl, a.name, a.value)
		}
	}
	if len(decl) == 0 {
		return raw
	}
	out := make([]byte, 0, len(raw)+len(decl))
	out = append(append(out, raw[:t.after]...), decl...)
	return append(out, raw[t.after:]...)
}

// message is a stanza with what is sealed in it kept apart, undecoded: a sealed element may have a thousand keys, and
// it has a parser of its own.
type message struct {
	*node
	sealed  []sealedElement // the <encrypted/> elements of OMEMO, at most one of each version
	foreign bool            // sealed by something that we cannot open
	archive string          // its id in the room's archive, if it was read from there
}

// sealedElement is an <encrypted/> element, standing for itself.
type sealedElement struct {
	version omemo.Version
	xml     []byte
}

// sealedIn is the element of a version; nil when there is none.
func (m *message) sealedIn(v omemo.Version) []byte {
	for _, e := range m.sealed {
		if e.version == v {
			return e.xml
		}
	}
	return nil
}

// sealedBytes are all sealed elements, for telling messages apart.
func (m *message) sealedBytes() []byte {
	var out []byte
	for _, e := range m.sealed {
		out = append(out, e.xml...)
	}
	return out
}

// addSealed takes an <encrypted/> element out of a message. Whatever else it is, its fallback body must not cross.
func (m *message) addSealed(space string, xml []byte) error {
	for _, v := range []omemo.Version{omemo.Legacy, omemo.Two} {
		if space != v.Namespace() {
			continue
		}
		if m.sealedIn(v) != nil {
			return errors.New("two encrypted elements of one version")
		}
		m.sealed = append(m.sealed, sealedElement{v, xml})
		return nil
	}
	m.foreign = true
	return nil
}

// parseMessage decodes a stanza that stands where bindings are in force.
func parseMessage(raw []byte, inherited bindings) (*message, error) {
	p := parser{s: string(raw), bound: slices.Clip(inherited)}
	if err := p.check(); err != nil {
		return nil, err
	}
	m := &message{}
	n, err := p.element(func(space, raw string) error {
		t, err := parseTag([]byte(raw))
		if err != nil {
			return err
		}
		return m.addSealed(space, p.inForce().bind([]byte(raw), t))
	})
	if err != nil {
		return nil, err
	}
	if len(n.kids) > maxKids {
		return nil, errTooComplex
	}
	m.node = n
	return m, nil
}
