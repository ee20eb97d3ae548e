package ircside

import (
	"strings"
	"testing"
	"time"
)

func lines(names ...string) []*line {
	var out []*line
	for _, n := range names {
		out = append(out, &line{text: n})
	}
	return out
}

func texts(lines []*line) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.text)
	}
	return strings.Join(out, " ")
}

func TestPace(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := newPacer(Pace{Burst: 3, Every: time.Second}, now)
	take := func(want string, wantWait time.Duration) {
		t.Helper()
		got, wait := p.take(now, 1<<20)
		if texts(got) != want || wait.Round(time.Millisecond) != wantWait {
			t.Errorf("take = %q, %v, want %q, %v", texts(got), wait, want, wantWait)
		}
	}
	take("", 0)
	p.push("a", lines("a1", "a2", "a3", "a4")...)
	p.push("b", lines("b1", "b2")...)
	take("a1 b1 a2", time.Second) // the lanes in turn, as many as the burst
	now = now.Add(400 * time.Millisecond)
	take("", 600*time.Millisecond)
	p.pushFirst(lines("JOIN")...)
	now = now.Add(600 * time.Millisecond)
	take("JOIN", time.Second) // before the lanes, but not faster
	p.charge(now)             // a PONG could not wait
	now = now.Add(2 * time.Second)
	take("b2", time.Second)
	p.withdraw("a", func(l *line) bool { return l.text == "a3" })
	now = now.Add(time.Hour) // no more than the burst is saved
	take("a4", 0)
	p.push("a", lines("1", "2", "3", "4")...)
	take("1 2", time.Second)
	p.withdraw("a", func(*line) bool { return true })
	now = now.Add(time.Minute)
	take("", 0)
	now = now.Add(-time.Hour) // a clock that was set back does not stop it
	p.push("a", lines("5")...)
	take("5", 0)
}

func TestPaceLimit(t *testing.T) {
	now := time.Unix(0, 0)
	p := newPacer(Pace{Burst: 100, Every: time.Second}, now)
	p.push("a", lines("1", "2", "3")...)
	if got, wait := p.take(now, 25); texts(got) != "1 2" || wait != 0 { // two of 11 bytes each
		t.Errorf("take = %q, %v", texts(got), wait)
	}
	if n := p.queued("a"); n != 1 {
		t.Errorf("queued = %d", n)
	}
	if n := len(p.withdrawAll()); n != 1 {
		t.Errorf("%d were withdrawn", n)
	}
	if got, wait := p.take(now, 25); len(got) != 0 || wait != 0 {
		t.Errorf("take = %q, %v", texts(got), wait)
	}
}

// TestNoPace: without a pace everything leaves at once.
func TestNoPace(t *testing.T) {
	now := time.Unix(0, 0)
	p := newPacer(Pace{Burst: 1}, now)
	p.push("a", lines("1", "2", "3")...)
	if got, wait := p.take(now, 25); texts(got) != "1 2" || wait != 0 { // two of 11 bytes each
		t.Errorf("take = %q, %v", texts(got), wait)
	}
	p.rest(now, time.Hour)
	if got, wait := p.take(now, 25); texts(got) != "3" || wait != 0 {
		t.Errorf("take = %q, %v", texts(got), wait)
	}
}
