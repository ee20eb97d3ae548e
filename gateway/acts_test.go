package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lockbridge/gateway"
)

// by is something that somebody of m does.
func by(m *mouth, who, native string, body gateway.Body) gateway.Arrival {
	return reads(m, native, func() (*gateway.Event, error) {
		return &gateway.Event{Sender: gateway.Person{Network: m.network, ID: who, Name: who}, Body: body}, nil
	})
}

func edit(native, s string) gateway.Edit {
	return gateway.Edit{Target: gateway.Ref{Native: native}, Text: gateway.Text{Plain: s}}
}

func reaction(op gateway.ReactionOp, native string, emoji ...string) gateway.Reaction {
	return gateway.Reaction{Target: gateway.Ref{Native: native}, Op: op, Emoji: emoji}
}

func retract(native string, moderated bool) gateway.Retract {
	return gateway.Retract{Target: gateway.Ref{Native: native}, Moderated: moderated}
}

// newTalkWorld is a world in which rooms of a and b show everything and those of c nothing.
func newTalkWorld(t *testing.T, change ...func(w *world)) *world {
	w := newWorld(t)
	w.rooms.Moderation = gateway.ModerationOwn
	for _, m := range []*mouth{w.a, w.b} {
		m.caps = gateway.Caps{Reply: true, Thread: true, Edit: true, Retract: true, Reaction: true, Marks: true, Files: true, Room: true, Members: gateway.AllMembers}
	}
	for _, f := range change {
		f(w)
	}
	return w.start()
}

// body is what m is to say next, which must be a B.
func body[B gateway.Body](w *world, m *mouth) (gateway.Delivery, B) {
	w.t.Helper()
	d := w.next(m)
	b, ok := d.Event.Body.(B)
	if !ok {
		w.t.Fatalf("%s is to say %s", m.network, text(d))
	}
	return d, b
}

func natives(parts []gateway.Part) (out []string) {
	for _, p := range parts {
		out = append(out, p.Name+"="+p.Native)
	}
	return out
}

func TestAnEditMeansTheOriginalEverywhere(t *testing.T) {
	w := newTalkWorld(t)
	w.accept(w.a, by(w.a, "alice", "1", message("first")), by(w.a, "alice", "2", edit("1", "second")), by(w.a, "alice", "3", edit("2", "third")))
	said := w.next(w.b)
	at := "at b: " + said.Key
	var keys []string
	for _, before := range []string{"first", "second"} {
		d, e := body[gateway.Edit](w, w.b)
		if e.Target.ID != said.Event.ID || e.Target.Native != at || e.Target.Excerpt != before {
			t.Errorf("%+v", e)
		}
		keys = append(keys, d.Key)
	}
	w.stop()
	w.start() // it is known after a restart
	w.accept(w.a, by(w.a, "alice", "4", edit("3", "fourth")))
	if _, e := body[gateway.Edit](w, w.b); e.Target.Native != at || e.Target.Excerpt != "third" {
		t.Errorf("after a restart: %+v", e)
	}
	// Who answers what the edit is called in another room answers the message.
	answer := message("yes")
	answer.ReplyTo.Native = "at b: " + keys[1]
	w.accept(w.b, by(w.b, "bob", "b1", answer))
	if _, m := body[gateway.Message](w, w.a); m.ReplyTo.Native != "1" || m.ReplyTo.Excerpt != "fourth" {
		t.Errorf("answer: %+v", m.ReplyTo)
	}
}

func TestAnEditOfAnothersWordsIsAMessage(t *testing.T) {
	w := newTalkWorld(t)
	w.accept(w.a, by(w.a, "alice", "1", message("hers")), by(w.a, "mallory", "2", edit("1", "his")), by(w.a, "mallory", "3", edit("2", "his own")),
		by(w.a, "alice", "4", edit("3", "not hers")))
	w.wantNext(w.b, "hers")
	for _, want := range []string{"his", "his own"} {
		d := w.next(w.b)
		if e, isEdit := d.Event.Body.(gateway.Edit); isEdit && e.Target.Excerpt == "hers" || !strings.Contains(fmt.Sprint(d.Event.Body), want) {
			t.Errorf("%s", text(d))
		}
	}
	if d := w.next(w.b); d.Event.Body.Kind() != "message" {
		t.Errorf("%s", text(d))
	}
}

// TestWhoMayTakeBackWhat: author × moderator × where it was said × what the bridge allows.
func TestWhoMayTakeBackWhat(t *testing.T) {
	for _, allowed := range []gateway.Moderation{gateway.ModerationOff, gateway.ModerationOwn, gateway.ModerationAll} {
		for _, tried := range []struct {
			name string
			from string // the network of whoever does it; the words were said on a
			who  string
			mod  bool
			want map[gateway.Moderation]string // to which other networks it goes
		}{
			{"author", "a", "alice", false, map[gateway.Moderation]string{"off": "bc", "own": "bc", "all": "bc"}},
			{"author, who is a moderator", "a", "alice", true, map[gateway.Moderation]string{"off": "bc", "own": "bc", "all": "bc"}},
			{"another", "a", "mallory", false, map[gateway.Moderation]string{}},
			{"moderator at home", "a", "mod", true, map[gateway.Moderation]string{"own": "bc", "all": "bc"}},
			{"somebody elsewhere of that name", "b", "alice", false, map[gateway.Moderation]string{}},
			{"moderator elsewhere", "b", "mod", true, map[gateway.Moderation]string{"own": "c", "all": "ac"}},
		} {
			t.Run(string(allowed)+"/"+tried.name, func(t *testing.T) {
				w := newTalkWorld(t, func(w *world) {
					w.rooms.Moderation = allowed
					w.c.caps = w.a.caps
				})
				w.accept(w.a, by(w.a, "alice", "1", message("words")), by(w.a, "alice", "2", message("linked")))
				said := w.next(w.b)
				w.wantNext(w.b, "linked")
				w.wantNext(w.c, "words", "linked")
				m, native := w.a, "1"
				if tried.from == "b" {
					m, native = w.b, "at b: "+said.Key
				}
				w.awaitLink(w.b, "at b: "+said.Key)
				w.accept(m, by(m, tried.who, "r", retract(native, tried.mod)), by(m, tried.who, "end", message("end")))
				got := ""
				for _, to := range []*mouth{w.a, w.b, w.c} {
					if to == m {
						continue
					}
					for d := w.next(to); text(d) != "end"; d = w.next(to) {
						r, ok := d.Event.Body.(gateway.Retract)
						if !ok || len(r.Target.Parts) != 1 {
							t.Errorf("%s is to say %s", to.network, text(d))
						}
						got += to.network
					}
				}
				if want := tried.want[allowed]; got != want {
					t.Errorf("it went to %q, want %q", got, want)
				}
				targets, err := w.st.Targets(t.Context(), []gateway.Native{{Room: gateway.Address{Network: "a", ID: "room"}, ID: "1"}})
				if err != nil {
					t.Fatal(err)
				}
				for _, target := range targets {
					if wiped := target.Excerpt == "" && target.Author.IsZero(); wiped != (got != "") {
						t.Errorf("it went to %q, and is known as %+v", got, target)
					}
				}
			})
		}
	}
}

// awaitLink waits until a native id of m's room is known.
func (w *world) awaitLink(m *mouth, native string) {
	w.t.Helper()
	n := gateway.Native{Room: gateway.Address{Network: m.network, ID: "room"}, ID: native}
	for {
		got, err := w.st.Targets(w.t.Context(), []gateway.Native{n})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(got) > 0 {
			return
		}
	}
}

func TestARetractionTakesCorrectionsAlong(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.c.caps.Retract = true })
	w.accept(w.a, by(w.a, "alice", "1", message("words")), by(w.a, "alice", "2", edit("1", "other words")))
	first, second := w.next(w.c), w.next(w.c)
	w.accept(w.a, by(w.a, "alice", "3", retract("2", false)))
	_, r := body[gateway.Retract](w, w.c)
	if got, want := natives(r.Target.Parts), []string{"=at c: " + first.Key, "=at c: " + second.Key}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestARetractionThatIsUnderstoodLateWipes(t *testing.T) {
	w := newTalkWorld(t)
	w.accept(w.a, by(w.a, "alice", "1", message("words")), by(w.a, "mallory", "r0", retract("later", false)), by(w.a, "alice", "r", retract("later", false)), by(w.a, "alice", "2", message("end")))
	// The id becomes known before anything is said: the sides wait for their first delivery.
	w.wantNext(w.b, "words")
	if got := w.next(w.b); text(got) != "end" { // unknown: it went nowhere
		t.Errorf("%s", text(got))
	}
}

// TestReactionSetsFollowTheModel: any order and repetition of what people do ends in what they think.
// TestTogglesDoNotFillTheLane: of what somebody thinks of one message only the last is said.
func TestThreadsHangOnTheirRoot(t *testing.T) {
	w := newTalkWorld(t)
	in := func(words, name string) gateway.Message {
		m := message(words)
		m.Thread.Native = gateway.ThreadNative(name)
		return m
	}
	w.accept(w.a, by(w.a, "alice", "1", in("root", "t1")), by(w.a, "alice", "2", in("second", "t1")))
	root, m := body[gateway.Message](w, w.b)
	if !m.Thread.IsZero() {
		t.Errorf("the root is in a thread: %+v", m.Thread)
	}
	for range 2 {
		_, m = body[gateway.Message](w, w.b)
		if m.Thread.ID != root.Event.ID || m.Thread.Native != "at b: "+root.Key || len(m.Thread.Parts) != 1 {
			t.Errorf("%s: %+v", m.Text.Plain, m.Thread)
		}
		if m.Text.Plain == "second" {
			w.accept(w.a, by(w.a, "alice", "3", in("third", "t1")))
		}
	}
	// In the room that names it, an answer from elsewhere finds the name.
	answer := message("fourth")
	answer.Thread.Native = "at b: " + root.Key
	w.accept(w.b, by(w.b, "bob", "b1", answer))
	if _, m := body[gateway.Message](w, w.a); !slices.Equal(natives(m.Thread.Parts), []string{"=1", "thread=thread:t1"}) {
		t.Errorf("%+v", m.Thread)
	}
	// A thread that began elsewhere is named by its root's id; a reply never gets such a name.
	w.accept(w.b, by(w.b, "bob", "b2", message("other root")))
	other := w.next(w.a)
	w.awaitLink(w.a, "at a: "+other.Key)
	reply := in("inside", other.Event.ID.String())
	reply.ReplyTo.Native = "1"
	w.accept(w.a, by(w.a, "alice", "5", reply), by(w.a, "alice", "6", in("again", other.Event.ID.String())), by(w.a, "alice", "7", in("forged", "0193e2c2-0000-7000-8000-000000000000")))
	for _, want := range []gateway.ID{other.Event.ID, other.Event.ID, {}} {
		_, m := body[gateway.Message](w, w.b)
		if m.Thread.ID != want || slices.ContainsFunc(m.ReplyTo.Parts, func(p gateway.Part) bool { return p.Name == gateway.ThreadPart }) {
			t.Errorf("%s: %+v", m.Text.Plain, m.Thread)
		}
	}
}

func TestWhatCannotBeShownIsMadePlainerOnce(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.age = 0 })
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	w.next(w.b)
	tries := make(chan gateway.Delivery, 10)
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		if _, isEdit := d.Event.Body.(gateway.Edit); isEdit || strings.Contains(text(d), "never") {
			tries <- d
			return gateway.Failed(gateway.Plainer(fmt.Errorf("whoever said it is gone")))
		}
		return gateway.Sent()
	})
	w.accept(w.a, by(w.a, "alice", "2", edit("1", "other words")), by(w.a, "alice", "3", message("next")))
	if d := w.next(w.b); d.Event.Body.Kind() != "message" || !strings.Contains(text(d), "other words") || d.Attempt != 0 {
		t.Errorf("%s", text(d))
	}
	w.wantNext(w.b, "next")
	w.accept(w.a, by(w.a, "alice", "4", edit("1", "never")))
	told := text(w.next(w.a))
	if !strings.Contains(told, "whoever said it is gone") || len(tries) != 3 {
		t.Errorf("%d tries, told %s", len(tries), told)
	}
}

func TestWhereMetadataDoesNotCross(t *testing.T) {
	w := newTalkWorld(t, func(w *world) {
		w.rooms.Encryption, w.rooms.Clear, w.rooms.Metadata = gateway.EncryptionRequired, []string{"b", "c"}, gateway.MetadataDrop
		w.rooms.Topic = true // whatever else is wrong
	})
	sealed := func(a gateway.Arrival) gateway.Arrival {
		read := a.Read
		a.Read = func(ctx context.Context) (*gateway.Event, error) {
			ev, err := read(ctx)
			ev.Sealed.Protection = gateway.OMEMO
			return ev, err
		}
		return a
	}
	why := retract("1", true)
	why.Reason = "he said something"
	w.accept(w.a, sealed(by(w.a, "alice", "1", message("words"))), by(w.a, "romeo", "2", reaction(gateway.ReactionAdd, "1", "👍")), by(w.a, "alice", "3", retract("1", false)),
		sealed(by(w.a, "romeo", "4", reaction(gateway.ReactionAdd, "1", "🌹"))))
	w.wantNext(w.b, "words")
	if _, r := body[gateway.Reaction](w, w.b); !slices.Equal(r.Emoji, []string{"🌹"}) {
		t.Errorf("%+v", r)
	}
	w.accept(w.a, by(w.a, "mod", "5", why))
	if _, r := body[gateway.Retract](w, w.b); r.Reason != "" {
		t.Errorf("it says %q", r.Reason)
	}
	why = retract("b1", false)
	why.Reason = "content, too"
	w.accept(w.b, by(w.b, "bob", "b1", message("said")), by(w.b, "bob", "b2", why))
	w.wantNext(w.a, "said")
	if d, r := body[gateway.Retract](w, w.a); r.Reason != "" || !d.Seal {
		t.Errorf("%+v", r)
	}
}

// TestADirectChatIsWhole: what people do to what was said, between two of them; nobody is a moderator there.
func TestADirectChatIsWhole(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.direct = openToAll() })
	juliet, bob := gateway.Person{Network: "a", ID: "juliet@example.org"}, gateway.Person{Network: "b", ID: "@bob:hs"}
	chat := func(who, other gateway.Person, native string, body gateway.Body, also ...string) gateway.Arrival {
		return gateway.Arrival{At: gateway.DirectAddress(who, other), Native: native, Also: also, Read: func(context.Context) (*gateway.Event, error) {
			return &gateway.Event{Sender: who, Body: body}, nil
		}}
	}
	w.accept(w.a, chat(juliet, bob, "1", message("words"), "origin:1"))
	said := w.next(w.b)
	w.accept(w.a, chat(juliet, bob, "2", edit("origin:1", "other words")), chat(juliet, bob, "3", reaction(gateway.ReactionSet, "origin:1", "👍")))
	if _, e := body[gateway.Edit](w, w.b); e.Target.Native != "at b: "+said.Key {
		t.Errorf("%+v", e)
	}
	if _, r := body[gateway.Reaction](w, w.b); r.Target.Native != "at b: "+said.Key || len(r.Emoji) != 1 {
		t.Errorf("%+v", r)
	}
	w.accept(w.b, chat(bob, juliet, "b1", retract("at b: "+said.Key, true)), chat(bob, juliet, "b2", message("end")))
	w.wantNext(w.a, "end")
	w.accept(w.a, chat(juliet, bob, "4", retract("origin:1", false)))
	if _, r := body[gateway.Retract](w, w.b); len(r.Target.Parts) < 2 || r.Target.Parts[0].Native != "at b: "+said.Key {
		t.Errorf("%+v", r)
	}
}
