package main

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRestored runs the program, brings an old copy of its database back in several ways, and runs it again: it notices
// each time, and once.
func TestRestored(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	config := filepath.Join(dir, "lockbridge.toml")
	writeFile(t, config, besideConfig)
	// run starts and stops it, and says whether it noticed that its database was restored.
	run := func() bool {
		t.Helper()
		cmd := program(ctx, oneKey, "run", "--config", config)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stderr)
		var log strings.Builder
		for stopping := false; lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			if !stopping && regexp.MustCompile(`msg="network away" network=xmpp`).MatchString(lines.Text()) {
				stopping = true
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, log.String())
		}
		return strings.Contains(log.String(), "all OMEMO sessions were dropped")
	}
	lockbridge := func(args ...string) {
		t.Helper()
		if out, err := program(ctx, oneKey, append(args, "--config", config)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v, %s", args, err, out)
		}
	}
	expect := func(when string, want bool) {
		t.Helper()
		if got := run(); got != want {
			t.Errorf("%s: noticed %v, want %v", when, got, want)
		}
	}
	database := filepath.Join(dir, "lockbridge.db")

	expect("the first start", false)
	expect("the second start", false)
	lockbridge("backup", filepath.Join(dir, "a.backup"))
	copied, err := os.ReadFile(database) // it was closed, so this is all of it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(database); err != nil {
		t.Fatal(err)
	}
	lockbridge("restore", filepath.Join(dir, "a.backup"))
	expect("a backup of this minute", true)
	expect("the start after it", false)

	if err := os.WriteFile(database, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	expect("a copy of the file", true)
	expect("the start after it", false)

	if err := os.Remove(filepath.Join(dir, "lockbridge.epoch")); err != nil {
		t.Fatal(err)
	}
	expect("without the epoch's file", true)
	expect("the start after it", false)
}
