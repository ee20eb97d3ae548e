package store

import (
	"errors"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// giveUpDeadPeers bounds how long a connection waits for the peer's acknowledgement (tcp(7), TCP_USER_TIMEOUT); without
// it the kernel tries for a quarter of an hour.
func giveUpDeadPeers(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	bad := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadPeer.Milliseconds()))
	})
	return errors.Join(bad, err)
}
