package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// colour is how a cell looks on a terminal: the parameter of SGR (ECMA-48, 8.3.117).
type colour string

const (
	ordinary colour = ""
	bold     colour = "1"
	dim      colour = "2"
	red      colour = "31"
	green    colour = "32"
	yellow   colour = "33"
)

// cell is one piece of text in a table.
type cell struct {
	text string
	colour
}

// table prints rows in aligned columns, with colours where a terminal shows them.
type table struct {
	indent string
	paint  bool
	rows   [][]cell
}

func newTable(o output, indent string, head ...string) *table {
	t := &table{indent: indent, paint: paints(o)}
	if len(head) > 0 {
		cells := make([]cell, len(head))
		for i, text := range head {
			cells[i] = cell{text, bold}
		}
		t.row(cells...)
	}
	return t
}

// paints reports whether colours are wanted: https://no-color.org asks to heed NO_COLOR.
func paints(o output) bool {
	return isTerminal(o.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func (t *table) row(cells ...cell) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(printable(c.text)))
		}
	}
	for _, row := range t.rows {
		var b strings.Builder
		for i, c := range row {
			text := printable(c.text)
			gap := widths[i] + 2 - utf8.RuneCountInString(text)
			b.WriteString(paint(t.paint, c.colour, text))
			b.WriteString(strings.Repeat(" ", gap))
		}
		fmt.Fprintln(w, t.indent+strings.TrimRight(b.String(), " "))
	}
}

func paint(on bool, c colour, text string) string {
	if !on || c == ordinary || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// printable replaces what would move a terminal's cursor, or the reader's eye: ids and names come from anybody.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// span writes a duration for people: two units at most.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return units(d, time.Minute, "min", time.Second, "s")
	case d < day:
		return units(d, time.Hour, "h", time.Minute, "min")
	}
	return units(d, day, "d", time.Hour, "h")
}

func units(d, great time.Duration, greatName string, small time.Duration, smallName string) string {
	s := fmt.Sprintf("%d %s", d/great, greatName)
	if rest := d % great / small; rest > 0 {
		s += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return s
}

// clockTime writes a time for people, in their zone.
func clockTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// isoTime writes a time for programs; "": none.
func isoTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
