//go:build e2e

package matrixside

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/media"
	"lockbridge/gateway/media/mediatest"
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
	room   string
	prefix string // of ghosts
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

// own and theirs find what holds a text, by the peer itself or by others.
func (m member) own(ctx context.Context, text string) (peers.MatrixEvent, error) {
	return m.Await(ctx, "our own "+text, func(e peers.MatrixEvent) bool {
		return e.Room == m.room && e.Sender == m.UserID && strings.Contains(e.Text(), text)
	})
}

func (m member) Edit(ctx context.Context, old, text string) error {
	e, err := m.own(ctx, old)
	if err == nil {
		_, err = m.Matrix.Edit(ctx, m.room, e.ID, text)
	}
	return err
}

func (m member) SeeEdit(ctx context.Context, old, text string) error {
	e, err := m.AwaitText(ctx, m.room, old)
	if err == nil {
		_, err = m.AwaitEdit(ctx, m.room, e.ID, text)
	}
	return err
}

func (m member) Retract(ctx context.Context, text string) error {
	e, err := m.own(ctx, text)
	if err == nil {
		err = m.Redact(ctx, m.room, e.ID, "")
	}
	return err
}

func (m member) SeeRetraction(ctx context.Context, text string) error {
	e, err := m.AwaitText(ctx, m.room, text)
	if err == nil {
		_, err = m.AwaitRedaction(ctx, m.room, e.ID)
	}
	return err
}

func (m member) Reply(ctx context.Context, to, text string) error {
	e, err := m.Await(ctx, to, func(e peers.MatrixEvent) bool { return e.Room == m.room && strings.Contains(e.Text(), to) })
	if err == nil {
		_, err = m.Matrix.Reply(ctx, m.room, e.ID, text)
	}
	return err
}

func (m member) SeeReply(ctx context.Context, to, text string) error {
	e, err := m.own(ctx, to)
	if err == nil {
		_, err = m.Await(ctx, "the reply "+text, func(r peers.MatrixEvent) bool {
			return r.Room == m.room && strings.Contains(r.Text(), text) && r.Value("m.relates_to", "m.in_reply_to", "event_id") == e.ID
		})
	}
	return err
}

// reactions are those by own users that are not taken back, by their events.
func (m member) reactions(to string, byMe bool) map[string]string {
	standing := map[string]string{}
	for _, e := range m.Events() {
		switch {
		case e.Room == m.room && e.Type == "m.reaction" && (e.Sender == m.UserID) == byMe && e.Value("m.relates_to", "event_id") == to:
			standing[e.ID] = e.Value("m.relates_to", "key")
		case e.Type == "m.room.redaction":
			delete(standing, e.Redacts())
		}
	}
	return standing
}

func (m member) React(ctx context.Context, to string, emoji ...string) error {
	e, err := m.Await(ctx, to, func(e peers.MatrixEvent) bool { return e.Room == m.room && strings.Contains(e.Text(), to) })
	if err != nil {
		return err
	}
	standing := m.reactions(e.ID, true)
	for _, key := range emoji {
		if _, err := m.Matrix.React(ctx, m.room, e.ID, key); err != nil {
			return err
		}
	}
	for event := range standing {
		if err := m.Redact(ctx, m.room, event, ""); err != nil {
			return err
		}
	}
	return nil
}

func (m member) SeeReactions(ctx context.Context, to string, emoji ...string) error {
	e, err := m.AwaitText(ctx, m.room, to)
	if err != nil {
		return err
	}
	_, err = m.Await(ctx, fmt.Sprintf("%q on %s", emoji, to), func(peers.MatrixEvent) bool {
		return slices.Equal(slices.Sorted(maps.Values(m.reactions(e.ID, false))), emoji) || len(emoji) == 0 && len(m.reactions(e.ID, false)) == 0
	})
	return err
}

func (m member) SendFile(ctx context.Context, name, mime string, data []byte) error {
	_, err := m.Matrix.SendFile(ctx, m.room, peers.MatrixFile{Content: peers.Content{Name: name, MIME: mime, Data: data}})
	return err
}

func (m member) SeeFile(ctx context.Context, name string) ([]byte, error) {
	e, err := m.AwaitFile(ctx, m.room, name)
	if err != nil {
		return nil, err
	}
	return m.Open(ctx, e)
}

func (m member) Type(ctx context.Context, on bool) error { return m.Typing(ctx, m.room, on) }

func (m member) SeeTyping(ctx context.Context, on bool) error {
	_, err := m.AwaitTyping(ctx, m.before(on), m.room, m.prefix, on)
	return err
}

// before is a mark after which typing means what is looked for: the end of it comes after the newest beginning.
func (m member) before(on bool) int {
	if on {
		return 0
	}
	mark := 0
	for i, e := range m.Events() {
		if users, _ := e.Get("user_ids").([]any); e.Type == "m.typing" && len(users) > 0 {
			mark = i
		}
	}
	return mark
}

// onDendrite is a side whose homeserver pushes neither redactions nor who types.
type onDendrite struct{ *Side }

func (d onDendrite) Caps(at gateway.Address) gateway.Caps {
	caps := d.Side.Caps(at)
	caps.Retract, caps.Reaction, caps.Typing, caps.Receipt = false, false, false, false
	return caps
}

func TestSide(t *testing.T) {
	b := openBed(t)
	files, err := NewFiles(b.cfg)
	must(t, err)
	carried := mediatest.New(t, mediatest.Options{Sources: map[string]media.Source{"matrix": files}})
	sidetest.Exercise(t, func(t *testing.T) sidetest.Harness {
		romeo := b.login(t.Context(), t, "romeo")
		alias := peers.Unique("lobby")
		id, err := romeo.CreateRoom(t.Context(), alias, true)
		must(t, err)
		return sidetest.Harness{
			Room: b.room("#" + alias + ":" + b.Host), Peer: member{Matrix: romeo, room: id, prefix: b.slot.UserPrefix}, Foreign: "irc", Confirms: true, MissesNothing: true, Media: carried,
			New: func(deps gateway.Deps) (gateway.Side, error) {
				side, err := New(b.cfg, deps)
				if err == nil && b.Bed.Homeserver != "synapse" {
					return onDendrite{side}, nil
				}
				return side, err
			},
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
	if n := (member{Matrix: romeo, room: id}).Count("Encrypted Matrix rooms"); n != 1 {
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
