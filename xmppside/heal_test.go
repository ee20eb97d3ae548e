package xmppside

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

// forget has an address of ours lose its sessions with the device.
func (w *world) forget(own string, d *device) {
	w.t.Helper()
	must(w.t, w.own.Update(w.t.Context(), func(ctx context.Context) error {
		return w.side.omemo.Forget(ctx, own, omemo.Address{JID: d.jid, Device: d.ID})
	}))
}

func (d *device) snapshot() map[string][]byte {
	d.t.Helper()
	all, err := d.state.List(d.t.Context(), "")
	must(d.t, err)
	return all
}

func (d *device) restore(old map[string][]byte) {
	d.t.Helper()
	d.do(func(ctx context.Context) error {
		for k := range d.snapshotIn(ctx) {
			if old[k] == nil {
				old[k] = nil
			}
		}
		return d.state.PutMany(ctx, old)
	})
}

func (d *device) snapshotIn(ctx context.Context) map[string][]byte {
	all, err := d.state.List(ctx, "")
	must(d.t, err)
	return all
}

func TestBothVersionsHealALostSession(t *testing.T) {
	for _, v := range []omemo.Version{omemo.Legacy, omemo.Two} {
		t.Run(v.String(), func(t *testing.T) {
			w := newWorld(t, both, omemo.Legacy, omemo.Two)
			w.juliet.say(w.side, v, "hello")
			w.heard("hello")
			if _, ok := w.juliet.open(v, w.juliet.transport(1)); !ok {
				t.Fatal("the new session is not confirmed")
			}
			w.forget(fakeSelf, w.juliet)
			w.juliet.say(w.side, v, "lost")
			if o, ok := w.juliet.open(v, w.juliet.transport(2)); !ok || !o.NewSession {
				t.Fatalf("the repair builds no session: %+v, %v", o, ok)
			}
			w.juliet.say(w.side, v, "healed")
			w.heard("healed")
		})
	}
}

func TestADeviceThatWasRestoredFromACopyIsHealed(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	w.juliet.say(w.side, omemo.Legacy, "one")
	w.heard("one")
	w.juliet.open(omemo.Legacy, w.juliet.transport(1))
	w.juliet.say(w.side, omemo.Legacy, "two")
	w.heard("two")
	old := w.juliet.snapshot()
	w.juliet.say(w.side, omemo.Legacy, "three")
	w.heard("three")
	w.juliet.restore(old)
	w.juliet.say(w.side, omemo.Legacy, "lost") // with the key of "three"
	if err := w.unread(1)[0]; !errors.Is(err, errRewound) {
		t.Errorf("unreadable because of %v", err)
	}
	if o, ok := w.juliet.open(omemo.Legacy, w.juliet.transport(2)); !ok || !o.NewSession {
		t.Fatalf("the repair builds no session: %+v, %v", o, ok)
	}
	w.juliet.say(w.side, omemo.Legacy, "four")
	w.heard("four")
}

func TestAMessageThatComesTwiceIsNoNews(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	sealed := w.juliet.seal(w.side, omemo.Legacy, []byte("once"), fakeSelf)
	w.fakeServer.juliet(sealed, body(fallbackBody))
	w.heard("once")
	w.fakeServer.juliet(sealed, body(fallbackBody))
	w.juliet.say(w.side, omemo.Legacy, "after")
	w.heard("after")
	if bad := w.inbox.Unread(); len(bad) > 0 {
		t.Errorf("unreadable: %v", bad)
	}
	if n := len(w.transports("juliet@test")); n > 1 {
		t.Errorf("%d empty messages", n)
	}
}

func TestRepairsHaveLimits(t *testing.T) {
	day, start := 24*time.Hour, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var p repaired
	for _, c := range []struct {
		after time.Duration // the last repair that happened
		ok    bool
		pause time.Duration
	}{
		{0, true, day}, {time.Hour, false, day}, {day, true, 2 * day}, {day, false, 2 * day}, {2 * day, true, 4 * day},
		{4 * day, true, 8 * day}, {9 * day, true, 16 * day}, {17 * day, true, 16 * day}, {40 * day, true, day},
	} {
		next, ok := p.next(start.Add(c.after))
		if ok != c.ok || next.Pause != c.pause {
			t.Errorf("after %v: %v with a pause of %v, want %v and %v", c.after, ok, next.Pause, c.ok, c.pause)
		}
		if ok {
			start, p = start.Add(c.after), next
		}
	}
	if next, ok := (repaired{At: start.AddDate(10, 0, 0), Pause: day}).next(start); !ok || next.Pause != day {
		t.Errorf("after a repair in the future, by a wrong clock: %v with a pause of %v", ok, next.Pause)
	}
	var tl tally
	now := time.Now()
	for i := range 30 {
		if ok := tl.free("a", now, emptyDaily); ok != (i < emptyDaily) {
			t.Errorf("%d: %v", i, ok)
		}
	}
	if !tl.free("b", now, emptyDaily) || !tl.free("a", now.Add(tallyTime), emptyDaily) {
		t.Error("another device, or another day, counts, too")
	}
}

func TestTwoPeersThatLoseEverythingDoNotLoop(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	w.juliet.say(w.side, omemo.Legacy, "hello")
	w.heard("hello")
	w.juliet.transport(1)
	for i := range 5 {
		w.forget(fakeSelf, w.juliet)
		w.juliet.say(w.side, omemo.Legacy, fmt.Sprint("lost ", i))
		w.unread(i + 1)
	}
	w.juliet.transport(2)
	w.clock.move(25 * time.Hour)
	w.juliet.say(w.side, omemo.Legacy, "lost again")
	w.juliet.transport(3)
	w.clock.move(25 * time.Hour)
	w.juliet.say(w.side, omemo.Legacy, "and again")
	w.unread(7)
	if n := len(w.transports("juliet@test")); n != 3 {
		t.Errorf("%d empty messages: one confirms the session, two repair it", n)
	}
}

func TestNothingIsOpenedForStrangers(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	mallory := newDevice(t, w.fakeServer, "mallory@test", omemo.Legacy)
	for i := range 3 {
		w.directly("mallory@test/x", fakeSelf, fmt.Sprint("m", i), mallory.seal(w.side, omemo.Legacy, []byte("hello"), fakeSelf))
	}
	w.message("help", fakeSelf, "")
	w.juliet.say(w.side, omemo.Legacy, "hello")
	w.heard("hello")
	w.juliet.transport(1)
	if n := len(w.transports("mallory@test")); n != 0 {
		t.Errorf("%d empty messages to a stranger", n)
	}
	w.set(func() {
		for _, n := range w.seen {
			if n.name == "iq" && n.get("to") == "mallory@test" {
				t.Errorf("a stranger is asked: %s", n.bytes())
			}
		}
	})
	all, err := w.own.List(t.Context(), "")
	must(t, err)
	for key := range all {
		if strings.Contains(key, "mallory") {
			t.Errorf("kept: %s", key)
		}
	}
}

func TestAForgedErrorEndsNoDelivery(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	wait := w.side.waits.expect(keyA, fakeRoom, false)
	for _, from := range []string{"mallory@evil.test/x", fakeRoom + "/Juliet"} {
		w.raw("<message type='error' id='" + keyA + "' from='" + from + "' to='" + fakeSelf + "'><error type='cancel'><forbidden xmlns='" + nsStanzas + "'/></error></message>")
	}
	w.juliet.say(w.side, omemo.Legacy, "after it")
	w.heard("after it")
	select {
	case err := <-wait:
		t.Fatalf("it ended with %v", err)
	default:
	}
	w.raw("<message type='error' id='" + keyA + "' from='" + fakeRoom + "' to='" + fakeSelf + "'><error type='cancel'><forbidden xmlns='" + nsStanzas + "'/></error></message>")
	if err := <-wait; condition(err) != "forbidden" {
		t.Errorf("it ended with %v", err)
	}
}

func TestTheHistoryIsMendedOnceItIsRead(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	w.juliet.say(w.side, omemo.Legacy, "before")
	w.heard("before")
	w.juliet.open(omemo.Legacy, w.juliet.transport(1))
	w.forget(fakeSelf, w.juliet)
	w.drop()
	for i := range 5 {
		w.juliet.say(w.side, omemo.Legacy, fmt.Sprint("missed ", i))
	}
	w.unread(5)
	if o, ok := w.juliet.open(omemo.Legacy, w.juliet.transport(2)); !ok || !o.NewSession {
		t.Fatalf("the repair builds no session: %+v, %v", o, ok)
	}
	w.juliet.say(w.side, omemo.Legacy, "after")
	w.heard("after")
	if n := len(w.transports("juliet@test")); n != 2 {
		t.Errorf("%d empty messages, want 2", n)
	}
}

func TestPuppetsThatNeverSpokeStaySilent(t *testing.T) {
	w := newWorld(t, func(_ *Config, d *gateway.Deps) { d.Rooms[0].Puppets = gateway.PuppetsAll }, omemo.Legacy)
	alice := gateway.Person{Network: "matrix", ID: "@alice:test", Name: "Alice"}
	join := gateway.Delivery{Key: "x", Room: w.side.room0().conf().Address, Seal: true, Event: &gateway.Event{Body: gateway.Membership{Who: alice, Change: gateway.Join}}}
	must(t, deliver(t, w.side, join))
	w.fakeServer.juliet(w.juliet.seal(w.side, omemo.Legacy, []byte("to all"), fakeSelf, alicesPuppet), body(fallbackBody))
	w.heard("to all")
	if from := bare(w.juliet.transport(1).get("from")); from != fakeSelf {
		t.Errorf("%s answers a key exchange", from)
	}
	must(t, deliver(t, w.side, delivery(keyA, "now I speak", true)))
	if o, ok := w.juliet.open(omemo.Legacy, w.sealedBy(alicesPuppet, 1)); !ok || string(o.Plain) != "now I speak" {
		t.Fatalf("opened %q, %v", o.Plain, ok)
	}
	w.forget(alicesPuppet, w.juliet)
	w.clock.move(2 * time.Minute)
	r := w.side.room0()
	r.mu.Lock()
	clear(r.sealedBy) // the next message moves all chains
	r.mu.Unlock()
	w.fakeServer.juliet(w.juliet.seal(w.side, omemo.Legacy, []byte("to Alice"), alicesPuppet), body(fallbackBody))
	if from := bare(w.juliet.transport(2).get("from")); from != alicesPuppet {
		t.Errorf("%s mends its session", from)
	}
}

func TestWhoLeavesUsOutIsRemindedOnce(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	other := newDevice(t, w.fakeServer, "other@test", omemo.Legacy)
	b := omemo.Address{JID: "other@test", Device: other.ID}
	var bundle *omemo.Bundle
	other.do(func(ctx context.Context) (err error) {
		bundle, err = other.keys.Bundle(ctx, omemo.Legacy, "other@test")
		return err
	})
	for range 2 {
		var msg *omemo.Message
		w.juliet.do(func(ctx context.Context) (err error) {
			msg, _, err = w.juliet.keys.Seal(ctx, omemo.Legacy, "juliet@test", []omemo.Address{b}, map[omemo.Address]*omemo.Bundle{b: parsed(t, bundle)}, []byte("not for you"))
			return err
		})
		w.fakeServer.juliet(rawNode(msg.AppendXML(nil)), body(fallbackBody))
	}
	w.unread(2)
	reminded := func(n *node) bool {
		return n.get("type") == "headline" && n.get("to") == "juliet@test" && n.get("from") == fakeSelf
	}
	w.set(func() {
		for _, n := range w.seen {
			if reminded(n) {
				t.Error("reminded at once")
			}
		}
	})
	w.clock.move(remindPause + time.Second)
	w.await("the list", reminded)
	told := w.await("a word to Juliet", func(n *node) bool { return n.get("to") == fakeRoom+"/Juliet" })
	if !strings.Contains(told.child("", "body").text, "not encrypted for this bridge") {
		t.Errorf("told %q", told.child("", "body").text)
	}
}

// Somebody may name as many devices as they like, each of which would be repaired for the first time.
func TestMadeUpDevicesAreNotAllRepaired(t *testing.T) {
	w := newWorld(t, nil, omemo.Legacy)
	sealed := string(w.juliet.seal(w.side, omemo.Legacy, []byte("hello"), fakeSelf).raw)
	sealed = strings.Replace(sealed, " prekey='true'", "", 1)
	const devices = repairDaily + 50
	for i := range devices {
		other := strings.Replace(sealed, fmt.Sprintf("sid='%d'", w.juliet.ID), fmt.Sprintf("sid='%d'", i+1), 1)
		w.fakeServer.juliet(rawNode([]byte(other)), body(fallbackBody))
	}
	w.unread(devices)
	w.juliet.say(w.side, omemo.Legacy, "after it")
	w.heard("after it")
	w.juliet.transport(1) // what was due before it is done
	asked := 0
	w.set(func() {
		for _, n := range w.seen {
			name := n.child(nsPubSub, "pubsub").child(nsPubSub, "items").get("node")
			if own, _ := bundleNode(omemo.Legacy, w.juliet.ID); strings.HasPrefix(name, nodeBundles) && name != own {
				asked++
			}
		}
	})
	if asked == 0 || asked > repairDaily {
		t.Errorf("%d bundles are asked for", asked)
	}
}

func TestWhatNobodyCanOpenCostsLittle(t *testing.T) {
	w := newWorld(t, both, omemo.Legacy)
	msg := omemo.Message{Version: omemo.Two, SID: 7, Payload: []byte("x")}
	var owns []string
	must(t, w.own.Update(t.Context(), func(ctx context.Context) error {
		for i := range 3 * maxFailed {
			own := fmt.Sprintf("p%d@%s", i, w.side.domain)
			dev, err := w.side.omemo.EnsureDevice(ctx, own)
			if err != nil {
				return err
			}
			owns = append(owns, own)
			msg.Keys = append(msg.Keys, omemo.Key{JID: own, RID: dev.ID, Data: []byte("x")})
		}
		_, then, err := w.side.unseal(ctx, unsealing{
			message: &message{node: el("", "message"), sealed: []sealedElement{{omemo.Two, msg.AppendXML(nil)}}},
			content: content{delayed: true}, owns: owns, senders: []string{"juliet@test"}, to: owns[0],
			all: func(omemo.Version, uint32) bool { return false },
		})
		if !errors.Is(err, omemo.ErrNoSession) {
			t.Errorf("it fails by %v", err)
		}
		then()
		return nil
	}))
	w.side.agenda.mu.Lock()
	defer w.side.agenda.mu.Unlock()
	if n := len(w.side.agenda.items); n != maxFailed {
		t.Errorf("%d of ours have tried", n)
	}
}

// A puppet is in five rooms, where a device speaks in turn, and somebody else by the device's id in between.
func TestNoChainRunsAheadInManyRooms(t *testing.T) {
	s := &Side{}
	var rooms []*room
	for range 5 {
		rooms = append(rooms, &room{side: s, sealedBy: map[sealer]int{}})
	}
	behind, most, all := 0, 0, 0
	for i := range 20 * everyNth {
		r := rooms[i%len(rooms)]
		if i%everyNth > everyNth/2 {
			r = rooms[i/everyNth%len(rooms)]
		}
		r.countSealed(sealer{"mallory@test", omemo.Legacy, 7})
		if behind++; r.countSealed(sealer{"juliet@test", omemo.Legacy, 7}) {
			behind = 0
			all++
		}
		most = max(most, behind)
	}
	if most >= everyNth || all > 5*20 {
		t.Errorf("%d behind, and %d times all keys", most, all)
	}
}
