package store_test

import (
	"fmt"
	"testing"

	"lockbridge/gateway"
	"lockbridge/store"
)

func TestTraceFindsAMessageByAnyId(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		e := entry(l, "x", "native-50%_off", "a secret", one, two)
		e.Deliveries[0].Key, e.Deliveries[1].Key = "key-one", "key-two"
		write(l, l.Store, "x", e)
		for i := range 30 {
			say(l, l.Store, "x", fmt.Sprint("other-", i), "words")
		}
		q := l.head(one)
		l.finish(gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Links: []gateway.Link{
			{Native: gateway.Native{Room: one, ID: "there"}, Event: e.Event.ID},
			{Native: gateway.Native{Room: one, ID: "there, too"}, Event: e.Event.ID, Alias: true},
		}})
		q = l.head(two)
		l.finish(gateway.Finished{Seq: q[0].Seq, Key: q[0].Key, Retry: true, Due: l.now, Attempt: 2, Problem: "away"})
		for _, id := range []string{e.Event.ID.String(), "native-50%_off", "50%_o", "key-one", "key-two", "there", "here, to"} {
			got := l.trace(id)
			if len(got) != 1 || got[0].Event != e.Event.ID || got[0].Author.Name != "Juliet Capulet" || !got[0].Kept || got[0].At.ID != "room" ||
				!got[0].Accepted.Equal(l.now) || len(got[0].Links) != 3 || len(got[0].Deliveries) != 2 {
				l.Fatalf("%s: %+v", id, got)
			}
			d := got[0].Deliveries
			if d[0].State != store.Delivered || d[0].Ended.IsZero() || d[1].State != store.Pending || d[1].Attempt != 2 || d[1].Problem != "away" || d[1].Room != two {
				l.Errorf("%s: %+v", id, d)
			}
		}
		if got := l.trace("other-"); len(got) != 20 || got[0].Native != "other-29" {
			l.Errorf("%d traces of a part of many ids", len(got))
		}
		for _, id := range []string{"", "nobody's", "%", "native-50x_off", "\xff\x00", "native-50%!off"} {
			if got := l.trace(id); len(got) != 0 && id != "%" {
				l.Errorf("%q: %+v", id, got)
			}
		}
	})
}

func TestTraceTellsThatNothingCameOfAnId(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		room := gateway.Address{Network: "x", ID: "room"}
		write(l, l.Store, "x", gateway.Entry{Links: []gateway.Link{{Native: gateway.Native{Room: room, ID: "mark"}}}})
		if got := l.trace("mark"); len(got) != 1 || !got[0].Event.IsZero() || got[0].At != room || !got[0].Accepted.Equal(l.now) {
			l.Errorf("%+v", got)
		}
	})
}

func (l *ledger) trace(id string) []store.Trace {
	l.Helper()
	got, err := l.beside.Trace(l.Context(), id)
	must(l, err)
	return got
}
