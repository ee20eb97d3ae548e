package matrixside

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
)

const sealedFile = `{"url":"mxc://example.org/sealed","v":"v2","key":{"kty":"oct","alg":"A256CTR","ext":true,"key_ops":["encrypt","decrypt"],"k":"aWF6-32KGYaC3A_FEUCk1Bt0JA37zP0wrStgmdCaW-0"},"iv":"w+sE15fzSc0AAAAAAAAAAA","hashes":{"sha256":"fdSLu/YkRx3Wyh3KQabP3rd6+SFiKg5lsJZQHtkSAYA"}}`

// eventsIn are events as clients send them.
var eventsIn = []struct{ name, event string }{
	{"rich text", said(`{"msgtype":"m.text","body":"*hi*","format":"org.matrix.custom.html","formatted_body":"<em>hi</em>"}`)},
	{"another format", said(`{"msgtype":"m.text","body":"hi","format":"org.example.tex","formatted_body":"<em>hi</em>"}`)},
	{"html of nothing", said(`{"msgtype":"m.text","body":"hi","format":"org.matrix.custom.html","formatted_body":"<script>x</script>"}`)},
	{"a rich reply", said(`{"msgtype":"m.text","body":"> <@juliet:example.org> one\n\nyes","format":"org.matrix.custom.html","formatted_body":"<mx-reply><blockquote>one</blockquote></mx-reply><b>yes</b>","m.relates_to":{"m.in_reply_to":{"event_id":"$target"}}}`)},
	{"a rich edit", said(`{"msgtype":"m.text","body":"* new","m.new_content":{"msgtype":"m.emote","body":"new","format":"org.matrix.custom.html","formatted_body":"<u>new</u>"},"m.relates_to":{"rel_type":"m.replace","event_id":"$target"}}`)},
	{"an edit to nothing", said(`{"msgtype":"m.text","body":"* ","m.new_content":{"msgtype":"m.text","body":""},"m.relates_to":{"rel_type":"m.replace","event_id":"$target"}}`)},
	{"an edit to a file", said(`{"msgtype":"m.text","body":"* new","m.new_content":{"msgtype":"m.image","body":"cat.png","url":"mxc://example.org/cat"},"m.relates_to":{"rel_type":"m.replace","event_id":"$target"}}`)},
	{"a reaction", reaction(`"rel_type":"m.annotation","event_id":"$target","key":"👍🏽"`, "")},
	{"a reaction of a family", reaction(`"rel_type":"m.annotation","event_id":"$target","key":"👩‍👩‍👧"`, "")},
	{"a reaction in words", reaction(`"rel_type":"m.annotation","event_id":"$target","key":"so true"`, "")},
	{"a picture as reaction", reaction(`"rel_type":"m.annotation","event_id":"$target","key":"mxc://example.org/cat"`, `,"shortcode":":cat:"`)},
	{"a nameless picture", reaction(`"rel_type":"m.annotation","event_id":"$target","key":"mxc://example.org/cat"`, "")},
	{"no reaction", reaction(`"rel_type":"m.annotation","event_id":"$target","key":""`, "")},
	{"a line end as reaction", reaction(`"rel_type":"m.annotation","event_id":"$target","key":"\n"`, "")},
	{"a huge reaction", reaction(`"rel_type":"m.annotation","event_id":"$target","key":"`+strings.Repeat("👍", 20_000)+`"`, "")},
	{"a reaction to nothing", reaction(`"rel_type":"m.annotation","key":"👍"`, "")},
	{"another relation", reaction(`"rel_type":"m.reference","event_id":"$target","key":"👍"`, "")},
	{"a picture", said(`{"msgtype":"m.image","body":"cat.png","url":"mxc://example.org/cat","info":{"mimetype":"image/png","size":1234,"w":30,"h":40,"xyz.amorgan.blurhash":"LEHV6nWB2yk8","thumbnail_url":"mxc://example.org/small","thumbnail_info":{"mimetype":"image/png","w":3,"h":4,"size":12}}}`)},
	{"a picture with a caption", said(`{"msgtype":"m.image","body":"my cat","filename":"cat.png","url":"mxc://example.org/cat","format":"org.matrix.custom.html","formatted_body":"my <b>cat</b>"}`)},
	{"a sealed picture", said(`{"msgtype":"m.image","body":"cat.png","file":` + sealedFile + `,"info":{"size":5,"thumbnail_file":` + sealedFile + `}}`)},
	{"a voice message", said(`{"msgtype":"m.audio","body":"Voice message","url":"mxc://example.org/v","info":{"mimetype":"audio/ogg","duration":12345.6},"org.matrix.msc3245.voice":{},"org.matrix.msc1767.audio":{"duration":12345,"waveform":[0,512,1024,99999,-1]}}`)},
	{"a sticker", `"type":"m.sticker","content":{"body":"wave","url":"mxc://example.org/s","info":{"mimetype":"image/webp","w":256,"h":256}}`},
	{"a file from elsewhere", said(`{"msgtype":"m.file","body":"x","url":"https://example.org/x"}`)},
	{"a file of a strange server", said(`{"msgtype":"m.file","body":"x","url":"mxc://exa/mple/../x"}`)},
	{"a sealed file of another version", said(`{"msgtype":"m.file","body":"x","file":` + strings.Replace(sealedFile, "v2", "v1", 1) + `}`)},
	{"a sealed file that cannot be verified", said(`{"msgtype":"m.file","body":"x","file":` + strings.Replace(sealedFile, "sha256", "md5", 1) + `}`)},
	{"absurd numbers", said(`{"msgtype":"m.video","body":"../../x\n\u202e","url":"mxc://example.org/x","info":{"size":1e300,"w":-1,"h":1e12,"duration":1e18,"xyz.amorgan.blurhash":"<script>"}}`)},
}

func reaction(relation, more string) string {
	return `"type":"m.reaction","content":{"m.relates_to":{` + relation + `}` + more + `}`
}

func TestDecodeGolden(t *testing.T) {
	var b strings.Builder
	for _, c := range eventsIn {
		ev, err := parseEvent(testEvent(c.event))
		must(t, err)
		got, err := decode(ev, scene{at: gateway.Address{Network: "matrix", ID: "#lobby:example.org"}, sender: romeo, who: knownAs})
		must(t, err)
		fmt.Fprintf(&b, "=== %s\n%s\n", c.name, gateway.Shorten(c.event, 700))
		if got == nil {
			b.WriteString("--- nothing\n")
			continue
		}
		raw, err := json.MarshalIndent(got.Body, "", " ")
		must(t, err)
		fmt.Fprintf(&b, "--- %s\n%s\n", got.Body.Kind(), raw)
	}
	golden(t, "decode.golden", b.String())
}

func TestARedactionIsTheModeratorsWherePowerLevelsSaySo(t *testing.T) {
	const event = `"type":"m.room.redaction","content":{"redacts":"$target"}`
	checkDecode(t, event, scene{sender: romeo, moderates: true}, gateway.Retract{Target: gateway.Ref{Native: "$target"}, Moderated: true})
}

func TestEncodeGolden(t *testing.T) {
	alice := gateway.Person{Network: "xmpp", ID: "alice@example.org", Name: "Alice"}
	bob := gateway.Person{Network: "xmpp", ID: "bob@example.org", Name: "Bob"}
	text := gateway.Text{Plain: "Romeo, Alice and Bob: see", Marks: []gateway.Mark{
		{Start: 0, End: 5, Style: gateway.MarkMention, Who: romeo}, {Start: 7, End: 12, Style: gateway.MarkMention, Who: alice},
		{Start: 17, End: 20, Style: gateway.MarkMention, Who: bob}, {Start: 22, End: 25, Style: gateway.MarkBold},
	}}
	quote := gateway.Text{Plain: "said\nyes", Marks: []gateway.Mark{{Start: 0, End: 4, Style: gateway.MarkQuote}}}
	parts := []gateway.Part{{Native: "$target"}, {Name: "f2", Native: "$more"}}
	answered, root := gateway.Ref{Author: juliet, Parts: parts}, gateway.Ref{Parts: []gateway.Part{{Native: "$root"}, {Name: gateway.ThreadPart, Native: "thread:x"}}}
	cat := uploaded{File: gateway.File{Name: "cat.png", MIME: "image/png", Size: 5, Width: 3, Height: 4, Blurhash: "LEHV6nWB2yk8", Thumb: &gateway.File{MIME: "image/png", Size: 1}}, url: "mxc://example.org/cat", thumb: "mxc://example.org/small"}
	voice := uploaded{File: gateway.File{Name: "v.ogg", MIME: "audio/ogg", Size: 5, Duration: 1500 * time.Millisecond, Voice: true, Waveform: []int{1, 2}}, url: "mxc://example.org/v"}
	wave := uploaded{File: gateway.File{Name: "wave", MIME: "image/webp", Sticker: true}, url: "mxc://example.org/s"}
	svg := uploaded{File: gateway.File{Name: "x.svg", MIME: "image/svg+xml"}, url: "mxc://example.org/x"}
	var b strings.Builder
	show := func(name string, pieces ...piece) {
		fmt.Fprintf(&b, "=== %s\n", name)
		for _, p := range pieces {
			raw, err := p.withKey("k", p.part).encode()
			must(t, err)
			fmt.Fprintf(&b, "%s %q %s\n", p.kind.Type, p.part, raw)
		}
	}
	message := func(name string, m gateway.Message, speaker string, files ...uploaded) {
		for _, f := range files {
			m.Files = append(m.Files, f.File)
		}
		show(name, testEncoder.encodeMessage(m, files, speaker)...)
	}
	message("rich text", gateway.Message{Text: text}, "")
	message("rich text for somebody", gateway.Message{Text: text}, "Mercutio")
	message("a quote for somebody", gateway.Message{Text: quote}, "Mercutio")
	message("a room is not pinged", gateway.Message{Text: plain("@room everyone")}, "")
	message("a reply", gateway.Message{Text: plain("yes"), ReplyTo: answered}, "")
	message("a reply to somebody elsewhere", gateway.Message{Text: plain("yes"), ReplyTo: gateway.Ref{Author: alice, Parts: parts}}, "")
	message("in a thread", gateway.Message{Text: plain("yes"), Thread: root}, "")
	message("a reply in a thread", gateway.Message{Text: plain("yes"), Thread: root, ReplyTo: answered}, "")
	message("a picture", gateway.Message{}, "", cat)
	message("a picture with a caption, and more", gateway.Message{Text: text, ReplyTo: answered}, "", cat, voice, svg)
	message("files in a thread", gateway.Message{Thread: root}, "", voice, svg)
	message("a picture for somebody", gateway.Message{}, "Mercutio", cat)
	message("a sticker with words", gateway.Message{Text: plain("hello")}, "", wave)
	message("a sticker of somebody", gateway.Message{}, "Mercutio", wave)
	edit := func(name string, e gateway.Edit, speaker string) {
		show(name, piece{content: testEncoder.encodeEdit(e, "$target", speaker)})
	}
	edit("an edit", gateway.Edit{Text: text}, "")
	edit("an edit for somebody", gateway.Edit{Text: plain("new")}, "Mercutio")
	edit("an edited emote", gateway.Edit{Text: plain("waves"), Style: gateway.StyleEmote}, "")
	golden(t, "encode.golden", b.String())
}

// TestAnEditNotifiesWhomItMentionsAnew, and nobody twice.
func TestAnEditNotifiesWhomItMentionsAnew(t *testing.T) {
	romeo := gateway.Person{Network: testEncoder.network, ID: "@romeo:example.org"}
	mention := gateway.Text{Plain: "Romeo: now", Marks: []gateway.Mark{{Start: 0, End: 5, Style: gateway.MarkMention, Who: romeo}}}
	for before, want := range map[string]int{"": 0, "now": 1, "romeo, then": 0, "now…": 0, strings.Repeat("x", gateway.MaxExcerpt): 0} {
		c := testEncoder.encodeEdit(gateway.Edit{Target: gateway.Ref{Excerpt: before}, Text: mention}, "$target", "")
		if len(c.Mentions.UserIDs) != want || len(c.New.Mentions.UserIDs) != 1 {
			t.Errorf("%.20q: mentions %v, of all %v", before, c.Mentions.UserIDs, c.New.Mentions.UserIDs)
		}
	}
}

func TestALongEditIsShortForClientsThatKnowNoEdits(t *testing.T) {
	long := strings.Repeat("long words ", 4_000)
	c := testEncoder.encodeEdit(gateway.Edit{Text: plain(long)}, "$target", "")
	if _, err := c.encode(); err != nil || c.New.Body != long || len(c.Body) > 1000 {
		t.Errorf("%v; %d bytes for others", err, len(c.Body))
	}
}

func FuzzEncryptedFile(f *testing.F) {
	f.Add(sealedFile)
	f.Add(`{"url":"mxc://a/b","v":"v2","key":{"kty":"oct","alg":"A256CTR","k":7},"iv":[],"hashes":"x"}`)
	f.Fuzz(func(t *testing.T, raw string) {
		var in fields
		if json.Unmarshal([]byte(raw), &in) != nil {
			return
		}
		url, c := decodeEncryptedFile(in)
		if c != nil && (!mxcURL.MatchString(url) || len(c.Key) != 32 || len(c.IV) != 16 || len(c.Hash) != 32) {
			t.Errorf("%s is taken for %+v", raw, c)
		}
	})
}
