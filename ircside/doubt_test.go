package ircside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// TestInDoubt: a line whose echo was lost with the connection is looked for in the history: said again if it is not
// there, and only linked if it is.
func TestInDoubt(t *testing.T) {
	r := begin(t, nil)
	l := r.upAgain()
	l.send("@msgid=m0 :bob!b@h PRIVMSG #lobby :hello")
	r.awaitText("hello") // by now it is recorded where we came in
	got := r.deliver(delivery("k1", "arrived"), delivery("k2", "lost"))
	l.expect("@label=k1/ ")
	l.expect("@label=k2/ ")
	l.conn.Close()
	if out := r.outcomes(got); len(out) != 2 || out[0].Err == nil || out[1].Err == nil {
		t.Errorf("outcomes %+v", out)
	}
	p := &past{limit: 100}
	p.add("m0", "bob", "hello", time.Now().UTC())
	p.add("m1", "lb", said("arrived"), time.Now().UTC())
	l = r.upAgain()
	first, second := delivery("k1", "arrived"), delivery("k2", "lost")
	first.Attempt, second.Attempt = 1, 1
	got = r.deliver(first, second)
	l.serve(p)
	l.serve(p)
	if text := l.echo("m2"); text != said("lost") {
		t.Errorf("said %q", text)
	}
	wantParts(t, r.outcomes(got), "m1", "m2")

	// The process dies with a line on its way; the next one hears of it by the history, or by the journal.
	got = r.deliver(delivery("k3", "third"), delivery("k4", "fourth"))
	l.echo("m3")
	l.expect("@label=k4/ ")
	r.await(func(ev *gateway.Event) bool { _, ok := ev.Body.(gateway.Echo); return ok && ev.Native == "m3" })
	r.stop()
	r.outcomes(got)
	for i, text := range []string{"third", "fourth"} {
		p.add(fmt.Sprintf("m%d", i+3), "lb", said(text), time.Now().UTC())
	}
	r = r.beginAgain(nil)
	l = r.upAgain()
	third, fourth, fifth := delivery("k3", "third"), delivery("k4", "fourth"), delivery("k5", "fourth")
	third.Attempt, fourth.Attempt, fifth.Attempt = 1, 1, 1
	third.Known = []gateway.Part{{Native: "m3"}}
	got = r.deliver(third, fourth, fifth)
	l.serve(p)
	l.serve(p)
	if label := l.expect("@label="); !strings.HasPrefix(label, "k5/ ") {
		t.Errorf("said %q", label)
	}
	l.send("@label=k5/;msgid=m5 :lb!lb@host PRIVMSG #lobby :x")
	wantParts(t, r.outcomes(got), "m3", "m4", "m5")
}

// hasty has deliveries not wait for what is under way.
func hasty(_ *Config, s *Side) {
	if s != nil {
		s.timings.soon = 0
	}
}

func wantParts(t *testing.T, out []gateway.Outcome, want ...string) {
	t.Helper()
	var got []string
	for _, o := range out {
		if o.Err != nil {
			t.Errorf("outcome %v", o.Err)
		}
		for _, p := range o.Parts {
			got = append(got, p.Native)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("parts %q, want %q", got, want)
	}
}

// TestAnothersLine: a line of ours that the history holds may be an earlier one with the same words, which the journal
// knows; then ours was not said.
func TestAnothersLine(t *testing.T) {
	r := begin(t, nil)
	l := r.upAgain()
	l.send("@msgid=m0 :bob!b@h PRIVMSG #lobby :hello")
	r.awaitText("hello")
	got := r.deliver(delivery("k1", "yes"))
	l.echo("m1")
	wantParts(t, r.outcomes(got), "m1")
	got = r.deliver(delivery("k2", "yes"))
	l.expect("@label=k2/ ")
	l.conn.Close()
	r.outcomes(got)
	p := &past{limit: 100, noIDs: true} // asked by time, it tells m1 again
	p.add("m0", "bob", "hello", time.Now().UTC())
	p.add("m1", "lb", said("yes"), time.Now().UTC().Add(time.Second))
	l = r.upAgain()
	l.serve(p) // refused
	l.serve(p)
	l.serve(p)
	again := delivery("k2", "yes")
	again.Attempt = 1
	out := r.outcomes(r.deliver(again))
	if len(out) != 1 || out[0].Err == nil || gateway.IsDrop(out[0].Err) {
		t.Fatalf("outcomes %+v", out)
	}
	got = r.deliver(again)
	l.echo("m2")
	wantParts(t, r.outcomes(got), "m2")
}

// TestGhost: what a connection says that we have lost and the server has not is not somebody else's, and settles a doubt.
func TestGhost(t *testing.T) {
	r := begin(t, nil)
	l := r.up(labels)
	got := r.deliver(delivery("k1", "one"), delivery("k2", "two"))
	l.expect("@label=k1/ ")
	l.expect("@label=k2/ ")
	l.conn.Close()
	r.outcomes(got)
	l = r.accept()
	l.expect("CAP LS 302")
	l.expect("NICK lb")
	l.expect("USER ")
	l.send(":irc.test CAP * LS :"+labels, ":irc.test 433 * lb :Nickname is already in use")
	l.send(":irc.test CAP lb ACK :" + l.expect("CAP REQ :"))
	l.expect("NICK lb_")
	l.expect("CAP END")
	l.send(":irc.test 001 lb_ :Welcome")
	l.expect("JOIN #lobby")
	l.send(":lb_!lb@host JOIN #lobby", "@msgid=g1 :lb!lb@host PRIVMSG #lobby :"+said("one"), ":lb!other@elsewhere PRIVMSG #lobby :an impostor")
	r.awaitText("an impostor")
	if all, _ := r.texts(); len(all) != 1 {
		t.Errorf("heard %q", all)
	}
	first, second := delivery("k1", "one"), delivery("k2", "two")
	got = r.deliver(first, second)
	label, _, _ := strings.Cut(l.expect("@label="), " ")
	if label != "k2/" {
		t.Errorf("said %q", label)
	}
	l.send("@label=k2/;msgid=g2 :lb_!lb@host PRIVMSG #lobby :x")
	wantParts(t, r.outcomes(got), "g1", "g2")
}

// hoping is an Inbox whose transaction begins anew and then finds that everything was seen before.
type hoping struct{}

func (hoping) Accept(ctx context.Context, batch []gateway.Arrival) error {
	for _, seen := range []bool{false, true} {
		for _, a := range batch {
			if seen && a.Native != "" {
				continue
			}
			if _, err := a.Read(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestClaimOfATransactionThatBeganAnew: only what the last run of a transaction read counts.
func TestClaimOfATransactionThatBeganAnew(t *testing.T) {
	s := loose(t)
	s.registered = true
	s.c.list[0].state = roomIn
	d := delivery("k1", "yes")
	d.Room, d.Attempt = s.c.list[0].Address, 1
	s.c.keepReturned(d.Room.ID, "PRIVMSG", said("yes"), "m1", noon())
	u := s.c.say([]brief{{Delivery: d}})[0]
	batch, _ := s.c.side.inlet.take()
	if len(batch) != 1 || batch[0].Native != "m1" {
		t.Fatalf("claimed %+v", batch)
	}
	if err := s.c.side.accept(t.Context(), hoping{}, batch); err != nil {
		t.Fatal(err)
	}
	if o := s.c.await(t.Context(), u); !errors.Is(o.Err, errOthers) {
		t.Errorf("outcome %+v", o)
	}
}
