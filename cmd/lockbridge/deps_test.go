package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "lockbridge"

// rule forbids packages to import others. Patterns are import paths, or prefixes that end in "/...".
type rule struct {
	from, except []string // who, save for
	to           []string // must not import
	why          string
	tests        bool // tests may
}

// rules are the import rules of ARCHITECTURE.md. They hold for a package and the tests inside it; an external test
// (package x_test) stands outside and may put real parts together.
var rules = []rule{
	{from: []string{"lockbridge/gateway"}, to: []string{"lockbridge/..."},
		why: "the gateway holds the nouns that all networks share: what it knew of one of them, all would have to know"},
	{from: []string{"lockbridge/gateway/media/..."}, to: []string{"lockbridge/omemo/...", "lockbridge/xmppside/...", "lockbridge/matrixside/...", "lockbridge/ircside/...", "lockbridge/store/...", "lockbridge/cmd/..."},
		why: "files are bytes behind URLs: how a network is asked for them and where rows lie is handed in"},
	{from: []string{"lockbridge/..."}, except: []string{"lockbridge/gateway/media/...", "lockbridge/cmd/...", "lockbridge/testbed/..."}, to: []string{"lockbridge/gateway/media/..."},
		why: "sides and gateway know gateway.Media, the store gives what media.Shelf asks for", tests: true},
	{from: []string{"lockbridge/omemo"}, to: []string{"lockbridge/..."},
		why: "cryptography is read and tested alone: no network, no database, no I/O"},
	{from: []string{"lockbridge/xmppside/..."}, to: []string{"lockbridge/matrixside/...", "lockbridge/ircside/...", "lockbridge/store/...", "lockbridge/cmd/..."}, why: sideRule},
	{from: []string{"lockbridge/matrixside/..."}, to: []string{"lockbridge/xmppside/...", "lockbridge/ircside/...", "lockbridge/store/...", "lockbridge/cmd/..."}, why: sideRule},
	{from: []string{"lockbridge/ircside/..."}, to: []string{"lockbridge/xmppside/...", "lockbridge/matrixside/...", "lockbridge/store/...", "lockbridge/cmd/..."}, why: sideRule},
	{from: []string{"lockbridge/..."}, except: []string{"lockbridge/xmppside/...", "lockbridge/omemo/...", "lockbridge/testbed/..."}, to: []string{"lockbridge/omemo/..."},
		why: "only XMPP speaks OMEMO; to the others a message is text", tests: true},
	{from: []string{"lockbridge/store/..."}, to: []string{"lockbridge/xmppside/...", "lockbridge/matrixside/...", "lockbridge/ircside/...", "lockbridge/omemo/...", "lockbridge/cmd/..."},
		why: "the store keeps bytes for the gateway's interfaces; it knows no network"},
	{from: []string{"lockbridge/..."}, except: []string{"lockbridge/cmd/...", "lockbridge/testbed/..."}, to: []string{"lockbridge/testbed/..."},
		why: "the test bed drives the program from outside", tests: true},
	{from: []string{"lockbridge/..."}, except: []string{"lockbridge/xmppside/..."}, to: []string{"mellium.im/..."},
		why: "one place to change when the XMPP library does"},
	{from: []string{"lockbridge/..."}, except: []string{"lockbridge/ircside/..."}, to: []string{"github.com/lrstanley/girc/..."},
		why: "one place to change when the IRC library does"},
	{from: []string{"lockbridge/..."}, except: []string{"lockbridge/matrixside/..."}, to: []string{"maunium.net/go/mautrix/..."},
		why: "one place to change when the Matrix library does"},
	{from: []string{"lockbridge/..."}, except: []string{"lockbridge/matrixside/..."}, to: []string{"golang.org/x/net/html/..."},
		why: "HTML is how Matrix marks text up; to the others it is text"},
	{from: []string{"lockbridge/..."}, except: []string{"lockbridge/store/...", "lockbridge/matrixside/..."}, to: []string{"go.mau.fi/util/dbutil/..."},
		why: "SQL stands in store; matrixside only hands the database to its library"},
	{from: []string{"lockbridge/..."}, except: []string{"lockbridge/store/...", "lockbridge/omemo/bench", "lockbridge/testbed/..."}, to: []string{"database/sql", "github.com/jackc/pgx/...", "modernc.org/sqlite/..."},
		why: "SQL stands in store"},
}

const sideRule = "a side knows the gateway's contract and nothing else, so that a network can be added or taken out alone"

// goroutines lists the files that may start goroutines: each has an owner there that waits for it.
var goroutines = []string{
	"gateway/gateway.go",    // the networks, each with its lease, its side and its courier
	"gateway/deliver.go",    // one for each lane that has something to deliver
	"store/wake.go",         // the listener and the sweeper
	"xmppside/conn.go",      // the component's stream
	"matrixside/conn.go",    // the listener for the homeserver
	"ircside/conn.go",       // the relay's connection
	"cmd/lockbridge/run.go", // gateway, store and monitor
}

type goPackage struct {
	ImportPath           string
	Imports, TestImports []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-tags", "goolm,e2e", "-json=ImportPath,Imports,TestImports", "lockbridge/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func TestImports(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < 7 {
		t.Fatalf("only %d packages found", len(packages))
	}
	for _, p := range packages {
		for _, r := range rules {
			if !matches(r.from, p.ImportPath) || matches(r.except, p.ImportPath) {
				continue
			}
			imports := p.Imports
			if !r.tests {
				imports = slices.Concat(p.Imports, p.TestImports)
			}
			for _, i := range imports {
				if i != p.ImportPath && matches(r.to, i) && !strings.HasSuffix(i, "test") {
					t.Errorf("%s imports %s: %s", p.ImportPath, i, r.why)
				}
			}
		}
		if !strings.HasSuffix(p.ImportPath, "test") && !strings.HasPrefix(p.ImportPath, module+"/testbed/") && slices.Contains(p.Imports, "testing") {
			t.Errorf("%s imports testing: test code does not belong into the program; put it into a package whose name ends in test", p.ImportPath)
		}
	}
}

// TestProgramHoldsNoTestCode looks through everything that is linked, not only what we import ourselves.
func TestProgramHoldsNoTestCode(t *testing.T) {
	out, err := exec.Command("go", "list", "-tags", "goolm", "-deps", "lockbridge/cmd/lockbridge").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, p := range strings.Fields(string(out)) {
		if p == "testing" || strings.HasPrefix(p, "github.com/stretchr/testify") || strings.HasPrefix(p, module) && strings.HasSuffix(p, "test") {
			t.Errorf("the program links %s", p)
		}
	}
}

// matches reports whether a pattern covers path; "x/..." covers x, too.
func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, deep := strings.CutSuffix(p, "/...")
		return path == prefix || deep && strings.HasPrefix(path, prefix+"/")
	})
}

// sources calls see for every Go file of the program itself.
func sources(t *testing.T, see func(path string, file *ast.File, set *token.FileSet, text []byte)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "testbed" || name == "tools" || name != "." && strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		see(filepath.ToSlash(name), file, set, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestGoroutines finds the go statements, and the calls of Go methods (sync.WaitGroup, errgroup.Group), outside the
// files that may have them.
func TestGoroutines(t *testing.T) {
	sources(t, func(path string, file *ast.File, set *token.FileSet, _ []byte) {
		if strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/") || slices.Contains(goroutines, path) {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s:%d starts a goroutine; only these files may: %v", path, set.Position(n.Pos()).Line, goroutines)
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" {
					t.Errorf("%s:%d starts a goroutine by .Go; only these files may: %v", path, set.Position(n.Pos()).Line, goroutines)
				}
			}
			return true
		})
	})
}

// TestNoInit: nothing happens before main.
func TestNoInit(t *testing.T) {
	sources(t, func(path string, file *ast.File, _ *token.FileSet, _ []byte) {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", path)
			}
		}
	})
}

// TestFileLength warns, since a long file is a question and not an error.
func TestFileLength(t *testing.T) {
	sources(t, func(path string, _ *ast.File, _ *token.FileSet, text []byte) {
		if n := bytes.Count(text, []byte("\n")); n > 400 && !strings.HasSuffix(path, "_test.go") {
			t.Logf("warning: %s has %d lines; does it hold two things?", path, n)
		}
	})
}
