package gateway

import (
	"errors"
	"fmt"
	"time"
)

// ErrStore marks errors of the database. A Read that meets one must return it: the whole batch fails then, nothing
// is written, and the source sends again.
var ErrStore = errors.New("store")

// ErrLeaseLost means that another process owns the network now. Nothing was written.
var ErrLeaseLost = errors.New("the network's lease is held by another process")

// An error in an Outcome is an instruction. Any error means: try again, with growing pauses, while the lane waits.
// Drop, Later and Plainer say otherwise.

type dropError struct{ err error }

func (e *dropError) Error() string { return e.err.Error() }
func (e *dropError) Unwrap() error { return e.err }

// Drop wraps an error that no retry can mend: the delivery is dead-lettered and its sender is told. The error's text
// is what the sender reads, so it must be a plain clause without content ("the room is full").
func Drop(err error) error { return &dropError{err} }

// Dropf is Drop with a formatted reason.
func Dropf(format string, args ...any) error { return Drop(fmt.Errorf(format, args...)) }

// IsDrop reports whether err is an instruction to give up. A Drop that is the reason of a Plainer is none.
func IsDrop(err error) bool {
	var d *dropError
	var p *plainerError
	return errors.As(err, &d) && (!errors.As(err, &p) || errors.As(d.err, &p))
}

type laterError struct {
	wait time.Duration
	err  error
}

func (e *laterError) Error() string { return e.err.Error() }
func (e *laterError) Unwrap() error { return e.err }

// Later wraps an error that says itself when to come back (a rate limit, a connection that is down): the delivery
// waits that long and the attempt does not count.
func Later(wait time.Duration, err error) error { return &laterError{wait, err} }

// LaterThan reports whether err is a Later, and how long it asks to wait.
func LaterThan(err error) (time.Duration, bool) {
	var l *laterError
	if errors.As(err, &l) {
		return l.wait, true
	}
	return 0, false
}

type plainerError struct{ err error }

func (e *plainerError) Error() string { return e.err.Error() }
func (e *plainerError) Unwrap() error { return e.err }

// Plainer wraps the reason why this room cannot show a delivery the way it is, although its Caps said so: the voice that
// said the target is gone, the server takes no file of that size, the channel refuses formatting. Nothing of the delivery
// has been said yet: what may be refused is tried before the first part is written. It comes again at once, degraded as
// for Caps{Notes: true}, and the attempt does not count. Where parts of it are known to have arrived, and where it has
// been made plainer before, it counts as a Drop.
func Plainer(err error) error { return &plainerError{err} }

// IsPlainer reports whether err asks for a plainer form of the delivery.
func IsPlainer(err error) bool {
	var p *plainerError
	return errors.As(err, &p)
}

type unreadableError struct {
	sender Person
	err    error
}

func (e *unreadableError) Error() string { return e.err.Error() }
func (e *unreadableError) Unwrap() error { return e.err }

// Unreadable is what Read returns when it knows who sent the message that it could not open: the notice names them.
func Unreadable(sender Person, err error) error { return &unreadableError{sender, err} }
