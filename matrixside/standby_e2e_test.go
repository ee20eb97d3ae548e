//go:build e2e

package matrixside

import (
	"context"
	"net"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// A side that does not run does not listen; one that runs while its predecessor is still leaving listens as soon as it
// can, and goes on where that ended.
func TestASecondProcessTakesTheDoorOver(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	state := sidetest.NewState()
	first, inbox, stop := b.start(ctx, t, state, b.room(id))
	ready := make(chan error, 16)
	second, err := New(b.cfg, gateway.Deps{
		Network: "matrix", Rooms: []gateway.Room{b.room(id)}, State: state, Log: logTo(t), Ready: func(away error) { ready <- away },
	})
	must(t, err)
	if o := second.Deliver(ctx, []gateway.Delivery{delivery(id, "early", "mercutio", "too early")}); !isLater(o[0].Err) {
		t.Errorf("outcome of a process that stands by: %v", o)
	}
	d := delivery(id, "one", "mercutio", "said by the first")
	sendAll(ctx, t, first, d)
	_, err = romeo.Say(ctx, id, "heard by the first")
	must(t, err)
	awaitText(ctx, t, inbox, "heard by the first")

	running, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- second.Run(running, inbox) }()
	defer func() {
		end()
		must(t, <-ended)
	}()
	said := sayMany(ctx, t, romeo, id, "meanwhile", 10)
	stop()
	began := time.Now()
	for away := errStarting; away != nil; away = <-ready {
	}
	t.Logf("the second one was ready %v after the first one had left", time.Since(began).Round(time.Millisecond))
	sendAll(ctx, t, second, again(d), delivery(id, "two", "mercutio", "said by the second"))
	said = append([]string{"heard by the first"}, append(said, sayMany(ctx, t, romeo, id, "now", 10)...)...)
	awaitText(ctx, t, inbox, said[len(said)-1])
	sameTexts(t, textsAt(inbox, id), said)
	_, err = romeo.AwaitText(ctx, id, "said by the second")
	must(t, err)
	if n := (member{Matrix: romeo, room: id}).Count("said by the first"); n != 1 {
		t.Errorf("the first one's words were said %d times", n)
	}
	end()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.cfg.Listen)
		if err != nil {
			break
		}
		c.Close()
	}
}
