//go:build e2e

package matrixside

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
	"lockbridge/testbed/peers"
)

// upgrader is a person who can replace rooms.
type upgrader struct {
	*peers.Matrix
	bed   *bed
	token string
}

// loginUpgrader is a new person who has a token of their own for what peers.Matrix does not do.
func (b *bed) loginUpgrader(ctx context.Context, t *testing.T) *upgrader {
	t.Helper()
	romeo := b.login(ctx, t, "romeo")
	name := strings.TrimPrefix(strings.TrimSuffix(romeo.UserID, ":"+b.Host), "@")
	u := &upgrader{Matrix: romeo, bed: b}
	var login struct {
		Token string `json:"access_token"`
	}
	u.call(ctx, t, "login", map[string]any{"type": "m.login.password", "password": "pw-" + name, "identifier": map[string]string{"type": "m.id.user", "user": name}}, &login)
	u.token = login.Token
	return u
}

func (u *upgrader) call(ctx context.Context, t *testing.T, path string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	must(t, err)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.bed.HomeserverURL()+"/_matrix/client/v3/"+path, bytes.NewReader(body))
	must(t, err)
	if u.token != "" {
		r.Header.Set("Authorization", "Bearer "+u.token)
	}
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %s", path, resp.Status)
	}
	must(t, json.NewDecoder(resp.Body).Decode(out))
}

// makeOld makes a public room of a version that many rooms have, with an alias if one is named.
func (u *upgrader) makeOld(ctx context.Context, t *testing.T, alias string) string {
	t.Helper()
	request := map[string]any{"preset": "public_chat", "room_version": "10"}
	if alias != "" {
		request["room_alias_name"] = alias
	}
	var made struct {
		Room string `json:"room_id"`
	}
	u.call(ctx, t, "createRoom", request, &made)
	return made.Room
}

// replace upgrades a room.
func (u *upgrader) replace(ctx context.Context, t *testing.T, room, version string) string {
	t.Helper()
	var answer struct {
		Room string `json:"replacement_room"`
	}
	u.call(ctx, t, fmt.Sprintf("rooms/%s/upgrade", url.PathEscape(room)), map[string]string{"new_version": version}, &answer)
	return answer.Room
}

func TestAReplacedRoomIsFollowed(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.loginUpgrader(ctx, t)
	name := peers.Unique("lobby")
	alias := "#" + name + ":" + b.Host
	old := romeo.makeOld(ctx, t, name)
	state := sidetest.NewState()
	side, inbox, stop := b.start(ctx, t, state, b.room(alias))
	sendAll(ctx, t, side, delivery(alias, "one", "mercutio", "in the old room"))
	_, err := romeo.Say(ctx, old, "before")
	must(t, err)
	room := romeo.replace(ctx, t, old, "11")
	_, err = romeo.Say(ctx, room, "after")
	must(t, err)
	awaitText(ctx, t, inbox, "after")
	deliverAll(ctx, t, side, delivery(alias, "two", "mercutio", "in the new room"))
	_, err = romeo.AwaitText(ctx, room, "in the new room")
	must(t, err)
	sameTexts(t, textsAt(inbox, alias), []string{"before", "after"})
	ghost := "@" + b.cfg.UserPrefix + "irc_mercutio:" + b.Host
	_, err = romeo.Await(ctx, "the ghost to leave the old room", left(old, ghost))
	must(t, err)

	stop() // and again, to a room of the version in which ids are hashes, while nobody is here
	sayMany(ctx, t, romeo.Matrix, room, "unheard", 3)
	last := romeo.replace(ctx, t, room, "12")
	sayMany(ctx, t, romeo.Matrix, last, "unheard too", 3)
	side, inbox, stop = b.start(ctx, t, state, b.room(alias))
	awaitText(ctx, t, inbox, "unheard too 002")
	sameTexts(t, textsAt(inbox, alias), []string{"unheard 000", "unheard 001", "unheard 002", "unheard too 000", "unheard too 001", "unheard too 002"})
	deliverAll(ctx, t, side, delivery(alias, "three", "mercutio", "in the third room"))
	_, err = romeo.AwaitText(ctx, last, "in the third room")
	must(t, err)
	stop()
	side, _, _ = b.start(ctx, t, state, b.room(alias))
	deliverAll(ctx, t, side, delivery(alias, "four", "mercutio", "at home"))
	_, err = romeo.AwaitText(ctx, last, "at home")
	must(t, err)
}

func TestARoomThatOnlyClaimsToReplaceAnotherIsNotFollowed(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.login(ctx, t, "romeo")
	id, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	other, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	quiet, err := romeo.CreateRoom(ctx, "", true)
	must(t, err)
	side, _, _ := b.start(ctx, t, sidetest.NewState(), b.room(id), b.room(quiet))
	must(t, romeo.SetState(ctx, id, "m.room.tombstone", "", map[string]any{"body": "moved", "replacement_room": other}))
	_, err = romeo.Await(ctx, "the bot to look and leave", left(other, string(side.names.bot)))
	must(t, err)
	if err := deliverOne(t, side, delivery(id, "one", "mercutio", "where to?")); !isLater(err) || !strings.Contains(err.Error(), "does not name it as its predecessor: change the configuration") {
		t.Errorf("outcome %v", err)
	}
	sendAll(ctx, t, side, delivery(quiet, "two", "mercutio", "other rooms go on"))
}

func TestASuccessorThatIsShutIsEnteredByInvitation(t *testing.T) {
	ctx, b := within(t), openBed(t)
	romeo := b.loginUpgrader(ctx, t)
	old, err := romeo.CreateRoom(ctx, "", false)
	must(t, err)
	must(t, romeo.Invite(ctx, old, string(newNaming(b.cfg).bot)))
	side, inbox, _ := b.start(ctx, t, sidetest.NewState(), b.room(old))
	room := romeo.replace(ctx, t, old, "11")
	awaitProblem(ctx, t, side, old, "invite")
	must(t, romeo.Invite(ctx, room, string(side.names.bot)))
	_, err = romeo.Say(ctx, room, "come along")
	must(t, err)
	deliverAll(ctx, t, side, delivery(old, "one", "mercutio", "here I am"))
	_, err = romeo.AwaitText(ctx, room, "here I am")
	must(t, err)
	awaitText(ctx, t, inbox, "come along")
}

// awaitProblem waits until a lane says why it waits.
func awaitProblem(ctx context.Context, t *testing.T, side *Side, room, text string) {
	t.Helper()
	for {
		o := side.Deliver(ctx, []gateway.Delivery{delivery(room, "probe", "mercutio", "probe")})
		if len(o) == 1 && isLater(o[0].Err) && strings.Contains(o[0].Err.Error(), text) {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: %v, want a problem that says %q", room, o, text)
		}
	}
}
