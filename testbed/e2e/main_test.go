//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"lockbridge/testbed/peers"
)

// patience is what a scenario may take on a busy machine; it is a limit, nothing waits for it.
const patience = 4 * time.Minute

// world is what all scenarios share.
var world struct {
	bed    *peers.Bed
	binary string
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
		defer cancel()
		dir, err := os.MkdirTemp("", "lockbridge-e2e-")
		if err == nil {
			defer os.RemoveAll(dir)
			world.bed, err = peers.Start(ctx, os.Stderr)
		}
		if err == nil {
			world.binary, err = peers.BuildLockbridge(ctx, world.bed, dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := closeTalks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must passes a value on, and ends the test with what went wrong instead.
func must[V any](t *testing.T) func(V, error) V {
	return func(v V, err error) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// must2 is must for functions with one more result, which nobody looks at.
func must2[V, W any](t *testing.T) func(V, W, error) (V, W) {
	return func(v V, w W, err error) (V, W) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v, w
	}
}

// onEachStore plays a scenario once on SQLite and once on Postgres, beside others.
func onEachStore(t *testing.T, o peers.SceneOptions, play func(ctx context.Context, t *testing.T, s *peers.Scene)) {
	t.Helper()
	t.Parallel()
	stores := []string{"sqlite", "postgres"}
	if only := os.Getenv("LOCKBRIDGE_E2E_STORE"); only != "" {
		stores = []string{only}
	}
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			ctx := within(t, patience)
			play(ctx, t, scene(ctx, t, o, store))
		})
	}
}

// onOneStore plays a scenario once, on SQLite unless only Postgres is asked for: one that is about people and clients, and takes long.
func onOneStore(t *testing.T, o peers.SceneOptions, play func(ctx context.Context, t *testing.T, s *peers.Scene)) {
	t.Helper()
	t.Parallel()
	store := "sqlite"
	if only := os.Getenv("LOCKBRIDGE_E2E_STORE"); only != "" {
		store = only
	}
	ctx := within(t, 3*patience)
	play(ctx, t, scene(ctx, t, o, store))
}

func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("%v have passed", limit))
	t.Cleanup(cancel)
	return ctx
}

// scene makes a scene that ends with the test, which fails if Lockbridge does not stop as it should.
func scene(ctx context.Context, t *testing.T, o peers.SceneOptions, store string) *peers.Scene {
	t.Helper()
	o.Binary, o.Dir = world.binary, t.TempDir()
	if store == "postgres" {
		url, drop, err := world.bed.Database(ctx)
		ok(t, err)
		t.Cleanup(func() {
			if err := drop(); err != nil {
				t.Error(err)
			}
		})
		o.Store = url
	}
	s, err := peers.NewScene(ctx, world.bed, o)
	ok(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.LogTail())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var sealed = peers.SceneOptions{Sealed: true}

// fromXMPP has a member say something, sealed where the scene is, and awaits it on Matrix and IRC.
func fromXMPP(ctx context.Context, t *testing.T, s *peers.Scene, who *peers.XMPPClient, text string) {
	t.Helper()
	if who.Device != 0 {
		ok(t, who.SaySealed(ctx, s.Room, text))
	} else {
		ok(t, who.Say(ctx, s.Room, text))
	}
	arrivesOnMatrix(ctx, t, s, text)
	arrivesOnIRC(ctx, t, s, text)
}

// fromMatrix has the Matrix user say something and awaits it with each XMPP member and on IRC.
func fromMatrix(ctx context.Context, t *testing.T, s *peers.Scene, text string, members ...*peers.XMPPClient) {
	t.Helper()
	must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, text))
	arrivesOnXMPP(ctx, t, s, text, members...)
	arrivesOnIRC(ctx, t, s, text)
}

// fromIRC has the IRC user say something and awaits it with each XMPP member and on Matrix.
func fromIRC(ctx context.Context, t *testing.T, s *peers.Scene, text string, members ...*peers.XMPPClient) {
	t.Helper()
	ok(t, s.IRC.Say(s.Channel, text))
	arrivesOnXMPP(ctx, t, s, text, members...)
	arrivesOnMatrix(ctx, t, s, text)
}

func arrivesOnMatrix(ctx context.Context, t *testing.T, s *peers.Scene, text string) peers.MatrixEvent {
	t.Helper()
	return must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, s.MatrixRoom, text))
}

func arrivesOnIRC(ctx context.Context, t *testing.T, s *peers.Scene, text string) peers.IRCLine {
	t.Helper()
	return must[peers.IRCLine](t)(s.IRC.AwaitText(ctx, s.Channel, text))
}

// arrivesOnXMPP awaits a text with each member: opened by those who have OMEMO, in the clear by the others.
func arrivesOnXMPP(ctx context.Context, t *testing.T, s *peers.Scene, text string, members ...*peers.XMPPClient) {
	t.Helper()
	if len(members) == 0 {
		members = []*peers.XMPPClient{s.Owner}
	}
	for _, m := range members {
		if m.Device != 0 {
			must[peers.XMPPEvent](t)(m.AwaitSealed(ctx, s.Room, text))
		} else {
			must[peers.XMPPEvent](t)(m.AwaitText(ctx, s.Room, text))
		}
	}
}

// nothingCrossedInTheClear checks the whole scene: Lockbridge's occupants said nothing unsealed in the XMPP room, no fallback text of a
// sealed message reached the other networks, and no text stands in Lockbridge's log.
func nothingCrossedInTheClear(t *testing.T, s *peers.Scene, texts ...string) {
	t.Helper()
	for _, e := range s.Owner.Events() {
		if e.Kind == "message" && e.Type == "groupchat" && strings.HasSuffix(e.Real, "@"+s.Lockbridge.Slot.Component) && !e.Encrypted && e.Text() != "" {
			t.Errorf("Lockbridge said in the clear: %s", e.XML)
		}
	}
	for _, e := range s.Matrix.Events() {
		if strings.Contains(strings.ToLower(e.Text()), "omemo") {
			t.Errorf("a fallback text reached Matrix: %s", e)
		}
	}
	for _, l := range s.IRC.Events() {
		if l.Command == "PRIVMSG" && strings.Contains(strings.ToLower(l.Text()), "omemo") {
			t.Errorf("a fallback text reached IRC: %s", l)
		}
	}
	log := s.Lockbridge.Log()
	for _, text := range texts {
		if strings.Contains(log, text) {
			t.Errorf("Lockbridge's log holds the text %q", text)
		}
	}
}

// once checks that a text arrived exactly once on Matrix and on IRC; something said later must have arrived by then.
func once(t *testing.T, s *peers.Scene, text string) {
	t.Helper()
	matrix, irc := 0, 0
	for _, e := range s.Matrix.Events() {
		if e.Type == "m.room.message" && e.Sender != s.Matrix.UserID && strings.Contains(e.Text(), text) {
			matrix++
		}
	}
	for _, l := range s.IRC.Events() {
		if l.Command == "PRIVMSG" && strings.Contains(l.Text(), text) {
			irc++
		}
	}
	if matrix != 1 || irc != 1 {
		t.Errorf("%q arrived %d times on Matrix and %d times on IRC", text, matrix, irc)
	}
}
