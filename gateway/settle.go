package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"
)

const (
	// firstRetry and lastRetry bound the pause before another attempt; it doubles in between.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// shortestWait keeps a side that asks for no pause from spinning.
	shortestWait = 100 * time.Millisecond
	// recordTime is how long it may take to record what was said by a side that was cut short.
	recordTime = time.Second
	// recordPauses is how often the pause doubles before the database is asked again.
	recordPauses = 2
)

// settlement turns outcomes into what the journal records.
type settlement struct {
	*courier
	done    []Finished
	late    map[int64]ID       // see prepared
	with    map[int64][]Queued // see prepared
	reports []*Event
	more    bool
	told    map[any]time.Duration
	ended   int // deliveries that nothing waits for any more
	// times is how often the network had said that it was ready, before the run.
	times int64
}

// settle takes in what became of one delivery.
func (s *settlement) settle(row *Queued, d Delivery, o Outcome) {
	switch {
	case o.Err == nil:
		s.succeed(row, d, o)
	case !IsPlainer(o.Err) || IsDrop(o.Err):
		s.fail(row, d, o.Err)
	case s.makePlainer(row, d): // it comes again at once, and nothing has failed
		s.log.Info("delivery is shown in a plainer form", "event", d.Event.ID, "lane", row.Room.ID, "err", o.Err)
		s.done = append(s.done, Finished{Seq: row.Seq, Key: row.Key, Retry: true, Due: s.g.now(), Attempt: d.Attempt})
	default:
		s.fail(row, d, Drop(o.Err))
	}
}

// succeed ends a delivery that the network has taken.
func (s *settlement) succeed(row *Queued, d Delivery, o Outcome) {
	s.ended++
	s.goesOn(row.Room)
	s.endWith(row)
	s.g.metrics.delivered.WithLabelValues(s.network).Inc()
	f := Finished{Seq: row.Seq, Key: row.Key, Retracted: s.late[row.Seq]}
	if o.Ended {
		s.courier.ended.add(row.Seq)
		if f.Links = noteLinks(row, d); len(f.Links) == 0 && f.Retracted.IsZero() { // of these the echo knows nothing
			return
		}
	} else {
		f.Links, f.Gone = said(row, d, o)
	}
	s.done = append(s.done, f)
}

// fail has a delivery tried again, or gives it up.
func (s *settlement) fail(row *Queued, d Delivery, err error) {
	f := Finished{Seq: row.Seq, Key: row.Key, Problem: err.Error()}
	now, limit := s.g.now(), s.limit(row)
	due, attempt := now, d.Attempt
	switch wait, asked := LaterThan(err); {
	case IsDrop(err):
		f.Dead, f.Reason = true, err.Error()
	case errors.Is(err, errUnsure):
	case !now.Before(limit): // the error itself goes to the log only: it was not written for the sender
		f.Dead, f.Reason = true, "it could not be delivered for "+span(s.g.maxAge)
	case asked && s.times != s.ready.times.Load(): // it came up meanwhile: the wait is over before it began
	case asked:
		due = now.Add(max(wait, shortestWait))
	default:
		due, attempt = now.Add(backoff(d.Attempt)), d.Attempt+1
	}
	if f.Dead {
		f.Retracted = s.late[row.Seq]
		s.ended++
		s.end(row, d.Event, f, err)
		return
	}
	if due.After(limit) {
		due = limit
	}
	f.Retry, f.Due, f.Attempt = true, due, attempt
	s.more = false
	s.putOff(row.Room, d.Event, f)
	s.g.metrics.retried.WithLabelValues(s.network).Inc()
	s.done = append(s.done, f)
}

// endWith ends the rows whose words were said by another one.
func (s *settlement) endWith(row *Queued) {
	for _, said := range s.with[row.Seq] {
		s.ended++
		s.done = append(s.done, Finished{Seq: said.Seq, Key: said.Key, Retracted: s.late[said.Seq]})
	}
}

// makePlainer has a delivery shown in a plainer form; false where that was tried before, or where parts of it arrived.
func (s *settlement) makePlainer(row *Queued, d Delivery) bool {
	if len(d.Known) > 0 || s.plain.has(row.Seq) {
		return false
	}
	s.plain.add(row.Seq)
	return true
}

// said ties to a delivery what the network calls it, and lists what means nothing any more.
func said(row *Queued, d Delivery, o Outcome) (out []Link, gone []Native) {
	out = noteLinks(row, d)
	for _, p := range o.Parts {
		out = append(out, links(row.Room, p.Native, p.Also, linked(row.Event, p.Name), p.Name)...)
	}
	for _, p := range o.Gone {
		gone = append(gone, Native{row.Room, p.Native})
	}
	return out, gone
}

// noteLinks tie to a reaction what a note has told of it: each is told once.
func noteLinks(row *Queued, d Delivery) (out []Link) {
	r, isReaction := row.Event.Body.(Reaction)
	if _, told := d.Event.Body.(Message); !isReaction || !told {
		return nil
	}
	for _, e := range r.added() {
		out = append(out, links(row.Room, "note/"+row.Key+"/"+e, nil, linked(row.Event, e), e)...)
	}
	return out
}

// limit is when a delivery is given up if it fails.
func (s *settlement) limit(row *Queued) time.Time {
	limit, chance := row.Accepted.Add(s.g.maxAge), time.UnixMilli(s.since.Load()).Add(min(secondChance, s.g.maxAge))
	if limit.Before(chance) {
		return chance
	}
	return limit
}

// end gives a delivery up. A report that nobody can be told is no loss: it is neither kept nor counted.
func (s *settlement) end(row *Queued, ev *Event, f Finished, err error) {
	if r, ok := ev.Body.(Receipt); ok && r.State == Undeliverable {
		f.Wipe = true
		s.done = append(s.done, f)
		s.log.Debug("nobody can be told of a failure", "event", ev.ID, "lane", row.Room.ID, "reason", f.Reason, "err", err)
		return
	}
	s.log.Warn("delivery given up", "event", ev.ID, "lane", row.Room.ID, "attempt", row.Attempt, "reason", f.Reason, "err", err)
	s.g.metrics.failed.WithLabelValues(s.network).Inc()
	s.report(row, ev, f.Reason)
	s.done = append(s.done, f)
}

// putOff logs why a lane waits, once.
func (s *settlement) putOff(lane Address, ev *Event, f Finished) {
	level := slog.LevelDebug
	s.mu.Lock()
	if s.problems[lane] != f.Problem {
		s.problems[lane], level = f.Problem, slog.LevelInfo
	}
	s.mu.Unlock()
	s.log.Log(context.Background(), level, "lane waits", "lane", lane.ID, "event", ev.ID, "attempt", f.Attempt, "until", f.Due.Format(time.RFC3339), "err", f.Problem)
}

// goesOn logs that a lane waits no more.
func (s *settlement) goesOn(lane Address) {
	s.mu.Lock()
	_, waited := s.problems[lane]
	delete(s.problems, lane)
	delete(s.kept, lane)
	s.mu.Unlock()
	if waited {
		s.log.Info("lane goes on", "lane", lane.ID)
	}
}

// span writes a duration without what is zero in it: "24h".
func span(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if cut, ok := strings.CutSuffix(s, zero); ok {
			s = cut + zero[:1]
		}
	}
	return s
}

// backoff is the pause before the attempt after the given one, with a fifth of jitter so that lanes do not come back
// all at once.
func backoff(attempt int) time.Duration {
	d := lastRetry
	if attempt < 6 {
		d = min(firstRetry<<attempt, lastRetry)
	}
	return d + time.Duration(rand.Int64N(int64(d)/5+1))
}

// report tells the sender of a message that it was given up. Nobody is told about what nobody said, nor about a
// report that failed itself.
func (s *settlement) report(row *Queued, ev *Event, reason string) {
	act, isRetract := ev.Body.(Retract)
	if ev.Sender.IsZero() || !carriesContent(ev.Body) && !(isRetract && act.Moderated) {
		return
	}
	reason = fmt.Sprintf("not delivered to %s (%s): %s", row.Room.label(), row.Room.Network, reason)
	key := reportKey{ev.At, ev.Sender.ID, reason}
	if !s.g.told.free(key) || s.told[key] != 0 {
		return
	}
	if s.told == nil {
		s.told = map[any]time.Duration{}
	}
	s.told[key] = reportPause(ev.At)
	s.reports = append(s.reports, &Event{
		At: ev.At, Native: "report/" + row.Key, Time: s.g.now(), own: true,
		Body: Receipt{Target: Ref{ID: ev.ID, Author: ev.Sender}, State: Undeliverable, Reason: reason},
	})
}

// commit writes the settlement down. It does not give up before ctx ends, not even for a lease that is lost, since that
// may come back: what was sent would be sent again.
// When ctx has ended it still tries once, as an owner may write until another one has taken over.
func (s *settlement) commit(ctx context.Context) error {
	if len(s.done) == 0 {
		return nil
	}
	recording, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(recordTime, cancel) })()
	for attempt := 0; ; attempt++ {
		err := s.g.journal.Do(recording, s.network, func(ctx context.Context) error {
			if err := s.g.journal.Finish(ctx, s.done); err != nil {
				return err
			}
			entries, err := s.entries(ctx)
			if err != nil || len(entries) == 0 {
				return err
			}
			return s.g.journal.Append(ctx, entries)
		})
		if err == nil {
			s.g.told.mark(s.told)
			return nil
		}
		if ctx.Err() != nil { // whoever has the network next counts all of it as tried
			return fmt.Errorf("record deliveries: %w", err)
		}
		s.log.Error("cannot record deliveries; trying again", "err", err)
		rest(ctx, backoff(min(attempt, recordPauses)))
	}
}

// entries are the reports that were not written down by an earlier try, whose end nobody heard.
func (s *settlement) entries(ctx context.Context) ([]Entry, error) {
	if len(s.reports) == 0 {
		return nil, nil
	}
	natives := make([]Native, len(s.reports))
	for i, ev := range s.reports {
		natives[i] = Native{ev.At, ev.Native}
	}
	written, err := s.g.journal.Seen(ctx, natives, true)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(s.reports))
	for i, ev := range s.reports {
		if written[natives[i]] {
			continue
		}
		if ev.ID, err = NewID(s.g.rand); err != nil {
			return nil, err
		}
		to, _ := s.g.router.Load().route(ev)
		if err := s.g.mintKeys(to); err != nil {
			return nil, err
		}
		entries = append(entries, Entry{Event: ev, Deliveries: to, Links: links(ev.At, ev.Native, nil, ev.ID, "")})
	}
	return entries, nil
}
