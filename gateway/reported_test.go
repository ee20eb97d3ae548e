package gateway_test

import (
	"testing"

	"lockbridge/gateway"
)

// TestAReportKeepsWhomItIsFor: what is refused is not in the journal, so nothing there is the author's.
func TestAReportKeepsWhomItIsFor(t *testing.T) {
	w := newWorld(t).start()
	author := gateway.Person{Network: w.a.network, ID: "mallory", Name: "Mallory"}
	w.accept(w.a, reads(w.a, "refused", func() (*gateway.Event, error) {
		return &gateway.Event{Body: gateway.Receipt{Target: gateway.Ref{Native: "refused", Author: author}, State: gateway.Undeliverable, Reason: "distrusted"}}, nil
	}))
	d := w.next(w.a)
	if r, ok := d.Event.Body.(gateway.Receipt); !ok || r.Target.Author != author {
		t.Errorf("told %+v", d.Event.Body)
	}
}
