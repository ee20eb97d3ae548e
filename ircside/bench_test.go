package ircside

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

// BenchmarkHear is what a hundred messages cost on their way in, from the socket's bytes to the journal's queue.
func BenchmarkHear(b *testing.B) {
	s := loose(b)
	s.registered = true
	r, w := io.Pipe()
	lines := strings.Repeat("@time=2026-01-01T10:00:00.000Z;msgid=1LB~1700000000~123;inspircd.org/bot :bob!bob@host.example PRIVMSG #lobby :but soft, what light through yonder window breaks?\r\n", 100)
	go func() {
		for b.Context().Err() == nil {
			if _, err := io.WriteString(w, lines); err != nil {
				return
			}
		}
	}()
	in := bufio.NewReaderSize(r, readBuf)
	b.ReportAllocs()
	for b.Loop() {
		for heard := 0; heard < 100; {
			raw, err := in.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if err := s.handleAll(raw, in); err != nil {
				b.Fatal(err)
			}
			batch, _ := s.c.side.inlet.take()
			heard += len(batch)
		}
	}
	r.Close()
}
