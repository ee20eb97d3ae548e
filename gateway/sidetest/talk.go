package sidetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// What a Peer can do besides saying and hearing, for a side whose Caps claim it. Messages are named by a piece of their
// text that stands in no other one.

// Editor is a Peer that knows edits.
type Editor interface {
	// Edit gives the peer's own message that holds old the text instead.
	Edit(ctx context.Context, old, text string) error
	// SeeEdit waits until the message that held old is shown as one that holds text in its place.
	SeeEdit(ctx context.Context, old, text string) error
}

// Retractor is a Peer that knows retractions.
type Retractor interface {
	// Retract takes the peer's own message that holds text back.
	Retract(ctx context.Context, text string) error
	// SeeRetraction waits until the message that held text is shown as taken back.
	SeeRetraction(ctx context.Context, text string) error
}

// Replier is a Peer that knows replies.
type Replier interface {
	// Reply says text in reply to the message that holds to.
	Reply(ctx context.Context, to, text string) error
	// SeeReply waits until a message that holds text is shown as a reply to the one that holds to.
	SeeReply(ctx context.Context, to, text string) error
}

// Reactor is a Peer that knows reactions.
type Reactor interface {
	// React makes emoji all of the peer's reactions on the message that holds to.
	React(ctx context.Context, to string, emoji ...string) error
	// SeeReactions waits until the message that holds to bears these reactions and no others, in any order.
	SeeReactions(ctx context.Context, to string, emoji ...string) error
}

// Filer is a Peer that knows files.
type Filer interface {
	// SendFile sends a file as its network does, encrypted in a sealed room.
	SendFile(ctx context.Context, name, mime string, data []byte) error
	// SeeFile waits until a file of that name is shown, and returns what is in it.
	SeeFile(ctx context.Context, name string) (data []byte, err error)
}

// Typist is a Peer that knows who is typing.
type Typist interface {
	// Type lets the peer begin to type, or end.
	Type(ctx context.Context, on bool) error
	// SeeTyping waits until somebody of ours is shown as typing, or nobody of ours any more.
	SeeTyping(ctx context.Context, on bool) error
}

// carriesWhatItClaims runs, in one room, what the side's Caps promise there.
func carriesWhatItClaims(r *running) {
	caps := r.side.Caps(r.Room.Address)
	for _, c := range []struct {
		name    string
		claimed bool
		run     func(*running)
	}{
		{"edits", caps.Edit, edits},
		{"retracts", caps.Retract, retracts},
		{"replies", caps.Reply, replies},
		{"reacts", caps.Reaction, reacts},
		{"files", caps.Files, files},
		{"typing", caps.Typing, typing},
	} {
		if !c.claimed {
			continue
		}
		r.t.Run(c.name, func(t *testing.T) {
			own := *r
			own.t = t
			c.run(&own)
		})
	}
}

// able is the peer as somebody who can do what the side claims.
func able[T any](r *running) T {
	r.t.Helper()
	peer, ok := r.Peer.(T)
	if !ok {
		r.t.Fatalf("the side claims it, but its peer %T cannot do it", r.Peer)
	}
	return peer
}

func (r *running) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func edits(r *running) {
	peer := able[Editor](r)
	r.say("a first wording of theirs")
	first := r.await("a first wording of theirs")
	r.must(peer.Edit(r.ctx, "a first wording of theirs", "a second wording of theirs"))
	ev := r.awaitBody("the edit", func(ev *gateway.Event) bool {
		e, ok := ev.Body.(gateway.Edit)
		return ok && e.Text.Plain == "a second wording of theirs"
	})
	r.means(ev.Body.(gateway.Edit).Target, first)

	ref := r.said("a first wording of ours")
	r.deliver(r.act(gateway.Edit{Target: ref, Text: gateway.Text{Plain: "a second wording of ours"}}))
	r.must(peer.SeeEdit(r.ctx, "a first wording of ours", "a second wording of ours"))
}

func retracts(r *running) {
	peer := able[Retractor](r)
	r.say("rash words of theirs")
	rash := r.await("rash words of theirs")
	r.must(peer.Retract(r.ctx, "rash words of theirs"))
	ev := r.awaitBody("the retraction", func(ev *gateway.Event) bool {
		_, ok := ev.Body.(gateway.Retract)
		return ok
	})
	r.means(ev.Body.(gateway.Retract).Target, rash)

	ref := r.said("rash words of ours")
	r.deliver(r.act(gateway.Retract{Target: ref}))
	r.must(peer.SeeRetraction(r.ctx, "rash words of ours"))
}

func replies(r *running) {
	peer := able[Replier](r)
	r.say("a question of theirs")
	question := r.await("a question of theirs")
	r.must(peer.Reply(r.ctx, "a question of theirs", "their answer to themselves"))
	answer := r.await("their answer to themselves").Body.(gateway.Message)
	r.means(answer.ReplyTo, question)
	if strings.Contains(answer.Text.Plain, "a question") {
		r.t.Errorf("the answer still quotes the question: %q", answer.Text.Plain)
	}

	d := r.act(gateway.Message{ReplyTo: r.ref(question), Text: gateway.Text{Plain: "our answer to them"}})
	r.deliver(d)
	r.must(peer.SeeReply(r.ctx, "a question of theirs", "our answer to them"))
}

func reacts(r *running) {
	peer := able[Reactor](r)
	r.say("a joke of theirs")
	theirs := tally{of: r.await("a joke of theirs"), by: map[string]string{}}
	for _, set := range [][]string{{"👍"}, {"🎉"}, nil} { // add, change, remove
		r.must(peer.React(r.ctx, "a joke of theirs", set...))
		r.awaitBody(fmt.Sprintf("the reactions %v", set), theirs.reaches(set))
	}

	ref, who := r.said("a joke of ours"), gateway.Person{Network: r.Foreign, ID: "mercutio", Name: "Mercutio"}
	anchor := r.id()
	var have []gateway.Part
	for _, set := range [][]string{{"👍"}, {"🎉"}, nil} {
		d := r.act(gateway.Reaction{
			Target: ref, Emoji: set, Op: gateway.ReactionSet, Anchor: anchor, Have: have,
			Sets: []gateway.Reactions{{Anchor: anchor, Target: ref.ID, Who: who, Emoji: set}},
		})
		r.deliver(d)
		r.must(peer.SeeReactions(r.ctx, "a joke of ours", set...))
		have = append(have, r.parts(d)...)
		for _, gone := range r.outcomes[d.Key].Gone {
			have = slices.DeleteFunc(have, func(p gateway.Part) bool { return p.Native == gone.Native })
		}
	}
}

// tally follows what somebody's reactions on a message come to: a set, additions, removals, and retractions of what added
// them.
type tally struct {
	of     *gateway.Event
	set    []string
	by     map[string]string // what each reaction added, by its native ids
	folded int               // how many of the events heard are in it
}

// reaches tells of the events heard, from the first on, which of those that are new makes the set want.
func (t *tally) reaches(want []string) func(*gateway.Event) bool {
	n := 0
	return func(ev *gateway.Event) bool {
		if n++; n <= t.folded {
			return false
		}
		t.folded = n
		t.fold(ev)
		return slices.Equal(t.set, want)
	}
}

func (t *tally) fold(ev *gateway.Event) {
	switch b := ev.Body.(type) {
	case gateway.Reaction:
		if !stands(b.Target, t.of) {
			return
		}
		for _, id := range append([]string{ev.Native}, ev.Also...) {
			t.by[id] = strings.Join(b.Emoji, "")
		}
		t.set = slices.DeleteFunc(t.set, func(e string) bool { return b.Op == gateway.ReactionSet || slices.Contains(b.Emoji, e) })
		if b.Op != gateway.ReactionRemove {
			t.set = append(t.set, b.Emoji...)
		}
	case gateway.Retract:
		emoji, known := t.by[b.Target.Native]
		t.set = slices.DeleteFunc(t.set, func(e string) bool { return known && e == emoji })
	}
}

func files(r *running) {
	peer, data := able[Filer](r), make([]byte, 100_000)
	rand.Read(data)
	r.must(peer.SendFile(r.ctx, "theirs.bin", "application/octet-stream", data))
	ev := r.awaitBody("the file", func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Message)
		return ok && len(m.Files) == 1 && m.Files[0].Name == "theirs.bin"
	})
	if got, err := r.fetch(ev.Body.(gateway.Message).Files[0]); err != nil || !bytes.Equal(got, data) {
		r.t.Errorf("their file came as %d bytes that differ (%v)", len(got), err)
	}

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.ServeContent(w, req, "ours.bin", time.Time{}, bytes.NewReader(data))
	}))
	defer server.Close()
	r.deliver(r.act(gateway.Message{Files: []gateway.File{{
		Name: "ours.bin", MIME: "application/octet-stream", Size: int64(len(data)), URL: server.URL + "/ours.bin", Network: r.Foreign,
	}}}))
	got, err := peer.SeeFile(r.ctx, "ours.bin")
	if err != nil || !bytes.Equal(got, data) {
		r.t.Errorf("our file came as %d bytes that differ (%v)", len(got), err)
	}
}

func (r *running) fetch(f gateway.File) ([]byte, error) {
	blob, err := r.Media.Fetch(r.ctx, f)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	body, _, err := blob.Open(r.ctx, nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func typing(r *running) {
	peer := able[Typist](r)
	passer, ok := r.side.(gateway.Passer)
	if !ok {
		r.t.Fatal("the side claims typing, but is no Passer")
	}
	r.said("words before the typing") // so that whoever types is there
	for _, on := range []bool{true, false} {
		r.must(peer.Type(r.ctx, on))
		r.awaitBody(fmt.Sprintf("typing %v", on), func(ev *gateway.Event) bool {
			b, ok := ev.Body.(gateway.Typing)
			return ok && b.On == on && ev.Sender.ID == r.Peer.ID() && !ev.Expires.IsZero()
		})
		ev := r.act(gateway.Typing{On: on}).Event
		ev.Expires = time.Now().Add(30 * time.Second)
		passer.Pass(r.ctx, r.Room.Address, ev)
		r.must(peer.SeeTyping(r.ctx, on))
	}
}

// act is a delivery of what somebody elsewhere does, the same person who says the messages.
func (r *running) act(body gateway.Body) gateway.Delivery {
	d := r.message("")
	d.Event.ID, d.Event.Body = r.id(), body
	return d
}

func (r *running) id() gateway.ID {
	r.t.Helper()
	id, err := gateway.NewID(rand.Reader)
	r.must(err)
	return id
}

// said says text and returns a reference to it, as the gateway makes them.
func (r *running) said(text string) gateway.Ref {
	r.t.Helper()
	d := r.act(gateway.Message{Text: gateway.Text{Plain: text}})
	r.deliver(d)
	r.hear(text)
	parts := r.parts(d)
	if len(parts) == 0 {
		r.t.Fatalf("no native id of %q is known, so nothing can refer to it", text)
	}
	return gateway.Ref{ID: d.Event.ID, Native: parts[0].Native, Parts: parts, Author: d.Event.Sender, Excerpt: text}
}

// ref is a reference to what the peer said.
func (r *running) ref(ev *gateway.Event) gateway.Ref {
	return gateway.Ref{
		ID: r.id(), Native: ev.Native, Parts: []gateway.Part{{Native: ev.Native, Also: ev.Also}},
		Author: ev.Sender, Excerpt: gateway.Excerpt(ev.Body),
	}
}

// parts are the native ids of a delivery: those that its outcome named, and those that echoes brought.
func (r *running) parts(d gateway.Delivery) []gateway.Part {
	var parts []gateway.Part
	for _, ev := range r.inbox.Heard() {
		if echo, ok := ev.Body.(gateway.Echo); ok && echo.Key == d.Key && ev.Native != "" {
			parts = append(parts, gateway.Part{Name: echo.Part, Native: ev.Native, Also: ev.Also})
		}
	}
	for _, p := range r.outcomes[d.Key].Parts {
		if !slices.ContainsFunc(parts, func(q gateway.Part) bool { return q.Native == p.Native }) {
			parts = append(parts, p)
		}
	}
	return parts
}

// awaitBody waits until the side has accepted what pred likes.
func (r *running) awaitBody(what string, pred func(*gateway.Event) bool) *gateway.Event {
	r.t.Helper()
	ev, err := r.inbox.Await(r.ctx, what, pred)
	r.must(err)
	return ev
}

// means fails the test unless ref points at ev.
func (r *running) means(ref gateway.Ref, ev *gateway.Event) {
	r.t.Helper()
	if !stands(ref, ev) {
		r.t.Errorf("it points at %q, want one of %q and %q", ref.Native, ev.Native, ev.Also)
	}
}

// stands reports whether ref points at ev.
func stands(ref gateway.Ref, ev *gateway.Event) bool {
	return ref.Native != "" && (ref.Native == ev.Native || slices.Contains(ev.Also, ref.Native))
}
