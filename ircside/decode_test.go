package ircside

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// golden compares got with testdata/name, or writes it there when UPDATE_GOLDEN is set.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%s", path, got)
	}
}

// testClock stands still.
func testClock() clock {
	return clock{
		now:   func() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC) },
		after: func(time.Duration) <-chan time.Time { return nil },
		until: func(time.Time) <-chan time.Time { return nil },
	}
}

// loose is a session without a socket, in two channels.
func loose(t testing.TB) *session {
	t.Helper()
	cfg := defaults()
	cfg.Nick, cfg.User = "lockbridge", "lockbridge"
	side, err := New(cfg, gateway.Deps{Network: "net", Direct: direct(), Log: slog.New(slog.DiscardHandler), Rooms: []gateway.Room{
		{Address: gateway.Address{Network: "net", ID: "#Lobby"}, Topic: true}, {Address: gateway.Address{Network: "net", ID: "#two"}, Password: "key"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	side.clock = testClock()
	s := newSession(side.relay)
	side.relay.sess = s
	return s
}

// feedLine handles one line, and says what came of it: arrivals, lines to write, an error.
func feedLine(t *testing.T, s *session, text string) string {
	t.Helper()
	e := parseLine(text)
	if e == nil {
		return "  not a message\n"
	}
	var b strings.Builder
	err := s.handle(e)
	s.flush()
	batch, _ := s.c.side.inlet.take()
	for _, h := range batch {
		if h.Read == nil {
			fmt.Fprintf(&b, "  read %q until %v\n", h.marks, h.mark)
			continue
		}
		ev, readErr := h.Read(t.Context())
		if readErr != nil {
			t.Fatal(readErr)
		}
		if ev == nil {
			b.WriteString("  noted\n")
			continue
		}
		body, jsonErr := json.Marshal(ev.Body)
		if jsonErr != nil {
			t.Fatal(jsonErr)
		}
		fmt.Fprintf(&b, "  %s at %s by %s/%s native %q time %s: %s\n", ev.Body.Kind(), ev.At.ID, ev.Sender.ID, ev.Sender.Name, h.Native, ev.Time.Format(time.TimeOnly), body)
	}
	for _, line := range s.now {
		fmt.Fprintf(&b, "  > %s\n", line)
	}
	s.now = nil
	s.pace.tokens = s.pace.burst
	queued, _ := s.pace.take(s.c.side.clock.now().Add(time.Hour), 1<<20)
	for _, l := range queued {
		fmt.Fprintf(&b, "  > %s\n", l.text)
	}
	if err != nil {
		fmt.Fprintf(&b, "  ends: %v\n", err)
	}
	return b.String()
}

// TestDecodeGolden reads testdata/decode.in, a line of the server each, in the state that the lines before it made.
func TestDecodeGolden(t *testing.T) {
	in, err := os.ReadFile("testdata/decode.in")
	if err != nil {
		t.Fatal(err)
	}
	s := loose(t)
	var b strings.Builder
	unescape := strings.NewReplacer(`\x01`, "\x01", `\x02`, "\x02", `\x03`, "\x03", `\x00`, "\x00", `\xfc`, "\xfc", `\x0f`, "\x0f")
	for text := range strings.Lines(string(in)) {
		text = strings.TrimSuffix(text, "\n")
		if text == "" || text[0] == '#' {
			b.WriteString(text + "\n")
			continue
		}
		b.WriteString("< " + text + "\n" + feedLine(t, s, unescape.Replace(text)))
	}
	golden(t, "decode.golden", b.String())
}

func FuzzHandle(f *testing.F) {
	in, err := os.ReadFile("testdata/decode.in")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(in))
	f.Add("@time=9999-12-31T23:59:59.999-23:59;msgid=\\:;label= :a!b@c PRIVMSG #lobby :x\n@ :a\n@a :\n::\n: \nPING\nCAP\n353 a\nBATCH +\nNICK")
	f.Add(":lockbridge!a@b JOIN #lobby\n:x BATCH +b chathistory #lobby\n@batch=b;time=2026-01-01T00:00:00Z;msgid=y :c!d@e PRIVMSG #lobby :f\n:x BATCH -b\nFAIL CHATHISTORY A AFTER #lobby :b\n" +
		":x 376 a :b\n:x BATCH +t draft/chathistory-targets\n@batch=t CHATHISTORY TARGETS bob now\n:x BATCH -t\n:x BATCH +q chathistory bob\n@batch=q;time=2026-01-01T00:00:00Z;msgid=z :bob!d@e PRIVMSG lockbridge :juliet@example.org: f\n:x BATCH -q\n" +
		":x 470 a #two #three :b\n:lockbridge!a@b JOIN #three\n:x 332 a #three :old #two\n:x 366 a #three :c")
	f.Add("@+draft/react=x;+draft/reply=m :a!b@c TAGMSG #lobby\n@+typing=active :a!b@c TAGMSG #two\n:a!b@c REDACT #lobby m :why\n:a!b@c TOPIC #lobby :x\n:x 332 a #lobby :y\n:x 324 a #lobby +cn\n:a!b@c MODE #lobby -c+S\n" +
		"@msgid=m :a!b@c BATCH +m draft/multiline #lobby\n@batch=m :a!b@c PRIVMSG #lobby :\x02x\n@batch=m;draft/multiline-concat :a!b@c PRIVMSG #lobby :y\n:x BATCH -m\n:a!b@c JOIN #lobby\n:a!b@c QUIT :a.b c.d\n" +
		":a!b@c PRIVMSG lockbridge :who #lobby\nFAIL REDACT X #lobby m :no\nFAIL BATCH MULTILINE_INVALID :no\n:x 482 a #lobby :no\n:x 005 a CLIENTTAGDENY=*,-typing TOPICLEN=9 :x")
	f.Fuzz(func(t *testing.T, text string) {
		s := loose(t)
		s.registered = true
		for _, name := range wantedCaps() {
			s.caps[name] = true
		}
		s.c.marks["#Lobby"], s.c.marks[""] = mark{id: "x", at: s.c.side.clock.now()}, mark{at: s.c.side.clock.now()}
		s.catchUpChats(s.c.side.clock.now())
		for l := range strings.Lines(text) {
			_ = feedLine(t, s, strings.TrimRight(l, "\r\n"))
			if out, _, err := s.next(); err == nil {
				for _, l := range strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n") {
					if strings.ContainsAny(l, "\r\n") {
						t.Fatalf("writes %q", l)
					}
				}
			}
		}
	})
}
