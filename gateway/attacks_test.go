package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lockbridge/gateway"
)

// in moves an arrival to another room of its network.
func in(room string, a gateway.Arrival) gateway.Arrival {
	a.At.ID = room
	return a
}

// TestActsStayInTheirRoom: an id of one room means nothing in another one, whoever names it there.
func TestActsStayInTheirRoom(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.rooms.Moderation = gateway.ModerationAll })
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	w.next(w.b)
	w.accept(w.a, in("room2", by(w.a, "alice", "2", edit("1", "elsewhere"))), in("room2", by(w.a, "alice", "3", retract("1", false))),
		in("room2", by(w.a, "mod", "4", retract("1", true))), in("room2", by(w.a, "alice", "5", reaction(gateway.ReactionAdd, "1", "👍"))),
		in("room2", by(w.a, "alice", "6", message("end"))))
	if d := w.next(w.b); d.Event.Body.Kind() != "message" || d.Room.ID != "room2" {
		t.Errorf("%s", text(d))
	}
	if d := w.next(w.b); text(d) != "end" {
		t.Errorf("%s", text(d))
	}
	if got := w.known("1"); got.Excerpt != "words" {
		t.Errorf("known as %+v", got)
	}
}

// TestAQuoteIsTheJournals: whoever answers puts no words into the author's mouth, and repeats nothing that was taken back.
func TestAQuoteIsTheJournals(t *testing.T) {
	w := newTalkWorld(t)
	answer := message("answer")
	answer.ReplyTo = gateway.Ref{Native: "1", Author: gateway.Person{Network: "a", ID: "romeo", Name: "Romeo"}, Excerpt: "never said"}
	w.accept(w.a, by(w.a, "alice", "1", message("words")), by(w.a, "mallory", "2", answer))
	w.accept(w.a, by(w.a, "alice", "3", retract("1", false)), by(w.a, "mallory", "4", answer))
	w.next(w.c)
	if said := text(w.next(w.c)); !strings.Contains(said, "alice") || strings.Contains(said, "never") || strings.Contains(said, "Romeo") {
		t.Errorf("%s", said)
	}
	for said := ""; !strings.Contains(said, "answer"); {
		said = text(w.next(w.c))
		if strings.Contains(said, "words") || strings.Contains(said, "never") {
			t.Errorf("%s", said)
		}
	}
}

// known is what the journal knows of an id in the first room of a.
func (w *world) known(native string) gateway.Target {
	w.t.Helper()
	n := gateway.Native{Room: gateway.Address{Network: "a", ID: "room"}, ID: native}
	got, err := w.st.Targets(w.t.Context(), []gateway.Native{n})
	if err != nil {
		w.t.Fatal(err)
	}
	return got[n]
}

// TestNobodyEditsTheGateway: what it says itself has no author, and stays as it is.
func TestNobodyEditsTheGateway(t *testing.T) {
	w := newTalkWorld(t)
	w.accept(w.a, reads(w.a, "1", func() (*gateway.Event, error) { return nil, errors.New("no key") }))
	notice := w.next(w.b)
	w.awaitLink(w.b, "at b: "+notice.Key)
	nobody := reads(w.b, "b2", func() (*gateway.Event, error) {
		return &gateway.Event{Body: edit("at b: "+notice.Key, "by nobody")}, nil
	})
	w.accept(w.b, by(w.b, "bob", "b1", edit("at b: "+notice.Key, "by bob")), nobody, by(w.b, "bob", "b3", retract("at b: "+notice.Key, false)), by(w.b, "bob", "b4", message("end")))
	for _, want := range []string{"by bob", "by nobody", "end"} {
		if d := w.next(w.a); d.Event.Body.Kind() != "message" || !strings.Contains(text(d), want) {
			t.Errorf("%s, want a message that says %s", text(d), want)
		}
	}
}

// TestATargetThatIsTakenBackWhileReactionsWait: they say that nobody thinks anything of it.
func TestATargetThatIsTakenBackWhileReactionsWait(t *testing.T) {
	w := newTalkWorld(t)
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	w.next(w.b)
	w.accept(w.a, by(w.a, "romeo", "2", reaction(gateway.ReactionAdd, "1", "👍")), by(w.a, "alice", "3", retract("1", false)),
		by(w.a, "alice", "4", edit("1", "after all")), by(w.a, "romeo", "5", reaction(gateway.ReactionAdd, "1", "👍")), by(w.a, "alice", "6", message("end")))
	if _, r := body[gateway.Reaction](w, w.b); len(r.Emoji) != 0 && r.Sets == nil {
		t.Errorf("%+v", r)
	}
	for d := w.next(w.b); text(d) != "end"; d = w.next(w.b) {
		if strings.Contains(text(d), "after all") {
			t.Error("what was taken back is edited")
		}
	}
	if got := w.known("1"); got.Excerpt != "" || !got.Author.IsZero() {
		t.Errorf("known as %+v", got)
	}
}

// TestAModeratorIsToldWhatTheBridgeMayNot do.
func TestAModeratorIsToldWhatTheBridgeMayNot(t *testing.T) {
	w := newTalkWorld(t, func(w *world) { w.rooms.Moderation = gateway.ModerationAll })
	w.accept(w.a, by(w.a, "alice", "1", message("words")))
	d := w.next(w.b)
	w.awaitLink(w.b, "at b: "+d.Key)
	w.a.answer(func(d gateway.Delivery) gateway.Outcome {
		return gateway.Failed(gateway.Dropf("this bridge may not remove messages in %s", d.Room.ID))
	})
	w.accept(w.b, by(w.b, "mod", "r", retract("at b: "+d.Key, true)))
	_, told := body[gateway.Receipt](w, w.b)
	if told.State != gateway.Undeliverable || told.Target.Author.ID != "mod" || !strings.Contains(told.Reason, "may not remove messages in room") {
		t.Errorf("%+v", told)
	}
}

// linker makes links to files.
type linker struct {
	gateway.Media
	origins chan gateway.Origin
}

func (l *linker) Link(_ context.Context, of gateway.Origin, f gateway.File) (string, error) {
	l.origins <- of
	if f.Name == "forged" {
		return "", gateway.Dropf("it is not a file")
	}
	return "https://media.example.org/" + f.Name, nil
}

func TestWhatARoomDoesNotTakeIsLinked(t *testing.T) {
	media := &linker{origins: make(chan gateway.Origin, 10)}
	w := newTalkWorld(t, func(w *world) {
		w.media = media
		w.b.caps.MaxFile = 100
	})
	m := message("look")
	m.Files = []gateway.File{{Name: "cat.png", Size: 99}, {Name: "dog.png", Size: 101}, {Name: "forged", Size: 1}}
	e := edit("1", "look here")
	e.Files = []gateway.File{{Name: "cow.png", Size: 5}}
	w.accept(w.a, by(w.a, "alice", "1", m), by(w.a, "alice", "2", e))
	d, got := body[gateway.Message](w, w.b)
	if len(got.Files) != 2 || got.Files[0].Name != "cat.png" || got.Files[0].Link != "" || !strings.Contains(got.Text.Plain, "https://media.example.org/dog.png") {
		t.Errorf("%+v", got)
	}
	said := text(w.next(w.c))
	for _, want := range []string{"https://media.example.org/cat.png", "https://media.example.org/dog.png", "forged"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q does not have %s", said, want)
		}
	}
	edited := w.next(w.c)
	if !strings.Contains(text(edited), "https://media.example.org/cow.png") {
		t.Errorf("%s", text(edited))
	}
	keys := map[string]bool{}
	for range 5 {
		o := <-media.origins
		keys[o.Key] = true
		if !slices.Contains(o.Events, d.Event.ID) || strings.HasPrefix(o.Key, edited.Key) && len(o.Events) != 2 {
			t.Errorf("%+v does not end with the message", o)
		}
	}
	if len(keys) != 5 {
		t.Errorf("links of %v", keys)
	}
}

func TestWhatIsTooMuchOfAMessageIsLeftOut(t *testing.T) {
	w := newTalkWorld(t)
	m := message("look")
	for i := range gateway.MaxFiles + 5 {
		m.Files = append(m.Files, gateway.File{Name: fmt.Sprint(i), Blurhash: strings.Repeat("x", gateway.MaxBlurhash+1), Waveform: make([]int, gateway.MaxWaveform+1), Thumb: &gateway.File{Thumb: &gateway.File{}}})
	}
	for range gateway.MaxMarks + 1 {
		m.Text.Marks = append(m.Text.Marks, gateway.Mark{End: 1, Style: gateway.MarkBold})
	}
	m.ReplyTo = gateway.Ref{Native: "unknown", Excerpt: strings.Repeat("x", 10_000)}
	r := retract("1", false)
	r.Reason = strings.Repeat("why\x00", 1000)
	w.accept(w.a, by(w.a, "alice", "1", m), by(w.a, "alice", "2", r))
	_, got := body[gateway.Message](w, w.b)
	if len(got.Files) != gateway.MaxFiles || len(got.Text.Marks) != 0 && len(got.Text.Marks) > gateway.MaxMarks || len(got.Text.Plain) > 1000 {
		t.Errorf("%+v", got)
	}
	for _, f := range got.Files {
		if f.Blurhash != "" || len(f.Waveform) != gateway.MaxWaveform || f.Thumb == nil || f.Thumb.Thumb != nil {
			t.Errorf("%+v", f)
		}
	}
	if _, got := body[gateway.Retract](w, w.b); len(got.Reason) > gateway.MaxReason || strings.ContainsRune(got.Reason, 0) {
		t.Errorf("%q", got.Reason)
	}
}

// TestARoomsStateCrossesWhereTheBridgeSaysSo: never in an encrypted one.
func TestARoomsStateCrossesWhereTheBridgeSaysSo(t *testing.T) {
	for _, carried := range []bool{true, false} {
		w := newTalkWorld(t, func(w *world) { w.rooms.Topic = carried })
		topic := "news"
		w.accept(w.a, by(w.a, "alice", "1", gateway.RoomState{Topic: &topic}), by(w.a, "alice", "2", message("end")))
		if carried {
			if _, s := body[gateway.RoomState](w, w.b); *s.Topic != topic {
				t.Errorf("%+v", s)
			}
		}
		w.wantNext(w.b, "end")
		w.stop()
	}
}

// Where an edit could not change anything it is a message, which goes with what it was made of, be it said a moment
// before.
func TestARetractionTakesTheEditBeforeItAlong(t *testing.T) {
	w := newTalkWorld(t)
	w.b.answer(func(d gateway.Delivery) gateway.Outcome {
		if text(d) == "first" {
			return gateway.Failed(gateway.Drop(errors.New("too large")))
		}
		return gateway.Sent(gateway.Part{Native: "at b: " + d.Key})
	})
	w.accept(w.a, by(w.a, "alice", "1", message("first")))
	w.next(w.a) // the report
	w.accept(w.a, by(w.a, "alice", "2", edit("1", "second")), by(w.a, "alice", "3", retract("1", false)))
	said := w.next(w.b)
	if text(said) != "(edited) second" {
		t.Fatal(text(said))
	}
	if _, r := body[gateway.Retract](w, w.b); len(r.Target.Parts) != 1 || r.Target.Parts[0].Native != "at b: "+said.Key {
		t.Errorf("taken back: %+v", r.Target)
	}
}

// A reaction that is none leaves none of its words in the journal, where ids are not sealed.
func TestWordsAreNoReaction(t *testing.T) {
	w := newTalkWorld(t)
	words := strings.Repeat("secret ", 1000)
	w.accept(w.a, by(w.a, "alice", "1", message("first")), by(w.a, "bob", "2", reaction(gateway.ReactionAdd, "1", "👍")), by(w.a, "bob", "3", reaction(gateway.ReactionAdd, "1", words)))
	w.accept(w.a, by(w.a, "bob", "4", retract("3", false)))
	w.next(w.b)
	if _, r := body[gateway.Reaction](w, w.b); len(r.Emoji) != 1 {
		t.Errorf("reactions: %q", r.Emoji)
	}
	w.stop()
	if kept := everythingIn(t, w.dir); strings.Contains(kept, "secret") {
		t.Error("it is on disk")
	}
}

// everythingIn is what the files of a folder hold.
func everythingIn(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Type().IsRegular() {
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}
