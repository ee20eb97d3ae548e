package gateway

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// among makes speakers of a bridge of "name" or "name@network".
func among(names ...string) *speakers {
	s := newSpeakers()
	for _, n := range names {
		name, network, ok := strings.Cut(n, "@")
		if !ok {
			network = "matrix"
		}
		s.name("b", &Event{Sender: Person{Network: network, ID: "id of " + n, Name: name, Avatar: "image:x"}, Body: Message{Text: Text{Plain: "hello"}}})
	}
	return s
}

// whom is what name made of a text: "⟦alice⟧: hi".
func whom(s *speakers, t Text) string {
	ev := &Event{Sender: Person{Network: "xmpp", ID: "writer", Name: "Writer"}, Body: Message{Text: t}}
	s.name("b", ev)
	ev.Sender = Person{}
	return shownAs(ev)
}

func TestWhoIsAddressed(t *testing.T) {
	for _, c := range []struct {
		there string
		text  string
		want  string
	}{
		{"alice", "alice: hi", "⟦alice⟧: hi"},
		{"alice", "alice:", "⟦alice⟧:"},
		{"alice", "ALICE: hi", "⟦ALICE⟧: hi"},
		{"alice", "alice, hi", "⟦alice⟧, hi"},
		{"alice", "@alice hi", "⟦@alice⟧ hi"},
		{"alice", "@Alice: hi", "⟦@Alice⟧: hi"},
		{"alice", "@Alice, hi", "⟦@Alice⟧, hi"},
		{"alice", "@alice", "⟦@alice⟧"},
		{"alice", "@alice!", "⟦@alice⟧!"},
		{"Alice Liddell", "alice liddell: hi", "⟦alice liddell⟧: hi"},
		{"alice", "alice\nhi", "alice\nhi"},
		{"alice", "a\u200clice: hi", "⟦a\u200clice⟧: hi"},
		{"Émile", "émile: salut", "⟦émile⟧: salut"},
		{"יוסי", "יוסי: שלום", "⟦יוסי⟧: שלום"},
		{"a\u200db", "ab: hi", "⟦ab⟧: hi"},
		{"alice", "alice [matrix]: hi", "⟦alice [matrix]⟧: hi"},
		{"alice", "alice [matrix 2]: hi", "⟦alice [matrix 2]⟧: hi"},
		{"alice", "alice[m]: hi", "⟦alice[m]⟧: hi"},
		{"alice@libera", "alice [libera], hi", "⟦alice [libera]⟧, hi"},
		{"alice@libera|alice", "alice [libera]: hi", "⟦alice [libera]⟧: hi"},
		{"Al|Al B", "Al B: hi", "⟦Al B⟧: hi"},
		{"Al|Al B", "Al: hi", "⟦Al⟧: hi"},

		{"alice", "hi alice", "hi alice"},
		{"alice", "hi, alice: you", "hi, alice: you"},
		{"alice", "alice hi", "alice hi"},
		{"alice", "alice's: hi", "alice's: hi"},
		{"alice", "alicee: hi", "alicee: hi"},
		{"alice", "al: hi", "al: hi"},
		{"alice", " alice: hi", " alice: hi"},
		{"alice", "@alice:example.org is here", "@alice:example.org is here"},
		{"alice", "@alicee hi", "@alicee hi"},
		{"alice", "@alice.org", "@alice.org"},
		{"alice", "alice [somewhere]: hi", "alice [somewhere]: hi"},
		{"alice|alice@libera", "alice: hi", "alice: hi"},
		{"alice|Alice@libera", "alice: hi", "alice: hi"},
		{"http", "http://example.org", "http://example.org"},
		{"so", "So, what now?", "So, what now?"},
		{"the", "the cat: it sleeps", "the cat: it sleeps"},
		{"the", "the: wake up", "⟦the⟧: wake up"},
		{"e", "e, f", "e, f"},
		{"room|everyone", "@room wake up", "⟦@room⟧ wake up"}, // a person of that name; nobody else is called
		{"alice", "@everyone wake up", "@everyone wake up"},
		{"", ": hi", ": hi"},
		{"alice", "", ""},
		{"alice", "\u200c\u200c", "\u200c\u200c"},
	} {
		if got := whom(among(strings.Split(c.there, "|")...), Text{Plain: c.text}); got != c.want {
			t.Errorf("%q with %s there: %q, want %q", c.text, c.there, got, c.want)
		}
	}
}

func TestWhoIsNotAddressed(t *testing.T) {
	bob := Mark{Start: 7, End: 10, Style: MarkMention, Who: Person{Network: "n", ID: "bob"}}
	for name, text := range map[string]Text{
		"whom the side has marked somebody for": {Plain: "alice: bob", Marks: []Mark{bob}},
		"who is quoted":                         {Plain: "alice: hi\nwhat?", Marks: []Mark{{End: 9, Style: MarkQuote}}},
		"who stands in a log":                   {Plain: "alice: hi", Marks: []Mark{{End: 9, Style: MarkBlock}}},
		"whose name is code":                    {Plain: "alice: hi", Marks: []Mark{{End: 5, Style: MarkCode}}},
		"for whom there is no room":             {Plain: "alice: hi", Marks: make([]Mark, MaxMarks)},
	} {
		if got := whom(among("alice"), text); strings.Contains(got, "⟦alice") {
			t.Errorf("somebody %s is called: %s", name, got)
		}
	}
	if got := whom(among("alice"), Text{Plain: "alice: hi", Marks: []Mark{{Start: 7, End: 9, Style: MarkBold}}}); got != "⟦alice⟧: hi" {
		t.Errorf("with a bold word: %s", got)
	}
	s := among("alice")
	for _, body := range []Body{Message{Style: StyleEmote, Text: Text{Plain: "alice: hi"}}, Typing{}} {
		ev := &Event{Body: body}
		if s.name("b", ev); fmt.Sprint(ev.Body) != fmt.Sprint(body) {
			t.Errorf("%+v became %+v", body, ev.Body)
		}
	}
	edit := &Event{Body: Edit{Text: Text{Plain: "alice: hi"}}}
	if s.name("b", edit); len(edit.Body.(Edit).Text.Marks) != 1 {
		t.Error("an edit calls nobody")
	}
	other := &Event{Body: Message{Text: Text{Plain: "alice: hi"}}}
	if s.name("c", other); len(other.Body.(Message).Text.Marks) != 0 {
		t.Error("somebody of another bridge is called")
	}
	s.keep([]Bridge{{Name: "c"}})
	if got := whom(s, Text{Plain: "alice: hi"}); got != "alice: hi" {
		t.Errorf("a bridge that is gone is remembered: %s", got)
	}
}

// The latest are remembered, each once, by the name that they have now; without their picture.
func TestSpeakersAreBounded(t *testing.T) {
	s := among("first")
	for i := range maxSpeakers - 1 {
		s.name("b", &Event{Sender: Person{Network: "n", ID: fmt.Sprint(i), Name: fmt.Sprint("speaker", i)}, Body: Message{}})
		s.name("b", &Event{Sender: Person{Network: "n", ID: fmt.Sprint(i), Name: fmt.Sprint("called", i)}, Body: Message{}})
	}
	if got := len(s.by["b"]); got != maxSpeakers {
		t.Errorf("%d are remembered", got)
	}
	if got := whom(s, Text{Plain: "first: hi"}); got != "⟦first⟧: hi" {
		t.Error(got)
	}
	if got := whom(s, Text{Plain: "first: hi"}) + whom(s, Text{Plain: "speaker7: hi"}) + whom(s, Text{Plain: "called7: hi"}); got != "first: hispeaker7: hi⟦called7⟧: hi" {
		t.Error(got)
	}
	for _, p := range s.by["b"] {
		if p.Avatar != "" {
			t.Errorf("%+v has a picture", p)
		}
	}
}

func FuzzCalls(f *testing.F) {
	f.Add("@alice [n]: hi", "alice")
	f.Add("\u200d\u200c:", "\u200d")
	f.Add("K: \xff", "k")
	f.Fuzz(func(t *testing.T, text, name string) {
		text = Clean(text)
		end, ok := calls(text, &remembered{Person{Network: "n", ID: "i", Name: name}, CleanName(name)})
		if ok && (end <= 0 || end > len(text) || !utf8.ValidString(text[:end])) {
			t.Errorf("%q of %q: %d", name, text, end)
		}
	})
}
