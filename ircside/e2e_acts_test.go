//go:build e2e

package ircside

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lrstanley/girc"

	"lockbridge/gateway"
)

// TestRealChannel goes through what happens in a channel beside plain speech, on real InspIRCds, with tags and without.
func TestRealChannel(t *testing.T) {
	for name, old := range map[string]bool{"with tags": false, "without capabilities": true} {
		t.Run(name, func(t *testing.T) {
			ircd := startServer(t, server{old: old})
			wire := startWire(t, ircd.plain)
			p := startPeer(t, ircd.plain, wire, "#lobby")
			r := begin(t, func(c *Config, s *Side) {
				c.Server = wire.address
				if s != nil {
					s.deps.Answer = func(_ context.Context, at gateway.Address, command string) string {
						return fmt.Sprintf("%s of %s: %d", command, at.ID, len(s.Here(at)))
					}
				}
			}, topical())
			r.isReady()
			formatting(t, r, p)
			topics(t, r, p)
			p.write("PRIVMSG lb :who")
			if _, err := p.Hear(t.Context(), "who of #lobby: 1"); err != nil {
				t.Error(err)
			}
			comings(t, r, p, startPeerAs(t, "Carol", ircd.plain, wire, "#lobby"))
			if !old {
				colours(t, r, p)
			}
		})
	}
}

// bold is a delivery of a text in bold.
func bold(key, text string) gateway.Delivery {
	d := delivery(key, "")
	d.Event.Body = gateway.Message{Text: gateway.Text{Plain: text, Marks: []gateway.Mark{{Start: 0, End: len(text), Style: gateway.MarkBold}}}}
	return d
}

func formatting(t *testing.T, r *rig, p *peer) {
	t.Helper()
	if o := r.one(r.deliver(bold("f1", "loud"))); o.Err != nil {
		t.Fatal(o.Err)
	}
	if shown, err := p.Hear(t.Context(), "loud"); err != nil || shown != said("\x02loud\x0f") {
		t.Errorf("shown as %q, %v", shown, err)
	}
	p.write("PRIVMSG #lobby :an \x1ditalic\x1d word and a \x0301,01secret")
	ev := r.awaitText("an italic word and a secret")
	want := []gateway.Mark{{Start: 3, End: 9, Style: gateway.MarkItalic}, {Start: 21, End: 27, Style: gateway.MarkSpoiler}}
	if m, ok := ev.Body.(gateway.Message); !ok || !slices.Equal(m.Text.Marks, want) {
		t.Errorf("heard %+v", ev.Body)
	}
}

func topics(t *testing.T, r *rig, p *peer) {
	t.Helper()
	p.write("TOPIC #lobby :by the operator")
	r.await(isTopic("by the operator"))
	set := func(key, topic string) {
		t.Helper()
		if o := r.one(r.deliver(act(key, gateway.RoomState{Topic: &topic}))); o.Err != nil {
			t.Error(o.Err)
		}
	}
	set("t1", "by a stranger")
	if n := r.log.count("the topic cannot be set"); n != 1 {
		t.Errorf("logged %d times that we may not", n)
	}
	p.write("MODE #lobby -t")
	p.write("PRIVMSG #lobby :now you may")
	r.awaitText("now you may")
	set("t2", "by the bridge")
	if err := p.await(t.Context(), "the topic", func(seen []*girc.Event) bool {
		return slices.ContainsFunc(seen, func(e *girc.Event) bool { return e.Command == girc.TOPIC && e.Last() == "by the bridge" })
	}); err != nil {
		t.Error(err)
	}
	p.write("PRIVMSG #lobby :behind the topic")
	r.awaitText("behind the topic")
	for _, ev := range r.inbox.Heard() {
		if isTopic("by the bridge")(ev) {
			t.Errorf("we heard our own topic: %+v", ev)
		}
	}
}

// comings: carol comes, changes her nick, and is thrown out.
func comings(t *testing.T, r *rig, p, carol *peer) {
	t.Helper()
	carol.write("NICK Caroline")
	r.await(func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Rename && m.Who.Name == "Caroline"
	})
	p.write("KICK #lobby Caroline :go")
	ev := r.await(func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Kick
	})
	if m, ok := ev.Body.(gateway.Membership); !ok || m.Who.ID != "caroline" || m.By.ID != p.ID() || m.Reason != "go" {
		t.Errorf("heard %+v", ev.Body)
	}
	if got := strings.Join(r.members(), "|"); got != "join bob{x} quiet|join carol|rename caroline|kick caroline" {
		t.Errorf("heard of members %q", got)
	}
}

// colours: a channel that takes none says so when we come in, and by its modes.
func colours(t *testing.T, r *rig, p *peer) {
	t.Helper()
	marks := func(want bool) {
		t.Helper()
		if r.side.Caps(lobby().Address).Marks != want {
			t.Errorf("marks are %v", !want)
		}
	}
	marks(true)
	p.write("MODE #lobby +c")
	p.write("PRIVMSG #lobby :no colours")
	r.awaitText("no colours")
	marks(false)
	// Told too late, the refusal says so as well.
	r.side.relay.mu.Lock()
	r.side.relay.byID["#lobby"].plain = false
	r.side.relay.mu.Unlock()
	if o := r.one(r.deliver(bold("c1", "too bold"))); !gateway.IsPlainer(o.Err) {
		t.Errorf("outcome %+v", o)
	}
	marks(false)
}
