package matrixside

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lockbridge/gateway"
)

var (
	romeo  = gateway.Person{Network: "matrix", ID: "@romeo:example.org", Name: "Romeo"}
	juliet = gateway.Person{Network: "matrix", ID: "@juliet:example.org", Name: "Juliet"}
)

// event completes the JSON of an event by romeo.
func testEvent(rest string) json.RawMessage {
	return json.RawMessage(`{"event_id":"$ev","room_id":"!room:example.org","sender":"@romeo:example.org","origin_server_ts":1700000000123,` + rest + `}`)
}

func said(content string) string { return `"type":"m.room.message","content":` + content }

func plain(s string) gateway.Text { return gateway.Text{Plain: s} }

func TestDecode(t *testing.T) {
	target := gateway.Ref{Native: "$target"}
	for name, c := range map[string]struct {
		event string
		want  gateway.Body
	}{
		"text":                     {said(`{"msgtype":"m.text","body":"hi"}`), gateway.Message{Text: plain("hi")}},
		"emote":                    {said(`{"msgtype":"m.emote","body":"waves"}`), gateway.Message{Text: plain("waves"), Style: gateway.StyleEmote}},
		"a bot's notice":           {said(`{"msgtype":"m.notice","body":"beep"}`), gateway.Message{Text: plain("beep"), Style: gateway.StyleNotice}},
		"a place":                  {said(`{"msgtype":"m.location","body":"Verona","geo_uri":"geo:1,2"}`), gateway.Message{Text: plain("Verona")}},
		"an unknown type":          {said(`{"msgtype":"com.example.new","body":"see here"}`), gateway.Message{Text: plain("see here")}},
		"strange fields beside it": {said(`{"msgtype":"m.text","body":"hi","m.mentions":7,"m.relates_to":[],"format":{}}`), gateway.Message{Text: plain("hi")}},
		"control characters":       {said(`{"msgtype":"m.text","body":"a\u0000b\r\nc\ud800d"}`), gateway.Message{Text: plain("ab\nc\uFFFDd")}},
		"a redacted message":       {said(`{}`), nil},
		"no text":                  {said(`{"msgtype":"m.text","body":""}`), nil},
		"a verification request":   {said(`{"msgtype":"m.key.verification.request","body":"verify me"}`), nil},
		"an image": {said(`{"msgtype":"m.image","body":"cat.png","url":"mxc://x/y","info":{"mimetype":"image/png","size":5,"w":3,"h":-4}}`),
			gateway.Message{Files: []gateway.File{{Name: "cat.png", MIME: "image/png", Size: 5, Width: 3, URL: "mxc://x/y", Network: "matrix"}}}},
		"an image with a caption": {said(`{"msgtype":"m.image","body":"my cat","filename":"cat.png"}`),
			gateway.Message{Text: plain("my cat"), Files: []gateway.File{{Name: "cat.png"}}}},
		"a sticker": {`"type":"m.sticker","content":{"body":"wave","info":{"mimetype":"image/webp"}}`,
			gateway.Message{Files: []gateway.File{{Name: "wave", MIME: "image/webp", Sticker: true}}}},
		"a reply": {said(`{"msgtype":"m.text","body":"yes","m.relates_to":{"m.in_reply_to":{"event_id":"$target"}}}`),
			gateway.Message{Text: plain("yes"), ReplyTo: target}},
		"a reply with a fallback": {said(`{"msgtype":"m.text","body":"> <@juliet:example.org> one\n> two\n\nyes\n> no","m.relates_to":{"m.in_reply_to":{"event_id":"$target"}}}`),
			gateway.Message{Text: plain("yes\n> no"), ReplyTo: gateway.Ref{Native: "$target", Author: gateway.Person{Network: "matrix", ID: "@juliet:example.org"}, Excerpt: "one\ntwo"}}},
		"a quote that is no reply": {said(`{"msgtype":"m.text","body":"> <@juliet:example.org> one\n\nyes"}`),
			gateway.Message{Text: plain("> <@juliet:example.org> one\n\nyes")}},
		"a reply to nothing": {said(`{"msgtype":"m.text","body":"yes","m.relates_to":{"m.in_reply_to":{"event_id":"$a\u0000b"}}}`),
			gateway.Message{Text: plain("yes")}},
		"in a thread": {said(`{"msgtype":"m.text","body":"yes","m.relates_to":{"rel_type":"m.thread","event_id":"$root","is_falling_back":true,"m.in_reply_to":{"event_id":"$target"}}}`),
			gateway.Message{Text: plain("yes"), Thread: gateway.Ref{Native: "$root"}}},
		"a reply in a thread": {said(`{"msgtype":"m.text","body":"yes","m.relates_to":{"rel_type":"m.thread","event_id":"$root","m.in_reply_to":{"event_id":"$target"}}}`),
			gateway.Message{Text: plain("yes"), Thread: gateway.Ref{Native: "$root"}, ReplyTo: target}},
		"an edit": {said(`{"msgtype":"m.text","body":"* new","m.new_content":{"msgtype":"m.text","body":"new"},"m.relates_to":{"rel_type":"m.replace","event_id":"$target"}}`),
			gateway.Edit{Target: target, Text: plain("new")}},
		"an edit without its content": {said(`{"msgtype":"m.text","body":"* new","m.relates_to":{"rel_type":"m.replace","event_id":"$target"}}`),
			gateway.Message{Text: plain("* new")}},
		"a redaction":           {`"type":"m.room.redaction","redacts":"$target","content":{"reason":"rude"}`, gateway.Retract{Target: target, Reason: "rude"}},
		"a redaction since v11": {`"type":"m.room.redaction","content":{"redacts":"$target"}`, gateway.Retract{Target: target}},
		"a redaction of what":   {`"type":"m.room.redaction","content":{"redacts":7}`, nil},
		"a topic":               {`"type":"m.room.topic","state_key":"","content":{"topic":"x"}`, nil},
	} {
		t.Run(name, func(t *testing.T) { checkDecode(t, c.event, scene{sender: romeo}, c.want) })
	}
}

func TestDecodeMember(t *testing.T) {
	member := func(content, previous string) string {
		return `"type":"m.room.member","state_key":"x","content":` + content + `,"unsigned":{"prev_content":` + previous + `}`
	}
	for name, c := range map[string]struct {
		event string
		who   gateway.Person
		want  gateway.Body
	}{
		"a join":             {member(`{"membership":"join"}`, `{}`), romeo, gateway.Membership{Who: romeo, Change: gateway.Join}},
		"a join, once more":  {member(`{"membership":"join","displayname":"R"}`, `{"membership":"join","displayname":"R"}`), romeo, nil},
		"a rename":           {member(`{"membership":"join","displayname":"R"}`, `{"membership":"join","displayname":"Q"}`), romeo, gateway.Membership{Who: romeo, Change: gateway.Rename}},
		"a leave":            {member(`{"membership":"leave","reason":"late"}`, `{"membership":"join"}`), romeo, gateway.Membership{Who: romeo, Change: gateway.Leave, Reason: "late"}},
		"a kick":             {member(`{"membership":"leave"}`, `{"membership":"join"}`), juliet, gateway.Membership{Who: juliet, Change: gateway.Kick, By: romeo}},
		"a ban":              {member(`{"membership":"ban"}`, `{"membership":"join"}`), juliet, gateway.Membership{Who: juliet, Change: gateway.Ban, By: romeo}},
		"an unban":           {member(`{"membership":"leave"}`, `{"membership":"ban"}`), juliet, nil},
		"an invite":          {member(`{"membership":"invite"}`, `{}`), juliet, gateway.Membership{Who: juliet, Change: gateway.Invite, By: romeo}},
		"an invite undone":   {member(`{"membership":"leave"}`, `{"membership":"invite"}`), juliet, gateway.Membership{Who: juliet, Change: gateway.Leave, By: romeo}},
		"a knock":            {member(`{"membership":"knock"}`, `{}`), romeo, nil},
		"nonsense":           {member(`{"membership":["join"]}`, `7`), romeo, nil},
		"nobody in question": {member(`{"membership":"join"}`, `{}`), gateway.Person{}, nil},
	} {
		t.Run(name, func(t *testing.T) { checkDecode(t, c.event, scene{sender: romeo, member: c.who}, c.want) })
	}
}

func TestARenameIsOneThoughTheHomeserverTellsNoFormerName(t *testing.T) {
	former := "Romeo"
	event := func(name string) string {
		return `"type":"m.room.member","state_key":"x","content":{"membership":"join","displayname":"` + name + `"}`
	}
	sc := scene{sender: romeo, member: romeo, former: &former}
	checkDecode(t, event("Montague"), sc, gateway.Membership{Who: romeo, Change: gateway.Rename})
	checkDecode(t, event("Romeo"), sc, nil)
}

func TestARenameTellsWhoTheyWere(t *testing.T) {
	for previous, want := range map[string]string{`"displayname":"Benvolio"`: "Benvolio", `"displayname":""`: "romeo"} {
		ev, err := parseEvent(testEvent(`"type":"m.room.member","state_key":"@romeo:example.org","content":{"membership":"join","displayname":"Romeo"},"unsigned":{"prev_content":{"membership":"join",` + previous + `}}`))
		must(t, err)
		got, err := decode(ev, scene{sender: romeo, member: romeo})
		must(t, err)
		if got.Sender.Name != want || got.Body.(gateway.Membership).Who.Name != "Romeo" {
			t.Errorf("%q became %+v", got.Sender.Name, got.Body)
		}
	}
}

func checkDecode(t *testing.T, event string, sc scene, want gateway.Body) {
	t.Helper()
	sc.at = gateway.Address{Network: "matrix", ID: "#lobby:example.org"}
	ev, err := parseEvent(testEvent(event))
	must(t, err)
	got, err := decode(ev, sc)
	must(t, err)
	if want == nil {
		if got != nil {
			t.Errorf("got %+v, want nothing", got.Body)
		}
		return
	}
	if got == nil {
		t.Fatal("got nothing")
	}
	sender := romeo
	if m, ok := want.(gateway.Membership); ok && m.Change == gateway.Rename {
		sender.Name = formerName(ev, sc)
	}
	full := &gateway.Event{At: sc.at, Native: "$ev", Sender: sender, Time: time.UnixMilli(1700000000123).UTC(), Body: want}
	if !reflect.DeepEqual(got, full) {
		t.Errorf("got  %+v\nwant %+v", got, full)
	}
}

func TestWhatIsEncryptedCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		event     string
		encrypted bool
	}{
		"sealed":                            {`"type":"m.room.encrypted","content":{}`, false},
		"in the clear, in a sealed room":    {said(`{"msgtype":"m.text","body":"hi"}`), true},
		"longer than anything may ever be ": {said(`{"msgtype":"m.text","body":"` + strings.Repeat("x", gateway.MaxText+1) + `"}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			ev, err := parseEvent(testEvent(c.event))
			must(t, err)
			if got, err := decode(ev, scene{encrypted: c.encrypted}); err == nil {
				t.Errorf("read as %+v", got)
			}
		})
	}
}

// checkSane holds what nothing that decode returns may break: it can be stored, shown and looked up everywhere.
func checkSane(t testing.TB, ev *gateway.Event) {
	t.Helper()
	if _, err := gateway.EncodeEvent(ev); err != nil {
		t.Errorf("cannot be stored: %v", err)
	}
	text := func(what, s string) {
		if s != gateway.Clean(s) || !utf8.ValidString(s) || len(s) > gateway.MaxText {
			t.Errorf("%s %q is not clean", what, s)
		}
	}
	ref := func(r gateway.Ref) {
		if r.Native != "" && !saneID(r.Native, '$') {
			t.Errorf("a reference to %q", r.Native)
		}
		text("excerpt", r.Excerpt)
		text("author", r.Author.ID)
	}
	switch b := ev.Body.(type) {
	case gateway.Message:
		text("text", b.Text.Plain)
		ref(b.ReplyTo)
		ref(b.Thread)
		for _, f := range b.Files {
			text("file name", f.Name)
			text("MIME type", f.MIME)
			if f.Size < 0 || f.Width < 0 || f.Height < 0 {
				t.Errorf("a file of negative size: %+v", f)
			}
		}
	case gateway.Edit:
		text("text", b.Text.Plain)
		ref(b.Target)
	case gateway.Retract:
		text("reason", b.Reason)
		ref(b.Target)
	case gateway.Membership:
		text("name", b.Who.Name)
		text("reason", b.Reason)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(said(`{"msgtype":"m.text","body":"> <@a:b> c\n\nd","m.relates_to":{"rel_type":"m.thread","event_id":"$e","m.in_reply_to":{"event_id":"$f"}}}`))
	f.Add(said(`{"msgtype":"m.image","body":"x","filename":"y","info":{"size":1e9,"w":1,"h":1}}`))
	f.Add(said(`{"body":"* x","m.new_content":{"body":"x"},"m.relates_to":{"rel_type":"m.replace","event_id":"$e"}}`))
	f.Add(`"type":"m.room.redaction","redacts":"$x","content":{"reason":"\u0000"}`)
	f.Add(`"type":"m.room.member","state_key":"@a:b","content":{"membership":"join","displayname":"\u202e"}`)
	f.Fuzz(func(t *testing.T, event string) {
		ev, err := parseEvent(testEvent(event))
		if err != nil {
			return
		}
		got, err := decode(ev, scene{at: gateway.Address{Network: "matrix", ID: "!r:x"}, sender: romeo, member: juliet})
		if err == nil && got != nil {
			checkSane(t, got)
		}
		decodeEcho(ev)
	})
}
