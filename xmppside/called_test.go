package xmppside

import (
	"fmt"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

func TestPeopleGoByWhatTheyCallThemselves(t *testing.T) {
	w := newWorld(t, openlyToo, omemo.Legacy)
	w.set(func() {
		w.answers["romeo@test "+nsNick] = "<nick xmlns='" + nsNick + "'> Romeo\nM. </nick>"
		w.answers["nurse@test "+nsVCard] = "<vCard xmlns='" + nsVCard + "'><FN>The Nurse</FN><NICKNAME/></vCard>"
	})
	n := 0
	says := func(who string, beside ...*node) *gateway.Event {
		t.Helper()
		n++
		text := fmt.Sprintf("number %d.", n)
		w.directly(who+"@test/x", fakePuppet, fmt.Sprint("m", n), append(beside, body(text))...)
		return w.heard(text)
	}
	asked := func(who string) (times int) {
		w.set(func() {
			for _, iq := range w.seen {
				if iq.name == "iq" && iq.get("to") == who+"@test" {
					times++
				}
			}
		})
		return times
	}
	until := func(who, want string) { // it is asked for while their messages go on
		t.Helper()
		for limit := time.Now().Add(patience); ; {
			if got := says(who).Sender.Name; got == want {
				return
			} else if time.Now().After(limit) {
				t.Fatalf("%s is called %q, want %q", who, got, want)
			}
		}
	}
	for _, who := range []string{"romeo", "nurse", "nobody"} {
		if ev := says(who); ev.Sender.Name != "" {
			t.Errorf("heard %+v", ev)
		}
	}
	until("romeo", "Romeo M.")
	until("nurse", "The Nurse")
	if got := says("juliet").Sender.Name; got != "Juliet" { // her nick in the room
		t.Errorf("Juliet is called %q", got)
	}
	w.await("a question for a card", func(iq *node) bool { return iq.get("to") == "nobody@test" && iq.child(nsVCard, "vCard") != nil })
	w.restart(openlyToo)
	if got := says("romeo").Sender.Name; got != "Romeo M." {
		t.Errorf("after a restart Romeo is called %q", got)
	}
	if a, b := asked("romeo"), asked("nobody"); a != 1 || b != 2 {
		t.Errorf("asked %d and %d times", a, b)
	}
	w.set(func() { w.answers["romeo@test "+nsNick] = "<nick xmlns='" + nsNick + "'>Montague</nick>" })
	w.clock.move(namePeriod)
	until("romeo", "Montague")
	if got := says("romeo", el(nsNick, "nick").say("R.")).Sender.Name; got != "R." {
		t.Errorf("Romeo, who writes as R., is called %q", got)
	}
	if got := says("romeo").Sender.Name; got != "R." {
		t.Errorf("then Romeo is called %q", got)
	}
}
