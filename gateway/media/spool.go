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

var (
	errSpoolFull = errors.New("too many files are on their way")
	errSpoolLent = errors.New("those who follow links read too many files at once")
	// errDisk: our own disk is full, or broken.
	errDisk = errors.New("the spool does not take the file")
)

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
	lent    int64 // of used: what visitors hold
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
	size     int64     // bytes on disk
	readers  int       // who holds it
	visitors int       // those of them who follow a link
	last     time.Time // when it was last let go of
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
// of the entry. Visitors hold half of the spool at the most: a room's messages wait for the rest, and how slowly a link is
// read is for strangers to say.
func (s *spool) get(ctx context.Context, id fileID, visitor bool, fill func(*entry) error) (*entry, error) {
	for {
		e, mine, err := s.claim(id, visitor)
		if err != nil {
			return nil, err
		}
		if mine {
			if err := s.fill(id, e, visitor, fill); err != nil {
				return nil, err
			}
			return e, nil
		}
		select {
		case <-e.done:
		case <-ctx.Done():
			s.release(e, visitor)
			return nil, ctx.Err()
		}
		if e.err == nil {
			return e, nil
		}
		s.release(e, visitor)
		if !errors.Is(e.err, context.Canceled) && !errors.Is(e.err, context.DeadlineExceeded) {
			return nil, e.err
		}
		// Who fetched it gave up, for reasons of their own: fetch it.
	}
}

// claim returns the entry and counts the caller as its reader; mine: there was none, and the caller fills it.
func (s *spool) claim(id fileID, visitor bool) (e *entry, mine bool, err error) {
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
	if visitor {
		if e.visitors == 0 {
			if s.lent+e.size > s.limit/2 {
				return nil, false, gateway.Later(fullPause, errSpoolLent)
			}
			s.lent += e.size
		}
		e.visitors++
	}
	e.readers++
	return e, mine, nil
}

// fill creates the entry's file and has it filled. A panic counts as a failure, so that nobody waits for ever.
func (s *spool) fill(id fileID, e *entry, visitor bool, fill func(*entry) error) error {
	err := errors.New("fetching the file ended early")
	defer func() {
		if e.err = err; err != nil {
			s.mu.Lock()
			delete(s.entries, id)
			s.mu.Unlock()
			s.release(e, visitor)
		}
		close(e.done)
	}()
	if e.file, err = os.CreateTemp(s.dir, spoolName); err == nil {
		err = forgetName(e.file.Name())
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errDisk, err)
		return err
	}
	err = fill(e)
	return err
}

// Write implements io.Writer for who fills the entry.
func (e *entry) Write(p []byte) (int, error) {
	s := e.spool
	if err := s.reserve(e, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := e.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errDisk, err)
	}
	return n, nil
}

// reserve makes room for n more bytes of an entry.
func (s *spool) reserve(e *entry, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.visitors == e.readers && s.lent+n > s.limit/2 { // nobody but visitors waits for it
		return gateway.Later(fullPause, errSpoolLent)
	}
	for s.used+n > s.limit {
		if !s.evict() {
			return gateway.Later(fullPause, errSpoolFull)
		}
	}
	s.used += n
	e.size += n
	if e.visitors > 0 {
		s.lent += n
	}
	return nil
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
func (s *spool) release(e *entry, visitor bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.readers--
	if visitor {
		if e.visitors--; e.visitors == 0 {
			s.lent -= e.size
		}
	}
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
