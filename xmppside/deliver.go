package xmppside

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"lockbridge/gateway"
)

const (
	readyLimit   = 10 * time.Second // how long a delivery waits for its room to be entered
	reflectLimit = 20 * time.Second // how long the room may take to reflect
	// maxWritten is the longest message that is sent, in bytes. Many servers close the stream at 256 KiB, for all puppets.
	maxWritten  = 200 << 10
	warnWritten = maxWritten * 8 / 10
	// runLength is how much is said before the reflections are awaited, and maxSealed how many times a message may be
	// sealed for that: others wait for the transaction meanwhile.
	runLength = 256
	maxSealed = 20000
)

var (
	errNotInRoom    = errors.New("the gateway is not in the room")
	errCatchingUp   = errors.New("what was said in the room meanwhile is still being read")
	errNoReflection = errors.New("the room did not reflect the message in time")
)

// waits are the deliveries that wait for an answer, by key.
type waits struct {
	mu sync.Mutex
	of map[string]awaited
}

// awaited is an answer that is waited for. In a room everybody knows the key, so it counts from nobody else.
type awaited struct {
	from   string
	person bool // from is a person's bare JID: any client of theirs may answer
	answer chan error
}

func (w *waits) expect(key, from string, person bool) <-chan error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[string]awaited{}
	}
	answer := make(chan error, 1)
	w.of[key] = awaited{from, person, answer}
	return answer
}

// end tells whoever waits for key what from answers, and reports whether anybody does. Only the first word counts.
func (w *waits) end(key, from string, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, ok := w.of[key]
	if ok = ok && (from == a.from || a.person && bare(from) == a.from); ok {
		a.answer <- err
		delete(w.of, key)
	}
	return ok
}

func (w *waits) forget(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.of, key)
}

// Deliver implements gateway.Side.
func (s *Side) Deliver(ctx context.Context, run []gateway.Delivery) []gateway.Outcome {
	if len(run) == 0 {
		return nil
	}
	if local, remote, ok := run[0].Room.Direct(); ok {
		return s.deliverDirect(ctx, run, local, remote)
	}
	r := s.carried().byName[run[0].Room.ID]
	if r == nil {
		return all(run, gateway.Dropf("the room is not configured"))
	}
	l := s.currentLink()
	if l == nil {
		return all(run[:1], gateway.Later(time.Second, errLinkDown))
	}
	if err := s.awaitRoom(ctx, r, run); err != nil {
		return all(run[:1], err)
	}
	var out []gateway.Outcome
	for len(run) > 0 {
		n := min(leadingWords(run), r.sealable())
		if n > 0 {
			out = append(out, s.say(ctx, l, r, run[:n])...)
		} else {
			n = 1
			out = append(out, gateway.Outcome{Err: s.act(ctx, l, r, &run[0])})
		}
		run = run[n:]
		if slices.ContainsFunc(out, again) {
			break
		}
	}
	return out
}

// again reports whether a delivery has to be tried again, before any later one is started.
func again(o gateway.Outcome) bool { return o.Err != nil && !gateway.IsDrop(o.Err) }

func all(run []gateway.Delivery, err error) []gateway.Outcome {
	out := make([]gateway.Outcome, len(run))
	for i := range out {
		out[i] = gateway.Failed(err)
	}
	return out
}

// leadingWords counts the deliveries at the head of the run that are said, in stanzas that the room reflects.
func leadingWords(run []gateway.Delivery) int {
	for i := range run {
		if !isSaid(run[i].Event.Body) {
			return i
		}
		if m, ok := run[i].Event.Body.(gateway.Message); ok && len(m.Files) > 0 { // nothing waits for its upload but what follows
			return max(i, 1)
		}
	}
	return len(run)
}

func isSaid(body gateway.Body) bool {
	switch b := body.(type) {
	case gateway.Message, gateway.Edit, gateway.Reaction:
		return true
	case gateway.Retract: // else it is for the room to take back what somebody of this network said
		return slices.ContainsFunc(b.Target.Parts, func(p gateway.Part) bool { _, _, ours := voiceOf(p); return ours }) || !b.Moderated
	}
	return false
}

// sealable is how many messages may be sealed for the room at once.
func (r *room) sealable() int {
	return max(1, maxSealed/max(1, int(r.devices.Load())))
}

// awaitRoom waits until the room may be spoken in. For a second attempt its history has to be read before: only then is
// it known whether the first one arrived. While it cannot be entered, the lane waits until it is tried again.
func (s *Side) awaitRoom(ctx context.Context, r *room, run []gateway.Delivery) error {
	again := slices.ContainsFunc(run, func(d gateway.Delivery) bool { return d.Attempt > 0 })
	var away error
	var next time.Time
	known := func() bool {
		away, next = r.away, r.next
		return away != nil || r.learnt && (r.ready || !again)
	}
	var err error
	if !r.is(known) { // hardly ever: a deadline for each message has its price
		waiting, cancel := context.WithTimeout(ctx, readyLimit)
		defer cancel()
		err = r.await(waiting, known)
	}
	switch {
	case away != nil:
		return gateway.Later(next.Sub(s.now())+time.Second, away)
	case err != nil && r.has(&r.learnt):
		return gateway.Later(time.Second, errCatchingUp)
	case err != nil:
		return gateway.Later(time.Second, errNotInRoom)
	}
	return nil
}

// say speaks messages, in order. It returns fewer outcomes than messages when one has to be tried again.
func (s *Side) say(ctx context.Context, l *link, r *room, run []gateway.Delivery) []gateway.Outcome {
	if r.conf().Seal {
		switch reason, known := r.unfit(); {
		case !known:
			return all(run[:1], gateway.Later(time.Second, errors.New("it is being found out what kind of room it is")))
		case reason != "":
			return all(run, gateway.Dropf("the room is carried only end-to-end encrypted, and %s", reason))
		}
	}
	if err := s.proclaim(ctx, l, r); err != nil {
		return all(run[:1], err)
	}
	jobs := make([]*job, len(run))
	for i := range run {
		jobs[i] = &job{Delivery: &run[i]}
	}
	if err := s.recall(ctx, jobs); err != nil {
		return all(run[:1], err)
	}
	for i, j := range jobs {
		if j.done {
			continue
		}
		if j.voice, j.err = s.voiceOfJob(ctx, l, r, j); j.err != nil && !gateway.IsDrop(j.err) {
			jobs = jobs[:i+1]
			break
		}
	}
	if err := s.prepare(ctx, l, r, jobs); err != nil {
		return all(run[:1], err)
	}
	return s.write(ctx, l, r, jobs)
}

// prepare makes the bytes of each job that has none yet.
func (s *Side) prepare(ctx context.Context, l *link, r *room, jobs []*job) error {
	todo := make([]*job, 0, len(jobs))
	meant := r.audience()
	for _, j := range jobs {
		switch {
		case !j.unsaid():
			continue
		case j.Seal && !r.conf().Seal: // the config has changed since it was accepted, or is about to
			j.err = gateway.Dropf("the room is not set up for end-to-end encryption")
			continue
		}
		if err := s.compose(ctx, l, meant, j, r.conf().Seal); err != nil {
			return err
		}
		if j.err == nil {
			todo = append(todo, j)
		} else if !gateway.IsDrop(j.err) {
			break // nothing after it is said now
		}
	}
	if len(todo) == 0 {
		return nil
	}
	if r.conf().Seal {
		return s.seal(ctx, l, meant, todo)
	}
	for _, j := range todo {
		s.inClear(meant, j)
	}
	return s.keep(ctx, todo)
}

// inClear makes the stanzas of a job that is not sealed.
func (s *Side) inClear(meant audience, j *job) {
	for _, p := range j.parts {
		p.raw = meant.message(j, p, append(slices.Clone(p.says.plain), s.late(j))...).bytes()
	}
	j.checkLength(meant.log)
}

// write sends what was prepared and waits for the reflections, which Accept has committed by then.
func (s *Side) write(ctx context.Context, l *link, r *room, jobs []*job) []gateway.Outcome {
	var stanzas [][]byte
	if reason, known := r.unfit(); reason != "" || !known { // it has changed since it was sealed for
		return []gateway.Outcome{gateway.Failed(gateway.Later(time.Second, errors.New("the room has just been changed")))}
	}
	jobs = startable(jobs)
	for _, j := range jobs {
		if j.done || j.err != nil {
			continue
		}
		for _, p := range j.parts {
			if !p.done {
				p.wait = s.waits.expect(p.id, r.jid, false)
				defer s.waits.forget(p.id)
				stanzas = append(stanzas, p.raw)
			}
		}
	}
	if len(stanzas) > 0 {
		if err := l.write(stanzas...); err != nil {
			for _, j := range jobs {
				j.unwritten(err)
			}
		}
	}
	timer := time.NewTimer(s.reflectLimit)
	defer timer.Stop()
	out := make([]gateway.Outcome, 0, len(jobs))
	for _, j := range jobs {
		written := j.waits()
		for _, p := range j.parts {
			if p.wait != nil && j.err == nil {
				j.err = s.awaitReflection(ctx, l, r, j, p, timer)
			}
		}
		out = append(out, gateway.Outcome{Err: j.err, Ended: j.err == nil && written && s.ended.has(j.Key)})
	}
	return out
}

// startable leaves out the jobs behind one that has to be tried again.
func startable(jobs []*job) []*job {
	for i, j := range jobs {
		if j.err != nil && !gateway.IsDrop(j.err) {
			return jobs[:i+1]
		}
	}
	return jobs
}

// unwritten notes that what was about to be written was not.
func (j *job) unwritten(err error) {
	if j.waits() {
		j.err = err
	}
	for _, p := range j.parts {
		p.wait = nil
	}
}

func (s *Side) awaitReflection(ctx context.Context, l *link, r *room, j *job, p *part, timer *time.Timer) error {
	select { // what has come counts, whatever else has happened
	case err := <-p.wait:
		return s.judge(ctx, l, r, j, err)
	default:
	}
	select {
	case err := <-p.wait:
		timer.Reset(s.reflectLimit)
		return s.judge(ctx, l, r, j, err)
	case <-timer.C:
		timer.Reset(0) // for the jobs after this one
		r.lost(s.self) // the answer to entering it anew comes behind what the room still does, and its history tells what that was
		return errNoReflection
	case <-l.down:
		return errLinkDown
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lost notes that an occupant of ours turned out not to be in the room.
func (r *room) lost(who string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ours, r.mine[who])
	delete(r.mine, who)
	if who == r.side.self {
		r.joined, r.learnt, r.ready, r.outBy = false, false, false, nil
		r.poke()
	}
	r.changedLocked()
}
