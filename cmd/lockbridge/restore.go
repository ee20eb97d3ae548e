package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"lockbridge/store"
)

type restoreCommand struct {
	configFlag

	File  string `arg:"" help:"A backup (\"-\": standard input)."`
	Check bool   `help:"Read the whole backup, say what it holds and change nothing."`
}

// Run fills an empty store with a backup, of either kind of database.
func (c restoreCommand) Run(o output) error {
	file, err := filepath.Abs(c.File) // before the configuration's folder is entered
	if err != nil {
		return fmt.Errorf("find %s: %w", c.File, err)
	}
	cfg, err := c.maintained(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), maintenanceTime)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	in := o.in
	if c.File != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		defer f.Close()
		in = f
	}
	if c.Check {
		contents, err := store.CheckBackup(in, cfg.key, o.progress("check"))
		if err != nil {
			return err
		}
		fmt.Fprintf(o.out, "%s is whole: %s.\n", c.File, describeBackup(contents))
		return nil
	}
	contents, err := store.Restore(ctx, store.Config{URL: cfg.Store.URL, Key: cfg.key, Log: cfg.logger(o.err)}, in, o.progress("restore"))
	if err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%s restored into %s. What was sent since then is not in there; all OMEMO sessions will be built anew.\n", describeBackup(contents), storeName(cfg.Store.URL))
	return nil
}

// storeName names a store without its passwords.
func storeName(store string) string {
	u, err := url.Parse(store)
	if err != nil || u.Host == "" {
		return store // a file
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// maintained reads the configuration for a command that needs the store and nothing else of it.
func (c configFlag) maintained(o output) (*config, error) {
	cfg, f, err := load(c.Config, kinds())
	if err != nil {
		return nil, err
	}
	if f.broken() || cfg.key == nil || f.unresolved["store.url"] {
		f.print(o.err, true)
		return nil, errReported
	}
	return cfg, nil
}
