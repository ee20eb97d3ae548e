package xmppside

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // XEP-0153 names pictures by it
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"image"
	"image/png"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/media/mediatest"
	"lockbridge/gateway/sidetest"
)

// picture is a PNG that is different for each n.
func picture(t testing.TB, n int) (data []byte, hash string) {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 4, 4))
	copy(img.Pix, fmt.Sprintf("%016d", n))
	var b bytes.Buffer
	must(t, png.Encode(&b, img))
	sum := sha1.Sum(b.Bytes()) //nolint:gosec // see above
	return b.Bytes(), hex.EncodeToString(sum[:])
}

func card(data []byte) string {
	return "<vCard xmlns='vcard-temp'><FN>x</FN><JABBERID>juliet@secret.test</JABBERID><PHOTO><TYPE>image/png</TYPE><BINVAL>\n" +
		base64.StdEncoding.EncodeToString(data) + "\n</BINVAL></PHOTO></vCard>"
}

func announces(hash string) string {
	return "<x xmlns='vcard-temp:x:update'><photo>" + hash + "</photo></x>"
}

// logged keeps what is logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// pictured is a side with pictures, and what it logs.
type pictured struct {
	*Side
	inbox *sidetest.Inbox
	media gateway.Media
	log   *logged
}

func startPictured(t *testing.T, f *fakeServer, state *sidetest.State, direct gateway.Direct, room gateway.Room) pictured {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	p := pictured{media: mediatest.New(t, mediatest.Options{}), log: &logged{}}
	p.Side, p.inbox, _ = startEdited(ctx, t, f.config(), state, gateway.Deps{Rooms: []gateway.Room{room}, Media: p.media, Privacy: openPrivacy, Direct: direct}, func(s *Side) {
		s.log = slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	return p
}

// seen waits until somebody of the room is told of with a picture.
func (p pictured) seen(t *testing.T, name string) gateway.Person {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ev, err := p.inbox.Await(ctx, "the picture of "+name, func(ev *gateway.Event) bool {
		m, ok := ev.Body.(gateway.Membership)
		return ok && m.Who.Name == name && m.Who.Avatar != ""
	})
	must(t, err)
	return ev.Body.(gateway.Membership).Who
}

// TestPicturesOfPeopleAreFetchedOnce, in a room that hides addresses: nothing but the picture is taken from the card.
func TestPicturesOfPeopleAreFetchedOnce(t *testing.T) {
	f := newFakeServer(t)
	f.features = []string{"muc_semianonymous", nsSID, nsOccupantID}
	data, hash := picture(t, 1)
	f.answers[fakeRoom+"/Juliet "+nsVCard] = card(data)
	state := sidetest.NewState()
	p := startPictured(t, f, state, gateway.Direct{}, fakeBridgeRoom(false, gateway.PuppetsActive))
	r := p.room0()
	r.mu.Lock()
	r.nonAnonymous = false // the fake room says otherwise on entering
	r.mu.Unlock()
	id := "<occupant-id xmlns='" + nsOccupantID + "' id='o1'/>"
	f.show("Juliet", "", "<item jid='juliet@secret.test/phone'/>", id+announces(hash))
	who := p.seen(t, "Juliet")
	if who.ID != "o1@"+fakeRoom {
		t.Errorf("told of %+v", who)
	}
	kept, mime, err := p.media.Image(t.Context(), who.Avatar)
	if err != nil || !bytes.Equal(kept, data) || mime != "image/png" {
		t.Errorf("kept %d bytes of %s: %v", len(kept), mime, err)
	}
	f.show("Juliet", "", "<item jid='juliet@secret.test/phone'/>", id+announces(hash)+"<show>away</show>")
	f.mu.Lock()
	f.say("Juliet", "m1", body("hello"), el(nsOccupantID, "occupant-id", "id", "o1"))
	f.mu.Unlock()
	if ev := heard(t, p.inbox, "hello"); ev.Sender.Avatar != who.Avatar {
		t.Errorf("she speaks as %+v", ev.Sender)
	}
	asked := 0
	f.set(func() {
		for _, n := range f.seen {
			if n.child(nsVCard, "vCard") != nil {
				asked++
			}
		}
	})
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	var stored strings.Builder
	values, err := state.List(t.Context(), "")
	must(t, err)
	for k, v := range values {
		fmt.Fprintf(&stored, "%s %s\n", k, v)
	}
	for where, text := range map[string]string{"the events": fmt.Sprintf("%+v", p.inbox.Heard()), "the log": p.log.String(), "the state": stored.String()} {
		if strings.Contains(text, "secret.test") {
			t.Errorf("%s hold a real address: %s", where, text)
		}
	}
}

// TestPicturesThatAreNotWhatTheySay are refused, and do no harm to those who announce the same.
func TestPicturesThatAreNotWhatTheySay(t *testing.T) {
	f := newFakeServer(t)
	data, hash := picture(t, 1)
	other, _ := picture(t, 2)
	sum := sha1.Sum([]byte("<svg/>")) //nolint:gosec // see above
	big := make([]byte, gateway.MaxImage+1)
	bigSum := sha1.Sum(big) //nolint:gosec // see above
	f.answers[fakeRoom+"/Liar "+nsVCard] = card(other)
	f.answers[fakeRoom+"/Svg "+nsVCard] = card([]byte("<svg/>"))
	f.answers[fakeRoom+"/Big "+nsVCard] = card(big)
	f.answers[fakeRoom+"/None "+nsVCard] = "<vCard xmlns='vcard-temp'/>"
	f.answers[fakeRoom+"/Juliet "+nsVCard] = card(data)
	p := startPictured(t, f, sidetest.NewState(), gateway.Direct{}, fakeBridgeRoom(false, gateway.PuppetsActive))
	for nick, announced := range map[string]string{"Liar": hash, "Svg": hex.EncodeToString(sum[:]), "Big": hex.EncodeToString(bigSum[:]), "None": strings.Repeat("0", 40), "Gone": strings.Repeat("1", 40)} {
		f.show(nick, "", "<item jid='"+strings.ToLower(nick)+"@test/x'/>", announces(announced))
		f.await("the card of "+nick, func(n *node) bool { return n.get("to") == fakeRoom+"/"+nick && n.child(nsVCard, "vCard") != nil })
	}
	f.show("Juliet", "", "<item jid='juliet@test/x'/>", announces(hash))
	p.seen(t, "Juliet")
	for _, ev := range p.inbox.Heard() {
		if m, ok := ev.Body.(gateway.Membership); ok && m.Who.Avatar != "" && m.Who.Name != "Juliet" && m.Who.Name != "Liar" {
			t.Errorf("%s has a picture", m.Who.Name)
		}
	}
}

// TestPicturesAreFetchedSlowly: a picture that changes all the time costs one question a minute.
func TestPicturesAreFetchedSlowly(t *testing.T) {
	var all faces
	now := time.Unix(1000, 0)
	for i := range 100 {
		all.want("room", wantedFace{"us", "room/Juliet", fmt.Sprint(i)}, now)
	}
	for i := range 2 * maxWanted {
		all.want("room", wantedFace{"us", fmt.Sprintf("room/%d", i), "x"}, now)
	}
	if len(all.wanted["room"]) > maxWanted {
		t.Errorf("%d are wanted", len(all.wanted["room"]))
	}
	if !all.begin("room") || all.begin("room") {
		t.Error("not one at a time")
	}
	w, ok := all.next("room", now, func(w wantedFace) bool { return w.ask == "room/Juliet" })
	if !ok || w.hash != "99" {
		t.Errorf("the newest is not the one: %+v", w)
	}
	if _, ok := all.next("room", now, func(wantedFace) bool { return false }); ok {
		t.Error("fetched all the same")
	}
	if !all.end("room") {
		t.Error("nothing is left")
	}
	all.begin("room")
	n := 1
	for ; n < 3*facesAMinute; n++ { // however often it is begun anew
		if _, ok := all.next("room", now.Add(facePause-1), func(wantedFace) bool { return true }); !ok {
			break
		}
		all.end("room")
		all.begin("room")
	}
	if _, ok := all.next("room", now.Add(facePause), func(wantedFace) bool { return true }); n != facesAMinute || !ok {
		t.Errorf("%d in a minute, and then %v", n, ok)
	}
	n = 0
	for i := range 1440 { // minutes
		now = now.Add(facePause)
		all.want("room", wantedFace{"us", fmt.Sprintf("room/%d", i), "y"}, now)
		if _, ok := all.next("room", now, func(wantedFace) bool { return true }); ok {
			n++
		}
	}
	if n > facesADay || n < facesADay/2 {
		t.Errorf("%d in a day", n)
	}
	for i := range maxFaces + 10 {
		all.set(fmt.Sprint(i), face{"image:x", now})
	}
	if len(all.known) > maxFaces {
		t.Errorf("%d are remembered", len(all.known))
	}
}

// TestPicturesAreRememberedOverARestart, for as long as the journal surely has them.
func TestPicturesAreRememberedOverARestart(t *testing.T) {
	f := newFakeServer(t)
	state := sidetest.NewState()
	_, fresh := picture(t, 1)
	_, old := picture(t, 2)
	put := func(hash string, at time.Time) {
		must(t, state.Update(t.Context(), func(ctx context.Context) error {
			return state.PutMany(ctx, map[string][]byte{statePhoto + hash: fmt.Appendf(nil, `{"ref":"image:%s","at":%q}`, hash, at.Format(time.RFC3339))})
		}))
	}
	put(fresh, time.Now().Add(-time.Hour))
	put(old, time.Now().Add(-faceLasts-time.Hour))
	p := startPictured(t, f, state, gateway.Direct{}, fakeBridgeRoom(false, gateway.PuppetsActive))
	if got := p.faces.of(fresh); got != "image:"+fresh {
		t.Errorf("remembered as %q", got)
	}
	left, err := state.List(t.Context(), statePhoto)
	if err != nil || len(left) != 1 || p.faces.of(old) != "" {
		t.Errorf("left is %v, %v", left, err)
	}
}

// TestAPuppetWearsItsPersonsPicture: in its presence, on its card, and in the nodes of XEP-0084.
func TestAPuppetWearsItsPersonsPicture(t *testing.T) {
	f := newFakeServer(t)
	p := startPictured(t, f, sidetest.NewState(), openDirect(gateway.EncryptionOff), fakeBridgeRoom(false, gateway.PuppetsActive))
	data, hash := picture(t, 1)
	ref, err := p.media.Keep(t.Context(), data)
	must(t, err)
	d := delivery(keyA, "here I am", false)
	d.Event.Sender.Avatar = ref
	must(t, deliver(t, p.Side, d))
	wears := func(hash string) func(*node) bool {
		return func(n *node) bool {
			return n.name == "presence" && bare(n.get("from")) == fakePuppet && n.child(nsPhoto, "x").child(nsPhoto, "photo").said() == hash
		}
	}
	if came := f.await("the puppet with its picture", wears(hash)); came.child(nsMUC, "x") == nil {
		t.Errorf("it came without, and then %s", came.bytes())
	}
	photo := f.answered("juliet@test/x", fakePuppet, el(nsVCard, "vCard")).child(nsVCard, "vCard").child(nsVCard, "PHOTO")
	if photo.child(nsVCard, "TYPE").said() != "image/png" || !bytes.Equal(decodeBase64(photo.child(nsVCard, "BINVAL")), data) {
		t.Errorf("the card shows %s", photo.bytes())
	}
	item := func(name, id string) *node {
		items := el(nsPubSub, "items", "node", name)
		if id != "" {
			items.add(el(nsPubSub, "item", "id", id))
		}
		return f.answered("juliet@test/x", fakePuppet, el(nsPubSub, "pubsub").add(items)).child(nsPubSub, "pubsub").child(nsPubSub, "items").child(nsPubSub, "item")
	}
	about := item(nsAvatarMeta, "")
	info := about.child(nsAvatarMeta, "metadata").child(nsAvatarMeta, "info")
	if about.get("id") != hash || info.get("id") != hash || info.get("bytes") != fmt.Sprint(len(data)) || info.get("type") != "image/png" {
		t.Errorf("the metadata are %s", about.bytes())
	}
	if got := item(nsAvatarData, hash); got.get("id") != hash || !bytes.Equal(decodeBase64(got.child(nsAvatarData, "data")), data) {
		t.Errorf("the data are %s", got.bytes())
	}

	next, nextHash := picture(t, 2)
	d.Key = keyB
	d.Event.Sender.Avatar, err = p.media.Keep(t.Context(), next)
	must(t, err)
	must(t, deliver(t, p.Side, d))
	if again := f.await("another picture", wears(nextHash)); again.child(nsMUC, "x") != nil || again.get("to") != fakeRoom+"/Alice" {
		t.Errorf("announced by %s", again.bytes())
	}

	for i := range 2 * wearsADay { // one who changes it all the time
		many, _ := picture(t, 10+i)
		d.Event.Sender.Avatar, err = p.media.Keep(t.Context(), many)
		must(t, err)
		p.wear(t.Context(), p.currentLink(), d.Event.Sender)
	}
	shown := 0
	f.await("the last one", func(n *node) bool {
		if n.name == "presence" && bare(n.get("from")) == fakePuppet {
			shown++
		}
		return shown > wearsADay
	})
	must(t, deliver(t, p.Side, delivery(strings.Repeat("d", 32), "enough", false)))
	f.set(func() {
		for _, n := range f.seen {
			if n.name == "presence" && bare(n.get("from")) == fakePuppet {
				shown--
			}
		}
	})
	if shown != 0 {
		t.Errorf("it was given %d pictures more", -shown)
	}

	d.Key, d.Event.Sender.Avatar = strings.Repeat("c", 32), "image:"+strings.Repeat("0", 64) // of which nothing is known
	must(t, deliver(t, p.Side, d))
}

// TestWithoutPicturesNobodyIsAsked: the config switches them off.
func TestWithoutPicturesNobodyIsAsked(t *testing.T) {
	f := newFakeServer(t)
	_, hash := picture(t, 1)
	side, inbox := startPassing(t, f, fakeBridgeRoom(false, gateway.PuppetsActive), gateway.Privacy{}, gateway.Direct{})
	f.show("Juliet", "", "<item jid='juliet@test/x'/>", announces(hash))
	d := delivery(keyA, "here I am", false)
	d.Event.Sender.Avatar = "image:" + strings.Repeat("0", 64)
	must(t, deliver(t, side, d))
	f.juliet(body("mark"))
	heard(t, inbox, "mark")
	f.set(func() {
		for _, n := range f.seen {
			if n.child(nsVCard, "vCard") != nil || n.child(nsPhoto, "x") != nil {
				t.Errorf("sent %s", n.bytes())
			}
		}
	})
}

// TestPicturesOfDirectChats: what somebody's presence announces comes with what they write, and their chat partner has one.
func TestPicturesOfDirectChats(t *testing.T) {
	f := newFakeServer(t)
	data, hash := picture(t, 1)
	f.answers["juliet@test "+nsVCard] = card(data)
	p := startPictured(t, f, sidetest.NewState(), openDirect(gateway.EncryptionOff), fakeBridgeRoom(false, gateway.PuppetsNone))
	must(t, p.meetAlice(t))
	f.raw("<presence from='mallory@elsewhere/x' to='" + fakePuppet + "'>" + announces(strings.Repeat("1", 40)) + "</presence>")
	f.raw("<presence from='juliet@test/phone' to='" + fakePuppet + "'>" + announces(hash) + "</presence>")
	f.await("the question for her card", func(n *node) bool { return n.get("to") == "juliet@test" && n.child(nsVCard, "vCard") != nil })
	sum := sha256.Sum256(data)
	ref := "image:" + hex.EncodeToString(sum[:])
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := 0; ; i++ { // until it has been kept, which nobody is told of
		f.directly("juliet@test/phone", fakePuppet, fmt.Sprintf("m%d", i), body(fmt.Sprintf("hello %d", i)))
		if got := heard(t, p.inbox, fmt.Sprintf("hello %d", i)).Sender.Avatar; got == ref {
			break
		} else if got != "" || ctx.Err() != nil {
			t.Fatalf("she writes as %q, want %q", got, ref)
		}
	}
	d := directDelivery(keyA, saying("hello"))
	d.Event.Sender.Avatar = ref
	f.raw("<presence type='subscribe' from='juliet@test' to='" + fakePuppet + "'/>")
	f.await("the answer", func(n *node) bool { return n.get("type") == "subscribed" })
	must(t, deliver(t, p.Side, d))
	f.await("the puppet's picture", func(n *node) bool {
		return n.name == "presence" && n.get("to") == "juliet@test" && n.child(nsPhoto, "x").child(nsPhoto, "photo").said() == hash
	})
	f.set(func() {
		for _, n := range f.seen {
			if domainOf(n.get("to")) == "elsewhere" && n.name == "iq" {
				t.Errorf("a stranger was asked: %s", n.bytes())
			}
		}
	})
}
