package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"lockbridge/store"
)

type rekeyCommand struct{ configFlag }

// Run gives the store another key. It can be interrupted, or killed, at any time: another `lockbridge rekey` finishes it.
func (c rekeyCommand) Run(o output) error {
	cfg, err := c.maintained(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), maintenanceTime)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	return rekeying{cfg: cfg, o: o}.run(ctx)
}

// rekeying is one change of the key. There is a key that fits the store at any time: the new one lies safely beside the
// old one before anything is sealed with it, and takes its place only afterwards.
type rekeying struct {
	cfg *config
	o   output
	// reached is told each step that has been done; an error ends it there. nil: nobody wants to know.
	reached func(step string) error
}

// The steps.
const (
	stepKeyMade  = "the new key is made"
	stepSealing  = "something is sealed anew"
	stepSealed   = "everything is sealed anew"
	stepOldKept  = "the old key is kept"
	stepSwitched = "the new key is in place"
)

func (r rekeying) step(name string) error {
	if r.reached == nil {
		return nil
	}
	return r.reached(name)
}

// newKeyFile is where the new key lies until it is in place.
func (c *config) newKeyFile() string {
	if name, ok := strings.CutPrefix(c.keyAt, "file:"); ok {
		return name + ".new"
	}
	return "lockbridge.key.new"
}

func (r rekeying) run(ctx context.Context) error {
	file := r.cfg.newKeyFile()
	next, err := readKey(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if next != nil && bytes.Equal(next, r.cfg.key) {
		return fmt.Errorf("%s holds the key that is in use, so the last change is complete: delete that file, then run `lockbridge rekey` again", file)
	}
	sealed := false
	if next != nil { // one before us was interrupted
		if sealed, err = r.fits(ctx, next); err != nil {
			return err
		}
	}
	if !sealed {
		if _, err := r.fits(ctx, r.cfg.key); err != nil {
			return err
		}
		if next == nil {
			if next, err = makeKey(file); err != nil {
				return err
			}
		}
		if err := r.seal(ctx, next); err != nil {
			return err
		}
	}
	return r.place(file)
}

// fits reports whether key is the store's.
func (r rekeying) fits(ctx context.Context, key []byte) (bool, error) {
	db, err := store.OpenBeside(ctx, store.Config{URL: r.cfg.Store.URL, Key: key})
	if err == nil {
		return true, db.Close()
	}
	if errors.Is(err, store.ErrKey) && !bytes.Equal(key, r.cfg.key) {
		return false, nil
	}
	return false, err
}

// readKey reads a key file.
func readKey(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != store.KeySize {
		return nil, fmt.Errorf("%s holds no key; it is not one that `lockbridge rekey` made: move it away", name)
	}
	return key, nil
}

// makeKey makes a key and is sure that it is safe on the disk.
func makeKey(name string) ([]byte, error) {
	key := make([]byte, store.KeySize)
	rand.Read(key)
	return key, replaceFile(name, func(w io.Writer) error {
		_, err := io.WriteString(w, base64.StdEncoding.EncodeToString(key)+"\n")
		return err
	})
}

func (r rekeying) seal(ctx context.Context, next []byte) error {
	if err := r.step(stepKeyMade); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	show := r.o.progress("rekey")
	progress := func(done, total int64) {
		if show != nil {
			show(done, total)
		}
		if err := r.step(stepSealing); err != nil {
			cancel(err)
		}
	}
	if err := store.Rekey(ctx, store.Config{URL: r.cfg.Store.URL, Key: r.cfg.key, Log: r.cfg.logger(r.o.err)}, next, progress); err != nil {
		return err
	}
	return r.step(stepSealed)
}

// place puts the new key where the configuration looks for it, as far as that is in our hands.
func (r rekeying) place(file string) error {
	current, isFile := strings.CutPrefix(r.cfg.keyAt, "file:")
	if !isFile {
		where := "store.key in the configuration"
		if name, isEnv := strings.CutPrefix(r.cfg.keyAt, "env:"); isEnv {
			where = "the environment variable " + name
		}
		fmt.Fprintf(r.o.out, `The store is under its new key now, which is in %[1]s.
Next:
  1. Put the content of %[1]s into %[2]s, where lockbridge is started.
  2. Keep the old key as long as there are backups that were made with it.
  3. lockbridge run
  4. Delete %[1]s.
`, file, where)
		return nil
	}
	old, err := keepOld(current)
	if err == nil {
		err = r.step(stepOldKept)
	}
	if err == nil {
		err = takePlace(file, current)
	}
	if err != nil {
		return fmt.Errorf("the store is under its new key now, which is in %s, but that cannot be put in the place of %s: %w; do so by hand, or run `lockbridge rekey` again", file, current, err)
	}
	if err := r.step(stepSwitched); err != nil {
		return err
	}
	fmt.Fprintf(r.o.out, `The store is under its new key now, which is in %[1]s.
Next:
  1. Keep a copy of %[1]s elsewhere: without it the store cannot be read.
  2. Keep %[2]s as long as there are backups that were made with it, then delete it.
  3. lockbridge run
`, current, old)
	return nil
}

// keepOld keeps a copy of a key under a name that is free, or that has the same content already.
func keepOld(name string) (copied string, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("keep the old key: %w", err)
	}
	for n := 1; ; n++ {
		copied = name + ".old"
		if n > 1 {
			copied = fmt.Sprintf("%s.old%d", name, n)
		}
		switch there, err := os.ReadFile(copied); {
		case err == nil && bytes.Equal(there, text):
			return copied, nil
		case errors.Is(err, fs.ErrNotExist):
			return copied, replaceFile(copied, func(w io.Writer) error {
				_, err := w.Write(text)
				return err
			})
		case err != nil:
			return "", fmt.Errorf("keep the old key: %w", err)
		}
	}
}

// takePlace replaces a file by another one, which gets its owner and its mode.
func takePlace(from, to string) error {
	info, err := os.Stat(to)
	if err != nil {
		return err
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := os.Chown(from, int(sys.Uid), int(sys.Gid)); err != nil {
			return err
		}
	}
	if err := os.Chmod(from, info.Mode().Perm()); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// explainKey adds to an error about the key what a rekey that was interrupted has to do with it.
func (c *config) explainKey(err error) error {
	if !errors.Is(err, store.ErrKey) {
		return err
	}
	if _, bad := readKey(c.newKeyFile()); bad != nil {
		return err
	}
	if strings.HasPrefix(c.keyAt, "file:") {
		return fmt.Errorf("%w\na change of the key was interrupted, %s is there: `lockbridge rekey` finishes it", err, c.newKeyFile())
	}
	return fmt.Errorf("%w\n`lockbridge rekey` has changed the key: put the content of %s in the place of the old one", err, c.newKeyFile())
}
