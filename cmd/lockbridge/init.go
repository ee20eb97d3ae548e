package main

import (
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"lockbridge/store"
)

//go:embed init.toml
var initConfig []byte

type initCommand struct {
	Dir string `arg:"" optional:"" default:"." help:"Where to (default: here)."`
}

// Run writes what is not there yet. A file that exists is never touched: the key is the only thing that reads the
// store.
func (c initCommand) Run(o output) error {
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	key := make([]byte, store.KeySize)
	rand.Read(key)
	config, keyFile := filepath.Join(c.Dir, "lockbridge.toml"), filepath.Join(c.Dir, "lockbridge.key")
	if err := create(o, config, initConfig); err != nil {
		return err
	}
	if err := create(o, keyFile, []byte(base64.StdEncoding.EncodeToString(key)+"\n")); err != nil {
		return err
	}
	fmt.Fprintf(o.out, `
Next:
  1. Keep a copy of %[2]s elsewhere: without it the store cannot be read.
  2. Edit %[1]s; what to change is marked with "CHANGE".
  3. lockbridge check --config %[1]s
  4. lockbridge registration --config %[1]s
     and tell the Matrix homeserver about the file that it writes.
  5. lockbridge run --config %[1]s
`, config, keyFile)
	return nil
}

// create writes a file that only its owner can read, unless it exists.
func create(o output, name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		fmt.Fprintf(o.out, "%s exists and is left as it is\n", name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	fmt.Fprintf(o.out, "%s written\n", name)
	return nil
}
