package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var foldStart = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// laneOf makes a lane of rows written as "KIND TARGET WORDS" or "KIND! TARGET WORDS" for what was tried before: m 1 hello,
// e 1 hallo, f 1 hallo (with a file), r 1 (a retraction), a 1 (an answer), l 1 👍 (a reaction), x (a report), u (unknown). Each came a second
// after the one before.
func laneOf(lines ...string) (rows []Queued) {
	for i, line := range lines {
		f := append(strings.SplitN(line, " ", 3), "", "")
		id := func(n string) (id ID) {
			if n != "" {
				id[0], id[15] = 1, n[0]
			}
			return id
		}
		ref := Ref{ID: id(f[1]), Excerpt: "was " + f[1]}
		row := Queued{Seq: int64(i + 1), Accepted: foldStart.Add(time.Duration(i) * time.Second), Event: &Event{ID: id(string(rune('A' + i))), Sender: Person{Network: "n", ID: "p"}}}
		if kind, tried := strings.CutSuffix(f[0], "!"); tried {
			f[0], row.Attempt = kind, 1
		}
		switch f[0] {
		case "m":
			row.Event.ID, row.Event.Body = id(f[1]), Message{Text: Text{Plain: f[2]}}
		case "e":
			row.Event.Body = Edit{Target: ref, Text: Text{Plain: f[2]}}
		case "f":
			row.Event.Body = Edit{Target: ref, Text: Text{Plain: f[2]}, Files: []File{{}}}
		case "r":
			row.Event.Body = Retract{Target: ref}
		case "a":
			row.Event.Body = Message{Text: Text{Plain: f[2]}, ReplyTo: ref}
		case "l":
			row.Event.Body = Reaction{Target: ref, Emoji: []string{f[2]}, Anchor: id("Z")}
		case "x":
			row.Event.Body = Receipt{State: Undeliverable}
		case "g":
			row.Event.Sender, row.Event.Body = Person{}, Message{Text: Text{Plain: f[2]}}
		case "u":
			row.Event = nil
		}
		rows = append(rows, row)
	}
	return rows
}

// asTold is what became of a lane: "say: 1 hello | with 1: 2 | ended: 3 | left: 4 until 5s".
func asTold(f folding) string {
	var out []string
	list := func(name string, rows []Queued) {
		for i, r := range rows {
			if i == 0 {
				out = append(out, name+":")
			}
			s := fmt.Sprint(r.Seq)
			if name != "say" {
				out = append(out, s)
				continue
			}
			if r.Event != nil {
				switch b := r.Event.Body.(type) {
				case Message:
					s += "=" + b.Text.Plain + strings.ReplaceAll("<"+b.ReplyTo.Excerpt+">", "<>", "")
				case Edit:
					s += "=" + b.Target.Excerpt + "→" + b.Text.Plain
				}
			}
			out = append(out, s)
		}
	}
	list("say", f.say)
	for _, r := range f.say {
		list(fmt.Sprint("with ", r.Seq), f.with[r.Seq])
	}
	list("ended", f.ended)
	list("left", f.left)
	if len(f.left) > 0 {
		out = append(out, "until", fmt.Sprint(f.due.Sub(foldStart)))
	}
	return strings.Join(out, " ")
}

func TestFold(t *testing.T) {
	quick := Caps{Fold: 5 * time.Second, ReactionNotes: true}
	for name, c := range map[string]struct {
		lane []string
		caps Caps
		want string
	}{
		"an edit of what waits":                    {[]string{"m 1 helo", "e 1 hello"}, quick, "say: 1=hello with 1: 2"},
		"the last edit counts":                     {[]string{"m 1 a", "m 2 x", "e 1 b", "e 1 c"}, quick, "say: 1=c 2=x with 1: 3 4"},
		"edits of what was said before":            {[]string{"e 1 b", "e 1 c", "m 2 x"}, quick, "say: 1=was 1→c 3=x with 1: 2"},
		"an edit that is the last thing":           {[]string{"m 2 x", "e 1 b"}, quick, "say: 1=x left: 2 until 6s"},
		"an edit joins what is said anyway":        {[]string{"e 1 b", "m 2 x", "e 1 c"}, quick, "say: 1=was 1→c 2=x with 1: 3"},
		"edits that are the last thing":            {[]string{"e 1 b", "e 1 c"}, quick, "left: 1 2 until 6s"},
		"edits of two messages":                    {[]string{"e 1 b", "e 2 y"}, quick, "say: 1=was 1→b left: 2 until 6s"},
		"a tried message keeps its words":          {[]string{"m! 1 a", "e 1 b", "m 2 x"}, quick, "say: 1=a 2=was 1→b 3=x"},
		"a tried edit is not joined":               {[]string{"m 1 a", "e! 1 b", "m 2 x"}, quick, "say: 1=a 2=was 1→b 3=x"},
		"a tried edit is not left":                 {[]string{"e! 1 b"}, quick, "say: 1=was 1→b"},
		"an edit with a file is said by itself":    {[]string{"m 1 a", "f 1 b", "e 1 c", "e 1 d", "m 2 x"}, quick, "say: 1=a 2=was 1→b 3=was 1→d 5=x with 3: 4"},
		"a retraction of what waits":               {[]string{"m 1 a", "m 2 x", "r 1"}, quick, "say: 2=x ended: 1 3"},
		"a retraction of what waits and edits":     {[]string{"m 1 a", "e 1 b", "r 1", "e 1 c", "r 1"}, quick, "ended: 1 2 3 4 5"},
		"a retraction of what was tried":           {[]string{"m! 1 a", "e 1 b", "r 1"}, quick, "say: 1=a 3 ended: 2"},
		"a retraction of what was said":            {[]string{"e 1 b", "e 1 c", "r 1"}, quick, "say: 3 ended: 1 2"},
		"a tried retraction":                       {[]string{"m 1 a", "r! 1"}, quick, "say: 1=a 2"},
		"answers forget what was taken back":       {[]string{"m 1 a", "a 1 why?", "r 1", "a 1 indeed"}, quick, "say: 2=why? 4=indeed ended: 1 3"},
		"answers keep what was not":                {[]string{"m 1 a", "a 1 why?"}, quick, "say: 1=a 2=why?<was 1>"},
		"reactions to what was taken back":         {[]string{"m 1 a", "l 1 👍", "r 1", "l 1 🎉"}, quick, "ended: 1 2 3 4"},
		"a reaction in words is gathered":          {[]string{"l 1 👍", "l 1 🎉"}, quick, "left: 1 2 until 11s"},
		"until somebody speaks":                    {[]string{"l 1 👍", "l 1 🎉", "m 2 x"}, quick, "say: 2 3=x with 2: 1"},
		"a reaction that is shown is not":          {[]string{"l 1 👍", "l 1 🎉"}, Caps{Fold: time.Second, Reaction: true, ReactionNotes: true}, "say: 1 2"},
		"nothing is joined without a wish":         {[]string{"m 1 a", "e 1 b", "r 1"}, Caps{}, "say: 1=a 2=was 1→b 3"},
		"the gateway's words are not":              {[]string{"g 1 a", "e 1 b", "m 2 x"}, quick, "say: 1=a 2=was 1→b 3=x"},
		"what is unknown is passed on":             {[]string{"e 1 b", "u"}, quick, "say: 1=was 1→b 2"},
		"an edit of the unknown":                   {[]string{"e  b", "e  c", "x"}, quick, "say: 1=was →b 2=was →c 3"},
		"messages are held":                        {[]string{"m 1 a", "e 1 b", "m 2 x"}, Caps{Hold: 4 * time.Second}, "left: 1 2 3 until 4s"},
		"those that are old enough are said":       {[]string{"m 1 a", "m 2 x"}, Caps{Hold: 2 * time.Second}, "say: 1=a left: 2 until 3s"},
		"nothing is held in front of a report":     {[]string{"m 1 a", "x"}, Caps{Hold: 9 * time.Second}, "say: 1=a 2"},
		"what was tried is not held":               {[]string{"m! 1 a", "m 2 x"}, Caps{Hold: 9 * time.Second}, "say: 1=a left: 2 until 10s"},
		"what the gateway says is not held":        {[]string{"g 1 a"}, Caps{Hold: 9 * time.Second}, "say: 1=a"},
		"nothing is left of nothing":               {nil, quick, ""},
		"a report says nothing of edits behind it": {[]string{"x", "e 1 b"}, quick, "say: 1 left: 2 until 6s"},
	} {
		rows := laneOf(c.lane...)
		before := slices.Clone(rows)
		if got := asTold(fold(rows, c.caps, foldStart.Add(2*time.Second), false)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for i := range rows {
			if rows[i].Event != before[i].Event {
				t.Errorf("%s: the journal's rows are changed", name)
			}
		}
	}
}

// A lane whose head was not read to its end has something that follows; a clock that is far off holds nothing up.
func TestFoldWaitsForNobodyElse(t *testing.T) {
	caps := Caps{Fold: 5 * time.Second}
	if got := asTold(fold(laneOf("e 1 b"), caps, foldStart, true)); got != "say: 1=was 1→b" {
		t.Errorf("with more behind it: %s", got)
	}
	for _, now := range []time.Duration{5 * time.Second, 24 * time.Hour, -24 * time.Hour} {
		if got := asTold(fold(laneOf("e 1 b"), caps, foldStart.Add(now), false)); got != "say: 1=was 1→b" {
			t.Errorf("%s after it came: %s", now, got)
		}
	}
	if got := asTold(fold(laneOf("e 1 b"), caps, foldStart.Add(-time.Second), false)); got != "left: 1 until 4s" {
		t.Errorf("a second before it came: %s", got)
	}
}

// Somebody else's edit or retraction that got so far changes nothing here.
func TestFoldAsksWhose(t *testing.T) {
	rows := laneOf("m 1 a", "e 1 b", "r 1", "m 2 x")
	rows[1].Event.Sender.ID, rows[2].Event.Sender.ID = "q", "q"
	if got := asTold(fold(rows, Caps{Fold: time.Second}, foldStart.Add(time.Hour), false)); got != "say: 1=a 2=was 1→b 3 4=x" {
		t.Error(got)
	}
	rows[2].Event.Body = Retract{Target: rows[2].Event.Body.(Retract).Target, Moderated: true}
	if got := asTold(fold(rows, Caps{Fold: time.Second}, foldStart.Add(time.Hour), false)); !strings.Contains(got, "ended: 1 3") && !strings.HasSuffix(got, "ended: 1 2 3") {
		t.Error("a moderator's:", got)
	}
}

// However a lane is cut into runs, and whatever fails on the way: what a room reads last of each message is its last edit,
// nothing of what was taken back stands there without a word that it was, and nobody's words overtake others.
func TestWhatIsSaidLastIsTheLastEdit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		caps := Caps{Fold: time.Duration(rapid.IntRange(0, 8).Draw(t, "fold")) * time.Second, Hold: time.Duration(rapid.IntRange(0, 4).Draw(t, "hold")) * time.Second}
		var lines []string
		want, gone := map[string]string{}, map[string]bool{}
		for i := range rapid.IntRange(1, 14).Draw(t, "length") {
			known := slices.Sorted(maps.Keys(want))
			words := fmt.Sprint("words", i)
			kind := rapid.SampledFrom([]string{"m", "m", "e", "e", "e", "r", "x"}).Draw(t, "kind")
			switch {
			case kind == "x":
				lines = append(lines, "x")
			case kind == "m" || len(known) == 0:
				id := fmt.Sprint(len(want))
				if len(want) > 8 {
					continue
				}
				want[id], lines = words, append(lines, "m "+id+" "+words)
			case kind == "e":
				id := rapid.SampledFrom(known).Draw(t, "edited")
				if want[id] = words; gone[id] {
					continue
				}
				lines = append(lines, "e "+id+" "+words)
			default:
				id := rapid.SampledFrom(known).Draw(t, "retracted")
				if !gone[id] {
					gone[id], lines = true, append(lines, "r "+id)
				}
			}
		}
		r := room{t: t, caps: caps, last: map[ID]string{}, retracted: map[ID]bool{}}
		r.deliver(laneOf(lines...))
		for n, words := range want {
			id := ID{0: 1, 15: n[0]}
			switch said, ever := r.last[id]; {
			case gone[n] && ever && !r.retracted[id]:
				t.Fatalf("%s stands there and was taken back: %q", n, lines)
			case !gone[n] && said != words:
				t.Fatalf("of %s the last is %q, want %q: %q", n, said, words, lines)
			}
		}
	})
}

// room reads what is delivered.
type room struct {
	t         *rapid.T
	caps      Caps
	last      map[ID]string
	retracted map[ID]bool
	order     int64 // the greatest Seq of a message that was said
}

// deliver brings a lane to the room, in runs, with failures.
func (r *room) deliver(lane []Queued) {
	now, failures := foldStart, 0
	for steps := 0; len(lane) > 0; steps++ {
		if steps > 500 {
			r.t.Fatal("the lane does not end")
		}
		head := lane[:min(len(lane), rapid.IntRange(1, 6).Draw(r.t, "window"))]
		arrived := slices.IndexFunc(head, func(q Queued) bool { return q.Accepted.After(now) })
		if arrived == 0 {
			now = head[0].Accepted
			continue
		}
		full := len(head) < len(lane) && !lane[len(head)].Accepted.After(now)
		if arrived > 0 {
			head, full = head[:arrived], false
		}
		f := fold(head, r.caps, now, full)
		n := len(f.say) + len(f.ended) + len(f.left)
		for _, rows := range f.with {
			n += len(rows)
		}
		if n != len(head) {
			r.t.Fatalf("of %d rows %d are accounted for", len(head), n)
		}
		done := map[int64]bool{}
		for _, q := range f.ended {
			done[q.Seq] = true
		}
		for _, q := range f.say {
			if failures < 5 && rapid.IntRange(0, 5).Draw(r.t, "fails") == 0 {
				failures++
				for i := range lane {
					if lane[i].Seq == q.Seq {
						lane[i].Attempt++
					}
				}
				break
			}
			r.read(q)
			done[q.Seq] = true
			for _, other := range f.with[q.Seq] {
				done[other.Seq] = true
			}
		}
		lane = slices.DeleteFunc(slices.Clone(lane), func(q Queued) bool { return done[q.Seq] })
		if now = now.Add(time.Second); len(done) == 0 && len(f.left) > 0 && f.due.After(now) {
			now = f.due
		}
	}
}

func (r *room) read(q Queued) {
	switch b := q.Event.Body.(type) {
	case Message:
		if q.Seq < r.order {
			r.t.Fatalf("%d is said after %d", q.Seq, r.order)
		}
		r.order, r.last[q.Event.ID] = q.Seq, b.Text.Plain
	case Edit:
		r.last[b.Target.ID] = b.Text.Plain
	case Retract:
		r.retracted[b.Target.ID] = true
	}
}
