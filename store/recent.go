package store

import (
	"slices"
	"sync"
	"time"

	"lockbridge/gateway"
)

const (
	// maxRecent and maxRecentBytes bound what is remembered of one network: beyond it a lane is read from the database.
	maxRecent      = 1024
	maxRecentBytes = 4 << 20
)

// recent remembers the deliveries that this process has just committed until they have ended, so that a message that
// goes straight through is not read back from the database that it was written to. It answers only what it is sure of:
// lanes that held anything else, or that have to wait, are read from the database, and whatever comes from outside (the
// word of another process, a poll behind it) makes it ask the database anew. It is a memory, not a second journal:
// nothing in it is not committed.
type recent struct {
	mu       sync.Mutex
	hears    bool // the word of other processes reaches us: without it nothing is sure
	networks map[string]*lately
}

// lately is what is remembered of a network's lanes.
type lately struct {
	// sure: nothing waits but rows, and what is in the lanes of elsewhere.
	sure bool
	// elsewhere are lanes that have to be read from the database.
	elsewhere map[string]*apart
	since     int // bytes that are remembered of them
	rows      map[string][]freshRow
	count     int
	bytes     int
	// turn counts changes, and underWay the transactions that will make one: an answer of the database is believed if
	// nothing has changed, or was about to, while it came.
	turn     int
	underWay int
	// ended are deliveries that ended before the transaction that made them settled, while any is under way: the database
	// shows them to everybody a moment earlier.
	ended map[int64]bool
}

// apart is a lane that has to be read from the database, until that has nothing in it but what is known: what came to it
// since it was set apart.
type apart struct {
	due   time.Time // its head
	since []freshRow
	lost  int // how often since was too long to be kept
}

const (
	// maxSince and maxSinceBytes bound what is remembered of a lane that is set apart, and of all such lanes of a network.
	maxSince      = 64
	maxSinceBytes = 1 << 20
)

// freshRow is a new delivery.
type freshRow struct {
	queued gateway.Queued // without its event
	plain  []byte         // the event, encoded
	target gateway.Target
}

func (r *recent) of(network string) *lately {
	if r.networks == nil {
		r.networks = map[string]*lately{}
	}
	l := r.networks[network]
	if l == nil {
		l = &lately{}
		r.networks[network] = l
	}
	return l
}

// listen says whether the word of other processes reaches us.
func (r *recent) listen(hears bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hears = hears
	for _, l := range r.networks {
		l.doubt()
	}
}

// doubtAll has the database asked anew about all networks.
func (r *recent) doubtAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.networks {
		l.doubt()
	}
}

// doubt has the database asked anew about a network.
func (r *recent) doubt(network string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(network).doubt()
}

func (l *lately) doubt() {
	l.sure, l.elsewhere, l.since, l.rows, l.count, l.bytes = false, nil, 0, nil, 0, 0
	l.turn++
}

// announce says that a transaction with deliveries to these networks is about to be committed; settle must follow.
func (r *recent) announce(t *tx) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for network := range t.base.wakes {
		r.of(network).underWay++
	}
}

// settle takes in what a transaction did. After an error it may have been committed or not.
func (r *recent) settle(t *tx, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for network := range t.base.wakes {
		l := r.of(network)
		l.underWay--
		l.turn++
		if err != nil {
			l.doubt()
		}
	}
	if err != nil {
		if len(t.base.done) > 0 {
			r.of(t.network).doubt()
		}
		return
	}
	for _, row := range t.base.fresh {
		l, seq := r.of(row.queued.Room.Network), t.seqs[row.queued.Key]
		if seq == 0 { // it has no number that we know
			l.doubt()
			continue
		}
		row.queued.Seq, row.target.Seq = seq, seq // an echo that ends the delivery needs it
		l.add(row)
	}
	for i := range t.base.done {
		r.of(t.network).end(&t.base.done[i])
	}
	for network := range t.base.wakes {
		if l := r.of(network); l.underWay == 0 {
			l.ended = nil
		}
	}
}

func (l *lately) add(row freshRow) {
	room := row.queued.Room.ID
	if l.ended[row.queued.Seq] {
		delete(l.ended, row.queued.Seq)
		return
	}
	if a := l.elsewhere[room]; a != nil {
		l.addApart(a, row)
		return
	}
	if !l.sure {
		return
	}
	if l.count++; l.count > maxRecent || l.bytes+len(row.plain) > maxRecentBytes {
		l.count--
		l.leave(room, time.Time{})
		return
	}
	l.bytes += len(row.plain)
	if l.rows == nil {
		l.rows = map[string][]freshRow{}
	}
	l.rows[room] = append(l.rows[room], row)
}

func (l *lately) addApart(a *apart, row freshRow) {
	a.since = append(a.since, row)
	if l.since += len(row.plain); len(a.since) > maxSince || l.since > maxSinceBytes {
		a.lost++
		l.forget(a, func(freshRow) bool { return true })
	}
}

// forget drops some of what came to a lane since it was set apart.
func (l *lately) forget(a *apart, which func(freshRow) bool) {
	a.since = slices.DeleteFunc(a.since, func(row freshRow) bool {
		if !which(row) {
			return false
		}
		l.since -= len(row.plain)
		return true
	})
}

// end takes out what has ended. What is to be tried again is for the database to keep.
func (l *lately) end(f *gateway.Finished) {
	l.turn++
	for room, rows := range l.rows {
		i := slices.IndexFunc(rows, func(row freshRow) bool { return row.queued.Seq == f.Seq })
		if i < 0 {
			continue
		}
		if f.Retry {
			l.leave(room, f.Due)
			return
		}
		l.count, l.bytes = l.count-1, l.bytes-len(rows[i].plain)
		if len(rows) == 1 {
			delete(l.rows, room)
		} else {
			l.rows[room] = slices.Delete(rows, i, i+1)
		}
		return
	}
	if f.Retry { // of a lane elsewhere, which is due at another time now
		l.doubt()
	}
	if !f.Retry && l.underWay > 0 {
		l.endEarly(f.Seq)
	}
	for _, a := range l.elsewhere {
		l.forget(a, func(row freshRow) bool { return row.queued.Seq == f.Seq })
	}
}

func (l *lately) endEarly(seq int64) {
	if len(l.ended) == maxRecent {
		l.doubt() // nothing is remembered before all of them have settled
		l.ended = nil
	}
	if l.ended == nil {
		l.ended = map[int64]bool{}
	}
	l.ended[seq] = true
}

// leave has a lane read from the database from now on.
func (l *lately) leave(room string, due time.Time) {
	for _, row := range l.rows[room] {
		l.count, l.bytes = l.count-1, l.bytes-len(row.plain)
	}
	delete(l.rows, room)
	if l.elsewhere == nil {
		l.elsewhere = map[string]*apart{}
	}
	l.elsewhere[room] = &apart{due: due}
}

// lanes answers Lanes; false: the database has to be asked, and its answer be told to learn with the turn.
func (r *recent) lanes(network string, now time.Time) (due []gateway.Address, next time.Time, turn int, sure bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.of(network)
	if !l.sure {
		return nil, next, l.turn, false
	}
	for room := range l.rows {
		due = append(due, gateway.Address{Network: network, ID: room})
	}
	for room, a := range l.elsewhere {
		switch {
		case !a.due.After(now):
			due = append(due, gateway.Address{Network: network, ID: room})
		case next.IsZero() || a.due.Before(next):
			next = a.due
		}
	}
	return due, next, l.turn, true
}

// learn takes in what the database said of a network's lanes: when the head of each is due.
func (r *recent) learn(network string, turn int, heads map[string]time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.of(network); r.hears && l.turn == turn && l.underWay == 0 {
		l.doubt()
		l.sure, l.elsewhere = true, make(map[string]*apart, len(heads))
		for room, due := range heads {
			l.elsewhere[room] = &apart{due: due}
		}
	}
}

// head answers Head; false: the database has to be asked, and if it has fewer rows than the limit, answered be told with
// the question.
func (r *recent) head(lane gateway.Address, limit int) (rows []freshRow, q question, sure bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.of(lane.Network)
	if a := l.elsewhere[lane.ID]; a != nil {
		return nil, question{a, a.lost}, false
	}
	if !l.sure {
		return nil, q, false
	}
	rows = l.rows[lane.ID]
	return slices.Clone(rows[:min(limit, len(rows))]), q, true
}

// question is what the database is asked about a lane.
type question struct {
	lane *apart // nil: it is not remembered
	lost int
}

// answered takes in that the database has these rows and no more in a lane. If all of them are known, the lane is in
// memory: what has come since the database was asked is known, too.
func (r *recent) answered(lane gateway.Address, q question, rows []gateway.Queued) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.of(lane.Network)
	if q.lane == nil || l.elsewhere[lane.ID] != q.lane || q.lane.lost != q.lost {
		return
	}
	for i := range rows {
		if !slices.ContainsFunc(q.lane.since, func(row freshRow) bool { return row.queued.Seq == rows[i].Seq }) {
			return
		}
	}
	delete(l.elsewhere, lane.ID)
	l.turn++
	known := slices.Clone(q.lane.since)
	l.forget(q.lane, func(freshRow) bool { return true })
	for _, row := range known {
		l.add(row)
	}
}

// echo finds the event of a delivery that has not ended.
func (r *recent) echo(network, key string) (gateway.Target, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rows := range r.of(network).rows {
		for i := range rows {
			if rows[i].queued.Key == key {
				return rows[i].target, true
			}
		}
	}
	return gateway.Target{}, false
}
