// Command testsum reads `go test -json` and prints what a person wants to know: each package's result, what failing
// tests said, and how many passed. It fails when a test did, or when none was run.
//
//	go test -json ./... 2>&1 | testsum [-names] TITLE
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is a line of `go doc test2json`, as far as we need it.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64 // seconds
}

// summary is what was read so far.
type summary struct {
	out            io.Writer
	names          bool                // print every test, not only failing ones
	said           map[string][]string // output of tests and packages that have not ended, by package and test
	ran            map[string]int      // tests by package
	parents        map[string]bool     // tests that had subtests: those tell the story
	passed, failed int                 // tests, with their subtests
	broken         bool                // a package failed apart from its tests: it does not build, or it ended early
}

func main() {
	names := flag.Bool("names", false, "print every test")
	flag.Parse()
	s := summary{out: os.Stdout, names: *names, said: map[string][]string{}, ran: map[string]int{}, parents: map[string]bool{}}
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d passed, %d failed\n", strings.Join(flag.Args(), " "), s.passed, s.failed)
	if s.failed > 0 || s.broken || s.passed == 0 {
		os.Exit(1)
	}
}

func (s *summary) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20) // a test may print a whole screen in one line
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(s.out, lines.Text()) // go itself: a download, a mistake in the command
			continue
		}
		s.take(e)
	}
	return lines.Err()
}

func (s *summary) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "build-fail":
		s.broken = true
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			s.said[key] = append(s.said[key], e.Output)
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e, key)
		} else {
			s.endTest(e, key)
		}
		delete(s.said, key)
	}
}

func (s *summary) endTest(e event, key string) {
	s.ran[e.Package]++
	if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
		s.parents[e.Package+" "+e.Test[:i]] = true
	}
	switch {
	case e.Action == "fail":
		s.failed++
		fmt.Fprintf(s.out, "  FAIL %s %s (%.1f s)\n", e.Package, e.Test, e.Elapsed)
		for _, line := range s.said[key] {
			fmt.Fprint(s.out, "    ", line)
		}
		return
	case e.Action == "pass":
		s.passed++
	}
	if s.names && !s.parents[key] {
		fmt.Fprintf(s.out, "  %s %s (%.1f s)\n", e.Action, e.Test, e.Elapsed)
	}
}

func (s *summary) endPackage(e event, key string) {
	switch {
	case e.Action == "fail":
		s.broken = true
		fmt.Fprintf(s.out, "FAIL %s\n", e.Package)
		for _, line := range s.said[key] {
			fmt.Fprint(s.out, "    ", line)
		}
	case s.ran[e.Package] > 0:
		fmt.Fprintf(s.out, "ok   %-36s %4d tests %6.1f s\n", e.Package, s.ran[e.Package], e.Elapsed)
	}
}
