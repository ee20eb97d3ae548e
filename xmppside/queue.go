package xmppside

import (
	"context"
	"sync"
	"time"
)

// What the queue holds while the database is slow.
const (
	maxQueued      = 4096     // messages
	maxQueuedBytes = 32 << 20 // of messages
	maxQueuedAll   = 64 << 20 // bytes of anything; beyond it the connection is rebuilt
)

// item is a stanza on its way to the worker.
type item struct {
	raw      []byte
	bound    bindings // in force around it
	presence bool
	long     bool // too long: only the start tag is left
	at       time.Time
	release  *room           // no stanza, but a mark: what the room held back is due
	named    *room           // a mark: it is known what this room is called now
	face     string          // a mark: this picture, by its SHA-1, is known now
	met      string          // a mark as well: it is settled what this address of ours is
	passed   chan<- struct{} // a mark, too: closed when all before it has been looked at
}

// counts reports whether it is a message, which may be left out when there are too many.
func (it item) counts() bool {
	return !it.presence && it.release == nil && it.met == "" && it.passed == nil && it.face == "" && it.named == nil
}

// queue holds messages and presences in stream order. Pushing never blocks: the reader must go on, for answers to
// queries come by the same stream.
type queue struct {
	mu       sync.Mutex
	items    []item
	messages int // of the items
	size     int // bytes of messages
	all      int // bytes
	closed   bool
	wake     chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// push appends it. It reports false when it is a message and the queue is full. overrun: not even presences can be
// kept any more.
func (q *queue) push(it item) (ok, overrun bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(it.raw)
	if q.all+n > maxQueuedAll {
		return false, true
	}
	if it.counts() {
		if q.messages >= maxQueued || q.size+n > maxQueuedBytes {
			return false, false
		}
		q.messages, q.size = q.messages+1, q.size+n
	}
	q.items, q.all = append(q.items, it), q.all+n
	q.signal()
	return true, false
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close lets take return what is left and then end.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// half reports whether the queue is less than half full.
func (q *queue) half() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.messages < maxQueued/2 && q.size < maxQueuedBytes/2
}

// take waits for items and returns at most limit of them; false when the queue is closed and empty, or ctx ended.
func (q *queue) take(ctx context.Context, limit int) ([]item, bool) {
	for {
		q.mu.Lock()
		if n := min(limit, len(q.items)); n > 0 {
			out := q.items[:n:n]
			q.items = q.items[n:]
			for _, it := range out {
				q.all -= len(it.raw)
				if it.counts() {
					q.messages, q.size = q.messages-1, q.size-len(it.raw)
				}
			}
			if len(q.items) > 0 {
				q.signal()
			} else {
				q.items = nil
			}
			q.mu.Unlock()
			return out, true
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil, false
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-q.wake:
		}
	}
}
