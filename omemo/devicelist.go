package omemo

import (
	"fmt"
	"slices"
	"strconv"
)

// maxDevices is how many entries of a device list are read.
const maxDevices = 256

// listName is the name of a version's device list element.
func listName(v Version) string {
	if v == Two {
		return "devices"
	}
	return "list"
}

// ParseDeviceList reads a <list/> element (in Two, <devices/>), or one nested in
// the pubsub elements item, items, pubsub and so on. Entries that are no device id
// (1..2^32-1) and repeated ones are left out, as is what comes after 256
// devices. An empty list is no error.
func ParseDeviceList(v Version, xml []byte) ([]uint32, error) {
	ids, err := parseDeviceList(v, xml)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDeviceList, err)
	}
	return ids, nil
}

// parseDeviceList prefers the item with id current when there are several:
// some servers keep old ones, which come first.
func parseDeviceList(v Version, xml []byte) ([]uint32, error) {
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
		case s.kind == tokenStart && s.is(v.Namespace(), listName(v)):
			list, err := s.deviceList(v)
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

func (s *scanner) deviceList(v Version) ([]uint32, error) {
	var ids []uint32
	for depth := len(s.open); ; {
		ok, err := s.child(depth)
		if err != nil || !ok {
			return ids, err
		}
		id, ok := s.id("id", 1)
		if ok && s.is(v.Namespace(), "device") && len(ids) < maxDevices && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		if err := s.skip(); err != nil {
			return nil, err
		}
	}
}

// AppendDeviceList appends a device list element to dst.
func AppendDeviceList(dst []byte, v Version, ids ...uint32) []byte {
	dst = append(append(dst, '<'), listName(v)...)
	dst = append(append(append(dst, " xmlns='"...), v.Namespace()...), "'>"...)
	for _, id := range ids {
		dst = append(dst, "<device id='"...)
		dst = strconv.AppendUint(dst, uint64(id), 10)
		dst = append(dst, "'/>"...)
	}
	return append(append(append(dst, "</"...), listName(v)...), '>')
}
