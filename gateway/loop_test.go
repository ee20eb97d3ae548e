package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// line is one message of a conversation in one bridge; want: it is taken for a copy.
type line struct {
	who, text string
	want      bool
}

func TestLoops(t *testing.T) {
	long := "I would rather not, to be honest"
	for name, lines := range map[string][]line{
		"a relay names in angle brackets":     {{"Alice", "hello", false}, {"relay", "<Alice> hello", true}},
		"in square brackets":                  {{"Alice", "hello", false}, {"relay", "[Alice] hello", true}},
		"in round brackets":                   {{"Alice", "hello", false}, {"relay", "(Alice) hello", true}},
		"in bold":                             {{"Alice", "hello", false}, {"relay", "**Alice**: hello", true}},
		"in bold and brackets":                {{"Alice", "hello", false}, {"relay", "**<Alice>** hello", true}},
		"with a colon":                        {{"Alice", long, false}, {"relay", "Alice: " + long, true}},
		"with the protocol in front":          {{"Alice", "hello", false}, {"relay", "[xmpp] <Alice> hello", true}},
		"with the protocol and a colon":       {{"Alice", "hello", false}, {"relay", "[xmpp] Alice: hello", true}},
		"with the protocol inside":            {{"Alice", "hello", false}, {"relay", "<xmpp/Alice> hello", true}},
		"with what our puppet is called":      {{"Alice", "hello", false}, {"relay", "<Alice (XMPP)> hello", true}},
		"with a name that must not ring":      {{"Alice", "hello", false}, {"relay", "<A\u200blice> hello", true}},
		"in colors":                           {{"Alice", "hello", false}, {"relay", "<\x0304,01Alice\x0f> \x02hello", true}},
		"in other case, with other spaces":    {{"Alice", "hello  there", false}, {"relay", "<ALICE> hello there ", true}},
		"our own relay's line":                {{"Alice", "hello", false}, {"relay", "<lockbridge> <Alice> hello", true}},
		"line by line":                        {{"Alice", "one\n\ntwo", false}, {"relay", "<Alice> one", true}, {"relay", "<Alice> two", true}},
		"line by line, as a whole":            {{"Alice", "one\ntwo", false}, {"relay", "<Alice> one\ntwo", true}},
		"again and again":                     {{"Alice", "hello", false}, {"relay", "<Alice> hello", true}, {"relay", "<relay> <Alice> hello", true}},
		"a puppet with a mark":                {{"Alice", "hello", false}, {"Alice[m]", "hello", true}},
		"a puppet with a bar":                 {{"Alice", "hello", false}, {"alice|xmpp", "hello", true}},
		"a puppet with an underscore":         {{"Alice", "hello", false}, {"Alice_", "hello", true}},
		"a puppet with several marks":         {{"Alice", "hello", false}, {"Alice[m][irc]_", "hello", true}},
		"a name of two words":                 {{"Alice Liddell", "hello", false}, {"relay", "<Alice Liddell> hello", true}},
		"a relay that has spoken as a relay":  {{"relay", "<Zed> anybody?", false}, {"Alice", "hello", false}, {"relay", "<Alice> hello", true}},
		"a loop of puppets of the same name":  {{"Alice", "1", false}, {"Alice2=Alice", "1", false}, {"Alice2=Alice", "1", false}, {"Alice2=Alice", "1", true}},
		"short greetings by colon, in a loop": {{"Alice", "hi", false}, {"relay", "Alice: hi", false}, {"relay", "Alice: hi", false}, {"relay", "Alice: hi", true}},

		"somebody quotes with a word more":      {{"Alice", "hello", false}, {"Bob", "<Alice> hello — really?", false}},
		"somebody quotes and answers below":     {{"Alice", "hello", false}, {"Bob", "<Alice> hello\nhello to you, too", false}},
		"somebody quotes with a mark":           {{"Alice", "hello", false}, {"Bob", "> hello", false}},
		"somebody says the same":                {{"Alice", "hello", false}, {"Bob", "hello", false}, {"Carol", "hello", false}},
		"somebody greets back":                  {{"Alice", "hello", false}, {"Bob", "Alice: hello", false}},
		"somebody greets back, having spoken":   {{"Bob", "morning", false}, {"Alice", "hello", false}, {"Bob", "Alice: hello", false}},
		"somebody who has spoken pastes a line": {{"Bob", "look at this", false}, {"Alice", "hello", false}, {"Bob", "<Alice> hello", false}},
		"somebody pastes a long line":           {{"Bob", "look at this", false}, {"Alice", long, false}, {"Bob", "Alice: " + long, false}},
		"somebody pastes what others wrote":     {{"Bob", "hm", false}, {"Alice", "a", false}, {"Carol", "b", false}, {"Bob", "<Alice> a\n<Carol> b", false}},
		"somebody repeats themselves":           {{"Alice", "hello", false}, {"Alice", "hello", false}, {"Alice", "<Alice> hello", false}},
		"the relay speaks for another one":      {{"Alice", "hello", false}, {"relay", "<Bob> hello", false}},
		"the relay speaks for a longer name":    {{"Al", "hello", false}, {"relay", "<Alice> hello", false}, {"relay", "<Pal> hello", false}},
		"the relay says something else":         {{"Alice", "hello", false}, {"relay", "<Alice> hello!", false}},
		"a marked name says something else":     {{"Alice", "hello", false}, {"Alice[m]", "hello all", false}},
		"a marked name without the other one":   {{"Bob", "hello", false}, {"Alice[m]", "hello", false}},
		"two accounts of one person":            {{"Alice", "yes", false}, {"Alice2=Alice", "yes", false}},
		"two nicks of one person":               {{"alice_", "I am on my phone", false}, {"Alice", "yes", false}, {"alice_", "yes", false}},
		"a URL and a time":                      {{"Alice", "//x", false}, {"Bob", "http: //x", false}, {"Bob", "at 10: 30", false}},
		"nothing but a name":                    {{"Alice", "hello", false}, {"Bob", "<Alice> ", false}, {"Bob", "Alice:", false}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoops(time.Now)
			for _, one := range lines {
				if got := l.heard("bridge", "", named(one.who), Message{Text: Text{Plain: one.text}}); got != one.want {
					t.Errorf("%s: %q: a copy: %v, want %v", one.who, one.text, got, one.want)
				}
			}
		})
	}
}

// named makes a person of "name", or of "id=name".
func named(who string) Person {
	id, name, ok := strings.Cut(who, "=")
	if !ok {
		name = who
	}
	return Person{Network: "x", ID: id, Name: name}
}

func say(l *loops, bridge, who, text string) bool {
	return l.heard(bridge, "", named(who), Message{Text: Text{Plain: text}})
}

// A transaction may run again: the same message is judged in the same way, and counts once.
func TestLoopsJudgeOnce(t *testing.T) {
	l := newLoops(time.Now)
	hear := func(native, who, text string) bool {
		return l.heard("one", native, named(who), Message{Text: Text{Plain: text}})
	}
	hear("0", "Bob", "well")
	hear("1", "Alice", "hello")
	for i := range 5 { // a batch of two, in a transaction that runs again and again
		if hear("2", "Bob", "<Alice> hello") || hear("2b", "Bob", "it is late") {
			t.Errorf("a person's quote is a copy, the %d. time that it is judged", i)
		}
	}
	for range 3 {
		if !hear("3", "relay", "<Alice> hello") {
			t.Error("a copy is none when it is judged again")
		}
	}
}

func TestLoopsForget(t *testing.T) {
	now := time.Now()
	l := newLoops(func() time.Time { return now })
	say(l, "one", "Alice", "hello")
	if say(l, "other", "relay", "<Alice> hello") {
		t.Error("a copy of what was said in another bridge")
	}
	now = now.Add(61 * time.Second)
	if say(l, "one", "relay", "<Alice> hello") {
		t.Error("a copy of what was said long ago")
	}
	say(l, "one", "Alice", "hello again")
	l.keep([]Bridge{{Name: "other"}})
	if say(l, "one", "relay", "<Alice> hello again") || len(l.by) != 2 {
		t.Error("a bridge that is gone is remembered")
	}
}

// However much is said, by however many, little is kept, and the newest of it.
func TestLoopsAreBounded(t *testing.T) {
	l := newLoops(time.Now)
	for i := range 5000 {
		say(l, "one", fmt.Sprint("speaker ", i), strings.Repeat(fmt.Sprint(i, "\n"), 100))
	}
	say(l, "one", "Alice", "hello")
	if n := len(l.by["one"].speakers); n > loopSpeakers {
		t.Errorf("%d speakers are kept", n)
	}
	if !say(l, "one", "relay", "<Alice> hello") {
		t.Error("the newest text is not kept")
	}
}

func TestLoopsKnowWhatIsShown(t *testing.T) {
	l := newLoops(time.Now)
	l.shown("one", named("Alice"), Message{Text: Text{Plain: "(re Bob: “well”) hello"}})
	l.shown("one", Person{}, Message{Text: Text{Plain: "A message could not be read."}})
	if !say(l, "one", "relay", "<Alice> (re Bob: “well”) hello") {
		t.Error("a copy of what was shown")
	}
}

// What an edit makes of a message is known as well, and copies of it are.
func TestLoopsJudgeEdits(t *testing.T) {
	edit := func(words string) Body { return Edit{Text: Text{Plain: words}} }
	l := newLoops(time.Now)
	say(l, "one", "Alice", "helo")
	if l.heard("one", "", named("Alice"), edit("hello")) {
		t.Error("her own edit is a copy")
	}
	if !l.heard("one", "", named("relay"), edit("<Alice> hello")) || !say(l, "one", "relay", "<Alice> hello") {
		t.Error("a copy of what she edited is none")
	}
	l.shown("one", named("Alice"), edit("(edited) hello"))
	if !l.heard("one", "", named("Alice[m]"), edit("(edited) hello")) {
		t.Error("a copy of her edit as it was shown is none")
	}
	if l.heard("one", "", named("Bob"), edit("hello to you")) {
		t.Error("an edit of somebody else is a copy")
	}
	if l.heard("one", "", named("relay"), Edit{Text: Text{Plain: "<Alice> hello"}, Files: []File{{}}}) {
		t.Error("an edit that brings a file is a copy")
	}
	for i := range loopVerdicts + 1 {
		l.noteCopy(ID{byte(i >> 8), byte(i)})
	}
	if len(l.copies) > loopVerdicts || !l.wasCopy(ID{byte(loopVerdicts >> 8), byte(loopVerdicts & 0xff)}) {
		t.Errorf("%d copies are kept", len(l.copies))
	}
}

func FuzzLoops(f *testing.F) {
	f.Add("Alice", "hello", "relay", "<Alice> hello")
	f.Add("\x03", "\x04", "_", "**: **: ")
	f.Fuzz(func(t *testing.T, who, text, other, copied string) {
		l := newLoops(time.Now)
		if say(l, "b", who, text) {
			t.Error("the first word is a copy")
		}
		say(l, "b", other, copied)
		label := nameKey(named(who).Label())
		plain := label != "" && isNick(label) && !strings.ContainsFunc(label, func(r rune) bool { return !isWord(r) && r != ' ' })
		if !plain || strings.TrimSpace(bare(text)) == "" || named(who).ID == "relay" {
			return
		}
		l = newLoops(time.Now)
		say(l, "b", who, text)
		if !say(l, "b", "relay", "<"+label+"> "+text) {
			t.Errorf("%q of %q came back unnoticed", text, who)
		}
	})
}
