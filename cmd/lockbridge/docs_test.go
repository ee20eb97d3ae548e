package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// declaredTests are the names of all tests, with whether one of that name runs against real servers.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	real := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
				return fs.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, name := range declared.FindAllSubmatch(text, -1) {
			real[string(name[1])] = real[string(name[1])] || strings.HasPrefix(string(text), "//go:build e2e\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return real
}

// TestDocsNameTestsThatExist: a promise whose test is gone is no promise.
func TestDocsNameTestsThatExist(t *testing.T) {
	declared := declaredTests(t)
	named := regexp.MustCompile("`(Test\\w+)`")
	for file, least := range map[string]int{"guarantees.md": 30, "features.md": 25} {
		page, err := os.ReadFile(filepath.Join("..", "..", "docs", file))
		if err != nil {
			t.Fatal(err)
		}
		names := named.FindAllSubmatch(page, -1)
		if len(names) < least {
			t.Errorf("docs/%s names %d tests only", file, len(names))
		}
		for _, name := range names {
			if _, there := declared[string(name[1])]; !there {
				t.Errorf("docs/%s names %s, which does not exist", file, name[1])
			}
		}
	}
}

// TestEveryFeatureIsShown: each cell of the tables says how something crosses and which test shows it, or why it cannot. What is not
// marked otherwise is shown with real servers.
func TestEveryFeatureIsShown(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "features.md"))
	if err != nil {
		t.Fatal(err)
	}
	directions := regexp.MustCompile("^(native|degraded: \\S).*`Test\\w+`|^impossible: \\w+")
	sealed := regexp.MustCompile("^\\S.*`Test\\w+`")
	shown := regexp.MustCompile("`(Test\\w+)`( \\((?:fake|words)\\))?")
	declared := declaredTests(t)
	for _, table := range []struct {
		columns, least int
		fits           *regexp.Regexp
	}{{6, 44, directions}, {3, 11, sealed}} {
		rows := rowsOf(t, string(page), table.columns)
		if len(rows) < table.least {
			t.Errorf("a table of docs/features.md has %d features only", len(rows))
		}
		for _, row := range rows {
			for n, cell := range row[1:] {
				if !table.fits.MatchString(cell) {
					t.Errorf("%s, column %d: %q names no test and is not impossible", row[0], n+1, cell)
				}
				for _, test := range shown.FindAllStringSubmatch(cell, -1) {
					if test[2] == "" && !declared[test[1]] {
						t.Errorf("%s, column %d: %s needs no real server, and is not marked so", row[0], n+1, test[1])
					}
				}
			}
		}
	}
}

// rowsOf are the cells of the table with so many columns behind the features' names.
func rowsOf(t *testing.T, page string, columns int) (rows [][]string) {
	t.Helper()
	_, table, _ := strings.Cut(page, "\n|"+strings.Repeat("---|", columns+1)+"\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != columns+1 {
			t.Errorf("the row %q has %d cells, not %d", line, len(cells), columns+1)
			continue
		}
		for n := range cells {
			cells[n] = strings.TrimSpace(cells[n])
		}
		rows = append(rows, cells)
	}
	return rows
}
