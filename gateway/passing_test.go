package gateway

import (
	"fmt"
	"testing"
	"time"
)

// passClock is a passing whose clock the test turns.
type passClock struct {
	*passing
	t    *testing.T
	time time.Time
}

func newPassClock(t *testing.T) *passClock {
	t.Helper()
	c := &passClock{t: t, time: time.Unix(1_700_000_000, 0)}
	c.passing = newPassing(func() time.Time { return c.time })
	return c
}

var hall = Address{"b", "hall"}

func (c *passClock) typing(who string, on bool) {
	c.put(hall, &Event{Sender: Person{Network: "a", ID: who}, Body: Typing{On: on}})
}

func (c *passClock) read(who, native string) {
	c.put(hall, &Event{Sender: Person{Network: "a", ID: who}, Body: Receipt{Target: Ref{Native: native}, State: Displayed}})
}

// wants is what is shown after some time, and that there is something to wait for as long as anything is kept.
func (c *passClock) wants(after time.Duration, want ...string) {
	c.t.Helper()
	c.time = c.time.Add(after)
	due, next := c.take()
	var got []string
	for _, s := range due {
		switch b := s.ev.Body.(type) {
		case Typing:
			got = append(got, fmt.Sprint(s.ev.Sender.ID, " ", b.On))
		case Receipt:
			got = append(got, fmt.Sprint(s.ev.Sender.ID, " ", b.Target.Native))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Errorf("shown %q, want %q", got, want)
	}
	if next.IsZero() != (c.count == 0) {
		c.t.Errorf("%d are kept, to be looked at %v", c.count, next)
	}
}

func TestTypingIsShownAndEnds(t *testing.T) {
	c := newPassClock(t)
	c.typing("alice", true)
	c.wants(0, "alice true")
	c.typing("alice", true)
	c.wants(3 * time.Second) // it was too soon for another one
	c.typing("alice", true)
	c.wants(0, "alice true")
	c.typing("alice", false)
	c.wants(0, "alice false")
	c.typing("alice", true)
	c.typing("alice", false) // nobody has seen it
	c.wants(time.Second)
	c.typing("alice", true)
	c.wants(time.Second)
	c.wants(time.Second, "alice true")
	c.wants(27 * time.Second)
	c.wants(time.Second, "alice false") // nothing more was heard
	c.wants(time.Minute)
	if c.count != 0 {
		t.Errorf("%d are kept", c.count)
	}
	c.typing("alice", false)
	c.wants(0)
}

func TestTypingThatIsShortEndsSoon(t *testing.T) {
	c := newPassClock(t)
	c.put(hall, &Event{Sender: Person{Network: "a", ID: "alice"}, Expires: c.time.Add(6 * time.Second), Body: Typing{On: true}})
	c.wants(0, "alice true")
	c.wants(6*time.Second, "alice false")
}

func TestTypingLastsAsLongAsItsSideSays(t *testing.T) {
	c := newPassClock(t)
	c.put(hall, &Event{Sender: Person{Network: "a", ID: "alice"}, Expires: c.time.Add(100 * time.Second), Body: Typing{On: true}})
	c.put(hall, &Event{Sender: Person{Network: "a", ID: "bob"}, Expires: c.time.Add(time.Hour), Body: Typing{On: true}})
	due, _ := c.take()
	if len(due) != 2 {
		t.Fatalf("%d are shown", len(due))
	}
	c.wants(99 * time.Second)
	c.wants(time.Second, "alice false")
	c.wants(20*time.Second, "bob false")
}

func TestAReceiptIsTriedAgain(t *testing.T) {
	c := newPassClock(t)
	c.read("alice", "1")
	for range readTries - 1 {
		due, _ := c.take()
		if len(due) != 1 {
			t.Fatalf("%d are shown", len(due))
		}
		c.again(due[0])
		c.wants(time.Second)
		c.time = c.time.Add(time.Second)
	}
	due, _ := c.take()
	c.again(due[0]) // once too often
	c.wants(2 * time.Second)
	c.read("alice", "2")
	due, _ = c.take()
	c.read("alice", "3")
	c.again(due[0]) // it is old
	c.wants(2*time.Second, "alice 3")
}

func TestTheNewestReceiptCounts(t *testing.T) {
	c := newPassClock(t)
	c.read("alice", "1")
	c.read("alice", "2")
	c.wants(0, "alice 2")
	c.read("alice", "3")
	c.wants(time.Second)
	c.read("alice", "4")
	c.wants(time.Second, "alice 4")
	c.read("alice", "5")
	c.wants(2 * time.Minute) // too old by then
}

func TestWhatPassesIsBounded(t *testing.T) {
	c := newPassClock(t)
	for i := range 1000 {
		c.time = c.time.Add(time.Millisecond)
		c.read(fmt.Sprint(i), "1")
	}
	if c.count != passRoom || len(c.rooms[hall]) != passRoom || c.rooms[hall][passKey{personKey{"a", "999"}, "displayed"}] == nil {
		t.Errorf("%d are kept", c.count)
	}
	for i := range passAll + 200 {
		c.time = c.time.Add(time.Millisecond)
		c.put(Address{"b", fmt.Sprint(i)}, &Event{Sender: Person{Network: "a", ID: "x"}, Body: Typing{On: true}})
	}
	if c.count != passAll || len(c.rooms) > passAll {
		t.Errorf("%d are kept in %d rooms", c.count, len(c.rooms))
	}
	// Whoever is seen typing is seen to end.
	c = newPassClock(t)
	c.typing("first", true)
	c.wants(0, "first true")
	for i := range passRoom * 2 {
		c.read(fmt.Sprint(i), "1")
	}
	c.take()
	c.typing("first", false)
	c.wants(time.Second, "first false")
}
