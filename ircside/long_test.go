package ircside

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"lockbridge/gateway"
)

// board takes pastes, and nothing else.
type board struct {
	gateway.Media
	err error

	mu     sync.Mutex
	pastes map[string]string // text by key
	events map[string][]gateway.ID
}

func newBoard() *board { return &board{pastes: map[string]string{}, events: map[string][]gateway.ID{}} }

func (b *board) Paste(_ context.Context, of gateway.Origin, _, text string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return "", b.err
	}
	b.pastes[of.Key], b.events[of.Key] = text, of.Events
	return "https://l.example/m/" + of.Key, nil
}

// numbered is some lines of text.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %02d\n", i)
	}
	return b.String()
}

// TestLongText: what one message may not become stands behind a link, where there is one.
func TestLongText(t *testing.T) {
	for name, c := range map[string]struct {
		media gateway.Media
		want  string
	}{
		"with a route":       {newBoard(), "… (7 more lines: https://l.example/m/k1/text)"},
		"route that is away": {&board{err: errors.New("away")}, "… (7 more lines)"},
		"without a route":    {nil, "… (7 more lines)"},
	} {
		t.Run(name, func(t *testing.T) {
			r := begin(t, func(c2 *Config, s *Side) {
				c2.MaxLines = 3
				if s != nil {
					s.deps.Media = c.media
				}
			})
			l := r.up(labels)
			got := r.deliver(delivery("k1", numbered(10)))
			for i, want := range []string{"line 00", "line 01", "line 02", c.want} {
				if text := l.echo(fmt.Sprintf("m%d", i)); text != said(want) {
					t.Errorf("said %q, want %q", text, said(want))
				}
			}
			if o := r.one(got); o.Err != nil || len(o.Parts) != 4 {
				t.Errorf("outcome %+v", o)
			}
			if b, ok := c.media.(*board); ok && b.err == nil && b.pastes["k1/text"] != numbered(10) {
				t.Errorf("pasted %q", b.pastes)
			}
		})
	}
}

// TestLoudPerson: of what one person says at a stretch the surplus becomes one line; nobody else's words do.
func TestLoudPerson(t *testing.T) {
	media := newBoard()
	r := begin(t, func(c *Config, s *Side) {
		c.MaxLines = 2
		if s != nil {
			s.deps.Media = media
		}
	})
	l := r.up(labels)
	var run []gateway.Delivery
	for i := range 9 {
		d := delivery(fmt.Sprintf("k%d", i), fmt.Sprintf("loud %d", i))
		d.Event.ID = gateway.ID{byte(i)}
		if i == 7 {
			d.Event.Sender, d.Event.Body = gateway.Person{Network: "xmpp", ID: "nurse", Name: "nurse"}, gateway.Message{Text: gateway.Text{Plain: "peace"}}
		}
		run = append(run, d)
	}
	got := r.deliver(run...)
	want := []string{said("loud 0"), said("loud 1"), said("loud 2"), said("loud 3"), said("loud 4"), said("… (3 more messages: https://l.example/m/k5/more)"), "<n\u200curse> peace"}
	for i, text := range want {
		if shown := l.echo(fmt.Sprintf("m%d", i)); shown != text {
			t.Errorf("said %q, want %q", shown, text)
		}
	}
	out := r.outcomes(got)
	if len(out) != 9 {
		t.Fatalf("outcomes %+v", out)
	}
	for i, o := range out {
		if parts := map[bool]int{true: 0, false: 1}[i == 6 || i == 8]; o.Err != nil || len(o.Parts) != parts {
			t.Errorf("outcome %d: %+v", i, o)
		}
	}
	if text := media.pastes["k5/more"]; text != "<juliet> loud 5\n<juliet> loud 6\n<juliet> loud 8\n" || len(media.events["k5/more"]) != 3 {
		t.Errorf("pasted %q of %v", text, media.events)
	}
	// Tried again, everything is said as it is.
	for i := range run {
		run[i].Key, run[i].Attempt = fmt.Sprintf("again%d", i), 1
	}
	got = r.deliver(run...)
	for i := range run {
		if shown := l.echo(fmt.Sprintf("n%d", i)); strings.Contains(shown, "more messages") {
			t.Errorf("said %q", shown)
		}
	}
	r.outcomes(got)
}

// TestLoudPersonOverRuns: runs are short where what is said leaves quickly, but a stretch lasts. It ends with a pause.
func TestLoudPersonOverRuns(t *testing.T) {
	media, hand := newBoard(), newHandClock()
	r := begin(t, func(c *Config, s *Side) {
		c.MaxLines, c.Pace = 2, Pace{Burst: 20, Every: time.Second}
		if s != nil {
			s.deps.Media, s.clock = media, hand.clock()
		}
	})
	l := r.up(labels)
	n := 0
	talk := func(want ...string) {
		t.Helper()
		var run []gateway.Delivery
		for range 3 {
			d := delivery(fmt.Sprintf("k%d", n), fmt.Sprintf("loud %d", n))
			d.Event.ID = gateway.ID{byte(n)}
			run, n = append(run, d), n+1
		}
		got := r.deliver(run...)
		for i, text := range want {
			if shown := l.echo(fmt.Sprintf("m%d-%d", n, i)); shown != said(text) {
				t.Errorf("said %q, want %q", shown, said(text))
			}
		}
		for i, o := range r.outcomes(got) {
			if o.Err != nil {
				t.Errorf("outcome %d: %v", i, o.Err)
			}
		}
	}
	talk("loud 0", "loud 1", "loud 2")
	talk("loud 3", "loud 4", "loud 5") // one too many saves no line
	talk("… (3 more messages: https://l.example/m/k6/more)")
	talk("… (3 more messages: https://l.example/m/k9/more)")
	hand.advance(5 * stretchShare * time.Second)
	talk("loud 12", "loud 13", "loud 14")
}

// TestWhatWaitedIsNotLoud: what comes at once since the network was away is judged by when it was said.
func TestWhatWaitedIsNotLoud(t *testing.T) {
	media, hand := newBoard(), newHandClock()
	r := begin(t, func(c *Config, s *Side) {
		c.MaxLines, c.Pace = 2, Pace{Burst: 20, Every: time.Second}
		if s != nil {
			s.deps.Media, s.clock = media, hand.clock()
		}
	})
	l := r.up(labels)
	const all = 9
	var run []gateway.Delivery
	for i := range all {
		d := delivery(fmt.Sprintf("k%d", i), fmt.Sprintf("slow %d", i))
		d.Event.ID, d.Event.Time = gateway.ID{byte(i)}, hand.clock().now().Add(time.Duration(i-all)*stretchShare*time.Second)
		run = append(run, d)
	}
	got := r.deliver(run...)
	for i := range all {
		if shown, want := l.echo(fmt.Sprintf("m%d", i)), said(fmt.Sprintf("slow %d", i)); shown != want {
			t.Errorf("said %q, want %q", shown, want)
		}
	}
	r.outcomes(got)
}

const multi = labels + " draft/multiline=max-bytes=4096,max-lines=5"

// echoBatch reads a labelled batch and answers with its echo; it returns what was said in it.
func (l *link) echoBatch(msgid string) (texts []string) {
	l.t.Helper()
	label, rest, _ := strings.Cut(l.expect("@label="), " ")
	tags := ""
	if at := strings.Index(label, ";"); at >= 0 {
		label, tags = label[:at], label[at:]
	}
	if rest != "BATCH +lb draft/multiline #lobby" {
		l.t.Errorf("began with %q", rest)
	}
	echo := []string{fmt.Sprintf("@label=%s;msgid=%s%s :lb!lb@host BATCH +e draft/multiline #lobby", label, msgid, tags)}
	for {
		line := l.expect("")
		if line == "BATCH -lb" {
			l.send(append(echo, ":irc.test BATCH -e")...)
			return texts
		}
		command, ok := strings.CutPrefix(line, "@batch=lb ")
		_, text, _ := strings.Cut(command, " :")
		if !ok {
			l.t.Errorf("in the batch %q", line)
		}
		texts, echo = append(texts, text), append(echo, "@batch=e :lb!lb@host "+command)
	}
}

// TestMultiline: several lines as one message (draft/multiline), both ways.
func TestMultiline(t *testing.T) {
	t.Run("out", saysSeveralLinesAsOne)
	t.Run("in", hearsSeveralLinesAsOne)
	t.Run("in doubt", severalLinesInDoubt)
	t.Run("in colours", severalLinesInColours)
	t.Run("in a batch of itself", severalLinesInThemselves)
}

// severalLinesInThemselves: a batch that names itself as the one around it is one message like others.
func severalLinesInThemselves(t *testing.T) {
	r := begin(t, nil)
	l := r.up(multi)
	l.send("@batch=1;msgid=m1 :bob!b@h BATCH +1 draft/multiline #lobby")
	for range multiLines {
		l.send("@batch=1 :bob!b@h PRIVMSG #lobby :" + strings.Repeat("x", multiHeld/multiLines))
	}
	l.send("@batch=1 :bob!b@h PRIVMSG #lobby :"+strings.Repeat("y", 900), ":irc.test BATCH -1", ":bob!b@h PRIVMSG #lobby :the end")
	r.awaitText("the end")
	if all, _ := r.texts(); len(all) != 3 || strings.Count(strings.Join(all, "\n"), "x\n") != multiLines {
		t.Errorf("heard %d messages", len(all))
	}
}

// saysSeveralLinesAsOne, and as lines once the server refuses it.
func saysSeveralLinesAsOne(t *testing.T) {
	r := begin(t, func(c *Config, _ *Side) { c.MaxLines = 3 })
	l := r.up(multi)
	d := delivery("k1", "one\ntwo")
	d.Event.Body = gateway.Message{Text: gateway.Text{Plain: "one\ntwo"}, ReplyTo: gateway.Ref{Parts: []gateway.Part{{Native: "m0"}}}}
	got := r.deliver(d, delivery("k2", numbered(9)), delivery("k3", "alone"))
	if texts := l.echoBatch("m1"); strings.Join(texts, "|") != said("one")+"|"+said("two") {
		t.Errorf("said %q", texts)
	}
	if texts := l.echoBatch("m2"); len(texts) != 5 || texts[4] != said("… (5 more lines)") {
		t.Errorf("said %q", texts)
	}
	l.echo("m3")
	out := r.outcomes(got)
	wantParts(t, out, "m1", "m2", "m3")

	got = r.deliver(delivery("k4", "three\nfour"))
	label, _, _ := strings.Cut(l.expect("@label="), " ")
	for range 3 {
		l.expect("")
	}
	l.send("@label=" + label + " FAIL BATCH MULTILINE_MAX_BYTES 10 :Too long")
	if o := r.one(got); o.Err == nil || gateway.IsDrop(o.Err) {
		t.Errorf("outcome %+v", o)
	}
	got = r.deliver(delivery("k4", "three\nfour"))
	for i, want := range []string{"three", "four"} {
		if text := l.echo(fmt.Sprintf("n%d", i)); text != said(want) {
			t.Errorf("said %q", text)
		}
	}
	if o := r.one(got); o.Err != nil || len(o.Parts) != 2 {
		t.Errorf("outcome %+v", o)
	}
}

// severalLinesInColours: a channel may refuse them as it does with one line.
func severalLinesInColours(t *testing.T) {
	r := begin(t, nil)
	l := r.up(multi)
	got := r.deliver(act("k1", gateway.Message{Text: gateway.Text{Plain: "one\ntwo", Marks: []gateway.Mark{{Start: 4, End: 7, Style: gateway.MarkBold}}}}))
	label, _, _ := strings.Cut(l.expect("@label="), " ")
	for range 3 {
		l.expect("")
	}
	l.send("@label=" + label + " :irc.test 404 lb #lobby :Can't send colors to channel (+c is set)")
	if o := r.one(got); !gateway.IsPlainer(o.Err) {
		t.Errorf("outcome %+v", o)
	}
}

// hearsSeveralLinesAsOne: a batch is one message; one that is too long is several.
func hearsSeveralLinesAsOne(t *testing.T) {
	r := begin(t, nil)
	l := r.up(multi)
	l.send("@msgid=m1;+draft/reply=m0 :bob!b@h BATCH +1 draft/multiline #lobby",
		"@batch=1 :bob!b@h PRIVMSG #lobby :\x02one", "@batch=1 :bob!b@h PRIVMSG #lobby :t", "@batch=1;draft/multiline-concat :bob!b@h PRIVMSG #lobby :wo", ":bob!b@h PRIVMSG #lobby :meanwhile",
		"@batch=1 :bob!b@h PRIVMSG #lobby :", "@batch=1 :bob!b@h PRIVMSG #lobby :three", ":irc.test BATCH -1")
	ev := r.awaitText("one\ntwo\n\nthree")
	if m, ok := ev.Body.(gateway.Message); !ok || ev.Native != "m1" || m.ReplyTo.Native != "m0" || ev.Sender.ID != "bob" || len(m.Text.Marks) != 1 || m.Text.Marks[0].End != 3 {
		t.Errorf("heard %+v", ev)
	}
	l.send("@msgid=m2 :bob!b@h BATCH +2 draft/multiline #lobby")
	for range 150 {
		l.send("@batch=2 :bob!b@h PRIVMSG #lobby :x")
	}
	l.send(":irc.test BATCH -2", ":irc.test BATCH +3 draft/multiline #lobby", ":irc.test BATCH -3", ":irc.test BATCH +4 draft/multiline #lobby", "@batch=4 PRIVMSG", "@batch=4 :bob!b@h JOIN #lobby", ":irc.test BATCH -4",
		"@batch=5 :bob!b@h PRIVMSG #lobby :the end")
	r.awaitText("the end")
	var got []string
	for _, ev := range r.inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok && strings.HasPrefix(m.Text.Plain, "x") {
			got = append(got, fmt.Sprintf("%s %d", ev.Native, strings.Count(m.Text.Plain, "x")))
		}
	}
	if s := strings.Join(got, ", "); s != "m2 100, m2/1 50" {
		t.Errorf("heard %s", s)
	}
}

// severalLinesInDoubt: a batch of ours that the history holds is not said again.
func severalLinesInDoubt(t *testing.T) {
	r := begin(t, nil)
	const caps = multi + " draft/chathistory"
	l := r.up(caps)
	l.send("@msgid=m0 :bob!b@h PRIVMSG #lobby :hello")
	r.awaitText("hello") // by now it is recorded where we came in
	d := delivery("k1", "one\ntwo")
	got := r.deliver(d)
	l.expect("@label=")
	l.conn.Close()
	if o := r.one(got); o.Err == nil {
		t.Errorf("outcome %+v", o)
	}
	_ = r.state()
	l = r.accept()
	l.register(caps)
	l.join("#lobby")
	l.expect("CHATHISTORY AFTER #lobby ")
	d.Attempt = 1
	got = r.deliver(d)
	page := func(lines ...string) {
		l.send(":irc.test BATCH +h chathistory #lobby")
		l.send(append(lines, ":irc.test BATCH -h")...)
	}
	page("@batch=h;msgid=m1;time="+stampOf(time.Now().Add(time.Second))+" :lb!lb@host BATCH +i draft/multiline #lobby", "@batch=i :lb!lb@host PRIVMSG #lobby :"+said("one"), "@batch=i :lb!lb@host PRIVMSG #lobby :"+said("two"), "@batch=h :irc.test BATCH -i")
	l.expect("CHATHISTORY AFTER #lobby ")
	page()
	if o := r.one(got); o.Err != nil || len(o.Parts) != 1 || o.Parts[0].Native != "m1" {
		t.Errorf("outcome %+v", o)
	}
}

func FuzzMultiline(f *testing.F) {
	f.Add("one\ntwo", 100, 10)
	f.Add(strings.Repeat("word ", 300), 4096, 3)
	f.Fuzz(func(t *testing.T, text string, bytes, lines int) {
		lim := limits{payload: func(string, string) int { return 120 }, lines: 3, multi: parseMultiline(fmt.Sprintf("max-bytes=%d,max-lines=%d", bytes, lines))}
		out, err := encode(delivery("k", gateway.Clean(text)), direct(), lim)
		if err != nil {
			return
		}
		for _, l := range out.lines {
			if l.size() > window || strings.ContainsAny(l.text, "\r\n") {
				t.Fatalf("%d bytes of %q", l.size(), l.text)
			}
			size := 0
			for _, rest := range l.rest {
				if strings.ContainsAny(rest, "\r\n\x00") || !strings.HasPrefix(rest, "@batch=lb ") && rest != "BATCH -lb" {
					t.Fatalf("line %q", rest)
				}
				if _, said, ok := strings.Cut(rest, " :"); ok {
					size += len(said) + 1
				}
			}
			if len(l.rest) > 0 && (len(l.rest)-1 > lim.multi.lines || size > lim.multi.bytes) {
				t.Fatalf("%d lines and %d bytes in %+v", len(l.rest)-1, size, lim.multi)
			}
		}
	})
}
