package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lockbridge/store"
)

const dieAt = "LOCKBRIDGE_TEST_DIE_AT"

// TestRekeyKilled kills a change of the key after each of its steps. The store has one key that fits at any time, `run`
// says what to do where that is not the one in place, and another rekey finishes the change.
func TestRekeyKilled(t *testing.T) {
	if step := os.Getenv(dieAt); step != "" {
		t.Fatal("it outlived its death: ", rekeyUntil(t, step))
	}
	for _, step := range []string{stepKeyMade, stepSealing, stepSealed, stepOldKept, stepSwitched} {
		t.Run(step, func(t *testing.T) { // one after another: a process that begins holds for a moment what this one has open, the lock too
			dir := t.TempDir()
			config := filepath.Join(dir, "lockbridge.toml")
			write(t, config, "store.key = \"file:lockbridge.key\"\nhttp.listen = \"\"\nnetwork.irc = { kind = \"irc\", server = \"127.0.0.1:1\", nick = \"lockbridge\" }\n")
			first := fill(t, dir)

			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRekeyKilled$")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), dieAt+"="+step)
			var exit *exec.ExitError
			if out, err := cmd.CombinedOutput(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the change of the key ended with %v: %s", err, out)
			}

			inPlace, err := readKey(filepath.Join(dir, "lockbridge.key"))
			if err != nil {
				t.Fatal(err)
			}
			sealed := step == stepSealed || step == stepOldKept
			if sealed {
				fails(t.Context(), t, "", config, "a change of the key was interrupted, lockbridge.key.new is there: `lockbridge rekey` finishes it")
			} else if got := read(t, dir, inPlace); got != "v" {
				t.Errorf("after the kill %q is read", got)
			}
			if step == stepSwitched {
				if bytes.Equal(inPlace, first) {
					t.Error("the old key is in place")
				}
				return
			}
			out, err := program(t.Context(), "", "rekey", "--config", config).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "The store is under its new key now, which is in lockbridge.key.\n") {
				t.Errorf("the second rekey: %v, %s", err, out)
			}
			inPlace, err = readKey(filepath.Join(dir, "lockbridge.key"))
			if err != nil || bytes.Equal(inPlace, first) || read(t, dir, inPlace) != "v" {
				t.Errorf("the key in place is the old one, or does not fit: %v", err)
			}
			if old, err := readKey(filepath.Join(dir, "lockbridge.key.old")); err != nil || !bytes.Equal(old, first) {
				t.Errorf("the old key is not kept: %v", err)
			}
			left, err := filepath.Glob(filepath.Join(dir, "lockbridge.key*"))
			if err != nil || len(left) != 2 {
				t.Errorf("there are %v, %v", left, err)
			}
		})
	}
}

// rekeyUntil changes the key of the configuration in the working directory and kills this process after a step.
func rekeyUntil(t *testing.T, step string) error {
	cfg, err := configFlag{"lockbridge.toml"}.maintained(output{os.Stdout, os.Stderr, os.Stdin})
	if err != nil {
		return err
	}
	return rekeying{cfg: cfg, o: output{os.Stdout, os.Stderr, os.Stdin}, reached: func(reached string) error {
		if reached == step {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}}.run(t.Context())
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fill makes a key and a store with enough in it that sealing takes several steps.
func fill(t *testing.T, dir string) (key []byte) {
	t.Helper()
	key, err := makeKey(filepath.Join(dir, "lockbridge.key"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(dir, "lockbridge.db"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]byte{}
	for i := range 1100 {
		values[fmt.Sprint("key ", i)] = []byte("v")
	}
	if err := errors.Join(s.State("irc").PutMany(t.Context(), values), s.Close()); err != nil {
		t.Fatal(err)
	}
	return key
}

// read returns a value from that store.
func read(t *testing.T, dir string, key []byte) string {
	t.Helper()
	db, err := store.OpenBeside(context.Background(), store.Config{URL: "sqlite:" + filepath.Join(dir, "lockbridge.db"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got, err := db.State("irc").GetMany(t.Context(), []string{"key 1099"})
	if err != nil {
		t.Fatal(err)
	}
	return string(got["key 1099"])
}
