package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestEpochFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lockbridge.epoch")
	a, b := (&epochFile{path: path}).of("xmpp"), (&epochFile{path: path}).of("other")
	expect := func(want ...uint64) {
		t.Helper()
		for i, e := range []interface{ Load() (uint64, error) }{a, b} {
			if n, err := e.Load(); err != nil || n != want[i] {
				t.Errorf("load %d: %d, %v, want %d", i, n, err, want[i])
			}
		}
	}
	expect(0, 0)
	if err := errors.Join(a.Save(7), b.Save(1<<64-1), a.Save(8)); err != nil {
		t.Fatal(err)
	}
	expect(8, 1<<64-1)
	if err := a.Save(3); err != nil { // the side decides what it means
		t.Fatal(err)
	}
	expect(3, 1<<64-1)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
	for _, bad := range []string{"xmpp", "xmpp -1", "xmpp 1 2", "xmpp 18446744073709551616", "\x00\xff", "# fine\nxmpp=1"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Load(); err == nil || !strings.Contains(err.Error(), "epoch file") {
			t.Errorf("load %q: %v", bad, err)
		}
		if err := a.Save(1); err == nil {
			t.Errorf("%q was overwritten", bad)
		}
	}
}

func TestEpochFileCannotBeWritten(t *testing.T) {
	e := (&epochFile{path: filepath.Join(t.TempDir(), "none", "lockbridge.epoch")}).of("xmpp")
	if n, err := e.Load(); err != nil || n != 0 {
		t.Errorf("load: %d, %v", n, err)
	}
	if err := e.Save(1); err == nil {
		t.Error("saved into a folder that is not there")
	}
}

func TestEpochFileIsShared(t *testing.T) {
	f := &epochFile{path: filepath.Join(t.TempDir(), "e")}
	names := []string{"a", "b", "c"}
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			for n := range uint64(20) {
				if err := f.of(name).Save(n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, name := range names {
		if n, err := f.of(name).Load(); err != nil || n != 19 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}
