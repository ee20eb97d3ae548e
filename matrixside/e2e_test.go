//go:build e2e

package matrixside

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/testbed/peers"
)

// bed is a slot of the running test bed.
type bed struct {
	*peers.Bed
	slot *peers.Slot
	cfg  Config
}

func openBed(t *testing.T) *bed {
	t.Helper()
	b, err := peers.Start(t.Context(), os.Stderr)
	must(t, err)
	return slotOf(t, b)
}

// slotOf takes a slot of a bed until the test ends.
func slotOf(t *testing.T, b *peers.Bed) *bed {
	t.Helper()
	slot, err := b.Slot()
	must(t, err)
	t.Cleanup(func() { must(t, slot.Release()) })
	return &bed{Bed: b, slot: slot, cfg: Config{
		Homeserver: b.HomeserverURL(), Domain: b.Host, Listen: slot.Appservice, URL: "http://" + slot.Appservice,
		Registration: slot.Registration, UserPrefix: slot.UserPrefix, Nick: slot.Nick,
	}}
}

// login is a new person on the homeserver.
func (b *bed) login(ctx context.Context, t *testing.T, name string) *peers.Matrix {
	t.Helper()
	name = peers.Unique(name)
	password, err := b.MatrixAccount(ctx, name)
	must(t, err)
	m, err := peers.LoginMatrix(ctx, b.Bed, name, password, nil)
	must(t, err)
	t.Cleanup(m.Close)
	return m
}

func (b *bed) room(id string) gateway.Room {
	return gateway.Room{
		Address: gateway.Address{Network: "matrix", ID: id}, Bridge: "lobby", Puppets: gateway.PuppetsActive,
		Others: []gateway.Address{{Network: "irc", ID: "#lobby"}},
	}
}

// member is a peer in one room.
type member struct {
	*peers.Matrix
	room string
}

func (m member) ID() string                { return m.UserID }
func (m member) Cut(context.Context) error { return nil }
func (m member) Say(ctx context.Context, text string) error {
	_, err := m.Matrix.Say(ctx, m.room, text)
	return err
}

func (m member) Hear(ctx context.Context, text string) (string, error) {
	e, err := m.AwaitText(ctx, m.room, text)
	return e.Text(), err
}

func (m member) Count(text string) int {
	n := 0
	for _, e := range m.Events() {
		if e.Room == m.room && e.Type == "m.room.message" && strings.Contains(e.Text(), text) {
			n++
		}
	}
	return n
}

func TestSide(t *testing.T) {
	b := openBed(t)
	sidetest.Exercise(t, func(t *testing.T) sidetest.Harness {
		romeo := b.login(t.Context(), t, "romeo")
		alias := peers.Unique("lobby")
		id, err := romeo.CreateRoom(t.Context(), alias, true)
		must(t, err)
		return sidetest.Harness{
			Room: b.room("#" + alias + ":" + b.Host), Peer: member{romeo, id}, Foreign: "irc", Confirms: true, MissesNothing: true,
			New: func(deps gateway.Deps) (gateway.Side, error) { return New(b.cfg, deps) },
		}
	})
}

// start runs a side on the slot until the test ends.
func (b *bed) start(ctx context.Context, t *testing.T, state *sidetest.State, rooms ...gateway.Room) (*Side, *sidetest.Inbox, func()) {
	t.Helper()
	return start(ctx, t, b.cfg, state, nil, rooms...)
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("3 min have passed"))
	t.Cleanup(cancel)
	return ctx
}

func TestAGhostIsInvitedIntoAPrivateRoom(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", false)
	must(t, err)
	must(t, romeo.Invite(ctx, id, string(newNaming(b.cfg).bot)))
	side, _, _ := b.start(ctx, t, sidetest.NewState(), b.room(id))
	sendAll(ctx, t, side, delivery(id, "one", "mercutio", "through the door"))
	e, err := romeo.AwaitText(ctx, id, "through the door")
	must(t, err)
	names, err := romeo.Members(ctx, id)
	must(t, err)
	if want := "@" + b.cfg.UserPrefix + "irc_mercutio:" + b.Host; e.Sender != want || names[want] != "mercutio" {
		t.Errorf("said by %s, called %q; want %s, called mercutio", e.Sender, names[want], want)
	}
}

func TestTheBotComesWhenItIsInvitedLater(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", false)
	must(t, err)
	side, inbox, _ := b.start(ctx, t, sidetest.NewState(), b.room(id))
	if o := side.Deliver(ctx, []gateway.Delivery{delivery(id, "early", "mercutio", "too early")}); o[0].Err == nil || gateway.IsDrop(o[0].Err) {
		t.Fatalf("said before the bot was let in: %v", o)
	}
	must(t, romeo.Invite(ctx, id, string(newNaming(b.cfg).bot)))
	_, err = inbox.Await(ctx, "romeo as a member", func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Join && m.Who.ID == romeo.UserID
	})
	must(t, err)
	_, err = romeo.Say(ctx, id, "come in")
	must(t, err)
	_, err = inbox.Await(ctx, "romeo's words", func(ev *gateway.Event) bool { return textOf(ev) == "come in" })
	must(t, err)
}

func TestAnEncryptedRoomIsNotBridgedAndSaysSoOnce(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	state := sidetest.NewState()
	_, inbox, stop := b.start(ctx, t, state, b.room(id))
	must(t, romeo.SetState(ctx, id, "m.room.encryption", "", map[string]any{"algorithm": "m.megolm.v1.aes-sha2"}))
	_, err = romeo.AwaitText(ctx, id, "Encrypted Matrix rooms are not bridged yet")
	must(t, err)
	_, err = romeo.Send(ctx, id, "m.room.encrypted", map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"})
	must(t, err)
	must(t, romeo.SetState(ctx, id, "m.room.member", romeo.UserID, map[string]any{"membership": "join", "displayname": "Montague"}))
	_, err = inbox.Await(ctx, "what came after it", func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Rename && m.Who.Name == "Montague"
	})
	must(t, err)
	if n := len(inbox.Unread()); n != 1 {
		t.Errorf("%d arrivals were unreadable, want 1", n)
	}
	stop()
	side, _, _ := b.start(ctx, t, state, b.room(id))
	if o := side.Deliver(ctx, []gateway.Delivery{delivery(id, "plain", "mercutio", "not to be seen")}); !gateway.IsDrop(o[0].Err) {
		t.Errorf("said in an encrypted room: %v", o)
	}
	if n := (member{romeo, id}).Count("Encrypted Matrix rooms"); n != 1 {
		t.Errorf("explained %d times", n)
	}
}

func TestABannedPersonDoesNotComeBackThroughTheBot(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	side, _, _ := b.start(ctx, t, sidetest.NewState(), b.room(id))
	sendAll(ctx, t, side, delivery(id, "one", "tybalt", "draw"))
	tybalt := "@" + b.cfg.UserPrefix + "irc_tybalt:" + b.Host
	must(t, romeo.SetState(ctx, id, "m.room.member", tybalt, map[string]any{"membership": "ban"}))
	o := side.Deliver(ctx, []gateway.Delivery{delivery(id, "two", "tybalt", "villain")})
	if !gateway.IsDrop(o[0].Err) || !strings.Contains(o[0].Err.Error(), "banned") {
		t.Errorf("outcome %v, want a Drop that names the ban", o[0].Err)
	}
	must(t, romeo.SetState(ctx, id, "m.room.member", tybalt, map[string]any{"membership": "leave"}))
	sendAll(ctx, t, side, delivery(id, "three", "tybalt", "back again"))
	_, err = romeo.AwaitText(ctx, id, "back again")
	must(t, err)
}

func TestWhatAnEarlierProcessSentIsFoundInTheHistory(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	state := sidetest.NewState()
	d := delivery(id, "the key", "mercutio", "a plague on both your houses")
	side, _, stop := b.start(ctx, t, state, b.room(id))
	first := side.Deliver(ctx, []gateway.Delivery{d})
	must(t, first[0].Err)
	stop()
	side, _, _ = b.start(ctx, t, state, b.room(id))
	second := side.Deliver(ctx, []gateway.Delivery{d}) // its first outcome was never written down
	must(t, second[0].Err)
	if first[0].Parts[0].Native != second[0].Parts[0].Native {
		t.Errorf("sent as %s and again as %s", first[0].Parts[0].Native, second[0].Parts[0].Native)
	}
}
