package gateway

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// idAt is an id minted at a time.
func idAt(at time.Time) (id ID) {
	binary.BigEndian.PutUint64(id[:], uint64(at.UnixMilli())<<16|0x7000)
	id[15] = 1
	return id
}

// shownAs is how a room reads what became of an event, with names that are mentions in ⟦⟧. What is native says so.
func shownAs(ev *Event) string {
	if ev == nil {
		return "nothing"
	}
	m, ok := ev.Body.(Message)
	if !ok {
		return "native " + ev.Body.Kind()
	}
	text := m.Text.Plain
	for _, mark := range slices.Backward(m.Text.Marks) {
		if mark.Style == MarkMention {
			text = text[:mark.Start] + "⟦" + text[mark.Start:mark.End] + "⟧" + text[mark.End:]
		}
	}
	switch {
	case ev.Sender.IsZero() || m.Style == StyleNotice:
	case m.Style == StyleEmote:
		text = "* " + ev.Sender.Label() + " " + text
	default:
		text = "<" + ev.Sender.Label() + "> " + text
	}
	if m.Note {
		text += " (a note)"
	}
	if !m.ReplyTo.IsZero() {
		text += " [an answer]"
	}
	if !m.Thread.IsZero() {
		text += " [in a thread]"
	}
	for _, f := range m.Files {
		text += " [and " + f.Name + "]"
	}
	return text
}

// Every text that a room reads where it has no form for a thing.
func TestDegradedTexts(t *testing.T) {
	now := time.Date(2026, 11, 23, 14, 40, 0, 0, time.UTC)
	alice, bob := Person{Network: "x", ID: "alice@a", Name: "alice"}, Person{Network: "m", ID: "@bob:b", Name: "Bob"}
	poor := Caps{Marks: true}
	notes := Caps{Marks: true, Notes: true, ReactionNotes: true, MemberNotes: true, Members: AllMembers}
	rich := Caps{Reply: true, Thread: true, Edit: true, Retract: true, Reaction: true, Marks: true, Files: true, Room: true, Receipt: true, Members: AllMembers}
	tagged := Caps{Marks: true, Reply: true, ReplyText: true}

	there := []Part{{Native: "n1"}}
	old := Ref{ID: idAt(now.Add(-8 * time.Minute)), Native: "n1", Parts: there, Author: bob, Excerpt: "shall we\n go?"}
	young := old
	young.ID = idAt(now.Add(-time.Minute))
	yesterday := old
	yesterday.ID = idAt(now.Add(-24 * time.Hour))
	own := old
	own.Author = alice
	elsewhere := old
	elsewhere.Native, elsewhere.Parts = "", nil
	nobody := Ref{Native: "gone", Excerpt: "what they brought"}
	with := func(r Ref, f func(*Ref)) Ref { f(&r); return r }
	text := func(s string) Text { return Text{Plain: s} }
	say := func(s string, r Ref) Message { return Message{Text: text(s), ReplyTo: r} }
	long := strings.Repeat("word ", 20)
	rtl := with(old, func(r *Ref) { r.Excerpt = "שלום \u202eעולם" })
	edit := func(was, is string) Edit {
		return Edit{Target: with(own, func(r *Ref) { r.Excerpt = was }), Text: text(is)}
	}
	files := func(s string, f ...File) Message { return Message{Text: text(s), Files: f} }
	cat := File{Name: "cat.png", Size: 1_234_567}
	linked := cat
	linked.Link = "https://l.example/m/1/cat.png"
	voice := File{Name: "v.ogg", Size: 9, Voice: true, Duration: 12 * time.Second}
	sticker := File{Name: "wave", Sticker: true}
	member := func(c Change, by Person, why string) Membership {
		return Membership{Who: alice, Change: c, By: by, Reason: why}
	}

	for name, c := range map[string]struct {
		body Body
		caps Caps
		want string
	}{
		"a reply where there are replies":         {say("yes", old), rich, "<alice> yes [an answer]"},
		"a reply where few see them":              {say("yes", old), tagged, "<alice> (re ⟦Bob⟧: “shall we go?”) yes [an answer]"},
		"a reply":                                 {say("yes", old), poor, "<alice> (re ⟦Bob⟧: “shall we go?”) yes"},
		"a quick reply":                           {say("yes", young), poor, "<alice> ⟦Bob⟧: yes"},
		"a quick reply that names them":           {Message{Text: nameText(bob), ReplyTo: young}, poor, "<alice> ⟦Bob⟧"},
		"a reply to what the room does not know":  {say("yes", elsewhere), rich, "<alice> (re ⟦Bob⟧: “shall we go?”) yes"},
		"a reply to what nobody knows":            {say("yes", nobody), rich, "<alice> (re “what they brought”) yes"},
		"a reply of which nothing is known":       {say("yes", Ref{Native: "gone"}), rich, "<alice> yes"},
		"a reply to something long":               {say("yes", with(old, func(r *Ref) { r.Excerpt = long })), poor, "<alice> (re ⟦Bob⟧: “word word word word word word word word word word word wo…”) yes"},
		"a reply to somebody":                     {say("yes", with(old, func(r *Ref) { r.Excerpt = "" })), poor, "<alice> ⟦Bob⟧: yes"},
		"a reply to what runs from right to left": {say("yes", rtl), poor, "<alice> (re ⟦Bob⟧: “\u2068שלום עולם\u2069”) yes"},
		"an emote as a reply":                     {Message{Text: text("nods"), ReplyTo: young, Style: StyleEmote}, poor, "* alice (re ⟦Bob⟧: “shall we go?”) nods"},
		"an emote as a reply to a picture":        {Message{Text: text("nods"), ReplyTo: with(young, func(r *Ref) { r.Excerpt = "" }), Style: StyleEmote}, poor, "* alice (re ⟦Bob⟧) nods"},
		"a thread":                                {Message{Text: text("yes"), Thread: old}, rich, "<alice> yes [in a thread]"},
		"a thread where there are replies":        {Message{Text: text("yes"), Thread: old}, Caps{Reply: true}, "<alice> yes [an answer]"},
		"a thread, poor":                          {Message{Text: text("yes"), Thread: old}, poor, "<alice> (re ⟦Bob⟧: “shall we go?”) yes"},
		"a reply in a thread, poor":               {Message{Text: text("yes"), Thread: old, ReplyTo: young}, poor, "<alice> ⟦Bob⟧: yes"},
		"a thread whose root is not there":        {Message{Text: text("yes"), Thread: elsewhere}, rich, "<alice> (re ⟦Bob⟧: “shall we go?”) yes"},
		"an edit where there are edits":           {edit("a", "b"), rich, "native edit"},
		"an edit":                                 {edit("one two three", "all new words here"), poor, "<alice> (edited) all new words here"},
		"an edit of a word":                       {edit("we meet at the old station at 5 pm sharp", "we meet at the new station at 5 pm sharp"), poor, "<alice> (edited) …at the new station at…"},
		"an edit of the first word":               {edit("wee meet at the old station", "we meet at the old station"), poor, "<alice> (edited) we meet at…"},
		"an edit of the last word":                {edit("we meet at the old statoin", "we meet at the old station"), poor, "<alice> (edited) …the old station"},
		"an edit that takes words out":            {edit("we do not meet at the old station", "we do meet at the old station"), poor, "<alice> (edited) we do meet at…"},
		"an edit of a long text":                  {edit(Shorten(strings.Repeat("a b c ", 60), MaxExcerpt), strings.Repeat("a b c ", 60)+"d"), poor, "<alice> (edited) " + strings.Repeat("a b c ", 60) + "d"},
		"an edit of lines":                        {edit("a b c d e f g h", "a b c d e f g\nx"), poor, "<alice> (edited) a b c d e f g\nx"},
		"an edit of short words":                  {edit("yess", "yes"), poor, "<alice> (edited) yes"},
		"an edit of white space":                  {edit("a  b c d e f g", "a b c d e f g"), poor, "<alice> (edited) a b c d e f g"},
		"an edit of the unknown":                  {Edit{Text: text("x")}, rich, "<alice> (edited) x"},
		"an edit of an emote":                     {Edit{Target: own, Text: text("waves"), Style: StyleEmote}, poor, "* alice (edited) waves"},
		"an edit with a file":                     {Edit{Text: text("x"), Files: []File{cat}}, rich, "<alice> (edited) x [and cat.png]"},
		"a retraction where there are some":       {Retract{Target: own}, rich, "native retract"},
		"a retraction":                            {Retract{Target: own, Reason: "why"}, notes, "* alice deleted a message from 14:32 UTC"},
		"a retraction of what is old":             {Retract{Target: with(yesterday, func(r *Ref) { r.Author = alice })}, notes, "* alice deleted a message from 2026-11-22 14:40 UTC"},
		"a retraction that is not told":           {Retract{Target: own}, poor, "nothing"},
		"a retraction of the unknown":             {Retract{Target: Ref{Native: "gone"}}, notes, "nothing"},
		"a moderator's retraction":                {Retract{Target: old, Moderated: true}, notes, "* a message by ⟦Bob⟧ from 14:32 UTC was removed by ⟦alice⟧"},
		"a moderator's own retraction":            {Retract{Target: own, Moderated: true}, notes, "* alice deleted a message from 14:32 UTC"},
		"a moderator's retraction of somebody's":  {Retract{Target: with(old, func(r *Ref) { r.Author = Person{} }), Moderated: true}, notes, "* a message from 14:32 UTC was removed by ⟦alice⟧"},
		"a reaction where there are some":         {Reaction{Target: old, Emoji: []string{"👍"}}, rich, "native reaction"},
		"a reaction":                              {Reaction{Target: old, Emoji: []string{"👍"}}, notes, "* alice reacted 👍 to “shall we go?” (a note)"},
		"more reactions":                          {Reaction{Target: old, Emoji: []string{"👍", "🎉", "❤️"}, Have: []Part{{Name: "👍"}}}, notes, "* alice reacted 🎉 ❤️ to “shall we go?” (a note)"},
		"a reaction that is gone":                 {Reaction{Target: old, Emoji: []string{"👍"}, Have: []Part{{Name: "👍"}, {Name: "🎉"}}}, notes, "nothing"},
		"a reaction to a picture":                 {Reaction{Target: with(old, func(r *Ref) { r.Excerpt = "" }), Emoji: []string{"👍"}}, notes, "* alice reacted 👍 to a message by ⟦Bob⟧ (a note)"},
		"a reaction to something":                 {Reaction{Emoji: []string{"👍"}}, notes, "* alice reacted 👍 to a message (a note)"},
		"a reaction to something long":            {Reaction{Target: with(old, func(r *Ref) { r.Excerpt = long }), Emoji: []string{"👍"}}, notes, "* alice reacted 👍 to “word word word word word word word wo…” (a note)"},
		"a reaction that is not told":             {Reaction{Target: old, Emoji: []string{"👍"}}, poor, "nothing"},
		"a file where there are files":            {files("look", cat), rich, "<alice> look [and cat.png]"},
		"a file with a link":                      {files("", linked), poor, "<alice> [cat.png, 1.2 MB] https://l.example/m/1/cat.png"},
		"a file without a link":                   {files("", cat), poor, "<alice> [file: cat.png, 1.2 MB, not carried over]"},
		"a caption":                               {files("look", linked), poor, "<alice> look [cat.png, 1.2 MB] https://l.example/m/1/cat.png"},
		"a caption of lines":                      {files("look\nthere", linked), poor, "<alice> look\nthere\n[cat.png, 1.2 MB] https://l.example/m/1/cat.png"},
		"files":                                   {files("look", linked, cat), poor, "<alice> look\n[cat.png, 1.2 MB] https://l.example/m/1/cat.png\n[file: cat.png, 1.2 MB, not carried over]"},
		"a file of unknown size":                  {files("", File{Name: "a.bin"}), poor, "<alice> [file: a.bin, not carried over]"},
		"a file without a name":                   {files("", File{Size: 2_999}), poor, "<alice> [file, 2 kB, not carried over]"},
		"a file whose name is a trap":             {files("", File{Name: "a\r\nQUIT \u202egnp.exe"}), poor, "<alice> [file: a QUIT gnp.exe, not carried over]"},
		"a file that is too large":                {files("look", cat, File{Name: "s", Size: 9}), Caps{Files: true, MaxFile: 9}, "<alice> look [file: cat.png, 1.2 MB, not carried over] [and s]"},
		"a voice message":                         {files("", with2(voice, linked.Link)), poor, "<alice> [voice message, 0:12] https://l.example/m/1/cat.png"},
		"a voice message without a link":          {files("", voice), poor, "<alice> [voice message, 0:12, not carried over]"},
		"a long voice message":                    {files("", File{Voice: true, Duration: 3723400 * time.Millisecond}), poor, "<alice> [voice message, 1:02:03, not carried over]"},
		"a sticker":                               {files("", with2(sticker, linked.Link)), poor, "<alice> [sticker: wave] https://l.example/m/1/cat.png"},
		"a sticker without a link":                {files("", sticker), poor, "<alice> [sticker: wave]"},
		"a sticker without a name":                {files("", File{Sticker: true}), poor, "<alice> [sticker]"},
		"a join":                                  {member(Join, Person{}, "x"), notes, "* alice joined (a note)"},
		"a leave":                                 {member(Leave, Person{}, ""), notes, "* alice left (a note)"},
		"a leave with a reason":                   {member(Leave, Person{}, "Ping\ntimeout"), notes, "* alice left (Ping timeout) (a note)"},
		"a kick":                                  {member(Kick, bob, "spam"), notes, "* alice was kicked by ⟦Bob⟧ (spam) (a note)"},
		"a kick by nobody":                        {member(Kick, Person{}, ""), notes, "* alice was kicked (a note)"},
		"a ban":                                   {member(Ban, bob, ""), notes, "* alice was banned by ⟦Bob⟧ (a note)"},
		"a new name":                              {Membership{Who: Person{Network: "x", ID: "alice@a", Name: "al"}, Change: Rename}, notes, "* alice is now known as ⟦al⟧ (a note)"},
		"a new picture":                           {Membership{Who: alice, Change: Rename}, notes, "nothing"},
		"what a list tells":                       {Membership{Who: alice, Change: Join, Quiet: true}, notes, "nothing"},
		"an invitation":                           {member(Invite, bob, ""), notes, "nothing"},
		"a join where there are members":          {member(Join, Person{}, ""), rich, "native membership"},
		"a join where nobody asks":                {member(Join, Person{}, ""), poor, "nothing"},
		"a join where only leavers count":         {member(Join, Person{}, ""), Caps{Members: Leavers}, "nothing"},
		"a ban where only leavers count":          {member(Ban, bob, ""), Caps{Members: Leavers}, "native membership"},
		"a new name where only leavers count":     {Membership{Who: alice, Change: Rename}, Caps{Members: Leavers}, "native membership"},
		"a failure always arrives":                {Receipt{State: Undeliverable}, poor, "native receipt"},
		"a read marker":                           {Receipt{State: Displayed, Target: old}, rich, "native receipt"},
		"a read marker in a poor room":            {Receipt{State: Displayed, Target: old}, poor, "nothing"},
		"typing in a poor room":                   {Typing{true}, poor, "nothing"},
		"presence in a poor room":                 {Presence{}, poor, "nothing"},
		"presence":                                {Presence{}, Caps{Presence: true}, "native presence"},
		"a topic in a poor room":                  {RoomState{Topic: new(string)}, poor, "nothing"},
		"a topic":                                 {RoomState{Topic: new(string)}, rich, "native room"},
		"an emote needs nothing":                  {Message{Style: StyleEmote, Text: text("waves")}, poor, "* alice waves"},
		"plainer: text":                           {Message{Text: Text{Plain: "b", Marks: []Mark{{End: 1, Style: MarkBold}}}, Files: []File{linked}, ReplyTo: young}, Caps{Notes: true}, "<alice> ⟦Bob⟧: b [cat.png, 1.2 MB] https://l.example/m/1/cat.png"},
		"plainer: an edit":                        {edit("yess", "yes"), Caps{Notes: true}, "<alice> (edited) yes"},
		"plainer: a retraction":                   {Retract{Target: own}, Caps{Notes: true}, "* alice deleted a message from 14:32 UTC"},
		"plainer: a reaction":                     {Reaction{Target: old, Emoji: []string{"👍"}}, Caps{Notes: true}, "nothing"},
		"plainer: a change of members":            {member(Ban, bob, ""), Caps{Notes: true}, "nothing"},
		"plainer: a topic":                        {RoomState{Topic: new(string)}, Caps{Notes: true}, "nothing"},
		"marks where there are none":              {Message{Text: Text{Plain: "a b", Marks: []Mark{{End: 1, Style: MarkQuote}, {End: 1, Style: MarkLink, Arg: "https://a.b"}}}}, Caps{}, "<alice> > a (https://a.b) b"},
		"a reply that begins with a quote":        {Message{Text: Text{Plain: "a\nb", Marks: []Mark{{End: 1, Style: MarkQuote}}}, ReplyTo: old}, Caps{}, "<alice> (re ⟦Bob⟧: “shall we go?”)\n> a\nb"},
		"an edit that begins with a block":        {Edit{Text: Text{Plain: "a\nb", Marks: []Mark{{End: 3, Style: MarkBlock}}}}, Caps{}, "<alice> (edited)\na\nb"},
		"an answer to a spoiler does not tell it": {say("no!", with(old, func(r *Ref) { r.Excerpt = Excerpt(spoiled) })), poor, "<alice> (re ⟦Bob⟧: “in the end (spoiler) dies”) no!"},
		"an edit where marks are none stays one":  {Edit{Target: own, Text: Text{Plain: "b", Marks: []Mark{{End: 1, Style: MarkQuote}}}}, Caps{Edit: true}, "native edit"},
		"a thread that has a name of its own":     {Message{Text: text("x"), Thread: with(old, func(r *Ref) { r.Parts = []Part{{Native: "n1"}, {Name: ThreadPart, Native: "thread:t"}} })}, Caps{Reply: true}, "<alice> x [an answer]"},
	} {
		ev := &Event{ID: idAt(now), Sender: alice, Body: c.body}
		if got := shownAs(degrade(ev, c.caps)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// spoiled is "in the end Bob dies", the name hidden.
var spoiled = Message{Text: Text{Plain: "in the end Bob dies", Marks: []Mark{{Start: 11, End: 14, Style: MarkSpoiler}}}}

func with2(f File, link string) File {
	f.Link = link
	return f
}

// Marks lie where they were before words were put around them.
func TestDegradedMarks(t *testing.T) {
	bold := []Mark{{Start: 0, End: 3, Style: MarkBold}}
	bob := Person{Network: "m", ID: "bob", Name: "Bob"}
	for name, c := range map[string]struct {
		body Body
		want []Mark
	}{
		"a reply":           {Message{Text: Text{"yes", bold}, ReplyTo: Ref{Native: "n", Author: bob}}, []Mark{{0, 3, MarkMention, "", bob}, {5, 8, MarkBold, "", Person{}}}},
		"an edit":           {Edit{Text: Text{"yes", bold}}, []Mark{{9, 12, MarkBold, "", Person{}}}},
		"a part of an edit": {Edit{Target: Ref{Excerpt: "a b c d e f g h"}, Text: Text{"a b c d e f g X", []Mark{{0, 1, MarkBold, "", Person{}}, {12, 15, MarkItalic, "", Person{}}, {8, 13, MarkMention, "", bob}}}}, []Mark{{16, 17, MarkItalic, "", Person{}}}},
		"a file":            {Message{Text: Text{"yes", bold}, Files: []File{{Name: "f"}}}, bold},
	} {
		got := degrade(&Event{Body: c.body}, Caps{Marks: true}).Body.(Message)
		if !reflect.DeepEqual(got.Text.Marks, c.want) {
			t.Errorf("%s: %+v in %q", name, got.Text.Marks, got.Text.Plain)
		}
	}
}

func TestDegradeLeavesTheEventAlone(t *testing.T) {
	parts := []Part{{Name: ThreadPart, Native: "thread:x"}, {Native: "n"}}
	ev := &Event{Body: Message{Text: Text{Plain: "x", Marks: []Mark{{Start: 0, End: 1, Style: MarkQuote}}}, Files: []File{{Name: "f"}}, Thread: Ref{Native: "n", Excerpt: "e", Parts: parts}}}
	before, _ := EncodeEvent(ev)
	degrade(ev, Caps{Reply: true})
	degrade(ev, Caps{})
	if after, _ := EncodeEvent(ev); string(before) != string(after) || parts[0].Name != ThreadPart {
		t.Errorf("changed from %s to %s", before, after)
	}
}

// TestAnEditAnswersAsItsMessageDoes: what the message is shown as, its edit is.
func TestAnEditAnswersAsItsMessageDoes(t *testing.T) {
	now := time.Date(2026, 11, 23, 14, 40, 0, 0, time.UTC)
	old := Ref{ID: idAt(now.Add(-time.Hour)), Parts: []Part{{Native: "n1"}}, Author: Person{Network: "m", ID: "@bob:b", Name: "Bob"}, Excerpt: "shall we?"}
	elsewhere := old
	elsewhere.Parts = nil
	target := Ref{ID: idAt(now), Parts: []Part{{Native: "n2"}}}
	for _, caps := range []Caps{{Edit: true}, {Edit: true, Reply: true}, {Edit: true, Reply: true, Thread: true}, {Edit: true, Reply: true, ReplyText: true}} {
		for _, replyTo := range []Ref{{}, old, elsewhere} {
			for _, thread := range []Ref{{}, old, elsewhere} {
				m := degradeMessage(target.ID, Message{Text: bareText("yes"), ReplyTo: replyTo, Thread: thread}, caps)
				e, ok := degradeEdit(idAt(now.Add(time.Hour)), Edit{Target: target, Text: bareText("yes"), ReplyTo: replyTo, Thread: thread}, caps).(Edit)
				if !ok || !reflect.DeepEqual(e.Text, m.Text) || !reflect.DeepEqual(e.ReplyTo, m.ReplyTo) || !reflect.DeepEqual(e.Thread, m.Thread) {
					t.Errorf("%+v: %+v, want %+v", caps, e, m)
				}
			}
		}
	}
}
