package matrixside

import (
	"context"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"lockbridge/gateway"
)

// refused finds out why the homeserver does not let somebody of ours speak in a room. What is about the author alone
// gives the message up, so that one who was silenced does not silence all others; what is about the room makes its lane
// wait, since somebody may mend it.
//
// Where something else than speech is refused, only that is given up.
func (b bridged) refused(ctx context.Context, v voice, speaker id.UserID, refusal error) error {
	native, _, _ := b.rm.standing()
	membership, err := b.membership(ctx, b.names.bot, native, b.names.bot)
	if err != nil && !isRefusal(err) {
		return err
	}
	if membership != event.MembershipJoin {
		problem := fmt.Errorf("%s is not in the Matrix room any more; invite it to go on", b.names.bot)
		if membership == event.MembershipBan {
			problem = fmt.Errorf("%s is banned from the Matrix room", b.names.bot)
		}
		b.rm.out(b.now(), problem)
		b.rm.wake()
		return b.later(problem)
	}
	levels, err := b.levelsOf(ctx, native)
	if err != nil {
		return fmt.Errorf("ask who may speak in %s: %w", b.rm.ID, err)
	}
	needed := levels.GetEventLevel(event.EventMessage)
	switch {
	case v.refusal != "":
		return gateway.Drop(errors.New(v.refusal))
	case levels.GetUserLevel(speaker) >= needed:
		return b.later(fmt.Errorf("the homeserver lets nobody of ours speak in the Matrix room: %w", refusal))
	case levels.UsersDefault < needed || speaker == b.names.bot:
		return b.later(fmt.Errorf("%s may not speak in the Matrix room: it takes a power level of %d there", speaker, needed))
	}
	return gateway.Dropf("you may not speak in the Matrix room")
}

// later makes the lane wait, the longer the more often it was refused in a row.
func (b bridged) later(problem error) error {
	b.rm.mu.Lock()
	news := b.rm.refusal == nil || b.rm.refusal.Error() != problem.Error()
	if b.rm.refusal == nil {
		b.rm.refusedAt = b.now()
	}
	b.rm.refusal = problem
	since := b.rm.refusedAt
	b.rm.mu.Unlock()
	if news {
		b.log.Error("nothing can be said in the room; its messages wait", "room", b.rm.ID, "error", problem)
	}
	return gateway.Later(b.patience(since), problem)
}

// accepted notes that something could be said.
func (rm *room) accepted() {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	rm.refusal = nil
}

// isRefusedSpeech reports whether the room's lane waits because nobody of ours may speak.
func (rm *room) isRefusedSpeech() bool {
	rm.mu.Lock()
	defer rm.mu.Unlock()
	return rm.refusal != nil
}
