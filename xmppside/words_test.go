package xmppside

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

// readAs tells what is made of a stanza as if its body had come in each of the ways in which one can come.
func readAs(t *testing.T, raw []byte) map[string]gateway.Body {
	t.Helper()
	m, err := parseMessage(raw, nil)
	must(t, err)
	c := decodeContent(m, "r@c")
	where := fakeScene
	alice := gateway.Person{Network: "matrix", ID: "@alice:test", Name: "Alice"}
	where.named = func(uri string) gateway.Person {
		if uri == `xmpp:alice%5C3atest%25matrix@bridge.test` {
			return alice
		}
		return gateway.Person{}
	}
	where.nicks = func() map[string]gateway.Person {
		return map[string]gateway.Person{"Alice": alice, "Al": {Network: "matrix", ID: "@al:test"}}
	}
	out := map[string]gateway.Body{}
	add := func(how string, c content, sealed gateway.Sealing) {
		out[how] = nil
		if c.isMute() {
			return
		}
		if ev := c.event(fakePerson, "", sealed, where); ev != nil {
			out[how] = ev.Body
		}
	}
	add("plain", c, gateway.Sealing{})
	legacy, dropped := c, c
	legacy.relations, dropped.relations = c.beside(true), c.beside(false)
	if c.hasBody {
		add("legacy", legacy, fakeSealing)
		add("legacy, drop", dropped, fakeSealing)
	}
	outside := c
	outside.body, outside.hasBody = "", false
	add("omemo 2", outside.within(m.node), fakeSealing)
	add("omemo 2, all outside", outside.within(el("", "content").add(el(nsClient, "body").say("sealed"))), fakeSealing)
	return out
}

// TestDecodeWords reads what clients send, as it comes in a room that is not sealed, sealed with the rest beside it in the
// clear, and sealed with the rest in the envelope.
func TestDecodeWords(t *testing.T) {
	cases, err := filepath.Glob("testdata/words/in-*.xml")
	must(t, err)
	if len(cases) < 20 {
		t.Fatal("there are no cases")
	}
	for _, file := range cases {
		raw, err := os.ReadFile(file)
		must(t, err)
		var b strings.Builder
		read := readAs(t, raw)
		for _, how := range []string{"plain", "legacy", "legacy, drop", "omemo 2", "omemo 2, all outside"} {
			body, there := read[how]
			if !there || how == "omemo 2, all outside" {
				continue
			}
			b.WriteString(how + ": ")
			if body != nil {
				b.WriteString(body.Kind() + " ")
			}
			text, err := json.Marshal(body)
			must(t, err)
			b.Write(text)
			b.WriteByte('\n')
		}
		golden(t, "words/"+strings.TrimSuffix(filepath.Base(file), "xml")+"golden", b.String())
		if m, ok := read["omemo 2, all outside"].(gateway.Message); !ok || m.Text.Plain != "sealed" || len(m.Text.Marks) > 0 || !m.ReplyTo.IsZero() || !m.Thread.IsZero() || len(m.Files) > 0 {
			t.Errorf("%s: outside of an envelope it makes %+v", file, read["omemo 2, all outside"])
		}
	}
}

// TestEncodeWords: what is written of each body, where nothing is sealed, for the legacy version, for both values of the
// metadata setting, and for OMEMO 2.
func TestEncodeWords(t *testing.T) {
	alice := gateway.Person{Network: "matrix", ID: "@alice:test", Name: "Alice"}
	bold := gateway.Text{Plain: "so bold", Marks: []gateway.Mark{{Start: 3, End: 7, Style: gateway.MarkBold}}}
	named := gateway.Text{Plain: "äh Alice", Marks: []gateway.Mark{{Start: 4, End: 9, Style: gateway.MarkMention, Who: alice}}}
	hidden := gateway.Text{Plain: "the butler", Marks: []gateway.Mark{{Start: 0, End: 10, Style: gateway.MarkSpoiler, Arg: "who it was"}}}
	how := phrasing{named: func(who gateway.Person) (nick, uri string) {
		if who.ID == alice.ID {
			return "Alice [m]", "xmpp:r@c/Alice%20%5Bm%5D"
		}
		return "", ""
	}}
	reply := how
	reply.answers = answered{id: "sid-1", to: "r@c/Romeo", name: "Romeo", text: "one\ntwo"}
	thread, relay := how, how
	thread.thread, relay.prefix = "a-thread", "Alice"
	for name, c := range map[string]func(phrasing) utterance{
		"text": func(p phrasing) utterance { return encodeMessage(gateway.Message{Text: bold}, p) },
		"unstyled": func(p phrasing) utterance {
			return encodeMessage(gateway.Message{Text: gateway.Text{Plain: "*no*"}}, p)
		},
		"mention": func(p phrasing) utterance { return encodeMessage(gateway.Message{Text: named}, p) },
		"spoiler": func(p phrasing) utterance { return encodeMessage(gateway.Message{Text: hidden}, p) },
		"edit":    func(p phrasing) utterance { return encodeEdit(gateway.Edit{Text: bold}, "k-1", p) },
		"emote": func(p phrasing) utterance {
			return encodeMessage(gateway.Message{Text: bold, Style: gateway.StyleEmote}, p)
		},
		"retract": func(phrasing) utterance { return encodeRetract("sid-1", "") },
		"react": func(phrasing) utterance {
			return encodeReactions("sid-1", []string{"👍", "mxc", "❤️", "1️⃣"})
		},
		"no-react": func(phrasing) utterance { return encodeReactions("sid-1", nil) },
	} {
		golden(t, "words/out-"+name+".golden", spelled(c, how))
	}
	message := func(p phrasing) utterance { return encodeMessage(gateway.Message{Text: bold}, p) }
	quoting := func(p phrasing) utterance {
		return encodeMessage(gateway.Message{Text: gateway.Text{Plain: "said\nand I", Marks: []gateway.Mark{{Start: 0, End: 4, Style: gateway.MarkQuote}}}}, p)
	}
	golden(t, "words/out-reply.golden", spelled(message, reply))
	golden(t, "words/out-reply-with-a-quote.golden", spelled(quoting, reply))
	golden(t, "words/out-thread.golden", spelled(message, thread))
	golden(t, "words/out-relay.golden", spelled(message, relay))
	golden(t, "words/out-relay-with-a-quote.golden", spelled(quoting, relay))
}

func spelled(c func(phrasing) utterance, how phrasing) string {
	var b strings.Builder
	write := func(name string, nodes ...*node) {
		b.WriteString(name + ":\n")
		for _, n := range nodes {
			b.WriteString("  " + string(n.append(nil, "")) + "\n")
		}
	}
	how.metadata = true
	u := c(how)
	write("plain", u.plain...)
	write("legacy: "+u.legacy, u.beside...)
	write("omemo 2", u.two...)
	how.metadata = false
	write("legacy, drop: " + c(how).legacy)
	return b.String()
}

// TestWordsComeBack: what we write is read as what it was.
func TestWordsComeBack(t *testing.T) {
	how := phrasing{metadata: true, answers: answered{id: "sid-1", to: "r@c/Romeo", name: "Romeo", text: "> one\n```\ntwo"}, thread: "t-1"}
	want := gateway.Message{Text: gateway.Text{Plain: "yes *no*"}, ReplyTo: gateway.Ref{Native: "sid-1"}, Thread: gateway.Ref{Native: gateway.ThreadNative("t-1")}}
	u := encodeMessage(want, how)
	stanza := el(nsClient, "message", "type", "groupchat", "id", "m-1", "from", "r@c/Juliet").add(u.two...)
	for how, body := range readAs(t, stanza.append(nil, "")) {
		m, ok := body.(gateway.Message)
		switch how {
		case "plain", "legacy", "omemo 2":
			if !ok || m.Text.Plain != want.Text.Plain || len(m.Text.Marks) > 0 || m.ReplyTo.Native != "sid-1" || m.Thread.Native != "thread:t-1" {
				t.Errorf("%s: read back as %+v", how, body)
			}
		}
	}
}

// TestAFormerBearerOfTheNickChangesNothing: where a room hides who somebody is, they change what they said in the same
// stay, and nobody else's.
func TestAFormerBearerOfTheNickChangesNothing(t *testing.T) {
	f := newFakeServer(t)
	f.features = []string{nsSID}
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsNone))
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.ready }))
	appear := func(kind string) {
		f.set(func() {
			for full := range f.room {
				f.write(el("", "presence", "type", kind, "from", fakeRoom+"/Nemo", "to", full).add(el(nsMUCUser, "x").add(el(nsMUCUser, "item", "affiliation", "none", "role", "participant"))))
			}
		})
	}
	r.mu.Lock()
	r.nonAnonymous = false
	r.mu.Unlock()
	says := func(id string, kids ...*node) { f.set(func() { f.say("Nemo", id, kids...) }) }
	means := func(text string) gateway.Ref {
		t.Helper()
		ev, err := inbox.Await(t.Context(), text, func(ev *gateway.Event) bool {
			e, ok := ev.Body.(gateway.Edit)
			return ok && e.Text.Plain == text
		})
		must(t, err)
		return ev.Body.(gateway.Edit).Target
	}
	stands := func(ref gateway.Ref, ev *gateway.Event) bool {
		for _, alias := range ev.Also {
			if alias == ref.Native {
				return true
			}
		}
		return false
	}
	edit := func(id, of, text string) { says(id, body(text), el(nsCorrect, "replace", "id", of)) }
	appear("")
	must(t, r.await(t.Context(), func() bool { return r.occupants["Nemo"] != nil }))
	says("n1", body("a word"))
	word := heard(t, inbox, "a word")
	edit("n2", "n1", "a better word")
	if !stands(means("a better word"), word) {
		t.Error("who said it cannot change it")
	}
	appear("")
	edit("n3", "n1", "the best word")
	if !stands(means("the best word"), word) {
		t.Error("another presence made a stranger of them")
	}
	says("n4", el(nsRetract, "retract", "id", word.Native))
	appear("unavailable")
	appear("")
	edit("n5", "n1", "a stranger's word")
	if stands(means("a stranger's word"), word) {
		t.Error("whoever came after them changes it")
	}
	says("n6", el(nsRetract, "retract", "id", word.Native))
	says("n7", body("the end"))
	heard(t, inbox, "the end")
	var by []bool
	for _, ev := range inbox.Heard() {
		if b, ok := ev.Body.(gateway.Retract); ok {
			by = append(by, stands(b.Target, word))
		}
	}
	if len(by) != 2 || !by[0] || by[1] {
		t.Errorf("taken back by the right one: %v", by)
	}
}

// TestModeration: the room's own word counts, in both versions, and nobody else's.
func TestModeration(t *testing.T) {
	f := newFakeServer(t)
	f.features = append(f.features, nsModerate)
	side, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	r := side.room0()
	must(t, r.await(t.Context(), func() bool { return r.ready }))
	f.enter("Juliet", "juliet@test/phone", "owner")
	must(t, deliver(t, side, delivery(keyA, "a puppet is there", false)))
	v1 := func(by string) *node {
		return el(nsRetract, "retract", "id", "s1").add(el(nsModerate, "moderated", "by", by), el(nsRetract, "reason").say("rude"))
	}
	v0 := el(nsFasten, "apply-to", "id", "s2").add(el(nsModerated0, "moderated", "by", fakeRoom+"/Juliet").add(el(nsRetractOld, "retract"), el(nsModerated0, "reason").say("rude, too")))
	f.juliet(v1(fakeRoom + "/Juliet"))
	f.juliet(v0)
	room := func(kids ...*node) {
		f.set(func() {
			f.n++
			f.write(el("", "message", "type", "groupchat", "from", fakeRoom, "to", fakeSelf+"/"+resource, "id", "r").add(kids...).add(el(nsSID, "stanza-id", "by", fakeRoom, "id", "m"+time.Duration(f.n).String())))
		})
	}
	room(v1(fakeRoom + "/" + side.room0().nickIn(alicesPuppet)))
	room(v1(fakeRoom + "/lockbridge"))
	room(v1(fakeRoom + "/Juliet"))
	room(v0)
	room(v1("juliet@test"))
	f.juliet(body("the end"))
	heard(t, inbox, "the end")
	var got []string
	for _, ev := range inbox.Heard() {
		if b, ok := ev.Body.(gateway.Retract); ok {
			if !b.Moderated {
				t.Errorf("%+v is somebody's own", ev)
			}
			got = append(got, ev.Sender.ID+" "+b.Target.Native+" "+b.Reason)
		}
	}
	if want := "juliet@test s1 rude|juliet@test s2 rude, too|" + fakeRoom + " s1 rude"; strings.Join(got, "|") != want {
		t.Errorf("taken back: %q, want %q", got, want)
	}
}
