package matrixside

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/media/mediatest"
	"lockbridge/gateway/sidetest"
)

// portrait is a small picture of one colour.
func portrait(t *testing.T, shade uint8) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 4, 4))
	for i := range 16 {
		img.SetGray(i%4, i/4, color.Gray{Y: shade})
	}
	var b bytes.Buffer
	must(t, png.Encode(&b, img))
	return b.Bytes()
}

// withMedia gives a side files and pictures.
func withMedia(t *testing.T) func(*Side) {
	return func(s *Side) {
		watchful(s)
		s.deps.Media = mediatest.New(t, mediatest.Options{})
	}
}

const (
	thumbnail = "GET /v1/media/thumbnail/example.org/"
	uploading = "POST /_matrix/media/v3/upload"
)

func pictured(id, url string) string {
	return `{"event_id":"` + id + `","room_id":"` + testRoom + `","type":"m.room.member","sender":"` + romeoUser + `","state_key":"` + romeoUser +
		`","content":{"membership":"join","displayname":"Romeo","avatar_url":"` + url + `"},"unsigned":{"prev_content":{"membership":"join","displayname":"Romeo"}}}`
}

// awaitPicture waits for news of a picture, and returns it.
func awaitPicture(ctx context.Context, t *testing.T, inbox *sidetest.Inbox, not string) string {
	t.Helper()
	ev, err := inbox.Await(ctx, "a picture", func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Change == gateway.Rename && m.Who.Avatar != "" && m.Who.Avatar != not
	})
	must(t, err)
	return ev.Body.(gateway.Membership).Who.Avatar
}

func TestPicturesOfThoseWhoSpeakAreFetchedOnce(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	var clock testClock
	state := sidetest.NewState()
	both := func(s *Side) { withMedia(t)(s); clock.set(s) }
	hs.script(thumbnail+"one", reply{200, string(portrait(t, 1)), false})
	hs.script(thumbnail+"two", reply{200, string(portrait(t, 2)), false})
	hs.script(thumbnail+"bad", reply{200, "<svg/>", false})
	_, inbox, stop := start(ctx, t, hs.cfg, state, both, lobby(testRoom))
	hs.push(ctx, message("$1", "first"))
	awaitText(ctx, t, inbox, "first")
	hs.push(ctx, pictured("$2", "mxc://example.org/one")) // whoever spoke may have a puppet, which is to have it at once
	one := awaitPicture(ctx, t, inbox, "")
	hs.push(ctx, message("$3", "second"))
	if ev := awaitText(ctx, t, inbox, "second"); ev.Sender.Avatar != one || !strings.HasPrefix(one, "image:") {
		t.Errorf("said with the picture %q, want %q", ev.Sender.Avatar, one)
	}
	clock.pass(picturePause)
	hs.push(ctx, pictured("$4", "mxc://example.org/two"))
	two := awaitPicture(ctx, t, inbox, one)
	stop()
	_, inbox, _ = start(ctx, t, hs.cfg, state, both, lobby(testRoom))
	hs.push(ctx, pictured("$5", "mxc://example.org/two"), message("$6", "after a restart"))
	if ev := awaitText(ctx, t, inbox, "after a restart"); ev.Sender.Avatar != two || hs.count(theBot+" "+thumbnail+"two") != 1 {
		t.Errorf("the picture is %q, was %q, and fetched %d times", ev.Sender.Avatar, two, hs.count(theBot+" "+thumbnail+"two"))
	}
	clock.pass(picturePause)
	hs.push(ctx, pictured("$7", "mxc://example.org/bad"), message("$8", "third"))
	if ev := awaitText(ctx, t, inbox, "third"); ev.Sender.Avatar != "" {
		t.Errorf("said with the picture %q", ev.Sender.Avatar)
	}
	hs.await(ctx, theBot+" "+thumbnail+"bad", 1)
}

func TestAGhostHasItsPersonsPicture(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), withMedia(t), lobby(testRoom))
	ref, err := side.deps.Media.Keep(ctx, portrait(t, 3))
	must(t, err)
	hs.script(uploading, reply{200, `{"content_uri":"mxc://example.org/uploaded"}`, false})
	d := delivery(testRoom, "1", "mercutio", "look")
	d.Event.Sender.Avatar = ref
	lost := delivery(testRoom, "3", "tybalt", "look")
	lost.Event.Sender.Avatar = "image:" + strings.Repeat("0", 64)
	again := d
	again.Key = "2"
	sendAll(ctx, t, side, d, again, lost)
	if n := hs.count(mercutio + " PUT /profile/" + mercutio + "/avatar_url"); n != 1 {
		t.Errorf("the picture was set %d times", n)
	}
	if n := len(hs.said()); n != 3 {
		t.Errorf("%d messages were said", n)
	}
}

func TestAPictureThatCouldNotBeShownIsTriedAgain(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	var clock testClock
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), func(s *Side) { withMedia(t)(s); clock.set(s) }, lobby(testRoom))
	ref, err := side.deps.Media.Keep(ctx, portrait(t, 3))
	must(t, err)
	hs.script(uploading, refusal(500, "M_UNKNOWN"), reply{200, `{"content_uri":"mxc://example.org/uploaded"}`, false})
	say := func(key string) {
		d := delivery(testRoom, key, "mercutio", "look")
		d.Event.Sender.Avatar = ref
		sendAll(ctx, t, side, d)
	}
	say("1")
	say("2") // a homeserver in trouble holds no words up
	if n := hs.count(mercutio + " PUT /profile/" + mercutio + "/avatar_url"); n != 0 {
		t.Errorf("the picture was set %d times", n)
	}
	clock.pass(refusedTime)
	say("3")
	if n := hs.count(mercutio + " PUT /profile/" + mercutio + "/avatar_url"); n != 1 {
		t.Errorf("the picture was set %d times", n)
	}
}

// TestPicturesOfRoomsAreShown where the bot may; one that is tried again is not uploaded again.
func TestPicturesOfRoomsAreShown(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	room := lobby(testRoom)
	room.Topic = true
	side, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), withMedia(t), room)
	ref, err := side.deps.Media.Keep(ctx, portrait(t, 3))
	must(t, err)
	hs.script(uploading, reply{200, `{"content_uri":"mxc://example.org/uploaded"}`, false})
	shows := func(key, ref string) gateway.Delivery { return does(key, "", gateway.RoomState{Avatar: &ref}) }
	hs.push(ctx, strings.Replace(power, "m.room.name", "m.room.avatar", 1), message("$after", "after"))
	awaitText(ctx, t, inbox, "after")
	sendAll(ctx, t, side, shows("1", ref))
	wantDone(t, hs)
	hs.push(ctx, power, message("$and", "and now"))
	awaitText(ctx, t, inbox, "and now")
	hs.script("PUT /rooms/"+testRoom+"/state/m.room.avatar/", refusal(429, "M_LIMIT_EXCEEDED"))
	if err := deliverOne(t, side, shows("2", ref)); err == nil || gateway.IsDrop(err) {
		t.Errorf("outcome %v", err)
	}
	sendAll(ctx, t, side, again(shows("2", ref)), shows("3", ""))
	wantDone(t, hs, theBot+" state m.room.avatar/")
	if n := hs.count(theBot + " " + uploading); n != 1 {
		t.Errorf("uploaded %d times", n)
	}
}

// newSource is a web server with one file, and nothing below it.
func newSource(t *testing.T, text string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/file" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, text)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/file"
}

func TestFilesAreUploadedOnce(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), withMedia(t), lobby(testRoom))
	source := newSource(t, "the file")
	hs.script(uploading, reply{200, `{"content_uri":"mxc://example.org/uploaded"}`, false})
	hs.script(sendPath, refusal(502, ""))
	d := does("1", "mercutio", gateway.Message{Text: plain("see"), Files: []gateway.File{{Name: "x.txt", MIME: "text/plain", URL: source, Network: "irc"}}})
	if err := deliverOne(t, side, d); err == nil || gateway.IsDrop(err) || gateway.IsPlainer(err) {
		t.Fatalf("outcome %v", err)
	}
	deliverUntilSaid(ctx, t, side, again(d))
	said := hs.said()
	if hs.count(theBot+" "+uploading) != 1 || len(said) != 1 || !strings.Contains(string(said[0].Content), `"url":"mxc://example.org/uploaded"`) {
		t.Errorf("uploaded %d times, said %s", hs.count(theBot+" "+uploading), said)
	}
	gone := does("2", "mercutio", gateway.Message{Files: []gateway.File{{Name: "x", URL: source + "/gone", Network: "irc"}}})
	hs.script(uploading, refusal(413, "M_TOO_LARGE"))
	large := does("3", "mercutio", gateway.Message{Files: []gateway.File{{Name: "x", URL: source, Network: "irc"}}})
	for _, d := range []gateway.Delivery{gone, large} {
		if err := deliverOne(t, side, d); !gateway.IsPlainer(err) {
			t.Errorf("%s: %v", d.Key, err)
		}
	}
}

func TestOnlyMissingPartsAreSaidAgain(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	both := func(s *Side) { withMedia(t)(s); quick(s) }
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), both, lobby(testRoom))
	source := newSource(t, "the file")
	hs.script(uploading, reply{200, `{"content_uri":"mxc://example.org/a"}`, false}, reply{200, `{"content_uri":"mxc://example.org/b"}`, false})
	hs.script(sendPath, reply{cut: true})
	file := gateway.File{Name: "x.txt", MIME: "text/plain", URL: source, Network: "irc"}
	d := does("1", "mercutio", gateway.Message{Files: []gateway.File{file, file}})
	if err := deliverOne(t, side, d); err == nil || gateway.IsDrop(err) {
		t.Fatalf("outcome of a broken connection: %v", err)
	}
	var out gateway.Outcome
	for d = again(d); ; {
		if out = side.Deliver(ctx, []gateway.Delivery{d})[0]; out.Err == nil {
			break
		}
		if gateway.IsDrop(out.Err) || ctx.Err() != nil {
			t.Fatal(out.Err)
		}
	}
	if len(hs.said()) != 2 || len(out.Parts) != 2 || out.Parts[0].Native != "$sent1" || out.Parts[1].Native != "$sent2" {
		t.Errorf("outcome %+v, said %d", out, len(hs.said()))
	}
	// And what the journal knows of by its echo is not even looked for.
	d.Known = []gateway.Part{{Name: "f1", Native: "$sent1"}, {Name: "f2", Native: "$sent2"}}
	sendAll(ctx, t, side, d)
	if n := len(hs.said()); n != 2 {
		t.Errorf("said %d", n)
	}
}
