//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"lockbridge/testbed/peers"
)

func TestFormatting(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		part(t, "xmpp", func(ctx context.Context, t *testing.T) {
			id := text("xf")
			must[string](t)(k.sendX(ctx, id+" *strong* _emph_ ~gone~ `code`\n> quoted "+id+"\n```\nblock of "+id+"\n```"))
			e := k.onMatrix(ctx, t, id)
			html := e.Value("formatted_body")
			for _, part := range []string{"<strong>strong</strong>", "<em>emph</em>", "<del>gone</del>", "<code>code</code>", "<blockquote>", "<pre><code>block of " + id} {
				if !strings.Contains(html, part) {
					t.Errorf("on Matrix there is no %s in %s", part, html)
				}
			}
			l := k.onIRC(ctx, t, id)
			for _, part := range []string{"\x02strong\x02", "\x1demph\x1d", "\x1egone\x1e", "\x11code\x11"} {
				if !strings.Contains(l.Text(), part) && !strings.Contains(l.Text(), strings.TrimRight(part, "\x02\x1d\x1e\x11")+"\x0f") {
					t.Errorf("on IRC there is no %q in %q", part, l.Text())
				}
			}
			k.onIRC(ctx, t, "> quoted "+id)
			if l := k.onIRC(ctx, t, "block of "+id); !strings.Contains(l.Text(), "\x11") {
				t.Errorf("on IRC the block is %q", l.Text())
			}
		})
		part(t, "matrix", func(ctx context.Context, t *testing.T) {
			id := text("mf")
			must[string](t)(k.Matrix.SaySome(ctx, k.MatrixRoom, peers.Message("see HTML "+id, id+` <b>strong</b> <i>emph</i> <u>under</u> <del>gone</del> <code>code</code> <a href="https://example.org/`+id+`">a link</a>`+
				`<blockquote><p>quoted `+id+`</p></blockquote><ul><li>one</li><li>two `+id+`</li></ul><ol start="3"><li>three `+id+`</li></ol><pre><code class="language-go">block of `+id+`</code></pre>`)))
			got := k.onXMPP(ctx, t, id).Text()
			for _, part := range []string{"*strong*", "_emph_", "~gone~", "`code`", "under", "a link (https://example.org/" + id + ")", "> quoted", "• one", "3. three", "\n```go\nblock of " + id + "\n```"} {
				if !strings.Contains(got, part) {
					t.Errorf("on XMPP there is no %q in %q", part, got)
				}
			}
			l := k.onIRC(ctx, t, id)
			for _, part := range []string{"\x02strong", "\x1demph", "\x1funder", "\x1egone", "\x11code", "a link (https://example.org/" + id + ")"} {
				if !strings.Contains(l.Text(), part) {
					t.Errorf("on IRC there is no %q in %q", part, l.Text())
				}
			}
			for _, line := range []string{"> quoted " + id, "• two " + id, "3. three " + id} {
				k.onIRC(ctx, t, line)
			}
			if l := k.onIRC(ctx, t, "block of "+id); !strings.Contains(l.Text(), "\x11") {
				t.Errorf("on IRC the block is %q", l.Text())
			}
		})
		part(t, "irc", func(ctx context.Context, t *testing.T) {
			id := text("if")
			ok(t, k.IRC.Say(k.Channel, id+" \x02strong\x02 \x1demph\x1d \x1funder\x1f \x1egone\x1e \x11code\x11 \x0304red\x03 end"))
			html := k.onMatrix(ctx, t, id).Value("formatted_body")
			for _, part := range []string{"<strong>strong</strong>", "<em>emph</em>", "<u>under</u>", "<del>gone</del>", "<code>code</code>", "red end"} {
				if !strings.Contains(html, part) {
					t.Errorf("on Matrix there is no %s in %s", part, html)
				}
			}
			if got := k.onXMPP(ctx, t, id).Text(); !strings.Contains(got, "*strong* _emph_ under ~gone~ `code` red end") {
				t.Errorf("on XMPP it reads %q", got)
			}
		})
	})
}

// What somebody does is told so everywhere.
func TestEmotes(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		onMatrix := func(what string) {
			t.Helper()
			if e := k.onMatrix(ctx, t, what); e.Value("msgtype") != "m.emote" || e.Text() != what {
				t.Errorf("on Matrix it is %s", e)
			}
		}
		onXMPP := func(what string) {
			t.Helper()
			if e := k.onXMPP(ctx, t, what); e.Text() != "/me "+what {
				t.Errorf("on XMPP it is %q", e.Text())
			}
		}
		onIRC := func(what, name string) {
			t.Helper()
			if l := k.onIRC(ctx, t, what); !strings.HasPrefix(visible(l.Text()), "* "+name+" ") {
				t.Errorf("on IRC it is %s", l)
			}
		}
		what := text("bows")
		must[string](t)(k.sendX(ctx, "/me "+what))
		onMatrix(what)
		onIRC(what, "Juliet")
		what = text("nods")
		must[string](t)(k.Matrix.SaySome(ctx, k.MatrixRoom, map[string]any{"msgtype": "m.emote", "body": what}))
		onXMPP(what)
		onIRC(what, "Montague")
		what = text("laughs")
		ok(t, k.IRC.Say(k.Channel, "\x01ACTION "+what+"\x01"))
		onXMPP(what)
		onMatrix(what)
	})
}

// XEP-0394 is read instead of signs; a sealed room's servers could forge it, so it counts there only inside an envelope.
func TestMarkupBesideTheText(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		id := text("markup")
		words := "strong one two " + id
		must[string](t)(k.sendX(ctx, words, peers.Markup("<span start='0' end='6'><strong/></span>")))
		html := k.onMatrix(ctx, t, id).Value("formatted_body")
		if strings.Contains(html, "<strong>strong</strong>") != (k.kind != legacy) {
			t.Errorf("on Matrix it is %q", html)
		}
		id = text("list")
		first, second := "one "+id, "two "+id
		must[string](t)(k.sendX(ctx, first+"\n"+second, peers.Markup(fmt.Sprintf("<list start='0' end='%d'><li start='0'/><li start='%d'/></list>", len(first)+1+len(second), len(first)+1))))
		html = k.onMatrix(ctx, t, id).Value("formatted_body")
		if strings.Contains(html, "<li>"+second) != (k.kind != legacy) {
			t.Errorf("on Matrix it is %q", html)
		}
		if k.kind != legacy {
			k.onIRC(ctx, t, "• "+first)
		}
	})
}

func TestSpoilers(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		words := text("Romeo dies")
		must[string](t)(k.sendX(ctx, words, peers.Spoiler("the end")))
		if html := k.onMatrix(ctx, t, words).Value("formatted_body"); !strings.Contains(html, "data-mx-spoiler") {
			t.Errorf("on Matrix it is %q", html)
		}
		if l := k.onIRC(ctx, t, words); !strings.Contains(l.Text(), "\x0301,01") {
			t.Errorf("on IRC it is %q", l.Text())
		}
		words = text("Juliet wakes")
		must[string](t)(k.Matrix.SaySome(ctx, k.MatrixRoom, peers.Message(words, `<span data-mx-spoiler="the end">`+words+`</span>`)))
		e := k.onXMPP(ctx, t, words)
		reason, shown := "the end", words
		if k.kind == legacy { // beside the ciphertext it would be in the clear
			reason, shown = "", "(spoiler: the end) "+words
		}
		if spoiler, there := e.Element(peers.NSSpoiler, "spoiler"); !there || spoiler.Text != reason || e.Text() != shown {
			t.Errorf("on XMPP it is %s %s", e.XML, e.Content)
		}
		if l := k.onIRC(ctx, t, words); !strings.Contains(l.Text(), "\x0301,01") {
			t.Errorf("on IRC it is %q", l.Text())
		}
		words = text("both are dead")
		ok(t, k.IRC.Say(k.Channel, "\x0301,01"+words+"\x03"))
		if html := k.onMatrix(ctx, t, words).Value("formatted_body"); !strings.Contains(html, "data-mx-spoiler") {
			t.Errorf("on Matrix it is %q", html)
		}
		if _, there := k.onXMPP(ctx, t, words).Element(peers.NSSpoiler, "spoiler"); !there {
			t.Error("on XMPP it is no spoiler")
		}
	})
}

func TestMentions(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		juliet := k.fromX(ctx, t, text("here is Juliet")).m.Sender // her ghost
		m, i := k.fromM(ctx, t, text("here is Montague")), k.fromI(ctx, t, text("here is Mercutio"))
		_, montague, _ := strings.Cut(m.x.From, "/")
		_, mercutio, _ := strings.Cut(i.x.From, "/")
		part(t, "xmpp", func(ctx context.Context, t *testing.T) {
			words := text("a word with you")
			must[string](t)(k.sendX(ctx, montague+": "+words, peers.Mention(0, len([]rune(montague)), m.x.From)))
			if e := k.onMatrix(ctx, t, words); len(e.Mentions()) != 1 || e.Mentions()[0] != k.Matrix.UserID || !strings.Contains(e.Value("formatted_body"), "https://matrix.to/#/") {
				t.Errorf("on Matrix it is %s", e)
			}
			words = text("and with you")
			must[string](t)(k.sendX(ctx, mercutio+": "+words))
			if l := k.onIRC(ctx, t, words); !strings.Contains(l.Text(), k.IRC.Nick+": "+words) {
				t.Errorf("on IRC it is %q", l.Text())
			}
		})
		part(t, "matrix", func(ctx context.Context, t *testing.T) {
			words := text("it is you I mean")
			must[string](t)(k.Matrix.SaySome(ctx, k.MatrixRoom, peers.Message("Juliet: "+words, peers.Pill(juliet, "Juliet")+": "+words)))
			e := k.onXMPP(ctx, t, words)
			if _, named := e.Element(peers.NSReference, "reference"); !strings.Contains(e.Text(), "Juliet: "+words) || named != (k.kind != legacy) {
				t.Errorf("on XMPP it is %s %s", e.XML, e.Content)
			}
			words = text("or you")
			must[string](t)(k.Matrix.SaySome(ctx, k.MatrixRoom, peers.Message("Mercutio "+words, peers.Pill(i.m.Sender, "Mercutio")+" "+words)))
			if l := k.onIRC(ctx, t, words); !strings.Contains(l.Text(), k.IRC.Nick+" "+words) {
				t.Errorf("on IRC it is %q", l.Text())
			}
		})
		part(t, "irc", func(ctx context.Context, t *testing.T) {
			words := text("hear me")
			ok(t, k.IRC.Say(k.Channel, montague+": "+words))
			if e := k.onMatrix(ctx, t, words); len(e.Mentions()) != 1 || e.Mentions()[0] != k.Matrix.UserID {
				t.Errorf("on Matrix it is %s", e)
			}
			words = text("hear me as well")
			ok(t, k.IRC.Say(k.Channel, "Juliet: "+words))
			if e := k.onXMPP(ctx, t, words); !strings.Contains(e.Text(), "Juliet: "+words) {
				t.Errorf("on XMPP it is %q", e.Text())
			}
		})
	})
}

func TestNobodyIsPingedByAccident(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		m := k.fromM(ctx, t, text("I am Montague"))
		_, montague, _ := strings.Cut(m.x.From, "/")
		says := map[string]func(words string){
			"xmpp":   func(words string) { must[string](t)(k.sendX(ctx, words)) },
			"matrix": func(words string) { must[string](t)(k.Matrix.Say(ctx, k.MatrixRoom, words)) },
			"irc":    func(words string) { ok(t, k.IRC.Say(k.Channel, words)) },
		}
		names := map[string]string{"xmpp": "<Juliet>", "matrix": "<Montague>"}
		for from, say := range says {
			for _, words := range []string{"@room everyone come", "I have met " + montague + " and Juliet", "the " + k.Matrix.UserID + " was there"} {
				words = text(words)
				say(words)
				if from != "matrix" {
					e := k.onMatrix(ctx, t, words)
					if len(e.Mentions()) != 0 || e.Get("m.mentions", "room") != nil || e.Get("m.mentions") == nil {
						t.Errorf("from %s, on Matrix it is %s", from, e)
					}
				}
				if from != "xmpp" {
					e := k.onXMPP(ctx, t, words)
					if reference, there := e.Element(peers.NSReference, "reference"); there {
						t.Errorf("from %s, on XMPP it calls %+v", from, reference)
					}
				}
				if from != "irc" {
					l := k.onIRC(ctx, t, words[strings.LastIndex(words, " ")+1:])
					if !strings.HasPrefix(visible(l.Text()), names[from]) || strings.HasPrefix(l.Text(), names[from]) {
						t.Errorf("on IRC the name would ping somebody who is called so: %q", l.Text())
					}
				}
			}
		}
	})
}

func TestLongText(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		id := text("line")
		var lines []string
		for n := range 40 {
			lines = append(lines, fmt.Sprintf("%s number %d", id, n+1))
		}
		whole := strings.Join(lines, "\n")
		must[string](t)(k.Matrix.Say(ctx, k.MatrixRoom, whole))
		if e := k.onXMPP(ctx, t, id); e.Text() != whole {
			t.Errorf("on XMPP it is %q", e.Text())
		}
		k.onIRC(ctx, t, id+" number 1")
		k.restBehindALink(ctx, t, 0, lines[39])
		at := k.IRC.Mark()
		must[string](t)(k.sendX(ctx, strings.ReplaceAll(whole, id, id+"x")))
		k.restBehindALink(ctx, t, at, id+"x number 40")
		if e := k.onMatrix(ctx, t, id+"x"); e.Text() != strings.ReplaceAll(whole, id, id+"x") {
			t.Errorf("on Matrix it is %q", e.Text())
		}
	}, plain, legacy)
}

// restBehindALink awaits the line that ends a long text on IRC and follows its link.
func (k *talk) restBehindALink(ctx context.Context, t *testing.T, mark int, words string) {
	t.Helper()
	more := must[peers.IRCLine](t)(k.IRC.AwaitAfter(ctx, mark, "the link to the rest", func(l peers.IRCLine) bool {
		return strings.Contains(l.Text(), "(30 more lines: http")
	}))
	if got, _ := must2[[]byte, http.Header](t)(k.Bed.Fetch(ctx, linkIn(more.Text()))); !strings.Contains(string(got), words) {
		t.Errorf("the link leads to %q", got)
	}
}

// Whoever asks is answered in their own room, with who is in the two others, and with what there is to know.
func TestWhoIsThere(t *testing.T) {
	inTalks(t, func(ctx context.Context, t *testing.T, k *talk) {
		for command, answers := range map[string]map[string][]string{
			"!who":  {"xmpp": {"On irc: ", k.IRC.Nick, "On matrix: ", "Montague"}, "matrix": {"On irc: ", k.IRC.Nick, "On xmpp: ", "Juliet"}, "irc": {"On matrix: ", "Montague", "On xmpp: ", "Juliet"}},
			"!help": {"xmpp": {"!who", k.Channel}, "matrix": {"!who", k.Channel}, "irc": {"!who", k.Room}},
		} {
			fits := func(answer, network string) bool {
				return !slices.ContainsFunc(answers[network], func(part string) bool { return !strings.Contains(visible(answer), part) })
			}
			must[string](t)(k.sendX(ctx, command))
			e := must[peers.XMPPEvent](t)(k.Owner.Await(ctx, "the answer to "+command, func(e peers.XMPPEvent) bool {
				return e.Kind == "message" && e.Real == k.Lockbridge.Slot.JID() && fits(e.Text(), "xmpp")
			}))
			if e.Encrypted != k.sealed() {
				t.Errorf("the answer is %q, sealed: %v", e.Text(), e.Encrypted)
			}
			must[string](t)(k.Matrix.Say(ctx, k.MatrixRoom, command))
			must[peers.MatrixEvent](t)(k.Matrix.Await(ctx, "the answer to "+command, func(e peers.MatrixEvent) bool {
				return e.Room == k.MatrixRoom && strings.HasPrefix(e.Sender, "@"+k.Lockbridge.Slot.Nick+":") && fits(e.Text(), "matrix")
			}))
			ok(t, k.IRC.Say(k.Channel, command))
			must[peers.IRCLine](t)(k.IRC.Await(ctx, "the answer to "+command, func(l peers.IRCLine) bool {
				return l.Nick() == k.Lockbridge.Slot.Nick && fits(l.Text(), "irc")
			}))
		}
	}, plain, legacy)
}
