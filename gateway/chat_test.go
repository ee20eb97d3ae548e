package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lockbridge/gateway"
)

// chatted is a message in the direct chat between a person of m and one of another network.
func chatted(m *mouth, who string, to gateway.Person, native, text string) gateway.Arrival {
	sender := gateway.Person{Network: m.network, ID: who}
	return gateway.Arrival{At: gateway.DirectAddress(sender, to), Native: native, Read: func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Sender: sender, Body: gateway.Message{Text: gateway.Text{Plain: text}}}, nil
	}}
}

func newChatWorld(t *testing.T) *world {
	w := newWorld(t)
	w.a.caps.Reply = true
	w.direct = openToAll()
	return w.start()
}

// openToAll lets everybody chat with those of example.org, on network a.
func openToAll() gateway.Direct {
	return gateway.Direct{Allow: []string{"example.org"}, Encryption: gateway.EncryptionOff}.
		WithKinds(map[string]gateway.NetworkKind{"a": {Kind: "xmpp"}, "b": {Kind: "matrix"}, "c": {Kind: "irc"}})
}

func TestADirectChatGoesBothWays(t *testing.T) {
	w := newChatWorld(t)
	juliet, alice := gateway.Person{Network: "a", ID: "juliet@example.org"}, gateway.Person{Network: "b", ID: "@alice:hs"}
	w.accept(w.a, chatted(w.a, juliet.ID, alice, "1", "hello"), chatted(w.a, juliet.ID, alice, "1", "hello again"))
	d := w.next(w.b)
	if text(d) != "hello" || d.Room != gateway.DirectAddress(alice, juliet) {
		t.Fatalf("%q in %v", text(d), d.Room)
	}
	w.accept(w.a, chatted(w.a, juliet.ID, alice, "2", "are you there?"))
	w.wantNext(w.b, "are you there?") // so the first one's link is written
	answer := chatted(w.b, alice.ID, juliet, "$1", "")
	answer.Read = func(context.Context) (*gateway.Event, error) {
		reply := gateway.Ref{Native: "at b: " + d.Key}
		return &gateway.Event{Sender: alice, Body: gateway.Message{Text: gateway.Text{Plain: "hi"}, ReplyTo: reply}}, nil
	}
	w.accept(w.b, answer)
	got := w.next(w.a)
	m, ok := got.Event.Body.(gateway.Message)
	if !ok || m.ReplyTo.Native != "1" || got.Room != gateway.DirectAddress(juliet, alice) {
		t.Errorf("%+v in %v", got.Event.Body, got.Room)
	}
}

func TestStrangersAreToldThatTheyMayNot(t *testing.T) {
	w := newChatWorld(t)
	alice := gateway.Person{Network: "b", ID: "@alice:hs"}
	w.accept(w.a, chatted(w.a, "eve@evil.lit", alice, "1", "psst"), chatted(w.a, "juliet@example.org", alice, "2", "hello"))
	w.wantNext(w.b, "hello")
	d := w.next(w.a)
	r, ok := d.Event.Body.(gateway.Receipt)
	if !ok || r.State != gateway.Undeliverable || r.Target.Native != "1" || !strings.Contains(r.Reason, "not open to you") {
		t.Errorf("told %+v", d.Event.Body)
	}
}

func TestNobodyBeginsManyChatsAtOnce(t *testing.T) {
	w := newChatWorld(t)
	var batch []gateway.Arrival
	for i := range 22 {
		batch = append(batch, chatted(w.a, "juliet@example.org", gateway.Person{Network: "b", ID: fmt.Sprint("@u", i, ":hs")}, fmt.Sprint(i), "spam"))
	}
	w.accept(w.a, batch[:19]...)
	w.accept(w.a, batch[19:]...)
	for range 20 {
		w.wantNext(w.b, "spam")
	}
	for range 2 { // the reports are each for a chat of its own
		if got := text(w.next(w.a)); !strings.Contains(got, "many new chats") {
			t.Errorf("told %s", got)
		}
	}
	refused := gateway.Person{Network: "b", ID: "@u21:hs"}
	w.accept(w.a, chatted(w.a, "juliet@example.org", refused, "again", "spam"), chatted(w.a, "juliet@example.org", gateway.Person{Network: "b", ID: "@u3:hs"}, "old", "an old chat goes on"))
	w.wantNext(w.b, "an old chat goes on")
}

func TestAReportOfAChatNamesThePerson(t *testing.T) {
	w := newChatWorld(t)
	w.b.answer(func(gateway.Delivery) gateway.Outcome { return gateway.Failed(gateway.Dropf("they left")) })
	w.accept(w.a, chatted(w.a, "juliet@example.org", gateway.Person{Network: "b", ID: "@alice:hs"}, "1", "hello"))
	if got := text(w.next(w.a)); !strings.Contains(got, "not delivered to @alice:hs (b): they left") {
		t.Errorf("told %s", got)
	}
}

// noting is anything else than a message in the direct chat of a person of m.
func noting(m *mouth, who string, to gateway.Person, native string, body gateway.Body) gateway.Arrival {
	a := chatted(m, who, to, native, "")
	a.Read = func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Sender: gateway.Person{Network: m.network, ID: who}, Body: body}, nil
	}
	return a
}

func bounced(id string) gateway.Receipt {
	return gateway.Receipt{State: gateway.Undeliverable, Target: gateway.Ref{Native: id}, Reason: "nobody is there"}
}

func TestOnlyWordsBeginAChat(t *testing.T) {
	w := newChatWorld(t)
	for i := range 25 {
		to := gateway.Person{Network: "b", ID: fmt.Sprint("@u", i, ":hs")}
		w.accept(w.a,
			noting(w.a, "juliet@example.org", to, fmt.Sprint("r", i), gateway.Retract{Target: gateway.Ref{Native: "x"}}),
			noting(w.a, "juliet@example.org", to, fmt.Sprint("e", i), bounced("y")),
			noting(w.a, "juliet@example.org", to, fmt.Sprint("d", i), gateway.Receipt{State: gateway.Displayed, Target: gateway.Ref{Native: "z"}}))
	}
	for i := range 21 {
		w.accept(w.a, chatted(w.a, "juliet@example.org", gateway.Person{Network: "b", ID: fmt.Sprint("@u", i, ":hs")}, fmt.Sprint(i), "hello"))
	}
	for range 20 {
		w.wantNext(w.b, "hello")
	}
	if got := text(w.next(w.a)); !strings.Contains(got, "many new chats") {
		t.Errorf("told %s", got)
	}
}

func TestABounceNamesWhatWasDeliveredThere(t *testing.T) {
	w := newChatWorld(t)
	alice, bob := gateway.Person{Network: "b", ID: "@alice:hs"}, gateway.Person{Network: "b", ID: "@bob:hs"}
	juliet := gateway.Person{Network: "a", ID: "juliet@example.org"}
	w.accept(w.a, chatted(w.a, juliet.ID, alice, "1", "hello"), chatted(w.a, juliet.ID, bob, "2", "hello"))
	w.wantNext(w.b, "hello", "hello")
	w.accept(w.b, chatted(w.b, alice.ID, juliet, "$1", "hi"))
	d := w.next(w.a)
	w.accept(w.a,
		noting(w.a, juliet.ID, alice, "3", bounced("never said")), noting(w.a, juliet.ID, alice, "4", bounced("1")),
		noting(w.a, juliet.ID, bob, "5", bounced(d.Key)), noting(w.a, "romeo@example.org", alice, "6", bounced(d.Key)),
		noting(w.a, juliet.ID, alice, "7", bounced(d.Key)), chatted(w.a, juliet.ID, bob, "8", "the end"))
	for range 2 {
		got := w.next(w.b)
		r, isReceipt := got.Event.Body.(gateway.Receipt)
		if isReceipt && (got.Room != gateway.DirectAddress(alice, juliet) || r.Target.Native != "$1") || !isReceipt && text(got) != "the end" {
			t.Errorf("told %s in %v", text(got), got.Room)
		}
	}
	w.accept(w.a, chatted(w.a, juliet.ID, alice, "9", "the end"))
	w.wantNext(w.b, "the end")
}

// TestAnAnswerWithinMilliseconds: who answers what is not known to have arrived yet answers it all the same; nobody else does.
func TestAnAnswerWithinMilliseconds(t *testing.T) {
	w := newWorld(t)
	w.b.caps.Reply, w.b.caps.Reaction, w.direct = true, true, openToAll()
	w.start()
	alice, bob := gateway.Person{Network: "b", ID: "@alice:hs"}, gateway.Person{Network: "b", ID: "@bob:hs"}
	juliet := gateway.Person{Network: "a", ID: "juliet@example.org"}
	said, arrived := make(chan string, 1), make(chan struct{})
	w.a.answer(func(d gateway.Delivery) gateway.Outcome {
		said <- d.Key
		<-arrived
		return gateway.Sent(gateway.Part{Native: d.Key})
	})
	w.accept(w.b, chatted(w.b, alice.ID, juliet, "$1", "hi"))
	key := <-said
	ref := gateway.Ref{Native: key, Key: key}
	answer := gateway.Message{Text: gateway.Text{Plain: "hello"}, ReplyTo: ref}
	w.accept(w.a,
		noting(w.a, juliet.ID, alice, "2", answer), noting(w.a, juliet.ID, alice, "3", gateway.Reaction{Target: ref, Emoji: []string{"👍"}, Op: gateway.ReactionSet}),
		noting(w.a, juliet.ID, bob, "4", answer), noting(w.a, "romeo@example.org", alice, "5", answer))
	for range 4 {
		d := w.next(w.b)
		want := "" // what was not said in the very chat
		if d.Room == gateway.DirectAddress(alice, juliet) {
			want = "$1"
		}
		switch b := d.Event.Body.(type) {
		case gateway.Message:
			if b.ReplyTo.Native != want {
				t.Errorf("in %v %s answers %q", d.Room, text(d), b.ReplyTo.Native)
			}
		case gateway.Reaction:
			if b.Target.Native != "$1" {
				t.Errorf("reacted to %q", b.Target.Native)
			}
		}
	}
	close(arrived)
	w.next(w.a)
}

func TestEachMinuteAChatIsToldWhatDidNotArrive(t *testing.T) {
	w := newWorld(t)
	var by atomic.Int64 // minutes
	w.now = func() time.Time { return time.Now().Add(time.Duration(by.Load()) * time.Minute) }
	w.direct = openToAll()
	w.start()
	alice := gateway.Person{Network: "b", ID: "@alice:hs"}
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		if text(d) == "hello" {
			return gateway.Failed(gateway.Dropf("they left"))
		}
		return gateway.Sent()
	})
	say := func(native string) {
		w.accept(w.a, chatted(w.a, "juliet@example.org", alice, native, "hello"))
		for i := range 2 { // the second run begins when the first one is settled
			w.accept(w.a, chatted(w.a, "juliet@example.org", alice, fmt.Sprint(native, "/", i), "mark"))
			w.wantNext(w.b, "mark")
		}
	}
	say("1")
	first := w.next(w.a).Event.Body.(gateway.Receipt)
	say("2")
	by.Store(2)
	say("3")
	second := w.next(w.a).Event.Body.(gateway.Receipt)
	if first.Target.Native != "1" || second.Target.Native != "3" {
		t.Errorf("told of %q and %q", first.Target.Native, second.Target.Native)
	}
}
