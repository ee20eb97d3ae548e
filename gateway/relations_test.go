package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"lockbridge/gateway"
)

// answering is an answer to what the room calls native.
func answering(native, s string) gateway.Message {
	m := message(s)
	m.ReplyTo.Native = native
	return m
}

// TestAnEditAnswersWhatItsMessageAnswered: also one that is heard together with it, an edit of an edit, and after a
// restart.
func TestAnEditAnswersWhatItsMessageAnswered(t *testing.T) {
	w := newTalkWorld(t)
	inThread := answering("1", "yess")
	inThread.Thread.Native = gateway.ThreadNative("t")
	root := message("the root")
	root.Thread.Native = gateway.ThreadNative("t")
	w.accept(w.a, by(w.a, "bob", "0", root), by(w.a, "bob", "1", message("shall we?")), by(w.a, "alice", "2", inThread), by(w.a, "alice", "3", edit("2", "yes")))
	began, question := w.next(w.b), w.next(w.b)
	w.next(w.b)
	check := func(of string) {
		t.Helper()
		_, e := body[gateway.Edit](w, w.b)
		if r := e.ReplyTo; r.ID != question.Event.ID || r.Native != "at b: "+question.Key || r.Author.ID != "bob" || r.Excerpt != "shall we?" {
			t.Errorf("%s answers %+v", of, r)
		}
		if r := e.Thread; r.ID != began.Event.ID || len(r.Parts) != 1 {
			t.Errorf("%s is in the thread %+v", of, r)
		}
	}
	check("the edit")
	w.stop()
	w.start()
	w.accept(w.a, by(w.a, "alice", "4", edit("3", "yes!")))
	check("the edit of the edit")
	w.accept(w.a, by(w.a, "alice", "5", edit("2", "yes!!")))
	check("the last edit")
	// What was taken back since is not quoted.
	w.accept(w.a, by(w.a, "bob", "6", retract("1", false)), by(w.a, "alice", "7", edit("2", "no")))
	body[gateway.Retract](w, w.b)
	if _, e := body[gateway.Edit](w, w.b); e.ReplyTo.Native != "at b: "+question.Key || e.ReplyTo.Excerpt != "" || !e.ReplyTo.Author.IsZero() {
		t.Errorf("it quotes what was taken back: %+v", e.ReplyTo)
	}
	// A room without edits gets the words alone.
	for got := ""; !strings.HasSuffix(got, "(edited) no"); {
		if got = text(w.next(w.c)); strings.HasPrefix(got, "(edited) ") && strings.Contains(got, "shall we") {
			t.Errorf("%s", got)
		}
	}
}

// TestWhatWasTakenBackDoesNotComeBackAsAnEdit, whoever sends it, and however late.
func TestWhatWasTakenBackDoesNotComeBackAsAnEdit(t *testing.T) {
	w := newTalkWorld(t)
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	w.wantNext(w.b, "words")
	w.wantNext(w.c, "words")
	w.accept(w.a, by(w.a, "alice", "2", retract("1", false)), by(w.a, "alice", "3", edit("1", "sent before")), by(w.a, "mallory", "4", edit("1", "by another")))
	w.stop()
	w.start()
	w.accept(w.a, by(w.a, "alice", "5", edit("1", "sent before, later")), by(w.a, "alice", "end", message("end")))
	body[gateway.Retract](w, w.b)
	w.wantNext(w.b, "end")
	w.wantNext(w.c, "end")
	if n := w.counted("lockbridge_events_dropped_total", "a"); n != 1 { // since the restart
		t.Errorf("%v dropped", n)
	}
}

// TestALateEchoQuotesNothingThatWasTakenBack: what the echo is of was taken back since it was said.
func TestALateEchoQuotesNothingThatWasTakenBack(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.c.caps.Retract = true })
	w.accept(w.a, by(w.a, "alice", "1", message("secret")))
	said := w.next(w.b)
	w.awaitLink(w.b, "at b: "+said.Key)
	echo := gateway.Arrival{At: said.Room, Native: "b1", Read: func(context.Context) (*gateway.Event, error) {
		return &gateway.Event{Body: gateway.Echo{Key: said.Key}}, nil
	}}
	w.accept(w.b, by(w.b, "mod", "b0", retract("at b: "+said.Key, true)), echo, by(w.b, "bob", "b2", answering("b1", "what?")))
	if _, m := body[gateway.Message](w, w.a); m.ReplyTo.Native != "1" || m.ReplyTo.Excerpt != "" || !m.ReplyTo.Author.IsZero() {
		t.Errorf("it quotes %+v", m.ReplyTo)
	}
}

// asked counts the questions for native ids of one event.
type asked struct {
	gateway.Journal
	id gateway.ID
	n  atomic.Int64
}

func (a *asked) Parts(ctx context.Context, room gateway.Address, events []gateway.ID) (map[gateway.ID][]gateway.Part, error) {
	if slices.Contains(events, a.id) {
		a.n.Add(1)
	}
	return a.Journal.Parts(ctx, room, events)
}

// TestNamesOfThreadsAreLookedUpAtOnce: anybody may write any name.
func TestNamesOfThreadsAreLookedUpAtOnce(t *testing.T) {
	names := &asked{id: gateway.ID{1}}
	w := newTalkWorld(t, func(w *world) {
		w.wrap = func(j gateway.Journal) gateway.Journal { names.Journal = j; return names }
	})
	var batch []gateway.Arrival
	for i := range 40 {
		m := message(fmt.Sprint(i))
		name := names.id.String()
		if i%2 > 0 { // the same, written in another way
			name = "urn:uuid:" + name
		}
		m.Thread.Native = gateway.ThreadNative(name)
		batch = append(batch, by(w.a, "alice", fmt.Sprint("n", i), m))
	}
	w.accept(w.a, batch...)
	if n := names.n.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	for range batch {
		w.next(w.b)
	}
}
