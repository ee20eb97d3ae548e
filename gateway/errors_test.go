package gateway

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// One instruction may be the reason of another: the outer one counts.
func TestTheOuterInstructionCounts(t *testing.T) {
	why := errors.New("the file is too large")
	for _, test := range []struct {
		err           error
		drop, plainer bool
	}{
		{why, false, false}, {Drop(why), true, false}, {Plainer(why), false, true}, {nil, false, false},
		{Plainer(Drop(why)), false, true},
		{fmt.Errorf("share: %w", Plainer(fmt.Errorf("fetch: %w", Drop(why)))), false, true},
		{Plainer(Later(time.Second, why)), false, true},
		{Drop(Plainer(Drop(why))), true, true}, // a second Plainer, which the settlement makes a Drop
		{Drop(Plainer(why)), true, true},
	} {
		if drop, plainer := IsDrop(test.err), IsPlainer(test.err); drop != test.drop || plainer != test.plainer {
			t.Errorf("%v: drop %v, plainer %v; want %v, %v", test.err, drop, plainer, test.drop, test.plainer)
		}
	}
}
