package xmppside

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/media/mediatest"
	"lockbridge/gateway/sidetest"
	"lockbridge/omemo"
)

// startSharing starts a side with an upload service, and a server that has a file at the returned URL.
func startSharing(t *testing.T, f *fakeServer, share *fakeShare, data []byte, versions []string, room gateway.Room, edits ...func(*Side)) (side *Side, inbox *sidetest.Inbox, url string) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(web.Close)
	trusted := x509.NewCertPool()
	trusted.AddCert(share.Certificate())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cfg := f.config()
	cfg.OMEMO.Versions = versions
	deps := gateway.Deps{Rooms: []gateway.Room{room}, Media: mediatest.New(t, mediatest.Options{Authorities: trusted}), Privacy: openPrivacy}
	side, inbox, _ = startEdited(ctx, t, cfg, sidetest.NewState(), deps, func(s *Side) {
		for _, edit := range edits {
			edit(s)
		}
	})
	return side, inbox, web.URL + "/cat.png"
}

func filesDelivery(key, text string, sealed bool, files ...gateway.File) gateway.Delivery {
	d := delivery(key, "", sealed)
	d.Event.Body = gateway.Message{Text: gateway.Text{Plain: text}, Files: files}
	return d
}

func TestFilesAreSharedInAPlainRoom(t *testing.T) {
	f, share := newFakeServer(t), newFakeShare(t)
	f.offerUploads("1000000", slotAt(share.URL+"/put/a", "https://files.example/a/cat.png"))
	data, _ := picture(t, 1)
	side, _, url := startSharing(t, f, share, data, []string{versionLegacy}, fakeBridgeRoom(false, gateway.PuppetsActive))
	cat := gateway.File{Name: "cat.png", MIME: "image/png", Width: 4, Height: 4, URL: url, Blurhash: "L0"}
	public := gateway.File{Name: "dog.png", MIME: "image/png", URL: "https://elsewhere.example/dog.png", Public: true}
	must(t, deliver(t, side, filesDelivery(keyA, "look", false, cat, public)))
	said := f.saidBy(fakePuppet)
	if len(said) != 3 {
		t.Fatalf("said %d messages", len(said))
	}
	if got := said[0].child("", "body").said(); got != "look" || said[0].child(nsOOB, "x") != nil {
		t.Errorf("said %s", said[0].bytes())
	}
	for i, want := range []string{"https://files.example/a/cat.png", "https://elsewhere.example/dog.png"} {
		n := said[i+1]
		if n.child("", "body").said() != want || n.child(nsOOB, "x").child(nsOOB, "url").said() != want {
			t.Errorf("said %s", n.bytes())
		}
	}
	files, rest := decodeFiles(said[1], said[1].child("", "body").said(), true)
	if len(files) != 1 || rest != "" || files[0].Name != "cat.png" || files[0].Size != int64(len(data)) || files[0].Width != 4 || files[0].Blurhash != "L0" {
		t.Errorf("shared as %+v", files)
	}
	sum := sha256.Sum256(data)
	if got := said[1].child(nsSharing, "file-sharing").child(nsFileData, "file").child(nsHashes, "hash"); !bytes.Equal(decodeBase64(got), sum[:]) {
		t.Errorf("its hash is %s", got.said())
	}
	if !bytes.Equal(share.body, data) || len(share.puts) != 1 {
		t.Errorf("%d uploads, the last of %d bytes", len(share.puts), len(share.body))
	}
	ask := f.await("a question for a place", func(n *node) bool { return n.child(nsUpload, "request") != nil })
	if ask.get("from") != fakePuppet {
		t.Errorf("asked for by %s", ask.get("from"))
	}
}

// TestFilesAreSealedInASealedRoom: for devices of both versions it is one upload, which tells nothing.
func TestFilesAreSealedInASealedRoom(t *testing.T) {
	f, share := newFakeServer(t), newFakeShare(t)
	f.features = []string{"muc_nonanonymous", "muc_membersonly", nsSID}
	f.members["juliet@test"], f.members["romeo@test"] = "member", "member"
	juliet, romeo := newDevice(t, f, "juliet@test", omemo.Legacy), newDevice(t, f, "romeo@test", omemo.Two)
	f.offerUploads("1000000", slotAt(share.URL+"/put/a", "https://files.example/a/hidden.png"))
	data, _ := picture(t, 1)
	side, _, url := startSharing(t, f, share, data, []string{versionLegacy, versionTwo}, fakeBridgeRoom(true, gateway.PuppetsActive))
	must(t, deliver(t, side, filesDelivery(keyA, "", true, gateway.File{Name: "my secret.png", MIME: "image/png", URL: url, Public: true})))
	said := f.saidBy(fakePuppet)
	if len(said) != 1 {
		t.Fatalf("said %d messages", len(said))
	}
	legacy, ok := juliet.open(omemo.Legacy, said[0])
	if !ok {
		t.Fatalf("nothing for the legacy device in %s", said[0].bytes())
	}
	file, ok := decodeAESGCM(string(legacy.Plain))
	if !ok || file.URL != "https://files.example/a/hidden.png" {
		t.Fatalf("the text is %q", legacy.Plain)
	}
	block, err := aes.NewCipher(file.Cipher.Key)
	must(t, err)
	gcm, err := cipher.NewGCM(block)
	must(t, err)
	if opened, err := gcm.Open(nil, file.Cipher.IV, share.body, nil); err != nil || !bytes.Equal(opened, data) {
		t.Errorf("what was uploaded opens to %d bytes: %v", len(opened), err)
	}
	two, ok := romeo.open(omemo.Two, said[0])
	if !ok {
		t.Fatalf("nothing for the device of OMEMO 2 in %s", said[0].bytes())
	}
	e, err := omemo.ParseEnvelope(two.Plain)
	must(t, err)
	inner, err := parseNode([]byte("<content>" + string(e.Content) + "</content>"))
	must(t, err)
	files, rest := decodeFiles(inner, inner.child(nsClient, "body").said(), false)
	sum := sha256.Sum256(share.body)
	if len(files) != 1 || rest != "" || files[0].Name != "my secret.png" || !bytes.Equal(files[0].Cipher.Key, file.Cipher.Key) || !bytes.Equal(files[0].Cipher.Hash, sum[:]) {
		t.Errorf("shared as %+v with %q", files, rest)
	}
	if len(share.puts) != 1 {
		t.Errorf("uploaded %d times", len(share.puts))
	}
	f.set(func() {
		for _, n := range f.seen {
			if s := string(n.bytes()); strings.Contains(s, "secret") || strings.Contains(s, "hidden.png") {
				t.Errorf("the server learns of it: %s", s)
			}
		}
	})
	request := f.await("a question for a place", func(n *node) bool { return n.child(nsUpload, "request") != nil }).child(nsUpload, "request")
	if name := request.get("filename"); !strings.HasSuffix(name, ".png") || request.get("content-type") != "application/octet-stream" {
		t.Errorf("asked for a place for %s of %s", name, request.get("content-type"))
	}
}

// TestFilesThatCannotBeShownAreNamed: the delivery comes back for a plainer form, and nothing was said.
func TestFilesThatCannotBeShownAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		limit, url string
		get        string
	}{
		"too large":    {"10", "", "https://files.example/a"},
		"gone":         {"100000", "http://127.0.0.1:1/nothing", "https://files.example/a"},
		"forbidden":    {"100000", "http://169.254.169.254/latest", "https://files.example/a"},
		"no TLS":       {"100000", "", "http://files.example/a"},
		"no such file": {"100000", "file:///etc/passwd", "https://files.example/a"},
	} {
		f, share := newFakeServer(t), newFakeShare(t)
		f.offerUploads(c.limit, slotAt(share.URL+"/put/a", c.get))
		data, _ := picture(t, 1)
		side, _, url := startSharing(t, f, share, data, []string{versionLegacy}, fakeBridgeRoom(false, gateway.PuppetsActive))
		if c.url != "" {
			url = c.url
		}
		err := deliver(t, side, filesDelivery(keyA, "look", false, gateway.File{Name: "cat.png", URL: url}))
		if name != "gone" && !gateway.IsPlainer(err) || name == "gone" && err == nil { // which may pass
			t.Errorf("%s: %v", name, err)
		}
		if said := f.saidBy(fakePuppet); len(said) != 0 {
			t.Errorf("%s: said %s", name, said[0].bytes())
		}
	}
}

func TestFilesAreHeard(t *testing.T) {
	f := newFakeServer(t)
	_, inbox := startFake(t, f, fakeBridgeRoom(false, gateway.PuppetsActive))
	f.enter("Juliet", "juliet@test/phone", "member")
	f.juliet(body("https://files.example/a.png"), el(nsOOB, "x").add(el(nsOOB, "url").say("https://files.example/a.png")))
	f.juliet(body("mark"))
	heard(t, inbox, "mark")
	for _, ev := range inbox.Heard() {
		if m, ok := ev.Body.(gateway.Message); ok && len(m.Files) == 1 {
			if m.Text.Plain != "" || m.Files[0].URL != "https://files.example/a.png" || !m.Files[0].Public {
				t.Errorf("heard %+v", m)
			}
			return
		}
	}
	t.Error("no file was heard")
}

// TestSealedFilesAreHeard, and what stands outside of the ciphertext is not.
func TestSealedFilesAreHeard(t *testing.T) {
	f := newFakeServer(t)
	f.features = []string{"muc_nonanonymous", "muc_membersonly", nsSID}
	f.members["juliet@test"] = "member"
	juliet := newDevice(t, f, "juliet@test", omemo.Legacy, omemo.Two)
	cfg := f.config()
	cfg.OMEMO.Versions = []string{versionLegacy, versionTwo}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	side, inbox, _ := startWith(ctx, t, cfg, sidetest.NewState(), gateway.Deps{Rooms: []gateway.Room{fakeBridgeRoom(true, gateway.PuppetsActive)}})
	f.enter("Juliet", "juliet@test/phone", "member")
	c := shared{file: testPicture, at: "https://files.test/x.jpg", cipher: &testSecret}
	evil := shared{file: testPicture, at: "https://evil.test/x.jpg"}.beside()
	juliet.say(side, omemo.Legacy, c.body(), evil...)
	juliet.say(side, omemo.Legacy, "no file", evil...)
	content := el(nsClient, "body").say(c.body()).append(nil, "")
	for _, n := range c.within() {
		content = n.append(content, "")
	}
	envelope := juliet.envelope(omemo.Envelope{From: "juliet@test", To: fakeRoom, Content: content})
	f.juliet(append([]*node{juliet.seal(side, omemo.Two, envelope, fakeSelf)}, evil...)...)
	juliet.say(side, omemo.Legacy, "mark")
	heard(t, inbox, "mark")
	n := 0
	for _, ev := range inbox.Heard() {
		m, ok := ev.Body.(gateway.Message)
		if !ok {
			continue
		}
		for _, file := range m.Files {
			n++
			if file.URL != c.at || file.Cipher == nil || file.Public || m.Text.Plain != "" || ev.Sealed.Protection != gateway.OMEMO {
				t.Errorf("heard %+v", m)
			}
		}
	}
	heard(t, inbox, "no file")
	if n != 2 {
		t.Errorf("heard %d files", n)
	}
}

// TestNothingBeforeAFileWaitsForIt: what stands before it in a run is said before the file is uploaded.
func TestNothingBeforeAFileWaitsForIt(t *testing.T) {
	text := delivery(keyA, "text", false)
	file := filesDelivery(keyB, "", false, gateway.File{Name: "film.mp4"})
	for _, c := range []struct {
		run  []gateway.Delivery
		want int
	}{
		{[]gateway.Delivery{text, text, file, text}, 2}, {[]gateway.Delivery{file, text}, 1}, {[]gateway.Delivery{file, file}, 1}, {[]gateway.Delivery{text, text}, 2},
	} {
		if got := leadingWords(c.run); got != c.want {
			t.Errorf("%d at once, want %d", got, c.want)
		}
	}
}

// TestFilesThatNeverArriveAreNamed: what fails again and again holds the room up for some minutes, not for a day, even
// where others can share theirs meanwhile.
func TestFilesThatNeverArriveAreNamed(t *testing.T) {
	f, share := newFakeServer(t), newFakeShare(t)
	f.offerUploads("100000", slotAt(share.URL+"/put/a", "https://files.example/a"))
	data, _ := picture(t, 1)
	ahead := &clock{}
	side, _, url := startSharing(t, f, share, data, []string{versionLegacy}, fakeBridgeRoom(false, gateway.PuppetsActive), func(s *Side) { s.now = ahead.now })
	file := gateway.File{Name: "cat.png", URL: url}
	d, other := filesDelivery(keyA, "look", false, file), filesDelivery(keyB, "", false, file)
	quota := func(usedUp bool) {
		f.set(func() {
			f.answers[fakeUpload+" "+nsUpload] = slotAt(share.URL+"/put/a", "https://files.example/a")
			if usedUp {
				delete(f.answers, fakeUpload+" "+nsUpload)
				f.refusals[fakeUpload+" "+nsUpload] = "resource-constraint"
			}
		})
	}
	quota(true)
	if wait, later := gateway.LaterThan(deliver(t, side, d)); !later || wait != quotaPause {
		t.Errorf("a quota that is used up: later %v, %v", later, wait)
	}
	quota(false)
	must(t, deliver(t, side, other))
	share.answers(http.StatusBadGateway)
	ahead.move(troubleTime - time.Second)
	if err := deliver(t, side, d); err == nil || gateway.IsPlainer(err) || gateway.IsDrop(err) {
		t.Errorf("a gateway that fails: %v", err)
	}
	ahead.move(2 * time.Second)
	if err := deliver(t, side, d); !gateway.IsPlainer(err) {
		t.Errorf("what has failed for minutes: %v", err)
	}
	share.answers(http.StatusCreated)
	must(t, deliver(t, side, d))
}
