package sidetest

import (
	"context"
	"slices"
	"testing"

	"lockbridge/gateway"
)

func TestTallyFollowsReactions(t *testing.T) {
	joke := &gateway.Event{Native: "joke", Also: []string{"id:joke"}}
	count := tally{of: joke, by: map[string]string{}}
	react := func(native, to string, op gateway.ReactionOp, emoji ...string) *gateway.Event {
		return &gateway.Event{Native: native, Body: gateway.Reaction{Target: gateway.Ref{Native: to}, Op: op, Emoji: emoji}}
	}
	for _, step := range []struct {
		what string
		ev   *gateway.Event
		want []string
	}{
		{"added", react("1", "joke", gateway.ReactionAdd, "👍"), []string{"👍"}},
		{"added elsewhere", react("2", "other", gateway.ReactionAdd, "🎉"), []string{"👍"}},
		{"added twice", react("3", "id:joke", gateway.ReactionAdd, "👍"), []string{"👍"}},
		{"set", react("4", "joke", gateway.ReactionSet, "🎉", "👀"), []string{"🎉", "👀"}},
		{"removed", react("5", "joke", gateway.ReactionRemove, "👀"), []string{"🎉"}},
		{"added again", react("6", "joke", gateway.ReactionAdd, "👍"), []string{"🎉", "👍"}},
		{"taken back", &gateway.Event{Body: gateway.Retract{Target: gateway.Ref{Native: "6"}}}, []string{"🎉"}},
		{"something else taken back", &gateway.Event{Body: gateway.Retract{Target: gateway.Ref{Native: "joke"}}}, []string{"🎉"}},
	} {
		if count.fold(step.ev); !slices.Equal(count.set, step.want) {
			t.Errorf("%s: %v, want %v", step.what, count.set, step.want)
		}
	}
}

func TestWhatPassesIsReadAfterTheCommit(t *testing.T) {
	state := NewState()
	in := NewInbox(state)
	room := gateway.Address{Network: "irc", ID: "#a"}
	var order []string
	arrival := func(name string, passing bool) gateway.Arrival {
		return gateway.Arrival{At: room, Native: "same", Passing: passing, Read: func(ctx context.Context) (*gateway.Event, error) {
			order = append(order, name)
			_, inside := ctx.Value(txKey{}).(*tx)
			return &gateway.Event{Body: gateway.Typing{On: inside}}, nil
		}}
	}
	in.Refuse(1)
	if err := in.Accept(t.Context(), []gateway.Arrival{arrival("refused", true)}); err == nil {
		t.Error("the batch was not refused")
	}
	batch := []gateway.Arrival{arrival("typing", true), arrival("message", false), arrival("typing again", true)}
	if err := in.Accept(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if want := []string{"message", "typing", "typing again"}; !slices.Equal(order, want) {
		t.Errorf("read in the order %q, want %q", order, want)
	}
	for i, ev := range in.Heard() {
		if inside := ev.Body.(gateway.Typing).On; inside != (i == 0) {
			t.Errorf("%q was read in a transaction: %v", order[i], inside)
		}
	}
}
