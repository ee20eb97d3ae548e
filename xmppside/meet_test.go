package xmppside

import (
	"fmt"
	"testing"
	"time"

	"lockbridge/gateway"
)

func TestWhatWaitsIsBounded(t *testing.T) {
	now := time.Now()
	var ms meetings
	hold := func(own, asker string, size int, query bool) string {
		_, fault := ms.hold(own, asker, gateway.Person{}, item{raw: make([]byte, size)}, query, now)
		return fault
	}
	for i := range maxHeldFor {
		if fault := hold("a", "j@one", 10, i%2 == 0); fault != "" {
			t.Fatalf("number %d for one address: %s", i, fault)
		}
	}
	if fault := hold("a", "j@one", 10, false); fault == "" {
		t.Error("one address holds too much")
	}
	for n := 1; n < maxHeld/maxHeldFor; n++ {
		for range maxHeldFor {
			if fault := hold(fmt.Sprint("b", n), fmt.Sprintf("j@d%d", n), 10, false); fault != "" {
				t.Fatalf("address %d: %s", n, fault)
			}
		}
	}
	if fault := hold("c", "j@one", 10, false); fault == "" {
		t.Error("all together hold too much")
	}
	for own := range ms.all() {
		ms.end(own, "")
		ms.release(own)
	}
	if ms.held != 0 || ms.size != 0 || len(ms.of) != 0 {
		t.Errorf("%d stanzas, %d bytes, %d addresses are left", ms.held, ms.size, len(ms.of))
	}
	if fault := hold("d", "j@two", maxHeldBytes+1, false); fault == "" {
		t.Error("one stanza holds too much")
	}
	if fault := hold("d", "j@two", maxHeldBytes, false); fault != "" {
		t.Errorf("a stanza that fits: %s", fault)
	}
}

func TestAMinuteLaterADomainMayMeetMore(t *testing.T) {
	now := time.Now()
	var ms meetings
	meet := func(n int) string {
		_, fault := ms.hold(fmt.Sprint("p", n), "j@one", gateway.Person{}, item{}, false, now)
		return fault
	}
	for n := range maxMeets {
		if fault := meet(n); fault != "" {
			t.Fatalf("number %d: %s", n, fault)
		}
	}
	if meet(maxMeets) == "" {
		t.Error("an eleventh puppet is asked for")
	}
	now = now.Add(meetWindow)
	if fault := meet(maxMeets); fault != "" {
		t.Errorf("a minute later: %s", fault)
	}
}
