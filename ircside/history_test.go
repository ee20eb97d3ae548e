package ircside

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

const historic = labels + " draft/chathistory"

// past is what a fake keeps of one channel or query.
type past struct {
	lines   []pastLine
	limit   int  // of a page
	noIDs   bool // does not find lines by their msgid
	nothing bool // knows no history at all
}

type pastLine struct {
	id, nick, target, text string
	at                     time.Time
}

// noon is when the past of these tests begins.
func noon() time.Time { return time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond) }

func (p *past) add(id, nick, text string, at time.Time) {
	p.lines = append(p.lines, pastLine{id, nick, "#lobby", text, at})
}

// many adds numbered lines, a second apart.
func (p *past) many(from, to int, start time.Time) {
	for i := from; i <= to; i++ {
		p.add(fmt.Sprintf("h%d", i), "bob", fmt.Sprintf("line %d", i), start.Add(time.Duration(i)*time.Second))
	}
}

// serve answers one "CHATHISTORY AFTER target from limit", and returns how many lines it had.
func (l *link) serve(p *past) int {
	l.t.Helper()
	words := strings.Fields(l.expect("CHATHISTORY AFTER "))
	target, from := words[0], words[1]
	limit, err := strconv.Atoi(words[2])
	if err != nil {
		l.t.Fatal(err)
	}
	id, byID := strings.CutPrefix(from, "msgid=")
	at := slices.IndexFunc(p.lines, func(o pastLine) bool { return o.id == id })
	if p.nothing || byID && (p.noIDs || at < 0) {
		l.send("FAIL CHATHISTORY MESSAGE_ERROR AFTER " + target + " :Messages could not be retrieved")
		return 0
	}
	first := at + 1
	if !byID {
		since, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(from, "timestamp="))
		if err != nil {
			l.t.Fatal(err)
		}
		for first = 0; first < len(p.lines) && !p.lines[first].at.After(since); {
			first++
		}
	}
	page := p.lines[first:min(first+min(limit, p.limit), len(p.lines))]
	out := []string{":irc.test BATCH +h chathistory " + target}
	for _, o := range page {
		id := ""
		if o.id != "" {
			id = ";msgid=" + o.id
		}
		out = append(out, fmt.Sprintf("@batch=h;time=%s%s :%s!%s@host PRIVMSG %s :%s", stampOf(o.at), id, o.nick, o.nick, o.target, o.text))
	}
	l.send(append(out, ":irc.test BATCH -h")...)
	return len(page)
}

// upAgain plays the return of a side to a server with a history.
func (r *rig) upAgain() *link {
	r.t.Helper()
	l := r.accept()
	l.register(historic)
	l.send(":irc.test 005 lb CHATHISTORY=100 MSGREFTYPES=msgid,timestamp :are supported by this server")
	l.join("#lobby")
	return l
}

// texts are what was heard in a channel, with the times of the lines.
func (r *rig) texts() (all []string, at map[string]time.Time) {
	at = map[string]time.Time{}
	for _, ev := range r.inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok {
			all, at[m.Text.Plain] = append(all, m.Text.Plain), ev.Time
		}
	}
	return all, at
}

// TestCatchUp: what was said while we were away comes page by page, in order, with its times, and before what is said
// meanwhile.
func TestCatchUp(t *testing.T) {
	r := begin(t, nil)
	l := r.upAgain() // the first time: what was said before is none of ours
	r.isReady()
	start := noon()
	l.send("@msgid=h1;time=" + stampOf(start.Add(time.Second)) + " :bob!b@h PRIVMSG #lobby :line 1")
	r.awaitText("line 1")
	l.conn.Close()
	if r.state() == nil {
		t.Error("ready without a connection")
	}

	p := &past{limit: 100}
	p.add("h0", "bob", "before our time", start)
	p.many(1, 250, start)
	l = r.upAgain()
	r.isReady() // reading does not keep the network from being ready
	if n := l.serve(p); n != 100 {
		t.Errorf("a first page of %d lines", n)
	}
	p.many(251, 252, start)
	l.send("@msgid=h251 :bob!b@h PRIVMSG #lobby :line 251", "@msgid=h252 :bob!b@h PRIVMSG #lobby :line 252", "@msgid=live :eve!e@h PRIVMSG #lobby :live")
	for l.serve(p) > 0 {
	}
	r.awaitText("live")
	all, at := r.texts()
	if len(all) != 253 || all[249] != "line 250" || all[252] != "live" || !slices.IsSortedFunc(all[:252], func(a, b string) int { return len(a) - len(b) }) {
		t.Errorf("heard %d: %q", len(all), all)
	}
	if !at["line 100"].Equal(start.Add(100 * time.Second)) {
		t.Errorf("line 100 is of %v", at["line 100"])
	}

	// Another process goes on where this one was.
	l.send("@msgid=h253;time=" + stampOf(start.Add(253*time.Second)) + " :bob!b@h PRIVMSG #lobby :line 253")
	r.awaitText("line 253")
	p.many(253, 254, start)
	r = r.beginAgain(nil)
	l = r.upAgain()
	if n := l.serve(p); n != 1 {
		t.Errorf("%d lines after a restart", n)
	}
	l.serve(p)
	r.awaitText("line 254")
}

// TestKickedWhileReading: what was read stays read, and the rest is read after the return.
func TestKickedWhileReading(t *testing.T) {
	r := begin(t, nil)
	l := r.upAgain()
	start := noon()
	l.send("@msgid=h1;time=" + stampOf(start.Add(time.Second)) + " :bob!b@h PRIVMSG #lobby :line 1")
	r.awaitText("line 1")
	l.conn.Close()
	p := &past{limit: 2}
	p.many(1, 6, start)
	l = r.upAgain()
	l.serve(p)
	l.send("@msgid=held;time="+stampOf(start.Add(7*time.Second))+" :bob!b@h PRIVMSG #lobby :held", ":op!o@h KICK #lobby lb :out")
	r.awaitText("held")
	p.add("held", "bob", "held", start.Add(7*time.Second))
	l.expect("CHATHISTORY AFTER #lobby msgid=h3 ") // asked before the kick came
	l.send("FAIL CHATHISTORY INVALID_TARGET AFTER #lobby :you are not there")
	l.join("#lobby")
	for l.serve(p) > 0 {
	}
	l.send("@msgid=live :eve!e@h PRIVMSG #lobby :live")
	r.awaitText("live")
	if all, _ := r.texts(); strings.Join(all, ",") != "line 1,line 2,line 3,held,line 4,line 5,line 6,live" {
		t.Errorf("heard %q", all)
	}
}

// TestCatchUpByTime: a server that has forgotten the msgid, or knows no msgids, is asked by time.
func TestCatchUpByTime(t *testing.T) {
	r := begin(t, nil)
	l := r.upAgain()
	start := noon()
	l.send("@msgid=h1;time=" + stampOf(start.Add(time.Second)) + " :bob!b@h PRIVMSG #lobby :line 1")
	r.awaitText("line 1")
	l.conn.Close()
	p := &past{limit: 3, noIDs: true}
	p.many(1, 7, start)
	p.lines[3].id = "" // cannot be told from what was had, so it is left out
	l = r.upAgain()
	l.serve(p) // refused
	for range 4 {
		l.serve(p)
	}
	l.send("@msgid=live :eve!e@h PRIVMSG #lobby :live")
	r.awaitText("live")
	if all, _ := r.texts(); strings.Join(all, ",") != "line 1,line 2,line 3,line 5,line 6,line 7,live" {
		t.Errorf("heard %q", all)
	}
}

// TestCatchUpIsBounded: what is older than the config wants is not carried.
func TestCatchUpIsBounded(t *testing.T) {
	bounded := func(_ *Config, s *Side) {
		if s != nil {
			s.deps.CatchUp = 30 * time.Minute
		}
	}
	r := begin(t, bounded)
	l := r.upAgain()
	start := noon()
	l.send("@msgid=old;time=" + stampOf(start) + " :bob!b@h PRIVMSG #lobby :old")
	r.awaitText("old")
	l.conn.Close()
	p := &past{limit: 100}
	p.add("h1", "bob", "too old", start.Add(29*time.Minute))
	p.add("h2", "bob", "young enough", start.Add(31*time.Minute))
	l = r.upAgain()
	l.serve(p)
	l.serve(p)
	l.send("@msgid=live :eve!e@h PRIVMSG #lobby :live")
	r.awaitText("live")
	if all, _ := r.texts(); strings.Join(all, ",") != "old,young enough,live" {
		t.Errorf("heard %q", all)
	}
}

// TestNoHistoryAfterAll: a server that refuses, or does not answer, holds nothing up.
func TestNoHistoryAfterAll(t *testing.T) {
	for name, answers := range map[string]bool{"refuses": true, "is silent": false} {
		t.Run(name, func(t *testing.T) {
			hand := newHandClock()
			r := begin(t, func(_ *Config, s *Side) {
				if s != nil {
					s.clock = hand.clock()
				}
			})
			l := r.upAgain()
			l.send("@msgid=h1 :bob!b@h PRIVMSG #lobby :one")
			r.awaitText("one")
			l.conn.Close()
			hand.skipPause()
			l = r.upAgain()
			if answers {
				l.serve(&past{nothing: true})
				l.serve(&past{nothing: true})
			} else {
				l.expect("CHATHISTORY AFTER ")
				hand.advance(r.side.timings.answer + time.Second)
			}
			l.send("@msgid=h3 :bob!b@h PRIVMSG #lobby :three")
			r.awaitText("three")
			if n := r.log.count("what was said meanwhile is missing"); n != 1 {
				t.Errorf("logged %d times", n)
			}
		})
	}
}

// TestUnaskedHistory: history that we did not ask for, and old JOINs, are not news.
func TestUnaskedHistory(t *testing.T) {
	r := begin(t, nil)
	l := r.upAgain()
	l.send(":irc.test BATCH +x chathistory #lobby", "@batch=x;msgid=a;time="+stampOf(noon())+" :bob!b@h PRIVMSG #lobby :old", "@batch=x :eve!e@h JOIN #lobby", ":irc.test BATCH -x",
		"@msgid=b :bob!b@h PRIVMSG #lobby :new")
	r.awaitText("new")
	if n := len(r.inbox.Heard()); n != 1 {
		t.Errorf("heard %d", n)
	}
}

// TestChatsCatchUp: what was written to us alone is read for everybody who wrote, before what is written meanwhile.
func TestChatsCatchUp(t *testing.T) {
	r := begin(t, nil)
	l := r.upAgain()
	start := noon()
	l.send("@msgid=m0;time=" + stampOf(start) + " :bob!b@h PRIVMSG lb :juliet@example.org: first")
	r.awaitText("first")
	l.conn.Close()
	l = r.upAgain()
	l.serve(&past{limit: 100})
	l.send(":irc.test 422 lb :No MOTD")
	words := strings.Fields(l.expect("CHATHISTORY TARGETS "))
	if words[0] != "timestamp="+stampOf(start.Add(-time.Millisecond)) {
		t.Errorf("asked from %s", words[0])
	}
	l.send("@msgid=m9 :bob!b@h PRIVMSG lb :juliet@example.org: live", ":irc.test BATCH +t draft/chathistory-targets",
		"@batch=t :irc.test CHATHISTORY TARGETS #lobby "+stampOf(start), "@batch=t :irc.test CHATHISTORY TARGETS Bob "+stampOf(start),
		"@batch=t :irc.test CHATHISTORY TARGETS eve "+stampOf(start), ":irc.test BATCH -t")
	for _, p := range []*past{
		{limit: 100, lines: []pastLine{
			{"m0", "bob", "lb", "juliet@example.org: first", start},
			{"m1", "bob", "lb", "juliet@example.org: second", start.Add(time.Second)},
			{"m2", "lb", "Bob", "<juliet@example.org> an answer", start.Add(2 * time.Second)},
		}},
		{limit: 100, lines: []pastLine{{"m3", "eve", "lb", "for nobody", start.Add(3 * time.Second)}, {"m4", "eve", "lb", "juliet@example.org: from eve", start.Add(4 * time.Second)}}},
	} {
		l.serve(p)
		l.serve(p)
	}
	r.awaitText("live")
	if all, at := r.texts(); strings.Join(all, ",") != "first,second,from eve,live" || !at["second"].Equal(start.Add(time.Second)) {
		t.Errorf("heard %q", all)
	}
	answer := delivery("k1", "an answer")
	answer.Room, answer.Attempt = chat("bob", juliet()), 1
	wantParts(t, r.outcomes(r.deliver(answer)), "m2")
}

// TestGapIsReadAgain: what the journal had no room for is read from the history once it takes something.
func TestGapIsReadAgain(t *testing.T) {
	s := loose(t)
	s.registered, s.gapped = true, false
	for _, c := range []string{"batch", "server-time", "message-tags", capHistory} {
		s.caps[c] = true
	}
	r := s.c.list[0]
	r.state = roomIn
	s.c.marks[r.ID] = mark{id: "m1", at: noon()}
	for range maxWaiting {
		s.take(heard{})
	}
	s.flush()
	s.hear(nil, arrival(gateway.Event{At: r.Address}))
	s.flush()
	if !s.gapped {
		t.Fatal("the loss was not noticed")
	}
	if s.take(heard{mark: mark{at: noon()}}); !s.fresh[0].mark.at.IsZero() {
		t.Error("a mark moves over the loss")
	}
	for !s.c.side.inlet.empty() {
		s.c.side.inlet.take()
	}
	s.c.recorded(nil)
	out, _, err := s.next()
	if err != nil || !strings.Contains(out, "CHATHISTORY AFTER "+r.name+" msgid=m1 ") {
		t.Errorf("writes %q, %v", out, err)
	}
}

// TestTooMuchIsHeldBack: what is said meanwhile does not fill the memory: it is left to the history.
func TestTooMuchIsHeldBack(t *testing.T) {
	p := &replay{}
	p.hold(heard{line: &line{}})
	for i := range heldMost + 9 {
		p.hold(heard{Arrival: gateway.Arrival{Native: strconv.Itoa(i)}})
	}
	if len(p.held) != heldMost || !p.more || p.held[0].line == nil || p.held[1].Native != "10" {
		t.Errorf("%d held, the first %+v", len(p.held), p.held[:2])
	}
}
