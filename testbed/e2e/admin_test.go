//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

// change rewrites a file.
func change(t *testing.T, file string, replacements ...string) {
	t.Helper()
	text, err := os.ReadFile(file)
	ok(t, err)
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(string(text), replacements[i]) {
			t.Fatalf("%s does not hold %q:\n%s", file, replacements[i], text)
		}
	}
	ok(t, os.WriteFile(file, []byte(strings.NewReplacer(replacements...).Replace(string(text))), 0o600))
}

// Restarts the homeserver, so it does not run beside others.
func TestAnAdminSetsLockbridgeUpFromNothing(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("%v have passed", patience))
	t.Cleanup(cancel)
	dir := t.TempDir()
	s := scene(ctx, t, sealed, "sqlite")
	slot, config := s.Lockbridge.Slot, filepath.Join(dir, "lockbridge.toml")
	t.Setenv("LOCKBRIDGE_XMPP_SECRET", slot.ComponentSecret)
	lockbridge := func(args ...string) string {
		t.Helper()
		out, err := s.Lockbridge.Command(ctx, args...)
		if err != nil {
			t.Fatalf("lockbridge %q: %v\n%s", args, err, out)
		}
		return out
	}
	lockbridge("init", dir)
	if info, err := os.Stat(filepath.Join(dir, "lockbridge.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the key file: %v %v", info, err)
	}
	// A slot's own application service is taken already; this one has a nick and a prefix of its own.
	change(t, config,
		"bridge.example.org", slot.Component, "127.0.0.1:5347", s.Bed.Addr("COMPONENT"),
		"http://127.0.0.1:8008", s.Bed.HomeserverURL(), `domain = "example.org"`, `domain = "`+s.Bed.Host+`"`+"\nnick = \"admins\"\nuser_prefix = \"admins_\"",
		"127.0.0.1:29330", slot.Appservice, "irc.example.org:6697", s.Bed.Addr("IRC"), "tls = true", "tls = false",
		"127.0.0.1:8080", slot.HTTP, "lobby@conference.example.org", s.Room, "#lobby:example.org", s.Alias, `"#lobby"`, `"`+s.Channel+`"`,
		`nick = "lockbridge"`, `nick = "`+slot.Nick+`"`, "secret = \"env:LOCKBRIDGE_XMPP_SECRET\"", "secret = \"env:LOCKBRIDGE_XMPP_SECRET\"\nnick = \""+slot.Nick+"\"")
	lockbridge("registration", "--config", config)
	lockbridge("check", "--config", config)
	restartHomeserver(ctx, t, s.Bed, filepath.Join(dir, "registration.yaml"))
	t.Cleanup(func() { restartHomeserver(context.WithoutCancel(ctx), t, s.Bed, "") })
	if kept := lockbridge("registration", "--config", config); !strings.Contains(kept, "kept") {
		t.Errorf("a second `registration` said %q", kept)
	}
	s.Matrix = must[*peers.Matrix](t)(s.MatrixAgain(ctx))
	s.Lockbridge.Config = config
	ok(t, s.Lockbridge.StartReady(ctx))
	must[peers.XMPPEvent](t)(s.Owner.AwaitOccupant(ctx, s.Room, slot.JID()))
	ok(t, s.IRC.AwaitJoin(ctx, s.Channel, slot.Nick))
	fromIRC(ctx, t, s, "Is it set up?")
	fromXMPP(ctx, t, s, s.Owner, "So it seems")
	fromMatrix(ctx, t, s, "It is")
}

// restartHomeserver makes the homeserver know one more application service, or no more.
func restartHomeserver(ctx context.Context, t *testing.T, b *peers.Bed, registration string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, filepath.Join(b.Source, "homeserver.sh"), "restart")
	cmd.Env = append(os.Environ(), "AS_REGISTRATION="+registration)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("restarting the homeserver: %v\n%s", err, out)
	}
}

func TestAWrongComponentSecretIsSaidAndTheOthersGoOn(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		change(t, s.Lockbridge.Config, s.Lockbridge.Slot.ComponentSecret, "wrong")
		ok(t, s.Lockbridge.Start())
		must[string](t)(s.Lockbridge.AwaitLog(ctx, "network=xmpp", "secret"))
		must[string](t)(s.Lockbridge.AwaitLog(ctx, "network ready", "network=matrix"))
		ok(t, s.IRC.AwaitJoin(ctx, s.Channel, s.Lockbridge.Slot.Nick))
		ok(t, s.IRC.Say(s.Channel, "Are you there?"))
		arrivesOnMatrix(ctx, t, s, "Are you there?")
		must[string](t)(s.Matrix.Say(ctx, s.MatrixRoom, "We are"))
		arrivesOnIRC(ctx, t, s, "We are")
		if status, text, err := s.Lockbridge.Get(ctx, "/readyz"); err != nil || status != http.StatusServiceUnavailable {
			t.Errorf("/readyz: %d %q %v", status, text, err)
		}
		if status, text, err := s.Lockbridge.Get(ctx, "/healthz"); err != nil || status != http.StatusOK {
			t.Errorf("/healthz: %d %q %v", status, text, err)
		}
	})
}

func TestARoomThatMayNotBeEnteredIsSaidAndTheOthersGoOn(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		closed := peers.Unique("tomb") + "@conference." + s.Bed.Host
		ok(t, s.Owner.CreateRoom(ctx, closed, "Juliet", true))
		file, err := os.OpenFile(s.Lockbridge.Config, os.O_APPEND|os.O_WRONLY, 0)
		ok(t, err)
		_, err = fmt.Fprintf(file, "\n[[bridge]]\nname = \"tomb\"\nrooms = { xmpp = %q, irc = %q }\nencryption = \"required\"\nclear = [\"irc\"]\n", closed, s.Channel+"-tomb")
		ok(t, err)
		ok(t, file.Close())
		ok(t, s.Start(ctx))
		must[string](t)(s.Lockbridge.AwaitLog(ctx, closed))
		fromXMPP(ctx, t, s, s.Owner, "Thus with a kiss")
		fromMatrix(ctx, t, s, "For never was a story of more woe")
	})
}

func TestTheMetricsCount(t *testing.T) {
	onEachStore(t, sealed, func(ctx context.Context, t *testing.T, s *peers.Scene) {
		ok(t, s.Start(ctx))
		fromXMPP(ctx, t, s, s.Owner, "One")
		status, text, err := s.Lockbridge.Get(ctx, "/metrics")
		if err != nil || status != http.StatusOK || !strings.Contains(text, "lockbridge_") {
			t.Errorf("/metrics: %d %v\n%.2000s", status, err, text)
		}
	})
}
