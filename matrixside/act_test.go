package matrixside

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lockbridge/gateway"
	"lockbridge/gateway/sidetest"
)

const (
	theBot    = "@lockbridge:example.org"
	reactPath = "PUT /rooms/" + testRoom + "/react"
)

var target = gateway.Ref{Author: romeo, Parts: []gateway.Part{{Native: "$target"}}}

// does is a delivery of what somebody on IRC does.
func does(key, nick string, body gateway.Body) gateway.Delivery {
	d := delivery(testRoom, key, nick, "")
	d.Event.Body = body
	return d
}

// reacts is somebody's set on target, in a room that shows have of it.
func reacts(key, nick string, have []gateway.Part, emoji ...string) gateway.Delivery {
	d := does(key, nick, nil)
	d.Event.Body = gateway.Reaction{
		Target: target, Op: gateway.ReactionSet, Emoji: emoji, Have: have,
		Sets: []gateway.Reactions{{Who: d.Event.Sender, Emoji: emoji}},
	}
	return d
}

func wantDone(t *testing.T, hs *fakeHomeserver, want ...string) {
	t.Helper()
	if got := hs.did(); !slices.Equal(got, want) {
		t.Errorf("done:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func shutOut(hs *fakeHomeserver) {
	for range 10 {
		hs.script(joinPath, refusal(403, "M_FORBIDDEN"))
		hs.script("POST /rooms/"+testRoom+"/invite", refusal(403, "M_FORBIDDEN"))
	}
}

func TestReactionsBecomeWhatTheyAreToBe(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	first := sendAll(ctx, t, side, reacts("1", "mercutio", nil, "👍", "🎉"))[0]
	if len(first.Parts) != 2 || first.Parts[0].Name != "👍" || first.Parts[1].Native != "$act2" {
		t.Fatalf("outcome %+v", first)
	}
	second := sendAll(ctx, t, side, reacts("2", "mercutio", first.Parts, "🎉", "❤️"))[0]
	if len(second.Parts) != 1 || second.Parts[0].Name != "❤️" || len(second.Gone) != 1 || second.Gone[0].Native != "$act1" {
		t.Fatalf("outcome %+v", second)
	}
	third := sendAll(ctx, t, side, reacts("3", "mercutio", []gateway.Part{first.Parts[1], second.Parts[0]}))[0]
	if len(third.Parts) != 0 || len(third.Gone) != 2 {
		t.Fatalf("outcome %+v", third)
	}
	wantDone(t, hs, mercutio+" reaction $target 👍", mercutio+" reaction $target 🎉", mercutio+" redaction $act1",
		mercutio+" reaction $target ❤️", mercutio+" redaction $act2", mercutio+" redaction $act4")
}

func TestReactionsAreComparedAfterALostAnswer(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), quick, lobby(testRoom))
	hs.script(reactPath, reply{cut: true})
	d := reacts("1", "mercutio", nil, "👍", "🎉")
	if err := deliverOne(t, side, d); err == nil || gateway.IsDrop(err) {
		t.Fatalf("outcome of a broken connection: %v", err)
	}
	deliverUntilSaid(ctx, t, side, again(d))
	wantDone(t, hs, mercutio+" reaction $target 👍", mercutio+" reaction $target 🎉")
	// And the set that changed meanwhile: what was added without anybody knowing is taken away.
	deliverUntilSaid(ctx, t, side, again(reacts("2", "mercutio", nil, "🎉")))
	wantDone(t, hs, mercutio+" reaction $target 👍", mercutio+" reaction $target 🎉", mercutio+" redaction $act1")
}

func TestWhatIsKnownAndYetNotThereIsGone(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	stale := []gateway.Part{{Name: "👍", Native: "$stale"}}
	out := sendAll(ctx, t, side, again(reacts("1", "mercutio", stale, "👍")))[0]
	if len(out.Gone) != 1 || out.Gone[0].Native != "$stale" || len(out.Parts) != 1 || out.Parts[0].Native != "$act1" {
		t.Errorf("outcome %+v", out)
	}
	wantDone(t, hs, mercutio+" reaction $target 👍")
}

func TestAReactionThatIsThereAlreadyIsFine(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	first := sendAll(ctx, t, side, reacts("1", "mercutio", nil, "👍"))[0]
	hs.script(reactPath, refusal(400, "M_DUPLICATE_ANNOTATION"))
	if out := sendAll(ctx, t, side, reacts("2", "mercutio", nil, "👍"))[0]; len(out.Parts) != 1 || out.Parts[0].Native != first.Parts[0].Native {
		t.Errorf("outcome %+v", out)
	}
}

func TestTheBotShowsWhatAnyOfThoseThinksForWhomItSpeaks(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	sendAll(ctx, t, side, delivery(testRoom, "0", "benvolio", "I have a ghost"))
	shutOut(hs)
	sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "I have none"), delivery(testRoom, "2", "tybalt", "nor I"))
	sets := func(mercutio, tybalt []string) []gateway.Reactions {
		person := func(nick string) gateway.Person { return gateway.Person{Network: "irc", ID: nick} }
		return []gateway.Reactions{{Who: person("mercutio"), Emoji: mercutio}, {Who: person("tybalt"), Emoji: tybalt}, {Who: person("benvolio"), Emoji: []string{"❤️"}}}
	}
	all := func(key, nick string, have []gateway.Part, emoji []string, s []gateway.Reactions) gateway.Outcome {
		return sendAll(ctx, t, side, does(key, nick, gateway.Reaction{Target: target, Emoji: emoji, Have: have, Sets: s}))[0]
	}
	up, party := []string{"👍"}, []string{"👍", "🎉"}
	first := all("3", "mercutio", nil, up, sets(up, nil))
	all("4", "tybalt", nil, party, sets(up, party))
	all("5", "mercutio", first.Parts, nil, sets(nil, party))
	wantDone(t, hs, theBot+" reaction $target 👍", theBot+" reaction $target 🎉")
	if last := all("6", "tybalt", nil, nil, sets(nil, nil)); len(last.Gone) != 2 {
		t.Errorf("gone: %+v", last.Gone)
	}
	wantDone(t, hs, theBot+" reaction $target 👍", theBot+" reaction $target 🎉", theBot+" redaction $act1", theBot+" redaction $act2")
}

// TestTheBotGoesOnShowingWhatOthersThink: that somebody was shut out is forgotten after a while, and at a restart.
func TestTheBotGoesOnShowingWhatOthersThink(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	var clock testClock
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), clock.set, lobby(testRoom))
	shutOut(hs)
	up, party := []string{"👍"}, []string{"🎉"}
	person := func(network, id string) gateway.Person { return gateway.Person{Network: network, ID: id} }
	sets := func(mercutio, tybalt []string) []gateway.Reactions {
		return []gateway.Reactions{
			{Who: person("irc", "mercutio"), Emoji: mercutio}, {Who: person("irc", "tybalt"), Emoji: tybalt},
			{Who: person("irc", "benvolio"), Emoji: []string{"❤️"}}, {Who: person("matrix", "@romeo:example.org"), Emoji: []string{"⚔️"}},
		}
	}
	react := func(key, nick string, have []gateway.Part, emoji []string, s []gateway.Reactions) gateway.Outcome {
		return sendAll(ctx, t, side, does(key, nick, gateway.Reaction{Target: target, Emoji: emoji, Have: have, Sets: s}))[0]
	}
	hs.mu.Lock() // benvolio has left, and his ghost with him
	hs.acts = append(hs.acts, act{User: "@lb_irc_benvolio:example.org", Kind: "reaction", Target: "$target", Key: "❤️", Content: json.RawMessage(`{"m.relates_to":{"rel_type":"m.annotation","event_id":"$target","key":"❤️"}}`)})
	hs.mu.Unlock()
	done := []string{"@lb_irc_benvolio:example.org reaction $target ❤️", theBot + " reaction $target 👍", theBot + " reaction $target 🎉"}
	first := react("1", "mercutio", nil, up, sets(up, nil))
	clock.pass(2 * refusedTime)
	react("2", "tybalt", nil, party, sets(up, party))
	wantDone(t, hs, done...)
	// One of two who think the same has a ghost by now: what the bot shows stays for the other one.
	hs.mu.Lock()
	clear(hs.scripted)
	hs.mu.Unlock()
	clock.pass(2 * refusedTime)
	out := react("3", "mercutio", first.Parts, party, sets(party, up))
	wantDone(t, hs, append(done, mercutio+" reaction $target 🎉")...)
	if len(out.Gone) != 1 || len(out.Parts) != 1 {
		t.Errorf("outcome %+v", out)
	}
}

func TestAReactionThatTheRoomRefusesHoldsNobodyUp(t *testing.T) {
	hs := newHomeserver(t)
	side, _, _ := start(deadline(t), t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	hs.script(reactPath, refusal(403, "M_FORBIDDEN"), refusal(403, "M_FORBIDDEN"))
	if err := deliverOne(t, side, reacts("1", "mercutio", nil, "👍")); !gateway.IsDrop(err) {
		t.Errorf("outcome %v", err)
	}
	sendAll(deadline(t), t, side, delivery(testRoom, "2", "mercutio", "words"))
}

func TestWhatWasSaidIsChangedInItsVoice(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	own := sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "by the ghost"))[0].Parts
	shutOut(hs)
	bots := sendAll(ctx, t, side, delivery(testRoom, "2", "tybalt", "by the bot"))[0].Parts
	if !is(bots[0], saidByBot) || is(own[0], saidByBot) {
		t.Fatalf("parts %+v and %+v", own, bots)
	}
	edit := func(key, nick string, parts []gateway.Part) gateway.Delivery {
		return does(key, nick, gateway.Edit{Target: gateway.Ref{Parts: parts}, Text: plain("anew")})
	}
	sendAll(ctx, t, side, edit("3", "mercutio", own), edit("4", "tybalt", bots))
	for i, want := range []string{mercutio + " anew $sent1", theBot + " <tybalt> anew $sent2"} {
		var c content
		sent := hs.said()[2+i]
		must(t, json.Unmarshal(sent.Content, &c))
		if got := sent.User + " " + c.New.Body + " " + string(c.Relates.EventID); got != want {
			t.Errorf("edited: %s, want %s", got, want)
		}
	}
	// What a ghost said that is shut out by now cannot be edited by the bot.
	sendAll(ctx, t, side, does("5", "tybalt", gateway.Retract{Target: gateway.Ref{Author: gateway.Person{Network: "irc", ID: "tybalt"}, Parts: bots}}))
	gone := []gateway.Part{{Native: "$earlier"}}
	if err := deliverOne(t, side, edit("6", "tybalt", gone)); !gateway.IsPlainer(err) {
		t.Errorf("outcome of an edit in a voice that is gone: %v", err)
	}
	for key, parts := range map[string][]gateway.Part{
		"7": {{Name: "f1", Native: "$file"}}, "8": {{Native: "$caption", Also: []string{isCaption + "$caption"}}}, "9": nil,
	} {
		if err := deliverOne(t, side, edit(key, "mercutio", parts)); !gateway.IsPlainer(err) {
			t.Errorf("outcome of an edit of %v: %v", parts, err)
		}
	}
	wantDone(t, hs, theBot+" redaction $sent2")
}

func TestARetractionTakesAllPartsBack(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	author := gateway.Person{Network: "irc", ID: "mercutio", Name: "mercutio"}
	parts := []gateway.Part{{Native: "$text"}, {Name: "f2", Native: "$file"}, {Name: gateway.ThreadPart, Native: "thread:x"}}
	hs.script("PUT /rooms/"+testRoom+"/redact/$text", refusal(404, "M_NOT_FOUND"))
	// A moderator elsewhere took it back: its own ghost does, which needs no power.
	sendAll(ctx, t, side, does("1", "escalus", gateway.Retract{Target: gateway.Ref{Author: author, Parts: parts}, Moderated: true, Reason: "rude"}))
	wantDone(t, hs, mercutio+" redaction $file")
}

func TestTheBotRemovesWhatWasSaidOnMatrixIfItMay(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	r := gateway.Retract{Target: target, Moderated: true}
	sendAll(ctx, t, side, does("1", "escalus", r))
	wantDone(t, hs, theBot+" redaction $target")
	hs.script("PUT /rooms/"+testRoom+"/redact/$target", refusal(403, "M_FORBIDDEN"))
	if err := deliverOne(t, side, does("2", "escalus", r)); !gateway.IsDrop(err) || !strings.Contains(err.Error(), "may not remove") {
		t.Errorf("outcome %v", err)
	}
}

// TestARetractionBringsNobodyBack: whoever was thrown out elsewhere has no ghost any more when their words are removed.
func TestARetractionBringsNobodyBack(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	room := lobby(testRoom)
	room.Puppets, room.MaxPuppets = gateway.PuppetsAll, 10
	side, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, room)
	who := gateway.Person{Network: "irc", ID: "mercutio", Name: "mercutio"}
	said := sendAll(ctx, t, side, delivery(testRoom, "1", "mercutio", "spam"), does("2", "escalus", gateway.Membership{Who: who, Change: gateway.Kick}))[0].Parts
	retract := func(key string) {
		sendAll(ctx, t, side, does(key, "escalus", gateway.Retract{Target: gateway.Ref{Author: who, Parts: said}, Moderated: true}))
	}
	retract("3")
	wantDone(t, hs, mercutio+" redaction $sent1")
	if joined, gone := hs.count(mercutio+" "+joinPath), hs.count(mercutio+" POST /rooms/"+testRoom+"/leave"); joined != 2 || gone != 2 {
		t.Errorf("joined %d times, and went %d times", joined, gone)
	}
	hs.push(ctx, power, message("$after", "after")) // now the bot may do it
	awaitText(ctx, t, inbox, "after")
	retract("4")
	wantDone(t, hs, mercutio+" redaction $sent1", theBot+" redaction $sent1")
	if joined := hs.count(mercutio + " " + joinPath); joined != 2 {
		t.Errorf("joined %d times", joined)
	}
}

// power is a room's power levels as the homeserver pushes them.
const power = `{"event_id":"$power","room_id":"` + testRoom + `","type":"m.room.power_levels","sender":"@escalus:example.org","state_key":"","content":{"users":{"@escalus:example.org":100,"@romeo:example.org":49,"@lockbridge:example.org":50},"redact":50,"events":{"m.room.topic":50,"m.room.name":51}}}`

func TestOnlyPowerMakesARedactionAModerators(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	_, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	redaction := func(id, sender string) string {
		return `{"event_id":"` + id + `","room_id":"` + testRoom + `","type":"m.room.redaction","sender":"` + sender + `","content":{"redacts":"$target"}}`
	}
	hs.push(ctx, redaction("$1", "@escalus:example.org"), power, redaction("$2", "@escalus:example.org"), redaction("$3", "@romeo:example.org"),
		strings.NewReplacer(`"redact":50`, `"redact":"50"`, `"$power"`, `"$broken"`).Replace(power), redaction("$4", "@escalus:example.org"))
	var got []bool
	for _, ev := range inbox.Heard() {
		if r, ok := ev.Body.(gateway.Retract); ok {
			got = append(got, r.Moderated)
		}
	}
	if !slices.Equal(got, []bool{false, true, false, false}) {
		t.Errorf("moderated: %v", got)
	}
}

func TestNamesAndTopicsOfRooms(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	room := lobby(testRoom)
	room.Topic = true
	side, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, room)
	if !side.Caps(room.Address).Room {
		t.Error("the room does not say that it has a topic")
	}
	topic := func(id, sender, content string) string {
		return `{"event_id":"` + id + `","room_id":"` + testRoom + `","type":"m.room.topic","sender":"` + sender + `","state_key":"","content":` + content + `,"unsigned":{"prev_content":{"topic":"old"}}}`
	}
	hs.push(ctx, power, topic("$1", romeoUser, `{"topic":"new\u0000\u202e"}`), topic("$2", romeoUser, `{"topic":"old"}`), topic("$3", romeoUser, `{}`),
		topic("$4", theBot, `{"topic":"ours","org.lockbridge.key":{"key":"k","part":"topic"}}`))
	var got []string
	for _, ev := range inbox.Heard() {
		switch b := ev.Body.(type) {
		case gateway.RoomState:
			got = append(got, *b.Topic)
		case gateway.Echo:
			got = append(got, "echo "+b.Part)
		}
	}
	if !slices.Equal(got, []string{"new\u202e", "", "echo topic"}) {
		t.Errorf("heard %q", got)
	}
	about, name := "swords", "Verona"
	hs.script("GET /rooms/"+testRoom+"/state/m.room.topic/", reply{200, `{"topic":"swords"}`, false})
	sendAll(ctx, t, side, does("1", "mercutio", gateway.RoomState{Topic: &about, Name: &name}), does("2", "mercutio", gateway.RoomState{Topic: &about}))
	wantDone(t, hs, theBot+" state m.room.topic/") // once: it was so before; and the name takes more power
}

func TestATopicIsCarriedOnlyWhereItIsAskedFor(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, inbox, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	hs.push(ctx, `{"event_id":"$1","room_id":"`+testRoom+`","type":"m.room.topic","sender":"@romeo:example.org","state_key":"","content":{"topic":"new"}}`, message("$2", "after"))
	awaitText(ctx, t, inbox, "after")
	for _, ev := range inbox.Heard() {
		if _, ok := ev.Body.(gateway.RoomState); ok {
			t.Error("a topic was carried")
		}
	}
	if side.Caps(lobby(testRoom).Address).Room {
		t.Error("the room takes topics")
	}
}

// TestWhatRefersToAnotherRoomIsSaidPlainly: a homeserver refuses relations to what was said before an upgrade.
func TestWhatRefersToAnotherRoomIsSaidPlainly(t *testing.T) {
	hs := newHomeserver(t)
	ctx := deadline(t)
	side, _, _ := start(ctx, t, hs.cfg, sidetest.NewState(), nil, lobby(testRoom))
	old := gateway.Ref{Native: "$old", Author: gateway.Person{Network: "irc", ID: "mercutio"}, Parts: []gateway.Part{{Native: "$old"}}}
	in := "PUT /rooms/" + testRoom
	for i, body := range []gateway.Body{
		gateway.Edit{Target: old, Text: plain("anew")}, gateway.Retract{Target: old}, gateway.Message{Thread: old, Text: plain("in a thread")},
		reacts("", "mercutio", nil, "👍").Event.Body, gateway.Message{Text: plain("words")},
	} {
		for _, request := range []string{in + "/send", in + "/react", in + "/redact/$old"} {
			hs.script(request, refusal(400, "M_UNKNOWN"))
		}
		err := deliverOne(t, side, does(fmt.Sprint(i), "mercutio", body))
		if _, isMessage := body.(gateway.Message); gateway.IsPlainer(err) == gateway.IsDrop(err) || gateway.IsDrop(err) != (isMessage && i == 4) {
			t.Errorf("%s: %v", body.Kind(), err)
		}
	}
}
