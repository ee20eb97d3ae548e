package xmppside

import (
	"net"
	"syscall"
)

// quickAck asks the kernel to acknowledge at once. The flag lasts for a read or so. Without it a server that waits for
// an acknowledgement before it sends on (Nagle) makes us slower by 40 ms a batch.
func quickAck(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // an optimisation: what fails here costs speed only
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
	})
}
