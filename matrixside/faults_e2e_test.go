//go:build e2e

package matrixside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/testbed/peers"
)

// longer is for tests in which a homeserver starts anew.
func longer(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 6*time.Minute, errors.New("6 min have passed"))
	t.Cleanup(cancel)
	return ctx
}

// textsAt are the messages heard in a room, in order.
func textsAt(inbox *sidetest.Inbox, room string) []string {
	var out []string
	for _, ev := range inbox.Heard() {
		if text := textOf(ev); text != "" && ev.At.ID == room {
			out = append(out, text)
		}
	}
	return out
}

func sayMany(ctx context.Context, t *testing.T, who *peers.Matrix, room, what string, n int) []string {
	t.Helper()
	var said []string
	for i := range n {
		text := fmt.Sprintf("%s %03d", what, i)
		_, err := who.Say(ctx, room, text)
		must(t, err)
		said = append(said, text)
	}
	return said
}

func sameTexts(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("heard %d messages %q, want %d %q", len(got), got, len(want), want)
	}
}

func TestWhatWasSaidWhileWeWereAwayComesAtOnceAndInOrder(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	state := sidetest.NewState()
	_, inbox, stop := b.start(ctx, t, state, b.room(id))
	_, err = romeo.Say(ctx, id, "first")
	must(t, err)
	awaitText(ctx, t, inbox, "first")
	stop()
	said := sayMany(ctx, t, romeo, id, "away", 120)
	_, inbox, _ = b.start(ctx, t, state, b.room(id))
	said = append(said, sayMany(ctx, t, romeo, id, "back", 3)...)
	awaitText(ctx, t, inbox, "back 002")
	got := textsAt(inbox, id)
	if got[0] == "first" { // it may be offered again, and this inbox is new
		got = got[1:]
	}
	sameTexts(t, got, said)
}

// Synapse counts an event as pushed when it takes it into memory.
func TestWhatAKilledHomeserverNeverPushesIsReadAllTheSame(t *testing.T) {
	ctx, b := longer(t), openOwn(t)
	romeo := b.stay(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	side, inbox, _ := b.start(ctx, t, sidetest.NewState(), b.room(id))
	said := []string{"before"}
	_, err = romeo.Say(ctx, id, "before")
	must(t, err)
	awaitText(ctx, t, inbox, "before")
	side.turn <- struct{}{} // nothing is accepted
	said = append(said, sayMany(ctx, t, romeo, id, "unpushed", 20)...)
	b.kill(ctx, t)
	<-side.turn
	b.resume(ctx, t)
	awaitText(ctx, t, inbox, said[len(said)-1]) // nobody says another word
	sameTexts(t, textsAt(inbox, id), said)
}

// The answer is lost and the homeserver killed, which forgets transaction ids.
func TestWhatAKilledHomeserverTookIsNotSaidAgain(t *testing.T) {
	ctx, b := longer(t), openOwn(t)
	romeo := b.stay(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	between := newMuzzle(t, b.Addr("MATRIX"))
	b.cfg.Homeserver = "http://" + between.address
	side, inbox, _ := b.start(ctx, t, sidetest.NewState(), b.room(id))
	sendAll(ctx, t, side, delivery(id, "one", "mercutio", "number one"))
	caught := between.keepSilent("/send/")
	run := []gateway.Delivery{delivery(id, "two", "mercutio", "number two"), delivery(id, "three", "mercutio", "number three")}
	out := side.Deliver(ctx, run)
	if len(out) != 1 || out[0].Err == nil || gateway.IsDrop(out[0].Err) || isLater(out[0].Err) {
		t.Fatalf("outcomes of an answer that was lost: %v", out)
	}
	<-caught
	b.kill(ctx, t)
	if o := side.Deliver(ctx, []gateway.Delivery{again(run[0])}); o[0].Err == nil || gateway.IsDrop(o[0].Err) {
		t.Fatalf("outcome without a homeserver: %v", o)
	}
	b.resume(ctx, t)
	run[0] = again(again(run[0]))
	deliverAll(ctx, t, side, run...)
	_, err = romeo.AwaitText(ctx, id, "number three")
	must(t, err)
	for _, text := range []string{"number one", "number two", "number three"} {
		if n := (member{Matrix: romeo, room: id}).Count(text); n != 1 {
			t.Errorf("%q was said %d times", text, n)
		}
	}
	_, err = romeo.Say(ctx, id, "still there")
	must(t, err)
	awaitText(ctx, t, inbox, "still there")
}

// deliverAll does what the gateway does: it tries again until everything was said.
func deliverAll(ctx context.Context, t *testing.T, side *Side, run ...gateway.Delivery) {
	t.Helper()
	for len(run) > 0 {
		out := side.Deliver(ctx, run)
		for _, o := range out {
			wait, later := gateway.LaterThan(o.Err)
			switch {
			case o.Err == nil:
				run = run[1:]
				continue
			case gateway.IsDrop(o.Err) || ctx.Err() != nil:
				t.Fatalf("%s: %v", run[0].Key, o.Err)
			case !later:
				run[0] = again(run[0])
				wait = time.Second
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				t.Fatalf("%s: %v", run[0].Key, o.Err)
			}
		}
	}
}

func TestAHomeserverThatIsNotThereAtTheStartIsWaitedFor(t *testing.T) {
	ctx, b := longer(t), openOwn(t)
	romeo := b.stay(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	b.kill(ctx, t)
	side, err := New(b.cfg, gateway.Deps{
		Network: "matrix", Rooms: []gateway.Room{b.room(id)}, State: sidetest.NewState(), Log: logTo(t), Ready: func(error) {},
	})
	must(t, err)
	inbox := sidetest.NewInbox(sidetest.NewState())
	runUntilEnd(ctx, t, side, inbox)
	if o := side.Deliver(ctx, []gateway.Delivery{delivery(id, "one", "mercutio", "early")}); !isLater(o[0].Err) {
		t.Errorf("outcome without a homeserver: %v", o)
	}
	b.resume(ctx, t)
	deliverAll(ctx, t, side, delivery(id, "one", "mercutio", "early"))
	_, err = romeo.AwaitText(ctx, id, "early")
	must(t, err)
	_, err = romeo.Say(ctx, id, "welcome")
	must(t, err)
	awaitText(ctx, t, inbox, "welcome")
}
