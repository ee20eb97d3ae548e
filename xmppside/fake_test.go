package xmppside

import (
	"crypto/sha1" //nolint:gosec // the handshake of XEP-0114
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lockbridge/gateway"
)

const (
	fakeDomain = "bridge.test"
	fakeRoom   = "lobby@rooms.test"
	fakeSelf   = "lockbridge@" + fakeDomain
)

// fakeServer is an XMPP server with one component and one room, which does what no real server can be made to do. The
// room has an archive and gives stanza-ids.
type fakeServer struct {
	t  testing.TB
	ln net.Listener

	mu       sync.Mutex
	conn     net.Conn
	refusal  string // stream error in answer to the next handshakes
	mute     bool   // the room keeps what is said to itself: archived, but not reflected
	forget   bool   // the room loses what is said
	deaf     bool   // nothing is answered
	deafTo   string // the room's answers to this namespace are held back
	heldBack []*node
	features []string
	members  map[string]string // bare JID to affiliation
	room     map[string]string // full JID of ours to nick
	archive  []archived
	history  int               // the most messages that a join brings; 0: all
	pages    []*node           // queries of the archive
	gone     bool              // there is no such room
	infos    map[string]*node  // what other rooms answer to disco#info
	shut     string            // the condition with which the room lets nobody in
	refused  int               // so far
	bounces  map[string]*node  // bare JID to the error with which messages to it come back
	silent   map[string]bool   // bare JIDs that answer no query; the component's domain is for pings to itself
	granted  []string          // nicks that got voice
	refusing map[string]string // full JID of ours to the condition with which the room refuses its messages
	seen     []*node           // all that came in
	changed  chan struct{}     // closed and replaced whenever something came in
	answers  map[string]string // "jid node" to the payload of a PEP item
	refusals map[string]string // "jid node" to the condition of an error
	contacts map[string]bool   // who may read such items; nil: everybody
	n        int
	links    int // connections so far
}

type archived struct {
	at     time.Time
	stanza *node
}

func (a archived) id() string { return a.stanza.child(nsSID, "stanza-id").get("id") }

func newFakeServer(t testing.TB) *fakeServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f := &fakeServer{
		t: t, ln: ln, room: map[string]string{}, members: map[string]string{fakeSelf: "admin"}, answers: map[string]string{}, refusals: map[string]string{},
		features: []string{"muc_nonanonymous", "muc_open", nsSID}, changed: make(chan struct{}),
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		f.drop()
		wg.Wait()
	})
	return f
}

func (f *fakeServer) config() Config {
	return Config{Component: fakeDomain, Server: f.ln.Addr().String(), Secret: "secret", Nick: "lockbridge", OMEMO: OMEMO{Versions: []string{versionLegacy}, Trust: trustBlind}}
}

func fakeBridgeRoom(sealed bool, puppets gateway.Puppets) gateway.Room {
	return gateway.Room{
		Address: gateway.Address{Network: "xmpp", ID: fakeRoom}, Bridge: "lobby", Seal: sealed, KeepMetadata: true, Puppets: puppets, MaxPuppets: 20,
		Others: []gateway.Address{{Network: "matrix", ID: "#lobby"}},
	}
}

// drop breaks the connection; the room forgets its occupants, as a server does that finds the component gone.
func (f *fakeServer) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		_ = f.conn.Close()
		f.conn = nil
	}
	clear(f.room)
}

func (f *fakeServer) serve(conn net.Conn) {
	defer conn.Close()
	fr := newFramer(conn, 4<<20)
	if _, err := fr.next(); err != nil {
		return
	}
	fmt.Fprintf(conn, "<?xml version='1.0'?><stream:stream xmlns='%s' xmlns:stream='http://etherx.jabber.org/streams' id='abc' from='%s'>", nsComponent, fakeDomain)
	shake, err := fr.next()
	if err != nil {
		return
	}
	sum := sha1.Sum([]byte("abcsecret")) //nolint:gosec // see above
	f.mu.Lock()
	refusal := f.refusal
	if !strings.Contains(string(shake.raw), hex.EncodeToString(sum[:])) {
		refusal = "not-authorized"
	}
	if refusal == "" {
		f.conn = conn
		f.links++
		fmt.Fprint(conn, "<handshake/>")
	}
	f.mu.Unlock()
	if refusal != "" {
		fmt.Fprintf(conn, "<stream:error><%s xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>", refusal)
		return
	}
	for {
		frame, err := fr.next()
		if err != nil || frame.kind != frameChild {
			return
		}
		n, err := parseNode(frame.raw)
		if err != nil {
			f.t.Errorf("the side wrote what is no XML: %v: %s", err, frame.raw)
			return
		}
		f.handle(n)
	}
}

func (f *fakeServer) handle(n *node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if domainOf(n.get("from")) != fakeDomain {
		f.t.Errorf("a stanza came from %q", n.get("from"))
	}
	f.seen = append(f.seen, n)
	close(f.changed)
	f.changed = make(chan struct{})
	switch {
	case f.deaf, n.name == "iq" && f.silent[bare(n.get("to"))] && n.get("type") == "get":
	case n.name == "message" && f.bounces[bare(n.get("to"))] != nil && n.get("type") == "chat":
		f.write(el("", "message", "type", "error", "id", n.get("id"), "from", n.get("to"), "to", n.get("from")).add(f.bounces[bare(n.get("to"))]))
	case n.name == "iq" && domainOf(n.get("to")) == fakeDomain:
		f.write(n)
	case n.name == "iq" && n.get("to") == fakeRoom && f.deafTo != "" && n.kids[0].space == f.deafTo:
		f.heldBack = append(f.heldBack, n)
	case n.name == "iq" && (n.get("type") == "get" || n.get("type") == "set"):
		f.write(f.reply(n))
	case n.name == "presence" && bare(n.get("to")) == fakeRoom:
		f.presence(n)
	case n.name == "message" && n.get("type") == "groupchat":
		f.groupchat(n)
	}
}

func (f *fakeServer) write(stanzas ...*node) {
	if f.conn == nil {
		return
	}
	var b []byte
	for _, n := range stanzas {
		b = n.append(b, n.space)
	}
	_, _ = f.conn.Write(b)
}

func (f *fakeServer) reply(iq *node) *node {
	q := iq.kids[0]
	switch {
	case iq.get("to") == fakeRoom && f.gone:
		return refusal(iq, "cancel", "item-not-found")
	case bare(iq.get("to")) == fakeRoom && q.space == nsPing:
		if f.room[iq.get("from")] == "" {
			return refusal(iq, "cancel", "not-acceptable")
		}
		return result(iq, nil)
	case iq.get("to") == fakeRoom && q.space == nsMAM:
		return f.page(iq, q)
	case f.infos[iq.get("to")] != nil && q.space == nsDiscoInfo:
		return result(iq, f.infos[iq.get("to")])
	case iq.get("to") == fakeRoom && q.space == nsDiscoInfo:
		info := el(nsDiscoInfo, "query")
		for _, feature := range f.features {
			info.add(el(nsDiscoInfo, "feature", "var", feature))
		}
		return result(iq, info)
	case iq.get("to") == fakeRoom && iq.get("type") == "get" && q.space == nsMUCAdmin:
		list := el(nsMUCAdmin, "query")
		for jid, a := range f.members {
			if a == q.child(nsMUCAdmin, "item").get("affiliation") {
				list.add(el(nsMUCAdmin, "item", "affiliation", a, "jid", jid))
			}
		}
		return result(iq, list)
	case iq.get("to") == fakeRoom && q.space == nsMUCAdmin:
		item := q.child(nsMUCAdmin, "item")
		if item.get("role") != "" {
			f.granted = append(f.granted, item.get("nick"))
			clear(f.refusing)
			return result(iq, nil)
		}
		f.members[item.get("jid")] = item.get("affiliation")
		return result(iq, nil)
	case q.space == nsPubSub && q.child(nsPubSub, "items") != nil:
		name := q.child(nsPubSub, "items").get("node")
		if f.contacts != nil && !f.contacts[bare(iq.get("from"))] {
			return refusal(iq, "auth", "forbidden")
		}
		if c := f.refusals[iq.get("to")+" "+name]; c != "" {
			return refusal(iq, "cancel", c)
		}
		id := currentItem
		if wanted := q.child(nsPubSub, "items").child(nsPubSub, "item"); wanted != nil {
			id = wanted.get("id")
		}
		if payload := f.answers[iq.get("to")+" "+name]; payload != "" {
			items := el(nsPubSub, "items", "node", name).add(el(nsPubSub, "item", "id", id).add(rawNode([]byte(payload))))
			return result(iq, el(nsPubSub, "pubsub").add(items))
		}
	}
	if card := f.answers[iq.get("to")+" "+q.space]; card != "" {
		return result(iq, rawNode([]byte(card)))
	}
	return refusal(iq, "cancel", "item-not-found")
}

// page answers a query of the archive with at most pageSize messages.
func (f *fakeServer) page(iq, q *node) *node {
	f.pages = append(f.pages, q)
	const pageSize = 100
	since := time.Time{}
	for _, field := range q.child(nsForm, "x").all(nsForm, "field") {
		if field.get("var") == "start" {
			since, _ = time.Parse(time.RFC3339, field.child(nsForm, "value").text)
		}
	}
	after, from := q.child(nsRSM, "set").child(nsRSM, "after"), 0
	if after != nil {
		from = slices.IndexFunc(f.archive, func(a archived) bool { return a.id() == after.text }) + 1
		if from == 0 {
			return refusal(iq, "cancel", "item-not-found")
		}
	}
	set, n := el(nsRSM, "set"), 0
	fin := el(nsMAM, "fin").add(set)
	for _, a := range f.archive[from:] {
		if a.at.Before(since) {
			continue
		}
		if n++; n > pageSize {
			return result(iq, fin)
		}
		stanza := *a.stanza
		stanza.space = nsClient
		f.write(el("", "message", "from", fakeRoom, "to", iq.get("from")).add(el(nsMAM, "result", "queryid", q.get("queryid"), "id", a.id()).
			add(el(nsForward, "forwarded").add(el(nsDelay, "delay", "stamp", a.at.UTC().Format(time.RFC3339Nano)), &stanza))))
		set.kids = []*node{el(nsRSM, "last").say(a.id())}
	}
	fin.attrs = append(fin.attrs, attr{"complete", "true"})
	return result(iq, fin)
}

func (f *fakeServer) presence(p *node) {
	full, nick := p.get("from"), resourceOf(p.get("to"))
	if p.get("type") == "unavailable" {
		delete(f.room, full)
		return
	}
	if f.shut != "" {
		f.refused++
		f.write(el("", "presence", "type", "error", "from", p.get("to"), "to", full).add(errorNode("auth", f.shut)))
		return
	}
	for other, taken := range f.room {
		if taken == nick && other != full {
			f.write(el("", "presence", "type", "error", "from", p.get("to"), "to", full).add(errorNode("cancel", "conflict")))
			return
		}
	}
	x := p.child(nsMUC, "x")
	if x == nil && f.room[full] == "" {
		f.write(el("", "presence", "type", "error", "from", p.get("to"), "to", full).add(errorNode("cancel", "item-not-found")))
		return
	}
	f.room[full] = nick
	for to, other := range f.room {
		f.write(f.occupant(other, f.members[bare(to)], to, full, other == nick))
		if to != full {
			f.write(f.occupant(nick, f.members[bare(full)], full, to, false))
		}
	}
	if x == nil {
		return
	}
	history := x.child(nsMUC, "history")
	since, err := time.Parse(time.RFC3339, history.get("since"))
	told := f.archive
	if n := len(told) - f.history; f.history > 0 && n > 0 {
		told = told[n:]
	}
	for _, a := range told {
		if history.get("maxstanzas") == "0" || err != nil || a.at.Before(since) {
			continue
		}
		copied := *a.stanza
		copied.attrs = append(slices.Clone(copied.attrs), attr{"to", full})
		copied.kids = append(slices.Clone(copied.kids), el(nsDelay, "delay", "from", fakeRoom, "stamp", a.at.UTC().Format(time.RFC3339)))
		f.write(&copied)
	}
	f.write(el("", "message", "type", "groupchat", "from", fakeRoom, "to", full).add(el("", "subject")))
}

// role is a moderator's for admins of a moderated room.
func (f *fakeServer) role(real string) string {
	if a := f.members[bare(real)]; slices.Contains(f.features, "muc_moderated") && (a == "admin" || a == "owner") {
		return "moderator"
	}
	return "participant"
}

func (f *fakeServer) occupant(nick, affiliation, real, to string, self bool) *node {
	x := el(nsMUCUser, "x").add(el(nsMUCUser, "item", "affiliation", affiliation, "role", f.role(real), "jid", real))
	if self {
		x.add(el(nsMUCUser, "status", "code", "100"), el(nsMUCUser, "status", "code", "110"))
	}
	return el("", "presence", "from", fakeRoom+"/"+nick, "to", to).add(x)
}

func (f *fakeServer) groupchat(m *node) {
	nick, in := f.room[m.get("from")]
	if c := f.refusing[m.get("from")]; c != "" {
		f.write(el("", "message", "type", "error", "id", m.get("id"), "from", fakeRoom, "to", m.get("from")).add(errorNode("auth", c)))
		return
	}
	if !in {
		f.write(el("", "message", "type", "error", "id", m.get("id"), "from", fakeRoom, "to", m.get("from")).add(errorNode("modify", "not-acceptable")))
		return
	}
	f.say(nick, m.get("id"), m.kids...)
}

// say lets an occupant say something.
func (f *fakeServer) say(nick, id string, kids ...*node) {
	if f.forget {
		return
	}
	f.n++
	stanza := el("", "message", "type", "groupchat", "id", id, "from", fakeRoom+"/"+nick).
		add(kids...).add(el(nsSID, "stanza-id", "by", fakeRoom, "id", fmt.Sprintf("s%d", f.n)))
	f.archive = append(f.archive, archived{time.Now(), stanza})
	if f.mute {
		return
	}
	for full := range f.room {
		copied := *stanza
		copied.attrs = append(slices.Clone(copied.attrs), attr{"to", full})
		f.write(&copied)
	}
}

// juliet says something as an occupant with a real address.
func (f *fakeServer) juliet(kids ...*node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.say("Juliet", fmt.Sprintf("j%d", f.n), kids...)
}

// enter shows Juliet to those who are in the room.
func (f *fakeServer) enter(nick, real, affiliation string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for full := range f.room {
		f.write(f.occupant(nick, affiliation, real, full, false))
	}
}

func (f *fakeServer) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// raw writes to the component as it is.
func (f *fakeServer) raw(xml string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		_, _ = io.WriteString(f.conn, xml)
	}
}

// await returns the first stanza of the component that fits.
func (f *fakeServer) await(what string, fits func(*node) bool) *node {
	f.t.Helper()
	limit := time.After(20 * time.Second)
	for from := 0; ; {
		f.mu.Lock()
		for ; from < len(f.seen); from++ {
			if fits(f.seen[from]) {
				n := f.seen[from]
				f.mu.Unlock()
				return n
			}
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-f.t.Context().Done():
			f.t.Fatalf("%s: never came", what)
		case <-limit:
			f.t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// saidBy lists the messages to the room that one of the component's addresses wrote.
func (f *fakeServer) saidBy(own string) []*node {
	return slices.DeleteFunc(f.said(), func(n *node) bool { return bare(n.get("from")) != own })
}

// answerHeldBack answers what deafTo held back.
func (f *fakeServer) answerHeldBack() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deafTo = ""
	for _, n := range f.heldBack {
		f.write(f.reply(n))
	}
	f.heldBack = nil
}

// reconnected is for await's use.
func (f *fakeServer) reconnected() bool { return f.links > 1 }

// said lists the messages to the room that the component wrote.
func (f *fakeServer) said() []*node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*node
	for _, n := range f.seen {
		if n.name == "message" && n.get("type") == "groupchat" {
			out = append(out, n)
		}
	}
	return out
}
