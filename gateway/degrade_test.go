package gateway

import (
	"reflect"
	"testing"
)

func TestDegrade(t *testing.T) {
	rich := Caps{Reply: true, Thread: true, Edit: true, Retract: true, Reaction: true, Files: true, Typing: true, Presence: true, Room: true, Receipt: true, Members: AllMembers}
	there := []Part{{Native: "n1"}}
	answer := Message{Text: Text{Plain: "yes", Marks: []Mark{{Start: 0, End: 3, Style: MarkBold}}}, ReplyTo: Ref{Native: "n1", Parts: there, Author: Person{Name: "Alice"}, Excerpt: "shall we\n go?"}}
	nowhere := answer
	nowhere.ReplyTo.Parts, nowhere.ReplyTo.Native = nil, ""
	quoted := Message{Text: Text{Plain: "(re Alice: “shall we go?”) yes", Marks: []Mark{{Start: 31, End: 34, Style: MarkBold}}}}
	edit := Edit{Target: Ref{Native: "n1", Parts: there}, Text: Text{Plain: "better"}}
	picture := Message{Text: Text{Plain: "look"}, Files: []File{{Name: "cat.png", Size: 2048}}}
	for name, c := range map[string]struct {
		body Body
		caps Caps
		want Body
	}{
		"a rich room gets it all":                   {answer, rich, answer},
		"a reply to a poor room quotes":             {answer, Caps{}, quoted},
		"a reply to what the room does not know":    {nowhere, rich, quoted},
		"an edit where edits are known":             {edit, rich, edit},
		"an edit in a poor room":                    {edit, Caps{}, Message{Text: Text{Plain: "(edited) better"}}},
		"an edit of the unknown":                    {Edit{Text: Text{Plain: "x"}}, rich, Message{Text: Text{Plain: "(edited) x"}}},
		"a file in a poor room":                     {picture, Caps{}, Message{Text: Text{Plain: "look\n[file: cat.png, 2 kB, not carried over]"}}},
		"a file in a rich room":                     {picture, rich, picture},
		"a retraction in a poor room":               {Retract{Target: Ref{Parts: there}}, Caps{}, nil},
		"a retraction of the unknown":               {Retract{}, rich, nil},
		"a retraction":                              {Retract{Target: Ref{Parts: there}}, rich, Retract{Target: Ref{Parts: there}}},
		"a reaction in a poor room":                 {Reaction{Target: Ref{Parts: there}}, Caps{}, nil},
		"typing in a poor room":                     {Typing{true}, Caps{}, nil},
		"a failure always arrives":                  {Receipt{State: Undeliverable, Reason: "r"}, Caps{}, Receipt{State: Undeliverable, Reason: "r"}},
		"a read marker in a poor room":              {Receipt{State: Displayed, Target: Ref{Parts: there}}, Caps{}, nil},
		"a join where nobody asks":                  {Membership{Change: Join}, Caps{}, nil},
		"a join where only leavers count":           {Membership{Change: Join}, Caps{Members: Leavers}, nil},
		"a ban where only leavers count":            {Membership{Change: Ban}, Caps{Members: Leavers}, Membership{Change: Ban}},
		"an invitation is not membership yet":       {Membership{Change: Invite}, rich, nil},
		"a topic in a poor room":                    {RoomState{Topic: new(string)}, Caps{}, nil},
		"an emote needs nothing":                    {Message{Style: StyleEmote, Text: Text{Plain: "waves"}}, Caps{}, Message{Style: StyleEmote, Text: Text{Plain: "waves"}}},
		"a thread is forgotten without replies":     {Message{Text: Text{Plain: "x"}, Thread: Ref{Native: "t"}}, Caps{}, Message{Text: Text{Plain: "x"}}},
		"a reply that nothing is known of":          {Message{Text: Text{Plain: "x"}, ReplyTo: Ref{Native: "gone"}}, Caps{}, Message{Text: Text{Plain: "x"}}},
		"presence where it is shown":                {Presence{Show: "away"}, rich, Presence{Show: "away"}},
		"a reply of which only the author is known": {Message{Text: Text{Plain: "x"}, ReplyTo: Ref{Native: "g", Author: Person{ID: "bob"}}}, Caps{}, Message{Text: Text{Plain: "bob: x"}}},
	} {
		got := degrade(&Event{Body: c.body}, c.caps)
		switch {
		case got == nil && c.want == nil:
		case got == nil || !reflect.DeepEqual(got.Body, c.want):
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestDegradeLeavesTheEventAlone(t *testing.T) {
	ev := &Event{Body: Message{Text: Text{Plain: "x", Marks: []Mark{{Start: 0, End: 1, Style: MarkBold}}}, Files: []File{{Name: "f"}}, ReplyTo: Ref{Native: "n", Excerpt: "e"}}}
	before, _ := EncodeEvent(ev)
	degrade(ev, Caps{})
	if after, _ := EncodeEvent(ev); string(before) != string(after) {
		t.Errorf("changed from %s to %s", before, after)
	}
}
