package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// peer is a client of a chat server, as bare as it can be: a socket, and what comes from it cut into stanzas or lines.
// It must not be what is measured.
type peer struct {
	name string
	conn net.Conn
	raw  syscall.RawConn
	say  func(dst []byte, text string) []byte // appends a room message with the text
	cut  func(stream []byte) (frame []byte, n int)
	pong func(frame []byte) []byte // what has to be answered at once; nil: nothing

	heard atomic.Pointer[func(frame []byte, at time.Time)]
	ended chan struct{} // closed when the reader has ended; err is set then
	err   error
	stop  sync.Once
}

func dial(ctx context.Context, name, addr string) (*peer, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &peer{name: name, conn: conn, raw: raw, ended: make(chan struct{})}, nil
}

// read runs until the connection ends.
func (p *peer) read() {
	defer close(p.ended)
	var kept []byte
	buffer := make([]byte, 64<<10)
	for {
		n, err := p.conn.Read(buffer)
		if err != nil {
			p.err = fmt.Errorf("%s: the connection has ended: %w", p.name, err)
			return
		}
		at := time.Now()
		// An acknowledgement that is held back would make the server wait for up to 40 ms: a fault of ours, not of the bridge.
		_ = p.raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
		})
		kept = append(kept, buffer[:n]...)
		rest := kept
		for {
			frame, used := p.cut(rest)
			if used == 0 {
				break
			}
			rest = rest[used:]
			if len(frame) > 0 {
				p.take(frame, at)
			}
		}
		kept = append(kept[:0], rest...)
	}
}

func (p *peer) take(frame []byte, at time.Time) {
	if p.pong != nil {
		if answer := p.pong(frame); answer != nil {
			p.write(answer)
		}
	}
	if f := p.heard.Load(); f != nil {
		(*f)(frame, at)
	}
}

// listen calls f with each frame from now on, in the reader's goroutine; nil: nobody listens. The frame is f's for the call only.
func (p *peer) listen(f func(frame []byte, at time.Time)) {
	if f == nil {
		p.heard.Store(nil)
		return
	}
	p.heard.Store(&f)
}

func (p *peer) write(b []byte) error {
	if _, err := p.conn.Write(b); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// ask writes something and waits for the frame that answers it.
func (p *peer) ask(ctx context.Context, what, send string, answers func(frame []byte) bool) ([]byte, error) {
	found := make(chan []byte, 1)
	p.listen(func(frame []byte, _ time.Time) {
		if answers(frame) {
			select {
			case found <- bytes.Clone(frame):
			default:
			}
		}
	})
	defer p.listen(nil)
	if err := p.write([]byte(send)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	select {
	case frame := <-found:
		return frame, nil
	case <-p.ended:
		return nil, p.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: no answer: %s: %w", p.name, what, ctx.Err())
	}
}

func (p *peer) close() {
	p.stop.Do(func() { p.conn.Close() })
	<-p.ended
}

// joinIRC logs in and joins a channel.
func joinIRC(ctx context.Context, addr, nick, channel string) (*peer, error) {
	p, err := dial(ctx, nick+" (IRC)", addr)
	if err != nil {
		return nil, err
	}
	p.cut = func(stream []byte) ([]byte, int) {
		i := bytes.IndexByte(stream, '\n')
		return bytes.TrimSuffix(stream[:max(i, 0)], []byte("\r")), i + 1
	}
	p.pong = func(line []byte) []byte {
		if rest, ok := bytes.CutPrefix(line, []byte("PING ")); ok {
			return fmt.Appendf(nil, "PONG %s\r\n", rest)
		}
		return nil
	}
	p.say = func(dst []byte, text string) []byte { return fmt.Appendf(dst, "PRIVMSG %s :%s\r\n", channel, text) }
	go p.read()
	if _, err = p.ask(ctx, "NICK", fmt.Sprintf("NICK %s\r\nUSER %s 0 * :%s\r\n", nick, nick, nick), numeric("001")); err == nil {
		_, err = p.ask(ctx, "JOIN", "JOIN "+channel+"\r\n", numeric("366"))
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func numeric(code string) func([]byte) bool {
	return func(line []byte) bool { return bytes.Contains(line, []byte(" "+code+" ")) }
}

var errRefused = errors.New("the server refused it")
