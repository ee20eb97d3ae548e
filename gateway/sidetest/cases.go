package sidetest

import (
	"fmt"
	"strings"

	"lockbridge/gateway"
)

// waitsBeforeRun: a lane may be tried before the network is up, and must not lose anything by it.
func (r *running) waitsBeforeRun() {
	side, err := r.New(r.deps(func(error) {}))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, o := range side.Deliver(r.ctx, []gateway.Delivery{r.message("too early")}) {
		if o.Err == nil || gateway.IsDrop(o.Err) {
			r.t.Errorf("Deliver before Run: %v, want an error that is tried again", o.Err)
		}
	}
}

func hears(r *running) {
	r.say("hello from the peer")
	ev := r.await("hello from the peer")
	if ev.At != r.Room.Address {
		r.t.Errorf("At = %v, want %v", ev.At, r.Room.Address)
	}
	if ev.Sender.Network != r.Room.Network || ev.Sender.ID != r.Peer.ID() {
		r.t.Errorf("Sender = %+v, want %s on %s", ev.Sender, r.Peer.ID(), r.Room.Network)
	}
	if r.Room.Seal && ev.Sealed.Protection == gateway.Plain {
		r.t.Error("a sealed room's message came in the clear")
	}
}

func saysInOrder(r *running) {
	const n = 20
	var run []gateway.Delivery
	for i := range n {
		run = append(run, r.message(fmt.Sprintf("number %02d of the run", i)))
	}
	r.deliver(run...)
	for i := range n {
		text := fmt.Sprintf("number %02d of the run", i)
		if shown := r.hear(text); i == 0 && r.Room.Puppets == gateway.PuppetsNone && !strings.Contains(stripMarks(shown), "Mercutio") {
			r.t.Errorf("shown as %q, which does not tell who spoke", shown)
		}
		if got := r.Peer.Count(text); got != 1 {
			r.t.Errorf("%q was seen %d times", text, got)
		}
	}
}

// stripMarks takes out the invisible characters by which a relay keeps a name from being a mention.
func stripMarks(s string) string {
	return strings.NewReplacer("\u200b", "", "\u200c", "", "\u200d", "", "\u2060", "", "\ufeff", "").Replace(s)
}

func doesNotHearItself(r *running) {
	r.deliver(r.message("said by us"))
	r.hear("said by us")
	r.say("the end mark")
	r.await("the end mark")
	for _, ev := range r.inbox.Heard() {
		if holds(ev, "said by us") {
			r.t.Errorf("our own message was heard as %+v", ev)
		}
	}
}

// saysNothingTwice: the same delivery comes again when its outcome was lost.
func saysNothingTwice(r *running) {
	d := r.message("once and once only")
	r.deliver(d)
	r.hear("once and once only")
	if !r.Confirms {
		return
	}
	d.Attempt = 1
	r.deliver(d)
	r.deliver(r.message("after the repetition"))
	r.hear("after the repetition")
	if n := r.Peer.Count("once and once only"); n != 1 {
		r.t.Errorf("seen %d times", n)
	}
}

func offersAgain(r *running) {
	if !r.MissesNothing {
		return
	}
	r.inbox.Refuse(2)
	r.say("while the store is down")
	r.await("while the store is down")
	if r.inbox.Refused() == 0 {
		r.t.Error("the batch was not refused, so nothing was shown")
	}
	count := 0
	for _, ev := range r.inbox.Heard() {
		if holds(ev, "while the store is down") {
			count++
		}
	}
	if count != 1 {
		r.t.Errorf("accepted %d times", count)
	}
}

func comesBack(r *running) {
	r.say("before the cut")
	r.await("before the cut")
	if err := r.Peer.Cut(r.ctx); err != nil {
		r.t.Fatal(err)
	}
	r.deliver(r.message("said across the cut"))
	r.hear("said across the cut")
	r.say("after the cut")
	r.await("after the cut")
}

// restarts: a new side on the old State carries on.
func restarts(r *running) {
	r.deliver(r.message("in the first life"))
	r.hear("in the first life")
	r.say("to the first life")
	r.await("to the first life")
	r.stop()
	r.start()
	r.deliver(r.message("in the second life"))
	r.hear("in the second life")
	r.say("to the second life")
	r.await("to the second life")
}

// strangeText: what the gateway lets through arrives or is dropped with a reason, and the lane goes on.
func strangeText(r *running) {
	for i, text := range []string{
		"zero \x00 byte", "two\r\nlines", "\u202eright to left\u202c", "<b>&amp;</b> ]]> <!-- -->", "lone \xed\xa0\x80 surrogate",
		strings.Repeat("long ", 50_000), "\x01ACTION waves\x01", "/quit", "\u200b", "   ",
	} {
		d := r.message(gateway.Clean(text))
		d.Event.Sender.Name = gateway.CleanName(text)
		outcomes := r.side.Deliver(r.ctx, []gateway.Delivery{d})
		if len(outcomes) != 1 || (outcomes[0].Err != nil && !gateway.IsDrop(outcomes[0].Err)) {
			r.t.Errorf("text %d: outcomes %v", i, outcomes)
		}
	}
	r.deliver(r.message("the lane goes on"))
	r.hear("the lane goes on")
}

func unknownRoom(r *running) {
	d := r.message("for nobody")
	d.Room.ID = "nowhere-" + d.Key
	outcomes := r.side.Deliver(r.ctx, []gateway.Delivery{d})
	if len(outcomes) != 1 || !gateway.IsDrop(outcomes[0].Err) {
		r.t.Errorf("outcomes %v, want one Drop", outcomes)
	}
}

func failureReport(r *running) {
	r.say("this will fail elsewhere")
	ev := r.await("this will fail elsewhere")
	d := gateway.Delivery{Key: r.message("").Key, Room: r.Room.Address, Seal: r.Room.Seal, Event: &gateway.Event{
		At: r.Room.Address,
		Body: gateway.Receipt{State: gateway.Undeliverable, Reason: "the other room is full",
			Target: gateway.Ref{Author: ev.Sender, Native: ev.Native, Parts: []gateway.Part{{Native: ev.Native, Also: ev.Also}}}},
	}}
	r.deliver(d)
	shown := r.hear("the other room is full")
	if strings.Contains(shown, "this will fail elsewhere") {
		r.t.Errorf("the report quotes the message: %q", shown)
	}
}
