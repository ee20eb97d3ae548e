package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"lockbridge/gateway"
)

// epochFile keeps each network's gateway.Epoch, one line "NETWORK NUMBER" each. It lies outside the database so that it
// does not go back with it when an old copy of the database is restored.
//
// Two processes that stand in for each other may share one: when both write at once the file may fall behind for one
// network until the next Save, which is harmless, since only a number that is ahead of the database means something.
type epochFile struct {
	path string
	mu   sync.Mutex
}

const epochHeader = `# How far lockbridge has come, for each network. It compares this with the database to notice that an old copy of the
# database was restored. Leave it out of backups, and never restore it; if it was restored, delete it.
`

// of returns the number of one network.
func (f *epochFile) of(network string) gateway.Epoch { return networkEpoch{f, network} }

type networkEpoch struct {
	file    *epochFile
	network string
}

// Load implements gateway.Epoch.
func (e networkEpoch) Load() (uint64, error) {
	e.file.mu.Lock()
	defer e.file.mu.Unlock()
	all, err := e.file.read()
	return all[e.network], err
}

// Save implements gateway.Epoch.
func (e networkEpoch) Save(n uint64) error {
	e.file.mu.Lock()
	defer e.file.mu.Unlock()
	all, err := e.file.read()
	if err != nil {
		return err
	}
	all[e.network] = n
	return e.file.write(all)
}

// read returns all numbers; a file that is not there holds none.
func (f *epochFile) read() (map[string]uint64, error) {
	all := map[string]uint64{}
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the epoch file: %w", err)
	}
	i := 0
	for line := range strings.Lines(string(text)) {
		i++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		network, number, _ := strings.Cut(line, " ")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf(`read the epoch file: line %d of %s is not "NETWORK NUMBER"`, i, f.path)
		}
		all[network] = n
	}
	return all, nil
}

// write replaces the file as a whole; a crash leaves the old one or the new one.
func (f *epochFile) write(all map[string]uint64) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the epoch file: %w", err)
		}
	}()
	var b bytes.Buffer
	b.WriteString(epochHeader)
	for _, network := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s %d\n", network, all[network])
	}
	temp, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(b.Bytes())
	if err = errors.Join(err, temp.Sync(), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close()) // the rename itself
}

// checkEpoch finds out before anything runs whether the file could be read and written.
func (c *config) checkEpoch(found *findings) {
	if c.Store.Epoch == "" {
		return // switched off
	}
	const remedy = `epoch = "FILE" in a folder that lockbridge may write to, outside what is backed up; "" does without`
	if _, err := (&epochFile{path: c.Store.Epoch}).read(); err != nil {
		found.add(finding{key: "store.epoch", text: err.Error(), remedy: "make it readable; where it is damaged, delete it"})
		return
	}
	dir := filepath.Dir(c.Store.Epoch)
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		found.add(finding{key: "store.epoch", text: fmt.Sprintf("the file %s cannot be written: %s: %v", c.Store.Epoch, dir, err), remedy: remedy, absent: true})
	}
}
