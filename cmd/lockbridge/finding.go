package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"lockbridge/gateway"
)

// finding is one thing to say about the configuration.
type finding struct {
	line   int
	key    string // dotted, from the top of the file; may be empty
	text   string
	remedy string
	// warning: it can run all the same.
	warning bool
	// absent: something that stands outside the file is not there. check only warns about it, since the machine that
	// checks need not be the one that runs.
	absent bool
}

func (f finding) problem() gateway.Problem {
	return gateway.Problem{Key: f.key, Text: f.text, Remedy: f.remedy}
}

// findings collects what is wrong with one file.
type findings struct {
	file string
	doc  *document
	all  []finding
	// unresolved are the keys whose value could not be fetched. What is said about such a value means its
	// placeholder, and is not passed on.
	unresolved map[string]bool
}

func (f *findings) add(list ...finding) {
	for _, one := range list {
		if f.unresolved[one.key] && !one.absent {
			continue
		}
		if one.line == 0 && f.doc != nil {
			one.line = f.doc.line(one.key)
		}
		one.line = max(one.line, 1)
		f.all = append(f.all, one)
	}
}

// problems adds what a block's owner found; its keys are relative to path.
func (f *findings) problems(path string, list []gateway.Problem) {
	for _, p := range list {
		key := path
		if p.Key != "" {
			key = join(path, p.Key)
		}
		f.add(finding{key: key, text: p.Text, remedy: p.Remedy})
	}
}

// forgive takes out what is absent for one network: its secrets, and the passwords of its rooms.
func (f *findings) forgive(network string) {
	f.all = slices.DeleteFunc(f.all, func(one finding) bool {
		parts := strings.Split(one.key, ".")
		return one.absent && len(parts) > 1 && (parts[0] == "network" && parts[1] == network || len(parts) > 3 && parts[0] == "bridge" && parts[3] == network)
	})
}

// broken reports whether anything is wrong with the file itself.
func (f *findings) broken() bool {
	return slices.ContainsFunc(f.all, func(one finding) bool { return !one.warning && !one.absent })
}

// sorted are all findings in the order of the file.
func (f *findings) sorted() []finding {
	slices.SortStableFunc(f.all, func(a, b finding) int { return cmp.Compare(a.line, b.line) })
	return f.all
}

// print writes one line for each finding, in the order of the file. Where strict, what is absent is an error.
func (f *findings) print(w io.Writer, strict bool) (errors, warnings int) {
	for _, one := range f.sorted() {
		mark := ""
		if one.warning || one.absent && !strict {
			mark = "warning: "
			warnings++
		} else {
			errors++
		}
		fmt.Fprintf(w, "%s:%d: %s%v\n", f.file, one.line, mark, one.problem())
	}
	return errors, warnings
}
