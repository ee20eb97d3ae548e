package ircside

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

func juliet() gateway.Person {
	return gateway.Person{Network: "xmpp", ID: "juliet@example.org", Name: "juliet"}
}

// toBob is a message of juliet's to bob.
func toBob(key, text string) gateway.Delivery {
	d := delivery(key, text)
	d.Room = chat("bob", juliet())
	return d
}

// one waits for the single outcome of a run.
func (r *rig) one(from <-chan []gateway.Outcome) gateway.Outcome {
	r.t.Helper()
	out := r.outcomes(from)
	if len(out) != 1 {
		r.t.Fatalf("outcomes %+v", out)
	}
	return out[0]
}

func (r *rig) wantDrop(from <-chan []gateway.Outcome, reason string) {
	r.t.Helper()
	if o := r.one(from); !gateway.IsDrop(o.Err) || !strings.Contains(o.Err.Error(), reason) {
		r.t.Errorf("ended with %v, want it given up: %s", o.Err, reason)
	}
}

func TestADirectChat(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	l.send("@msgid=m1 :Bob!b@h PRIVMSG lb :juliet@example.org: hello")
	ev := r.awaitText("hello")
	if ev.At != chat("bob", juliet()) || ev.Native != "m1" || ev.Sender != (gateway.Person{Network: "net", ID: "bob", Name: "Bob"}) {
		t.Errorf("heard %+v", ev)
	}
	got := r.deliver(toBob("k1", "one\ntwo"))
	for i, want := range []string{"one", "two"} {
		label, command, _ := strings.Cut(l.expect("@label="), " ")
		if want = "PRIVMSG bob :<juliet@example.org> " + want; command != want {
			t.Errorf("wrote %q, want %q", command, want)
		}
		l.send("@label=" + label + ";msgid=n" + string(rune('1'+i)) + " :lb!lb@host " + command)
	}
	if o := r.one(got); o.Err != nil || len(o.Parts) != 2 || o.Parts[0].Native != "n1" || o.Parts[1].Native != "n2" {
		t.Errorf("outcome %+v", o)
	}
	if ev := r.await(func(ev *gateway.Event) bool { _, ok := ev.Body.(gateway.Echo); return ok }); ev.At != chat("bob", juliet()) || ev.Native != "n1" {
		t.Errorf("the echo is linked as %+v", ev)
	}
	l.send("@+draft/reply=n1 :Bob!b@h PRIVMSG lb :juliet@example.org, an answer")
	if m := r.awaitText("an answer").Body.(gateway.Message); m.ReplyTo.Native != "n1" {
		t.Errorf("heard %+v", m)
	}
	// What went wrong is told to bob alone, and nothing refers to it.
	report := toBob("k2", "")
	report.Event = &gateway.Event{Body: gateway.Receipt{State: gateway.Undeliverable, Target: gateway.Ref{Native: "m1"}, Reason: "they have no device"}}
	got = r.deliver(report)
	label := l.expect("@label=k2/ NOTICE bob :your message to juliet@example.org was not delivered: they have no device.")
	l.send("@label=k2/;msgid=n3 :lb!lb@host NOTICE bob :x" + label)
	if o := r.one(got); o.Err != nil || len(o.Parts) != 0 {
		t.Errorf("outcome %+v", o)
	}
	// The gateway itself is nobody to chat with.
	self := toBob("k3", "x")
	self.Room = chat("LB", juliet())
	r.wantDrop(r.deliver(self), "this gateway itself")
}

func TestWhoCannotBeReached(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	for _, c := range []struct{ answer, want string }{
		{"401 lb bob :No such nick/channel", "bob is not on net"},
		{"531 lb bob :You are not permitted to send private messages to this user", "not permitted"},
		{"716 lb bob :is in +g mode", "+g mode"},
		{"404 lb bob :Cannot send to nick", "Cannot send"},
	} {
		got := r.deliver(toBob("k"+c.answer, "hello"))
		label, _, _ := strings.Cut(l.expect("@label="), " ")
		l.send("@label=" + label + " :irc.test " + c.answer)
		r.wantDrop(got, c.want)
		// An operator has it tried again: it is said again, whatever was answered before.
		again := toBob("k"+c.answer, "hello")
		again.Attempt = 1
		got = r.deliver(again)
		label, _, _ = strings.Cut(l.expect("@label="), " ")
		l.send("@label=" + label + ";msgid=" + c.answer[:3] + " :lb!lb@host PRIVMSG bob :x")
		if o := r.one(got); o.Err != nil {
			t.Errorf("after %s a second try ends with %v", c.answer, o.Err)
		}
	}
	for _, answer := range []string{"439 lb bob :Message target change too fast", "707 lb bob :Targets changing too fast", "263 lb PRIVMSG :Please wait"} {
		got := r.deliver(toBob("k"+answer, "hello"))
		label, _, _ := strings.Cut(l.expect("@label="), " ")
		l.send("@label=" + label + " :irc.test " + answer)
		if o := r.one(got); o.Err == nil || gateway.IsDrop(o.Err) {
			t.Errorf("%s ends with %v", answer, o.Err)
		}
	}
}

func TestADirectChatWithoutEcho(t *testing.T) {
	r := begin(t, nil)
	l := r.up("server-time")
	got := r.deliver(toBob("k1", "one"))
	l.expect("PRIVMSG bob :<juliet@example.org> one")
	l.send(":irc.test 301 lb Bob :lunch")
	l.send(":irc.test PONG irc.test :" + l.expect("PING :"))
	if o := r.one(got); o.Err != nil || len(o.Parts) != 0 {
		t.Errorf("outcome %+v", o)
	}
	if ev := r.awaitText("Bob is away: lunch"); ev.At != chat("bob", juliet()) || ev.Sender.ID != "bob" {
		t.Errorf("heard %+v", ev)
	}
	got = r.deliver(toBob("k2", "two"))
	l.expect("PRIVMSG bob :<juliet@example.org> two")
	l.send(":irc.test 401 lb bob :No such nick/channel", ":irc.test PONG irc.test :"+l.expect("PING :"))
	r.wantDrop(got, "bob is not on net")
}

func TestAwayIsToldOnceAnHour(t *testing.T) {
	hand := newHandClock()
	r := begin(t, func(_ *Config, s *Side) {
		if s != nil {
			s.clock, s.timings.quiet = hand.clock(), 24*time.Hour
		}
	})
	l := r.up(labels)
	say := func(key string) {
		got := r.deliver(toBob(key, "hello"))
		l.expect("@label=" + key + "/ PRIVMSG bob :")
		l.send("@label="+key+"/ :irc.test BATCH +b labeled-response", "@batch=b :irc.test 301 lb Bob :lunch", "@batch=b;msgid="+key+" :lb!lb@host PRIVMSG bob :x", ":irc.test BATCH -b")
		if o := r.one(got); o.Err != nil || o.Parts[0].Native != key {
			t.Errorf("outcome %+v", o)
		}
	}
	told := func() (n int) {
		for _, ev := range r.inbox.Heard() {
			if m, ok := ev.Body.(gateway.Message); ok && m.Style == gateway.StyleNotice {
				n++
			}
		}
		return n
	}
	say("k1")
	say("k2")
	if n := told(); n != 1 {
		t.Errorf("told %d times", n)
	}
	hand.advance(awayPause + 1)
	say("k3")
	if n := told(); n != 2 {
		t.Errorf("told %d times", n)
	}
}

func TestNoDirectChats(t *testing.T) {
	s := loose(t)
	s.registered = true
	s.c.side.deps.Direct = gateway.Direct{}
	const line = ":Bob!b@h PRIVMSG lockbridge :juliet@example.org: hello"
	if got := feedLine(t, s, line); got != "  > NOTICE Bob :I pass on what is said in #Lobby, #two; direct messages are not bridged, and nobody has read yours\n" {
		t.Errorf("answered %q", got)
	}
	if got := feedLine(t, s, line); got != "" {
		t.Errorf("answered again %q", got)
	}
}

// TestAddressTooLong: what the gateway could not write down does not vanish.
func TestAddressTooLong(t *testing.T) {
	s := loose(t)
	s.registered = true
	if got := feedLine(t, s, ":Bob!b@h PRIVMSG lockbridge :"+strings.Repeat("ü", 200)+"@example.org: hello"); !strings.Contains(got, "too long") {
		t.Errorf("answered %q", got)
	}
}

func (r *rig) find(nick string) <-chan error {
	out := make(chan error, 1)
	go func() {
		who, err := r.side.Find(r.t.Context(), gateway.Person{Network: "net", ID: nick})
		if err == nil && who != (gateway.Person{Network: "net", ID: "bob{x}", Name: "Bob[x]"}) {
			err = errors.New("found " + who.ID + ", called " + who.Name)
		}
		out <- err
	}()
	return out
}

func (r *rig) wantNobody(found <-chan error) {
	r.t.Helper()
	if err := <-found; !errors.Is(err, gateway.ErrNobody) {
		r.t.Errorf("ended with %v, want nobody", err)
	}
}

func (r *rig) wantLater(found <-chan error) {
	r.t.Helper()
	if err := <-found; err == nil || errors.Is(err, gateway.ErrNobody) {
		r.t.Errorf("ended with %v, want an error", err)
	}
}

func TestFind(t *testing.T) {
	r := begin(t, nil)
	r.wantLater(r.find("bob{x}"))
	l := r.up(labels)
	for _, nick := range []string{"#lobby", "LB", "a b", "a!b@c", ""} {
		r.wantNobody(r.find(nick))
	}
	found := r.find("bob{x}")
	l.expect("WHOIS bob{x}")
	l.send(":irc.test 301 lb Bob[x] :lunch", ":irc.test 311 lb Bob[x] b h * :Bob", ":irc.test 318 lb bob{x} :End of /WHOIS list.")
	if err := <-found; err != nil {
		t.Error(err)
	}
	found = r.find("BOB")
	l.expect("WHOIS BOB")
	l.send(":irc.test 401 lb bob :No such nick", ":irc.test 318 lb bob :End of /WHOIS list.")
	r.wantNobody(found)
	found = r.find("bob")
	l.expect("WHOIS bob")
	l.send(":irc.test 318 lb bob :End of /WHOIS list.")
	r.wantNobody(found)
	found = r.find("bob")
	l.expect("WHOIS bob")
	l.send(":irc.test 263 lb WHOIS :Please wait a while and try again.")
	r.wantLater(found)
	found = r.find("bob")
	l.expect("WHOIS bob")
	l.conn.Close()
	r.wantLater(found)

	// Whoever is in a channel needs no question.
	_ = r.state()
	l = r.up(labels)
	l.send(":Bob[x]!b@h JOIN #lobby", ":Bob[x]!b@h PRIVMSG #lobby :here")
	r.awaitText("here")
	if err := <-r.find("bob{x}"); err != nil {
		t.Error(err)
	}
	for _, ev := range r.inbox.Heard() {
		if _, _, ok := ev.At.Direct(); ok {
			t.Errorf("a WHOIS made %+v", ev)
		}
	}
}

// TestFindIsBounded: answers that do not come hold up nobody for ever, and their number is limited.
func TestFindIsBounded(t *testing.T) {
	hand := newHandClock()
	s := loose(t)
	s.registered, s.c.side.clock = true, hand.clock()
	first, err := s.c.ask("bob")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.c.ask("Bob"); again != first || err != nil {
		t.Errorf("asked twice: %v", err)
	}
	for i := range 100 {
		_, err = s.c.ask("bob" + strings.Repeat("x", i%60) + string(rune('a'+i/60)))
	}
	if !errors.Is(err, errTooMany) {
		t.Errorf("after many: %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.c.side.Find(context.WithoutCancel(t.Context()), gateway.Person{ID: "bob"})
		ended <- err
	}()
	<-hand.asked
	hand.advance(s.c.side.timings.find)
	if err := <-ended; !errors.Is(err, errNoAnswer) {
		t.Errorf("ended with %v", err)
	}
	if again, err := s.c.ask("bob"); again == first || err != nil {
		t.Errorf("the old question is still open: %v", err)
	}
	for range 5 { // those that were given up still wait to be asked
		for i := range 100 {
			_, _ = s.c.ask("carl" + strings.Repeat("x", i))
		}
		hand.advance(s.c.side.timings.find)
	}
	if n := s.pace.queued("\x00find"); n > 64 {
		t.Errorf("%d questions wait to be asked", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.c.side.Find(ctx, gateway.Person{ID: "bob"}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// A new nick is a new person, but not another source.
func TestANickCyclerBeginsFewChats(t *testing.T) {
	s := loose(t)
	s.registered = true
	heard, told := 0, 0
	write := func(nick, host, to string) {
		got := feedLine(t, s, ":"+nick+"!b@"+host+" PRIVMSG lockbridge :"+to+": hello")
		if strings.HasPrefix(got, "  message") {
			heard++
		}
		if strings.Contains(got, "many people") {
			told++
		}
	}
	for i := range 3 * maxPairs {
		write("bob"+strings.Repeat("x", i), "h", "juliet@example.org")
	}
	if heard != maxPairs || told == 0 {
		t.Errorf("heard %d, told %d", heard, told)
	}
	write("bobx", "h", "juliet@example.org")
	write("carl", "elsewhere", "juliet@example.org")
	if heard != maxPairs+2 {
		t.Errorf("heard %d in all", heard)
	}
	for i := range 2 * maxSources {
		s.c.mayPair(string(rune(i))+"@flood", chat("bob", juliet()))
	}
	if len(s.c.sources) > maxSources {
		t.Errorf("%d sources are remembered", len(s.c.sources))
	}
}

// In the case mapping of RFC 1459 "~" is the lower case of "^".
func TestWhatCouldBeANick(t *testing.T) {
	for _, nick := range []string{casemapRFC1459.fold("^Bob^"), "bob", "[x]", "Ωmega", "0x"} {
		if !couldBeNick(nick) {
			t.Errorf("%q could be no nick", nick)
		}
	}
	for _, name := range []string{"", "#x", "&x", "+x", "~#x", "@#x", "~&x", "%#x", "$*.org", "=x", "!abcdeX", "nick!user@host", "nick@server", "irc.test", "b*b", "a b", "a,b", ":a"} {
		if couldBeNick(name) {
			t.Errorf("%q could be a nick", name)
		}
	}
}
