package media

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lockbridge/gateway"
)

const (
	// spoolTime is how long a file stays after it was last asked for.
	spoolTime = 10 * time.Minute
	// maxSpooled bounds how many files the spool has, since each is an open one.
	maxSpooled = 256
	spoolName  = "spool-*"
	// fullPause is how long a delivery waits that found the spool full of files that others are reading.
	fullPause = 5 * time.Second
)

var errSpoolFull = errors.New("too many files are on their way")

// fileID tells files apart: where they come from and how they open. It is a hash, for keys are part of it.
type fileID [32]byte

// spool keeps what was fetched, as ciphertext in files without a name.
type spool struct {
	dir   string
	limit int64 // bytes in all
	now   func() time.Time

	mu      sync.Mutex
	entries map[fileID]*entry
	used    int64
	closed  bool
}

// entry is one file in the spool. What is not under the spool's lock does not change once done is closed.
type entry struct {
	spool *spool
	done  chan struct{} // closed when it is complete, or has failed
	err   error

	file    *os.File
	open    opener
	plain   int64  // its size in the clear
	sniffed string // what its beginning looks like

	// under the spool's lock:
	size    int64     // bytes on disk
	readers int       // who holds it
	last    time.Time // when it was last let go of
}

// newSpool makes the folder and takes out what a process left that died between two calls.
func newSpool(dir string, limit int64, now func() time.Time) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, spoolName))
	if err != nil {
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	for _, name := range left {
		if err := forgetName(name); err != nil {
			return nil, fmt.Errorf("empty the spool: %w", err)
		}
	}
	return &spool{dir: dir, limit: limit, now: now, entries: map[fileID]*entry{}}, nil
}

// forgetName removes a file's name. Another process that empties the same folder may have been faster.
func forgetName(name string) error {
	if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err //nolint:wrapcheck // it says which file
	}
	return nil
}

// get returns a file that is there, or has fill fetch it. Whoever asks meanwhile waits for the same. The caller lets go
// of the entry.
func (s *spool) get(ctx context.Context, id fileID, fill func(*entry) error) (*entry, error) {
	for {
		e, mine, err := s.claim(id)
		if err != nil {
			return nil, err
		}
		if mine {
			if err := s.fill(id, e, fill); err != nil {
				return nil, err
			}
			return e, nil
		}
		select {
		case <-e.done:
		case <-ctx.Done():
			s.release(e)
			return nil, ctx.Err()
		}
		if e.err == nil {
			return e, nil
		}
		s.release(e)
		if !errors.Is(e.err, context.Canceled) && !errors.Is(e.err, context.DeadlineExceeded) {
			return nil, e.err
		}
		// Who fetched it gave up, for reasons of their own: fetch it.
	}
}

// claim returns the entry and counts the caller as its reader; mine: there was none, and the caller fills it.
func (s *spool) claim(id fileID) (e *entry, mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, errors.New("the spool is closed")
	}
	e = s.entries[id]
	if e == nil {
		if len(s.entries) >= maxSpooled && !s.evict() {
			return nil, false, gateway.Later(fullPause, errSpoolFull)
		}
		e = &entry{spool: s, done: make(chan struct{})}
		s.entries[id], mine = e, true
	}
	e.readers++
	return e, mine, nil
}

// fill creates the entry's file and has it filled. A panic counts as a failure, so that nobody waits for ever.
func (s *spool) fill(id fileID, e *entry, fill func(*entry) error) error {
	err := errors.New("fetching the file ended early")
	defer func() {
		if e.err = err; err != nil {
			s.mu.Lock()
			delete(s.entries, id)
			s.mu.Unlock()
			s.release(e)
		}
		close(e.done)
	}()
	if e.file, err = os.CreateTemp(s.dir, spoolName); err == nil {
		err = forgetName(e.file.Name())
	}
	if err != nil {
		err = fmt.Errorf("make a file in the spool: %w", err)
		return err
	}
	err = fill(e)
	return err
}

// Write implements io.Writer for who fills the entry.
func (e *entry) Write(p []byte) (int, error) {
	s := e.spool
	s.mu.Lock()
	fits := true
	for s.used+int64(len(p)) > s.limit && fits {
		fits = s.evict()
	}
	if fits {
		s.used += int64(len(p))
		e.size += int64(len(p))
	}
	s.mu.Unlock()
	if !fits {
		return 0, gateway.Later(fullPause, errSpoolFull)
	}
	n, err := e.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("write the spool: %w", err)
	}
	return n, nil
}

// evict takes out what nobody has read for the longest time; false: all of it is being read. Under the lock.
func (s *spool) evict() bool {
	id, e := s.oldest()
	if e == nil {
		return false
	}
	s.drop(id, e)
	return true
}

func (s *spool) oldest() (fileID, *entry) {
	idle := slices.DeleteFunc(slices.Collect(maps.Keys(s.entries)), func(id fileID) bool { return s.entries[id].readers > 0 })
	if len(idle) == 0 {
		return fileID{}, nil
	}
	id := slices.MinFunc(idle, func(a, b fileID) int {
		return cmp.Or(s.entries[a].last.Compare(s.entries[b].last), slices.Compare(a[:], b[:]))
	})
	return id, s.entries[id]
}

func (s *spool) drop(id fileID, e *entry) {
	delete(s.entries, id)
	e.gone()
}

// gone closes an entry that is in the spool no more and that nobody reads.
func (e *entry) gone() {
	e.spool.used -= e.size
	if e.file != nil {
		_ = e.file.Close() // it has no name, and nothing that was not read
		e.file = nil
	}
}

// release lets go of an entry.
func (s *spool) release(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.readers--
	e.last = s.now()
	if e.readers == 0 && (e.err != nil || s.closed) {
		e.gone()
	}
}

// sweep takes out what nobody has asked for in a while.
func (s *spool) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		id, e := s.oldest()
		if e == nil || s.now().Sub(e.last) < spoolTime {
			return
		}
		s.drop(id, e)
	}
}

// close takes out everything; what is being read stays until that ends.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.evict() {
	}
}
