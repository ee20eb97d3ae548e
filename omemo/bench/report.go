package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// goal is what a ratio should reach.
type goal struct {
	name           string
	reach, stretch float64
}

// goals in the order of the lines at the end. The control should be 1.
var goals = []goal{
	{"seal_device", 3.5, 6}, {"open_chain", 3.5, 6}, {"open_turn", 5, 8}, {"session_build", 3, 3.8}, {"first_open", 3, 4.2},
	{"seal_1000_postgres", 4, 8}, {"seal_1000_sqlite", 3, 4}, {"parse_1000", 20, 40}, {"write_1000", 20, 40}, {"control", 1, 1},
}

// report gathers pairs.
type report struct {
	only  string
	order []string
	pairs map[string][]pair
}

// pair is one comparison: nanoseconds for an operation.
type pair struct{ theirs, ours float64 }

func newReport(c config) *report { return &report{only: c.only, pairs: make(map[string][]pair)} }

func (r *report) wants(name string) bool { return strings.Contains(name, r.only) }

// pair measures both sides and notes the result.
func (r *report) pair(name string, number int, theirs, ours func() (float64, error)) error {
	p, err := measurePair(number, theirs, ours)
	if err != nil {
		return err
	}
	r.add(name, p)
	return nil
}

func (r *report) add(name string, p pair) {
	if r.pairs[name] == nil {
		r.order = append(r.order, name)
	}
	r.pairs[name] = append(r.pairs[name], p)
}

// measurePair measures one side and then the other, the second one first in every other pair.
func measurePair(number int, theirs, ours func() (float64, error)) (p pair, err error) {
	sides := []struct {
		measure func() (float64, error)
		result  *float64
	}{{theirs, &p.theirs}, {ours, &p.ours}}
	if number%2 == 1 {
		slices.Reverse(sides)
	}
	for _, s := range sides {
		if *s.result, err = s.measure(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// spread is the least, the middle and the greatest of some figures.
type spread struct{ min, median, max float64 }

func spreadOf(pairs []pair, of func(pair) float64) spread {
	values := make([]float64, len(pairs))
	for i, p := range pairs {
		values[i] = of(p)
	}
	slices.Sort(values)
	n := len(values)
	return spread{values[0], (values[(n-1)/2] + values[n/2]) / 2, values[n-1]}
}

// noise is how far the figures lie apart, in percent of the middle one.
func (s spread) noise() float64 { return (s.max - s.min) / s.median * 100 }

func theirs(p pair) float64 { return p.theirs / 1000 }
func ours(p pair) float64   { return p.ours / 1000 }
func ratio(p pair) float64  { return p.theirs / p.ours }

// print writes the table for people, then the lines for programs.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%-34s %32s %32s %22s %7s  %s\n", "", "theirs, µs (min median max)", "ours, µs (min median max)", "ratio (min median max)", "goal", "noise")
	for _, name := range r.order {
		p := r.pairs[name]
		t, o, q := spreadOf(p, theirs), spreadOf(p, ours), spreadOf(p, ratio)
		fmt.Fprintf(w, "%-34s %10s %10s %10s %10s %10s %10s %7.2f %6.2f %7.2f %7s  theirs %.0f %%, ours %.0f %%: %s\n", name,
			figure(t.min), figure(t.median), figure(t.max), figure(o.min), figure(o.median), figure(o.max),
			q.min, q.median, q.max, goalOf(name), t.noise(), o.noise(), noisier(t, o))
	}
	fmt.Fprintf(w, "\n%d pairs, their order reversed every other time. theirs / ours: more is better for us. In memory by CPU time, seal_1000 by the\n"+
		"clock on the wall and durable. Noise is (max - min) / median of a side. The control is the C program against itself.\n\n", r.most())
	for _, g := range goals {
		if p := r.pairs[g.name]; p != nil {
			fmt.Fprintf(w, "ratio %s %.2f\n", g.name, spreadOf(p, ratio).median)
		}
	}
}

func (r *report) most() int {
	n := 0
	for _, p := range r.pairs {
		n = max(n, len(p))
	}
	return n
}

// noisier names the side whose figures lie further apart.
func noisier(theirs, ours spread) string {
	switch a, b := theirs.noise(), ours.noise(); {
	case a > 1.5*b:
		return "theirs"
	case b > 1.5*a:
		return "ours"
	}
	return "both"
}

func goalOf(name string) string {
	for _, g := range goals {
		if g.name == name {
			return fmt.Sprintf("%.3g", g.reach)
		}
	}
	return ""
}

// figure writes microseconds with three digits that count.
func figure(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
