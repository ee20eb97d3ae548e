package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// shower is a side that shows what expires, and knows who is there.
type shower struct {
	*mouth
	passed chan *gateway.Event
	people []gateway.Person
}

func (s *shower) Pass(_ context.Context, room gateway.Address, ev *gateway.Event) {
	ev.At = room // for the test to see
	s.passed <- ev
}

func (s *shower) Here(gateway.Address) []gateway.Person { return s.people }

// newPassWorld is a world whose networks show what expires.
func newPassWorld(t *testing.T, change ...func(w *world)) (w *world, b *shower) {
	b = &shower{passed: make(chan *gateway.Event, 100)}
	w = newTalkWorld(t, append([]func(w *world){func(w *world) {
		w.privacy = gateway.Privacy{Typing: true, Receipts: gateway.ReceiptsAll, Avatars: true}
		b.mouth = w.b
		w.b.caps.Typing, w.b.caps.Receipt = true, true
		w.sides = map[string]gateway.Side{"b": b}
	}}, change...)...)
	return w, b
}

func expiring(a gateway.Arrival) gateway.Arrival {
	read := a.Read
	a.Read = func(ctx context.Context) (*gateway.Event, error) {
		ev, err := read(ctx)
		ev.Expires = time.Now().Add(time.Minute)
		return ev, err
	}
	a.Passing = true
	return a
}

func (w *world) passed(s *shower) *gateway.Event {
	w.t.Helper()
	select {
	case ev := <-s.passed:
		return ev
	case <-time.After(w.patience):
		w.t.Fatal("nothing was shown")
		return nil
	}
}

func displayed(native string) gateway.Receipt {
	return gateway.Receipt{Target: gateway.Ref{Native: native}, State: gateway.Displayed}
}

func TestWhatExpiresIsShownBesideTheJournal(t *testing.T) {
	w, b := newPassWorld(t)
	w.accept(w.a, expiring(by(w.a, "alice", "", gateway.Typing{On: true})))
	if ev := w.passed(b); ev.Body != (gateway.Typing{On: true}) || ev.Sender.ID != "alice" || ev.At.Network != "b" {
		t.Errorf("%+v", ev)
	}
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	d := w.next(w.b)
	w.awaitLink(w.b, "at b: "+d.Key)
	opened := expiring(by(w.a, "romeo", "sealed", displayed("1"))) // had to be opened in a transaction
	opened.Passing = false
	w.accept(w.a, opened)
	if ev := w.passed(b); ev.Body.(gateway.Receipt).Target.Native != "at b: "+d.Key || ev.Sender.ID != "romeo" {
		t.Errorf("%+v", ev)
	}
	w.accept(w.a, expiring(by(w.a, "paris", "", displayed("no such message"))), expiring(by(w.a, "paris", "", gateway.Typing{On: true})))
	if ev := w.passed(b); ev.Body.Kind() != "typing" {
		t.Errorf("%+v", ev)
	}
	bad := gateway.Arrival{At: gateway.Address{Network: "a", ID: "room"}, Passing: true, Read: func(context.Context) (*gateway.Event, error) { panic("a secret") }}
	w.accept(w.a, bad, by(w.a, "alice", "2", message("on it goes")))
	w.wantNext(w.b, "on it goes")
	if w.log.contains("secret") {
		t.Error("the log quotes it")
	}
}

// TestAReceiptWaitsForWhatItNames: who reads a message at once may say so before our delivery of it is recorded.
func TestAReceiptWaitsForWhatItNames(t *testing.T) {
	w, b := newPassWorld(t)
	w.a.caps.Receipt = true
	recorded := make(chan bool)
	w.a.answer(func(d gateway.Delivery) gateway.Outcome {
		w.a.got <- d
		<-recorded
		return gateway.Sent(gateway.Part{Native: "at a: " + d.Key})
	})
	w.accept(w.b, by(w.b, "bob", "b1", message("words")))
	d := w.next(w.a)
	w.accept(w.a, expiring(by(w.a, "romeo", "", displayed("at a: "+d.Key))))
	for _, who := range []string{"paris", "tybalt"} { // when the second one is shown, the receipt was looked at
		w.accept(w.a, expiring(by(w.a, who, "", gateway.Typing{On: true})))
		if ev := w.passed(b); ev.Sender.ID != who {
			t.Fatalf("%+v", ev)
		}
	}
	recorded <- true
	if ev := w.passed(b); ev.Sender.ID != "romeo" || ev.Body.(gateway.Receipt).Target.Native != "b1" {
		t.Errorf("%+v", ev)
	}
}

func TestPrivacyKeepsWhatExpires(t *testing.T) {
	for name, privacy := range map[string]gateway.Privacy{
		"nothing": {}, "typing": {Typing: true}, "direct": {Receipts: gateway.ReceiptsDirect}, "all": {Receipts: gateway.ReceiptsAll},
	} {
		t.Run(name, func(t *testing.T) {
			w, b := newPassWorld(t, func(w *world) {
				w.privacy = privacy
				w.direct = openToAll()
			})
			juliet, bob := gateway.Person{Network: "a", ID: "juliet@example.org"}, gateway.Person{Network: "b", ID: "@bob:hs"}
			chat := func(native string, body gateway.Body) gateway.Arrival {
				return gateway.Arrival{At: gateway.DirectAddress(juliet, bob), Native: native, Read: func(context.Context) (*gateway.Event, error) {
					return &gateway.Event{Sender: juliet, Body: body}, nil
				}}
			}
			// Nobody is reached by typing alone.
			w.accept(w.a, expiring(chat("", gateway.Typing{On: true})))
			w.accept(w.a, by(w.a, "alice", "1", message("words")), chat("c1", message("direct words")))
			var hers gateway.Delivery
			for range 2 {
				if d := w.next(w.b); text(d) == "direct words" {
					hers = d
				}
			}
			answer := func(context.Context) (*gateway.Event, error) {
				return &gateway.Event{Sender: bob, Body: message("answer")}, nil
			}
			w.accept(w.b, gateway.Arrival{At: hers.Room, Native: "$answer", Read: answer})
			w.wantNext(w.a, "answer")
			answered := ""
			for answered == "" { // until it is linked
				for _, native := range w.linked(gateway.DirectAddress(juliet, bob)) {
					if strings.HasPrefix(native, "at a: ") {
						answered = native
					}
				}
			}
			w.accept(w.a, expiring(by(w.a, "alice", "", gateway.Typing{On: true})), expiring(by(w.a, "alice", "", displayed("1"))),
				expiring(chat("", displayed("c1"))),     // which she said herself
				expiring(chat("", displayed(answered)))) // the last one, so the newest
			want := 0
			if privacy.Typing {
				want++
			}
			got := map[string]bool{}
			switch privacy.Receipts {
			case gateway.ReceiptsAll:
				want += 2
			case gateway.ReceiptsDirect:
				want++
			case gateway.ReceiptsOff:
			}
			for range want {
				ev := w.passed(b)
				_, _, direct := ev.At.Direct()
				got[fmt.Sprint(ev.Body.Kind(), direct)] = true
			}
			if len(got) != want || got["typingtrue"] || got["typingfalse"] != privacy.Typing || got["receiptfalse"] != (privacy.Receipts == gateway.ReceiptsAll) {
				t.Errorf("shown: %v", got)
			}
			w.accept(w.a, by(w.a, "alice", "9", message("end")))
			w.wantNext(w.b, "end")
			select {
			case ev := <-b.passed:
				t.Errorf("shown as well: %+v", ev)
			default:
			}
		})
	}
}

func TestWhoAndHelp(t *testing.T) {
	w, b := newPassWorld(t)
	for i := range 40 {
		b.people = append(b.people, gateway.Person{Network: "b", ID: fmt.Sprint("@", i), Name: fmt.Sprintf("P%02d", 39-i)})
	}
	old := by(w.a, "alice", "0", message("!who"))
	old.Old = true
	w.accept(w.a, old, by(w.a, "alice", "1", message("!who")), by(w.a, "alice", "2", message("!who")), by(w.a, "alice", "3", message("what does !help do?")), by(w.a, "alice", "4", message("!help")))
	who := text(w.next(w.a))
	if !strings.HasPrefix(who, "On b: P00, P01, ") || !strings.HasSuffix(who, "P29, … (40). c: not known just now.") {
		t.Errorf("%s", who)
	}
	if help := text(w.next(w.a)); !strings.Contains(help, "joined with room on b and room on c") {
		t.Errorf("%s", help)
	}
	w.wantNext(w.b, "!who", "!who", "!who", "what does !help do?", "!help") // it crosses like any message
	room := gateway.Address{Network: "b", ID: "room"}
	for command, want := range map[string]string{"who": "a: not known just now.", " HELP ": "This room is joined", "!who": "a: not", "hello": ""} {
		if got := w.g.Answer(t.Context(), room, command); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q", command, got)
		}
	}
	if got := w.g.Answer(t.Context(), gateway.Address{}, "help"); !strings.Contains(got, "!who") {
		t.Errorf("%q", got)
	}
}

func TestQuickEditsBecomeOneMessage(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.c.caps = gateway.Caps{Notes: true, Fold: time.Hour} })
	blocked := make(chan bool)
	w.c.answer(func(gateway.Delivery) gateway.Outcome {
		<-blocked
		return gateway.Sent()
	})
	w.accept(w.a, by(w.a, "alice", "0", message("first")))
	blocked <- true
	w.wantNext(w.c, "first") // what waits when a network is taken over counts as tried
	w.accept(w.a, by(w.a, "alice", "1", message("secnod")), by(w.a, "alice", "2", edit("1", "second")), by(w.a, "alice", "3", message("oops")), by(w.a, "alice", "4", retract("3", false)))
	blocked <- true
	w.wantNext(w.c, "second")
	// An edit that is the last thing waiting waits on, until something follows.
	w.accept(w.a, by(w.a, "alice", "5", edit("1", "second, better")))
	lane := gateway.Address{Network: "c", ID: "room"}
	for {
		head, err := w.st.Head(t.Context(), lane, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(head) == 1 && head[0].Due.After(time.Now().Add(30*time.Minute)) {
			break
		}
	}
	w.accept(w.a, by(w.a, "alice", "6", message("third")))
	blocked <- true
	if got := text(w.next(w.c)); !strings.Contains(got, "better") {
		t.Errorf("%s", got)
	}
	blocked <- true
	w.wantNext(w.c, "third")
}
