//go:build !linux

package ircside

import "net"

// quickAck does nothing where TCP_QUICKACK is not known.
func quickAck(sock net.Conn) net.Conn { return sock }
