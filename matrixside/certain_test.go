package matrixside

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

const historyPath = "GET /rooms/" + testRoom + "/messages"

// deliverUntilSaid tries as long as the side asks to.
func deliverUntilSaid(ctx context.Context, t *testing.T, side *Side, d gateway.Delivery) {
	t.Helper()
	for {
		err := side.Deliver(ctx, []gateway.Delivery{d})[0].Err
		if err == nil {
			return
		}
		if gateway.IsDrop(err) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// ownEvent is a message of ours as a history shows it.
func ownEvent(id, sender, key string, at time.Time) string {
	return fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.message","sender":%q,"origin_server_ts":%d,"content":{"msgtype":"m.text","body":"x","org.lockbridge.key":{"key":%q,"part":""}}}`,
		id, testRoom, sender, at.UnixMilli(), key)
}

func historyOf(end string, events ...string) reply {
	return reply{200, `{"end":"` + end + `","chunk":[` + strings.Join(events, ",") + `]}`, false}
}

func TestWhatAnEarlierProcessSentIsLookedUpOnce(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	now := delivery(testRoom, "", "", "").Event.Time
	asked := hs.count("@lockbridge:example.org " + historyPath)
	hs.script(historyPath,
		historyOf("t1", ownEvent("$strange", "@romeo:example.org", "1", now), ownEvent("$other", mercutio, "other", now)),
		historyOf("t2", ownEvent("$two", mercutio, "2", now), ownEvent("$one", "@lockbridge:example.org", "1", now)),
		historyOf("t3", ownEvent("$old", mercutio, "old", now.Add(-2*searchSlack))),
		historyOf("t4", ownEvent("$never", mercutio, "3", now)))
	var run []gateway.Delivery
	for i := range 3 {
		run = append(run, again(delivery(testRoom, fmt.Sprint(i+1), "mercutio", "text")))
	}
	out := sendAll(ctx, t, side, run...)
	if out[0].Parts[0].Native != "$one" || out[1].Parts[0].Native != "$two" || len(hs.said()) != 1 {
		t.Errorf("outcomes %v, said %v", out, hs.said())
	}
	for i := range 100 { // the backlog that a restart found
		sendAll(ctx, t, side, again(delivery(testRoom, fmt.Sprint("backlog", i), "mercutio", "text")))
	}
	if n := hs.count("@lockbridge:example.org "+historyPath) - asked; n != 3 {
		t.Errorf("%d pages were read", n)
	}
}

func TestWhatTheJournalHasHeardIsNotLookedFor(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	d := again(delivery(testRoom, "1", "mercutio", "text"))
	d.Known = []gateway.Part{{Native: "$echo"}}
	if out := sendAll(ctx, t, side, d); out[0].Parts[0].Native != "$echo" || len(hs.said()) != 0 {
		t.Errorf("outcomes %v, said %v", out, hs.said())
	}
}

func TestALostAnswerIsLookedForAgainAndAgain(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), quick, lobby(testRoom))
	d := delivery(testRoom, "lost", "mercutio", "text")
	hs.script(sendPath, refusal(502, ""), reply{cut: true})
	for range 2 { // not there after the first try, there after the second
		if err := deliverOne(t, side, d); err == nil || gateway.IsDrop(err) {
			t.Fatalf("outcome: %v", err)
		}
		d = again(d)
	}
	deliverUntilSaid(ctx, t, side, d)
	if said := hs.said(); len(said) != 1 {
		t.Errorf("said %v", said)
	}
}

// Sixty-four people's names do not fit into a URL.
func TestASearchForManySpeakersAsksForAll(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), quick, lobby(testRoom))
	rm := side.roomOf(testRoom)
	var run []gateway.Delivery
	for i := range 64 {
		d := again(delivery(testRoom, fmt.Sprint(i), strings.Repeat("x", 200)+fmt.Sprint(i), "text"))
		rm.attempts.begin(d.Key)
		run = append(run, d)
	}
	hs.script(historyPath, historyOf("", ownEvent("$7", string(side.names.ghost(run[7].Event.Sender)), "7", time.Now())))
	if out := sendAll(ctx, t, side, run...); out[7].Parts[0].Native != "$7" {
		t.Errorf("outcomes %v", out)
	}
}

func TestWhatIsOldIsSentWithItsTime(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	old, fresh, report := delivery(testRoom, "1", "mercutio", "old"), delivery(testRoom, "2", "mercutio", "fresh"), delivery(testRoom, "3", "mercutio", "")
	fresh.Event.Time = time.Now().Add(-staleAge / 2)
	report.Event.Time, report.Event.Body = time.Time{}, gateway.Receipt{State: gateway.Undeliverable, Reason: "why"}
	sendAll(ctx, t, side, old, fresh, report)
	if said := hs.said(); said[0].Time != "1700000000000" || said[1].Time != "" || said[2].Time != "" {
		t.Errorf("said %v", said)
	}
}
