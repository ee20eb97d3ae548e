package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// sampleEvery is how often the process's memory is looked at, searchEvery its files.
	sampleEvery = 50 * time.Millisecond
	searchEvery = 20 // samples
)

// watch looks at a process while a file crosses: at its memory, and at what it keeps on disk.
type watch struct {
	pid    int
	dir    string // of its files
	marker []byte // the files that cross consist of it
}

// resident is the process's memory (VmRSS), in bytes; 0: it has ended.
func (w *watch) resident() int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// start watches until the returned function is called, which returns the most memory that was seen, and where the marker
// was found.
func (w *watch) start(ctx context.Context) (stop func() (peak int64, err error)) {
	ctx, cancel := context.WithCancel(ctx)
	var peak int64
	var found error
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticks := time.NewTicker(sampleEvery)
		defer ticks.Stop()
		for n := 1; ctx.Err() == nil; n++ {
			peak = max(peak, w.resident())
			if n%searchEvery == 0 {
				found = errors.Join(found, w.search())
			}
			select {
			case <-ctx.Done():
			case <-ticks.C:
			}
		}
	}()
	return func() (int64, error) {
		cancel()
		<-done
		return peak, errors.Join(found, w.search())
	}
}

// search looks for the marker in all files of the process's folder, and in those that it has open: the files of the
// spool have no name.
func (w *watch) search() error {
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // it was there a moment ago
		}
		return w.searchFile(path)
	})
	open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", w.pid))
	for _, path := range open {
		if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() {
			err = errors.Join(err, w.searchFile(path))
		}
	}
	return err
}

func (w *watch) searchFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil //nolint:nilerr // it was there a moment ago
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	kept := 0 // of the piece before
	for {
		n, err := f.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], w.marker) {
			return fmt.Errorf("%s holds the file in the clear", path)
		}
		if errors.Is(err, io.EOF) || err != nil {
			return nil
		}
		tail := min(kept+n, len(w.marker)-1)
		kept = copy(buf, buf[kept+n-tail:kept+n])
	}
}
