package gateway

import (
	"reflect"
	"testing"
	"time"
)

func TestCodecKeepsEveryBody(t *testing.T) {
	ref := Ref{ID: ID{1, 2}, Native: "n", Author: Person{Network: "irc", ID: "bob", Name: "Bob"}, Excerpt: "ex"}
	file := File{Name: "f", MIME: "image/png", Size: 5, Width: 1, Height: 2, URL: "u", Cipher: &Cipher{Name: "aes", Key: []byte{1}, IV: []byte{2}}}
	for _, body := range []Body{
		Message{Text: Text{"hi\u202e", []Mark{{0, 2, "link", "http://x"}}}, Files: []File{file}, ReplyTo: ref, Thread: ref, Style: StyleEmote},
		Edit{Target: ref, Text: Text{Plain: "x"}},
		Retract{Target: ref, Reason: "spam"},
		Reaction{Target: ref, Emoji: []string{"👍"}, Op: ReactionSet},
		Receipt{Target: ref, State: Undeliverable, Reason: "r"},
		Typing{true},
		Presence{"away", "lunch"},
		Membership{Who: Person{ID: "x"}, Change: Kick, By: Person{ID: "y"}, Reason: "r"},
		RoomState{"n", "t", "a"},
	} {
		ev := &Event{
			ID: ID{9}, At: Address{"irc", "#a"}, Native: "m1", Also: []string{"o:m1"}, Sender: Person{Network: "irc", ID: "bob"},
			Time: time.Unix(1700000000, 5).UTC(), Sealed: Sealing{OMEMO, "v", "7", "blind"}, Body: body,
		}
		b, err := EncodeEvent(ev)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeEvent(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, ev) {
			t.Errorf("%s came back as\n%+v, want\n%+v", body.Kind(), got, ev)
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	b, _ := EncodeEvent(&Event{Body: Message{Text: Text{Plain: "hi"}}})
	f.Add(b)
	f.Add([]byte(`{"kind":"later","body":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ev, err := DecodeEvent(b)
		if err == nil && ev.Body == nil {
			t.Error("no error and no body")
		}
	})
}
