package gateway

import "sync"

// maxNoted bounds how many deliveries a noted remembers.
const maxNoted = 4096

// noted is a set of deliveries of which the courier knows something that the journal does not. It is for what costs
// little when it is forgotten: full, it forgets all of them.
type noted struct {
	mu   sync.Mutex
	seqs map[int64]bool
}

func (n *noted) add(seq int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seqs == nil || len(n.seqs) >= maxNoted {
		n.seqs = map[int64]bool{}
	}
	n.seqs[seq] = true
}

func (n *noted) has(seq int64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seqs[seq]
}
