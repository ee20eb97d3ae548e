package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// afterTenThousand is the name under which memory is noted at the end of each round in which a subject has carried as
// many messages.
const afterTenThousand = "after 10,000"

// report gathers results by load, subject and round.
type report struct {
	loads   []string
	results map[string]map[string]map[int]result
	idle    map[string][]float64 // percent of a core
}

func newReport() *report {
	return &report{results: map[string]map[string]map[int]result{}, idle: map[string][]float64{}}
}

func (r *report) add(load, subject string, round int, res result) {
	if r.results[load] == nil {
		r.results[load] = map[string]map[int]result{}
		r.loads = append(r.loads, load)
	}
	if r.results[load][subject] == nil {
		r.results[load][subject] = map[int]result{}
	}
	r.results[load][subject][round] = res
}

// paired are the ratios of two subjects, round by round.
func (r *report) paired(load, subject, anchorLoad, anchor string, of func(result) float64) []float64 {
	var out []float64
	for round, res := range r.results[load][subject] {
		if a, ok := r.results[anchorLoad][anchor][round]; ok {
			out = append(out, of(res)/of(a))
		}
	}
	return out
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	values = slices.Sorted(slices.Values(values))
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

func rate(r result) float64 { return r.rate }
func p50(r result) float64  { return float64(r.p50) }
func p99(r result) float64  { return float64(r.p99) }
func cpu(r result) float64  { return float64(r.cpu) }
func rss(r result) float64  { return float64(r.rss) }

const (
	outClosed, inClosed   = "xmpp_irc closed", "irc_xmpp closed"
	outHundred, inHundred = "xmpp_irc 100/s", "irc_xmpp 100/s"
)

// figure is one line at the end: what of ours, beside what, and where it should be.
type figure struct {
	name        string
	goal, then  string
	of          func(r *report, ours string) float64
	omemo, bare bool // for sealed rooms; for plain ones
}

// figures are in the order of the lines.
var figures = []figure{
	{"xmpp_irc_throughput", ">= 2", ">= 3", beside(outClosed, matterbridge, rate), false, true},
	{"xmpp_irc_of_floor", ">= 0.4", ">= 0.6", beside(outClosed, floorXMPP, rate), false, true},
	{"irc_xmpp_throughput", ">= 1", ">= 1.5", beside(inClosed, matterbridge, rate), false, true},
	{"disorder", "0", "0", lostOrDisordered, true, true},
	{"p50_100", "<= 1.3", "<= 1.0", worse(p50), false, true},
	{"p99_100", "<= 1.0", "", worse(p99), false, true},
	{"cpu_per_message_100", "<= 0.33", "<= 0.17", both(cpu), false, true},
	{"rss_10000", "<= 0.5", "", beside(afterTenThousand, matterbridge, rss), false, true},
	{"idle_cpu", "<= 0.2 %", "", func(r *report, ours string) float64 { return median(r.idle[ours]) }, true, true},
	{"irc_xmpp_omemo_throughput", ">= 1", "", beside(inClosed, matterbridge, rate), true, false},
	{"irc_xmpp_omemo_of_floor", "", "", func(r *report, ours string) float64 {
		return median(r.paired(inClosed, ours, outClosed, floorSealed, rate))
	}, true, false},
	{"xmpp_irc_omemo_throughput", "", "", beside(outClosed, matterbridge, rate), true, false},
	{"omemo_cpu_per_message_100", "", "", both(cpu), true, false},
	{"omemo_p50_100", "", "", worse(p50), true, false},
}

func beside(load, anchor string, of func(result) float64) func(*report, string) float64 {
	anchorLoad := load
	return func(r *report, ours string) float64 { return median(r.paired(load, ours, anchorLoad, anchor, of)) }
}

// worse is the direction that does worse.
func worse(of func(result) float64) func(*report, string) float64 {
	return func(r *report, ours string) float64 {
		return max(beside(outHundred, matterbridge, of)(r, ours), beside(inHundred, matterbridge, of)(r, ours))
	}
}

// both is the sum of both directions.
func both(of func(result) float64) func(*report, string) float64 {
	return func(r *report, ours string) float64 {
		var ratios []float64
		for round, out := range r.results[outHundred][ours] {
			in, ok := r.results[inHundred][ours][round]
			theirOut, ok1 := r.results[outHundred][matterbridge][round]
			theirIn, ok2 := r.results[inHundred][matterbridge][round]
			if ok && ok1 && ok2 {
				ratios = append(ratios, (of(out)+of(in))/(of(theirOut)+of(theirIn)))
			}
		}
		return median(ratios)
	}
}

// lostOrDisordered counts what was lost or out of order in all runs.
func lostOrDisordered(r *report, ours string) float64 {
	n := 0
	for _, load := range r.results {
		for _, res := range load[ours] {
			n += res.lost + res.disorder
		}
	}
	return float64(n)
}

// show writes the tables for people, then the lines for programs.
func (r *report) show(w io.Writer) {
	fmt.Fprintf(w, "\n%-16s %-15s %7s %6s %6s %8s %8s %8s %9s %9s %6s %7s\n", "load", "subject", "sent", "lost", "order", "msg/s", "p50 ms", "p99 ms", "CPU s/10k", "DB s/10k", "waits", "RSS MB")
	for _, load := range r.loads {
		if load == afterTenThousand {
			continue
		}
		for _, name := range subjects {
			if rounds := r.results[load][name]; len(rounds) > 0 {
				printRow(w, load, name, rounds)
			}
		}
	}
	fmt.Fprintln(w, "\nMedians of the rounds; sent, lost and order (arrivals behind a later message) are sums. Latency from the scheduled time. CPU of the bridge")
	fmt.Fprintln(w, "(floor_*: of the server), and of the database server, in seconds for 10,000 messages; waits are the bridge's voluntary context switches")
	fmt.Fprintln(w, "for one message. RSS after the last round.")
	fmt.Fprintf(w, "\nidle, %% of a core:")
	for _, name := range subjects {
		if r.idle[name] != nil {
			fmt.Fprintf(w, "  %s %.2f", name, median(r.idle[name]))
		}
	}
	fmt.Fprintf(w, "\n\nbeside Matterbridge in the same round, medians; idle_cpu in percent of a core, disorder counts messages\n")
	fmt.Fprintf(w, "%-28s %10s %10s   %-10s %s\n", "", onPostgres, onSQLite, "goal", "then")
	for _, f := range figures {
		pg, lite := f.pair(r)
		fmt.Fprintf(w, "%-28s %10.2f %10.2f   %-10s %s\n", f.name, pg, lite, f.goal, f.then)
	}
	fmt.Fprintln(w)
	for _, f := range figures {
		pg, lite := f.pair(r)
		fmt.Fprintf(w, "ratio %s_postgres %.3f\nratio %[1]s_sqlite %.3[3]f\n", f.name, pg, lite)
	}
}

// pair is the figure on both stores: of plain rooms, or of sealed ones; where both count, the greater one.
func (f *figure) pair(r *report) (pg, lite float64) {
	switch {
	case f.omemo && f.bare:
		return maxKnown(f.of(r, onPostgres), f.of(r, sealedPG)), maxKnown(f.of(r, onSQLite), f.of(r, sealedSQLite))
	case f.omemo:
		return f.of(r, sealedPG), f.of(r, sealedSQLite)
	}
	return f.of(r, onPostgres), f.of(r, onSQLite)
}

func maxKnown(a, b float64) float64 {
	if math.IsNaN(a) || b > a {
		return b
	}
	return a
}

func printRow(w io.Writer, load, name string, rounds map[int]result) {
	var sent, lost, disorder int
	var rates, p50s, p99s, cpus, stores, waits []float64
	last, rss := -1, int64(0)
	for round, res := range rounds {
		sent, lost, disorder = sent+res.sent, lost+res.lost, disorder+res.disorder
		rates, p50s, p99s = append(rates, res.rate), append(p50s, p50(res)/1e6), append(p99s, p99(res)/1e6)
		cpus, stores = append(cpus, perTenThousand(res.cpu)), append(stores, perTenThousand(res.store))
		waits = append(waits, res.waits)
		if round > last {
			last, rss = round, res.rss
		}
	}
	store := fmt.Sprintf("%9.2f", median(stores))
	if median(stores) == 0 {
		store = strings.Repeat(" ", 8) + "-"
	}
	fmt.Fprintf(w, "%-16s %-15s %7d %6d %6d %8.0f %8.2f %8.2f %9.2f %s %6.1f %7.1f\n", load, name, sent, lost, disorder,
		median(rates), median(p50s), median(p99s), median(cpus), store, median(waits), float64(rss)/(1<<20))
}

func perTenThousand(d time.Duration) float64 { return (10_000 * d).Seconds() }
