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
	refusal  string           // stream error in answer to the next handshakes
	mute     bool             // the room keeps what is said to itself: archived, but not reflected
	swallow  func(*node) bool // messages of ours that the room loses
	forget   bool             // the room loses what is said
	deaf     bool             // nothing is answered
	deafTo   string           // the room's and juliet's answers to this namespace are held back
	heldBack []*node
	features []string
	title    string            // what the room is called
	members  map[string]string // bare JID to affiliation
	room     map[string]string // full JID of ours to nick
	archive  []archived
	history  int               // the most messages that a join brings; 0: all
	pages    []*node           // queries of the archive
	gone     bool              // there is no such room
	infos    map[string]*node  // what other rooms answer to disco#info
	picture  string            // SHA-1 of the room's picture; "": none
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
	case n.name == "iq" && (n.get("to") == fakeRoom || n.get("to") == "juliet@test") && f.deafTo != "" && n.kids[0].space == f.deafTo:
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
	case iq.get("to") == fakeRoom && (q.space == nsModerate || q.space == nsFasten):
		return result(iq, nil)
	case iq.get("to") == fakeRoom && q.space == nsMAM:
		return f.page(iq, q)
	case f.infos[iq.get("to")] != nil && q.space == nsDiscoInfo:
		return result(iq, f.infos[iq.get("to")])
	case iq.get("to") == fakeRoom && q.space == nsDiscoInfo:
		info := el(nsDiscoInfo, "query").add(el(nsDiscoInfo, "identity", "category", "conference", "type", "text", "name", f.title))
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
	switch c := f.refusals[iq.get("to")+" "+q.space]; c {
	case "":
		return refusal(iq, "cancel", "item-not-found")
	case "resource-constraint":
		return refusal(iq, "wait", c)
	default:
		return refusal(iq, "modify", c)
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
	limit := time.After(patience)
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
			f.t.Fatalf("%s: not within %v", what, patience)
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
