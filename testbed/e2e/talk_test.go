//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lockbridge/testbed/peers"
)

// A talk is a conversation that many scenarios share, each with words of its own: one in a plain room, one where the XMPP leg is sealed
// with OMEMO 0.3, one where it is sealed with OMEMO 2, and a plain one on Postgres. Everybody in it has a puppet and a ghost already.
type talk struct {
	*peers.Scene
	kind string

	dir  string
	drop func() error
	once sync.Once
	err  error
}

const (
	plain      = "plain"
	legacy     = "legacy"
	two        = "v2"
	onPostgres = "postgres"
)

var talks = map[string]*talk{plain: {kind: plain}, legacy: {kind: legacy}, two: {kind: two}, onPostgres: {kind: onPostgres}}

// inTalks plays a scenario in talks of some kinds, beside everything else; no kinds: plain, legacy and OMEMO 2.
func inTalks(t *testing.T, play func(ctx context.Context, t *testing.T, k *talk), kinds ...string) {
	t.Helper()
	t.Parallel()
	if kinds == nil {
		kinds = []string{plain, legacy, two}
	}
	if os.Getenv("LOCKBRIDGE_E2E_STORE") == "sqlite" {
		kinds = slices.DeleteFunc(kinds, func(kind string) bool { return kind == onPostgres })
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			k := talks[kind]
			k.once.Do(func() { k.err = k.open() })
			ok(t, k.err)
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(k.LogTail())
				}
			})
			play(within(t, turn), t, k)
		})
	}
}

// inScenes plays a scenario in scenes of its own, one of each kind, with a running Lockbridge that is configured for it.
func inScenes(t *testing.T, o peers.SceneOptions, play func(ctx context.Context, t *testing.T, k *talk), kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			k := &talk{kind: kind}
			o, like := o, k.options()
			o.Sealed, o.Owners, o.OMEMO = like.Sealed, like.Owners, like.OMEMO
			onOneStore(t, o, func(ctx context.Context, t *testing.T, s *peers.Scene) {
				k.Scene = s
				ok(t, s.IRC.EnableTags(ctx))
				ok(t, s.Start(ctx))
				play(ctx, t, k)
			})
		})
	}
}

// turn is what a scenario in a talk, or a part of it, may take; it is a limit, nothing waits for it.
const turn = time.Minute

// part is one direction of a scenario.
func part(t *testing.T, name string, play func(ctx context.Context, t *testing.T)) {
	t.Run(name, func(t *testing.T) { play(within(t, turn), t) })
}

func (k *talk) options() peers.SceneOptions {
	o := peers.SceneOptions{Binary: world.binary, Dir: k.dir, IRC: `correct_after = "300ms"`}
	switch k.kind {
	case legacy:
		o.Sealed = true
	case two:
		o.Sealed, o.Owners, o.OMEMO = true, peers.Two, bothVersions
	}
	return o
}

// open makes the scene, starts Lockbridge and has everybody say something twice.
func (k *talk) open() (err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Minute, fmt.Errorf("2 min have passed"))
	defer cancel()
	if k.dir, err = os.MkdirTemp("", "lockbridge-talk-"); err != nil {
		return err
	}
	o := k.options()
	if k.kind == onPostgres {
		if o.Store, k.drop, err = world.bed.Database(ctx); err != nil {
			return err
		}
	}
	if k.Scene, err = peers.NewScene(ctx, world.bed, o); err != nil {
		return err
	}
	if err := k.IRC.EnableTags(ctx); err != nil {
		return err
	}
	if err := k.Matrix.SetPower(ctx, k.MatrixRoom, "@"+k.Lockbridge.Slot.Nick+":"+k.Bed.Host, 100); err != nil {
		return err
	}
	if err := k.IRC.Send("MODE " + k.Channel + " -t"); err != nil {
		return err
	}
	if err := k.Start(ctx); err != nil {
		return err
	}
	for round := range 2 {
		if err := k.greet(ctx, round); err != nil {
			return fmt.Errorf("%w\n%s", err, k.LogTail())
		}
	}
	return nil
}

func (k *talk) greet(ctx context.Context, round int) error {
	text := func(who string) string { return fmt.Sprintf("%s greets, round %d", who, round) }
	if _, err := k.sendX(ctx, text("Juliet")); err != nil {
		return err
	}
	if _, err := k.Matrix.AwaitText(ctx, k.MatrixRoom, text("Juliet")); err != nil {
		return err
	}
	if _, err := k.Matrix.Say(ctx, k.MatrixRoom, text("Montague")); err != nil {
		return err
	}
	if _, err := k.Owner.AwaitText(ctx, k.Room, text("Montague")); err != nil {
		return err
	}
	if err := k.IRC.Say(k.Channel, text("Mercutio")); err != nil {
		return err
	}
	if _, err := k.Owner.AwaitText(ctx, k.Room, text("Mercutio")); err != nil {
		return err
	}
	_, err := k.IRC.AwaitText(ctx, k.Channel, text("Montague"))
	return err
}

// closeTalks ends what was opened; it says whether each ended as it should.
func closeTalks() error {
	for _, k := range talks {
		if k.Scene == nil {
			continue
		}
		if err := k.Close(); err != nil {
			return err
		}
		if k.drop != nil {
			if err := k.drop(); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(k.dir); err != nil {
			return err
		}
	}
	return nil
}

func (k *talk) sealed() bool { return k.kind == legacy || k.kind == two }

// text makes words that nobody has said before.
func text(words string) string { return peers.Unique(words) }

// sendX has the owner say something in the XMPP room, with elements in the place that the room's encryption gives them.
func (k *talk) sendX(ctx context.Context, text string, elements ...string) (id string, err error) {
	return k.sendAs(ctx, k.Owner, text, elements...)
}

func (k *talk) sendAs(ctx context.Context, who *peers.XMPPClient, text string, elements ...string) (id string, err error) {
	switch {
	case k.kind == two:
		return who.SendSealed(ctx, k.Room, peers.Words{Text: text, Inside: elements})
	case k.kind == legacy && text != "":
		return who.SendSealed(ctx, k.Room, peers.Words{Text: text, Beside: elements})
	}
	return who.Send(ctx, k.Room, peers.Words{Text: text, Beside: elements})
}

// said is one message and what each network calls it.
type said struct {
	text string
	x    peers.XMPPEvent   // as the owner of the XMPP room has it
	m    peers.MatrixEvent // as the Matrix user has it; of our own words only the ID
	i    peers.IRCLine     // as the IRC user has it
}

// fromX has the owner say something, and awaits it everywhere.
func (k *talk) fromX(ctx context.Context, t *testing.T, text string, elements ...string) said {
	t.Helper()
	id := must[string](t)(k.sendX(ctx, text, elements...))
	s := said{text: text, x: must[peers.XMPPEvent](t)(k.Owner.AwaitOwn(ctx, k.Room, id))}
	s.m, s.i = k.onMatrix(ctx, t, text), k.onIRC(ctx, t, text)
	return s
}

// fromM has the Matrix user say something, and awaits it everywhere.
func (k *talk) fromM(ctx context.Context, t *testing.T, text string) said {
	t.Helper()
	s := said{text: text}
	s.m.ID = must[string](t)(k.Matrix.Say(ctx, k.MatrixRoom, text))
	s.x, s.i = k.onXMPP(ctx, t, text), k.onIRC(ctx, t, text)
	return s
}

// fromI has the IRC user say something, and awaits it everywhere.
func (k *talk) fromI(ctx context.Context, t *testing.T, text string) said {
	t.Helper()
	s := said{text: text}
	ok(t, k.IRC.Say(k.Channel, text))
	s.i.Tags = "msgid=" + must[string](t)(k.IRC.AwaitOwn(ctx, k.Channel, text))
	s.x, s.m = k.onXMPP(ctx, t, text), k.onMatrix(ctx, t, text)
	return s
}

// onXMPP awaits words in the XMPP room: sealed, where the room is.
func (k *talk) onXMPP(ctx context.Context, t *testing.T, words string) peers.XMPPEvent {
	t.Helper()
	if k.sealed() {
		return must[peers.XMPPEvent](t)(k.Owner.AwaitSealed(ctx, k.Room, words))
	}
	return must[peers.XMPPEvent](t)(k.Owner.AwaitText(ctx, k.Room, words))
}

func (k *talk) onMatrix(ctx context.Context, t *testing.T, words string) peers.MatrixEvent {
	t.Helper()
	return must[peers.MatrixEvent](t)(k.Matrix.AwaitText(ctx, k.MatrixRoom, words))
}

func (k *talk) onIRC(ctx context.Context, t *testing.T, words string) peers.IRCLine {
	t.Helper()
	return must[peers.IRCLine](t)(k.IRC.AwaitText(ctx, k.Channel, words))
}

// corrected awaits a correction on XMPP: with the id of what it corrects, and sealed where the room is.
func (k *talk) corrected(ctx context.Context, t *testing.T, of said, words string) {
	t.Helper()
	e := must[peers.XMPPEvent](t)(k.Owner.AwaitElement(ctx, 0, k.Room, peers.NSReplace, "replace", func(r peers.Element) bool {
		return r.Attr("id") == of.x.ID
	}))
	for !strings.Contains(e.Text(), words) { // an earlier correction of the same message
		e = must[peers.XMPPEvent](t)(k.Owner.AwaitText(ctx, k.Room, words))
	}
	if replace, there := e.Element(peers.NSReplace, "replace"); !there || replace.Attr("id") != of.x.ID || e.Encrypted != k.sealed() || e.Real != of.x.Real {
		t.Errorf("the correction of %s came as %s %s", of.x.ID, e.XML, e.Content)
	}
}

// retracted awaits that words are taken back on XMPP.
func (k *talk) retracted(ctx context.Context, t *testing.T, of said) peers.XMPPEvent {
	t.Helper()
	return must[peers.XMPPEvent](t)(k.Owner.AwaitElement(ctx, 0, k.Room, peers.NSRetract, "retract", func(r peers.Element) bool {
		return r.Attr("id") == of.x.StanzaID
	}))
}

// reactedX awaits that the set of somebody's reactions on XMPP is exactly that.
func (k *talk) reactedX(ctx context.Context, t *testing.T, mark int, of said, emoji ...string) peers.XMPPEvent {
	t.Helper()
	return must[peers.XMPPEvent](t)(k.Owner.AwaitElement(ctx, mark, k.Room, peers.NSReactions, "reactions", func(r peers.Element) bool {
		var set []string
		for _, c := range r.Children {
			set = append(set, c.Text)
		}
		slices.Sort(set)
		slices.Sort(emoji)
		return r.Attr("id") == of.x.StanzaID && slices.Equal(set, emoji)
	}))
}

// later says something on all networks and awaits it everywhere: what was to arrive before it has arrived then, or never will.
func (k *talk) later(ctx context.Context, t *testing.T) {
	t.Helper()
	k.fromX(ctx, t, text("later from XMPP"))
	k.fromM(ctx, t, text("later from Matrix"))
	k.fromI(ctx, t, text("later from IRC"))
}

// member is a further member of the XMPP room, in it.
func (k *talk) member(ctx context.Context, t *testing.T, nick string) *peers.XMPPClient {
	t.Helper()
	c := must[*peers.XMPPClient](t)(k.RoomMember(ctx, peers.Unique(nick), k.clientOptions()))
	must[peers.XMPPEvent](t)(k.Owner.AwaitOccupant(ctx, k.Room, c.JID))
	return c
}

// clientOptions are those of a member's client in such a room.
func (k *talk) clientOptions() (o peers.XMPPOptions) {
	switch k.kind {
	case legacy:
		o.OMEMO = peers.Legacy
	case two:
		o.OMEMO = peers.Two
	}
	return o
}

// user is a further Matrix user in the room.
func (k *talk) user(ctx context.Context, t *testing.T, name string) *peers.Matrix {
	t.Helper()
	m := must[*peers.Matrix](t)(k.MatrixUser(ctx, name))
	ok(t, m.Join(ctx, k.MatrixRoom))
	return m
}
