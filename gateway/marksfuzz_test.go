package gateway

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// marksFrom reads marks out of bytes: style, start and end for each, an Arg for all.
func marksFrom(b []byte, arg string) (out []Mark) {
	styles := []string{MarkBold, MarkItalic, MarkUnderline, MarkStrike, MarkCode, MarkBlock, MarkQuote, MarkItem, MarkLink, MarkSpoiler, MarkMention, "none"}
	for ; len(b) >= 3; b = b[3:] {
		out = append(out, Mark{Start: int(int8(b[1])), End: int(int8(b[2])), Style: styles[int(b[0])%len(styles)], Arg: arg, Who: Person{ID: arg}})
	}
	return out
}

func FuzzMarks(f *testing.F) {
	f.Add("one\ntwo *three*\n\n> four", []byte("\x00\x00\x05\x06\x01\x09\x04\x02\x20"), "https://example.org")
	f.Add("\u2029a\u3000\n", []byte("\x09\x00\x09\x04\x00\x03"), "3")
	f.Add("\xff\n\n", []byte("\x06\x00\x03\x07\x01\x02"), "")
	f.Fuzz(func(t *testing.T, plain string, marks []byte, arg string) {
		text := Text{plain, marksFrom(marks, arg)}
		normal := text.Normal()
		if again := normal.Normal(); !reflect.DeepEqual(normal, again) || normal.Plain != plain {
			t.Fatalf("normal %+v, and again %+v", normal, again)
		}
		for _, m := range normal.Marks {
			if m.Start < 0 || m.Start >= m.End || m.End > len(plain) || !utf8.ValidString(plain[m.Start:m.End]) || m.Style == MarkLink && !IsLink(m.Arg) {
				t.Fatalf("%+v in %q", m, plain)
			}
		}
		var paragraphs []string
		for _, p := range text.Paragraphs() {
			runs := ""
			for _, r := range p.Text.Runs() {
				runs += r.Text
			}
			paragraphs = append(paragraphs, runs)
		}
		if strings.Join(paragraphs, "\n") != plain {
			t.Fatalf("%q of %q", paragraphs, plain)
		}
		text.Flat()
		text.Spoiled()
	})
}

func FuzzDegrade(f *testing.F) {
	f.Add("we meet at the old station", "we meet at the new station", "Bob", []byte("\x0a\x00\x03"))
	f.Add("0", "", "0", []byte("\x06\x00\x03"))
	f.Add("שלום\u202e…", "> \n", "\u2067", []byte("\x06\x00\x03"))
	f.Fuzz(func(t *testing.T, old, plain, name string, marks []byte) {
		plain = Clean(plain)
		text := Text{plain, marksFrom(marks, name)}
		who := Person{Network: "n", ID: "i", Name: name}
		ref := Ref{ID: ID{1}, Native: "n", Author: who, Excerpt: old}
		file := File{Name: name, Size: int64(len(plain))}
		for _, body := range []Body{
			Message{Text: text, ReplyTo: ref, Files: []File{file}}, Message{Text: text, Thread: ref}, Edit{Target: ref, Text: text},
			Retract{Target: ref, Moderated: true, Reason: old}, Reaction{Target: ref, Emoji: []string{name}}, Membership{Who: who, Change: Kick, By: who, Reason: old},
		} {
			ev := &Event{ID: ID{2}, Sender: Person{Network: "n", ID: "j", Name: "j"}, Body: body}
			for _, caps := range []Caps{{Notes: true}, {Marks: true, Notes: true, ReactionNotes: true, MemberNotes: true, Members: AllMembers}} {
				out := degrade(ev, caps)
				if out == nil {
					continue
				}
				m, ok := out.Body.(Message)
				if !ok {
					t.Fatalf("%T became %T", body, out.Body)
				}
				said := m.Text.Plain
				if !utf8.ValidString(said) || Clean(said) != said {
					t.Fatalf("%q of %+v", said, body)
				}
				for _, mark := range m.Text.Marks {
					if caps.Marks && mark.Style == MarkMention && mark.Who == who && mark.Start >= 0 && mark.End > len(said) && mark.Start < len(plain) {
						t.Fatalf("%+v beyond %q", mark, said)
					}
				}
			}
		}
	})
}
