package store_test

import (
	"context"
	"testing"

	"lockbridge/gateway"
)

// What is likely to have been seen is asked at once: nothing is read in vain, not even in a run that is thrown away.
func TestSeenIsAskedAtOnceWhereItIsLikely(t *testing.T) {
	eachLedger(t, func(l *ledger) {
		say(l, l.Store, "x", "1", "words")
		native, runs := gateway.Native{Room: gateway.Address{Network: "x", ID: "room"}, ID: "1"}, 0
		must(l, l.Do(l.Context(), "x", func(ctx context.Context) error {
			runs++
			seen, err := l.Seen(ctx, []gateway.Native{native}, true)
			if err == nil && !seen[native] {
				l.Errorf("run %d takes what was seen for new", runs)
			}
			return err
		}))
		if runs != 1 {
			l.Errorf("it ran %d times", runs)
		}
	})
}
