package ircside

import (
	"net"
	"syscall"
)

// quickAck makes a socket acknowledge at once. Linux forgets TCP_QUICKACK after a while (tcp(7)), and a delayed
// acknowledgement meets Nagle's algorithm at the server: many lines in flight would then wait 40 ms each time.
func quickAck(sock net.Conn) net.Conn {
	tcp, ok := sock.(*net.TCPConn)
	if !ok {
		return sock
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return sock
	}
	return &quickConn{TCPConn: tcp, raw: raw}
}

type quickConn struct {
	*net.TCPConn
	raw syscall.RawConn
}

func (q *quickConn) Read(b []byte) (int, error) {
	n, err := q.TCPConn.Read(b)
	if err == nil {
		// It is an optimisation: where it fails, things are only slower.
		_ = q.raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
		})
	}
	return n, err
}
