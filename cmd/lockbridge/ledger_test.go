package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lockbridge/gateway"
	"lockbridge/store"
)

var lobby = gateway.Address{Network: "xmpp", ID: "lobby@conference.example.org"}

// journalCommand is the scripts' command "journal", which does to the journal of a gateway that was started what its
// traffic would:
//
//	journal say NATIVE LANE...          juliet said something in the lobby, which goes to the lanes
//	journal edit NATIVE EVENT LANE...   she edited it
//	journal react NATIVE EVENT LANE...  she reacted to it
//	journal mark NATIVE                 something was seen there, and passed nothing on
//	journal deliver LANE NATIVE         the lane's head arrived, and has this id there
//	journal fail LANE PROBLEM           it did not, and is tried again in an hour
//	journal giveup LANE REASON PROBLEM  its number is in $number
//	journal waits LANE COUNT            so much waits there
//	journal forgets NETWORK [PERSON]    this is whom the network's side is to forget
func journalCommand(ts *testscript.TestScript, _ bool, args []string) {
	r := ts.Value("gateway").(*running)
	do := func(network string, fn func(ctx context.Context) error) {
		ts.Check(r.store.Do(context.Background(), network, fn))
	}
	head := func() gateway.Queued {
		q, err := r.store.Head(context.Background(), parseLane(args[1]), 1)
		ts.Check(err)
		return q[0]
	}
	finish := func(f gateway.Finished) {
		do(parseLane(args[1]).Network, func(ctx context.Context) error { return r.store.Finish(ctx, []gateway.Finished{f}) })
	}
	switch args[0] {
	case "say":
		id, err := gateway.NewID(rand.Reader)
		ts.Check(err)
		ev := &gateway.Event{ID: id, At: lobby, Native: args[1], Sender: gateway.Person{Network: "xmpp", ID: "juliet@example.org", Name: "Juliet\x1b[2J"}, Body: gateway.Message{Text: gateway.Text{Plain: "a secret"}}}
		e := gateway.Entry{Event: ev, Links: []gateway.Link{{Native: gateway.Native{Room: lobby, ID: args[1]}, Event: id}}}
		for i, lane := range args[2:] {
			e.Deliveries = append(e.Deliveries, gateway.Queue{Key: "key-" + args[1] + "-" + strconv.Itoa(i), Room: parseLane(lane)})
		}
		do("xmpp", func(ctx context.Context) error { return r.store.Append(ctx, []gateway.Entry{e}) })
		ts.Setenv("event", id.String())
	case "edit", "react":
		id, err := gateway.NewID(rand.Reader)
		ts.Check(err)
		on, err := gateway.ParseID(args[2])
		ts.Check(err)
		juliet := gateway.Person{Network: "xmpp", ID: "juliet@example.org"}
		ev := &gateway.Event{ID: id, At: lobby, Native: args[1], Sender: juliet, Body: gateway.Edit{Target: gateway.Ref{ID: on}, Text: gateway.Text{Plain: "a secret"}}}
		e := gateway.Entry{Event: ev, Stands: on, Links: []gateway.Link{{Native: gateway.Native{Room: lobby, ID: args[1]}, Event: id}}}
		if args[0] == "react" {
			ev.Body = gateway.Reaction{Target: gateway.Ref{ID: on}, Emoji: []string{"👍"}, Op: gateway.ReactionSet, Anchor: id}
			e.Stands, e.Reaction = id, &gateway.Reactions{Anchor: id, Target: on, Who: juliet, Emoji: []string{"👍"}}
		}
		for i, lane := range args[3:] {
			e.Deliveries = append(e.Deliveries, gateway.Queue{Key: "key-" + args[1] + "-" + strconv.Itoa(i), Room: parseLane(lane)})
		}
		do("xmpp", func(ctx context.Context) error { return r.store.Append(ctx, []gateway.Entry{e}) })
		ts.Setenv("change", id.String())
	case "mark":
		do("xmpp", func(ctx context.Context) error {
			return r.store.Append(ctx, []gateway.Entry{{Links: []gateway.Link{{Native: gateway.Native{Room: lobby, ID: args[1]}}}}})
		})
	case "deliver":
		q := head()
		finish(gateway.Finished{Seq: q.Seq, Key: q.Key, Links: []gateway.Link{{Native: gateway.Native{Room: q.Room, ID: args[2]}, Event: q.Event.ID}}})
	case "fail":
		q := head()
		finish(gateway.Finished{Seq: q.Seq, Key: q.Key, Retry: true, Due: time.Now().Add(time.Hour), Attempt: q.Attempt + 1, Problem: args[2]})
	case "giveup":
		q := head()
		finish(gateway.Finished{Seq: q.Seq, Key: q.Key, Dead: true, Reason: args[2], Problem: args[3]})
		ts.Setenv("number", strconv.FormatInt(q.Seq, 10))
	case "waits":
		q, err := r.store.Head(context.Background(), parseLane(args[1]), 100)
		ts.Check(err)
		if strconv.Itoa(len(q)) != args[2] {
			ts.Fatalf("%d deliveries wait for %s, want %s", len(q), args[1], args[2])
		}
	case "forgets":
		people, err := r.store.Forgets(context.Background(), args[1])
		ts.Check(err)
		var got []string
		for _, p := range people {
			got = append(got, p.ID)
		}
		if want := strings.Join(args[2:], " "); strings.Join(got, " ") != want {
			ts.Fatalf("the side of %s is to forget %v, want %s", args[1], got, want)
		}
	default:
		ts.Fatalf("journal %s is not known", args[0])
	}
}

func TestLaneProblem(t *testing.T) {
	now := time.Unix(10000, 0)
	cfg := &config{networks: []network{{name: "irc"}}}
	irc, gone := gateway.Address{Network: "irc", ID: "#lobby"}, gateway.Address{Network: "gone", ID: "#lobby"}
	long, short := now.Add(-2*overdue), now.Add(-time.Second)
	for _, c := range []struct {
		lane store.LaneInfo
		want string
	}{
		{store.LaneInfo{Lane: irc, Dead: 3}, ""},
		{store.LaneInfo{Lane: irc, Pending: 1, Oldest: short}, ""},
		{store.LaneInfo{Lane: irc, Pending: 1, Oldest: long, Due: short, Problem: "banned"}, "banned"},
		{store.LaneInfo{Lane: irc, Pending: 1, Oldest: long, Due: now.Add(time.Hour), Problem: "banned"}, "banned"},
		{store.LaneInfo{Lane: irc, Pending: 1, Oldest: long, Due: long}, "nobody has tried: does a process run this network?"},
		{store.LaneInfo{Lane: irc, Pending: 1, Oldest: long, Due: long, Problem: "banned"}, "banned; and nobody has tried since: does a process run this network?"},
		{store.LaneInfo{Lane: gone, Pending: 1, Oldest: short}, "the network is not configured any more"},
	} {
		if got := cfg.laneProblem(c.lane, now); got != c.want {
			t.Errorf("%+v: %q, want %q", c.lane, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	w := &table{indent: "  ", paint: true}
	w.row(cell{"A", bold}, cell{"B", ordinary}, cell{"C", bold})
	w.row(cell{"ä…", ordinary}, cell{"x\x1b[2J\u202e", red}, cell{})
	var b bytes.Buffer
	w.print(&b)
	if want := "  \x1b[1mA\x1b[0m   B       \x1b[1mC\x1b[0m\n  ä…  \x1b[31mx\ufffd[2J\ufffd\x1b[0m\n"; b.String() != want {
		t.Errorf("%q\nwant\n%q", b.String(), want)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 ms", 38 * time.Millisecond: "38 ms", 1290 * time.Millisecond: "1.2 s", 59990 * time.Millisecond: "59.9 s", 252 * time.Second: "4 min 12 s",
		3*time.Hour + 5*time.Minute: "3 h 5 min", 90*day + time.Hour: "90 d 1 h", 90 * day: "90 d", time.Hour + time.Second: "1 h", time.Minute: "1 min",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
