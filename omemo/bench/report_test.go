package main

import (
	"strings"
	"testing"
)

// TestReport: ratios are taken inside a pair, the order of the sides changes, and programs find their lines at the end.
func TestReport(t *testing.T) {
	r := newReport(config{})
	var order strings.Builder
	side := func(name string, nanoseconds float64) func() (float64, error) {
		return func() (float64, error) {
			order.WriteString(name)
			return nanoseconds, nil
		}
	}
	for i, p := range []pair{{3000, 1000}, {80000, 20000}, {1000, 500}} {
		for _, name := range []string{"control", "seal_device", "seal_device, and more"} {
			if err := r.pair(name, i, side("t", p.theirs), side("o", p.ours)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := "tototo" + "ototot" + "tototo"; order.String() != want {
		t.Errorf("the sides ran in the order %s, not %s", order.String(), want)
	}
	var out strings.Builder
	r.print(&out)
	if !strings.HasSuffix(out.String(), "\n\nratio seal_device 3.00\nratio control 3.00\n") {
		t.Error(out.String())
	}
	for _, part := range []string{"1.00       3.00       80.0", "2.00   3.00    4.00", "3 pairs"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is not in\n%s", part, out.String())
		}
	}
}

func TestSpread(t *testing.T) {
	even := []pair{{theirs: 4000}, {theirs: 1000}, {theirs: 3000}, {theirs: 2000}}
	if got, want := spreadOf(even, theirs), (spread{1, 2.5, 4}); got != want {
		t.Errorf("%v, not %v", got, want)
	}
	quiet, loud := spread{9, 10, 11}, spread{5, 10, 15}
	if noisier(quiet, loud) != "ours" || noisier(loud, quiet) != "theirs" || noisier(quiet, quiet) != "both" {
		t.Error("the noise is on the wrong side")
	}
}
