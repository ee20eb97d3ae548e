package omemo

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// IdentityKey is a device's identity key in Curve25519 form, for every version:
// what is pinned, shown and compared.
type IdentityKey [32]byte

// Fingerprint formats the key for people: 64 hex digits in 8 groups of 8.
func (k IdentityKey) Fingerprint() string {
	digits := hex.EncodeToString(k[:])
	groups := make([]string, 0, 8)
	for i := 0; i < len(digits); i += 8 {
		groups = append(groups, digits[i:i+8])
	}
	return strings.Join(groups, " ")
}

// ParseFingerprint reads a fingerprint as any client shows it: hex digits in
// either case, any grouping, with or without the leading key type 05.
func ParseFingerprint(s string) (IdentityKey, error) {
	if len(s) > 512 {
		return IdentityKey{}, fmt.Errorf("%w: %d characters", ErrFingerprint, len(s))
	}
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F' {
			return r
		}
		return -1
	}, s)
	if len(digits) == 66 && digits[:2] == "05" {
		digits = digits[2:]
	}
	if len(digits) != 64 {
		return IdentityKey{}, fmt.Errorf("%w: %d hex digits, want 64", ErrFingerprint, len(digits))
	}
	key, err := hex.DecodeString(digits)
	if err != nil {
		return IdentityKey{}, fmt.Errorf("%w: %w", ErrFingerprint, err)
	}
	return IdentityKey(key), nil
}

// URI formats the xmpp: URI by which clients verify a device's key.
func URI(device Address, key IdentityKey) string {
	return "xmpp:" + url.PathEscape(device.JID) + "?omemo-sid-" + strconv.FormatUint(uint64(device.Device), 10) + "=" + hex.EncodeToString(key[:])
}

// ParseURI reads an xmpp: URI with any number of keys, those of unnamed
// devices under device id 0. Other parameters are passed over.
func ParseURI(s string) (jid string, keys map[uint32]IdentityKey, err error) {
	scheme, rest, _ := strings.Cut(s, ":")
	jid, query, ok := strings.Cut(rest, "?")
	jid, err = url.PathUnescape(jid)
	if !strings.EqualFold(scheme, "xmpp") || !ok || jid == "" || err != nil {
		return "", nil, fmt.Errorf("%w: not an xmpp: URI with keys", ErrFingerprint)
	}
	keys = make(map[uint32]IdentityKey)
	for parameter := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == ';' || r == '&' }) {
		name, value, _ := strings.Cut(parameter, "=")
		device := uint64(0)
		if id, ok := strings.CutPrefix(name, "omemo-sid-"); ok {
			if device, err = strconv.ParseUint(id, 10, 32); err != nil || device == 0 {
				return "", nil, fmt.Errorf("%w: device id %q", ErrFingerprint, id)
			}
		} else if name != "omemo" {
			continue
		}
		key, err := ParseFingerprint(value)
		if err != nil {
			return "", nil, err
		}
		keys[uint32(device)] = key
	}
	if len(keys) == 0 {
		return "", nil, fmt.Errorf("%w: URI without key", ErrFingerprint)
	}
	return jid, keys, nil
}
