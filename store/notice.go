package store

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// noticeTime bounds how long a command waits for a gateway to take its notice.
const noticeTime = 100 * time.Millisecond

// noticeName is the socket by which a gateway hears from operators' commands; a path of more than some 100 bytes cannot
// be one. Postgres has channels for that.
func noticeName(file string) string { return file + ".wake" }

// hearCommands wakes everybody when an operator's command has written to the file, until ctx ends. Where the file system
// has no sockets, or the path is too long for one, the poll is what commands are noticed by.
func (s *Store) hearCommands(ctx context.Context) {
	name := noticeName(s.file)
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) { // whoever left it there does not run: we have the lock
		s.log.Debug("cannot remove the socket of an earlier process", "err", err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		s.log.Info("commands such as `lockbridge dead retry` are noticed after some seconds only: there cannot be a socket beside the database", "err", err)
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for word := make([]byte, 1); ; {
		if _, err = conn.Read(word); err != nil {
			break
		}
		s.wakeEverybody()
	}
	if ctx.Err() == nil {
		s.log.Warn("commands are not heard any more, and noticed after some seconds only", "err", err)
	}
	if err := errors.Join(os.Remove(name), conn.Close()); err != nil {
		s.log.Debug("the socket beside the database did not close cleanly", "err", err)
	}
}

// notice tells a gateway that runs on the file to look at once. Nobody may be there; and whoever does not hear it polls.
func (b *Beside) notice() {
	if b.s.postgres != nil {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: noticeName(b.s.file), Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(noticeTime))
	_, _ = conn.Write([]byte{1})
}
