//go:build e2e

package peers

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"testing"
)

// What clients can do with each other, without Lockbridge, on the real servers: what end-to-end tests rely on.

// couple is two members of a room, both in it.
func couple(ctx context.Context, t *testing.T, b *Bed, versions []string) (juliet, romeo *XMPPClient, room string) {
	t.Helper()
	juliet, romeo = memberWith(ctx, t, b, "juliet", versions), memberWith(ctx, t, b, "romeo", versions)
	room = Unique("orchard") + "@conference." + b.Host
	ok(t, juliet.CreateRoom(ctx, room, "Juliet", true, romeo.JID))
	ok(t, romeo.Join(ctx, room, "Romeo"))
	_, err := juliet.AwaitOccupant(ctx, room, romeo.JID)
	ok(t, err)
	return juliet, romeo, room
}

func TestMembersEditReplyReactAndRetract(t *testing.T) {
	ctx, b := start(t)
	juliet, romeo, room := couple(ctx, t, b, nil)
	id, err := juliet.Send(ctx, room, Words{Text: "O Romeo"})
	ok(t, err)
	own, err := juliet.AwaitOwn(ctx, room, id)
	ok(t, err)
	first, err := romeo.AwaitText(ctx, room, "O Romeo")
	ok(t, err)
	if first.StanzaID == "" || first.StanzaID != own.StanzaID {
		t.Fatalf("the stanza-ids are %q and %q", first.StanzaID, own.StanzaID)
	}
	_, err = juliet.Send(ctx, room, Words{Text: "O Romeo, Romeo", Beside: []string{Replace(id)}})
	ok(t, err)
	corrected, err := romeo.AwaitText(ctx, room, "O Romeo, Romeo")
	ok(t, err)
	if corrected.Replace != id {
		t.Errorf("it corrects %q, not %q", corrected.Replace, id)
	}
	const quote = "> O Romeo\n"
	_, err = romeo.Send(ctx, room, Words{Text: quote + "Shall I speak?", Beside: append(Reply(first.From, first.StanzaID, len(quote)), Thread("t1"))})
	ok(t, err)
	_, err = romeo.Send(ctx, room, Words{Beside: []string{React(first.StanzaID, "👍", "❤️")}})
	ok(t, err)
	_, err = juliet.AwaitElement(ctx, 0, room, NSReply, "reply", func(e Element) bool { return e.Attr("id") == own.StanzaID })
	ok(t, err)
	_, err = juliet.AwaitElement(ctx, 0, room, NSReactions, "reactions", func(e Element) bool { return len(e.Children) == 2 && e.Children[1].Text == "❤️" })
	ok(t, err)
	_, err = juliet.Send(ctx, room, Words{Beside: []string{Retract(own.StanzaID)}})
	ok(t, err)
	_, err = romeo.AwaitElement(ctx, 0, room, NSRetract, "retract", nil)
	ok(t, err)
	for _, act := range []string{ChatState("composing"), Displayed(own.StanzaID), Subject("The orchard")} {
		_, err = juliet.Send(ctx, room, Words{Beside: []string{act}})
		ok(t, err)
	}
	_, err = romeo.AwaitElement(ctx, 0, room, NSStates, "composing", nil)
	ok(t, err)
	_, err = romeo.AwaitElement(ctx, 0, room, NSMarkers, "displayed", nil)
	ok(t, err)
	_, err = romeo.AwaitElement(ctx, 0, room, NSClient, "subject", func(e Element) bool { return e.Text == "The orchard" })
	ok(t, err)
}

func TestElementsTravelInTheEnvelope(t *testing.T) {
	ctx, b := start(t)
	juliet, romeo, room := couple(ctx, t, b, Two)
	_, err := juliet.SendSealed(ctx, room, Words{Text: "In the envelope", Inside: []string{Spoiler("secret")}, Beside: []string{Thread("beside")}})
	ok(t, err)
	e, err := romeo.AwaitSealed(ctx, room, "In the envelope")
	ok(t, err)
	if spoiler, there := e.Element(NSSpoiler, "spoiler"); !there || spoiler.Text != "secret" {
		t.Errorf("the envelope holds %s", e.Content)
	}
	if _, there := e.Element(NSClient, "thread"); there {
		t.Error("what stood beside the envelope counts as in it")
	}
	_, err = juliet.SendSealed(ctx, room, Words{Inside: []string{React(e.StanzaID, "👍")}})
	ok(t, err)
	reaction, err := romeo.AwaitElement(ctx, 0, room, NSReactions, "reactions", nil)
	ok(t, err)
	if _, beside := reaction.Beside(NSReactions, "reactions"); beside || reaction.Body != nil {
		t.Errorf("it came as %s", reaction.XML)
	}
}

func TestARoomsOwnerModerates(t *testing.T) {
	ctx, b := start(t)
	juliet, romeo, room := couple(ctx, t, b, nil)
	ok(t, romeo.Say(ctx, room, "By the moon"))
	said, err := juliet.AwaitText(ctx, room, "By the moon")
	ok(t, err)
	ok(t, juliet.Moderate(ctx, room, said.StanzaID, "it changes"))
	e, err := romeo.AwaitElement(ctx, 0, room, NSFasten, "apply-to", nil)
	ok(t, err)
	if e.From != room {
		t.Errorf("it came from %s", e.From)
	}
	ok(t, juliet.Kick(ctx, room, "Romeo", "swear not"))
	_, err = romeo.Await(ctx, "his own kick", func(e XMPPEvent) bool {
		return e.Kind == "presence" && e.Type == "unavailable" && e.Reason == "swear not"
	})
	ok(t, err)
}

// noise is a file that no one has seen before.
func noise(size int) []byte {
	data := make([]byte, size)
	rand.Read(data)
	return data
}

func TestFilesAreUploadedAndFetched(t *testing.T) {
	ctx, b := start(t)
	juliet, romeo, room := couple(ctx, t, b, Both)
	f := Content{Name: "cat.png", MIME: "image/png", Data: noise(200_000), Width: 20, Height: 10, Blurhash: "LEHV6nWB2yk8pyo0adR*.7kCMdnj"}
	link, err := juliet.Upload(ctx, b, f)
	ok(t, err)
	if !strings.HasPrefix(link, "https://") {
		t.Fatalf("the link is %s", link)
	}
	got, header, err := b.Fetch(ctx, link)
	ok(t, err)
	if !bytes.Equal(got, f.Data) || header.Get("Content-Type") != f.MIME {
		t.Errorf("%d bytes of %s", len(got), header.Get("Content-Type"))
	}
	link, key, nonce, err := juliet.UploadSealed(ctx, b, f)
	ok(t, err)
	_, err = juliet.SendSealed(ctx, room, Words{Text: AESGCM(link, key, nonce), Versions: Legacy})
	ok(t, err)
	e, err := romeo.AwaitSealed(ctx, room, "aesgcm://")
	ok(t, err)
	if got, _, err = b.Fetch(ctx, e.Text()); err != nil || !bytes.Equal(got, f.Data) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	sealed, _, err := b.Fetch(ctx, link)
	ok(t, err)
	_, err = juliet.SendSealed(ctx, room, Words{Inside: []string{Sharing(f, SealedAt(link, key, nonce, sealed))}, Versions: Two})
	ok(t, err)
	e, err = romeo.AwaitElement(ctx, 0, room, NSSharing, "file-sharing", nil)
	ok(t, err)
	sharing, _ := e.Element(NSSharing, "file-sharing")
	if got, err = b.OpenSharing(ctx, sharing); err != nil || !bytes.Equal(got, f.Data) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
}

func TestAPictureIsSeenInARoom(t *testing.T) {
	ctx, b := start(t)
	juliet, romeo, room := couple(ctx, t, b, nil)
	ok(t, romeo.SetPicture(ctx, room, "Romeo", PNG(3)))
	_, err := juliet.Await(ctx, "his picture's hash", func(e XMPPEvent) bool { return e.Kind == "presence" && e.Nick == "Romeo" && e.Photo != "" })
	ok(t, err)
	got, err := juliet.Picture(ctx, room+"/Romeo")
	ok(t, err)
	if !bytes.Equal(got, PNG(3)) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestMatrixUsersDoMoreThanTalk(t *testing.T) {
	ctx, b := start(t)
	sampson, gregory, room := street(ctx, t, b)
	event, err := sampson.Say(ctx, room, "Draw thy tool")
	ok(t, err)
	_, err = gregory.AwaitText(ctx, room, "Draw thy tool")
	ok(t, err)
	_, err = sampson.Edit(ctx, room, event, "Draw thy sword")
	ok(t, err)
	_, err = gregory.AwaitEdit(ctx, room, event, "Draw thy sword")
	ok(t, err)
	for _, say := range []func(context.Context, string, string, string) (string, error){gregory.Reply, gregory.Thread} {
		_, err = say(ctx, room, event, "My naked weapon is out")
		ok(t, err)
	}
	_, err = sampson.Await(ctx, "the reply in the thread", func(e MatrixEvent) bool { return e.Value("m.relates_to", "rel_type") == "m.thread" })
	ok(t, err)
	reaction, err := gregory.React(ctx, room, event, "👍")
	ok(t, err)
	_, err = sampson.AwaitReaction(ctx, 0, room, event, "👍")
	ok(t, err)
	ok(t, gregory.Redact(ctx, room, reaction, ""))
	_, err = sampson.AwaitRedaction(ctx, room, reaction)
	ok(t, err)
	ok(t, gregory.Typing(ctx, room, true))
	_, err = sampson.AwaitTyping(ctx, 0, room, "capulet", true)
	ok(t, err)
	ok(t, gregory.Read(ctx, room, event))
	_, err = sampson.AwaitRead(ctx, room, event, "capulet")
	ok(t, err)
	for _, encrypted := range []bool{false, true} {
		_, err = gregory.SendFile(ctx, room, MatrixFile{Content: Content{Name: "plan.pdf", MIME: "application/pdf", Data: noise(50_000)}, Encrypted: encrypted})
		ok(t, err)
	}
	e, err := sampson.AwaitFile(ctx, room, "plan.pdf")
	ok(t, err)
	got, err := sampson.Open(ctx, e)
	ok(t, err)
	if len(got) != 50_000 {
		t.Errorf("%d bytes", len(got))
	}
	ok(t, gregory.SetPicture(ctx, PNG(4)))
	_, picture, err := sampson.Profile(ctx, gregory.UserID)
	ok(t, err)
	got, _, err = sampson.Download(ctx, picture)
	ok(t, err)
	if !bytes.Equal(got, PNG(4)) {
		t.Errorf("%d bytes", len(got))
	}
	ok(t, sampson.SetState(ctx, room, "m.room.topic", "", map[string]any{"topic": "A brawl"}))
	_, err = gregory.AwaitState(ctx, 0, room, "m.room.topic", func(e MatrixEvent) bool { return e.Value("topic") == "A brawl" })
	ok(t, err)
	ok(t, sampson.SetPower(ctx, room, gregory.UserID, 50))
	ok(t, sampson.Kick(ctx, room, gregory.UserID, "peace"))
	_, err = sampson.AwaitMember(ctx, 0, room, gregory.UserID, "leave")
	ok(t, err)
}

func TestIRCUsersTagWhatTheySay(t *testing.T) {
	ctx, b := start(t)
	channel := "#" + Unique("verona")
	var people []*IRC
	for _, nick := range []string{"sampson", "gregory"} {
		c, err := DialIRC(ctx, b, Unique(nick), false, nil)
		ok(t, err)
		t.Cleanup(c.Close)
		ok(t, c.EnableTags(ctx))
		ok(t, c.Join(ctx, channel))
		people = append(people, c)
	}
	sampson, gregory := people[0], people[1]
	ok(t, sampson.Say(channel, "I strike quickly"))
	id, err := sampson.AwaitOwn(ctx, channel, "I strike quickly")
	ok(t, err)
	l, err := gregory.AwaitText(ctx, channel, "I strike quickly")
	ok(t, err)
	if id == "" || l.Tag("msgid") != id {
		t.Fatalf("the ids are %q and %q", id, l.Tag("msgid"))
	}
	ok(t, gregory.SayTagged(channel, "But thou art not quickly moved", map[string]string{"+draft/reply": id}))
	l, err = sampson.AwaitText(ctx, channel, "not quickly moved")
	ok(t, err)
	if l.Tag("+draft/reply") != id {
		t.Errorf("the tags are %s", l.Tags)
	}
	ok(t, gregory.TagMessage(channel, map[string]string{"+draft/reply": id, "+draft/react": "👍"}))
	_, err = sampson.AwaitTag(ctx, 0, channel, "+draft/react", func(l IRCLine) bool { return l.Tag("+draft/react") == "👍" && l.Tag("+draft/reply") == id })
	ok(t, err)
	ok(t, gregory.TagMessage(channel, map[string]string{"+typing": "active"}))
	_, err = sampson.AwaitTag(ctx, 0, channel, "+typing", nil)
	ok(t, err)
	ok(t, sampson.SetTopic(ctx, channel, "A dog of that house"))
	_, err = gregory.AwaitTopic(ctx, 0, channel, "A dog of that house")
	ok(t, err)
	names, err := gregory.Names(ctx, channel)
	ok(t, err)
	if len(names) != 2 {
		t.Errorf("in the channel are %q", names)
	}
}
