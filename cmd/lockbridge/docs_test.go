package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameTestsThatExist: a promise whose test is gone is no promise.
func TestDocsNameTestsThatExist(t *testing.T) {
	root := filepath.Join("..", "..")
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
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
			there[string(name[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`")
	for file, least := range map[string]int{"guarantees.md": 30, "features.md": 25} {
		page, err := os.ReadFile(filepath.Join(root, "docs", file))
		if err != nil {
			t.Fatal(err)
		}
		names := named.FindAllSubmatch(page, -1)
		if len(names) < least {
			t.Errorf("docs/%s names %d tests only", file, len(names))
		}
		for _, name := range names {
			if !there[string(name[1])] {
				t.Errorf("docs/%s names %s, which does not exist", file, name[1])
			}
		}
	}
}

// TestEveryFeatureIsShown: each cell of the table says how something crosses and which test shows it, or why it cannot.
func TestEveryFeatureIsShown(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "features.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n|---|---|---|---|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	shown := regexp.MustCompile("^(native|degraded: \\S).*`Test\\w+`")
	impossible := regexp.MustCompile(`^impossible: \w+`)
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if rows++; len(cells) != 7 {
			t.Errorf("the row %q has %d cells, not 7", line, len(cells))
			continue
		}
		for n, cell := range cells[1:] {
			if cell = strings.TrimSpace(cell); !shown.MatchString(cell) && !impossible.MatchString(cell) {
				t.Errorf("%s, column %d: %q names no test and is not impossible", strings.TrimSpace(cells[0]), n+1, cell)
			}
		}
	}
	if rows < 30 {
		t.Errorf("docs/features.md has %d features only", rows)
	}
}
