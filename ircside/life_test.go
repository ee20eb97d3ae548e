package ircside

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// topical is a bridge's channel whose topic is carried.
func topical() gateway.Room {
	r := lobby()
	r.Topic = true
	return r
}

func isTopic(text string) func(*gateway.Event) bool {
	return func(ev *gateway.Event) bool {
		b, ok := ev.Body.(gateway.RoomState)
		return ok && b.Topic != nil && *b.Topic == text && b.Name == nil
	}
}

// TestTopics: topics cross both ways, and what comes back of our own does not.
func TestTopics(t *testing.T) {
	r := begin(t, nil, topical())
	l := r.accept()
	l.register(labels)
	l.send(":irc.test 005 lb TOPICLEN=10 :are supported by this server")
	l.join("#lobby")
	l.send(":irc.test 332 lb #lobby :as it was") // whatever it was before we knew the channel is no news
	r.isReady()
	l.send("@time=2026-01-01T00:00:00.000Z :bob!b@h TOPIC #lobby :\x02new\x02  topic")
	if ev := r.await(isTopic("new topic")); ev.Sender.ID != "bob" || ev.At != lobby().Address {
		t.Errorf("heard %+v", ev)
	}
	set := func(key, topic string) <-chan []gateway.Outcome {
		return r.deliver(act(key, gateway.RoomState{Topic: &topic}))
	}
	// What is there already is not said.
	if o := r.one(set("k1", "new topic")); o.Err != nil {
		t.Errorf("outcome %+v", o)
	}
	got := set("k2", "a topic that is too long")
	label, rest, _ := strings.Cut(l.expect("@label="), " ")
	if rest != "TOPIC #lobby :a topic th" {
		t.Errorf("said %q", rest)
	}
	l.send("@label=" + label + " :lb!lb@host " + rest)
	if o := r.one(got); o.Err != nil || len(o.Parts) != 0 {
		t.Errorf("outcome %+v", o)
	}
	// We may not set it: it is logged once, and nobody waits.
	for _, key := range []string{"k3", "k4"} {
		got = set(key, "forbidden")
		label, _, _ = strings.Cut(l.expect("@label="), " ")
		l.send("@label=" + label + " :irc.test 482 lb #lobby :You're not a channel operator")
		if o := r.one(got); o.Err != nil {
			t.Errorf("outcome %+v", o)
		}
	}
	got = set("k5", "too soon")
	label, _, _ = strings.Cut(l.expect("@label="), " ")
	l.send("@label=" + label + " :irc.test 437 lb #lobby :Retry topic change later")
	if o := r.one(got); o.Err == nil || gateway.IsDrop(o.Err) {
		t.Errorf("outcome %+v", o)
	}
	if n := r.log.count("the topic cannot be set"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	l.send(":bob!b@h PRIVMSG #lobby :the end")
	r.awaitText("the end")

	// What happened meanwhile is news when we come back.
	r = r.beginAgain(nil)
	l = r.accept()
	l.register(labels)
	l.join("#lobby")
	l.send(":irc.test 332 lb #lobby :a topic th", ":irc.test 332 lb #lobby :set meanwhile", ":bob!b@h TOPIC #lobby :")
	if ev := r.await(isTopic("set meanwhile")); !ev.Sender.IsZero() {
		t.Errorf("heard %+v", ev)
	}
	r.await(isTopic(""))
	var topics []string
	for _, ev := range r.inbox.Heard() {
		if b, ok := ev.Body.(gateway.RoomState); ok {
			topics = append(topics, *b.Topic)
		}
	}
	if got := strings.Join(topics, "|"); got != "new topic|set meanwhile|" {
		t.Errorf("topics %q", got)
	}
}

// TestNoTopics: on an encrypted bridge no topic crosses, nor is one kept.
func TestNoTopics(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	if r.side.Caps(lobby().Address).Room {
		t.Error("the room claims to show topics")
	}
	l.send(":irc.test 332 lb #lobby :secret", ":bob!b@h TOPIC #lobby :secret too", ":bob!b@h PRIVMSG #lobby :the end")
	r.awaitText("the end")
	kept, err := r.store.List(t.Context(), "topic/")
	if err != nil || len(kept) > 0 {
		t.Errorf("kept %v, %v", kept, err)
	}
	for _, ev := range r.inbox.Heard() {
		if _, ok := ev.Body.(gateway.RoomState); ok {
			t.Errorf("heard %+v", ev)
		}
	}
}

// members are the changes that were heard: "join bob quiet".
func (r *rig) members() (out []string) {
	for _, ev := range r.inbox.Heard() {
		if m, ok := ev.Body.(gateway.Membership); ok {
			text := string(m.Change) + " " + m.Who.ID
			if m.Quiet {
				text += " quiet"
			}
			out = append(out, text)
		}
	}
	return out
}

// TestNetsplit: whoever leaves in a netsplit and comes back was never gone; who stays away has left in silence.
func TestNetsplit(t *testing.T) {
	hand := newHandClock()
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			s.clock = hand.clock()
			s.timings.quiet = time.Hour
		}
	})
	l := r.up(labels)
	l.send(":irc.test 353 lb = #lobby :lb bob carol dave erin frank", ":irc.test 366 lb #lobby :End")
	l.send(":bob!b@h QUIT :hub.example.org leaf.example.org",
		":irc.test BATCH +s netsplit hub.example.org leaf.example.org", "@batch=s :carol!c@h QUIT :*.net *.split", "@batch=s :dave!d@h QUIT :hub.example.org leaf.example.org", ":irc.test BATCH -s",
		":erin!e@h QUIT :Quit: two. words.", ":frank!f@h QUIT :went home",
		":bob!b@h JOIN #lobby", ":bob!b@h PRIVMSG #lobby :back again")
	r.awaitText("back again")
	if here := fmt.Sprint(r.side.Here(lobby().Address)); here != fmt.Sprint([]gateway.Person{{Network: "net", ID: "bob", Name: "bob"}}) {
		t.Errorf("here are %v", here)
	}
	hand.advance(11 * time.Minute)
	l.send("PING :wakes the writer")
	l.expect("PONG")
	r.await(func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Leave && m.Who.ID == "dave"
	})
	want := "join bob quiet|join carol quiet|join dave quiet|join erin quiet|join frank quiet|leave erin|leave frank|leave carol quiet|leave dave quiet"
	if got := strings.Join(r.members(), "|"); got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
	if r.side.Here(gateway.Address{Network: "net", ID: "#elsewhere"}) != nil {
		t.Error("somebody is where we are not")
	}
}

func TestIsSplit(t *testing.T) {
	for reason, want := range map[string]bool{
		"a.example.org b.example.org": true, "*.net *.split": true, "irc-1.example.org irc_2.example.org": true,
		"a.example.org": false, "a b": false, "a.b c": false, "Quit: a.b c.d": false, "a.b  c.d": false, "so long. farewell.": false, "see http://a.b c.d": false, "": false,
	} {
		if isSplit(reason) != want {
			t.Errorf("%q: %v", reason, !want)
		}
	}
}

// TestCommands: help and who, by message to us, for those who may know.
func TestCommands(t *testing.T) {
	var side *Side
	two := gateway.Room{Address: gateway.Address{Network: "net", ID: "#two"}, Bridge: "two"}
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			side = s
			s.deps.Answer = func(_ context.Context, at gateway.Address, command string) string {
				return fmt.Sprintf("%s of %q\nwith %d here", command, at.ID, len(side.Here(at))) // it asks us as well
			}
		}
	}, lobby(), two)
	l := r.accept()
	l.register("")
	l.expect("JOIN #lobby,#two")
	l.send(":lb!lb@host JOIN #lobby", ":irc.test 353 lb = #lobby :lb bob carol", ":irc.test 366 lb #lobby :End",
		":lb!lb@host JOIN #two", ":irc.test 353 lb = #two :lb carol", ":irc.test 366 lb #two :End")
	r.isReady()
	l.send(":bob!b@h PRIVMSG lb :who")
	l.expect(`NOTICE bob :who of "#lobby"`)
	l.expect("NOTICE bob :with 2 here")
	l.send(":bob!b@h PRIVMSG lb :!help")
	l.expect(`NOTICE bob :help of ""`)
	l.expect("NOTICE bob :with 0 here /msg lb who #channel does so as well, for you alone.")
	l.send(":carol!c@h PRIVMSG lb :WHO #Two")
	l.expect(`NOTICE carol :who of "#two"`)
	l.expect("NOTICE carol :with 1 here")
	// Once a minute each, and nothing about channels where they are not.
	l.send(":bob!b@h PRIVMSG lb :who", ":bob!b@h NOTICE lb :help", ":bob!b@h PRIVMSG lb :who #two")
	l.expect("NOTICE bob :you are not in such a channel, or it is not bridged")
	l.send(":carol!c@h PRIVMSG lb :who")
	l.expect("NOTICE carol :which channel? /msg lb who #two")
	l.send(":dave!d@h PRIVMSG lb :who")
	l.expect("NOTICE dave :you are in no channel that is bridged")
	l.send(":erin!e@h PRIVMSG lb :who is there?")
	l.expect("NOTICE erin :nobody got that: ")
}

// typingEvent is juliet's typing, as the gateway passes it.
func typingEvent(on bool, until time.Time) *gateway.Event {
	return &gateway.Event{Sender: juliet(), Expires: until, Body: gateway.Typing{On: on}}
}

// TestTyping: the relay types while anybody does, as long as nothing else is to be said.
func TestTyping(t *testing.T) {
	hand := newHandClock()
	r := begin(t, func(c *Config, s *Side) {
		c.Pace = Pace{Burst: 3, Every: time.Second}
		if s != nil {
			s.clock = hand.clock()
			s.timings.quiet = time.Hour
		}
	})
	l := r.up(labels)
	l.expect("MODE #lobby")
	pass := func(on bool, who string) {
		ev := typingEvent(on, hand.clock().now().Add(30*time.Second))
		ev.Sender.ID = who
		r.side.Pass(t.Context(), lobby().Address, ev)
	}
	hand.advance(10 * time.Second)
	pass(true, "juliet")
	l.expect("@+typing=active TAGMSG #lobby")
	pass(true, "nurse") // is the same for the channel
	pass(false, "juliet")
	hand.advance(typingAgain)
	l.expect("@+typing=active TAGMSG #lobby")
	pass(false, "nurse")
	l.expect("@+typing=done TAGMSG #lobby")
	// Whoever never says that they stopped has stopped after a while.
	hand.advance(10 * time.Second)
	pass(true, "juliet")
	l.expect("@+typing=active TAGMSG #lobby")
	hand.advance(31 * time.Second)
	l.expect("@+typing=done TAGMSG #lobby")
	// What people say goes first.
	hand.advance(10 * time.Second)
	got := r.deliver(delivery("k1", "one\ntwo\nthree\nfour"))
	for i := range 3 {
		l.echo(fmt.Sprintf("m%d", i))
	}
	pass(true, "juliet")
	hand.advance(time.Second + 1)
	l.echo("m3")
	r.outcomes(got)
	hand.advance(typingAgain)
	l.expect("@+typing=active TAGMSG #lobby")
	r.side.Pass(t.Context(), gateway.Address{Network: "net", ID: "#elsewhere"}, typingEvent(true, hand.clock().now().Add(time.Hour)))
	r.side.Pass(t.Context(), chat("a!b@c", juliet()), typingEvent(true, hand.clock().now().Add(time.Hour)))
	pass(false, "juliet")
	l.expect("@+typing=done TAGMSG #lobby")
	r.side.Pass(t.Context(), chat("bob", juliet()), typingEvent(true, hand.clock().now().Add(time.Minute)))
	hand.advance(typingAgain)
	l.expect("@+typing=active TAGMSG bob")
}

// TestColours: a channel that takes no formatting gets none, whether its modes say so or its refusal.
func TestColours(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	bold := func(key string) gateway.Delivery {
		d := delivery(key, "bold")
		d.Event.Body = gateway.Message{Text: gateway.Text{Plain: "bold", Marks: []gateway.Mark{{Start: 0, End: 4, Style: gateway.MarkBold}}}}
		return d
	}
	got := r.deliver(bold("k1"))
	label, rest, _ := strings.Cut(l.expect("@label="), " ")
	if !strings.HasSuffix(rest, " \x02bold\x0f") {
		t.Errorf("said %q", rest)
	}
	l.send("@label=" + label + " :irc.test 404 lb #lobby :Can't send colors to channel (+c is set)")
	if o := r.one(got); !gateway.IsPlainer(o.Err) {
		t.Errorf("outcome %+v", o)
	}
	if r.side.Caps(lobby().Address).Marks {
		t.Error("the channel still claims marks")
	}
	got = r.deliver(delivery("k1", "bold"))
	if text := l.echo("m1"); text != said("bold") {
		t.Errorf("said %q", text)
	}
	r.outcomes(got)
	for _, c := range []struct {
		line  string
		marks bool
	}{
		{":op!o@h MODE #lobby -c", true}, {":op!o@h MODE #lobby +tS", false}, {":op!o@h MODE #lobby +m-S+k key", true},
		{":irc.test 324 lb #lobby +ntc", false}, {":irc.test 324 lb #lobby +nt", true},
	} {
		l.send(c.line, "PING :done")
		l.expect("PONG :done")
		if r.side.Caps(lobby().Address).Marks != c.marks {
			t.Errorf("after %q marks are %v", c.line, !c.marks)
		}
	}
	// Other refusals are none of the formatting's.
	got = r.deliver(bold("k2"))
	label, _, _ = strings.Cut(l.expect("@label="), " ")
	l.send("@label=" + label + " :irc.test 404 lb #lobby :Cannot send to channel (+m)")
	if o := r.one(got); o.Err == nil || gateway.IsPlainer(o.Err) || gateway.IsDrop(o.Err) {
		t.Errorf("outcome %+v", o)
	}
}

// TestMentions: whoever is in the channel is called by their nick, others by a name that pings nobody.
func TestMentions(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	l.send(":Bob!b@h JOIN #lobby", ":Bob!b@h PRIVMSG #lobby :here")
	r.awaitText("here")
	text := gateway.Text{Plain: "bob [irc]: carol and nurse", Marks: []gateway.Mark{
		{Start: 0, End: 9, Style: gateway.MarkMention, Who: gateway.Person{Network: "net", ID: "bob", Name: "bob"}},
		{Start: 11, End: 16, Style: gateway.MarkMention, Who: gateway.Person{Network: "net", ID: "carol", Name: "Carol"}},
		{Start: 21, End: 26, Style: gateway.MarkMention, Who: gateway.Person{Network: "xmpp", ID: "nurse@example.org", Name: "nurse"}},
	}}
	d := delivery("k1", "")
	d.Event.Body = gateway.Message{Text: text}
	got := r.deliver(d)
	if shown := l.echo("m1"); shown != said("Bob: Carol and n\u200curse") {
		t.Errorf("said %q", shown)
	}
	r.outcomes(got)
}

// TestAnswersInChats: who answers or reacts to what was said in a chat needs no address.
func TestAnswersInChats(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	d := delivery("k1", "hello")
	d.Room = chat("bob", juliet())
	got := r.deliver(d)
	l.echo("m1")
	r.outcomes(got)
	l.send("@msgid=m2;+draft/reply=m1 :bob!b@h PRIVMSG lb :who are you?", "@+draft/react=👍;+draft/reply=m1 :bob!b@h TAGMSG lb",
		"@+draft/react=👎;+draft/reply=m1 :mallory!b@h TAGMSG lb")
	if ev := r.awaitText("who are you?"); ev.At != d.Room || ev.Body.(gateway.Message).ReplyTo.Native != "m1" {
		t.Errorf("heard %+v", ev)
	}
	l.send("@+draft/reply=m1 :mallory!b@h PRIVMSG lb :let me in")
	l.expect("NOTICE mallory :nobody got that: ")
	for _, ev := range r.inbox.Heard() {
		if _, ok := ev.Body.(gateway.Reaction); ok && (ev.At != d.Room || ev.Sender.ID != "bob") {
			t.Errorf("heard %+v", ev)
		}
	}
}

// TestNobodyWritesLinesByTheirName: whom a mention names is what another network's user wrote, and may be no nick at all.
func TestNobodyWritesLinesByTheirName(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	for i, who := range []gateway.Person{
		{Network: "net", ID: "x\rQUIT :a"}, {Network: "net", ID: "x\nQUIT :b"}, {Network: "net", ID: "\x01VERSION\x01"}, {Network: "net", ID: "b a", Name: "B a"},
	} {
		m := gateway.Message{Text: gateway.Text{Plain: "eve: hi", Marks: []gateway.Mark{{Start: 0, End: 3, Style: gateway.MarkMention, Who: who}}}}
		got := r.deliver(act(fmt.Sprint("k", i), m))
		if shown := l.echo(fmt.Sprint("m", i)); shown != said("e\u200cve: hi") {
			t.Errorf("%q: said %+q", who.ID, shown)
		}
		r.one(got)
	}
}
