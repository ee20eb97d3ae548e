package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Where a network has nothing to invite somebody from another one with, people write down whom they mean:
// "juliet@example.org" on XMPP, "@alice:example.org" on Matrix, and "address%network" wherever the form alone does not
// tell the network.

// Named finds whom an address means that somebody on the network from wrote down. The reason says why nobody; "" if
// somebody. Whether that person exists is another question.
func (d Direct) Named(written, from string) (who Person, reason string) {
	id, network := written, ""
	if i := strings.LastIndexByte(written, '%'); i >= 0 {
		if _, known := d.kinds[written[i+1:]]; known {
			id, network = written[:i], written[i+1:]
		}
	}
	var fit []string
	for _, name := range slices.Sorted(maps.Keys(d.kinds)) {
		if name != from && (network == name || network == "" && hasForm(d.kinds[name].Kind)) && formed(d.kinds[name].Kind, id) {
			fit = append(fit, name)
		}
	}
	switch len(fit) {
	case 0:
		return Person{}, "this is not the address of anybody within reach"
	case 1:
	default:
		for i := range fit {
			fit[i] = id + "%" + fit[i]
		}
		return Person{}, fmt.Sprintf("this could be %s", strings.Join(fit, " or "))
	}
	if d.kinds[fit[0]].Kind == homeKind {
		id = strings.ToLower(id) // RFC 7622 maps case; RFC 8265 does so in the same way, but for a few scripts
	}
	return Person{Network: fit[0], ID: id}, ""
}

// Written is how somebody on the network from writes down p. Where p's id cannot be written, it is only for display.
func (d Direct) Written(p Person, from string) string {
	want := Person{Network: p.Network, ID: p.ID}
	for _, written := range []string{p.ID, p.ID + "%" + p.Network} {
		if who, _ := d.Named(written, from); who == want {
			return written
		}
	}
	return CleanName(p.ID)
}

// matrixKind is the kind of network whose ids are like "@alice:example.org" (Matrix specification, appendices, user
// identifiers).
const matrixKind = "matrix"

// hasForm reports whether addresses of a kind of network can be told from ordinary words.
func hasForm(kind string) bool { return kind == homeKind || kind == matrixKind }

// formed reports whether id can be an address on a kind of network.
func formed(kind, id string) bool {
	if id == "" || !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }) {
		return false
	}
	switch kind {
	case homeKind: // RFC 7622, section 3.3.1
		local, domain, ok := strings.Cut(id, "@")
		return ok && local != "" && domain != "" && !strings.ContainsAny(local, `"&'/:<>`) && !strings.ContainsAny(domain, "@/")
	case matrixKind:
		local, server, ok := strings.Cut(id, ":")
		return ok && len(local) > 1 && local[0] == '@' && server != "" && !strings.Contains(id[1:], "@")
	}
	return true
}
