package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"lockbridge/store"
)

// maintenanceTime bounds commands that go through the whole store. It only ends what hangs for good.
const maintenanceTime = 24 * time.Hour

type backupCommand struct {
	configFlag

	File  string `arg:"" help:"Where to (\"-\": standard output)."`
	Force bool   `help:"Replace a file that is there."`
}

// Run writes a backup beside a running gateway. The file appears when it is whole, never before.
func (c backupCommand) Run(o output) error {
	file, err := filepath.Abs(c.File) // before the configuration's folder is entered
	if err != nil {
		return fmt.Errorf("find %s: %w", c.File, err)
	}
	return c.beside(o, maintenanceTime, func(ctx context.Context, _ *config, db *store.Beside) error {
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
		defer stop()
		if c.File == "-" {
			contents, err := db.Backup(ctx, o.out, o.progress("backup"))
			if err == nil {
				fmt.Fprintf(o.err, "%s written; it opens with the store's key of today only\n", describeBackup(contents))
			}
			return err
		}
		if _, err := os.Lstat(file); !c.Force && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already (--force replaces it)", c.File)
		}
		var contents store.Contents
		err := replaceFile(file, func(w io.Writer) (err error) {
			contents, err = db.Backup(ctx, w, o.progress("backup"))
			return err
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(o.out, "%s: %s. It opens with the store's key of today only: keep a copy of that, elsewhere.\n", c.File, describeBackup(contents))
		return nil
	})
}

// replaceFile writes a file that only its owner can read, under another name until it is whole and safe on the disk.
func replaceFile(name string, write func(w io.Writer) error) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	buffered := bufio.NewWriterSize(temp, 1<<20)
	if err := errors.Join(write(buffered), buffered.Flush(), temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes what was renamed in a folder safe on the disk.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}

// describeBackup says what a backup holds.
func describeBackup(c store.Contents) string {
	n := c.Counts()
	return fmt.Sprintf("a backup of %s with %d messages, %d deliveries and %d values of state", c.Made.Format("2006-01-02 15:04:05 MST"), n["event"], n["delivery"], n["state"])
}

// progressPause is the time between two lines about progress, which replace one another.
const progressPause = 100 * time.Millisecond

// progress shows how far something is, where somebody watches.
func (o output) progress(what string) store.Progress {
	if !isTerminal(o.err) {
		return nil
	}
	var shown time.Time
	return func(done, total int64) {
		if done < total && time.Since(shown) < progressPause {
			return
		}
		shown = time.Now()
		fmt.Fprintf(o.err, "\r%s: %d of %d rows (%d %%)", what, done, total, 100*done/max(total, 1))
		if done == total {
			fmt.Fprint(o.err, "\r\x1b[K")
		}
	}
}
