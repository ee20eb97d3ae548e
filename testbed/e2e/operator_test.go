//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lockbridge/testbed/peers"
)

// ask gives a command of the program until its answer fits: what was delivered is committed a moment later, and nothing outside the program
// tells of that.
func ask(ctx context.Context, t *testing.T, s *peers.Scene, fits func(answer string) bool, args ...string) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		answer, err := s.Lockbridge.Command(ctx, append(args, "--config", s.Lockbridge.Config)...)
		if err == nil && fits(answer) { // trace fails on an id that nobody knows yet
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("lockbridge %q says\n%s", args, answer)
		}
	}
}

// An admin follows a message, adds a bridge and takes it out while the program runs, and has somebody forgotten; the room that was there
// all the time notices nothing.
func TestAnAdminLooksAfterABridge(t *testing.T) {
	onEachStore(t, peers.SceneOptions{}, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		l, nick := s.Lockbridge, s.Lockbridge.Slot.Nick
		run := func(args ...string) string {
			t.Helper()
			return must[string](t)(l.Command(ctx, append(args, "--config", l.Config)...))
		}
		reread := func(text, log string) {
			t.Helper()
			mark := l.Mark()
			ok(t, os.WriteFile(l.Config, []byte(text), 0o600))
			ok(t, l.Signal(syscall.SIGHUP))
			must[string](t)(l.AwaitLogAfter(ctx, mark, log))
		}
		original := string(must[[]byte](t)(os.ReadFile(l.Config)))
		steady := func(before int) {
			t.Helper()
			for _, line := range s.IRC.Events()[before:] {
				if line.Nick() == nick && line.Command != "PRIVMSG" && strings.Contains(strings.Join(line.Params, " ")+" ", s.Channel+" ") || line.Nick() == nick && line.Command == "QUIT" {
					t.Errorf("the room that did not change saw %s", line)
				}
			}
		}

		fromXMPP(ctx, t, s, s.Owner, "Where is this going?")
		ask(ctx, t, s, func(trace string) bool {
			return strings.Count(trace, " delivered ") == 2 && strings.Contains(trace, "accepted   xmpp/"+s.Room) && !strings.Contains(trace, "going")
		}, "trace", arrivesOnMatrix(ctx, t, s, "Where is this going?").ID)

		before := s.IRC.Mark()
		name := peers.Unique("attic")
		channel, attic := "#"+name, must[string](t)(s.Matrix.CreateRoom(ctx, name, true))
		ok(t, s.IRC.Join(ctx, channel))
		bridge := fmt.Sprintf("\n[[bridge]]\nname = %q\nrooms = { matrix = %q, irc = %q }\nencryption = \"off\"\n", name, "#"+name+":"+s.Bed.Host, channel)
		reread(original+bridge, "the bridges were reread")
		ok(t, s.IRC.AwaitJoin(ctx, channel, nick))
		ok(t, s.IRC.Say(channel, "It is dusty in here"))
		must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, attic, "It is dusty in here"))
		must[string](t)(s.Matrix.Say(ctx, attic, "And dark"))
		must[peers.IRCLine](t)(s.IRC.AwaitText(ctx, channel, "And dark"))
		fromXMPP(ctx, t, s, s.Owner, "I hear steps above")

		reread(original+bridge+"rooms = 7\n", "the configuration was not taken")
		ok(t, s.IRC.Say(channel, "Nothing has changed"))
		must[peers.MatrixEvent](t)(s.Matrix.AwaitText(ctx, attic, "Nothing has changed"))

		reread(original, "the bridges were reread")
		must[peers.IRCLine](t)(s.IRC.AwaitAfter(ctx, before, "the gateway leaving "+channel, func(line peers.IRCLine) bool {
			return line.Nick() == nick && line.Command == "PART" && strings.EqualFold(line.Params[0], channel)
		}))
		fromIRC(ctx, t, s, "The steps are gone")
		steady(before)
		ask(ctx, t, s, func(lanes string) bool { return strings.Contains(lanes, "nothing waits, and nothing was given up") }, "lanes")

		// In a room that hides addresses people go by their occupant id.
		words := arrivesOnMatrix(ctx, t, s, "I hear steps above").ID
		var traces []struct{ Author string }
		ok(t, json.Unmarshal([]byte(run("trace", "--json", words)), &traces))
		run("forget", traces[0].Author, "--network", "xmpp", "--yes")
		must[string](t)(l.Await(ctx, "the side that forgets", func(line string) bool {
			return strings.Contains(line, "somebody was forgotten") && strings.Contains(line, "network=matrix")
		}))
		if trace := run("trace", words); strings.Contains(trace, traces[0].Author+")") || !strings.Contains(trace, "was forgotten") {
			t.Errorf("the trace of what somebody said who was forgotten is\n%s", trace)
		}
		fromXMPP(ctx, t, s, s.Owner, "Who am I?")
	})
}

// What was said to somebody who has left IRC is given up; when they are back, an admin has it tried again, and it arrives once.
func TestAnAdminHasDeliveriesTriedAgain(t *testing.T) {
	onEachStore(t, direct, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		l, puppet, nick := s.Lockbridge, s.IRCName(s.IRC), s.IRC.Nick
		run := func(args ...string) string {
			t.Helper()
			return must[string](t)(l.Command(ctx, append(args, "--config", l.Config)...))
		}
		ok(t, s.Owner.SaySealed(ctx, puppet, "Will you stay?"))
		must[peers.IRCLine](t)(s.IRC.AwaitPrivate(ctx, l.Slot.Nick, "Will you stay?"))
		s.IRC.Close()
		mark := s.Owner.Mark()
		ok(t, s.Owner.SaySealed(ctx, puppet, "Come back"))
		must[peers.XMPPEvent](t)(s.Owner.AwaitAfter(ctx, mark, "word that it was not delivered", func(e peers.XMPPEvent) bool {
			return e.Kind == "message" && strings.HasPrefix(e.From, puppet) && e.Text()+e.Error != ""
		}))
		list := run("dead", "list")
		if !strings.Contains(list, "irc/direct/"+nick+"/xmpp/") || !strings.Contains(list, s.Owner.JID) || strings.Contains(list, "Come back") {
			t.Errorf("given up is\n%s", list)
		}

		back := must[*peers.IRC](t)(peers.DialIRC(ctx, s.Bed, nick, false, s.Transcript))
		t.Cleanup(back.Close)
		if out := run("dead", "retry", "--all"); !strings.Contains(out, "1 delivery is tried again") {
			t.Errorf("retry says %s", out)
		}
		must[peers.IRCLine](t)(back.AwaitPrivate(ctx, l.Slot.Nick, "Come back"))
		ok(t, s.Owner.SaySealed(ctx, puppet, "There you are"))
		must[peers.IRCLine](t)(back.AwaitPrivate(ctx, l.Slot.Nick, "There you are"))
		if n := len(slices.DeleteFunc(back.Events(), func(line peers.IRCLine) bool { return line.Command != "PRIVMSG" })); n != 2 {
			t.Errorf("%d messages arrived, want 2", n)
		}
		if list := run("dead", "list"); !strings.Contains(list, "nothing was given up") {
			t.Errorf("given up is still\n%s", list)
		}
	})
}
