package main

import (
	"fmt"
	"net"
	"strconv"
)

// isListen reports whether s is HOST:PORT, where HOST may be empty: every address of this machine.
func isListen(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// door is an address that this process listens at, and the key that says so.
type door struct{ key, host, port string }

// meets reports whether only one of two doors can be opened. Port 0 is whatever is free.
func (d door) meets(other door) bool {
	everywhere := func(host string) bool { return host == "" || net.ParseIP(host).IsUnspecified() }
	return d.port == other.port && d.port != "0" && (d.host == other.host || everywhere(d.host) || everywhere(other.host))
}

// checkDoors tells where two things would listen at one address: the second would wait for the first to go away.
func (c *config) checkDoors(f *findings) {
	var doors []door
	open := func(key, address string) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return // not in use, or said already
		}
		one := door{key, host, port}
		for _, other := range doors {
			if one.meets(other) {
				f.add(finding{key: key, text: fmt.Sprintf("%s listens at %s already", other.key, net.JoinHostPort(other.host, other.port)), remedy: "give each a port of its own"})
				return
			}
		}
		doors = append(doors, one)
	}
	open("http.listen", c.HTTP.Listen)
	for _, n := range c.networks {
		if address, ok := n.block["listen"].(string); ok {
			open(join("network", n.name)+".listen", address)
		}
	}
	open("media.listen", c.Media.Listen)
}
