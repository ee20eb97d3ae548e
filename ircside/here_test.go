package ircside

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// TestWhoLeftWhileNobodyLookedIsToldOf: what others know is kept over a restart, and no longer than it is so.
func TestWhoLeftWhileNobodyLookedIsToldOf(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	l.send(":irc.test 353 lb = #lobby :lb bob carol dave", ":irc.test 366 lb #lobby :End",
		":carol!c@h NICK Caroline", ":dave!d@h PART #lobby", ":erin!e@h JOIN #lobby", ":erin!e@h PRIVMSG #lobby :the end")
	r.awaitText("the end")
	if got := r.kept(); got != "#lobby bob=bob|#lobby caroline=Caroline|#lobby erin=erin" {
		t.Errorf("State holds %q", got)
	}
	for _, want := range []string{"leave caroline quiet|leave erin quiet|join bob quiet|join frank quiet", "join bob quiet|join frank quiet"} {
		told := len(r.members())
		r = r.beginAgain(nil)
		l = r.up(labels)
		l.send(":irc.test 353 lb = #lobby :lb bob frank", ":irc.test 366 lb #lobby :End", ":bob!b@h PRIVMSG #lobby :"+want)
		r.awaitText(want)
		if got := strings.Join(r.members()[told:], "|"); got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
	for range 2 {
		if err := r.side.Forget(t.Context(), gateway.Person{Network: "net", ID: "bob"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.kept(); got != "#lobby frank=frank" {
		t.Errorf("State holds %q", got)
	}
	r.stop()
	other := lobby()
	other.ID = "#other"
	r = beginOn(t, r.store, r.inbox, nil, other)
	r.accept()
	if got := r.kept(); got != "" {
		t.Errorf("of a channel that is not bridged any more, State holds %q", got)
	}
}

// kept is what State holds of who is where.
func (r *rig) kept() string {
	r.t.Helper()
	stored, err := r.store.List(r.t.Context(), stateHere)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for key, name := range stored {
		out = append(out, strings.TrimPrefix(key, stateHere)+"="+string(name))
	}
	slices.Sort(out)
	return strings.Join(out, "|")
}

// TestWhoCameAndWentWhileNobodyLookedIsGone: what they said meanwhile brings them back to others, who do not hear them leave.
func TestWhoCameAndWentWhileNobodyLookedIsGone(t *testing.T) {
	r := begin(t, nil)
	l := r.upAgain()
	r.isReady()
	start := noon()
	l.send("@msgid=h1;time=" + stampOf(start) + " :bob!b@h PRIVMSG #lobby :before")
	r.awaitText("before")
	r = r.beginAgain(nil)
	l = r.upAgain()
	l.send(":irc.test 353 lb = #lobby :lb bob", ":irc.test 366 lb #lobby :End")
	p := &past{limit: 100}
	p.add("h1", "bob", "before", start)
	p.add("h2", "carol", "I go", start.Add(time.Second))
	p.add("h3", "bob", "I stay", start.Add(2*time.Second))
	l.serve(p)
	l.send("@msgid=h4 :dave!d@h PRIVMSG #lobby :I go, too", ":dave!d@h PART #lobby")
	for l.serve(p) > 0 {
	}
	l.send(":bob!b@h PRIVMSG #lobby :the end")
	r.awaitText("the end")
	var told []string
	for _, ev := range r.inbox.Heard() {
		switch b := ev.Body.(type) {
		case gateway.Message:
			told = append(told, b.Text.Plain)
		case gateway.Membership:
			told = append(told, string(b.Change)+" "+b.Who.ID)
		}
	}
	if got := strings.Join(told, "|"); got != "before|join bob|I go|I stay|I go, too|leave carol|leave dave|the end" {
		t.Errorf("heard %q", got)
	}
}
