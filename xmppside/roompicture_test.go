package xmppside

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

// toldOfRoom is what was told of the room before a mark, of one kind.
func toldOfRoom(t *testing.T, f *fakeServer, inbox *sidetest.Inbox, kind func(gateway.RoomState) *string, mark string) (told []string) {
	t.Helper()
	f.juliet(body(mark))
	heard(t, inbox, mark)
	for _, ev := range inbox.Heard() {
		if b, ok := ev.Body.(gateway.RoomState); ok && kind(b) != nil {
			told = append(told, *kind(b))
		}
	}
	return told
}

func pictureOf(s gateway.RoomState) *string { return s.Avatar }
func nameOf(s gateway.RoomState) *string    { return s.Name }

// TestPicturesOfRooms: that of the first join is no news, any other is, once.
func TestPicturesOfRooms(t *testing.T) {
	f := newFakeServer(t)
	_, known := picture(t, 1)
	data, next := picture(t, 2)
	f.picture, f.answers[fakeRoom+" "+nsVCard] = known, card(data)
	state := sidetest.NewState()
	must(t, state.Update(t.Context(), func(ctx context.Context) error {
		return state.PutMany(ctx, map[string][]byte{statePhoto + known: fmt.Appendf(nil, `{"ref":"image:known","at":%q}`, time.Now().Format(time.RFC3339))})
	}))
	room := fakeBridgeRoom(false, gateway.PuppetsActive)
	room.Topic = true
	p := startPictured(t, f, state, gateway.Direct{}, room)
	show := func(hash string) { f.set(func() { f.write(roomPresence(fakeSelf+"/"+resource, hash)) }) }
	show(known)
	if refs := toldOfRoom(t, f, p.inbox, pictureOf, "mark 1"); len(refs) != 0 {
		t.Errorf("told of %q at first", refs)
	}
	show(next)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ev, err := p.inbox.Await(ctx, "the new picture", func(ev *gateway.Event) bool { return ev.Body.Kind() == "room" })
	must(t, err)
	ref := *ev.Body.(gateway.RoomState).Avatar
	if kept, _, err := p.media.Image(ctx, ref); err != nil || !slices.Equal(kept, data) {
		t.Errorf("kept %d bytes: %v", len(kept), err)
	}
	show(next)
	show("no hash at all")
	show(known)
	show("")
	show("")
	f.show("Juliet", "", "<item jid='juliet@test/x'/>", "") // whose presence is not the room's
	if refs := toldOfRoom(t, f, p.inbox, pictureOf, "mark 2"); !slices.Equal(refs, []string{ref, "image:known", ""}) {
		t.Errorf("told of %q", refs)
	}
}

// TestNoPictureOfARoomCrossesWhereItsTopicDoesNot: on a sealed bridge, and where the config says so.
func TestNoPictureOfARoomCrossesWhereItsTopicDoesNot(t *testing.T) {
	f := newFakeServer(t)
	p := startPictured(t, f, sidetest.NewState(), gateway.Direct{}, fakeBridgeRoom(false, gateway.PuppetsActive))
	f.set(func() {
		f.write(roomPresence(fakeSelf+"/"+resource, strings.Repeat("0", faceSHA1Size)), roomPresence(fakeSelf+"/"+resource, ""))
	})
	if refs := toldOfRoom(t, f, p.inbox, pictureOf, "mark"); len(refs) != 0 {
		t.Errorf("told of %q", refs)
	}
}
