package ircside

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// act is a delivery of what juliet does.
func act(key string, body gateway.Body) gateway.Delivery {
	d := delivery(key, "")
	d.Event.Body = body
	return d
}

// setTo is juliet's reactions on the message m1, of which the room has have; others are what somebody else thinks.
func setTo(emoji, have, others []string) gateway.Reaction {
	r := gateway.Reaction{Target: gateway.Ref{Parts: []gateway.Part{{Native: "m1"}, {Name: "1", Native: "m2"}}}, Emoji: emoji, Op: gateway.ReactionSet, Anchor: gateway.ID{1}}
	for _, e := range have {
		r.Have = append(r.Have, gateway.Part{Name: e, Native: "react/old/" + e})
	}
	r.Sets = []gateway.Reactions{{Anchor: gateway.ID{1}, Emoji: emoji}, {Anchor: gateway.ID{2}, Emoji: others}}
	return r
}

func TestEncodeActsGolden(t *testing.T) {
	one, topic, empty := []string{"👍"}, "about\r\nQUIT \x02it\x02 "+strings.Repeat("ü", 50), ""
	target := gateway.Ref{Parts: []gateway.Part{{Native: "m1"}, {Name: "1", Native: "m2"}, {Name: "👍", Native: "react/k/👍"}, {Native: "a b"}}}
	reply := gateway.Message{Text: gateway.Text{Plain: "yes\nand no"}, ReplyTo: gateway.Ref{Parts: []gateway.Part{{Native: "m;1 "}}}}
	long := gateway.Message{Text: gateway.Text{Plain: strings.Repeat("line\n", 7)}}
	all := limits{tags: func(string) bool { return true }, redact: true}
	several := all
	several.multi = multiline{bytes: 1000, lines: 100}
	short, narrow := several, several
	short.multi.lines, short.link = 4, "https://l.example/m/x/message.txt"
	narrow.multi.bytes = 110
	native := setTo(nil, one, one)
	native.Sets[1].Who = gateway.Person{Network: "net", ID: "bob"} // whose client shows it as his
	shown := all
	shown.shown = func(_, emoji string) bool { return emoji == "👍" }
	var b strings.Builder
	for _, c := range []struct {
		name string
		body gateway.Body
		lim  limits
	}{
		{"reaction", setTo(one, nil, nil), all},
		{"another one's reaction", setTo(one, nil, one), all},
		{"a reaction that is shown", setTo(one, nil, one), shown},
		{"one more reaction", setTo([]string{"👍", "a;b c\r\n"}, one, nil), all},
		{"no reaction any more", setTo(nil, []string{"👍", "🎉"}, nil), all},
		{"no reaction any more, but another one's", setTo(nil, one, one), all},
		{"no reaction any more, but that of somebody here", native, all},
		{"no change", setTo(one, one, nil), all},
		{"reaction where there are none", setTo(one, nil, nil), limits{}},
		{"retraction", gateway.Retract{Target: target}, all},
		{"retraction with a reason", gateway.Retract{Target: target, Reason: "sp\r\nQUIT am"}, all},
		{"retraction where there are none", gateway.Retract{Target: target}, limits{}},
		{"retraction of what has no id", gateway.Retract{}, all},
		{"topic", gateway.RoomState{Topic: &topic}, limits{topic: 40}},
		{"no topic", gateway.RoomState{Topic: &empty}, all},
		{"the same topic", gateway.RoomState{Topic: &topic}, limits{topic: 5, about: new(string)}},
		{"a name", gateway.RoomState{Name: &topic}, all},
		{"reply", reply, all},
		{"reply without tags", reply, limits{}},
		{"reply of several lines", reply, several},
		{"many lines", long, several},
		{"too many lines", long, short},
		{"too many bytes", long, narrow},
		{"one line", gateway.Message{Text: gateway.Text{Plain: "one"}}, several},
		{"typing", gateway.Typing{On: true}, all},
	} {
		if c.lim.about != nil {
			*c.lim.about = "about"
		}
		c.lim.payload, c.lim.lines = func(string, string) int { return 100 }, 4
		out, err := encode(act("k", c.body), direct(), c.lim)
		fmt.Fprintf(&b, "# %s\n", c.name)
		if err != nil {
			fmt.Fprintf(&b, "drop %v, plainer %v: %v\n", gateway.IsDrop(err), gateway.IsPlainer(err), err)
		}
		for _, l := range out.lines {
			fmt.Fprintf(&b, "%+q %+q gives %v gone %v\n", l.tags, l.text, l.gives, l.gone)
			for _, rest := range l.rest {
				fmt.Fprintf(&b, "  %+q\n", rest)
			}
		}
		fmt.Fprintf(&b, "gives %v gone %v\n", out.gives, out.gone)
	}
	golden(t, "acts.golden", b.String())
}

// TestReactions: the relay shows what any of the people thinks.
func TestReactions(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	said := func(want string) {
		t.Helper()
		label, rest, _ := strings.Cut(l.expect("@label="), ";")
		if rest != want {
			t.Errorf("said %q, want %q", rest, want)
		}
		l.send("@label=" + label + ";msgid=x;" + rest[:strings.Index(rest, " ")] + " :lb!lb@host" + rest[strings.Index(rest, " "):])
	}
	one := []string{"👍"}
	got := r.deliver(act("k1", setTo(one, nil, nil)))
	said("+draft/react=👍;+draft/reply=m1 TAGMSG #lobby")
	if o := r.one(got); o.Err != nil || len(o.Parts) != 1 || o.Parts[0].Name != "👍" || o.Parts[0].Native != "react/k1/👍" {
		t.Errorf("outcome %+v", o)
	}
	// Another one thinks the same, and then changes their mind: nothing to say.
	if o := r.one(r.deliver(act("k2", setTo(one, nil, one)))); o.Err != nil || len(o.Parts) != 1 || o.Parts[0].Native != "react/k2/👍" {
		t.Errorf("outcome %+v", o)
	}
	if o := r.one(r.deliver(act("k3", setTo(nil, one, one)))); o.Err != nil || len(o.Gone) != 1 {
		t.Errorf("outcome %+v", o)
	}
	// Nobody thinks so any more.
	got = r.deliver(act("k4", setTo(nil, one, nil)))
	said("+draft/unreact=👍;+draft/reply=m1 TAGMSG #lobby")
	if o := r.one(got); o.Err != nil || len(o.Parts) != 0 || len(o.Gone) != 1 || o.Gone[0].Native != "react/old/👍" {
		t.Errorf("outcome %+v", o)
	}
	// It is said again, as nobody knows it of the relay any more; refused, it is left at that.
	got = r.deliver(act("k5", setTo(one, nil, nil)))
	label, _, _ := strings.Cut(l.expect("@label="), ";")
	l.send("@label=" + label + " :irc.test 404 lb #lobby :Cannot send to channel (+m)")
	if o := r.one(got); o.Err != nil || len(o.Parts) != 0 {
		t.Errorf("outcome %+v", o)
	}
	for _, ev := range r.inbox.Heard() {
		if _, ok := ev.Body.(gateway.Echo); ok {
			t.Errorf("an echo of a reaction reached the journal: %+v", ev)
		}
	}
}

// TestActsHeard: what people of the channel do beside speaking.
func TestActsHeard(t *testing.T) {
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			s.deps.Privacy.Typing = true
		}
	})
	l := r.up(labels + " draft/message-redaction")
	l.send(
		"@msgid=r1;+draft/react=👍;+draft/reply=m1 :bob!b@h TAGMSG #lobby",
		"@+react=🎉;+reply=m1 :bob!b@h TAGMSG #lobby",
		"@+draft/unreact=👍;+draft/reply=m1 :bob!b@h TAGMSG #lobby",
		"@+draft/react=x :bob!b@h TAGMSG #lobby", // to nothing
		"@+draft/react="+strings.Repeat("x", 65)+";+draft/reply=m1 :bob!b@h TAGMSG #lobby",
		"@+draft/react=\\r\\n\\s;+draft/reply=m1 :bob!b@h TAGMSG #lobby",
		"@+draft/react=👍;+draft/reply=m1 :bob!b@h TAGMSG #elsewhere",
		"@+draft/react=👍;+draft/reply=m1 :bob!b@h TAGMSG lb",
		"@+draft/react=👍;+draft/reply=m1 :irc.test TAGMSG #lobby",
		"@+draft/react=👍;+draft/reply=m1 :lb!lb@host TAGMSG #lobby",
		"TAGMSG",
		":op!o@h REDACT #lobby m1 :sp\x02am",
		":op!o@h REDACT #elsewhere m2",
		":lb!lb@host REDACT #lobby m3",
		":op!o@h REDACT #lobby",
		"@+typing=active :bob!b@h TAGMSG #lobby",
		"@+typing=paused :bob!b@h TAGMSG #lobby",
		":bob!b@h PRIVMSG #lobby :the end",
	)
	r.awaitText("the end")
	var got []string
	for _, ev := range r.inbox.Heard() {
		switch b := ev.Body.(type) {
		case gateway.Reaction:
			got = append(got, fmt.Sprintf("%s %s %v %s by %s", b.Op, b.Target.Native, b.Emoji, ev.Native, ev.Sender.ID))
		case gateway.Retract:
			got = append(got, fmt.Sprintf("retract %s %q moderated %v by %s", b.Target.Native, b.Reason, b.Moderated, ev.Sender.ID))
		}
	}
	want := []string{"add m1 [👍] r1 by bob", "add m1 [🎉]  by bob", "remove m1 [👍]  by bob", `retract m1 "spam" moderated true by op`}
	if !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
	for _, on := range []bool{true, false} {
		ev := r.await(func(ev *gateway.Event) bool { b, ok := ev.Body.(gateway.Typing); return ok && b.On == on })
		if ev.Sender.ID != "bob" || ev.Expires.IsZero() {
			t.Errorf("heard %+v", ev)
		}
	}
}

// TestRedactions: REDACT by the author and by an operator; of ours each line is taken back, and where the server refuses
// it, people are told instead.
func TestRedactions(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels + " draft/message-redaction")
	l.send(":bob!b@h REDACT #lobby m1", ":op!o@h REDACT #lobby m2 :sp\x02am")
	for id, reason := range map[string]string{"m1": "", "m2": "spam"} {
		ev := r.await(func(ev *gateway.Event) bool { b, ok := ev.Body.(gateway.Retract); return ok && b.Target.Native == id })
		if b, ok := ev.Body.(gateway.Retract); !ok || !b.Moderated || b.Reason != reason || ev.At != lobby().Address {
			t.Errorf("heard %+v", ev)
		}
	}
	ref := gateway.Ref{Author: juliet(), Parts: []gateway.Part{{Native: "m1"}, {Name: "1", Native: "m2"}}}
	got := r.deliver(act("k1", gateway.Retract{Target: ref, Reason: "oops"}))
	for _, want := range []string{" REDACT #lobby m1 :oops", " REDACT #lobby m2 :oops"} {
		label, rest, _ := strings.Cut(l.expect("@label="), " ")
		if " "+rest != want {
			t.Errorf("said %q, want %q", rest, want)
		}
		l.send("@label=" + label + " :lb!lb@host " + rest)
	}
	if o := r.one(got); o.Err != nil || len(o.Parts) != 0 {
		t.Errorf("outcome %+v", o)
	}
	// Where a part of it is done, the rest cannot be told in other words.
	got = r.deliver(act("k1b", gateway.Retract{Target: ref}))
	for i := range 2 {
		label, rest, _ := strings.Cut(l.expect("@label="), " ")
		l.send("@label=" + label + []string{" :lb!lb@host " + rest, " FAIL REDACT UNKNOWN_MSGID #lobby m2 :Gone"}[i])
	}
	if o := r.one(got); !gateway.IsDrop(o.Err) || gateway.IsPlainer(o.Err) {
		t.Errorf("outcome %+v", o)
	}
	refuse := func(key string, target gateway.Ref) gateway.Outcome {
		t.Helper()
		got := r.deliver(act(key, gateway.Retract{Target: target}))
		label, _, _ := strings.Cut(l.expect("@label="), " ")
		l.send("@label=" + label + " FAIL REDACT REDACT_FORBIDDEN #lobby m1 :You may not")
		return r.one(got)
	}
	ref.Parts = ref.Parts[:1]
	if o := refuse("k2", ref); !gateway.IsPlainer(o.Err) {
		t.Errorf("outcome %+v", o)
	}
	// The same delivery comes again in other words.
	again := delivery("k2", "deleted a message")
	again.Attempt = 1
	got = r.deliver(again)
	if text := l.echo("m9"); text != said("deleted a message") {
		t.Errorf("said %q", text)
	}
	r.outcomes(got)
	ref.Author = gateway.Person{Network: "net", ID: "bob"}
	if o := refuse("k3", ref); !gateway.IsDrop(o.Err) || !strings.Contains(o.Err.Error(), "may not remove messages in #lobby") {
		t.Errorf("outcome %+v", o)
	}
}

// TestTagsDenied: a tag that the server does not pass on is as good as none.
func TestTagsDenied(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	check := func(reply, react, typing bool) {
		t.Helper()
		caps := r.side.Caps(lobby().Address)
		if caps.Reply != reply || caps.Reaction != react || caps.Typing != typing || caps.Retract || !caps.Notes || !caps.Marks {
			t.Errorf("caps %+v", caps)
		}
	}
	check(true, true, true)
	for _, c := range []struct {
		deny                 string
		reply, react, typing bool
	}{
		{"draft/react", true, false, true}, {"*,-draft/reply,-draft/react", true, true, false}, {deny: "*"}, {deny: "typing,draft/reply"}, {"", true, true, true},
	} {
		l.send(":irc.test 005 lb CLIENTTAGDENY=" + c.deny + " :are supported by this server")
		l.send("PING :done")
		l.expect("PONG :done")
		check(c.reply, c.react, c.typing)
	}
	if caps := r.side.Caps(chat("bob", juliet())); !caps.Reply || !caps.Reaction || caps.Room || caps.Members != gateway.NoMembers {
		t.Errorf("caps of a chat %+v", caps)
	}
}

// TestTextBeforeActs: a reaction takes no token while text waits in its channel, and is forgotten after a while.
func TestTextBeforeActs(t *testing.T) {
	start := time.Unix(1e9, 0)
	p := newPacer(Pace{Burst: 1, Every: time.Second}, start)
	say := func(lane string, names ...string) {
		for _, name := range names {
			l := &line{text: name, low: strings.HasPrefix(name, "low")}
			l.expires, l.until = l.low, start.Add(30*time.Second)
			p.push(lane, l)
		}
	}
	say("#a", "a1", "low1", "a2", "low2", "a3")
	say("#b", "low3", "b1")
	var order []string
	for at := start; p.head() != nil && at.Before(start.Add(10*time.Second)); at = at.Add(time.Second) {
		lines, _ := p.take(at, window)
		for _, l := range lines {
			order = append(order, l.text)
		}
	}
	if got, want := strings.Join(order, " "), "a1 b1 a2 low3 a3 low1 low2"; got != want {
		t.Errorf("left in the order %q, want %q", got, want)
	}
	say("#a", "a4", "low4")
	if gone := p.stale(start.Add(30 * time.Second)); len(gone) != 0 {
		t.Errorf("forgot %d lines too early", len(gone))
	}
	if gone := p.stale(start.Add(31 * time.Second)); len(gone) != 1 || gone[0].text != "low4" || p.queued("#a") != 1 {
		t.Errorf("forgot %v", gone)
	}
}

// TestStaleReaction: what was not said in time is no reason to wait, nor to believe that it was.
func TestStaleReaction(t *testing.T) {
	hand := newHandClock()
	r := begin(t, func(c *Config, s *Side) {
		c.Pace = Pace{Burst: 1, Every: time.Minute}
		if s != nil {
			s.clock = hand.clock()
		}
	})
	l := r.up(labels)
	got := r.deliver(act("k1", setTo([]string{"👍"}, nil, nil)))
	c := r.side.relay
	for range hand.asked { // until the writer waits with it
		c.mu.Lock()
		waiting := c.sess.pace.queued("#lobby")
		c.mu.Unlock()
		if waiting == 2 { // MODE is the other one
			break
		}
	}
	hand.advance(31 * time.Second)
	l.send("PING :wakes the writer")
	if o := r.one(got); o.Err != nil || len(o.Parts) != 0 {
		t.Errorf("outcome %+v", o)
	}
}

// TestNotesLetTextGoFirst: a line that tells of a reaction or of who comes and goes stands behind what people say.
func TestNotesLetTextGoFirst(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	note := act("k1", gateway.Message{Style: gateway.StyleEmote, Note: true, Text: gateway.Text{Plain: "joined"}})
	got := r.deliver(note, delivery("k2", "hello"))
	for i, want := range []string{said("hello"), "* j\u200culiet joined"} {
		if text := l.echo(fmt.Sprintf("m%d", i)); text != want {
			t.Errorf("said %q, want %q", text, want)
		}
	}
	wantParts(t, r.outcomes(got), "m1", "m0")
}

// TestCaps: what the config asks to be shown, and how.
func TestCaps(t *testing.T) {
	for _, c := range []struct {
		joins, reactions    string
		members             gateway.Members
		tags, text, withOut bool
	}{
		{"off", "tags", gateway.NoMembers, true, false, false},
		{"on", "text", gateway.AllMembers, false, true, false},
		{"off", "off", gateway.NoMembers, false, false, false},
		{"on", "tags", gateway.AllMembers, false, false, true},
	} {
		r := begin(t, func(cfg *Config, _ *Side) {
			cfg.Joins, cfg.Reactions, cfg.Hold, cfg.CorrectAfter = c.joins, c.reactions, time.Second, 3*time.Second
		}, topical())
		offered := labels
		if c.withOut {
			offered = "server-time"
		}
		r.up(offered)
		caps := r.side.Caps(lobby().Address)
		if caps.Members != c.members || caps.MemberNotes != (c.joins == "on") || caps.Reaction != c.tags || caps.ReactionNotes != c.text || caps.Reply == c.withOut || caps.Typing == c.withOut {
			t.Errorf("%+v: %+v", c, caps)
		}
		if caps.Hold != time.Second || caps.Fold != 3*time.Second || !caps.Room || !caps.ReplyText || !caps.Notes || caps.Edit || caps.Files {
			t.Errorf("%+v: %+v", c, caps)
		}
		r.stop()
	}
}
