package xmppside

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/omemo"
)

func parsed(t *testing.T, b *omemo.Bundle) *omemo.Bundle {
	t.Helper()
	out, err := omemo.ParseBundle(b.Version, b.AppendXML(nil))
	must(t, err)
	return out
}

func TestAChangedIdentityIsRefusedAndReported(t *testing.T) {
	log := &lines{}
	w := newWorld(t, nil, omemo.Legacy)
	w.edit = func(s *Side) { s.log = slog.New(slog.NewTextHandler(io.MultiWriter(log, t.Output()), nil)) }
	w.restart(nil)
	w.juliet.say(w.side, omemo.Legacy, "it is me")
	w.heard("it is me")
	// Another key under the same device id: the id is where its state is stored.
	imposter := newDevice(t, w.fakeServer, "juliet@test", omemo.Legacy)
	sealed := string(imposter.seal(w.side, omemo.Legacy, []byte("it is me, too"), fakeSelf).raw)
	sealed = strings.Replace(sealed, fmt.Sprintf("sid='%d'", imposter.ID), fmt.Sprintf("sid='%d'", w.juliet.ID), 1)
	for range 3 {
		w.fakeServer.juliet(rawNode([]byte(sealed)), body(fallbackBody))
	}
	if err := w.unread(3)[0]; !errors.Is(err, omemo.ErrIdentityChanged) {
		t.Errorf("unreadable because of %v", err)
	}
	told := w.await("a word to Juliet", func(n *node) bool { return n.get("to") == fakeRoom+"/Juliet" && n.name == "message" })
	if text := told.child("", "body").text; !strings.Contains(text, "another key") || !strings.Contains(text, imposter.Identity.Fingerprint()) {
		t.Errorf("told %q", text)
	}
	if n := log.count("lockbridge trust verify juliet@test " + strings.ReplaceAll(imposter.Identity.Fingerprint(), " ", "")); n != 1 {
		t.Errorf("%d lines of the log name the remedy", n)
	}
	w.crossed("it is me, too")
	count := 0
	w.set(func() {
		for _, n := range w.seen {
			if n.name == "message" && n.get("to") == fakeRoom+"/Juliet" {
				count++
			}
		}
	})
	if count != 1 {
		t.Errorf("told %d times", count)
	}
}

func TestAChangedIdentityInAChatIsTold(t *testing.T) {
	w := newWorld(t, func(c *Config, d *gateway.Deps) { d.Direct = openDirect(gateway.EncryptionRequired) }, omemo.Legacy)
	must(t, deliver(t, w.side, delivery(keyA, "hello", true))) // there is a puppet now
	w.directly("juliet@test/x", alicesPuppet, "d1", w.juliet.seal(w.side, omemo.Legacy, []byte("it is me"), alicesPuppet))
	w.heard("it is me")
	imposter := newDevice(t, w.fakeServer, "juliet@test", omemo.Legacy)
	sealed := string(imposter.seal(w.side, omemo.Legacy, []byte("me, too"), alicesPuppet).raw)
	sealed = strings.Replace(sealed, fmt.Sprintf("sid='%d'", imposter.ID), fmt.Sprintf("sid='%d'", w.juliet.ID), 1)
	w.directly("juliet@test/x", alicesPuppet, "d2", rawNode([]byte(sealed)))
	if told := w.message("a word to Juliet", alicesPuppet, "another key"); told.get("to") != "juliet@test" {
		t.Errorf("told %s", told.get("to"))
	}
	w.unread(1)
	w.crossed("me, too")
}

func TestVerifyCommandsAreFitForAShell(t *testing.T) {
	key := strings.Repeat("0", 64)
	for who, want := range map[string]string{
		"juliet@example.org":     "juliet@example.org",
		"$(reboot)@evil.test":    "'$(reboot)@evil.test'",
		"a;reboot;@evil.test":    "'a;reboot;@evil.test'",
		"o'neill@example.org":    `'o'\''neill@example.org'`,
		"-f@example.org":         "-- -f@example.org",
		"j\u00falia@example.org": "'j\u00falia@example.org'",
	} {
		if got := verifyCommand(who, omemo.IdentityKey{}); got != "lockbridge trust verify "+want+" "+key {
			t.Errorf("%s: %s", who, got)
		}
	}
}
