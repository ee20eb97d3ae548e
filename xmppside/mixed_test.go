package xmppside

import (
	"strings"
	"testing"

	"lockbridge/gateway"
)

// A lane may hold what was accepted under different rules, by another process that has read its config anew. What has to
// be sealed is never said in the clear, wherever in a run it stands, and takes nothing else with it.
func TestWhatHasToBeSealedIsNotSaidInTheClear(t *testing.T) {
	f := newFakeServer(t)
	side, _ := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	key := func(digit string) string { return strings.Repeat(digit, 32) }
	for _, run := range [][]gateway.Delivery{
		{delivery(key("1"), "one", false), delivery(key("2"), "secret", true), delivery(key("3"), "two", false)},
		{delivery(key("4"), "secret", true), delivery(key("5"), "three", false)},
	} {
		out := side.Deliver(t.Context(), run)
		if len(out) != len(run) {
			t.Fatalf("%d outcomes", len(out))
		}
		for i, d := range run {
			if err := out[i].Err; d.Seal != gateway.IsDrop(err) || !d.Seal && err != nil {
				t.Errorf("%q: %v", textOf(d.Event), err)
			}
		}
	}
	for _, m := range f.said() {
		if b := m.child("", "body"); b != nil && strings.Contains(b.text, "secret") {
			t.Error("it was said in the clear")
		}
	}
}
