package gateway

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// storedEvents are events as versions up to this one have written them, by the name of their file in testdata/stored. A
// file that was part of a release is never changed: databases hold such events.
func storedEvents() map[string]Body {
	ref := Ref{ID: ID{1, 2}, Native: "n", Author: Person{Network: "irc", ID: "bob", Name: "Bob"}, Excerpt: "ex"}
	file := File{
		Name: "cat.png", MIME: "image/png", Size: 5, Width: 1, Height: 2, URL: "https://example.org/cat.png",
		Cipher: &Cipher{Name: CipherGCM256, Key: []byte{1}, IV: []byte{2}, Hash: []byte{3}},
	}
	voice := File{
		Name: "voice.ogg", MIME: "audio/ogg", Size: 5, URL: "mxc://example.org/voice", Network: "matrix",
		Duration: 12 * time.Second, Voice: true, Waveform: []int{0, 1024},
	}
	sticker := File{
		Name: "cat.png", URL: "https://example.org/cat.png", Public: true, Sticker: true, Blurhash: "LEHV6nWB2yk8",
		Thumb: &File{Name: "small.png", Width: 1, Height: 2},
	}
	name, topic, avatar, none, image := "n", "t", "a", "", "image:00"
	return map[string]Body{
		"message": Message{
			Text:  Text{"hi there", []Mark{{Start: 0, End: 2, Style: MarkLink, Arg: "http://example.org"}, {Start: 3, End: 8, Style: MarkBold}}},
			Files: []File{file}, ReplyTo: ref, Thread: ref, Style: StyleEmote,
		},
		"message-rich": Message{
			Text: Text{"Bob: a secret", []Mark{
				{Start: 0, End: 13, Style: MarkQuote},
				{Start: 0, End: 3, Style: MarkMention, Who: ref.Author},
				{Start: 7, End: 13, Style: MarkSpoiler, Arg: "the end"},
			}},
			Files: []File{voice, sticker},
		},
		"edit":              Edit{Target: ref, Text: Text{Plain: "x"}, Files: []File{{Name: "f"}}},
		"edit-emote":        Edit{Target: ref, Text: Text{Plain: "waves"}, Style: StyleEmote},
		"retract":           Retract{Target: ref, Reason: "spam"},
		"retract-moderated": Retract{Target: ref, Moderated: true},
		"reaction":          Reaction{Target: ref, Emoji: []string{"👍"}, Op: ReactionSet},
		"reaction-anchored": Reaction{Target: ref, Emoji: []string{}, Op: ReactionSet, Anchor: ID{3}},
		"receipt":           Receipt{Target: ref, State: Undeliverable, Reason: "r"},
		"typing":            Typing{true},
		"presence":          Presence{"away", "lunch"},
		"membership":        Membership{Who: Person{ID: "x"}, Change: Kick, By: Person{ID: "y"}, Reason: "r"},
		"membership-quiet":  Membership{Who: Person{ID: "x"}, Change: Join, Quiet: true},
		"room":              RoomState{&name, &topic, &avatar},
		"room-topic":        RoomState{Topic: &topic},
		"room-emptied":      RoomState{Topic: &none, Avatar: &image},
	}
}

func TestCodecReadsWhatWasStored(t *testing.T) {
	for name, body := range storedEvents() {
		t.Run(name, func(t *testing.T) {
			want := &Event{
				ID: ID{9}, At: Address{"irc", "#a"}, Native: "m1", Also: []string{"o:m1"}, Sender: Person{Network: "irc", ID: "bob"},
				Time: time.Unix(1700000000, 5).UTC(), Sealed: Sealing{OMEMO, "v", "7", "blind"}, Body: body,
			}
			golden, err := os.ReadFile(filepath.Join("testdata", "stored", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeEvent(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("read as\n%+v, want\n%+v", got, want)
			}
			written, err := EncodeEvent(want)
			if err != nil {
				t.Fatal(err)
			}
			if string(written)+"\n" != string(golden) {
				t.Errorf("written as\n%s\nwant\n%s", written, golden)
			}
		})
	}
}

// TestCodecKeepsDeliveriesToItself: what is made for one delivery says nothing about the event.
func TestCodecKeepsDeliveriesToItself(t *testing.T) {
	plain, delivered := Reaction{Op: ReactionSet}, Reaction{Op: ReactionSet, Have: []Part{{Name: "👍"}}, Sets: []Reactions{{}}}
	delivered.Target.Parts = []Part{{Native: "n"}}
	for _, pair := range [][2]Body{
		{plain, delivered},
		{Message{Files: []File{{}}}, Message{Files: []File{{Link: "https://example.org"}}}},
	} {
		want, err := EncodeEvent(&Event{Body: pair[0]})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := EncodeEvent(&Event{Body: pair[1]}); err != nil || string(got) != string(want) {
			t.Errorf("written as %s (%v), want %s", got, err, want)
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
